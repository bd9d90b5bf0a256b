"""Free answers: written as ``generate`` writes them, resumed exactly, and judged with known answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from expect import counted_passes, refused
from judging import MINUS, PLUS, always_writing, made_texts, stub_embed
from numpy.typing import NDArray
from tiny import make_tiny

from temperament.calibration.builtin import questions
from temperament.calibration.contrast import group_key
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.generation import Generation, generation_effect, open_questions, score_effect
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.local_judge import LocalJudge
from temperament.generate import Message, chat, generate
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, Persona, Plan
from temperament.wear import wear

QUESTIONS = ("Why?", "Where do you go on a Sunday?", "Who is at the door?", "What now?", "How was it, all in all?")


def run(lm: LoadedModel, instrument: Generation, todo: Sequence[int] | None = None) -> dict[int, Record]:
    return dict(instrument.run(lm, range(len(instrument)) if todo is None else todo))


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_generate(tiny_llama: LoadedModel) -> None:
    found = run(tiny_llama, Generation(QUESTIONS, max_tokens=12, batch=2))
    assert [found[index]["question"] for index in range(5)] == list(QUESTIONS)
    for index, question in enumerate(QUESTIONS):
        assert found[index]["answer"] == generate(tiny_llama, [question], max_tokens=12)[0]
        assert 0 < found[index]["tokens"] <= 12
    json.dumps(found, allow_nan=False)


def test_a_fixed_text_is_recorded_with_its_tokens(fresh_llama: LoadedModel) -> None:
    with always_writing(fresh_llama, "I dance."):
        found = run(fresh_llama, Generation(QUESTIONS[:3]))
    assert [found[i] for i in range(3)] == [{"question": q, "answer": "I dance.", "tokens": 8} for q in QUESTIONS[:3]]
    with always_writing(fresh_llama, ""):
        assert run(fresh_llama, Generation(QUESTIONS[:1]))[0] == {"question": "Why?", "answer": "", "tokens": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model without a chat template."""
    folder = make_tiny(tmp_path_factory.mktemp("base"), "llama", chat_template=False)
    loaded: LoadedModel = load_model(str(folder), dtype="float32")
    return loaded


ASKS_ITSELF = "I dance.\n\nQuestion: Why?\nAnswer: For fun."


def test_an_answer_of_a_base_model_ends_before_the_turn_that_it_invents(base: LoadedModel) -> None:
    with always_writing(base, ASKS_ITSELF), counted_passes(base) as passes:
        found = run(base, Generation(QUESTIONS[:3]))
    assert [(found[i]["answer"], found[i]["tokens"]) for i in range(3)] == [("I dance.", 8)] * 3
    assert len(passes) == len("I dance.\n\nQuestion:")  # nothing was written behind it
    turns = [Message("user", "Why?"), Message("assistant", "Hm."), Message("user", "Why?")]
    with always_writing(base, ASKS_ITSELF):
        assert chat(base, turns) == generate(base, ["Why?"])[0] == "I dance."
    with always_writing(base, "No.\nAnswer: No."):
        assert chat(base, "Why?") == "No."
    with always_writing(base, "I ask: Question: why?\nMy Answer: no."):
        assert chat(base, "Why?") == "I ask: Question: why?\nMy Answer: no."
    with always_writing(base, "\nQuestion: Why?"):
        assert run(base, Generation(QUESTIONS[:1]))[0]["answer"] == ""


def test_a_chat_model_may_write_any_line(fresh_llama: LoadedModel) -> None:
    with always_writing(fresh_llama, ASKS_ITSELF):
        assert chat(fresh_llama, "Why?") == ASKS_ITSELF


def test_what_is_worn_changes_the_answers(tiny_llama: LoadedModel, tiny_extraction: Extraction) -> None:
    instrument = Generation(QUESTIONS, max_tokens=12)
    unworn = run(tiny_llama, instrument)
    for worn in (tiny_extraction.plus, Persona.from_prompt("You are a pirate.")):
        with wear(tiny_llama, worn):
            assert run(tiny_llama, instrument) != unworn
    assert run(tiny_llama, instrument) == unworn


