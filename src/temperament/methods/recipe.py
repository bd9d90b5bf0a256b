"""A computed mask as its recipe: importance vectors and a rule, from which the mask is rebuilt bit by bit.

Every operation is either elementwise or a pairwise sum in fixed order, on weights rounded to bf16, so that the
mask is the same whatever dtype and device the model was loaded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods.select import keep_largest, keep_largest_in_blocks, kept, order_key, tiered_key

Rule = Literal["product", "tiered", "contested", "appendix-k", "appendix-k-product"]
RULES: dict[Rule, int] = {"product": 1, "tiered": 1, "contested": 2, "appendix-k": 2, "appendix-k-product": 1}


@dataclass(frozen=True)
class Recipe:
    """Importance ``vectors`` (count, inputs of the whole model) fp32 and the rule that turns them into a mask.

    - ``product``: keep the largest |w_ij|·B_j of each row (of each ``block`` of columns, if given).
    - ``tiered``: B_j > 0 ranks by |w_ij|·B_j; entries that score 0 rank below, by |w_ij|·|B_j| of negative B_j.
    - ``contested``: vectors H⁺ and H⁻; one ranking of each row by S̃⁺ − S̃⁻ (PS §3.3, Eq. 9).
    - ``appendix-k``: vectors H⁺ and H⁻; the largest |S̃⁺ − S̃⁻| go to plus, minus chooses among the rest.
    - ``appendix-k-product``: the same with |w_ij|·B_j in place of |S̃⁺ − S̃⁻|.
    """

    rule: Rule
    pole: Pole
    vectors: Tensor
    block: int | None = None

    def __post_init__(self) -> None:
        if self.vectors.dtype != torch.float32 or self.vectors.dim() != 2 or len(self.vectors) != RULES[self.rule]:
            raise ValueError(f"the rule {self.rule} needs {RULES[self.rule]} fp32 vectors")
        if not torch.isfinite(self.vectors).all() or (self.rule != "tiered" and (self.vectors < 0).any()):
            raise ValueError("importance vectors must be finite and not negative")


def canonical(weight: Tensor) -> Tensor:
    """|w| rounded to bf16, as fp32: what every score starts from."""
    return weight.to(torch.bfloat16).float().abs_()


def build_mask(weight: Tensor, recipe: Recipe, vectors: Tensor, sparsity: Decimal) -> Tensor:
    """The mask of one Linear, (outputs, inputs) bool, True where the weight is kept.

    ``weight`` (outputs, inputs) of any dtype; ``vectors`` the recipe's part for this Linear, (count, inputs).
    """
    magnitude = canonical(weight)
    count = kept(sparsity, magnitude.shape[1])
    match recipe.rule:
        case "product":
            score = magnitude.mul_(vectors[0])
            return keep_largest_in_blocks(score, sparsity, recipe.block) if recipe.block else keep_largest(score, count)
        case "tiered":
            primary, secondary = magnitude * vectors[0].clamp_min(0), magnitude * (-vectors[0]).clamp_min(0)
            return keep_largest(tiered_key(primary, secondary), count)
        case "contested":
            plus, minus = normalised_saliency(magnitude, vectors[0]), normalised_saliency(magnitude, vectors[1])
            return contested_masks(plus, minus, count, (recipe.pole,))[0]
        case "appendix-k":
            plus, minus = normalised_saliency(magnitude, vectors[0]), normalised_saliency(magnitude, vectors[1])
            return exclusive_mask((plus - minus).abs_(), recipe.pole, count)
        case "appendix-k-product":
            return exclusive_mask(magnitude.mul_(vectors[0]), recipe.pole, count)


def pairwise_row_sum(values: Tensor) -> Tensor:
    """Row sums (rows, 1) by halving: the order of additions, and so every bit, is the same on all devices."""
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        folded = values[:, :half] + values[:, half : 2 * half]
        values = torch.cat([folded, values[:, 2 * half :]], 1) if values.shape[1] % 2 else folded
    return values


def normalised_saliency(magnitude: Tensor, diagonal: Tensor) -> Tensor:
    """S̃_ij = w_ij²·H_jj / Σ_k w_ik²·H_kk (PS Eq. 9; a row without any saliency stays 0)."""
    saliency = magnitude.square().mul_(diagonal)
    total = pairwise_row_sum(saliency)
    return saliency.div_(torch.where(total > 0, total, torch.ones_like(total)))


def contested_masks(plus: Tensor, minus: Tensor, count: int, poles: Sequence[Pole] = POLES) -> Tensor:
    """Each contested weight goes to the pole with the larger S̃ (PS §3.3): one ranking per row by S̃⁺ − S̃⁻.

    The masks of ``poles`` (poles, rows, n), ``count`` kept in each row. Minus prunes the top n − K of the ranking and
    plus the bottom n − K, at most ⌊n/2⌋ each, so the two pruned sets are disjoint. What is still missing beyond ρ = .5
    comes from the lowest own S̃.
    """
    columns = plus.shape[1]
    contested = min(columns - count, columns // 2)
    ranking, found = order_key(plus - minus), []
    for pole in poles:
        mask = keep_largest(ranking, columns - contested) if pole == "plus" else ~keep_largest(ranking, contested)
        if contested < columns - count:
            mask = keep_largest(torch.where(mask, plus if pole == "plus" else minus, -1.0), count)
        found.append(mask)
    return torch.stack(found)


def exclusive_mask(score: Tensor, pole: Pole, count: int) -> Tensor:
    """Plus keeps its top K; minus keeps the top K of what plus left, which below ρ = .5 is less (PS App. K)."""
    first = keep_largest(score, count)
    if pole == "plus":
        return first
    return keep_largest(torch.where(first, -1.0, score), min(count, score.shape[1] - count))
