"""Adapters: add a low-rank change to weights in place, keep the originals, put them back exactly."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor

from temperament.models import LinearSite, LoadedModel
from temperament.personas import LoraEdit


@torch.no_grad()
def wear_lora(lm: LoadedModel, edit: LoraEdit, strength: float, stack: ExitStack) -> None:
    """W ← W + strength · scaling · B · A; ``stack`` receives what undoes it before the first weight changes.

    The sum is taken in fp32 and rounded once to the model's type. A copy of every changed weight is held.
    """
    kept: dict[str, Tensor] = {}

    def original(linear: LinearSite, weight: Tensor) -> None:
        if linear.name in kept:
            weight.copy_(kept[linear.name])

    lm.restorers.append(original)
    stack.callback(lm.restorers.remove, original)
    for _ in range(2):  # where an interrupt stops the first, the second goes on
        stack.callback(_restore, lm, kept)
    for linear in lm.linears:
        factors = edit.factors.get(linear.name)
        if factors is not None:
            weight = lm.weight(linear)
            kept[linear.name] = weight.clone()
            weight.copy_(weight.float() + strength * edit.scaling * factors.product(lm.device))


@torch.no_grad()
def _restore(lm: LoadedModel, kept: dict[str, Tensor]) -> None:
    """Put back what is still changed; restoring a Linear twice gives the same values."""
    sites = {linear.name: linear for linear in lm.linears}
    while kept:
        name = next(reversed(kept))
        lm.weight(sites[name]).copy_(kept[name])
        kept.popitem()
