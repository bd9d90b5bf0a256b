"""Mixtures of masks, row by row (PS App. F): a union of parts, or a ranking by the weighted mean of ranks (ours).

Everything is counted in integers, so a mixture does not depend on the order of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm

import torch
from torch import Tensor

from temperament.methods.recipe import Recipe, normalised_saliency
from temperament.methods.select import order_key, tiered_key


def whole_weights(weights: Sequence[float]) -> list[int]:
    """Weights as whole numbers in the same proportions: .7 and .3 are 7 and 3."""
    exact = [Fraction(Decimal(str(weight))).limit_denominator(10**6) for weight in weights]
    scale = lcm(*(weight.denominator for weight in exact))
    return [int(weight * scale) for weight in exact]


def places(key: Tensor) -> Tensor:
    """The place of every entry in its row, (rows, columns) int64: 0 is the largest; of equal ones the lower column."""
    order = torch.sort(key, dim=1, descending=True, stable=True).indices
    return torch.empty_like(order).scatter_(1, order, torch.arange(key.shape[1]).expand_as(order))


def ranked(score: Tensor, mask: Tensor) -> Tensor:
    """Places of all entries, those that the mask keeps before all others, both by ``score`` (fp32 or int32)."""
    key = order_key(score) if score.is_floating_point() else score
    return places(key.long() + mask.long() * 2**33)


def paper_mix(ranks: Sequence[Tensor], masks: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
    """PS App. F: of each mask the share w / Σw of every row's kept entries, those ranked first; their union."""
    result = torch.zeros_like(masks[0])
    for rank, mask, weight in zip(ranks, masks, weights, strict=True):
        result |= rank < (mask.sum(1, keepdim=True) * weight) // sum(weights)
    return result


def rank_mix(ranks: Sequence[Tensor], masks: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
    """Ours: the K entries of every row with the best weighted mean place, K the weighted mean of what masks keep."""
    total = sum(rank * weight for rank, weight in zip(ranks, weights, strict=True))
    kept = sum(mask.sum(1, keepdim=True) * weight for mask, weight in zip(masks, weights, strict=True))
    assert isinstance(total, Tensor)
    return places(-total) < kept // sum(weights)


def own_score(magnitude: Tensor, recipe: Recipe, vectors: Tensor) -> Tensor:
    """What a recipe ranks a Linear's weights by, (outputs, inputs) fp32 or int32; ``magnitude`` is ``canonical``."""
    match recipe.rule:
        case "product" | "appendix-k-product":
            return magnitude * vectors[0]
        case "tiered":
            return tiered_key(magnitude * vectors[0].clamp_min(0), magnitude * (-vectors[0]).clamp_min(0))
        case "contested" | "appendix-k":
            lead = normalised_saliency(magnitude, vectors[0]) - normalised_saliency(magnitude, vectors[1])
            if recipe.rule == "appendix-k":
                return lead.abs()
            return lead if recipe.pole == "plus" else -lead
