"""``temperament analyze``: what personas are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli import analyze_masks, analyze_restore
from temperament.cli.console import out, print_json, working
from temperament.cli.options import Json
from temperament.errors import TemperamentError

app = typer.Typer(
    name="analyze", help="Analyse personas that were extracted.", no_args_is_help=True, rich_markup_mode=None
)


app.command("masks")(analyze_masks.command)
app.command("restore")(analyze_restore.command)


@app.command("neurons")
def neurons(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of one extraction, or of several, one folder each. Example: personas"
        ),
    ],
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Where to draw; default: DIR/neurons.png. Example: --figure neurons.png"),
    ] = None,
    json_output: Json = False,
) -> None:
    """Neurons by layer, their values and overlap.

    The values are those under both poles. No model is loaded; --json gives one object on stdout.
    """
    from temperament.analyze.neurons import analyze_neurons
    from temperament.report.neuron_figures import neurons_figure
    from temperament.report.neuron_tables import layers_table, neurons_table, overlap_table

    if figure and figure.suffix.lower() != ".png":
        raise TemperamentError(f"--figure {figure}", "give a .png file")
    with working("analysing"):
        analysis = analyze_neurons(folder)
        target = figure or folder / "neurons.png"
        ensure_folder(target.parent)
        neurons_figure(analysis, target)
    if json_output:
        print_json({**analysis.as_json(), "figure": str(target)})
        return
    out.print(neurons_table(analysis))
    out.print()
    out.print(layers_table(analysis))
    if len(analysis.by_layer) > 1:
        out.print()
        out.print(overlap_table(analysis))
    out.print(f"\nfigure: {target}", soft_wrap=True)
