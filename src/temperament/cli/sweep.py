"""``temperament sweep``: effect and cost of a neuron persona against one of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import err, out, print_json, progress_steps, working
from temperament.cli.extract import calibration_data, read_settings
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Limit, MaxTokens, Model, Revision, Source
from temperament.errors import TemperamentError


def command(
    contrast: Annotated[
        str, typer.Option("--contrast", help="As for 'temperament extract'. Example: --contrast extraversion")
    ],
    over: Annotated[str, typer.Option("--over", help="gamma or threshold. Example: --over gamma")],
    values: Annotated[str, typer.Option("--values", help="Values, joined by commas. Example: --values 0.3,0.5,0.7")],
    folder: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for statistics, records and the figure, may be that of an extraction. Example: --out outgoing",
        ),
    ],
    model: Model = "smollm2-135m",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Texts to measure on; default: the contrast's validation split, so that a value can be picked without "
            "tuning on test texts. Example: --data extraversion#validation",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of the neurons; repeatable. Example: --set threshold=0.1"),
    ] = None,
    source: Source = "texts",
    max_tokens: MaxTokens = 100,
    limit: Limit = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of samples and halves. Example: --seed 42")
    ] = 42,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Where to draw; default: OUT/sweep-OVER.png. Example: --figure gamma.png"),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Trait measure and perplexity of neuron personas against γ or the threshold, with and without f.

    An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.analyze.sweep import OVER, sweep
    from temperament.calibration import resolve_contrast
    from temperament.language_model import load
    from temperament.methods import find_method
    from temperament.report.neuron_figures import sweep_figure
    from temperament.report.neuron_tables import sweep_table
    from temperament.signatures import Writing

    chosen = next((name for name in OVER if name == over), None)
    if chosen is None:
        raise TemperamentError(f"--over {over}", f"use {' or '.join(OVER)}")
    own, shares = read_settings(settings or [])
    if shares:
        raise TemperamentError("neurons have no sparsity", "leave sparsity out of --set")
    steps = read_values(values)
    for step in steps:
        find_method("neurons").read({**own, over: step})
    if figure and figure.suffix.lower() != ".png":
        raise TemperamentError(f"--figure {figure}", "give a .png file")
    texts = calibration_data(contrast, source, limit, seed)
    spec = data or contrast
    test = resolve_contrast(spec, split="validation", limit=limit, seed=seed)
    for note in (*texts.notes, *test.notes):
        err.print(f"note: {note}")
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    ensure_folder(folder)
    with progress_steps() as progress:
        result = sweep(
            lm,
            texts,
            test,
            over=chosen,
            values=steps,
            settings=own,
            writing=Writing(max_tokens=max_tokens),
            seed=seed,
            folder=folder,
            progress=progress,
        )
    target = figure or folder / f"sweep-{over}.png"
    ensure_folder(target.parent)
    sweep_figure(result, target)
    if json_output:
        print_json({**result.as_json(), "figure": str(target)})
        return
    out.print(sweep_table(result))
    out.print(f"figure: {target}", soft_wrap=True)


def read_values(text: str) -> list[float]:
    """Numbers joined by commas."""
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        raise TemperamentError(f"--values {text!r} holds no numbers", "write for example --values 0.3,0.5,0.7")
    return found
