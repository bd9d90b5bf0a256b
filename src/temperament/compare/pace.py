"""How far a comparison has come, in methods, and how long the rest takes if it goes on like that."""

from __future__ import annotations

from statistics import fmean

from temperament.evaluation.ledger import Progress

#: Seconds below which a method was on record already: it tells nothing about the pace.
_ON_RECORD = 2.0


class Pace:
    """Counts finished methods; as text, ``3 of 14 methods, about 25 min left``."""

    def __init__(self, methods: int, jobs: int = 1) -> None:
        self._methods, self._jobs = methods, jobs
        self._done = 0
        self._spent: list[float] = []

    def finished(self, seconds: float) -> None:
        """Another method is done, by a process that spent ``seconds`` on it."""
        self._done += 1
        if seconds >= _ON_RECORD:
            self._spent.append(seconds)

    def __str__(self) -> str:
        text = f"{self._done} of {self._methods} methods"
        left = self._methods - self._done
        if not (left and self._spent):
            return text
        minutes = fmean(self._spent) * left / min(self._jobs, left) / 60
        return f"{text}, {f'about {minutes:.0f} min' if minutes >= 1 else 'less than a minute'} left"

    def before(self, progress: Progress | None) -> Progress | None:
        """``progress`` with this in front of its labels."""
        return progress and (lambda label, done, total: progress(f"{self} | {label}", done, total))
