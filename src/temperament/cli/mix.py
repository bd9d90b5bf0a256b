"""``temperament mix``: one persona file of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.cli.console import out, print_json, tell, working
from temperament.cli.options import Device, Dtype, Json, Model, Revision
from temperament.errors import TemperamentError

RULE_HELP = (
    "paper: of each mask the share of its weight of what it keeps, the largest |w| of every row, united (PS App. F); "
    "rank: the best of every row by the weighted mean of ranks (ours); together: all worn side by side. "
    "Example: --rule paper"
)


def command(
    wear: Annotated[
        list[str],
        typer.Option(
            "--wear",
            help="Persona file and weight, for all but masks its strength; repeatable. "
            "Example: --wear outgoing/plus.persona:0.7",
        ),
    ],
    path: Annotated[Path, typer.Option("--out", help="The persona file to write. Example: --out both.persona")],
    model: Model = "smollm2-135m",
    rule: Annotated[str, typer.Option("--rule", help=RULE_HELP)] = "rank",
    by: Annotated[
        str,
        typer.Option("--by", help="What paper takes the largest of: magnitude, or score. Example: --by score"),
    ] = "magnitude",
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Mix personas into one file.

    Masks become one mask by a rule; neurons, vectors and all else stand beside it.
    """
    from temperament.language_model import load
    from temperament.personas import Plan, mix, read_plan
    from temperament.personas.file import describe_persona

    if path.suffix != ".persona":
        raise TemperamentError(f"--out {path}", "give a file that ends in .persona")
    plan = Plan()
    for spec in wear:
        plan = plan + read_plan(spec, tell)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    with working("mixing"):
        persona = mix(lm, plan, rule, by=by, name=path.stem)  # type: ignore[arg-type]  # checked there
    persona.save(path)
    tell("a mixture may do more or less than its parts; measure it before use: temperament analyze mixture")
    description = describe_persona(persona, path)
    if json_output:
        print_json(description)
        return
    from temperament.report.tables import description_table

    out.print(description_table(description))
