"""``specificity``: whether a pair of personas moves its own trait and leaves the others alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.builtin import TRAITS
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import RESAMPLES, Array, Measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.personas import Plan

#: Records of one trait's statements wearing the plus persona and wearing the minus persona of a pair.
Sides = tuple[Sequence[Record], Sequence[Record]]
#: ``matrix[worn][measured]``; every row has the same columns.
Records = Mapping[str, Mapping[str, Sides]]


@dataclass(frozen=True)
class Specificity:
    """Separations by pair worn (rows) and trait measured (columns), signed, in nats per token.

    A cell's ``extra`` has its ``auc``, which does not depend on how easily a trait's statements move. ``summary``
    is the mean of the diagonal less the mean absolute value off it, or None where no pair has its own trait among
    several columns.
    """

    cells: Mapping[str, Mapping[str, Measured]]
    summary: Measured | None

    def as_json(self) -> dict[str, Any]:
        cells = {worn: {trait: cell.as_json() for trait, cell in row.items()} for worn, row in self.cells.items()}
        return {"cells": cells, "summary": self.summary.as_json() if self.summary else None}


def trait_statements(contrasts: Mapping[str, Contrast]) -> dict[str, Statements]:
    """One instrument per trait: the columns of the matrix."""
    return {trait: Statements(contrast, f"statements-{trait}") for trait, contrast in contrasts.items()}


def builtin_statements(*, limit: int | None = None, seed: int = 0) -> dict[str, Statements]:
    """The columns for the five built-in traits: their test statements."""
    return trait_statements(
        {trait.name: resolve_contrast(trait.name, split="test", limit=limit, seed=seed) for trait in TRAITS}
    )


def run_matrix(
    ledger: Ledger, pairs: Mapping[str, tuple[Plan, Plan]], columns: Mapping[str, Statements]
) -> dict[str, dict[str, Sides]]:
    """Records of every column's statements under the (plus, minus) plans of every pair, worn one at a time."""

    def row(worn: str, plus: Plan, minus: Plan) -> dict[str, Sides]:
        return {
            trait: (ledger.run(column, plus, f"{worn}-plus"), ledger.run(column, minus, f"{worn}-minus"))
            for trait, column in columns.items()
        }

    return {worn: row(worn, *pair) for worn, pair in pairs.items()}


def specificity(matrix: Records, *, seed: int) -> Specificity:
    """The matrix of separations and its summary.

    The summary's ``diagonal`` is the mean separation of a pair on its own trait, ``off_diagonal`` the mean absolute
    separation on the others (noise alone makes it larger than 0, so that the value errs towards unspecific) and
    ``off_diagonal_signed`` their plain mean. The interval resamples each trait's statements, the same for all rows.
    """
    columns = list(next(iter(matrix.values()), {}))
    if any(list(row) != columns for row in matrix.values()):
        raise ValueError("the rows of the matrix measure different traits")
    changes = {worn: {trait: statement_changes(*sides) for trait, sides in row.items()} for worn, row in matrix.items()}
    cells = {worn: {trait: _cell(*change, seed) for trait, change in row.items()} for worn, row in changes.items()}
    own = [worn for worn in matrix if worn in columns] if len(columns) > 1 else []
    return Specificity(cells, _summary({worn: changes[worn] for worn in own}, columns, seed) if own else None)


def _cell(high: Array, low: Array, seed: int) -> Measured:
    found, area = separation(high, low, seed=seed), auc(high, low, seed=seed)
    extra = {"auc": area.value, "auc_interval": [area.low, area.high]}
    return Measured(found.value, found.low, found.high, found.n, extra)


def _summary(changes: Mapping[str, Mapping[str, tuple[Array, Array]]], columns: Sequence[str], seed: int) -> Measured:
    own = np.array([[worn == trait for trait in columns] for worn in changes])
    poles = [[np.stack([row[trait][pole] for row in changes.values()]) for pole in (0, 1)] for trait in columns]
    values = np.stack([high.mean(1) - low.mean(1) for high, low in poles], axis=1)  # (rows, columns)
    rng = np.random.default_rng(seed)
    resampled = np.stack(
        [_resampled(high, rng) - _resampled(low, rng) for high, low in poles], axis=2
    )  # (resamples, rows, columns)
    low, high = np.percentile(_contrast(resampled, own), [2.5, 97.5])
    extra = {
        "diagonal": float(values[own].mean()),
        "off_diagonal": float(np.abs(values[~own]).mean()),
        "off_diagonal_signed": float(values[~own].mean()),
        "rows": len(values),
    }
    count = sum(pole.shape[1] for trait in poles for pole in trait)
    return Measured(float(_contrast(values[None], own)[0]), float(low), float(high), count, extra)


def _resampled(values: Array, rng: np.random.Generator) -> Array:
    """Means of every row over resampled statements, (resamples, rows)."""
    items = values.shape[1]
    means: Array = np.stack([values[:, rng.integers(items, size=items)].mean(1) for _ in range(RESAMPLES)])
    return means


def _contrast(values: Array, own: Any) -> Array:
    difference: Array = values[:, own].mean(1) - np.abs(values[:, ~own]).mean(1)
    return difference
