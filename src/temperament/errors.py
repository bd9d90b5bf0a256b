"""What a user's mistake, or a disk, may raise: what was wrong, and what to do next, on one line."""

from __future__ import annotations

from pathlib import Path

_SPACE = "free disk space or choose another folder"


class TemperamentError(Exception):
    """A mistake in the input. The message names the value that was wrong and the remedy, on one line."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        text = f"{problem}; {remedy}" if remedy else problem
        super().__init__(" ".join(text.split()))


class WriteError(TemperamentError):
    """A file or folder that cannot be written. Work of several parts ends with it: the next part would fail as well."""

    def __init__(self, path: Path | None, reason: object, remedy: str = _SPACE) -> None:
        super().__init__(f"{path} cannot be written: {reason}", remedy)
