"""Alternating timings in one process: medians and the median of pairwise ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairing:
    """Median seconds of two alternately run functions, and the median of their pairwise ratios first / second."""

    first: float
    second: float
    ratio: float


def alternate(first: Callable[[], object], second: Callable[[], object], rounds: int) -> Pairing:
    """Run both once unmeasured, then ``rounds`` times in turn, changing who goes first."""
    first()
    second()
    pairs = []
    for index in range(rounds):
        order = (first, second) if index % 2 == 0 else (second, first)
        times = [seconds(function) for function in order]
        pairs.append(tuple(times) if index % 2 == 0 else (times[1], times[0]))
    return Pairing(
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def seconds(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
