"""``temperament align``: strengths of trait personas with which a model answers as a person did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Items, Json, Model, Presentations, Revision, Seed
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.personas import Plan


def command(
    people: Annotated[
        str,
        typer.Option(
            "--people",
            help="Answers of people (csv with a column per item, or JSON of one person), or synthetic for a generated "
            "group. Example: --people answers.csv",
        ),
    ],
    items: Items,
    personas: Annotated[
        list[str],
        typer.Option(
            "--trait-personas",
            help="Folder with plus.persona and minus.persona of one trait, TRAIT=FOLDER where they do not tell which; "
            "one for every trait of the items. Example: --trait-personas personas/extraversion",
        ),
    ],
    model: Model = "smollm2-135m",
    scored: Annotated[
        str | None,
        typer.Option(
            "--scored",
            help="What the answers of a file are: raw, or reversed where items with key -1 are turned round already. "
            "Example: --scored raw",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            min=1,
            help="People: how many to generate (default 8), or a seeded sample of the file's (default all). "
            "Example: --count 20",
        ),
    ] = None,
    grid: Annotated[
        str,
        typer.Option(
            "--grid",
            help="Strengths to choose from, multiples of each persona's dialled strength or of 1; 0 is always among "
            "them. Example: --grid=-1,-0.5,0.5,1",
        ),
    ] = "-1,-0.5,0,0.5,1",
    search: Annotated[
        str,
        typer.Option(
            "--search",
            help="additive (effects of single traits added up) or coordinate (every combination on the way is "
            "measured, for each person anew). Example: --search coordinate",
        ),
    ] = "additive",
    share: Annotated[
        float, typer.Option("--share", help="Share of the items that choose; the others measure. Example: --share 0.5")
    ] = 0.5,
    presentations: Presentations = "quick",
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the record of every item, to go on from. Example: --out alignment"),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Find strengths to answer as individual people did.

    Strengths of five trait personas are chosen for each person (NPTI Table 3).
    Half of the items choose, the other half measure; unworn, random and other people's strengths and a prompt stand
    beside. With --out an interrupted run goes on where it stopped when it is started again.
    """
    from temperament.calibration.items import LETTERS, resolve_items
    from temperament.evaluation.alignment import Search, align
    from temperament.evaluation.alignment_model import ModelScore
    from temperament.evaluation.ledger import Ledger
    from temperament.evaluation.people import read_group
    from temperament.evaluation.questionnaire import find_presentations
    from temperament.language_model import load

    asked = resolve_items(items)
    traits = [trait for trait in LETTERS if any(item.domain == trait for item in asked)]
    if not traits or any(item.domain not in LETTERS for item in asked):
        raise TemperamentError(f"{items} has items of other things than the five traits", "give items of the traits")
    shown = find_presentations(presentations)
    strengths = _grid(grid)
    searches: dict[str, Search] = {"additive": "additive", "coordinate": "coordinate"}
    if search not in searches:
        raise TemperamentError(f"unknown search {search!r}", "use additive or coordinate")
    group = read_group(people, asked, scored=scored, count=count, seed=seed)
    for note in group.notes:
        tell(note)
    plans = _trait_pairs(personas, traits)
    if folder:
        ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for plan in (plan for pair in plans.values() for plan in pair):
        for persona, _ in plan.items:
            persona.check_model(lm)
    with progress_steps() as progress:
        score = ModelScore(Ledger(lm, folder, progress), plans, shown)
        found = align(
            group.people,
            asked,
            score,
            grid=strengths,
            search=searches[search],
            share=share,
            seed=seed,
            prompt=score.prompt,
        )
    if json_output:
        worn = {
            trait: [[persona.name, strength] for plan in pair for persona, strength in plan.items]
            for trait, pair in plans.items()
        }
        model_facts = {"name": lm.name, "revision": lm.revision, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype)}
        gains = {
            on: {name: found.gain(name, on, seed).as_json() for name in found.conditions if name != "aligned"}
            for on in ("held_out", "all")
        }
        settings = {"grid": list(strengths), "search": search, "share": share, "presentations": presentations}
        print_json(
            {"model": model_facts, "personas": worn, **settings, "seed": seed, **found.as_json(seed), "gain": gains}
        )
        return
    from temperament.report.questionnaire_tables import alignment_table, strengths_table

    out.print(alignment_table(found, f"Individual alignment on {len(asked)} items, {lm.name}; |model − person|", seed))
    out.print()
    out.print(strengths_table(found))


def _trait_pairs(folders: Sequence[str], traits: Sequence[str]) -> dict[str, tuple[Plan, Plan]]:
    """By trait what a strength of 1 wears in either direction: a persona at its dialled strength, or at 1."""
    from temperament.calibration.builtin import trait_of
    from temperament.calibration.questionnaire_items import find_domain
    from temperament.evaluation.run import check_pair
    from temperament.personas import read_plan

    pairs: dict[str, tuple[Plan, Plan]] = {}
    for spec in folders:
        named, mark, path = spec.partition("=")
        folder = Path(path if mark and not Path(spec).is_dir() else spec)
        plus, minus = (read_plan(str(folder / f"{pole}.persona"), tell) for pole in ("plus", "minus"))
        check_pair(plus.items[0][0], minus.items[0][0])
        if mark and not Path(spec).is_dir():
            trait = find_domain(named)
        else:
            data = plus.items[0][0].provenance.get("data") or {}
            trait = trait_of(str(data.get("name"))) or ""
        if not trait:
            raise TemperamentError(f"the personas in {folder} do not tell their trait", f"write openness={folder}")
        if trait in pairs:
            raise TemperamentError(f"two folders of personas for {trait}", "give one for every trait")
        pairs[trait] = plus, minus
    missing = [trait for trait in traits if trait not in pairs]
    if missing:
        raise TemperamentError(
            f"there are no personas for {', '.join(missing)}", "give --trait-personas once for every trait of the items"
        )
    return {trait: pairs[trait] for trait in traits}


def _grid(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = ()
    if not values or not all(math.isfinite(value) for value in values):
        raise TemperamentError(f"--grid {text}", "give numbers joined by commas, such as --grid=-1,-0.5,0,0.5,1")
    return values
