"""Timings of the benchmarks."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from temperament.timing import Pairing, alternate, seconds

__all__ = ["Pairing", "alternate", "median_seconds", "seconds"]


def median_seconds(function: Callable[[], object], rounds: int) -> float:
    """Median wall seconds of ``rounds`` calls after one unmeasured."""
    function()
    return statistics.median(seconds(function) for _ in range(rounds))
