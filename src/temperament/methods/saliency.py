"""``contrastive-saliency`` (ours): the few weights whose loss serves one pole most for its cost elsewhere.

Pruning w_ij changes the objective [mean log p(own pole) − β · mean log p(other pole)] by −w_ij·G_ij and costs about
w_ij²·F_ij elsewhere, so weights are ranked by r_ij = max(0, −w_ij·G_ij)^e / (w_ij²·F_ij + λ). At β = 1 the objective is
the contrast; most weights then forbid the other pole's words and little speaks for the own. A smaller β asks for both.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

#: Weights of the sample from which the median of w²F is taken.
_SAMPLE = 2**20


def usefulness(weight: Tensor, gradient: Tensor, fisher: Tensor, damping: float, exponent: float = 1.0) -> Tensor:
    """r_ij; all tensors (outputs, inputs) fp32, ``damping`` is λ > 0, ``gradient`` is G."""
    gain = (weight * gradient).neg_().clamp_min_(0)
    if exponent != 1:
        gain = gain.pow_(exponent)
    return gain.div_(weight.square().mul_(fisher).add_(damping))


def median_cost(costs: Iterable[Tensor], total: int) -> float:
    """Median of w²F over an even sample of about a million of the ``total`` weights of a model."""
    step = max(1, total // _SAMPLE)
    return float(torch.cat([cost.flatten()[::step] for cost in costs]).median())


def largest(scores: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Positions of the ``count`` largest positive values of a sequence of tensors read one after the other.

    Positions (n,) int64 ascending, counted through all tensors in row-major order, and the values there (n,) fp32.
    Of equal values at the edge the lower position is taken. Fewer than ``count`` if fewer are positive.
    """
    positions, values = torch.empty(0, dtype=torch.int64), torch.empty(0)
    offset, floor = 0, 0.0
    for score in scores:
        flat = score.flatten()
        found = (flat > floor).nonzero().squeeze(1)
        if len(found):
            positions = torch.cat([positions, found.cpu() + offset])
            values = torch.cat([values, flat[found].cpu()])
        if len(values) > 2 * count:
            kept = _top(values, count)
            positions, values = positions[kept], values[kept]
            floor = float(values.min())  # equal values that still come rank behind
        offset += flat.numel()
    kept = _top(values, count)
    return positions[kept], values[kept]


def _top(values: Tensor, count: int) -> Tensor:
    """Indices, ascending, of the largest values; of equal ones the first."""
    if len(values) <= count:
        return torch.arange(len(values))
    edge = values.kthvalue(len(values) - count + 1).values
    above = values > edge
    equal = (values == edge).nonzero().squeeze(1)[: count - int(above.sum())]
    above[equal] = True
    return above.nonzero().squeeze(1)
