"""Terminal tables of the sixteen types: success beside chance and controls, and scores and margins by type."""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from temperament.analyze.types import READINGS, Condition, TypesPoint, TypesStudy, median
from temperament.calibration.builtin import AXES
from temperament.evaluation.axis_types import CHANCE, MIDDLE, NAMES
from temperament.report.tables import cost_text, interval, plain_table, signed

#: Heads of the columns of each reading; the captions say what they are.
_HEADS = {"questionnaire": "form", "questionnaire, change": "change", "statements, change": "texts"}


def success_table(study: TypesStudy) -> Table:
    """Share of types and of axes whose measured pole is the one worn, in %, for every value and control."""
    heads = [head for reading in READINGS for head in (f"{_HEADS[reading]}\ntypes", f"{_HEADS[reading]}\naxes")]
    title = f"Persona switch on {study.provenance['model']['name']}, {study.method}: success in %"
    table = plain_table(study.over, *heads, "ppl ×\nmedian", title=title)
    table.padding = (0, 1, 0, 0)
    for point in study.points:
        table.add_row(f"{point.value:g}", *_cells(point.worn), style="bold")
        if point.random:
            table.add_row("  random", *_cells(point.random))
    table.add_row("prompt", *_cells(study.prompt))
    fixed = [f"{CHANCE[what]:.0f}" for _ in READINGS for what in ("types", "axes")]
    table.add_row("chance", *fixed, "")
    lines = [
        f"unworn the questionnaire gives {study.own}; a fixed type is right on 1 of 16 and on half the axes",
        "form: questionnaire score over or under 3; change: over or under its unworn score",
        "texts: likelihood of test statements, over or under its unworn score",
        "random: edits of the same size without the meaning; prompt: four system prompts",
        "[ ] 95 % bootstrap interval over items, the same items for all types",
    ]
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def _cells(condition: Condition) -> list[str]:
    cells = []
    for reading in READINGS:
        found = condition.switches[reading]
        cells += [f"{found.types.value:.0f}", interval(found.axes, 0)]
    return [*cells, cost_text(median(condition.perplexity)).removeprefix("× ")]


def effect_table(study: TypesStudy) -> Table | None:
    """What each axis gains: mean score over the types with its plus pole less that over the others.

    A dash where the types worn have one pole of an axis only, None where that is so of every axis.
    """
    known = study.prompt.switches["questionnaire"].effect
    if all(math.isnan(known[axis].value) for axis in NAMES):
        return None
    heads = [f"{axis.letters}\n{unit}" for axis in AXES for unit in ("1–5", "nats")]
    table = plain_table("effect", *heads, title="Effect of the pole worn, by axis (0: none)")
    rows = {f"{study.over} {point.value:g}": point.worn for point in study.points}
    rows |= {f"  random, {point.value:g}": point.random for point in study.points if point.random}
    for label, condition in {**rows, "prompt": study.prompt}.items():
        found = [condition.switches[reading].effect for reading in ("questionnaire", "statements, change")]
        table.add_row(label, *(signed(by_axis[axis].value, 3) for axis in NAMES for by_axis in found))
    return table


def type_tables(study: TypesStudy, point: TypesPoint) -> tuple[Table, Table]:
    """A row per type worn: the type measured, and score with margin of every axis, by either measure."""
    where = f"Types worn at {study.over} {point.value:g}"
    form, statements = (point.worn.switches[reading] for reading in ("questionnaire", "statements, change"))
    heads = [f"{axis.letters}\n(margin)" for axis in AXES]
    first = plain_table("worn", "measured", *heads, title=f"{where}: questionnaire, 1–5")
    second = plain_table("worn", "measured", *heads, "ppl", title=f"{where}: change in statements, nats per token")
    second.padding = (0, 1, 0, 0)
    for name in form.scores:
        cells = [f"{MIDDLE + form.scores[name][axis]:.2f} ({signed(form.margin(name, axis))})" for axis in NAMES]
        first.add_row(name, form.measured_type(name), *cells)
        cells = [f"{signed(statements.scores[name][axis])} ({signed(statements.margin(name, axis))})" for axis in NAMES]
        second.add_row(name, statements.measured_type(name), *cells, cost_text(point.worn.perplexity[name]))
    own = study.own_scores["questionnaire"]
    first.add_row("nothing", study.own, *(f"{MIDDLE + own[axis]:.2f}" for axis in NAMES))
    second.caption = Text("margin: in the direction worn, above 0 a success\nstatements: against the unworn model")
    second.caption_justify = "left"
    return first, second
