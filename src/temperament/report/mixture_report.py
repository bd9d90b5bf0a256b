"""A mixture by weight as a terminal table and as a figure."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from temperament.analyze.mixture import MixtureCurve
from temperament.report.figures import CONTROL, GRID, INK, WORN, pyplot, save_figure
from temperament.report.tables import cost_text, interval, plain_table

SECOND = "#b5541c"


def mixture_table(curve: MixtureCurve) -> Table:
    """One row per weight."""
    first, second = curve.traits
    table = plain_table("weight", f"{first} gain", f"{second} gain", "ppl ratio", title=_title(curve))
    for step in curve.steps:
        table.add_row(
            f"{step.weight:g} / {1 - step.weight:g}",
            *(interval(step.gains[trait]) for trait in curve.traits),
            cost_text(step.perplexity),
        )
    lines = ["gain: towards the persona's pole against the unworn model, nats/token [95 % interval]"]
    lines += [f"{trait}: {verdict(curve, trait)}" for trait in curve.traits]
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def verdict(curve: MixtureCurve, trait: str) -> str:
    """Whether the gain is graded, and how far mixtures lie from the line between the ends."""
    graded = "every step goes the same way" if curve.graded(trait) else "not every step goes the same way"
    return f"{graded}; at most {100 * curve.miss(trait):.0f} % of the range off the straight line"


def mixture_figure(curve: MixtureCurve, path: Path) -> Path:
    """Gains against weight, with the straight lines between the ends."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.4), dpi=160, layout="constrained")
    weights = [step.weight for step in curve.steps]
    for trait, name, colour in zip(curve.traits, curve.names, (WORN, SECOND), strict=True):
        values = [step.gains[trait].value for step in curve.steps]
        errors = [
            [value - step.gains[trait].low for value, step in zip(values, curve.steps, strict=True)],
            [step.gains[trait].high - value for value, step in zip(values, curve.steps, strict=True)],
        ]
        axes.errorbar(weights, values, errors, color=colour, marker="o", linewidth=1.8, capsize=3, zorder=3)
        axes.plot([0, 1], [values[0], values[-1]], color=colour, linewidth=1, linestyle=":", zorder=2)
        axes.plot([], [], color=colour, marker="o", label=f"{trait} (of {name})")
    axes.plot([], [], color=CONTROL, linestyle=":", label="straight line between the ends")
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_xlabel(f"weight of {curve.names[0]}; the rest is {curve.names[1]}", color=INK)
    axes.set_ylabel("gain, nats per token (0 = unworn)", color=INK)
    axes.set_xticks(weights, [f"{step.weight:g}\nppl {cost_text(step.perplexity)}" for step in curve.steps], fontsize=8)
    axes.set_xlim(-0.07, 1.07)
    axes.grid(axis="y", color=GRID, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.suptitle(_title(curve), x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return save_figure(plt, figure, path)


def _title(curve: MixtureCurve) -> str:
    return f"{curve.names[0]} with {curve.names[1]}, rule {curve.rule}"
