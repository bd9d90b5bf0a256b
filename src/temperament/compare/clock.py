"""How long the stages of a comparison took, added up over interrupted runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from temperament.atomic import write_bytes


class Clock:
    """Seconds by method and stage, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, dict[str, float]] = {}
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            self._seconds = {
                str(method): {str(stage): float(spent) for stage, spent in stages.items()}
                for method, stages in stated.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # not there or damaged: counted from now on

    @contextmanager
    def timing(self, method: str, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            stages = self._seconds.setdefault(method, {})
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start
            write_bytes(self._path, json.dumps(self._seconds).encode())

    def of(self, method: str) -> Mapping[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self._seconds.get(method, {}).items()}

    @property
    def total(self) -> float:
        return round(sum(sum(stages.values()) for stages in self._seconds.values()), 1)
