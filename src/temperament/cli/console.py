"""What the command prints where: results on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from temperament.atomic import finite

out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


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
    """A progress bar on stderr; yields a function of (done, total)."""
    with _bars() as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def progress_steps() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar on stderr for named steps; yields a function of (label, done, total)."""
    with _bars() as bars:
        task = bars.add_task("", total=None)
        yield lambda label, done, total: bars.update(task, description=label, completed=done, total=total)


def _bars() -> Progress:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
