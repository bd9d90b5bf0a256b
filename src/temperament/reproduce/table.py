"""A reproduced table: columns in groups, rows of methods, the paper's figures apart from those measured here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from temperament.atomic import finite
from temperament.evaluation.bootstrap import Measured

#: ``paper``: printed there, measured on another model; ``control``: what a method without meaning gives.
Source = Literal["ours", "paper", "control"]
#: ``printed``: a row of the paper's table; ``ours``: a method of this project; ``control``: nothing or no meaning.
Role = Literal["printed", "ours", "control"]
Figure = Measured | float | None

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Column:
    """One figure of a group of columns, such as ``one_sided`` of the group ``power``, with its digits and unit.

    ``overview`` puts it into the table of all groups, ``interval`` says whether a narrow table shows its interval.
    """

    key: str
    head: str
    source: Source = "ours"
    unit: str = ""
    digits: int = 1
    overview: bool = False
    interval: bool = True


@dataclass
class Row:
    """A method: its label as printed, and figures by group and key; what is not there was not measured.

    ``errors`` holds the reason for every group in which the method failed, ``settings`` what it was run with.
    """

    name: str
    label: str
    role: Role
    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def get(self, group: str, key: str) -> Figure:
        return self.figures.get(group, {}).get(key)

    def add(self, group: str, **figures: Figure) -> None:
        self.figures.setdefault(group, {}).update(figures)


@dataclass(frozen=True)
class Reproduced:
    """A table of a paper for the model at hand.

    ``source`` says which table it is, ``printed`` on what the paper's figures were measured; ``groups`` maps each group
    of columns, in order, to its columns; ``notes`` are what a reader must know to read a figure.
    """

    name: str
    title: str
    source: str
    printed: str
    groups: Mapping[str, tuple[Column, ...]]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    provenance: Mapping[str, Any]
    first: str = "method"

    @property
    def measured_rows(self) -> tuple[Row, ...]:
        """Rows with any figure that was measured here under something worn."""
        return tuple(row for row in self.rows if row.role != "control" and any(self._measured(row)))

    def _measured(self, row: Row) -> Iterator[bool]:
        for group, columns in self.groups.items():
            for column in columns:
                yield column.source == "ours" and isinstance(row.get(group, column.key), Measured)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; a figure that does not exist is null."""
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "printed": self.printed,
            "columns": {group: [vars(column) for column in columns] for group, columns in self.groups.items()},
            "rows": [self._row(row) for row in self.rows],
            "notes": list(self.notes),
            "provenance": dict(self.provenance),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        figures = {
            group: {column.key: _plain(row.get(group, column.key)) for column in columns}
            for group, columns in self.groups.items()
        }
        known = {"name": row.name, "label": row.label, "role": row.role, "settings": row.settings}
        return {**known, "figures": figures, "errors": row.errors}


def _plain(figure: Figure) -> Any:
    return finite(figure.as_json() if isinstance(figure, Measured) else figure)
