"""A reproduced table for the terminal and as Markdown, with the paper's figures marked as the paper's."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from temperament.atomic import write_bytes
from temperament.evaluation.bootstrap import Measured
from temperament.report.plain_words import shown
from temperament.report.tables import plain_table
from temperament.reproduce.table import Column, Figure, Reproduced

#: What stands where a method gave no figure; a figure of the paper that is not at hand stays empty.
_ABSENT = "–"
#: From here on a figure says only that something broke.
_HUGE = 1e6


def reproduce_tables(result: Reproduced) -> list[Table]:
    """One table per group of columns, each within about 80 columns; controls without their intervals."""
    tables = []
    for group, columns in result.groups.items():
        table = plain_table(result.first, *(_head(column) for column in columns), title=f"{result.name}, {group}")
        table.padding = (0, 1, 0, 0)
        table.columns[0].no_wrap = False  # where there is no room, names take two lines; a figure is never cut
        for column, given in zip(columns, table.columns[1:], strict=True):
            given.style = "italic" if column.source == "paper" else "dim" if column.source == "control" else ""
        for row in result.rows:
            cells = (_cell(row.get(group, column.key), column, narrow=True) for column in columns)
            table.add_row(Text(row.label), *map(Text, cells), end_section=row.role == "control")
        tables.append(table)
    return tables


def remarks(result: Reproduced, told: Collection[str] = ()) -> list[str]:
    """What stands below the tables: failures first, whose figures the paper's are, then the notes not ``told`` yet."""
    return [*_failures(result), _paper(result), *(note for note in result.notes if note not in told)]


def reproduce_markdown(result: Reproduced) -> str:
    """The whole table as a Markdown page: an overview of all groups, every group with intervals, remarks."""
    model = result.provenance["model"]
    place = f"{_safe(model['name'])} ({model['dtype']}, {model['device']})"
    parts = [
        f"# {result.name}: {result.title}",
        f"{result.source}{_model(result)}. Measured here: {place}, seed {result.provenance['seed']}. *Italic* columns "
        "are the paper's own figures; columns in (brackets) are "
        "controls.",
    ]
    overview = [(group, column) for group, columns in result.groups.items() for column in columns if column.overview]
    if len(result.groups) > 1 and overview:
        heads = [f"{_safe(group)}: {_markdown_head(column)}" for group, column in overview]
        rows = [
            [_safe(row.label), *(_markdown(row.get(group, column.key), column, False) for group, column in overview)]
            for row in result.rows
        ]
        parts.append(_grid([result.first, *heads], rows))
    for group, columns in result.groups.items():
        rows = [
            [_safe(row.label), *(_markdown(row.get(group, column.key), column, True) for column in columns)]
            for row in result.rows
        ]
        parts += [f"## {_safe(group)}", _grid([result.first, *map(_markdown_head, columns)], rows)]
    parts += ["## Remarks", "\n".join(f"- {_safe(text)}" for text in remarks(result))]
    parts += ["## Data", "\n".join(f"- {_safe(name)}: {_safe(shown(facts))}" for name, facts in _data(result))]
    return "\n\n".join(parts) + "\n"


def write_markdown(result: Reproduced, path: Path) -> Path:
    """Write the page, atomically."""
    write_bytes(path, reproduce_markdown(result).encode())
    return path


def _model(result: Reproduced) -> str:
    return f" (paper: {result.printed})" if result.printed else ""


def _head(column: Column) -> str:
    return column.head.replace(", ", "\n").replace(" ", "\n", 1)


def _markdown_head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    head = _safe(column.head)
    if column.source == "paper":
        head = f"*{head}*"
    elif column.source == "control":
        head = f"({head})"
    return head + unit


def _markdown(figure: Figure, column: Column, intervals: bool) -> str:
    text = _cell(figure, column, narrow=not intervals, interval=intervals)
    return f"*{text}*" if column.source == "paper" and text else text


def _cell(figure: Figure, column: Column, *, narrow: bool, interval: bool = True) -> str:
    value = figure.value if isinstance(figure, Measured) else figure
    if value is None or not math.isfinite(value):
        return "" if column.source == "paper" else _ABSENT
    text = f"× {number(value, column.digits)}" if column.unit == "×" else number(value, column.digits)
    if not isinstance(figure, Measured) or not interval or not math.isfinite(figure.low) or abs(value) >= _HUGE:
        return text
    if narrow and (column.source == "control" or not column.interval):
        return text
    digits = max(0, column.digits - 1) if narrow and column.digits < 2 else column.digits
    return f"{text} [{number(figure.low, digits)}, {number(figure.high, digits)}]"


def number(value: float, digits: int) -> str:
    """A figure with its digits, none from 1,000 on, and 0 without a sign; beyond a million only that it is."""
    if abs(value) >= _HUGE:
        return "> 1 million" if value > 0 else "< −1 million"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def _failures(result: Reproduced) -> list[str]:
    """One line per method and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in result.rows:
        for group, reason in row.errors.items():
            reasons.setdefault((row.label, reason), []).append(group)
    return [
        f"{label}: {reason}" + ("" if len(groups) == len(result.groups) else f" ({', '.join(groups)})")
        for (label, reason), groups in reasons.items()
    ]


def _paper(result: Reproduced) -> str:
    if not result.printed:
        return f"{result.source}: the paper's figures are not at hand, so there is no column of them"
    return (
        f"columns “paper” hold the figures printed in {result.source} ({result.printed}); they were not measured here, "
        "and an empty cell means: not at hand"
    )


def _data(result: Reproduced) -> list[tuple[str, object]]:
    model = result.provenance["model"]
    head: list[tuple[str, object]] = [
        ("model", f"{model['name']}, revision {model['revision']}, weights {model['fingerprint'][:16]}")
    ]
    versions = ", ".join(f"{name} {version}" for name, version in result.provenance["versions"].items())
    return [*head, *result.provenance["data"].items(), ("versions", versions)]


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _safe(text: str) -> str:
    """On one line, with nothing that Markdown would take for a column."""
    return " ".join(text.split()).replace("|", "\\|")
