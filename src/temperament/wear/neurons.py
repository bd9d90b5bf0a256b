"""Neuron edits: one table per layer, looked up by batch row, applied from the last prompt position on (NPTI Eq. 4)."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.methods.neurons import RELEASED_DROPOUT
from temperament.models import LoadedModel
from temperament.personas.edits import NeuronEdit
from temperament.wear.positions import Positions
from temperament.wear.row_kind import Row, RowKind, distinct

#: What one row of a batch wears on its neurons; a weight is negative where the edit's minus pole is worn.
NeuronRow = Row[NeuronEdit]

#: Steps whose dropout is drawn at a time.
_CHUNK = 64


def combine(row: NeuronRow, width: int) -> tuple[Tensor, Tensor]:
    """``keep`` and ``add`` of one row over all neurons of a model, (width,) fp32 each: a ← min(a, keep · a) + add.

    ``keep`` is 1 − the share of the positive part that is taken away, so at full strength min(a, 0 · a) = min(0, a).

    Items with the same edit count as one with the sum of their weights. A neuron that several edits claim follows
    the one with the largest |weight·δ|; the first of them on a tie (NPTI Table 5).
    """
    weights: dict[str, float] = {}
    edits: dict[str, NeuronEdit] = {}
    for edit, weight in row:
        weights[edit.identity] = weights.get(edit.identity, 0.0) + weight
        edits[edit.identity] = edit
    keep, add, claimed = torch.ones(width), torch.zeros(width), torch.zeros(width)
    for key, edit in edits.items():
        weight, found = weights[key], edit.neurons
        if weight == 0:
            continue
        claim = (weight * found.delta).abs()
        wins = claim > claimed[found.index]
        index, raised = found.index[wins], (weight * found.delta > 0)[wins]
        claimed[index] = claim[wins]
        keep[index] = torch.where(raised, 1.0, 1 - min(abs(weight), 1.0))
        add[index] = torch.where(raised, abs(weight) * edit.raises[wins], 0.0)
    return keep, add


class NeuronRows(RowKind[NeuronEdit]):
    """How neuron edits are combined and attached."""

    edit = NeuronEdit

    def check(self, rows: tuple[NeuronRow, ...]) -> None:
        variants = {(edit.variant, edit.seed) for row in rows for edit, _ in row if edit.variant == "released"}
        if variants and (len(variants) > 1 or any(edit.variant == "published" for row in rows for edit, _ in row)):
            raise TemperamentError(
                "neuron personas of the published and the released variant, or of different seeds, cannot be worn "
                "together",
                "extract them with the same variant and seed",
            )

    def attach(self, lm: LoadedModel, rows: tuple[NeuronRow, ...], positions: Positions) -> None:
        _Tables(lm, rows, positions).attach()


class _Tables:
    """One table per layer, looked up by batch row."""

    def __init__(self, lm: LoadedModel, rows: tuple[NeuronRow, ...], positions: Positions) -> None:
        self._lm = lm
        self._rows = len(rows)
        self._positions = positions
        edits = [edit for row in rows for edit, _ in row]
        self._released = edits[0] if edits and edits[0].variant == "released" else None
        self._late = int(self._released is not None)  # the released code begins one position later
        width = sum(site.width for site in lm.neurons)
        unique, self._lookup = distinct(rows, lm.device)
        combined = [combine(row, width) for row in unique]
        keep, add = (torch.stack(parts).to(lm.device, lm.dtype) for parts in zip(*combined, strict=True))
        if not bool(torch.isfinite(add).all()):
            raise TemperamentError(
                f"a strength worn raises neurons beyond what {self._lm.dtype} holds", "use smaller strengths"
            )
        self._tables: dict[int, Tensor] = {}
        for site in lm.neurons:
            table = torch.stack([keep[:, site.slice], add[:, site.slice]], 1)  # (plans, 2, neurons)
            if bool((table[:, 0] != 1).any()) or bool((table[:, 1] != 0).any()):
                self._tables[site.layer] = table

    def attach(self) -> None:
        lm, hooks = self._lm, self._lm.hooks
        for site in lm.neurons:
            if site.layer in self._tables:

                def edit(_: nn.Module, __: Any, output: Tensor, layer: int = site.layer) -> Tensor:
                    return self._edit(layer, output)

                hooks.append(lm.module(site.name).register_forward_hook(edit).remove)

    def _edit(self, layer: int, output: Tensor) -> Tensor:
        if self._positions.where(self._late) is None:
            return output
        table = self._tables[layer]
        if self._rows > 1:
            table = table.index_select(0, self._lookup)
        keep, add = table[:, 0].unsqueeze(1), table[:, 1].unsqueeze(1)
        kept = self._kept(layer, output)
        if kept is not None:
            add = add * kept

        def change(values: Tensor, begin: int) -> Tensor:
            raised = add if kept is None else add[:, begin:]
            return torch.minimum(values, values * keep).add_(raised)

        return self._positions.edit(output, change, self._late)

    def _kept(self, layer: int, output: Tensor) -> Tensor | None:
        """1 where the released variant raises a neuron at a step, else 0: (rows, columns, neurons)."""
        edit = self._released
        steps = self._positions.steps(self._late) if edit else None
        if steps is None or edit is None:
            return None
        chunks = [
            _dropout(edit.seed, layer, chunk, output.shape[-1]) for chunk in range(int(steps.max()) // _CHUNK + 1)
        ]
        return torch.cat(chunks)[steps].to(output.device, output.dtype)


@lru_cache(maxsize=512)
def _dropout(seed: int, layer: int, chunk: int, width: int) -> Tensor:
    """Which neurons are raised at the steps of a chunk, (steps, neurons) bool; a function of its arguments alone."""
    digest = hashlib.sha256(f"{seed} {layer} {chunk}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(_CHUNK, width, generator=generator) >= RELEASED_DROPOUT
