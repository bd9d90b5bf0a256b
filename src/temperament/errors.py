"""The one exception a user's mistake may raise: what was wrong, and what to do next, on one line."""

from __future__ import annotations


class TemperamentError(Exception):
    """A mistake in the input. The message names the value that was wrong and the remedy, on one line."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        text = f"{problem}; {remedy}" if remedy else problem
        super().__init__(" ".join(text.split()))
