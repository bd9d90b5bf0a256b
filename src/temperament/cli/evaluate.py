"""``temperament evaluate``: measures of a pair of personas, beside their controls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Limit, Minus, Model, Plus, Revision, Seed, Strength
from temperament.cli.personas import signature_folder, worn_strength
from temperament.errors import TemperamentError

ALL_MEASURES = "separation,auc,two_choice,perplexity"


def command(
    plus: Plus,
    minus: Minus,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Test texts: built-in name or file; #all takes a whole file instead of its test split. "
            "Example: --data extraversion",
        ),
    ],
    model: Model = "smollm2-135m",
    measure: Annotated[
        str, typer.Option("--measure", help="Measures, joined by commas. Example: --measure separation,auc")
    ] = ALL_MEASURES,
    strength: Strength = None,
    controls: Annotated[
        str,
        typer.Option(
            "--controls",
            help="all, none, or some of unworn,random,shuffled,swapped,prompt. Example: --controls unworn,prompt",
        ),
    ] = "all",
    signatures: Annotated[
        Path | None,
        typer.Option(
            "--signatures",
            help="Signatures for controls that need them; default: where the command left them that made plus. "
            "Example: --signatures outgoing/signatures",
        ),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    neutral: Annotated[
        Path | None,
        typer.Option(
            "--neutral", help="Text file for perplexity; default: the package's own. Example: --neutral wiki.valid.raw"
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for per-item records; default: evaluation/ beside the plus persona. Example: --out evaluation",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", help="Also draw separation with its controls as PNG. Example: --figure separation.png"
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Measure a pair of opposite personas on test texts.

    Controls stand beside, and the record of every item is kept.
    An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.calibration import few_texts, resolve_contrast
    from temperament.evaluation import CONTROLS, evaluate
    from temperament.evaluation.run import check_controls, check_pair, find_measures
    from temperament.language_model import load
    from temperament.personas import open_persona
    from temperament.personas.kinds import kind_of

    names = tuple(part.strip() for part in measure.split(",") if part.strip())
    find_measures(names)
    listed = tuple(name.strip() for name in controls.split(","))
    chosen = {"all": CONTROLS, "none": ()}.get(controls, listed)
    check_controls(chosen)
    if figure and (figure.suffix.lower() != ".png" or "separation" not in names):
        raise TemperamentError(f"--figure {figure}", "give a .png file, and separation among the measures")
    if figure:
        from temperament.report.figures import pyplot

        pyplot()  # a missing extra is told before anything is measured
        ensure_folder(figure.parent)
    first, second = open_persona(plus), open_persona(minus)
    check_pair(first, second)
    strengths = worn_strength(first, plus, strength), worn_strength(second, minus, strength)
    test = resolve_contrast(data, split="test", limit=limit, seed=seed)
    for note in test.notes:
        tell(note)
    if limit is None and (warning := few_texts(test)):
        tell(warning)
    beside = signatures or signature_folder(first, plus)
    kind = kind_of(first)
    random = kind.random_needs(first) if kind and any(name.startswith("random") for name in chosen) else None
    needed = "shuffled control" if "shuffled" in chosen else random
    if needed and signatures is None and not beside.is_dir():
        others = "unworn,swapped,prompt" if random else "unworn,random,swapped,prompt"
        raise TemperamentError(
            f"the {needed} needs the signatures of the extraction, and there is no folder {beside}",
            f"give --signatures DIR, or leave it out: --controls {others}",
        )
    pair = kind.load(beside) if kind and (needed or signatures) else None
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    records = ensure_folder(folder or plus.parent / "evaluation")
    with progress_steps() as progress:
        result = evaluate(
            lm,
            first,
            second,
            test,
            measures=names,
            controls=chosen,
            signatures=pair,
            strength=strengths,
            neutral=neutral,
            seed=seed,
            folder=records,
            progress=progress,
        )
    if figure:
        from temperament.report.figures import controls_figure

        controls_figure(result, figure)
    if json_output:
        print_json(result.as_json())
        return
    from temperament.report.tables import evaluation_table

    out.print(evaluation_table(result))
