"""Mask edits: gate the weights in place, keep only the values that change, put them back exactly."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from temperament.models import LinearSite, LoadedModel
from temperament.personas import PackedMasks


class GatedLinear:
    """One Linear under the gate M + γ(1 − M), γ = 1 − strength (PS Eq. 6 and 7).

    Holds the original values of the masked-out entries, nothing else; the weight is restored from them, never
    by arithmetic.
    """

    def __init__(self, lm: LoadedModel, linear: LinearSite, masks: PackedMasks) -> None:
        self._weight = lm.weight(linear)
        self._linear = linear
        self._masks = masks
        self._pending: Tensor | None = self._dropped()
        self._original = self._weight.take(self._pending)

    def _dropped(self) -> Tensor:
        """Flat positions of the masked-out entries, in row-major order of (outputs, inputs)."""
        mask = self._masks.mask(self._linear, self._weight.device)
        if mask is None:
            raise ValueError(f"{self._linear.name} is not masked")
        dropped = mask.logical_not_().flatten()
        if dropped.device.type == "cpu":  # several times faster than torch's nonzero
            return torch.from_numpy(np.flatnonzero(dropped.numpy()))
        return dropped.nonzero().squeeze(1)

    def apply(self, strength: float) -> None:
        """Multiply the masked-out entries by 1 − strength."""
        gated = torch.zeros_like(self._original) if strength == 1 else self._original * (1 - strength)
        dropped = self._dropped() if self._pending is None else self._pending
        self._pending = None  # eight bytes an entry: kept no longer than from the constructor to here
        self._weight.put_(dropped, gated)

    def restore(self, weight: Tensor | None = None) -> None:
        """Put the original values back, into the model or into a copy of the weight."""
        (self._weight if weight is None else weight).put_(self._dropped(), self._original)


@torch.no_grad()
def wear_masks(lm: LoadedModel, masks: PackedMasks, strength: float, stack: ExitStack) -> None:
    """Gate every masked Linear; ``stack`` receives what undoes it before the first edit is made."""
    edits: dict[str, GatedLinear] = {}

    def original(linear: LinearSite, weight: Tensor) -> None:
        if linear.name in edits:
            edits[linear.name].restore(weight)

    lm.restorers.append(original)
    stack.callback(lm.restorers.remove, original)
    for _ in range(2):  # where an interrupt stops the first, the second goes on
        stack.callback(_restore, edits)
    for linear in lm.linears:
        if linear.name in masks.bits:
            edit = GatedLinear(lm, linear, masks)
            edits[linear.name] = edit
            edit.apply(strength)


@torch.no_grad()
def _restore(edits: dict[str, GatedLinear]) -> None:
    """Undo what is still edited; restoring a Linear twice gives the same values."""
    while edits:
        edits[next(reversed(edits))].restore()
        edits.popitem()
