"""Masks and subnetworks: gate weights in place, keep only the values that change, put them back exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from torch import Tensor

from temperament.models import LinearSite, LoadedModel
from temperament.personas import PackedMasks, SubnetworkEdit


class GatedLinear:
    """One Linear under the gate M + γ(1 − M), γ = 1 − strength (PS Eq. 6 and 7).

    ``dropped`` gives the flat positions of the gated entries, in row-major order of (outputs, inputs). Holds their
    original values, nothing else; the weight is restored from them, never by arithmetic.
    """

    def __init__(self, weight: Tensor, dropped: Callable[[], Tensor]) -> None:
        self._weight = weight
        self._dropped = dropped
        self._pending: Tensor | None = dropped()
        self._original = weight.take(self._pending)

    def apply(self, strength: float) -> None:
        """Multiply the masked-out entries by 1 − strength."""
        gated = torch.zeros_like(self._original) if strength == 1 else self._original * (1 - strength)
        dropped = self._dropped() if self._pending is None else self._pending
        self._pending = None  # eight bytes an entry: kept no longer than from the constructor to here
        self._weight.put_(dropped, gated)

    def restore(self, weight: Tensor | None = None) -> None:
        """Put the original values back, into the model or into a copy of the weight."""
        (self._weight if weight is None else weight).put_(self._dropped(), self._original)


def wear_masks(lm: LoadedModel, masks: PackedMasks, strength: float, stack: ExitStack) -> None:
    """Gate what the masks leave out."""
    masked = [linear for linear in lm.linears if linear.name in masks.bits]
    wear_gates(lm, {linear.name: partial(masked_out, lm, masks, linear) for linear in masked}, strength, stack)


def wear_subnetwork(lm: LoadedModel, edit: SubnetworkEdit, strength: float, stack: ExitStack) -> None:
    """Gate the weights of a subnetwork."""
    positions = {name: flat.to(lm.device) for name, flat in edit.parts()}
    wear_gates(lm, {name: partial(positions.__getitem__, name) for name in positions}, strength, stack)


def masked_out(lm: LoadedModel, masks: PackedMasks, linear: LinearSite) -> Tensor:
    """Flat positions of what a mask leaves out of one Linear."""
    mask = masks.mask(linear, lm.device)
    if mask is None:
        raise ValueError(f"{linear.name} is not masked")
    dropped = mask.logical_not_().flatten()
    if dropped.device.type == "cpu":  # several times faster than torch's nonzero
        return torch.from_numpy(np.flatnonzero(dropped.numpy()))
    return dropped.nonzero().squeeze(1)


@torch.no_grad()
def wear_gates(lm: LoadedModel, gated: Mapping[str, Callable[[], Tensor]], strength: float, stack: ExitStack) -> None:
    """Gate positions of Linears, given by name; ``stack`` receives what undoes it before the first edit is made."""
    edits: dict[str, GatedLinear] = {}

    def original(linear: LinearSite, weight: Tensor) -> None:
        if linear.name in edits:
            edits[linear.name].restore(weight)

    lm.restorers.append(original)
    stack.callback(lm.restorers.remove, original)
    for _ in range(2):  # where an interrupt stops the first, the second goes on
        stack.callback(_restore, edits)
    for linear in lm.linears:
        if linear.name in gated:
            edit = GatedLinear(lm.weight(linear), gated[linear.name])
            edits[linear.name] = edit
            edit.apply(strength)


@torch.no_grad()
def _restore(edits: dict[str, GatedLinear]) -> None:
    """Undo what is still edited; restoring a Linear twice gives the same values."""
    while edits:
        edits[next(reversed(edits))].restore()
        edits.popitem()
