"""Rows of the benchmark table, printed as Markdown and kept as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from temperament.personas import package_versions


@dataclass(frozen=True)
class Row:
    """One figure; ``met`` is None where there is no target."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| figure | measured | aim | |", "|---|---|---|---|"]
    marks = {True: "met", False: "**missed**", None: ""}
    return "\n".join([*lines, *(f"| {row.what} | {row.value} | {row.target} | {marks[row.met]} |" for row in rows)])


def save(rows: Sequence[Row], path: Path) -> None:
    """Rows and the circumstances they were measured in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    circumstances = {
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": package_versions(),
    }
    path.write_text(
        json.dumps(
            {"circumstances": circumstances, "rows": [asdict(row) for row in rows]}, indent=2, ensure_ascii=False
        )
    )
