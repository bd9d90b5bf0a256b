"""``temperament sweep``: effect and cost of a pair of personas against one thing that is varied."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.extract import calibration_data, read_settings
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Limit, MaxTokens, Model, Revision, Source
from temperament.errors import TemperamentError


def command(
    over: Annotated[
        str,
        typer.Option(
            "--over",
            help="sparsity, share, strength, size, tokens, modules, model, contrast, gamma or threshold. "
            "Example: --over sparsity",
        ),
    ],
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder for statistics, records, table and figure. Example: --out sweep"),
    ],
    contrast: Annotated[
        str | None,
        typer.Option(
            "--contrast",
            help="As for 'temperament extract'; not needed with --over contrast. Example: --contrast extraversion",
        ),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            "--values",
            help="Values joined by commas, or by semicolons where one holds a comma; default: the usual ones. "
            "Example: --values 0.1,0.2,0.4",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="One or more, joined by commas; default: neurons for gamma and threshold, contrastive-saliency for "
            "share, else contrastive-tilt. Example: --method wanda,contrastive-tilt",
        ),
    ] = None,
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
        typer.Option("--set", help="Another setting of the methods; repeatable. Example: --set t=6"),
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option("--sparsity", help="Share pruned per row where that is not what varies. Example: --sparsity 0.2"),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength", help="Strength worn where that is not what varies; default: 1. Example: --strength 0.5"
        ),
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
    """Vary one thing and measure effect and cost.

    Separation, AUC and perplexity of a pair of personas at every value.
    Writes OUT/sweep-OVER.json and a figure. An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.analyze.axes import Around, Step, find_axis
    from temperament.analyze.sweep import plan_steps, sweep
    from temperament.atomic import write_json
    from temperament.calibration import Contrast, resolve_contrast
    from temperament.language_model import LanguageModel, load
    from temperament.methods import find_method
    from temperament.report.figures import pyplot
    from temperament.report.sweep_figure import sweep_figure
    from temperament.report.sweep_table import sweep_table
    from temperament.signatures import Writing

    axis = find_axis(over)
    steps = axis.read(values)
    if contrast is None:
        if axis.name != "contrast":
            raise TemperamentError("no --contrast to find personas of", "give one, such as --contrast extraversion")
        contrast = str(steps[0])
    usual = {"neurons": "neurons", "subnetwork": "contrastive-saliency"}.get(axis.kinds[0], "contrastive-tilt")
    rows = [find_method(name.strip()) for name in (methods or usual).split(",") if name.strip()]
    for row in rows:
        axis.check(row)
    own, shares = read_settings(settings or [])
    if shares:
        raise TemperamentError("a sweep has one sparsity for all Linears", "use --over modules, or --sparsity 0.2")
    for name, given in (("sparsity", sparsity), ("strength", strength)):
        if given is not None and axis.name == name:
            raise TemperamentError(f"this sweep sets {name} itself", f"leave out --{name}")
    if figure and figure.suffix.lower() != ".png":
        raise TemperamentError(f"--figure {figure}", "give a .png file")
    pyplot()  # a missing extra is told before anything is measured

    def texts(spec: str, test: str | None = None) -> tuple[Contrast, Contrast]:
        found = resolve_contrast(spec, limit=limit, seed=seed)
        measured = resolve_contrast(test or spec, split="validation", limit=limit, seed=seed)
        for note in (*found.notes, *measured.notes):
            tell(note)
        return found, measured

    calibrated = calibration_data(contrast, source, limit, seed)
    test = texts(contrast if source == "texts" else data or contrast, data)[1]
    worn = 1.0 if strength is None else strength
    base = [Step(row.name, row.name, calibrated, test, own, sparsity, strength=worn, seed=seed) for row in rows]

    @cache
    def model_of(name: str) -> LanguageModel:
        model_of.cache_clear()  # one at a time
        with working(f"loading {name}"):
            return load(name, dtype=dtype, device=device, revision=revision)

    lm = model_of(str(steps[0]) if axis.name == "model" else model)
    planned = plan_steps(axis, base, steps, Around(lm.depth, texts))
    for step in planned:
        find_method(step.method).read(dict(step.settings))
    ensure_folder(folder)
    with progress_steps() as progress:
        result = sweep(
            lm,
            axis,
            planned,
            load=model_of,
            writing=Writing(max_tokens=max_tokens),
            folder=folder,
            progress=progress,
        )
    target = figure or folder / f"sweep-{over}.png"
    ensure_folder(target.parent)
    sweep_figure(result, target)
    write_json(folder / f"sweep-{over}.json", result.as_json())
    if json_output:
        print_json({**result.as_json(), "figure": str(target)})
        return
    out.print(sweep_table(result))
    out.print(f"figure: {target}", soft_wrap=True)
