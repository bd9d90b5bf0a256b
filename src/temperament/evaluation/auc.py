"""``auc``: how well the change between wearing plus and wearing minus tells high from low statements."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from temperament.evaluation.bootstrap import Array, Measured, measured


def auc(high: Array, low: Array, *, seed: int) -> Measured:
    """ROC AUC of x_s(plus) − x_s(minus) between high and low statements; ties count one half, .5 is no effect."""
    return measured((high, low), roc_auc, seed=seed)


def roc_auc(high: Array, low: Array, axis: int = -1) -> Any:
    """Share of (high, low) pairs in the right order, from ranks."""
    first, second = high.shape[axis], low.shape[axis]
    ranks = rankdata(np.concatenate([high, low], axis=axis), axis=axis)
    above = np.take(ranks, range(first), axis=axis).sum(axis=axis) - first * (first + 1) / 2
    return above / (first * second)
