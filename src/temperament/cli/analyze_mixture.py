"""``temperament analyze mixture``: what two personas do by the weight they are mixed with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder, write_json
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.mix import RULE_HELP
from temperament.cli.options import Device, Dtype, Json, Limit, Model, Revision, Seed
from temperament.errors import TemperamentError


def command(
    first: Annotated[Path, typer.Option("--first", help="A persona. Example: --first outgoing/plus.persona")],
    second: Annotated[
        Path, typer.Option("--second", help="A persona of another trait. Example: --second worried/plus.persona")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for records, figure, JSON. Example: --out mixture")],
    model: Model = "smollm2-135m",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Test texts of both traits, joined by a comma; default: the built-in ones they were found in. "
            "Example: --data extraversion,neuroticism",
        ),
    ] = None,
    rule: Annotated[str, typer.Option("--rule", help=RULE_HELP)] = "rank",
    by: Annotated[
        str, typer.Option("--by", help="What paper takes the largest of: magnitude, or score. Example: --by score")
    ] = "magnitude",
    strength: Annotated[
        float, typer.Option("--strength", help="Strength of a whole persona that is no mask. Example: --strength 2")
    ] = 1.0,
    steps: Annotated[int, typer.Option("--steps", min=3, max=21, help="Weights from 0 to 1. Example: --steps 5")] = 5,
    limit: Limit = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Trait scores of two personas by their weight.

    Mixtures of the two are measured, as a table and a figure.
    An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.analyze.mixture import mixture_curve
    from temperament.calibration import resolve_contrast
    from temperament.evaluation.ledger import Ledger
    from temperament.language_model import load
    from temperament.personas import open_persona
    from temperament.personas.origin import builtin_origin
    from temperament.report.figures import pyplot
    from temperament.report.mixture_report import mixture_figure, mixture_table

    pyplot()  # a missing extra is told before anything is measured
    personas = open_persona(first), open_persona(second)
    names = data.split(",") if data else list(filter(None, map(builtin_origin, personas)))
    if data and len(names) != 2:
        raise TemperamentError(f"--data {data}", "name the texts of two traits, joined by a comma")
    if len(names) != 2:
        raise TemperamentError(
            "not both personas were found in built-in texts, so what to score is not known", "give --data"
        )
    texts = [resolve_contrast(name.strip(), split="test", limit=limit, seed=seed) for name in names]
    for note in (note for text in texts for note in text.notes):
        tell(note)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    with progress_steps() as progress:
        curve = mixture_curve(
            Ledger(lm, ensure_folder(folder / "records"), progress),
            lm,
            personas,
            (texts[0], texts[1]),
            [round(step / (steps - 1), 4) for step in range(steps)],
            rule=rule,  # type: ignore[arg-type]  # checked there
            by=by,  # type: ignore[arg-type]
            strength=strength,
            seed=seed,
        )
    figure, written = mixture_figure(curve, folder / f"mixture-{rule}.png"), folder / f"mixture-{rule}.json"
    result = curve.as_json()
    write_json(written, result)
    if json_output:
        print_json({**result, "figure": str(figure)})
        return
    out.print(mixture_table(curve))
    out.print(f"written: {figure}, {written}", soft_wrap=True)
