"""Scores that separate opposite poles (PS Eq. 8 and ours): everything but the weights, per Linear input."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from temperament.signatures import Moments

Link = Literal["relu", "softplus"]


def standardised_difference(own: Moments, other: Moments, epsilon: float, *, under_root: bool) -> Tensor:
    """z_j = (μ_j − μ'_j) / (√(σ²_j + σ'²_j) + ε), (inputs,) float64 (PS Eq. 8).

    ``under_root`` puts ε under the root, as the released code does.
    """
    variance = own.variance + other.variance
    scale = (variance + epsilon).sqrt() if under_root else variance.sqrt() + epsilon
    return (own.mean_abs - other.mean_abs) / scale


def linked(z: Tensor, link: Link, temperature: float) -> Tensor:
    """φ(z): ReLU, or softplus(z/τ)."""
    return z.clamp_min(0) if link == "relu" else torch.nn.functional.softplus(z / temperature)


def tiers(primary: Tensor, fallback: Tensor) -> Tensor:
    """One signed vector for two-level ranking: ``primary`` where it is positive, else −``fallback``."""
    return torch.where(primary > 0, primary, -fallback)


def tilted(own: Tensor, other: Tensor, tilt: float, floor: float) -> Tensor:
    """B_j of log S = log|w| + log A_j + t·(log A_j − log A'_j) for one Linear (ours), largest value 1.

    ``own`` and ``other`` (inputs,) float64 are rms activations, floored at ``floor`` times the larger pole's
    root mean square. t = 0 ranks as ``wanda`` with the rms statistic, t → ∞ by the ratio alone.
    """
    least = floor * torch.maximum(own.square().mean(), other.square().mean()).sqrt().clamp_min(
        torch.finfo(torch.float64).tiny
    )
    mine, theirs = own.clamp_min(least).log(), other.clamp_min(least).log()
    exponent = mine + tilt * (mine - theirs)
    return (exponent - exponent.max()).exp()
