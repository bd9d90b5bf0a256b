"""``temperament dial``: the strength of each pole for a target score within a budget, kept in its persona file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder, write_bytes
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Limit, Minus, Model, Plus, Revision, Seed

if TYPE_CHECKING:
    from temperament.personas import Persona


def command(
    plus: Plus,
    minus: Minus,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Texts to tune on: built-in name or file, of which the validation split is taken. "
            "Example: --data extraversion",
        ),
    ],
    model: Model = "smollm2-135m",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="Standard deviations above the unworn score, or a score in nats per token, towards each persona's "
            "pole. Example: --target +1sd",
        ),
    ] = "+1sd",
    budget: Annotated[
        float, typer.Option("--budget", help="Largest perplexity ratio on neutral text. Example: --budget 1.25")
    ] = 1.10,
    closest: Annotated[
        bool,
        typer.Option(
            "--closest", help="Where the budget ends before the target, keep the largest gain. Example: --closest"
        ),
    ] = False,
    limit: Limit = None,
    seed: Seed = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for per-item records; default: dial/ beside the plus persona. Example: --out dial"
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Find and keep the strength that reaches a target.

    The target is a score; it must be reached within a perplexity budget. The strength is kept in the pole's file.
    Worn without a strength the file is worn at this one. The texts count from then on among those it must not be
    evaluated on. If a target is not reached nothing is kept, unless --closest is given. An interrupted run goes on
    where it stopped when it is started again.
    """
    from temperament.calibration import resolve_contrast
    from temperament.evaluation.budget import check_budget
    from temperament.evaluation.dial import Target, check_reached, dial
    from temperament.evaluation.ledger import Ledger
    from temperament.evaluation.run import check_pair
    from temperament.language_model import load
    from temperament.personas import open_persona

    Target.of(target)
    poles = open_persona(plus), open_persona(minus)
    check_pair(*poles)
    check_budget(budget)
    texts = resolve_contrast(data, split="validation", limit=limit, seed=seed)
    for note in texts.notes:
        tell(note)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona in poles:
        persona.check_model(lm)
    for path in (plus, minus):
        ensure_folder(path.parent)  # both files will be written to
    records = ensure_folder(folder or plus.parent / "dial")
    with progress_steps() as progress:
        ledger = Ledger(lm, records, progress)
        found = [dial(ledger, persona, texts, target=target, budget=budget, seed=seed) for persona in poles]
    if not closest:
        check_reached(found)
    files = _save_both([one.persona for one in found], [plus, minus])
    if json_output:
        print_json(
            {one.persona.pole: {"file": str(path), **one.as_json()} for one, path in zip(found, files, strict=True)}
        )
        return
    from temperament.report.dial_table import dial_table

    out.print(dial_table(found))
    out.print(f"kept in {files[0]} and {files[1]}", soft_wrap=True)


def _save_both(personas: Sequence[Persona], paths: Sequence[Path]) -> list[Path]:
    """Write both files or neither: a pair of which one pole alone is dialled would be worn at two strengths."""
    before = paths[0].read_bytes()
    written = [personas[0].save(paths[0])]
    try:
        written.append(personas[1].save(paths[1]))
    except BaseException:
        write_bytes(paths[0], before)
        raise
    return written
