"""Vector edits: the weighted sum of all vectors at a place, added from the last prompt position on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.personas.edits import VectorEdit
from temperament.signatures.states import Place
from temperament.wear.positions import Positions
from temperament.wear.row_kind import Row, RowKind, distinct

VectorRow = Row[VectorEdit]


class VectorRows(RowKind[VectorEdit]):
    """How vector edits are combined and attached: they add up."""

    edit = VectorEdit

    def attach(self, lm: LoadedModel, rows: tuple[VectorRow, ...], positions: Positions) -> None:
        unique, lookup = distinct(rows, lm.device)
        for (place, layer), table in tables(lm, unique).items():
            shift = _Shift(table, lookup, positions)
            if place == "residual":
                lm.hooks.append(lm.module(lm.block(layer)).register_forward_hook(shift.after).remove)
            else:
                lm.hooks.append(lm.module(lm.projections[layer].name).register_forward_pre_hook(shift.before).remove)


def tables(lm: LoadedModel, rows: list[VectorRow]) -> dict[tuple[Place, int], Tensor]:
    """What each row adds, (rows, width) of the model's type, at every place and layer where any row adds something."""
    sums: dict[tuple[Place, int], dict[int, Tensor]] = {}
    for index, row in enumerate(rows):
        for edit, weight in row:
            for layer, vector in zip(edit.shifts.layers, edit.shifts.vectors, strict=True):
                own = sums.setdefault((edit.shifts.place, layer), {})
                own[index] = own.get(index, torch.zeros(1)) + weight * vector.double()
    found = {}
    for key, own in sums.items():
        width = len(next(iter(own.values())))
        table = torch.stack([own.get(index, torch.zeros(width, dtype=torch.float64)) for index in range(len(rows))])
        table = table.to(lm.device, lm.dtype)
        if not bool(torch.isfinite(table).all()):
            raise TemperamentError(f"a strength worn adds more than {lm.dtype} holds", "use smaller strengths")
        if bool(table.any()):
            found[key] = torch.where(table == 0, -torch.zeros_like(table), table)  # x + −0 is x bit by bit, also for −0
    return found


class _Shift:
    """The hook at one place of one layer."""

    def __init__(self, table: Tensor, lookup: Tensor, positions: Positions) -> None:
        self._table = table.unsqueeze(1)
        self._lookup = lookup
        self._positions = positions

    def after(self, _: nn.Module, __: Any, output: Any) -> Any:
        """On a block, whose output is the residual stream or a tuple that begins with it."""
        if isinstance(output, tuple):
            return (self._edit(output[0]), *output[1:])
        return self._edit(output)

    def before(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """On the output projection of the attention."""
        return (self._edit(args[0]), *args[1:])

    def _edit(self, values: Tensor) -> Tensor:
        add = self._table if len(self._lookup) == 1 else self._table.index_select(0, self._lookup)
        return self._positions.edit(values, lambda part, _: part + add)
