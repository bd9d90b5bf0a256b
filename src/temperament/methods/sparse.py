"""Diagonal second-order saliency: w_ij²·H_jj with H_jj = E[x_j²] + λ (our reading of PS Eq. 5)."""

from __future__ import annotations

from torch import Tensor

from temperament.signatures import Moments


def damped_diagonal(mean_square: Tensor, damping: float) -> Tensor:
    """H_jj of one Linear, (inputs,) float64; λ = ``damping`` · mean of the diagonal."""
    return mean_square + damping * mean_square.mean()


def sparse_importance(moments: Moments, site: slice, damping: float) -> Tensor:
    """√H_jj, (inputs of the site,): ranking by |w_ij|·√H_jj is ranking by w_ij²·H_jj."""
    return damped_diagonal(moments.mean_square[site], damping).sqrt()
