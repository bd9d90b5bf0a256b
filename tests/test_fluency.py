"""Fluency of free answers: figures worked by hand, perplexity against plain scoring, loops, and missing answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expect import counted_passes, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import always_writing

from temperament.evaluation import fluency as fluency_module
from temperament.evaluation.fluency import (
    AnswerScores,
    answer_perplexity,
    distinct_2,
    excess_repeat,
    fluency,
    longest_repeat,
    repeat_share,
)
from temperament.evaluation.generation import Generation
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan
from temperament.wear import wear


def answers(*texts: str) -> list[Record]:
    return [{"question": f"Number {i}?", "answer": text, "tokens": len(text)} for i, text in enumerate(texts)]


def scored(*figures: tuple[str, float | None, int]) -> list[Record]:
    return [{"question": "?", "answer": text, "total": total, "tokens": tokens} for text, total, tokens in figures]


# --- perplexity ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_answer_behind_its_question(tiny_llama: LoadedModel) -> None:
    given = answers("Yes.", "I would rather stay in bed.", "No", "")
    found = Ledger(tiny_llama).run(AnswerScores(given), Plan(), "unworn")
    plain = score_responses(tiny_llama, [tiny_llama.encode(row["question"], row["answer"]) for row in given[:3]])
    assert [row["total"] for row in found[:3]] == pytest.approx([score.total for score in plain], rel=1e-5)
    assert [row["tokens"] for row in found] == [4, 27, 2, 0]
    assert found[3] == {"question": "Number 3?", "answer": "", "total": None, "tokens": 0}
    measured = answer_perplexity(found, seed=0)
    assert measured.value == pytest.approx(math.exp(-sum(score.total for score in plain) / 33), rel=1e-5)
    assert (measured.n, measured.extra["missing"]) == (3, 1)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(fresh_llama: LoadedModel) -> None:
    with always_writing(fresh_llama, "So it goes."):
        given = Ledger(fresh_llama).run(Generation(["Why?", "What then?", "Hm?"]), Plan(), "unworn")

    def flatten(_: object, __: object, output: Any) -> None:
        output.logits.zero_()

    hook = fresh_llama.model.register_forward_hook(flatten)
    records = Ledger(fresh_llama).run(AnswerScores(given), Plan(), "unworn")
    hook.remove()
    found = answer_perplexity(records, seed=0)
    vocabulary = float(fresh_llama.model.config.vocab_size)
    assert [found.value, found.low, found.high] == pytest.approx([vocabulary] * 3)
    assert distinct_2([row["answer"] for row in records], seed=0).extra["together"] == pytest.approx(1 / 3)


def test_perplexity_weighs_tokens_not_answers() -> None:
    found = answer_perplexity(scored(("a", -math.log(2) * 9, 9), ("b", -math.log(32), 1)), seed=0)
    assert found.value == pytest.approx(2 ** (14 / 10))
    assert found.low <= found.value <= found.high
    assert np.isnan(answer_perplexity(scored(("", None, 0)), seed=0).value)


def test_an_interrupted_run_goes_on(tmp_path: Path, tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fluency_module, "_PORTION", 2)
    instrument = AnswerScores(answers("Yes.", "", "Maybe, who knows?", "No!", "Never again, thank you.", "Hm"))
    whole = Ledger(tiny_llama).run(instrument, Plan(), "unworn")

    def stop(_: str, done: int, __: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Ledger(tiny_llama, tmp_path, stop).run(instrument, Plan(), "unworn")
    (path,) = tmp_path.iterdir()
    assert len(path.read_text().splitlines()) == 1 + 3
    with counted_passes(tiny_llama) as passes:
        resumed = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    assert len(passes) == 2  # three answers were left, two at a time
    assert [row["tokens"] for row in resumed] == [row["tokens"] for row in whole]
    assert [row["total"] for row in resumed if row["tokens"]] == pytest.approx(
        [row["total"] for row in whole if row["tokens"]], rel=1e-5
    )


def test_a_worn_model_is_refused(tiny_llama: LoadedModel) -> None:
    persona = Persona.from_prompt("You are a pirate.")
    with refused("unworn"):
        Ledger(tiny_llama).run(AnswerScores(answers("Yes.")), Plan.of(persona), "plus")
    with wear(tiny_llama, 0.0 * persona):
        assert len(list(AnswerScores(answers("Yes.")).run(tiny_llama, [0]))) == 1
    with refused("no answers"):
        AnswerScores([])


def test_an_answer_that_does_not_fit_is_missing(tiny_llama: LoadedModel) -> None:
    given = [{"question": "Why? " * 200, "answer": "Yes.", "tokens": 4}, *answers("No.")]
    found = dict(AnswerScores(given).run(tiny_llama, [0, 1]))
    assert (found[0]["total"], found[0]["tokens"], found[1]["tokens"]) == (None, 0, 3)


def test_questions_and_answers_are_in_the_hash() -> None:
    first, second = answers("Yes.", "No."), answers("Yes.", "No!")
    hashes = {AnswerScores(given).hash for given in (first, second, first[:1], first[::-1])}
    assert len(hashes) == 4
    assert AnswerScores(answers("Yes.", "No.")).hash in hashes


# --- variety ---------------------------------------------------------------------------------------------------------


def test_distinct_2_by_hand() -> None:
    found = distinct_2(["a b a b a", "One, two; three!", "Single", ""], seed=0)
    assert found.value == pytest.approx((2 / 4 + 1) / 2)
    assert (found.n, found.extra["missing"]) == (2, 2)
    assert found.extra["together"] == pytest.approx(4 / 6)
    assert np.isnan(distinct_2(["one", ""], seed=0).value)


def test_one_varied_text_for_every_question_shows_over_all_answers_together() -> None:
    found = distinct_2(["I like tea and cake"] * 5, seed=0)
    assert (found.value, found.extra["together"]) == (1, pytest.approx(1 / 5))


def test_excess_of_repetition_by_hand() -> None:
    loop, plain = "so it goes so it goes", "every word is another one"
    assert excess_repeat([loop, plain], [plain]) == pytest.approx((3 / 6 + 0) / 2)
    assert excess_repeat([plain], [loop]) == pytest.approx(-0.5)
    assert excess_repeat(["", "…"], [plain]) == 1, "a model that says nothing any more"
    assert excess_repeat([loop], [""]) == 0, "nothing to compare with"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("a b c d", 0),
        ("a b c a d", 1),
        ("a b c x a b c y", 3),
        ("no no no no", 3),
        ("a b a b a", 3),
        ("word", 0),
    ],
)
def test_longest_repeat(text: str, length: int) -> None:
    words = text.split()
    assert longest_repeat(words) == length
    assert repeat_share([text], seed=0).value == pytest.approx(length / len(words))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
@settings(deadline=None)
def test_longest_repeat_equals_a_search_of_every_pair(words: list[str]) -> None:
    places = range(len(words))
    common = [
        size
        for first in places
        for second in range(first + 1, len(words))
        for size in range(len(words) - second + 1)
        if words[first : first + size] == words[second : second + size]
    ]
    assert longest_repeat(words) == max(common, default=0)


def test_case_and_punctuation_do_not_hide_a_repetition() -> None:
    assert repeat_share(["Don't stop. DON'T STOP!", "..."], seed=0).value == pytest.approx(0.5)


def test_a_run_of_letters_is_no_word() -> None:
    assert repeat_share(["The sea is " + "H" * 100], seed=0).value == pytest.approx(99 / 103)
    assert repeat_share(["海は静かです。" * 2 + "夜は長い。"], seed=0).value == pytest.approx(1 / 3)
    assert repeat_share(["海は静かでとても広い" * 4], seed=0).value == pytest.approx(30 / 40)
    assert repeat_share(["...", "a"], seed=0).extra["missing"] == 1


# --- all of it -------------------------------------------------------------------------------------------------------


def test_the_value_is_the_worse_side_and_each_side_is_reported() -> None:
    plus = scored(("one two three", -3 * math.log(8), 3), ("four five", -2 * math.log(8), 2))
    minus = scored(("no no no no", -4 * math.log(2), 4), ("", None, 0))
    base = scored(("six seven eight", -3 * math.log(4), 3), ("nine ten", -2 * math.log(4), 2))
    found = fluency(plus, minus, base, seed=0)
    assert found.value == fluency(minus, plus, base, seed=0).value == pytest.approx(8)
    assert found.n == 2
    extra = found.extra
    assert [extra[f"{side}_perplexity"] for side in ("plus", "minus", "unworn")] == pytest.approx([8, 2, 4])
    assert [extra[f"{side}_distinct_2"] for side in ("plus", "minus", "unworn")] == pytest.approx([1, 1 / 3, 1])
    assert [extra[f"{side}_repeat"] for side in ("plus", "minus", "unworn")] == pytest.approx([0, 0.75, 0])
    assert [extra[f"{side}_missing"] for side in ("plus", "minus", "unworn")] == [0, 1, 0]
    assert extra["plus_perplexity_interval"] == pytest.approx([8, 8])
    json.dumps(found.as_json())


def test_a_silent_side_does_not_hide_the_other() -> None:
    silent, spoken = scored(("", None, 0)), scored(("one two", -2 * math.log(8), 2))
    assert fluency(silent, spoken, spoken, seed=0).value == pytest.approx(8)
    assert fluency(spoken, silent, spoken, seed=0).value == pytest.approx(8)
    nothing = fluency(silent, silent, spoken, seed=0)
    assert np.isnan(nothing.value)
    assert nothing.n == 0
