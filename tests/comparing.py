"""What tests of comparisons share: little text to measure on, a stub judge, and runs that can be told apart."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from judging import MINUS, PLUS, made_texts, stub_embed

from temperament.calibration import NEUTRAL_PROMPT
from temperament.compare import Settings, compare, measuring, settings
from temperament.compare import judge as compare_judge
from temperament.evaluation import bootstrap
from temperament.evaluation.generation import Generation
from temperament.evaluation.ledger import Ledger, _Lines
from temperament.evaluation.local_judge import LocalJudge, contrast_judge
from temperament.models import LoadedModel

METHODS = ("contrastive-tilt", "vector")


@functools.cache
def stub_judge() -> LocalJudge:
    return LocalJudge.train(
        made_texts(PLUS, 12, 1),
        made_texts(MINUS, 12, 2),
        made_texts(PLUS, 6, 3),
        made_texts(MINUS, 6, 4),
        name="made",
        encode=stub_embed,
    )


def passages(path: Path | None = None, split: str = "test") -> tuple[str, ...]:
    del path
    return f"The tide comes in twice a day, {split}.", f"Rain fell on all the hills, {split}.", f"Bread, {split}."


@contextmanager
def quick() -> Iterator[pytest.MonkeyPatch]:
    """Comparisons that take a second: short neutral text and answers, few resamples, one budget, a stub judge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "neutral_passages", passages)
        patch.setattr(measuring, "Generation", functools.partial(Generation, max_tokens=4))
        patch.setattr(bootstrap, "RESAMPLES", 30)
        patch.setattr(settings, "BUDGETS", (1.05,))
        patch.setattr(compare_judge, "trait_judge", lambda trait: stub_judge())
        patch.setattr(compare_judge, "contrast_judge", functools.partial(contrast_judge, encode=stub_embed))
        patch.setattr(os, "fsync", lambda handle: None)
        yield patch


def asked(**changes: Any) -> Settings:
    given: dict[str, Any] = {"contrast": "extraversion", "methods": METHODS, "questions": 2}
    return Settings(**{**given, "calibration": 4, "validation": 3, "test": 3, **changes})


def comparison(lm: LoadedModel, folder: Path, **changes: Any) -> dict[str, Any]:
    return compare(lm, asked(**changes), folder)


def lasting(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what differs between two runs of the same thing."""
    methods = {name: {k: v for k, v in entry.items() if k != "seconds"} for name, entry in summary["methods"].items()}
    kept = {key: value for key, value in summary.items() if key not in ("seconds", "created", "command")}
    return {**kept, "methods": methods}


@contextmanager
def recorded(stop_at: int | None = None) -> Iterator[list[int]]:
    """A list of the items that are put to a model inside the block; Ctrl-C behind the record of number ``stop_at``."""
    added: list[int] = []
    real = _Lines.add

    def add(lines: _Lines, line: bytes) -> None:
        real(lines, line)
        added.append(len(line))
        if len(added) == stop_at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Lines, "add", add)
        yield added


@contextmanager
def watched() -> Iterator[list[tuple[Any, Any, str]]]:
    """Every (instrument, plan, label) that is asked of a ledger inside the block."""
    calls: list[tuple[Any, Any, str]] = []
    real = Ledger.run

    def ask(ledger: Ledger, instrument: Any, plan: Any, label: str) -> Any:
        calls.append((instrument, plan, label))
        return real(ledger, instrument, plan, label)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "run", ask)
        yield calls


def written_records(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(label, instrument) → records in item order, from the files of a run."""
    found = {}
    for path in (folder / "records").iterdir():
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = sorted(lines, key=lambda row: int(row["item"]))
        assert [row["item"] for row in rows] == list(range(len(rows)))
        found[head["side"], head["instrument"]] = [row["record"] for row in rows]
    return found


def custom_contrast(path: Path, per_pole: int = 90) -> Path:
    """A contrast of no built-in trait whose poles use different words; it names no splits."""
    rows = [
        {"pole": pole, "prompt": NEUTRAL_PROMPT, "response": text}
        for pole, words, seed in (("plus", PLUS, 11), ("minus", MINUS, 12))
        for text in made_texts(words, per_pole, seed)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path
