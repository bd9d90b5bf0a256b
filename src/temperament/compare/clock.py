"""How long the stages of a comparison took, added up over interrupted runs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from temperament.atomic import write_bytes


class Clock:
    """Seconds by method and stage, kept in a file per method, so that processes can share the methods."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def timing(self, method: str, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            stages = self._read(method)
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start
            write_bytes(self._folder / f"{method}.json", json.dumps(stages).encode())

    def of(self, method: str) -> Mapping[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self._read(method).items()}

    def total(self, methods: Iterable[str]) -> float:
        """Seconds of these methods, whichever process spent them."""
        return round(sum(sum(self._read(method).values()) for method in methods), 1)

    def _read(self, method: str) -> dict[str, float]:
        try:
            stated = json.loads((self._folder / f"{method}.json").read_text(encoding="utf-8"))
            spent = {str(stage): float(seconds) for stage, seconds in stated.items()}
            return {stage: seconds for stage, seconds in spent.items() if math.isfinite(seconds)}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}  # not there or damaged: counted from now on
