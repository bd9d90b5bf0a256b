"""Seeded bootstrap confidence intervals over items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Array = NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Measured:
    """A value with its 95 % interval over ``n`` items, and further figures of the measure."""

    value: float
    low: float
    high: float
    n: int
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, **self.extra}


def measured(
    samples: Sequence[Array],
    statistic: Callable[..., Any],
    *,
    seed: int,
    paired: bool = False,
    extra: dict[str, Any] | None = None,
) -> Measured:
    """``statistic(*samples, axis=-1)`` with a percentile interval of 1,000 resamples over items.

    Independent samples (the two poles' items) are resampled independently, ``paired`` ones together.
    """
    value = float(statistic(*samples, axis=-1))
    count = len(samples[0]) if paired else sum(len(sample) for sample in samples)
    if min(len(sample) for sample in samples) < 2 or not np.isfinite(value):
        return Measured(value, float("nan"), float("nan"), count, extra or {})
    interval = bootstrap(
        tuple(samples),
        statistic,
        n_resamples=RESAMPLES,
        paired=paired,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Measured(value, float(interval.low), float(interval.high), count, extra or {})
