"""Figures of mask analyses: differential ratio, Jaccard index, hidden states by layer, what separates a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temperament.analyze.hidden_states import Band
from temperament.analyze.masks import MaskAnalysis
from temperament.analyze.separating import PersonaPair
from temperament.models.architecture import Part
from temperament.personas.overlap import Overlap
from temperament.report.figures import (
    CONTROL,
    GRID,
    INK,
    SERIES,
    heat_map,
    plain_axes,
    pyplot,
    save_figure,
)
from temperament.report.tables import shortened

_PARTS: tuple[tuple[Part, str], ...] = (("attention", "attention"), ("mlp", "MLP"))
#: Pairs drawn as lines in one figure, at most.
_LINES = 4


def mask_figures(analysis: MaskAnalysis, folder: Path) -> list[Path]:
    """Draw everything the analysis has into a folder, each figure as PNG and SVG; returns the PNG files."""
    files = [ratio_figure(analysis, folder / "differential-ratio"), jaccard_figure(analysis, folder / "jaccard")]
    if analysis.base:
        files.append(states_figure(analysis, folder / "hidden-states"))
    for number, pair in enumerate(analysis.opposites, 1):
        suffix = f"-{number}" if len(analysis.opposites) > 1 else ""
        files.append(separating_figure(analysis, pair, folder / f"separating{suffix}"))
    return files


def ratio_figure(analysis: MaskAnalysis, path: Path) -> Path:
    """Share of entries that differ, by layer and part (PS Table 2), beside the random pair and chance."""
    plt = pyplot()
    pairs = analysis.opposites[:_LINES]
    figure, grid = plt.subplots(1, len(pairs), figsize=(1.5 + 5 * len(pairs), 4.4), dpi=140, squeeze=False, sharey=True,
                                layout="constrained")  # fmt: skip
    for axes, pair in zip(grid[0], pairs, strict=True):
        for (part, name), colour in zip(_PARTS, SERIES, strict=False):

            def line(overlap: Overlap, part: Part = part) -> list[float]:
                return [100 * overlap.ratio(part=part, layer=layer) for layer in range(analysis.depth)]

            axes.plot(line(pair.overlap.by_chance), ":", color=colour, linewidth=1.4, label=f"{name}, chance")
            for number, control in enumerate(pair.random):
                label = None if number else f"{name}, random pair"
                axes.plot(line(control.overlap), color=colour, linewidth=5, alpha=0.25, label=label)
            axes.plot(line(pair.overlap), color=colour, linewidth=1.6, label=f"{name}, this pair")
        axes.set_title(shortened(pair.name, 48), loc="left", fontsize=10, color=INK)
        _by_layer(axes, "entries that differ, % (mean over Linears)" if axes is grid[0][0] else "")
        axes.set_ylim(bottom=0)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8, handlelength=3)
    return _save(plt, figure, path, f"Differential ratio in {analysis.model}")


def jaccard_figure(analysis: MaskAnalysis, path: Path) -> Path:
    """Jaccard index of every two personas (PS Table 13), with what chance gives and, for opposites, the random pair."""
    plt = pyplot()
    names = list(analysis.personas)
    shown: dict[tuple[str, str], tuple[float, str]] = {}
    every = []
    for pair in analysis.pairs:
        found = [pair.overlap, pair.overlap.by_chance, *(control.overlap for control in pair.random[:1])]
        own, *beside = (overlap.jaccard(kept=analysis.kept) for overlap in found)
        every += [own, *beside]
        lines = [f"{label} {value:.3f}" for label, value in zip(("chance", "random"), beside, strict=False)]
        shown[pair.first, pair.second] = shown[pair.second, pair.first] = own, "\n".join((f"{own:.3f}", *lines))
    values = [[shown[a, b][0] if a != b else float("nan") for b in names] for a in names]
    room = 0.3 * (max(every) - min(every)) + 0.01
    shades = min(every) - room, max(every) + room

    def text(i: int, j: int) -> str:
        return "" if i == j else shown[names[i], names[j]][1]

    size = 2.4 + 1.05 * len(names)
    figure, axes = plt.subplots(figsize=(size + 0.9, size), dpi=140, layout="constrained")
    short = [shortened(name, 24) for name in names]
    heat_map(axes, values, rows=short, columns=short, text=text, limits=shades, size=8, square=True)
    return _save(plt, figure, path, f"Jaccard index of {analysis.compared}")


def states_figure(analysis: MaskAnalysis, path: Path) -> Path:
    """Cosine of mean hidden states by layer (PS Table 3): with the unworn model, of the poles, and of their shifts."""
    plt = pyplot()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4), dpi=140, layout="constrained")
    for index, (name, band) in enumerate(analysis.base.items()):
        _line(left, band, SERIES[index % len(SERIES)], shortened(name, 28))
    pairs = analysis.opposites[:_LINES]
    bands = [band for pair in pairs for control in pair.random for band in control.base or ()]
    for number, band in enumerate(bands):
        _line(left, band, CONTROL, "random control" if number == 0 else None)
    for index, pair in enumerate(pairs):
        shown = [(pair.apart, SERIES[index % len(SERIES)], shortened(pair.name, 42))]
        shown += [(control.apart, CONTROL, "random pair") for control in pair.random]
        for number, (apart, colour, label) in enumerate(shown):
            if apart:
                own = None if number > 1 or (number and index) else label
                _line(middle, apart.cosine, colour, own)
                _line(right, apart.shifts, colour, own)
    left.set_title("Worn and unworn", loc="left", fontsize=10, color=INK)
    middle.set_title("The two personas of a pair", loc="left", fontsize=10, color=INK)
    right.set_title("Their shifts from the unworn model", loc="left", fontsize=10, color=INK)
    for axes in (left, middle, right):
        _by_layer(axes, "cosine, 95 % interval over texts" if axes is left else "")
        axes.legend(frameon=False, fontsize=8)
    right.axhline(0, color=INK, linewidth=0.8)
    title = f"Cosine of mean hidden states in {analysis.model}, {analysis.texts} texts"
    return _save(plt, figure, path, title)


def separating_figure(analysis: MaskAnalysis, pair: PersonaPair, path: Path) -> Path:
    """Layer by module: share of entries that differ, and how far the mean outputs are apart, beside the random pair."""
    plt = pyplot()
    overlap = pair.overlap
    panels = [("entries that differ, %", _grid(overlap, [100 * share for share in overlap.shares], analysis.depth))]
    apart = [("these personas", pair.apart), ("random pair", pair.random[0].apart if pair.random else None)]
    for label, found in apart:
        if found:
            values = [100 * found.outputs[linear.name] for linear in overlap.linears]
            panels.append((f"outputs apart, % of unworn:\n{label}", _grid(overlap, values, analysis.depth)))
    height = 1.6 + 0.24 * analysis.depth
    figure, grid = plt.subplots(1, len(panels), figsize=(1 + 4.6 * len(panels), height), dpi=140, squeeze=False,
                                layout="constrained")  # fmt: skip
    top = max((value for _, values in panels[1:] for row in values for value in row if value == value), default=0.0)
    for index, (label, cells) in enumerate(panels):
        axes = grid[0][index]
        most = top if index else max(value for row in cells for value in row if value == value)
        heat_map(
            axes,
            cells,
            rows=[str(layer) for layer in range(analysis.depth)],
            columns=overlap.kinds,
            text=_figures(cells),
            limits=(0, most or 1.0),
            size=7,
        )
        axes.set_title(label, loc="left", fontsize=10, color=INK)
    grid[0][0].set_ylabel("layer", color=INK)
    return _save(plt, figure, path, f"What tells {shortened(pair.name, 60)} apart in {analysis.model}")


def _grid(overlap: Overlap, values: Sequence[float], depth: int) -> list[list[float]]:
    """(layers, kinds) from one value per Linear."""
    cells = {(linear.layer, linear.kind): value for linear, value in zip(overlap.linears, values, strict=True)}
    return [[cells.get((layer, kind), float("nan")) for kind in overlap.kinds] for layer in range(depth)]


def _figures(values: Sequence[Sequence[float]]) -> Any:
    def text(i: int, j: int) -> str:
        value = values[i][j]
        return "" if value != value else f"{value:.0f}" if value >= 10 else f"{value:.1f}"

    return text


def _line(axes: Any, band: Band, colour: str, label: str | None) -> None:
    layers = range(len(band.value))
    axes.plot(layers, band.value, color=colour, linewidth=1.6, label=label, zorder=1 if colour == CONTROL else 2)
    axes.fill_between(layers, band.low, band.high, color=colour, alpha=0.15, linewidth=0)


def _by_layer(axes: Any, label: str) -> None:
    axes.set_xlabel("layer", color=INK, fontsize=9)
    axes.set_ylabel(label, color=INK, fontsize=9)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    plain_axes(axes)


def _save(plt: Any, figure: Any, path: Path, title: str) -> Path:
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    return save_figure(plt, figure, path.with_suffix(".png"), path.with_suffix(".svg"))
