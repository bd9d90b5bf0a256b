"""A table as a terminal of 80 columns shows it."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table


def shown(table: Table, width: int = 80, *, whole: bool = True) -> str:
    """The text of a table; fails where a line is too long or, unless not ``whole``, where something is cut."""
    console = Console(width=width, file=io.StringIO(), record=True, highlight=False, markup=False)
    console.print(table)
    text = console.export_text()
    assert not whole or "…" not in text, text
    assert max(map(len, text.splitlines())) <= width
    return text


def cells(text: str, label: str) -> list[str]:
    """The words behind the label of a row."""
    row = next(line for line in text.splitlines() if line.startswith(label))
    return row.removeprefix(label).split()
