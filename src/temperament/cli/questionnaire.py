"""``temperament questionnaire``: personality items answered by a model, unworn and worn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Items, Json, Model, Presentations, Revision, Seed
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.evaluation.questionnaire import Norms


def command(
    items: Items,
    model: Model = "smollm2-135m",
    wear: Annotated[
        list[str] | None,
        typer.Option(
            "--wear",
            help="Persona file and strength (default: its dial's, else 1); repeatable. "
            "Example: --wear outgoing/plus.persona:0.8",
        ),
    ] = None,
    norms: Annotated[
        Path | None, typer.Option("--norms", help="JSON file of norms, for T-scores. Example: --norms norms.json")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Group of people to compare with. Example: --group 'women 21-40'")
    ] = None,
    presentations: Presentations = "standard",
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the record of every item, to go on from. Example: --out questionnaire"),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Let a model fill in a personality questionnaire.

    It does so unworn and wearing a persona.
    Answers are read from the probabilities of the options. With --out an interrupted run goes on where it stopped when
    it is started again.
    """
    from temperament.calibration.items import resolve_items
    from temperament.evaluation.ledger import Ledger
    from temperament.evaluation.questionnaire import Questionnaire, find_presentations
    from temperament.evaluation.questionnaire.summary import questionnaire_summary
    from temperament.language_model import load
    from temperament.personas import Plan, read_plan

    form = Questionnaire(resolve_items(items), find_presentations(presentations))
    people = _norms(norms, group, len(form))
    plan = Plan()
    for spec in wear or []:
        plan = plan + read_plan(spec, tell)
    if folder:
        ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona, _ in plan.items:
        persona.check_model(lm)
    with progress_steps() as progress:
        ledger = Ledger(lm, folder, progress)
        plans = {"unworn": Plan()} | ({"worn": plan} if plan.items else {})
        records = {label: ledger.run(form, worn, label) for label, worn in plans.items()}
    result = {
        "model": {"name": lm.name, "revision": lm.revision, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype)},
        "worn": [[persona.name, strength] for persona, strength in plan.items],
        "items": {"number": len(form), "hash": form.hash, "presentations": presentations},
        "seed": seed,
        **questionnaire_summary(records, people, seed),
    }
    if json_output:
        print_json(result)
        return
    from temperament.report.questionnaire_tables import facet_table, trait_table

    title = f"{len(form)} items, {lm.name}" + (f", worn: {plan}" if plan.items else "")
    out.print(trait_table(result, title))
    facets = facet_table(result, {item.facet: item.facet_name for item in form.items})
    if facets:
        out.print()
        out.print(facets)


def _norms(path: Path | None, group: str | None, items: int) -> Norms | None:
    from temperament.evaluation.questionnaire import find_norms

    if (path is None) != (group is None):
        raise TemperamentError("--norms and --group go together", "give a file of norms and one of its groups")
    return find_norms(path, group, 120 if items <= 120 else 300) if path and group else None
