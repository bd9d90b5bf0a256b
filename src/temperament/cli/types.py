"""``temperament types``: sixteen types as compositions of four axis personas, and how often they are measured."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder, write_json
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.extract import read_settings
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Model, Presentations, Revision
from temperament.errors import TemperamentError


def command(
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder for statistics, records, figures and a JSON file. Example: --out types"),
    ],
    model: Model = "smollm2-135m",
    method: Annotated[
        str, typer.Option("--method", help="See 'temperament list methods'. Example: --method contrastive-tilt")
    ] = "contrastive-saliency",
    over: Annotated[
        str,
        typer.Option("--over", help="What to vary: strength, sparsity or a setting. Example: --over sparsity"),
    ] = "strength",
    values: Annotated[
        str, typer.Option("--values", help="Its values, joined by commas. Example: --values 0.02,0.05,0.1")
    ] = "1",
    strength: Annotated[
        float | None, typer.Option("--strength", help="Strength of each of the four. Example: --strength 0.8")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", help="Share of inputs pruned per row. Example: --sparsity 0.05")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method; repeatable. Example: --set share=0.002")
    ] = None,
    types: Annotated[
        str | None, typer.Option("--types", help="Some of the sixteen, joined by commas. Example: --types ISTJ,ENFP")
    ] = None,
    presentations: Presentations = "quick",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Test statements per pole and axis (default all). Example: --limit 20")
    ] = None,
    random: Annotated[
        bool, typer.Option("--random/--no-random", help="Wear random edits of the same size too. Example: --no-random")
    ] = True,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of samples and halves. Example: --seed 42")
    ] = 42,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Wear each of sixteen types and measure its type.

    A type is four axis personas at once.
    Success is the share of types, and of axes, whose measured pole is the one worn: by the built-in questionnaire, by
    its change against the unworn model, and by test statements. A fixed type is right on 1 of 16 and half of the axes.
    With matplotlib figures are drawn. An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.analyze.axes import read_numbers
    from temperament.analyze.types import types_study
    from temperament.evaluation.axis_types import TYPES
    from temperament.evaluation.questionnaire import find_presentations
    from temperament.language_model import load
    from temperament.methods import MaskMethod, find_method

    own, shares = read_settings(settings or [])
    row = find_method(method)
    steps = read_numbers(values, "0.1,0.2,0.3")
    if shares or (not isinstance(row, MaskMethod) and (sparsity is not None or over == "sparsity")):
        raise TemperamentError("one sparsity for all Linears of a mask method", "give --sparsity or --over sparsity")
    if over == "strength" and strength is not None:
        raise TemperamentError("--strength beside --over strength", "give the strengths with --values")
    if over not in ("strength", "sparsity"):
        for step in steps:
            row.read({**own, over: step})
    row.read(own)
    names = [name.strip().upper() for name in types.split(",") if name.strip()] if types else list(TYPES)
    for name in names:
        if name not in TYPES:
            raise TemperamentError(f"{name!r} is no type", f"use some of {', '.join(TYPES)}")
    ways = find_presentations(presentations)
    ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    with progress_steps() as progress:
        study = types_study(
            lm,
            method=method,
            over=over,
            values=steps,
            strength=1.0 if strength is None else strength,
            sparsity=sparsity,
            settings=own,
            presentations=ways,
            names=names,
            random=random,
            limit=limit,
            seed=seed,
            folder=folder,
            progress=progress,
        )
    result = study.as_json()
    written = folder / f"types-{method}.json"
    write_json(written, result)
    figures: list[str] = []
    if find_spec("matplotlib"):
        from temperament.report.type_figures import types_figures

        figures = [str(path) for path in types_figures(study, folder)]
    else:
        tell("no figures without matplotlib: pip install 'temperament[plots]'")
    if json_output:
        print_json({**result, "figures": figures})
        return
    from temperament.report.type_tables import effect_table, success_table, type_tables

    by_type = [table for point in study.points for table in type_tables(study, point)]
    for table in filter(None, (*by_type, effect_table(study), success_table(study))):
        out.print(table)
        out.print()
    out.print(f"written: {', '.join([*figures, str(written)])}", soft_wrap=True)
