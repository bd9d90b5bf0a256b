"""The figure of a sweep: effect against the value, cost against the value, and effect against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temperament.analyze.sweep import Sweep, SweepPoint, shown
from temperament.report.figures import CONTROL, GRID, INK, outlined, plain_axes, pyplot, save_figure
from temperament.report.tables import shortened

_SERIES = ("#1f5f99", "#c2571a", "#3b7d4f", "#8e4a8b", "#a08000", "#b03a48")


def sweep_figure(sweep: Sweep, path: Path) -> Path:
    """Lines by series with 95 % intervals, the random control in grey; values that are words stand side by side."""
    plt = pyplot()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4), dpi=140, layout="constrained")
    for index, name in enumerate(sweep.series):
        points = [point for point in sweep.points if point.series == name]
        _line(sweep, left, middle, right, points, _SERIES[index % len(_SERIES)], name)
    for axes in (left, middle):
        _value_axis(sweep, axes)
    left.axhline(0, color=INK, linewidth=0.8)
    right.axhline(0, color=INK, linewidth=0.8)
    for axes, text in ((left, sweep.axis.label), (middle, sweep.axis.label), (right, _COST)):
        axes.set_xlabel(text, color=INK)
    left.set_ylabel(_EFFECT, color=INK)
    middle.set_ylabel(_COST, color=INK)
    right.set_ylabel(_EFFECT, color=INK)
    middle.axhline(1, color=INK, linewidth=0.8)
    costs = [point.cost for point in sweep.points]
    if max(costs) > 4:
        for scale, axis in ((middle.set_yscale, middle.yaxis), (right.set_xscale, right.xaxis)):
            scale("log")
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_formatter(_between_decades if max(costs) < _DECADES_ALONE else "")
    else:
        for limits, bound in ((middle.get_ylim(), middle.set_ylim), (right.get_xlim(), right.set_xlim)):
            bound(min(limits[0], _LEAST_COSTS[0]), max(limits[1], _LEAST_COSTS[1]))
    for point in sweep.points:
        _label(right, point)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=9, loc="outside lower center", ncols=min(6, len(names)))
    for axes in (left, middle, right):
        axes.grid(color=GRID)
        plain_axes(axes)
    figure.suptitle(f"Sweep over {sweep.title}", x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    return save_figure(plt, figure, path)


_EFFECT = "separation (nats per token)\n95 % interval"
_COST = "perplexity, worn / unworn\n(neutral text, worse pole)"
#: Ratio beyond which an axis has labels at powers of ten only: others would run into each other.
_DECADES_ALONE = 200
#: Ratios that the axis of the cost shows at least: what costs nothing should look so.
_LEAST_COSTS = (0.95, 1.10)
#: By how much of the axis the series stand beside each other, that their intervals may be told apart.
_SHIFT = 0.014
#: Place along the axis, 0 to 1, from which a label stands on the left of its point.
_TURN = 0.6


def _value_axis(sweep: Sweep, axes: Any) -> None:
    """Words by name, side by side; sizes on a logarithmic scale, with a mark at every value."""
    if sweep.axis.words:
        axes.set_xticks(range(len(sweep.values)), [shortened(shown(value), 20) for value in sweep.values], rotation=20)
        axes.set_xlim(-0.5, len(sweep.values) - 0.5)
    elif sweep.axis.log:
        axes.set_xscale("log")
        axes.set_xticks(sweep.values, [shown(value) for value in sweep.values])
        axes.xaxis.set_minor_locator(_no_ticks())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _between_decades(value: float, _: int) -> str:
    return f"{value:,.10g}" if f"{value:g}"[0] in "25" else ""


def places(sweep: Sweep, points: Sequence[SweepPoint]) -> list[float]:
    """Where the points of one series stand: at their values (words: side by side), a little beside other series."""
    numbers = {value: float(index) if isinstance(value, str) else value for index, value in enumerate(sweep.values)}
    own = sweep.series.index(points[0].series) - (len(sweep.series) - 1) / 2
    first, last = min(numbers.values()), max(numbers.values())
    if sweep.axis.log:
        return [numbers[point.value] * (last / first) ** (own * _SHIFT) for point in points]
    span = last - first + (1 if sweep.axis.words else 0)
    return [numbers[point.value] + own * _SHIFT * span for point in points]


def _line(
    sweep: Sweep, left: Any, middle: Any, right: Any, points: Sequence[SweepPoint], colour: str, name: str
) -> None:
    x = places(sweep, points)
    worn = [point.result.measures["separation"] for point in points]
    random = [point.result.controls["random-0"]["separation"].value for point in points]
    cost = [point.cost for point in points]
    line = "" if sweep.axis.words else "-"
    bars = [[m.value - m.low for m in worn], [m.high - m.value for m in worn]]
    left.errorbar(x, [m.value for m in worn], yerr=bars, fmt=f"o{line}", color=colour, markersize=5, capsize=2,
                  elinewidth=1, label=name)  # fmt: skip
    left.plot(x, random, f"x{line and ':'}", color=CONTROL if len(sweep.series) == 1 else colour, alpha=0.6,
              markersize=5, label=f"{name}, random")  # fmt: skip
    middle.plot(x, cost, f"o{line}", color=colour, markersize=5)
    right.plot(cost, [m.value for m in worn], f"o{line}", color=colour, markersize=5, linewidth=0.8)


def _label(axes: Any, point: SweepPoint) -> None:
    """The value beside its point, on the side where there is room."""
    at = (point.cost, point.result.measures["separation"].value)
    if not all(map(math.isfinite, at)):
        return
    across = axes.transAxes.inverted().transform(axes.transData.transform(at))[0]
    side, shift = ("right", -4) if across > _TURN else ("left", 4)
    axes.annotate(shortened(shown(point.value), 20), at, xytext=(shift, 4), textcoords="offset points", ha=side,
                  fontsize=7, color=INK, path_effects=outlined())  # fmt: skip
