"""Activation-weighted magnitude: S_ij = |w_ij|·A_j (PS Eq. 3)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from temperament.signatures import Moments

Statistic = Literal["mean_abs", "rms", "sentence_l2"]


def wanda_importance(moments: Moments, statistic: Statistic = "mean_abs") -> Tensor:
    """A_j, (inputs,) float64: mean |x_j| as published, or one of the other statistics of the signature."""
    value: Tensor = getattr(moments, statistic)
    return value