def test_only_what_is_asked_for_comes_and_equals_the_whole_run(tiny_llama: LoadedModel) -> None:
    for seed in (None, 3):
        instrument = Generation(QUESTIONS, max_tokens=8, batch=2, seed=seed)
        whole, some = run(tiny_llama, instrument), run(tiny_llama, instrument, [1, 3])
        assert some == {index: whole[index] for index in (1, 3)}


def test_the_penalty_and_sampling_change_answers(tiny_llama: LoadedModel) -> None:
    runs = [
        run(tiny_llama, Generation(QUESTIONS, max_tokens=16, repetition_penalty=penalty, seed=seed))
        for penalty, seed in ((1.1, None), (3.0, None), (1.1, 1), (1.1, 2))
    ]
    assert len({json.dumps(found, sort_keys=True) for found in runs}) == 4


def test_questions_settings_and_seed_are_in_the_hash() -> None:
    instruments = [
        Generation(QUESTIONS),
        Generation(QUESTIONS[::-1]),
        Generation(QUESTIONS, max_tokens=61),
        Generation(QUESTIONS, repetition_penalty=1.2),
        Generation(QUESTIONS, seed=0),
        Generation(QUESTIONS, seed=0, temperature=0.5),
    ]
    assert len({instrument.hash for instrument in instruments}) == 6
    assert instruments[0].hash == Generation(list(QUESTIONS)).hash
    assert instruments[0].groups == {group_key(question) for question in QUESTIONS}


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path, fresh_llama: LoadedModel) -> None:
    instrument = Generation(QUESTIONS, max_tokens=6, batch=2)
    whole = Ledger(fresh_llama).run(instrument, Plan(), "unworn")

    def stop(_: str, done: int, __: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ledger(fresh_llama, tmp_path, stop).run(instrument, Plan(), "unworn")
    (path,) = tmp_path.iterdir()
    kept = [json.loads(line)["item"] for line in path.read_text().splitlines()[1:]]
    assert len(kept) == 3
    with counted_passes(fresh_llama) as passes:
        assert Ledger(fresh_llama, tmp_path).run(instrument, Plan(), "unworn") == whole
        resumed = len(passes)
        assert Ledger(fresh_llama, tmp_path).run(instrument, Plan(), "unworn") == whole
    assert 0 < resumed == len(passes) <= 2 * 6


def test_questions_that_something_was_calibrated_on_are_refused(
    tiny_llama: LoadedModel, tiny_extraction: Extraction
) -> None:
    persona = tiny_extraction.plus
    leaky = Persona(persona.name, "plus", persona.edit, persona.provenance, frozenset([group_key(QUESTIONS[2])]))
    with refused("1 of 5 texts"):
        Ledger(tiny_llama).run(Generation(QUESTIONS), Plan.of(leaky), "worn-plus")


def test_bad_questions_and_settings_are_refused(tiny_llama: LoadedModel) -> None:
    for asked, part in (((), "there is none"), (("Why?", " "), "is empty"), (("Why?", "Why?"), "twice")):
        with refused(part):
            Generation(asked)
    with refused("one question"):
        Generation("Why?")
    with refused("0 new tokens"):
        Generation(QUESTIONS, max_tokens=0)
    with refused("the model takes 512"):
        run(tiny_llama, Generation(["Why? " * 200]))


def test_questions_of_a_trait_or_a_file(tmp_path: Path) -> None:
    assert open_questions("openness") == questions("openness", "test")
    assert len(open_questions("openness")) == 20
    path = tmp_path / "own.txt"
    path.write_text("Why?\n\nWhere to?\n")
    assert open_questions(path) == open_questions(str(path)) == ("Why?", "Where to?")
    with refused("'nowhere.txt'", "extraversion"):
        open_questions("nowhere.txt")


# --- judged ----------------------------------------------------------------------------------------------------------


class FixedJudge:
    """P(plus) is the number that the answer is; NaN for an empty one."""

    label, hash, auc = "fixed judge", "0", Measured(0.9, 0.8, 1.0, 20)

    def probability(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float(text) if text else np.nan for text in texts])


