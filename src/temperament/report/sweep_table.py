"""The terminal table of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.analyze.sweep import Sweep, SweepPoint, shown
from temperament.report.tables import cost_text, interval, plain_table, shortened


def sweep_table(sweep: Sweep) -> Table:
    """One row per point: size of the edit, separation and AUC beside the random control, perplexity of either pole."""
    named = len(sweep.series) > 1
    sizes = {name: {edited(point) for point in sweep.points if point.series == name} for name in sweep.series}
    # what is the same at every value is said once, so that names have room
    alike = len(sweep.points) > 1 and all(len(found) == 1 for found in sizes.values())
    heads = [sweep.axis.name, *(["series"] if named else []), *([] if alike else ["edited"])]
    table = plain_table(*heads, "separation", "random", "AUC", "ppl +", "ppl −", title=sweep.title)
    table.padding = (0, 1, 0, 0)
    for point in sweep.points:
        measures, random = point.result.measures, point.result.controls["random-0"]
        cost = measures["perplexity"].extra
        table.add_row(
            shortened(shown(point.value), 27),
            *([point.series] if named else []),
            *([] if alike else [edited(point)]),
            interval(measures["separation"]),
            f"{random['separation'].value:.2f}",
            f"{measures['auc'].value:.2f}",
            cost_text(cost["plus"]),
            cost_text(cost["minus"]),
        )
    lines = [f"{shown(value)} is left out: {reason.partition(';')[0]}" for value, reason in sweep.skipped]
    if alike:
        if named:
            table.columns[1].min_width = max(map(len, sweep.series))
        lines.append("edited: " + "; ".join(f"{name} {found.pop()}" for name, found in sizes.items()))
    if any("masks" in point.details for point in sweep.points):
        lines.append("(entries of the masks that differ between the poles; neurons or weights, plus + minus)")
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def edited(point: SweepPoint) -> str:
    """How much a pair edits, in a few characters: differing entries of masks, or neurons or weights of either pole."""
    details: Mapping[str, Any] = point.details
    if "masks" in details:
        return f"{100 * details['masks']['differential_ratio']['all']:.1f} %"
    for name in ("neurons", "subnetwork"):
        if name in details:
            return f"{details[name]['plus']:,} + {details[name]['minus']:,}"
    return ""
