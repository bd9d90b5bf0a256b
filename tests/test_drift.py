"""Scripted dialogues: what the model reads at each turn, resuming, a full window; and the slope of known scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expect import counted_passes, refused
from numpy.typing import NDArray

from temperament.calibration.contrast import group_key
from temperament.evaluation import drift as module
from temperament.evaluation.drift import Dialogues, drift, trait_scores
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.generate import Message, chat
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan


@dataclass(frozen=True)
class Scripted:
    name: str
    turns: tuple[str, ...]


MORNING = Scripted("morning", tuple(f"Up {turn}?" for turn in "abcdefgh"))
EVENING = Scripted("evening", tuple(f"Is it late, {turn}?" for turn in "abcdefghij"))


def counting(lm: LoadedModel, prompts: Sequence[Sequence[int]], **_: Any) -> list[list[int]]:
    """A model that answers each dialogue with the number of the user's turns in it."""
    (user,) = lm.tokenizer("<|user|>", add_special_tokens=False).input_ids
    numbers = (str(list(prompt).count(user)) for prompt in prompts)
    return [list(lm.tokenizer(number, add_special_tokens=False).input_ids) for number in numbers]


def test_every_turn_is_asked_once_behind_all_turns_before_it(
    tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []

    def noting(lm: LoadedModel, prompts: Sequence[Sequence[int]], **settings: Any) -> list[list[int]]:
        read.append([str(lm.tokenizer.decode(list(prompt))) for prompt in prompts])
        return counting(lm, prompts, **settings)

    monkeypatch.setattr(module, "generate_ids", noting)
    plan = Plan.of(Persona.from_prompt("Be kind."))
    records = Ledger(tiny_llama).run(Dialogues([MORNING, EVENING]), plan, "worn")
    for record, script in zip(records, (MORNING, EVENING), strict=True):
        assert (record["script"], record["note"]) == (script.name, None)
        assert [turn["question"] for turn in record["turns"]] == list(script.turns)
        assert [turn["answer"] for turn in record["turns"]] == [str(turn + 1) for turn in range(len(script.turns))]
    assert [len(batch) for batch in read] == [2] * 8 + [1] * 2  # one batch a turn, the longer script alone at its end
    assert read[2][0] == (
        "<|bos|><|system|>Be kind.<|endoftext|><|user|>Up a?<|endoftext|><|assistant|>1<|endoftext|>"
        "<|user|>Up b?<|endoftext|><|assistant|>2<|endoftext|><|user|>Up c?<|endoftext|><|assistant|>"
    )


def test_answers_are_those_of_chat_whatever_stands_beside_them(tiny_llama: LoadedModel) -> None:
    records = Ledger(tiny_llama).run(Dialogues([MORNING, EVENING], max_tokens=5), Plan(), "unworn")
    dialogue: list[Message] = []
    for turn in records[1]["turns"]:
        dialogue.append(Message("user", turn["question"]))
        assert chat(tiny_llama, dialogue, max_tokens=5) == turn["answer"]
        dialogue.append(Message("assistant", turn["answer"]))
    assert any(turn["answer"] for turn in records[1]["turns"])


def test_an_interrupted_run_holds_only_the_missing_dialogues(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 1)
    calls: list[int] = []

    def failing(lm: LoadedModel, prompts: Sequence[Sequence[int]], **settings: Any) -> list[list[int]]:
        calls.append(len(prompts))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return counting(lm, prompts, **settings)

    monkeypatch.setattr(module, "generate_ids", failing)
    with pytest.raises(KeyboardInterrupt):
        Ledger(tiny_llama, tmp_path).run(Dialogues([MORNING, EVENING]), Plan(), "unworn")
    calls.clear()
    records = Ledger(tiny_llama, tmp_path).run(Dialogues([MORNING, EVENING]), Plan(), "unworn")
    assert len(calls) == len(EVENING.turns)
    assert [record["script"] for record in records] == ["morning", "evening"]
    calls.clear()
    assert Ledger(tiny_llama, tmp_path).run(Dialogues([MORNING, EVENING]), Plan(), "unworn") == records
    assert not calls


def test_a_dialogue_that_fills_the_window_stops_with_a_note(
    tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 100 tokens a turn in a window of 512: the long one stops before its fifth turn, the short one goes on."""
    long = Scripted("long", tuple("?" * 100 for _ in range(8)))
    monkeypatch.setattr(module, "generate_ids", counting)
    records = Ledger(tiny_llama).run(Dialogues([long, MORNING], max_tokens=20), Plan(), "unworn")
    assert [len(record["turns"]) for record in records] == [4, 8]
    assert records[1]["note"] is None
    assert "stopped before turn 5" in records[0]["note"]
    assert "512" in records[0]["note"]


def test_a_window_too_small_for_one_turn_costs_no_pass(tiny_llama: LoadedModel) -> None:
    with counted_passes(tiny_llama) as passes:
        (record,) = Ledger(tiny_llama).run(Dialogues([MORNING], max_tokens=510), Plan(), "unworn")
    assert (record["turns"], passes) == ([], [])
    assert "before turn 1" in record["note"]


def test_scripts_that_cannot_show_drift_are_refused() -> None:
    with refused("no script"):
        Dialogues([])
    with refused("'short' has 7 turns with text of 7", "8 or more"):
        Dialogues([Scripted("short", MORNING.turns[:7])])
    with refused("7 turns with text of 8"):
        Dialogues([Scripted("gap", (*MORNING.turns[:7], " "))])
    with refused("same name"):
        Dialogues([MORNING, Scripted("morning", EVENING.turns)])
    with refused("0 tokens"):
        Dialogues([MORNING], max_tokens=0)


def test_identity_of_dialogues() -> None:
    variants = [
        Dialogues([MORNING]),
        Dialogues([MORNING, EVENING]),
        Dialogues([EVENING, MORNING]),
        Dialogues([MORNING], max_tokens=8),
        Dialogues([MORNING], repetition_penalty=1.0),
    ]
    assert len({variant.hash for variant in variants}) == len(variants)
    assert variants[0].groups == {group_key(turn) for turn in MORNING.turns}


# --- the measure -----------------------------------------------------------------------------------------------------


def spoken(*answers: Sequence[float | None], cut: bool = False) -> list[Record]:
    """One script per row of answers, each answer a number that the judge reads; None is an empty answer."""
    return [
        {
            "script": f"s{row}",
            "turns": [{"question": "?", "answer": "" if value is None else str(value)} for value in values],
            "note": "stopped" if cut else None,
        }
        for row, values in enumerate(answers)
    ]


def reading(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(text) for text in texts])


def test_the_slope_is_the_change_per_turn_of_plus_less_minus() -> None:
    """Plus fades by .02 and .04 a turn from .9; minus and unworn stay."""
    turns = np.arange(8)
    plus = spoken(*(list(0.9 - slope * turns) for slope in (0.02, 0.04)))
    minus, base = spoken(*[[0.2] * 8] * 2), spoken(*[[0.5] * 8] * 2)
    found = drift(plus, minus, base, reading, seed=0)
    assert found.value == pytest.approx(-0.03)
    assert (found.low, found.high) == pytest.approx((-0.04, -0.02))
    assert found.n == 2
    first, *_, last = found.extra["by_turn"]
    assert (first["turn"], last["turn"], len(found.extra["by_turn"])) == (1, 8, 8)
    assert (first["plus"], first["minus"], first["unworn"]) == pytest.approx((0.9, 0.2, 0.5))
    assert (first["difference"], last["difference"]) == pytest.approx((0.7, 0.7 - 0.21))
    assert last["difference_interval"] == pytest.approx([0.7 - 0.28, 0.7 - 0.14])
    assert drift(minus, plus, base, reading, seed=0).value == pytest.approx(0.03)
    assert drift(plus, plus, base, reading, seed=0).value == 0


def test_empty_answers_and_turns_that_were_not_reached_have_no_score() -> None:
    plus = spoken([0.8, None, 0.6, 0.5], [0.9, 0.9, 0.9, 0.9])
    minus = spoken([0.1, 0.9, 0.1, 0.1]) + spoken([0.0, 0.0], [0.1, 0.1], cut=True)[1:]
    base = spoken([0.5] * 4, [None] * 4)
    found = drift(plus, minus, base, reading, seed=0)
    assert found.value == pytest.approx(-0.05)  # −.1 a turn in the first script, 0 in the second's two turns
    assert found.extra["empty"] == {"plus": 1, "minus": 0, "unworn": 4}
    assert found.extra["stopped"] == {"plus": 0, "minus": 1, "unworn": 0}
    assert [row["difference_n"] for row in found.extra["by_turn"]] == [2, 1, 1, 1]
    assert found.extra["by_turn"][1]["difference"] == pytest.approx(0.8)
    assert found.extra["by_turn"][0]["unworn"] == 0.5
    assert np.isnan(trait_scores(plus, reading)[0, 1])


def test_without_two_scored_turns_there_is_no_slope() -> None:
    nothing = spoken([None, None])
    found = drift(nothing, nothing, nothing, reading, seed=0)
    assert np.isnan(found.value)
    assert found.n == 0
    assert found.extra["by_turn"][0]["plus"] is None


def test_a_text_without_a_verdict_is_missing() -> None:
    def silent(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([np.nan if text == "0.3" else float(text) for text in texts])

    plus, flat = spoken([0.5, 0.3, 0.1]), spoken([0.0, 0.0, 0.0])
    found = drift(plus, flat, flat, silent, seed=0)
    assert found.value == pytest.approx(-0.2)
    assert found.extra["unscored"] == {"plus": 1, "minus": 0, "unworn": 0}
    with pytest.raises(ValueError, match="the judge gave"):
        trait_scores(plus, lambda texts: np.array([0.5]))


def test_sides_must_hold_the_same_scripts() -> None:
    two = spoken([0.1] * 3, [0.2] * 3)
    with pytest.raises(ValueError, match="different scripts"):
        drift(two, two[::-1], two, reading, seed=0)
