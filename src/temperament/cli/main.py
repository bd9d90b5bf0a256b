"""Entry point: subcommands, and the one place where a mistake becomes one line and an exit code."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import typer

from temperament import __version__
from temperament.cli import (
    align,
    analyze,
    analyze_mixture,
    build_questions,
    chat,
    compare,
    demo,
    dial,
    evaluate,
    export,
    extract,
    harness,
    inspect,
    judge,
    listing,
    mix,
    questionnaire,
    rank,
    reproduce,
    roles,
    sweep,
    types,
)
from temperament.errors import TemperamentError

# The base class of all usage errors: typer does not export it, and which click it is varies with typer's version.
_ClickError = typer.BadParameter.__mro__[2]

_INTERRUPTED = 130

app = typer.Typer(
    name="temperament",
    help="Find the personalities inside a language model, wear one, and prove that it works.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("extract")(extract.command)
app.command("evaluate")(evaluate.command)
app.command("compare")(compare.command)
app.command("dial")(dial.command)
app.command("reproduce")(reproduce.command)
app.command("chat")(chat.command)
app.command("mix")(mix.command)
app.command("export")(export.command)
analyze.app.command("mixture")(analyze_mixture.command)
app.add_typer(analyze.app)
app.command("sweep")(sweep.command)
app.command("types")(types.command)
app.command("questionnaire")(questionnaire.command)
app.command("roles")(roles.command)
app.command("align")(align.command)
app.command("judge")(judge.command)
app.add_typer(rank.app)
app.command("build-questions")(build_questions.command)
app.command("inspect")(inspect.command)
app.command("list")(listing.command)
app.command("demo")(demo.command)
app.command(
    "lm-eval",
    add_help_option=False,  # --help shows lm-eval's own
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(harness.command)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"temperament {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version. Example: temperament --version"
    ),
) -> None:
    """Find the personalities inside a language model, wear one, and prove that it works."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for a mistake (one line on stderr), 130 when interrupted."""
    try:
        code = app(args=arguments, prog_name="temperament", standalone_mode=False)
        if code == _INTERRUPTED:  # some versions of typer turn Ctrl-C into an exit code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except TemperamentError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted: what was finished is kept; run the same command again to go on\n")
        return _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except ConnectionError as error:
        return _fail(f"{error}; check the network, or name files that are here")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; check the disk and where the output goes")
    except Exception as error:
        if isinstance(error, _ClickError):
            return _usage(error)
        raise


def _usage(error: Any) -> int:
    """A mistake on the command line; asking for nothing shows the help instead."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{context.get_help() if context else error.format_message()}\n")
        return 0
    command = context.command_path if context else "temperament"
    return _fail(f"{str(error.format_message()).rstrip('.')}; see '{command} --help'")


def _fail(message: str) -> int:
    with suppress(OSError, ValueError):  # nobody may be reading
        sys.stderr.write("error: " + " ".join(message.split()) + "\n")
    return 2


def main() -> None:
    """Run the command with the arguments it was started with, and end with its exit code."""
    sys.exit(run())
