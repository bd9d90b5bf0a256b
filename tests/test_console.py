"""What goes to stderr while something takes its time."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from temperament.cli import console


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """stderr as a job's log file."""
    written = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=written, force_terminal=False, width=20))
    return written


def test_a_log_gets_a_line_now_and_then(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("temperament.cli.console.time.monotonic", lambda: now)
    with console.progress_steps() as step:
        for done in range(1, 8):
            now += 10
            step("plus random-0, a long label", done, 7)
    assert log.getvalue().splitlines() == ["plus random-0, a long label: 3 of 7", "plus random-0, a long label: 6 of 7"]


def test_what_is_done_soon_leaves_no_line(log: io.StringIO) -> None:
    with console.progress_bar("signatures") as step:
        step(1, 1)
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=written, force_terminal=True, width=80))
    with console.progress_bar("signatures") as step:
        step(1, 2)
    assert "signatures" in written.getvalue()
    assert "1/2" in written.getvalue()
