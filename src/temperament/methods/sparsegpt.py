"""Second-order masks with the full input Hessian (SparseGPT): saliency w_ij² / U_jj², errors carried to later columns.

H = E[x xᵀ] + λI is the Hessian of the squared change of a Linear's output, H⁻¹ = UᵀU with U upper triangular, and
U_jj² the first diagonal entry of the inverse of H over the columns ≥ j. Columns are taken in blocks: within a block the
weights of least saliency are pruned, and each column's error is made good by the columns after it. Those corrected
weights only serve to choose; a persona is the mask on the original weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import torch
from scipy.linalg import lapack
from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods.recipe import contested_masks, normalised_saliency
from temperament.methods.select import keep_largest, keep_largest_by_row, kept

#: What a threshold ranges over: a block of columns in all rows, as SparseGPT, or each row of a block by itself.
Scope = Literal["block", "row"]

#: Columns whose errors are carried one by one; from there on by matrix products.
_STRIP = 32
#: Share of a variance that is nothing but rounding of sums in fp32.
_ROUNDING = torch.finfo(torch.float32).eps
#: Devices on which LAPACK does the factorisation, there twice as fast as torch's.
_ON_CPU = ("cpu",)
#: Smallest share of the mean diagonal that is tried where the damping is 0, and the largest of all.
_FIRST, _LAST = 1e-6, 1e3


@dataclass(frozen=True)
class Factor:
    """``upper`` is U (inputs, inputs) fp32, H⁻¹ = UᵀU.

    ``damping`` is λ as a share of the mean diagonal, larger than what was asked for where that was not enough.
    """

    upper: Tensor
    damping: float

    @property
    def costs(self) -> Tensor:
        """1 / U_jj², (inputs,): what pruning a weight of size 1 costs once the columns after it make good for it."""
        return self.upper.diagonal().square().reciprocal()


def factorise(hessian: Tensor, damping: float) -> Factor:
    """U of ``hessian`` (inputs, inputs) + λI, λ = ``damping`` · mean of the diagonal, computed in fp64.

    Where that is not positive definite to the precision of fp32, λ is raised tenfold until it is; of an input that is
    always 0, λ is a share of 1. ``TemperamentError`` for a Hessian that is not finite.
    """
    if not torch.isfinite(hessian.diagonal()).all():  # no entry is larger than the roots of its two variances
        raise TemperamentError("the inputs of a Linear are not finite", "load the model as float32 or bfloat16")
    mean = float(hessian.diagonal().double().mean())
    share = damping
    turned = hessian.flip(0, 1)
    while share <= _LAST:
        damped = turned.to(torch.float64, copy=True)
        damped.diagonal().add_(share * (mean or 1.0))
        upper = _inverse_root(damped)
        if upper is not None:
            return Factor(upper, share)
        share = max(10 * share, _FIRST)
    raise TemperamentError("the input Hessian of a Linear cannot be inverted", "give other calibration texts")


def is_singular(hessian: Tensor, tokens: int) -> bool:
    """Whether a Hessian over so many tokens has no inverse by itself, to the precision of fp32."""
    return tokens < len(hessian) or _root(hessian.to(torch.float64, copy=True)) is None


def _inverse_root(turned: Tensor) -> Tensor | None:
    """Upper U with matrix⁻¹ = UᵀU in fp32 of a matrix ``turned`` about both axes; None if not positive definite.

    matrix = R Rᵀ with R upper triangular, which is the Cholesky factor of the turned one, and U = R⁻¹: one
    factorisation and the inverse of a triangle, in place of three factorisations. The argument is overwritten.
    """
    root = _root(turned)
    if root is None:
        return None
    if root.device.type in _ON_CPU:
        inverse = torch.from_numpy(lapack.dtrtri(root.T.numpy(), overwrite_c=1)[0]).T
    else:
        unit = torch.eye(len(root), dtype=root.dtype, device=root.device)
        inverse = torch.linalg.solve_triangular(root, unit, upper=False)
    return inverse.float().flip(0, 1)


def _root(matrix: Tensor) -> Tensor | None:
    """The lower Cholesky factor; None where nothing but rounding is left of a variance once others are known."""
    variances = matrix.diagonal().clone()
    if matrix.device.type in _ON_CPU:
        found, fault = lapack.dpotrf(matrix.numpy().T, overwrite_a=1)  # by columns: the upper factor, turned by .T
        root = torch.from_numpy(found).T
    else:
        root, faults = torch.linalg.cholesky_ex(matrix)
        fault = int(faults)
    if fault or not bool((root.diagonal().square() > _ROUNDING * variances).all()):
        return None
    return root


def choose_masks(
    weight: Tensor,
    uppers: Tensor,
    sparsity: Decimal,
    *,
    block: int = 128,
    scope: Scope = "block",
    contrastive: bool = False,
) -> Tensor:
    """Masks of both poles of one Linear, (2, outputs, inputs) bool, True where kept.

    ``weight`` (outputs, inputs) is rounded to bf16; ``uppers`` (2, inputs, inputs) are the U of plus and minus. Every
    pole carries its own errors. With ``contrastive`` both masks come from one ranking, by the difference of the two
    saliencies as shares of their rows in the block (PS Eq. 9): minus prunes the largest, plus the smallest, and up to a
    sparsity of .5 no weight is pruned by both (so that neither prunes more than half of what is ranked). Of equal
    weights the lower column, then the lower row is kept.
    """
    rows, columns = weight.shape
    # columns first, so that those that are carried one by one lie together
    left = weight.to(torch.bfloat16).float().T.repeat(len(POLES), 1, 1)
    scale = uppers.diagonal(dim1=1, dim2=2).unsqueeze(2)
    steps = uppers / scale
    masks = torch.empty_like(left, dtype=torch.bool)
    unit = rows if scope == "block" else 1
    for begin in range(0, columns, block):
        end = min(begin + block, columns)
        # counted from the first column on, so that the counts of all blocks add up to that of the whole
        count = kept(sparsity, unit * end) - kept(sparsity, unit * begin)
        if contrastive and sparsity <= Decimal("0.5"):
            count = max(count, (unit * (end - begin) + 1) // 2)
        saliency = (left[:, begin:end] / scale[:, begin:end]).square_()
        masks[:, begin:end] = _least_removed(saliency, count, scope, contrastive=contrastive)
        errors = _carry(left[:, begin:end], masks[:, begin:end], steps[:, begin:end, begin:end])
        left[:, end:].baddbmm_(steps[:, begin:end, end:].mT, errors, alpha=-1)
    return masks.mT.contiguous()


def _least_removed(saliency: Tensor, count: int, scope: Scope, *, contrastive: bool) -> Tensor:
    """Keep ``count`` per pole, or per row of each pole; ``saliency`` (2, columns, rows)."""
    if contrastive:
        totals = saliency.sum(1, keepdim=True)
        saliency = saliency / torch.where(totals > 0, totals, torch.ones_like(totals))
    lines = saliency.flatten(1).unsqueeze(1) if scope == "block" else saliency.mT.contiguous()
    if contrastive:
        masks = contested_masks(lines[0], lines[1], count)
    else:
        masks = torch.stack([keep_largest(own, count) for own in lines])
    return masks.view_as(saliency) if scope == "block" else masks.mT


def _carry(block: Tensor, masks: Tensor, steps: Tensor) -> Tensor:
    """Correct the weights of a block (2, columns, rows) in place, column by column; returns the error of each."""
    errors, pruned = torch.empty_like(block), masks.logical_not().float()
    width = block.shape[1]
    for first in range(0, width, _STRIP):
        last = min(first + _STRIP, width)
        for column in range(first, last):
            torch.mul(block[:, column], pruned[:, column], out=errors[:, column])
            after = slice(column + 1, last)
            block[:, after].addcmul_(steps[:, column, after].unsqueeze(2), errors[:, column].unsqueeze(1), value=-1)
        block[:, last:].baddbmm_(steps[:, first:last, last:].mT, errors[:, first:last], alpha=-1)
    return errors


def masks_of_costs(weight: Tensor, costs: Tensor, counts: Tensor, *, contrastive: bool) -> Tensor:
    """Masks by w_ij² · cost_j alone, nothing carried: (2, outputs, inputs) bool; for the random control.

    ``costs`` (2, inputs) of plus and minus; ``counts`` (2, outputs) is how many entries each row keeps.
    """
    magnitude = weight.to(torch.bfloat16).float().abs_()
    if not contrastive:
        scores = [magnitude.square().mul_(own) for own in costs]
        return torch.stack([keep_largest_by_row(own, number) for own, number in zip(scores, counts, strict=True)])
    first, second = (normalised_saliency(magnitude, own) for own in costs)
    ranking = first - second
    plus = keep_largest_by_row(ranking, counts[0])
    return torch.stack([plus, ~keep_largest_by_row(ranking, weight.shape[1] - counts[1])])
