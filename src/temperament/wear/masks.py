"""Mask edits: gate the weights in place, keep only the values that change, put them back exactly."""

from __future__ import annotations

from contextlib import ExitStack

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
        self._original = self._weight[self._dropped()]

    def _dropped(self) -> Tensor:
        mask = self._masks.mask(self._linear, self._weight.device)
        if mask is None:
            raise ValueError(f"{self._linear.name} is not masked")
        return mask.logical_not_()

    def apply(self, strength: float) -> None:
        dropped = self._dropped()
        if strength == 1:
            self._weight.masked_fill_(dropped, 0)
        else:
            self._weight.masked_scatter_(dropped, self._original * (1 - strength))

    def restore(self, weight: Tensor | None = None) -> None:
        """Put the original values back, into the model or into a copy of the weight."""
        (self._weight if weight is None else weight).masked_scatter_(self._dropped(), self._original)


@torch.no_grad()
def wear_masks(lm: LoadedModel, masks: PackedMasks, strength: float, stack: ExitStack) -> None:
    """Gate every masked Linear; ``stack`` receives what undoes it, Linear by Linear, before each edit is made."""
    edits: dict[str, GatedLinear] = {}

    def original(linear: LinearSite, weight: Tensor) -> None:
        if linear.name in edits:
            edits[linear.name].restore(weight)

    lm.restorers.append(original)
    stack.callback(lm.restorers.remove, original)
    for linear in lm.linears:
        if linear.name in masks.bits:
            edit = GatedLinear(lm, linear, masks)
            stack.callback(_surely, edit)
            edits[linear.name] = edit
            edit.apply(strength)


@torch.no_grad()
def _surely(edit: GatedLinear) -> None:
    """Restore even if an interrupt arrives meanwhile: restoring twice gives the same values."""
    try:
        edit.restore()
    except BaseException:
        edit.restore()
        raise
