"""Figures of the sixteen types: margins as a heat map, scores as radar plots, success against what was varied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from temperament.analyze.types import READINGS, TypesPoint, TypesStudy
from temperament.calibration.builtin import AXES
from temperament.evaluation.axis_types import CHANCE, NAMES, Switch
from temperament.evaluation.bootstrap import Measured
from temperament.report.figures import CONTROL, GRID, INK, WORN, pyplot, save_figure
from temperament.report.figures import heat_map as annotated
from temperament.report.tables import signed

_PROMPT = "#c2571a"
#: What each reading is in the heat map: its title, and the least margin that gets the full colour.
_MAPS = {
    "questionnaire": ("questionnaire, points of 1–5", 0.5),
    "statements, change": ("statements, nats per token", 0.1),
}
#: Inches that the title and the legend of the radar plots take.
_LEAST_WIDTH = 7.8
_LABELS = [axis.letters[0] + "/" + axis.letters[1] for axis in AXES]


def types_figures(study: TypesStudy, folder: Path) -> list[Path]:
    """Heat map and radar plots of every value, and success against the value where there are several."""
    paths = []
    for point in study.points:
        mark = f"{study.method}-{study.over}-{point.value:g}"
        paths.append(heat_map(study, point, folder / f"margins-{mark}.png"))
        paths.append(radar_plots(study, point, folder / f"radar-{mark}.png"))
    if len(study.points) > 1:
        paths.append(success_figure(study, folder / f"success-{study.method}.png"))
    return paths


def heat_map(study: TypesStudy, point: TypesPoint, path: Path) -> Path:
    """Margins by type and axis: of the questionnaire's scores, and of the change in statements."""
    plt = pyplot()
    count = len(point.worn.switches["questionnaire"].scores)
    figure, sides = plt.subplots(1, 2, figsize=(9.5, 2.4 + 0.3 * count), dpi=140, layout="constrained")
    for axes, (reading, (title, floor)) in zip(sides, _MAPS.items(), strict=True):
        found = point.worn.switches[reading]
        names = list(found.scores)
        margins = [[found.margin(name, axis) for axis in NAMES] for name in names]
        top = max(floor, *(abs(value) for row in margins for value in row if np.isfinite(value)))
        image = annotated(axes, margins, rows=names, columns=_LABELS, text=partial(_margin, margins),
                          limits=(-top, top), colours="PuOr_r", size=8)  # fmt: skip
        axes.set_yticks(range(len(names)), names, color=INK, fontsize=9, family="monospace")
        axes.set_xticks(range(len(NAMES)), _LABELS, color=INK, rotation=0, ha="center")
        figure.colorbar(image, ax=axes, shrink=0.9, aspect=25).outline.set_visible(False)
        share = f"{found.axes.value:.0f} % of axes, {found.types.value:.0f} % of types right"
        axes.set_title(f"{title}\n{share}", loc="left", fontsize=10, color=INK)
    title = f"Margins toward the pole worn (above 0: right), {_subject(study, point)}\nchance: {_chance()}"
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    return save_figure(plt, figure, path)


def _margin(margins: Sequence[Sequence[float]], row: int, column: int) -> str:
    return signed(margins[row][column]).replace("-", "−")


