"""The terminal table of a smaller checkpoint: what it is, does and costs, beside the dense model and other cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.export.measure import EXPORTED, Figures
from temperament.report.tables import cost_text, interval, plain_table


def export_table(facts: Mapping[str, Any], figures: Mapping[str, Figures], speed: Mapping[str, float] | None) -> Table:
    """One row per variant; the exported one in bold."""
    before, after = facts["structured"]["from"], facts["structured"]["to"]
    title = f"{facts['model']['name']}: {before['channels']} → {after['channels']} MLP channels"
    if after["heads"] != before["heads"]:
        title += f", {before['heads']} → {after['heads']} heads"
    effect = any(row.separation for row in figures.values())
    heads = ["parameters", *(["separation"] if effect else []), "ppl ratio"]
    table = plain_table("", *heads, title=f"{title} per block")
    for name, row in figures.items():
        count = facts["parameters"]["from" if name.startswith("dense") else "to"]
        cells = [f"{count / 1e6:.1f} M"]
        if effect:
            cells.append(interval(row.separation) if row.separation else "–")
        own, low, high = row.perplexity.value, row.perplexity.low, row.perplexity.high
        digits = 2 if high < 100 else 0
        cells.append(cost_text(own) if low != low else f"{cost_text(own)} [{low:,.{digits}f}, {high:,.{digits}f}]")
        table.add_row(name, *cells, style="bold" if name == EXPORTED else None)
    lines = ["ppl ratio: neutral text, dense and unworn = 1; nothing was trained after the cut"]
    if effect:
        lines.append("separation: nats/token on test statements; [ ] 95 % bootstrap intervals")
    lines.append("rows below 'exported' remove as much, chosen in other ways")
    if speed:
        lines.append(
            f"generation: dense {speed['dense']:.1f}, exported {speed['exported']:.1f} tokens/s, "
            f"× {speed['ratio']:.2f} (median of {speed['rounds']:.0f} rounds in turn)"
        )
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table
