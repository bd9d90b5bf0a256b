"""Terminal tables of role play: accuracies beside prior and chance, and reference answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.evaluation.bootstrap import Measured
from temperament.report.tables import interval, plain_table

_ROWS = ("told", "untold", "prior", "told, prior off", "untold, prior off")
#: Short name of each kind of question, and what it asks.
_KINDS = {"who": ("quote", "who said this"), "reply": ("reply", "which reply fits")}


def choice_table(summary: Mapping[str, Any], title: str) -> Table:
    """Accuracy in % by kind and side; a row per context."""
    kinds = [kind for kind in _KINDS if any(kind in side for side in summary.values())]
    heads = [f"{_KINDS[kind][0]}\n{side}" for kind in kinds for side in summary]
    table = plain_table("%", *heads, title=title)
    table.padding = (0, 1, 0, 0)
    for row in _ROWS:
        table.add_row(row, *(_cell(side[kind][row]) for kind in kinds for side in summary.values()))
    table.add_row("chance", *(f"{side[kind]['chance']:.1f}" for kind in kinds for side in summary.values()))
    sizes = {kind: next(iter(summary.values()))[kind]["n"] for kind in kinds}
    asked = "; ".join(f"{name}: {what}, {sizes[kind]} items" for kind, (name, what) in _KINDS.items() if kind in sizes)
    lines = [
        asked,
        "chosen by the largest log-probability per token; [ ] 95 % bootstrap interval over items",
        "told: the prompt says who the people are; untold: only what is worn does",
        "prior: options without the question",
        "prior off: each option's own log-probability in the prior taken away first",
    ]
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def reference_table(changes: Mapping[str, Any], title: str) -> Table:
    """Change of the reference answers of the role worn, and of all others."""
    table = plain_table("reference answers of", "items", "unworn", "change when worn", title=title)
    for label, row in changes.items():
        table.add_row(label, str(row["n"]), f"{row['unworn']:.2f}", _cell(row["change"], 2) if row["change"] else "–")
    table.caption = Text("nats per token; the change of the other roles' answers is the control")
    table.caption_justify = "left"
    return table


def _cell(figure: Mapping[str, Any], digits: int = 0) -> str:
    return interval(Measured(figure["value"], figure["low"], figure["high"], figure["n"]), digits)
