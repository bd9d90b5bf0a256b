"""Edits that can differ by row: what all running blocks ask for together, put on and taken off as one."""

from __future__ import annotations

from typing import Any

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.load import WearSession
from temperament.personas import Edit, Plan
from temperament.wear.neurons import NeuronRows
from temperament.wear.positions import Positions, declare_generation
from temperament.wear.row_kind import Row, RowKind
from temperament.wear.subnetworks import SubnetworkRows
from temperament.wear.vectors import VectorRows

#: Kinds of edit that can differ by row, in the order in which they are attached.
ROW_KINDS: tuple[RowKind[Any], ...] = (NeuronRows(), VectorRows(), SubnetworkRows())

AnyRow = Row[Any]


def row_kind(edit: Edit) -> RowKind[Any] | None:
    """How an edit can differ by row; None if it is for a whole batch only."""
    return next((kind for kind in ROW_KINDS if isinstance(edit, kind.edit)), None)


def row_of(plan: Plan, *, by_row: bool) -> AnyRow:
    """The edits of a plan that are attached row by row, each with its weight."""
    weighted = [
        (persona, strength, kind)
        for persona, strength in plan.active
        if (kind := row_kind(persona.edit)) is not None and (by_row or kind.whole_batch)
    ]
    return tuple(
        (persona.edit, -strength if kind.signed and persona.pole == "minus" else strength)
        for persona, strength, kind in weighted
    )


def wear_rows(lm: LoadedModel, session: WearSession, rows: tuple[AnyRow, ...]) -> None:
    """Put edits on for a session: one row for a whole batch, or one row of edits for each row of a batch.

    What outer sessions wear stays on; all of it is combined by the rules of each kind.
    """
    todo = [True]

    def off() -> None:
        if todo:
            session.edits = ()
            _attach(lm)
            todo.clear()

    for _ in range(2):  # where an interrupt stops the first, the second goes on
        session.stack.callback(off)
    session.edits = rows
    _attach(lm)


def combined_rows(lm: LoadedModel, more: tuple[AnyRow, ...] = (), per_row: int = 0) -> tuple[AnyRow, ...]:
    """The rows that all sessions, outermost first, and ``more`` ask for together; an error if they cannot be one.

    ``per_row`` is the number of rows in ``more`` if each row of a batch is to wear its own, else 0.
    """
    if per_row and lm.rows_worn not in (0, per_row):
        raise TemperamentError(
            f"{per_row} plans, one per row, inside a block that has {lm.rows_worn}", "give equally many"
        )
    total: tuple[AnyRow, ...] = ((),)
    for rows in (*(session.edits for session in lm.sessions), more):
        count = max(len(total), len(rows))
        if rows:
            total = tuple(total[i % len(total)] + rows[i % len(rows)] for i in range(count))
    for kind in ROW_KINDS:
        kind.check(_own(kind, total))
    return total


def _own(kind: RowKind[Any], rows: tuple[AnyRow, ...]) -> tuple[AnyRow, ...]:
    """What of each row is of one kind."""
    return tuple(tuple(item for item in row if isinstance(item[0], kind.edit)) for row in rows)


def _attach(lm: LoadedModel) -> None:
    """Replace the hooks on the model by those for what all sessions wear now; none are left when nothing is worn."""
    while lm.hooks:
        lm.hooks[-1]()  # first called, then forgotten: an interrupt between the two loses none
        lm.hooks.pop()
    rows = combined_rows(lm)
    if not any(rows):
        return
    positions = Positions(lm)
    positions.attach()
    for kind in ROW_KINDS:
        own = _own(kind, rows)
        if any(own):
            kind.attach(lm, own, positions)
    declare_generation(lm)