def radar_plots(study: TypesStudy, point: TypesPoint, path: Path) -> Path:
    """One radar per type, a spoke per letter worn: the margin of the statement scores, worn and in the controls.

    The dashed outline is no change; a spoke that reaches beyond it moved towards the letter worn.
    """
    plt = pyplot()
    conditions = {"worn": (point.worn, WORN), "prompt": (study.prompt, _PROMPT)}
    if point.random:
        conditions = {"random": (point.random, CONTROL), **conditions}
    switches = {label: (found.switches["statements, change"], colour) for label, (found, colour) in conditions.items()}
    names = list(point.worn.switches["statements, change"].scores)
    top = _reach([found for found, _ in switches.values()])
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(2.6 * columns, _LEAST_WIDTH), 2.75 * rows + 1),
        dpi=130,
        subplot_kw={"projection": "polar"},
        layout="constrained",
        squeeze=False,
    )
    figure.get_layout_engine().set(wspace=0.12)
    angles = [2 * np.pi * index / len(NAMES) for index in range(len(NAMES) + 1)]
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        for label, (found, colour) in switches.items():
            margins = [top + np.nan_to_num(found.margin(name, axis)) for axis in NAMES]
            outline = [*margins, margins[0]]
            axes.plot(angles, outline, color=colour, linewidth=2 if label == "worn" else 1.2, label=label)
            if label == "worn":
                axes.fill(angles, outline, color=colour, alpha=0.18)
        axes.plot(angles, [top] * len(angles), color=INK, linewidth=0.9, linestyle="--")
        axes.set_theta_zero_location("N")
        axes.set_ylim(0, 2 * top)
        axes.set_yticks([top, 2 * top], ["0", f"+{top:.2f}"], fontsize=7, color=CONTROL)
        axes.set_rlabel_position(45)
        axes.set_xticks(angles[:-1], list(name), fontsize=11, fontweight="bold", color=INK)
        axes.set_title(name, fontsize=10, color=INK, family="monospace", fontweight="bold")
        axes.grid(color=GRID)
        axes.spines["polar"].set_color(GRID)
    title = f"Change of statement scores toward the letters worn, nats per token\n{_subject(study, point)}"
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    handles = [plt.Line2D([], [], color=colour, linewidth=2, label=label) for label, (_, colour) in switches.items()]
    handles.append(plt.Line2D([], [], color=INK, linewidth=0.9, linestyle="--", label="no change; beyond it: right"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    return save_figure(plt, figure, path)


def success_figure(study: TypesStudy, path: Path) -> Path:
    """Share of types and of axes that come out as worn, against the value varied, for each reading (PS Fig. 4)."""
    plt = pyplot()
    figure, grid = plt.subplots(2, len(READINGS), figsize=(10.5, 6), dpi=140, layout="constrained", sharey="row")
    values = [point.value for point in study.points]
    for row, what in enumerate(("types", "axes")):
        for column, reading in enumerate(READINGS):
            axes = grid[row][column]
            worn: list[Measured] = [getattr(point.worn.switches[reading], what) for point in study.points]
            axes.plot(values, [share.value for share in worn], color=WORN, marker="o", markersize=5, label="worn")
            axes.fill_between(
                values, [s.low for s in worn], [s.high for s in worn], color=WORN, alpha=0.13, linewidth=0
            )
            random = [(p.value, getattr(p.random.switches[reading], what).value) for p in study.points if p.random]
            if random:
                axes.plot(*zip(*random, strict=True), color=CONTROL, marker="o", markersize=3.5, label="random")
            prompt = getattr(study.prompt.switches[reading], what).value
            axes.axhline(prompt, color=_PROMPT, linewidth=1.3, linestyle="--", label="prompt")
            axes.axhline(CHANCE[what], color=INK, linewidth=0.9, linestyle=":", label="fixed type")
            axes.set_ylim(-4, 104)
            axes.grid(color=GRID)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            if row == 0:
                axes.set_title(reading, loc="left", fontsize=10, color=INK)
            else:
                axes.set_xlabel(study.over, color=INK)
            if column == 0:
                axes.set_ylabel(f"{what} right, %", color=INK)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    title = f"Persona switch on {study.provenance['model']['name']}, {study.method}; band: 95 % interval over items"
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    return save_figure(plt, figure, path)


def _reach(switches: Sequence[Switch]) -> float:
    values = [abs(value) for found in switches for row in found.scores.values() for value in row.values()]
    return max((value for value in values if np.isfinite(value)), default=1.0) or 1.0


def _subject(study: TypesStudy, point: TypesPoint) -> str:
    return f"{study.method}, {study.over} {point.value:g}, {study.provenance['model']['name']}"


def _chance() -> str:
    return f"{CHANCE['axes']:.0f} % of axes, {CHANCE['types']:.2f} % of types"
