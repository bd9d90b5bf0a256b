"""What the command prints where: results on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from temperament.atomic import finite

out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)

#: Seconds between two lines of progress where stderr is not a terminal.
LOG_SECONDS = 30.0
#: Characters that the bar, the count and the times need beside the name of a step.
_BESIDE_LABEL = 45


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout; figures that do not exist are null."""
    sys.stdout.write(json.dumps(finite(value), ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def tell(note: str) -> None:
    """A remark on stderr."""
    err.print(f"note: {note}", soft_wrap=True)


def working(text: str) -> AbstractContextManager[object]:
    """A spinner on stderr while something takes its time; nothing where stderr is not a terminal."""
    return err.status(escape(text)) if err.is_terminal else nullcontext()


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Progress on stderr; yields a function of (done, total)."""
    with progress_steps() as step:
        yield lambda done, total: step(label, done, total)


@contextmanager
def progress_steps() -> Iterator[Callable[[str, int, int], None]]:
    """Progress of named steps on stderr; yields a function of (label, done, total).

    A bar on a terminal; elsewhere, as in the log of a job, a line now and then.
    """
    if not err.is_terminal:
        yield _lines()
        return
    with _bars() as bars:
        task = bars.add_task("", total=None)
        yield lambda label, done, total: bars.update(task, description=label, completed=done, total=total)


def _lines(every: float = LOG_SECONDS) -> Callable[[str, int, int], None]:
    """A function of (label, done, total) that prints them if the last line is that many seconds old."""
    printed = time.monotonic()

    def step(label: str, done: int, total: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= every:
            printed = time.monotonic()
            err.print(f"{label}: {done} of {total}", soft_wrap=True)

    return step


def _bars() -> Progress:
    label = Column(min_width=18, max_width=max(18, err.width - _BESIDE_LABEL), no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", table_column=label),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True)
