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


def simultaneous(high: Array, low: Array, *, seed: int) -> tuple[Array, Array]:
    """Ends (quantities,) of intervals for mean(high) − mean(low) that hold for all quantities at once in 95 %.

    ``high`` (quantities, items) and ``low`` (quantities, items) are values of the same items under every quantity. All
    are resampled together; the intervals reach as many standard errors as the largest deviation among them does in
    95 % of resamples (max-|t| bootstrap). A quantity that does not vary has no width.
    """
    rng = np.random.default_rng(seed)
    value = high.mean(1) - low.mean(1)
    means = []
    for values in (high, low):
        items = values.shape[1]
        weights = rng.multinomial(items, np.full(items, 1 / items), size=RESAMPLES) / items
        means.append(values @ weights.T)  # (quantities, resamples)
    deviation = means[0] - means[1] - value[:, None]
    error = deviation.std(1, ddof=1)
    varies = error > 1e-12
    reach = float(np.quantile(np.abs(deviation[varies] / error[varies, None]).max(0), 0.95)) if varies.any() else 0.0
    width = np.where(varies, reach * error, 0.0)
    return value - width, value + width
