"""Figures of neuron analyses as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from temperament.analyze.neurons import NeuronAnalysis, NeuronValues
from temperament.report.figures import INK, SERIES, heat_map, plain_axes, pyplot, save_figure
from temperament.report.tables import shortened

_PLUS, _MINUS = "#c2571a", "#2a6f97"


def neurons_figure(analysis: NeuronAnalysis, path: Path) -> Path:
    """Neurons per layer by persona; values of the strongest neurons under both poles; overlap between personas."""
    plt = pyplot()
    names = list(analysis.by_layer)
    shown = [(name, parts) for name, parts in analysis.values.items() if parts]
    several = len(names) > 1
    rows = 1 + len(shown)
    figure = plt.figure(figsize=(11, 3.6 + 2.5 * len(shown) + (0.3 * len(names) if several else 0)), dpi=140)
    ratios = [1.5 if several else 1.2, *[1.0] * len(shown)]
    grid = figure.add_gridspec(rows, 4, height_ratios=ratios, hspace=0.75, wspace=0.35)
    _layers(figure.add_subplot(grid[0, :2] if several else grid[0, :]), analysis)
    if several:
        _overlap(figure.add_subplot(grid[0, 2:]), analysis)
    for row, (name, parts) in enumerate(shown, 1):
        for column, part in enumerate(parts[:4]):
            axes = figure.add_subplot(grid[row, column])
            _values(axes, part, legend=row == 1 and column == 0)
            if column == 0:
                axes.set_ylabel(f"{name}\nshare of tokens", color=INK, fontsize=9)
    top = 1 - 0.35 / figure.get_figheight()
    figure.suptitle(
        f"Personality neurons in {analysis.model}", x=0.06, y=top, ha="left", color=INK, fontsize=12, fontweight="bold"
    )
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.09, right=0.98, top=1 - 0.95 / height, bottom=(0.55 if shown else 0.95) / height)
    return save_figure(plt, figure, path)


def _layers(axes: Any, analysis: NeuronAnalysis) -> None:
    layers = range(len(analysis.widths))
    for index, (name, counts) in enumerate(analysis.by_layer.items()):
        colour = SERIES[index % len(SERIES)]
        axes.plot(layers, counts["plus"], color=colour, linewidth=1.8, label=name)
        axes.plot(layers, [-count for count in counts["minus"]], color=colour, linewidth=1.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_title("Neurons per layer (plus pole above, minus below)", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("layer", color=INK, fontsize=9)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    plain_axes(axes)


def _overlap(axes: Any, analysis: NeuronAnalysis) -> None:
    names = list(analysis.overlap)
    values = [[float(analysis.overlap[a][b]["jaccard"] or 0) if a != b else float("nan") for b in names] for a in names]
    top = max((value for row in values for value in row if value == value), default=1) or 1

    def text(i: int, j: int) -> str:
        same = analysis.overlap[names[i]][names[j]]["same_sign"]
        share = "" if same is None else f"\n{100 * same:.0f} %"
        return "" if i == j else f"{values[i][j]:.2f}{share}"

    short = [shortened(name, 18) for name in names]
    heat_map(axes, values, rows=short, columns=short, text=text, limits=(0, max(top * 1.4, 0.3)), square=True)
    axes.set_title("Overlap: Jaccard index, and share\nof the common ones with the same sign", loc="left", fontsize=10)


def _values(axes: Any, part: NeuronValues, *, legend: bool) -> None:
    edges = [part.width * bin_ for bin_ in range(len(part.plus) + 1)]
    for label, shares, colour in (("plus texts", part.plus, _PLUS), ("minus texts", part.minus, _MINUS)):
        axes.stairs(shares.tolist(), edges, color=colour, linewidth=1.5, label=label)
    plus, minus = part.positive
    axes.set_title(f"{part.label}\n> 0: {100 * plus:.0f} % / {100 * minus:.0f} %", loc="left", fontsize=8, color=INK)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # powers would be written as formulas, read as text
    axes.yaxis.set_minor_formatter("")
    axes.set_ylim(1e-4, 1.4)
    filled = ((part.plus + part.minus) > 0).nonzero()
    axes.set_xlim(0, part.width * (int(filled.max()) + 2) if len(filled) else None)
    axes.set_xlabel("value", fontsize=8, color=INK)
    axes.tick_params(labelsize=7)
    if legend:
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    plain_axes(axes)
