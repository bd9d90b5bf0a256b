"""``separation``: how far wearing plus and wearing minus pull the two poles' statements apart, in nats per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from temperament.evaluation.bootstrap import Array, Measured, measured


def separation(high: Array, low: Array, *, seed: int) -> Measured:
    """[mean over high − mean over low] wearing plus, minus the same wearing minus.

    ``high`` and ``low`` hold x_s(plus) − x_s(minus) of every high and low statement, x_s being its mean
    log-probability per token as the reply to its prompt. 0 is no effect.
    """
    return measured((high, low), _difference, seed=seed)


def _difference(high: Array, low: Array, axis: int = -1) -> Any:
    return np.mean(high, axis=axis) - np.mean(low, axis=axis)
