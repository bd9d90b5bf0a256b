"""Entry point: subcommands, and the one place where a mistake becomes one line and an exit code."""

from __future__ import annotations

import sys

import click
import typer

from temperament import __version__
from temperament.cli import chat, demo, evaluate, extract, inspect, listing
from temperament.errors import TemperamentError

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
app.command("chat")(chat.command)
app.command("inspect")(inspect.command)
app.command("list")(listing.command)
app.command("demo")(demo.command)


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
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(error.format_message() + "\n")
        return 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "temperament"
        return _fail(f"{error.format_message().rstrip('.')}; see '{command} --help'")
    except TemperamentError as error:
        return _fail(str(error))
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("interrupted: nothing is lost; run the same command again to go on\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _fail(message: str) -> int:
    sys.stderr.write("error: " + " ".join(message.split()) + "\n")
    return 2


def main() -> None:
    """The ``temperament`` command."""
    sys.exit(run())


if __name__ == "__main__":
    main()