def answers(*texts: str) -> list[Record]:
    return [{"question": f"{i}?", "answer": text, "tokens": len(text)} for i, text in enumerate(texts)]


def test_the_effect_is_the_mean_difference_with_its_means_and_its_judge() -> None:
    plus, minus, base = answers(".9", ".7", ".8"), answers(".1", ".5", ".3"), answers(".5", ".5", ".2")
    found = generation_effect(plus, minus, base, FixedJudge(), seed=0)
    assert found.value == pytest.approx(1.5 / 3)
    assert found.n == 3
    assert found.low <= found.value <= found.high
    assert [found.low, found.high] == pytest.approx([0.2, 0.8])  # the extreme questions thrice
    means = [found.extra[f"{side}_mean"] for side in ("plus", "minus", "unworn")]
    assert means == pytest.approx([0.8, 0.3, 0.4])
    assert found.extra["missing"] == {"plus": 0, "minus": 0, "unworn": 0}
    assert found.extra["judge"] == "fixed judge"
    assert (found.extra["judge_auc"], found.extra["judge_auc_interval"]) == (0.9, [0.8, 1.0])
    swapped = generation_effect(minus, plus, base, FixedJudge(), seed=0)
    assert swapped.value == pytest.approx(-found.value)
    assert generation_effect(base, base, base, FixedJudge(), seed=0).value == 0


def test_empty_answers_are_missing_pairwise_and_counted() -> None:
    plus, minus, base = answers(".9", "", ".8", ".6"), answers(".1", ".5", "", ".2"), answers("", ".5", ".2", ".4")
    found = generation_effect(plus, minus, base, FixedJudge(), seed=0)
    assert found.n == 2
    assert found.value == pytest.approx(0.6)
    assert [found.extra[f"{side}_mean"] for side in ("plus", "minus", "unworn")] == pytest.approx([0.75, 0.15, 0.4])
    assert found.extra["missing"] == {"plus": 1, "minus": 1, "unworn": 1}


def test_nothing_judged_is_no_number() -> None:
    none = np.full(3, np.nan)
    found = score_effect(none, np.ones(3), np.ones(3), seed=0)
    assert found.n == 0
    assert np.isnan([found.value, found.low, found.high, found.extra["plus_mean"]]).all()
    assert found.extra["missing"] == {"plus": 3, "minus": 0, "unworn": 0}
    single = score_effect(np.array([0.7, np.nan]), np.array([0.2, 0.1]), np.array([0.5, 0.5]), seed=0)
    assert [single.value, single.n] == pytest.approx([0.5, 1])
    assert np.isnan([single.low, single.high]).all()


def test_pairing_narrows_the_interval() -> None:
    """Questions that differ a lot and a shift that is the same for all: only a paired interval is narrow."""
    minus = np.linspace(0, 0.8, 20)
    found = score_effect(minus + 0.1, minus, minus, seed=0)
    assert [found.low, found.high] == pytest.approx([0.1, 0.1])


def test_answers_to_different_questions_are_refused() -> None:
    three, turned = answers(".1", ".2", ".3"), answers(".1", ".2", ".3")[::-1]
    for sides in ((three, turned, three), (three, three, turned), (three, three, three[:2])):
        with refused("different questions"):
            generation_effect(*sides, FixedJudge(), seed=0)


def test_a_model_that_writes_each_pole_is_found_by_a_trained_judge(fresh_llama: LoadedModel) -> None:
    judge = LocalJudge.train(
        made_texts(PLUS, 40, 1),
        made_texts(MINUS, 40, 2),
        made_texts(PLUS, 20, 3),
        made_texts(MINUS, 20, 4),
        name="made",
        encode=stub_embed,
    )
    instrument, sides = Generation(QUESTIONS), []
    for text in ("a loud party with the crowd", "alone with a quiet book", "a loud book"):
        with always_writing(fresh_llama, text):
            sides.append(Ledger(fresh_llama).run(instrument, Plan(), "side"))
    found = generation_effect(sides[0], sides[1], sides[2], judge, seed=0)
    assert found.value > 0.6
    assert found.extra["judge"] == judge.label
    assert found.low == pytest.approx(found.high)  # five times the same answer
