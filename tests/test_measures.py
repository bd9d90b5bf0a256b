"""Measures on numbers with known answers, bootstrap intervals, and log-probabilities against a naive computation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expect import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from temperament.calibration import NEUTRAL_PROMPT, Choice
from temperament.calibration.choices import affirmative_option
from temperament.evaluation.auc import auc, roc_auc
from temperament.evaluation.bootstrap import Measured, measured
from temperament.evaluation.choices import TwoChoice
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.perplexity import encode_passages, neutral_passages, perplexity
from temperament.evaluation.run import find_measures
from temperament.evaluation.score import Score, score_responses
from temperament.evaluation.separation import separation
from temperament.evaluation.two_choice import affirmation, two_choice
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.personas import Persona, Plan
from temperament.wear import wear


def array(*values: Any) -> NDArray[np.float64]:
    return np.array(values, dtype=float)


# --- separation and auc ----------------------------------------------------------------------------------------------


def test_separation_is_the_change_of_high_less_the_change_of_low() -> None:
    """Plus raises the highs by 1 and the lows by .5; minus lowers the highs by 2 and leaves the lows."""

    def records(*change: float) -> list[Record]:
        items = zip(("plus", "plus", "minus", "minus"), "abcd", array(-3, -5, -2, -4) + array(*change), strict=True)
        return [
            {"pole": pole, "prompt": NEUTRAL_PROMPT, "response": text, "nats_per_token": value}
            for pole, text, value in items
        ]

    plus, minus, base = (records(*change) for change in ((1, 1, 0.5, 0.5), (-2, -2, 0, 0), (0, 0, 0, 0)))
    (row,) = find_measures(("separation",))
    assert row.compute(plus, minus, base, 0).value == pytest.approx((1 - 0.5) - (-2 - 0))
    assert row.compute(minus, plus, base, 0).value == pytest.approx(-2.5)
    assert row.compute(base, base, base, 0).value == 0


def test_measures_read_the_records_of_their_own_side() -> None:
    """Which of plus, minus and unworn goes where shows only in measures that are not symmetric."""

    def passages(*totals: float) -> list[Record]:
        return [{"passage": "", "log_probability": total, "tokens": 10} for total in totals]

    def choices(*leads: float) -> list[Record]:
        return [
            {"prompt": "?", "options": ["Yes", "No"], "matching": 0, "log_probability": both, "nats_per_token": both}
            for both in ([lead, 0.0] for lead in leads)
        ]

    cost, preference = find_measures(("perplexity", "two_choice"))
    found = cost.compute(passages(-15, -15), passages(-25, -15), passages(-10, -10), 0)
    assert (found.extra["plus"], found.extra["minus"]) == pytest.approx((np.exp(0.5), np.e))
    assert (found.extra["base"], found.n) == (pytest.approx(np.e), 2)
    chosen = preference.compute(choices(1, 1, -1, 1), choices(-1, -1, -1, 1), choices(-1, -1, -1, -1), 0)
    assert (chosen.extra["one_sided"], chosen.value) == (75, 50 * (0.75 + 1 - 0.25))
    assert (chosen.extra["affirmation"], chosen.extra["affirmation_n"], chosen.n) == (100, 4, 4)


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [
        (array(2, 3), array(0, 1), 1),
        (array(0, 1), array(2, 3), 0),
        (array(1, 1), array(1, 1), 0.5),
        (array(1, 3), array(2, 2), 0.5),
        (array(1, 2), array(0, 1), 0.875),
        (array(5), array(4, 4, 6), 2 / 3),
    ],
)
def test_auc(high: NDArray[np.float64], low: NDArray[np.float64], expected: float) -> None:
    assert auc(high, low, seed=0).value == pytest.approx(expected)


NUMBERS = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


@given(NUMBERS, NUMBERS)
@settings(deadline=None)
def test_auc_is_the_share_of_pairs_in_the_right_order(high: list[int], low: list[int]) -> None:
    brute = np.mean([(a > b) + (a == b) / 2 for a in high for b in low])
    assert roc_auc(array(*high), array(*low)) == pytest.approx(brute)
    rows = roc_auc(np.stack([array(*high)] * 3), np.stack([array(*low)] * 3), axis=-1)
    assert rows == pytest.approx([brute] * 3)


# --- two_choice ------------------------------------------------------------------------------------------------------


def choice(first: str, second: str, matching: int) -> Choice:
    return Choice("?", (first, second), matching, f"{first} {second}")


def sides(*options: tuple[tuple[float, float], tuple[float, float]]) -> NDArray[np.float64]:
    return array(*options)


def test_two_choice_one_and_two_sided_raw_and_normalised() -> None:
    """Each option is (summed, per token). Item 1 turns with the persona, item 2 never, item 3 is a tie for minus."""
    items = [choice("Yes", "No", 0), choice("No", "Yes", 0), choice("Red", "Blue", 1)]
    plus = sides(((-9, -1), (-4, -2)), ((-2, -3), (-9, -1)), ((-5, -5), (-1, -1)))
    minus = sides(((-9, -2), (-4, -1)), ((-2, -3), (-9, -1)), ((-5, -3), (-5, -3)))
    found = two_choice(items, plus, minus, seed=0)
    assert found.n == 3
    assert found.extra["one_sided"] == pytest.approx(100 * 2 / 3)
    assert found.value == found.extra["two_sided"] == pytest.approx(50 * (2 / 3 + 1 - 0.5 / 3))
    assert found.extra["raw_one_sided"] == pytest.approx(100 * 2 / 3)
    assert found.extra["raw_two_sided"] == pytest.approx(50 * (2 / 3 + 1 - 1.5 / 3))
    assert found.low <= found.value <= found.high


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-2, 2)), min_size=2, max_size=12))
@settings(deadline=None, max_examples=25)
def test_any_fixed_habit_scores_fifty_two_sided(habit: list[tuple[int, int]]) -> None:
    items = [choice("Yes", "No", matching) for matching, _ in habit]
    scores = sides(*(((0.0, 0.0), (float(lead), float(lead))) for _, lead in habit))
    found = two_choice(items, scores, scores, seed=0)
    assert found.value == found.extra["raw_two_sided"] == pytest.approx(50)


def test_affirmation_counts_only_items_that_can_be_told() -> None:
    items = [choice("Yes", "No", 0), choice("No", "Yes", 0), choice("Yes", "No", 0), choice("Red", "Blue", 1)]
    assert affirmation(items) == {"affirmation": pytest.approx(200 / 3), "affirmation_n": 3, "affirmation_untold": 1}
    assert affirmation(items[3:]) == {"affirmation": None, "affirmation_n": 0, "affirmation_untold": 1}


def test_a_model_that_always_says_yes(fresh_llama: LoadedModel) -> None:
    """Two-sided it is at 50 %, one-sided exactly at the affirmation rule, which is why that is printed beside it."""
    yes, no = ([*item.ids[item.start :]] for item in encoded(fresh_llama, "?", "Yes", "No"))

    def agree(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros(logits.shape[-1])
        bias[yes], bias[no] = 50, -50
        return logits + bias

    fresh_llama.model.get_submodule("lm_head").register_forward_hook(agree)
    options = [("Yes", "No"), ("No", "Yes"), ("No", "Yes"), ("Yes", "No"), ("No", "Yes")]
    items = tuple(Choice(f"{index}?", pair, min(index, 1), str(index)) for index, pair in enumerate(options))
    records = Ledger(fresh_llama).run(TwoChoice(items), Plan(), "unworn")
    found = find_measures(("two_choice",))[0].compute(records, records, records, 0)
    assert found.value == found.extra["raw_two_sided"] == 50
    rule = 100 * np.mean([affirmative_option(item) == item.matching for item in items])
    assert found.extra["one_sided"] == found.extra["raw_one_sided"] == found.extra["affirmation"] == pytest.approx(rule)
    assert rule == 80


# --- perplexity ------------------------------------------------------------------------------------------------------


def test_perplexity_ratios() -> None:
    """20 tokens at −1, −1.5 and −2 nats each: the ratios are e^.5 and e, and the larger one is the value."""
    base = array((-15, 15), (-5, 5))
    plus, minus = base * array(1.5, 1), base * array(2, 1)
    found = perplexity(plus, minus, base, seed=0)
    assert (found.extra["plus"], found.extra["minus"]) == pytest.approx((np.exp(0.5), np.e))
    assert (found.value, found.extra["base"]) == pytest.approx((np.e, np.e))
    assert (found.low, found.high) == tuple(found.extra["minus_interval"])
    assert (found.n, found.extra["tokens"]) == (2, 20)
    assert perplexity(base, base, base, seed=0).value == 1
    assert perplexity(minus, plus, base, seed=0).value == found.value


def test_intervals_of_perplexity_resample_passages() -> None:
    """A long passage counts as one: with all of the cost in it, the interval reaches from no cost to its own."""
    base = array(*[(-10, 10)] * 6, (-1000, 1000))
    worn = array(*[(-10, 10)] * 6, (-1500, 1000))
    found = perplexity(worn, worn, base, seed=0)
    assert found.n == 7
    assert found.low == 1
    assert 1.6 < found.value < found.high < np.exp(0.5)


def test_neutral_passages(tmp_path: Path) -> None:
    assert len(neutral_passages()) >= 20
    path = tmp_path / "wiki.txt"
    path.write_text(
        " = Heading of a page that is long enough = \n\n Too short . \n One two three four five six seven eight .\n"
    )
    assert neutral_passages(path) == ("One two three four five six seven eight .",)
    path.write_text("Too short.")
    with refused("wiki.txt holds no passage", "one paragraph a line"):
        neutral_passages(path)
    with refused("none.txt cannot be read"):
        neutral_passages(tmp_path / "none.txt")


def test_the_scored_tokens_of_a_passage_do_not_depend_on_what_is_worn(tiny_model: LoadedModel) -> None:
    """Also where a window ends just before or after the passage, and with a BOS token that is there only once."""
    passages = ["x" * length for length in (1, 2, 255, 256, 257, 258, 511, 513)]
    bare = encode_passages(tiny_model, passages)
    with wear(tiny_model, Persona.from_prompt("Be calm.")):
        worn = encode_passages(tiny_model, passages)
    scored = [item.ids[item.start :] for item in bare]
    assert scored == [item.ids[item.start :] for item in worn]
    assert [len(ids) for ids in scored] == [1, 254, 255, 255, 255, 1, 255, 254, 255, 255]
    assert all(len(item.ids) <= tiny_model.max_tokens for item in (*bare, *worn))
    with wear(tiny_model, Persona.from_prompt("calm " * 60)), refused("tokens that the model takes", "shorten"):
        encode_passages(tiny_model, passages)


# --- bootstrap -------------------------------------------------------------------------------------------------------


def test_intervals_are_seeded() -> None:
    high, low = np.random.default_rng(0).normal(size=(2, 30))
    assert separation(high, low, seed=1) == separation(high, low, seed=1)
    assert separation(high, low, seed=1).low != separation(high, low, seed=2).low


@pytest.mark.parametrize("measure", [separation, auc])
def test_intervals_cover_the_truth(measure: Callable[..., Measured]) -> None:
    """95 % intervals of 100 experiments with a known answer: between 87 and 100 of them hold it."""
    rng, truth = np.random.default_rng(0), {separation: 1.0, auc: 0.7602}[measure]
    hits = 0
    for seed in range(100):
        found = measure(rng.normal(1, 1, 50), rng.normal(0, 1, 50), seed=seed)
        hits += found.low <= truth <= found.high
    assert hits >= 87


def test_paired_samples_are_resampled_together() -> None:
    """The difference of two equal samples is 0 in every paired resample."""
    values = np.random.default_rng(0).normal(size=40)

    def gap(a: Any, b: Any, axis: int = -1) -> Any:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    together = measured((values, values), gap, seed=0, paired=True)
    assert (together.low, together.high, together.n) == (0, 0, 40)
    apart = measured((values, values), gap, seed=0)
    assert apart.low < 0 < apart.high
    assert apart.n == 80


def test_one_item_has_no_interval() -> None:
    found = separation(array(1), array(0, 2), seed=0)
    assert found.value == 0
    assert np.isnan([found.low, found.high]).all()


# --- log-probabilities -----------------------------------------------------------------------------------------------


def encoded(lm: LoadedModel, prompt: str, *responses: str) -> list[Encoded]:
    return [lm.encode(prompt, response) for response in responses]


def items_of(lm: LoadedModel) -> list[Encoded]:
    """Short and long, repeated, with a common prompt, with only the last token different, one a part of another."""
    question = encoded(lm, "Out or in?", "Yes", "Yet", "No", "Y", "Yes", "I would rather stay in, " * 4)
    (other,) = encoded(lm, "Why? " * 20, "Because.")
    later = Encoded(question[0].ids, question[0].start + 1)
    return [*question, other, later, Encoded(other.ids[:-1], 3)]


@torch.no_grad()
def naive(lm: LoadedModel, item: Encoded) -> Score:
    """One forward pass for one item, every logit."""
    logits = lm.model(torch.tensor([item.ids])).logits[0].double().log_softmax(-1)
    total = sum(float(logits[position - 1, item.ids[position]]) for position in range(item.start, len(item.ids)))
    return Score(total, len(item.ids) - item.start)


def test_scores_are_those_of_a_naive_computation(tiny_model: LoadedModel) -> None:
    items = items_of(tiny_model)
    for found, item in zip(score_responses(tiny_model, items), items, strict=True):
        expected = naive(tiny_model, item)
        assert found.tokens == expected.tokens
        assert found.total == pytest.approx(expected.total, abs=1e-3)
        assert found.per_token == pytest.approx(expected.total / expected.tokens, abs=1e-4)


def test_scores_do_not_depend_on_neighbours(tiny_model: LoadedModel) -> None:
    items = items_of(tiny_model)
    alone = [score_responses(tiny_model, [item])[0].total for item in items]
    order = random.Random(0).sample(range(len(items)), len(items))
    mixed = score_responses(tiny_model, [items[index] for index in order])
    assert [mixed[order.index(index)].total for index in range(len(items))] == pytest.approx(alone, abs=1e-3)


def test_nothing_to_score_gives_no_scores(tiny_llama: LoadedModel) -> None:
    assert score_responses(tiny_llama, []) == []
