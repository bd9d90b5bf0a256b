"""NPTI Table 3: how far a model's answers to a questionnaire lie from those of single people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from temperament.calibration import Contrast
from temperament.calibration.items import LETTERS, Item, read_items
from temperament.compare.settings import PROMPT
from temperament.errors import TemperamentError
from temperament.evaluation.alignment import GRID, Alignment, On, align
from temperament.evaluation.alignment_model import ModelScore
from temperament.evaluation.bootstrap import Measured, measured
from temperament.evaluation.instrument import text_digest
from temperament.evaluation.people import Person, read_people, synthetic_people
from temperament.personas import Persona
from temperament.reproduce.bench import Bench, control
from temperament.reproduce.paper import NPTI, NPTI_3, NPTI_MODEL, Printed
from temperament.reproduce.table import Column, Reproduced, Row
from temperament.reproduce.traits import trait_candidate, trait_contrasts

#: People of the synthetic group.
PEOPLE = 10
#: Strengths of what is worn or not.
WORN_OR_NOT = (-1.0, 0.0, 1.0)
#: Groups of columns: the items that errors are measured on, as the paper does and as we do.
GROUPS: dict[str, On] = {"published: all items": "all", "ours: held-out items": "held_out"}
OURS = ("contrastive-saliency", "vector")


def npti_3(bench: Bench) -> Reproduced:
    """Rows of methods; per set of items the error of every trait and the total, beside controls."""
    items = _items(bench)
    people = _people(bench, items)
    contrasts = trait_contrasts(bench)
    rows = bench.rows((*NPTI_3, Printed(PROMPT, "levels as adjectives", {})), OURS)
    printed = {row.method: row.figures for row in NPTI_3}
    unworn = control("unworn", "unworn")
    for row in rows:
        row.add(next(iter(GROUPS)), paper=printed.get(row.name, {}).get("total"))
        whole = "all"
        bench.attempt(row, whole, partial(_method, bench, contrasts, items, people, row, unworn))
        if whole in row.errors:
            row.errors = dict.fromkeys(GROUPS, row.errors[whole])
    bench.notes.extend(_notes(people))
    published, ours = GROUPS
    return bench.finish(
        "Individual alignment: |model − person| of trait scores 1–5, summed over traits; lower is better",
        f"{NPTI}, Table 3",
        f"{NPTI_MODEL}, IPIP-NEO-300, real people",
        {published: (Column("paper", "paper", "paper", "", 2, overview=True), *_columns()), ours: _columns()},
        [unworn, *rows],
    )


def _columns() -> tuple[Column, ...]:
    return (
        Column("total", "total", "ours", "", 2, overview=True),
        *(Column(trait, letter, "ours", "", 2, interval=False) for trait, letter in LETTERS.items()),
        Column("random", "random", "control", "", 2),
        Column("other", "other", "control", "", 2),
    )


def _items(bench: Bench) -> tuple[Item, ...]:
    path = bench.settings.questionnaire or bench.settings.file("ipip_neo/ipip_neo_120.csv")
    if path is None:
        raise TemperamentError(
            "there are no questionnaire items (DATA/ipip_neo/ipip_neo_120.csv)",
            "give the folder with --data, or a file of items with --questionnaire",
        )
    items, limit = read_items(path), bench.settings.limit
    if limit:
        counts: dict[tuple[str, int], int] = {}
        kept = []
        for item in items:
            counts[item.domain, item.key] = counts.get((item.domain, item.key), 0) + 1
            if counts[item.domain, item.key] <= limit:
                kept.append(item)
        items = tuple(kept)
    bench.data["questionnaire"] = {
        "file": path.name,
        "hash": text_digest([item.text for item in items]),
        "items": len(items),
    }
    return items


def _people(bench: Bench, items: Sequence[Item]) -> tuple[Person, ...]:
    path, scored = bench.settings.people, bench.settings.scored
    if path and scored:
        found = read_people(path, items, scored=scored)
    else:
        found = synthetic_people(items, min(PEOPLE, bench.settings.limit or PEOPLE), bench.seed)
    for note in found.notes:
        bench.note(note)
    bench.data["people"] = {"file": path.name if path else "synthetic", "people": len(found.people)}
    return found.people


def _method(
    bench: Bench,
    contrasts: dict[str, Contrast],
    items: Sequence[Item],
    people: Sequence[Person],
    row: Row,
    unworn: Row,
) -> None:
    if row.name == PROMPT:
        score = ModelScore(bench.ledger, {})
        found = align(people, items, score, grid=(0.0,), random_seeds=(), prompt=score.prompt, seed=bench.seed)
        row.settings["prompt"] = "levels as adjectives"
        _add(bench, row, found, "prompt")
    else:
        pairs: dict[str, tuple[Persona, Persona]] = {}
        strongest: list[float | None] = []
        for trait, texts in contrasts.items():
            candidate = trait_candidate(bench, trait, texts, row)
            pairs[trait] = candidate.plus, candidate.minus
            strongest.append(candidate.strongest)
        grid = WORN_OR_NOT if None in strongest else GRID
        found = align(people, items, ModelScore(bench.ledger, pairs), grid=grid, seed=bench.seed)
        row.settings |= {"strength": f"chosen from {', '.join(f'{value:g}' for value in grid)}"}
        _add(bench, row, found, "aligned")
        for group, on in GROUPS.items():
            for name in ("random", "other"):
                if name in found.conditions:
                    row.add(group, **{name: found.total(name, on, bench.seed)})
    if not unworn.figures:
        _add(bench, unworn, found, "unworn")


def _add(bench: Bench, row: Row, found: Alignment, condition: str) -> None:
    for group, on in GROUPS.items():
        errors = [one.errors[condition][on] for one in found.people]
        traits: dict[str, Measured | None] = {
            trait: measured([np.array([error[trait] for error in errors])], np.mean, seed=bench.seed)
            for trait in LETTERS
            if trait in errors[0]
        }
        row.add(group, total=found.total(condition, on, bench.seed), **traits)


def _notes(people: Sequence[Person]) -> tuple[str, ...]:
    who = "a synthetic group: no real people" if any(person.synthetic for person in people) else "people from a file"
    return (
        f"{len(people)} people ({who}); intervals are over people",
        "strengths are chosen on one half of the items; published: errors over all items, as the paper measures (it "
        "also chooses on all of them); ours: errors on the other half, which chose nothing",
        "random: strengths drawn at random; other: the strengths chosen for the next person, which tell alignment to "
        "one person from a shift that suits everybody; unworn: nothing worn",
        "the paper's totals sum over five traits of its 300 items and real people; none by trait are at hand",
    )
