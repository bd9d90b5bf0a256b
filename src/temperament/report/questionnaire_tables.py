"""Terminal tables of questionnaires: trait and facet scores, unworn beside worn; individual alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.calibration.builtin import find_axis
from temperament.calibration.items import LETTERS
from temperament.evaluation.alignment import Alignment, On
from temperament.evaluation.bootstrap import Measured
from temperament.report.tables import interval, plain_table, signed


def trait_table(summary: Mapping[str, Any], title: str) -> Table:
    """Traits: score 1–5 with its interval and T, unworn and worn, and the change; habits of answering beneath."""
    sides, change = summary["sides"], summary.get("change", {})
    normed = summary["norms"] is not None
    heads = [head for name in sides for head in (f"{name} (1–5)", *(["T"] if normed else []))]
    table = plain_table("", *heads, *(["change"] if change else []), title=title)
    table.padding = (0, 1, 0, 0)
    for trait in sides["unworn"]["traits"]:
        cells = []
        for side in sides.values():
            score = side["traits"][trait]
            cells += [_interval(score), *([_t(score["t"])] if normed else [])]
        if change:
            cells.append(_interval(change[trait]))
        table.add_row(trait, *cells)
    table.caption, table.caption_justify = Text("\n".join(_habits(summary))), "left"
    return table


def facet_table(summary: Mapping[str, Any], names: Mapping[str, str]) -> Table | None:
    """Facets: score and T, unworn and worn, and the change; None where the items name no facet."""
    sides = summary["sides"]
    normed = summary["norms"] is not None
    if not sides["unworn"]["facets"]:
        return None
    heads = [head for name in sides for head in (name, *(["T"] if normed else []))]
    table = plain_table("facet", *heads, *(["change"] if "worn" in sides else []))
    for facet, own in sides["unworn"]["facets"].items():
        cells = []
        for side in sides.values():
            score = side["facets"][facet]
            cells += [f"{score['value']:.2f}", *([_t(score["t"])] if normed else [])]
        if "worn" in sides:
            cells.append(signed(sides["worn"]["facets"][facet]["value"] - own["value"]))
        table.add_row(f"{facet} {names.get(facet, '')}".strip(), *cells)
    return table


def alignment_table(found: Alignment, title: str, seed: int = 0) -> Table:
    """Errors |model − person| by trait and their sum (the columns of NPTI Table 3), a row per condition and items."""
    traits = [trait for trait in LETTERS if trait in found.people[0].errors["aligned"]["held_out"]]
    table = plain_table("", *(_short(trait) for trait in traits), "total", title=title)
    parts: tuple[tuple[On, str], ...] = (("held_out", "held-out items"), ("all", "all items"))
    for on, label in parts:
        table.add_row(Text(f"{label}:", style="italic"))
        for condition in found.conditions:
            total = found.total(condition, on, seed)
            cells = [f"{total.extra['traits'][trait]:.2f}" for trait in traits]
            style = "bold" if condition == "aligned" else None
            table.add_row(f"  {condition}", *cells, interval(total), style=style)
    lines = [f"mean over {len(found.people)} people; [ ] 95 % bootstrap interval over people"]
    lines.append(f"{len(found.choosing)} items chose the strengths, {len(found.held_out)} others are held out")
    if any(one.person.synthetic for one in found.people):
        lines.append("synthetic people: generated answers of nobody real")
    lines.append("other: the strengths chosen for the next person; prompt: a system prompt from the choosing items")
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def strengths_table(found: Alignment, most: int = 20) -> Table:
    """The strengths chosen for each person."""
    traits = list(found.people[0].strengths)
    table = plain_table("strengths", *(_short(trait) for trait in traits))
    for one in found.people[:most]:
        table.add_row(one.person.name, *(f"{one.strengths[trait] + 0.0:+g}" for trait in traits))
    if len(found.people) > most:
        table.caption, table.caption_justify = Text(f"and {len(found.people) - most} more: see --json"), "left"
    return table


def _habits(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, side in summary["sides"].items():
        agreeing, steady = side["acquiescence"], side["consistency"]
        habit = f"acquiescence {_interval(agreeing)} (3: none)" if agreeing else "acquiescence unknown"
        lines.append(
            f"{name}: {habit}; how far answers hang on the order of the options (SD over presentations, 0: not at "
            f"all) {_interval(steady)}; replies that are an option {100 * steady['mass']:.0f} %"
        )
        if side["type"]:
            lines.append(f"{name}: type {side['type']} (over or under 3 on each axis; – on 3)")
    lines.append(
        "replies that are an option: the probability that the model answers with one of the options at all; scores are "
        "made of these alone, so read little into them where it is small"
    )
    change = summary.get("change", {})
    balanced = [f"{_short(t)} {signed(row['balanced'])}" for t, row in change.items() if row["balanced"] is not None]
    if balanced:
        lines.append(f"change with both keys weighing the same: {', '.join(balanced)}")
    if summary["norms"]:
        lines.append(f"T: 50 and 10 are mean and SD of {summary['norms']}; – where items of the scale are missing")
    lines.append("[ ] 95 % bootstrap interval over items")
    return lines


def _interval(figure: Mapping[str, Any]) -> str:
    return interval(Measured(figure["value"], figure["low"], figure["high"], figure["n"]))


def _t(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _short(trait: str) -> str:
    axis = find_axis(trait)
    return axis.letters if axis else f"{trait[:3].capitalize()}."
