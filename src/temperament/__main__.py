"""The ``temperament`` command, and ``python -m temperament``."""

import os
import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command; Ctrl-C, or being told to end (SIGTERM), ends it quietly at any moment."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, _interrupt)
    _mend_streams()
    try:
        from temperament.cli.main import main as command
    except KeyboardInterrupt:
        _end_at_once()
    command()


def _interrupt(*_: object) -> None:
    """An exception that clears up, except while torch is being imported: in its C++ code that would abort."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if getattr(spec, "_initializing", False):
        _end_at_once()
    raise KeyboardInterrupt


def _end_at_once() -> None:
    """End before anything was done, without the clearing up that would meet a half-imported library."""
    sys.stderr.write("interrupted before anything was done\n")
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def _mend_streams() -> None:
    """A closed stream swallows what it is told; letters that an encoding does not have are written as their codes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we run
        elif hasattr(stream, "reconfigure"):  # one that another program has put there may not
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
