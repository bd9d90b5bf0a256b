"""Scripts of a long everyday conversation, to see whether a worn personality lasts from its first turn to its last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Script:
    """What the user says in each of ten turns, whatever the answers were."""

    name: str
    turns: tuple[str, ...]


@cache
def drift_scripts() -> tuple[Script, ...]:
    """Four scripts: two that lean nowhere, one whose user is cheerful and outgoing, one whose user is tired and quiet.

    The last two pull mildly against a personality of either direction.
    """
    text = (files("temperament.evaluation") / "drift_scripts.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(Script(row["name"], tuple(row["turns"])) for row in rows)
