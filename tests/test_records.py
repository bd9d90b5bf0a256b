"""Per-item records of an evaluation: complete, reused, and computed again when they are damaged or do not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expect import counted_passes

from temperament.calibration import NEUTRAL_PROMPT, Choice, Contrast, Example
from temperament.evaluation import Evaluation, evaluate
from temperament.models import LoadedModel
from temperament.personas import Extraction

KINDS = ("statements", "choices", "passages")


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
    labels = ("unworn", *(f"{name}-{pole}" for name in pairs for pole in ("plus", "minus")))
    assert sides == {f"{label}-{kind}" for label in labels for kind in KINDS}
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
    rows: dict[str, dict[str, list[Any]]] = {}
    for path in tmp_path.iterdir():
        head, *lines = (json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
        in_order = sorted(lines, key=lambda line: int(line["item"]))
        rows.setdefault(head["side"], {})[head["instrument"]] = [line["record"] for line in in_order]
    assert set(rows) == {"unworn", "worn-plus", "worn-minus"}
    for side in rows.values():
        assert {kind: len(side[kind]) for kind in side} == {"statements": 3, "choices": 1, "passages": 5}
    plus, minus = (rows[f"worn-{pole}"]["statements"] for pole in ("plus", "minus"))
    assert [(row["pole"], row["response"]) for row in plus] == [
        ("plus", "I sing\u2028and “dance”.\n"),
        ("plus", "Joy."),
        ("minus", "I read."),
    ]
    (asked,) = rows["worn-plus"]["choices"]
    assert (asked["options"], asked["matching"]) == (["In", "Out"], 1)
    change = [row["nats_per_token"] - other["nats_per_token"] for row, other in zip(plus, minus, strict=True)]
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


#: What is done to every file of a side.
DAMAGE: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "cut in a line": lambda text: text[: len(text) // 2],
    "last line lost": lambda text: text[: text.rstrip("\n").rindex("\n") + 1],
    "first line lost": lambda text: text.split("\n", 1)[1],
    "not JSON": lambda text: text.replace("{", "(", 1),
    "not a number": lambda text: text.replace('"nats_per_token": -', '"nats_per_token": NaN, "old": -', 1),
    "a word": lambda text: text.replace('"tokens": ', '"tokens": "few", "old": '),
    "a list": lambda text: "[1, 2]\n" + text,
    "huge": lambda text: text.replace('"tokens": ', '"tokens": 1' + "0" * 400 + ', "old": '),
    "another figure": lambda text: re.sub(r"-(\d+\.\d)", r"-1\1", text, count=1),
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

    first, change = run(), DAMAGE[damage]
    intact = {path: path.read_text(encoding="utf-8") for path in tmp_path.glob("worn-plus-*.jsonl")}
    assert len(intact) == 3
    for path, text in intact.items():
        path.write_text(change(text), encoding="utf-8")
    damaged = [path for path, text in intact.items() if path.read_text(encoding="utf-8") != text]
    assert damaged
    with counted_passes(tiny_llama) as passes:
        again = run()
    assert passes
    assert again.as_json() == first.as_json(), "the same batches as before, hence the same bits"
    for path, text in intact.items():
        assert sorted(path.read_text(encoding="utf-8").split("\n")) == sorted(text.split("\n"))
    with counted_passes(tiny_llama) as passes:
        assert run().as_json() == again.as_json()
    assert passes == []


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    """In the middle of a side: its finished items are not put to the model again."""
    steps: list[tuple[str, int]] = []

    def run(stop: tuple[str, int] | None) -> Evaluation:
        def progress(label: str, done: int, _: int) -> None:
            steps.append((label, done))
            if (label, done) == stop:
                raise KeyboardInterrupt

        e = tiny_extraction
        return evaluate(
            tiny_llama,
            e.plus,
            e.minus,
            few_texts,
            controls=(),
            neutral=short_neutral,
            folder=tmp_path,
            progress=progress,
        )

    with pytest.raises(KeyboardInterrupt):
        run(("worn-plus", 15))
    before = [*steps]
    run(None)
    assert steps[len(before) :][0] == ("worn-plus", 16)
    assert len(steps) == len({*steps}) == 3 * 29


def test_records_of_other_items_or_strengths_are_not_reused(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    plus, minus = tiny_extraction.plus, tiny_extraction.minus
    fewer = replace(few_texts, plus=few_texts.plus[1:])
    for data, strength, packed, expected in (
        (few_texts, 1, False, 9),
        (fewer, 1, False, 15),  # the passages are the same, and each side has two other files
        (few_texts, 0.5, False, 21),
        (few_texts, 1.0, True, 21),
    ):
        worn = [persona.packed(tiny_llama) if packed else persona for persona in (plus, minus)]
        evaluate(
            tiny_llama, worn[0], worn[1], data, strength=strength, controls=(), neutral=short_neutral, folder=tmp_path
        )
        assert len([*tmp_path.iterdir()]) == expected
