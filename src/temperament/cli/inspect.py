"""``temperament inspect``: what a persona file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.cli.console import out, print_json
from temperament.cli.options import Json


def command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A persona file. Example: outgoing/plus.persona")],
    json_output: Json = False,
) -> None:
    """Verify a persona file and print what it holds.

    No model is loaded.
    """
    from temperament.personas.file import describe_persona, open_persona

    description = describe_persona(open_persona(path), path)
    if json_output:
        print_json(description)
        return
    from temperament.report.tables import description_table

    out.print(description_table(description))
