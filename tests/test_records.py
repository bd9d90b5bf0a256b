"""Per-item records of an evaluation: complete, reused, and computed again when they are damaged or do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from expect import counted_passes

from temperament.calibration import NEUTRAL_PROMPT, Choice, Contrast, Example
from temperament.evaluation import Evaluation, evaluate
from temperament.models import LoadedModel
from temperament.personas import Extraction


def test_records_are_saved_and_reused(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    def run() -> Evaluation:
        e = tiny_extraction
        return evaluate(
            tiny_llama, e.plus, e.minus, few_texts, signatures=e.signatures, neutral=short_neutral, folder=tmp_path
        )

    with counted_passes(tiny_llama) as passes:
        first = run()
    assert passes
    sides = {path.name.rpartition("-")[0] for path in tmp_path.iterdir()}
    pairs = ("worn", "random-0", "random-1", "random-2", "shuffled", "prompt")
    assert sides == {"unworn", *(f"{name}-{pole}" for name in pairs for pole in ("plus", "minus"))}
    with counted_passes(tiny_llama) as passes:
        assert run().as_json() == first.as_json()
    assert passes == []


def test_records_hold_every_item(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, short_neutral: Path
) -> None:
    odd = Contrast(
        "odd",
        (Example(NEUTRAL_PROMPT, "I sing\u2028and “dance”.\n", "a"), Example("Why?", "Joy.", "b")),
        (Example(NEUTRAL_PROMPT, "I read.", "c"),),
        (Choice("Out?", ("In", "Out"), 1, "d"),),
    )
    found = evaluate(
        tiny_llama,
        tiny_extraction.plus,
        tiny_extraction.minus,
        odd,
        controls=(),
        neutral=short_neutral,
        folder=tmp_path,
    )
    rows = {}
    for path in tmp_path.iterdir():
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        rows[lines[0]["side"]] = lines
    assert set(rows) == {"unworn", "worn-plus", "worn-minus"}
    assert [row["kind"] for row in rows["unworn"]] == ["statement"] * 3 + ["choice"] + ["passage"] * 5
    plus = rows["worn-plus"]
    assert [(row["pole"], row["response"]) for row in plus[:3]] == [
        ("plus", "I sing\u2028and “dance”.\n"),
        ("plus", "Joy."),
        ("minus", "I read."),
    ]
    assert (plus[3]["options"], plus[3]["matching"]) == (["In", "Out"], 1)
    change = [
        row["nats_per_token"] - other["nats_per_token"]
        for row, other in zip(plus, rows["worn-minus"], strict=True)
        if row["kind"] == "statement"
    ]
    assert found.measures["separation"].value == pytest.approx(np.mean(change[:2]) - change[2])
    with counted_passes(tiny_llama) as passes:
        evaluate(
            tiny_llama,
            tiny_extraction.plus,
            tiny_extraction.minus,
            odd,
            controls=(),
            neutral=short_neutral,
            folder=tmp_path,
        )
    assert passes == []


DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "cut in a line": lambda text: text[: len(text) // 2],
    "last line lost": lambda text: text[: text.rstrip("\n").rindex("\n") + 1],
    "first line lost": lambda text: text.split("\n", 1)[1],
    "line twice": lambda text: text + text.rstrip("\n").rsplit("\n", 1)[1] + "\n",
    "not JSON": lambda text: text.replace("{", "(", 1),
    "not a number": lambda text: text.replace('"nats_per_token": -', '"nats_per_token": NaN, "old": -', 1),
    "a word": lambda text: text.replace('"tokens": ', '"tokens": "few", "old": '),
    "a list": lambda text: "[1, 2]\n" + text,
    "huge": lambda text: text.replace('"tokens": ', '"tokens": 1' + "0" * 400 + ', "old": '),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_file_is_computed_again(
    tmp_path: Path,
    tiny_llama: LoadedModel,
    tiny_extraction: Extraction,
    few_texts: Contrast,
    short_neutral: Path,
    damage: str,
) -> None:
    def run() -> Evaluation:
        e = tiny_extraction
        return evaluate(tiny_llama, e.plus, e.minus, few_texts, controls=(), neutral=short_neutral, folder=tmp_path)

    first = run()
    (path,) = tmp_path.glob("worn-plus-*.jsonl")
    intact = path.read_text(encoding="utf-8")
    path.write_text(DAMAGE[damage](intact), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != intact
    with counted_passes(tiny_llama) as passes:
        assert run().as_json() == first.as_json()
    assert passes
    assert path.read_text(encoding="utf-8") == intact


def test_records_of_other_items_or_strengths_are_not_reused(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    plus, minus = tiny_extraction.plus, tiny_extraction.minus
    fewer = replace(few_texts, plus=few_texts.plus[1:])
    for data, strength, packed, expected in (
        (few_texts, 1, False, 3),
        (fewer, 1, False, 6),
        (few_texts, 0.5, False, 8),
        (few_texts, 1.0, True, 8),
    ):
        worn = [persona.packed(tiny_llama) if packed else persona for persona in (plus, minus)]
        evaluate(
            tiny_llama, worn[0], worn[1], data, strength=strength, controls=(), neutral=short_neutral, folder=tmp_path
        )
        assert len([*tmp_path.iterdir()]) == expected
