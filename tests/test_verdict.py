"""The verdict on made-up figures: who wins, and when nobody does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from temperament.compare.verdict import verdict


def figure(value: float, half: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def method(value: float, random: float = 0.05, kind: str = "mask", fits: bool = True, **more: Any) -> dict[str, Any]:
    controls = {f"random-{seed}": {"separation": figure(random / (seed + 1), 0.02)} for seed in range(3)}
    controls |= {"shuffled": {"separation": figure(0.0, 0.02)}, "swapped": {"separation": figure(-value)}}
    measures = {"separation": figure(value), **more}
    return {"kind": kind, "perplexity": 1.07, "within_budget": fits, "measures": measures, "controls": controls}


def prompt(value: float, half: float = 0.1) -> dict[str, Any]:
    measures = {"separation": figure(value, half)}
    return {"kind": "prompt", "perplexity": 1.0, "within_budget": True, "measures": measures, "controls": {}}


def test_the_largest_clear_effect_wins() -> None:
    found = verdict({"prompt": prompt(0.2), "a": method(0.5), "b": method(0.7), "c": method(0.6)}, 1.1, "calm")
    assert found["winner"] == "b"
    assert found["beats_prompt"] is True
    assert found["generation_agrees"] is None
    assert found["sentence"] == (
        "b separates calm by 0.70 nats/token [0.60, 0.80] at × 1.07 perplexity; its random and shuffled controls "
        "reach 0.05 (interval ends 0.07); it goes 3.5 times as far as a system prompt (0.20); c, the best of the "
        "others, reaches 0.60."
    )


@pytest.mark.parametrize(
    "other",
    [
        method(0.7, random=0.65),
        method(0.7, random=-0.65),
        method(0.7, random=0.59),  # its interval meets the effect's
        method(0.7, random=math.nan),
        method(0.7, fits=False),
        method(0.7, kind="lora"),
        method(math.nan),
        {"kind": "", "error": "it broke"},
    ],
    ids=["random", "random of the other sign", "random interval", "no control", "cost", "trained", "nan", "failed"],
)
def test_what_cannot_win(other: dict[str, Any]) -> None:
    found = verdict({"prompt": prompt(0.2), "a": method(0.3), "b": other}, 1.1, "calm")
    assert found["winner"] == "a"
    alone = verdict({"prompt": prompt(0.2), "b": other}, 1.1, "calm")
    assert alone["winner"] is None
    assert alone["beats_prompt"] is False
    assert "A system prompt reaches 0.20" in alone["sentence"]


def test_who_went_further_beyond_the_budget_is_told() -> None:
    methods = {"a": method(0.5), "b": method(0.9, fits=False), "c": method(0.4, fits=False)}
    sentence = verdict(methods, 1.1, "calm")["sentence"]
    assert sentence.startswith("a separates")
    assert "beyond the budget b reaches 0.90 at × 1.07" in sentence
    assert "best of the others" not in sentence


def test_shuffled_labels_are_a_control_too() -> None:
    entry = method(0.5)
    entry["controls"]["shuffled"]["separation"] = figure(0.5)
    assert verdict({"a": entry}, 1.1, "calm")["winner"] is None
    entry["controls"]["shuffled"]["separation"] = figure(0.2)
    assert verdict({"a": entry}, 1.1, "calm")["winner"] == "a"


def test_a_prompt_that_does_as_well_is_named() -> None:
    found = verdict({"prompt": prompt(0.9), "a": method(0.7)}, 1.1, "calm")
    assert found["winner"] == "a"
    assert found["beats_prompt"] is False
    assert "does not clearly beat a system prompt (0.90 [0.80, 1.00])" in found["sentence"]
    near = verdict({"prompt": prompt(0.55), "a": method(0.7)}, 1.1, "calm")
    assert near["beats_prompt"] is False, "the intervals meet"


def test_no_multiple_of_a_prompt_that_does_nothing() -> None:
    found = verdict({"prompt": prompt(0.01), "a": method(0.7)}, 1.1, "calm")
    assert found["beats_prompt"] is True
    assert "times" not in found["sentence"]


def test_the_prompt_itself_never_wins() -> None:
    assert verdict({"prompt": prompt(0.9)}, 1.1, "calm")["winner"] is None


def test_a_failed_prompt_is_not_beaten() -> None:
    found = verdict({"prompt": {"kind": "", "error": "too long"}, "a": method(0.7)}, 1.1, "calm")
    assert (found["winner"], found["beats_prompt"]) == ("a", False)
    assert "prompt" not in found["sentence"]


@pytest.mark.parametrize(
    ("judged", "agrees", "words"),
    [
        (figure(0.3), True, "changes the same way (local judge)."),
        (figure(0.05), False, "does not clearly change (local judge)."),
        (figure(math.nan), None, "nats/token"),
    ],
)
def test_whether_what_is_written_agrees(judged: dict[str, float], agrees: bool | None, words: str) -> None:
    found = verdict({"a": method(0.7, generation=judged)}, 1.1, "calm")
    assert found["generation_agrees"] is agrees
    assert words in found["sentence"]
    assert ("local judge" in found["sentence"]) is (agrees is not None)


def test_nothing_was_measured() -> None:
    failed = {"kind": "", "error": "it broke"}
    assert verdict({"a": failed}, 1.1, "calm")["sentence"] == "No method could be measured."
    only = verdict({"prompt": prompt(0.2), "a": failed}, 1.1, "calm")["sentence"]
    assert only.startswith("No method but the system prompt was measured.")
    assert "× 1.10" in verdict({"a": method(0.0)}, 1.1, "calm")["sentence"]
