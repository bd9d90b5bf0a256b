"""Figures as PNG or SVG files; matplotlib is an extra."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from temperament.atomic import write_bytes
from temperament.errors import TemperamentError
from temperament.evaluation import Evaluation
from temperament.evaluation.bootstrap import Measured
from temperament.report.tables import cost_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORN, CONTROL, INK, GRID = "#1f5f99", "#8a8f98", "#22262b", "#e3e6ea"
#: Colours of several lines in one figure.
SERIES = ("#1f5f99", "#c2571a", "#3b7d4f", "#8e4a8b", "#a08000", "#5b6570", "#b03a48", "#2f8f8f")


def controls_figure(result: Evaluation, path: Path) -> Path:
    """Separation of one pair of personas and of each of its controls, with 95 % intervals."""
    if "separation" not in result.measures:
        raise TemperamentError("the figure shows separation, which was not measured", "add separation to --measure")
    rows: dict[str, list[tuple[Measured, bool]]] = {"worn": [(result.measures["separation"], True)]}
    for label, measures in result.controls.items():
        rows[label] = [(measures["separation"], False)]
    data = result.provenance["data"]
    method = (result.provenance["personas"]["plus"].get("method") or {}).get("name", "prompt")
    title = f"{method} on {result.provenance['model']['name']}: {data['name']}"
    return _dot_plot(rows, path, title)


def methods_figure(
    results: Mapping[str, Evaluation], costs: Mapping[str, Measured], prompt: Measured | None, path: Path, title: str
) -> Path:
    """Separation by method with 95 % intervals, beside its controls and its cost in perplexity; the prompt below."""
    rows: dict[str, list[tuple[Measured, bool]]] = {}
    for name, result in results.items():
        controls = [m["separation"] for label, m in result.controls.items() if label.startswith(("random", "shuffled"))]
        label = f"{name}\nperplexity {cost_text(costs[name].value)}"
        rows[label] = [(result.measures["separation"], True), *((control, False) for control in controls)]
    if prompt is not None:
        rows["system prompt"] = [(prompt, True)]
    return _dot_plot(rows, path, title)


def _dot_plot(rows: Mapping[str, list[tuple[Measured, bool]]], path: Path, title: str) -> Path:
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.55 * len(rows)), dpi=160, layout="constrained")
    for index, (label, marks) in enumerate(rows.items()):
        worn = [measured for measured, is_worn in marks if is_worn]
        controls = [measured for measured, is_worn in marks if not is_worn]
        for measured in worn:
            _mark(axes, measured, index, WORN, 7)
        for place, measured in enumerate(controls):
            shift = 0.0 if not worn else 0.16 + 0.09 * place
            _mark(axes, measured, index + shift, CONTROL, 3.5 if worn else 5)
        del label
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(rows)), list(rows), color=INK, fontsize=9)
    axes.set_ylim(len(rows) - 0.35, -0.5)
    axes.set_xlabel("separation in nats per token (0 = no effect), 95 % interval", color=INK)
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [
        plt.Line2D([], [], color=WORN, marker="o", markersize=7, linewidth=2, label="persona worn"),
        plt.Line2D(
            [],
            [],
            color=CONTROL,
            marker="o",
            markersize=4,
            linewidth=1.2,
            label="control (random edits, shuffled labels)",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return save_figure(plt, figure, path)


def save_figure(plt: Any, figure: Any, *paths: Path) -> Path:
    """Write a figure to every path, as its ending says (.png or .svg), atomically; returns the first."""
    for path in paths:
        picture = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a name in a script the font lacks is drawn as boxes
            figure.savefig(picture, format=path.suffix[1:])
        write_bytes(path, picture.getvalue())
    plt.close(figure)
    return paths[0]


def heat_map(
    axes: Axes,
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    text: Callable[[int, int], str],
    limits: tuple[float, float],
    colours: str = "Blues",
    size: float = 7.5,
    faint: Callable[[int, int], bool] = lambda i, j: False,
    square: bool = False,
) -> Any:
    """Annotated cells, first row on top; figures that do not exist stay white, ``faint`` ones are written in grey.

    Returns what a colour bar needs.
    """
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="equal" if square else "auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            red, green, blue, _ = image.to_rgba(np.array([value]))[0] if value == value else (1.0, 1.0, 1.0, 1.0)
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            ink = "white" if dark else CONTROL if faint(i, j) else INK
            axes.text(j, i, text(i, j), ha="center", va="center", fontsize=size, color=ink)
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def plain_axes(axes: Axes) -> None:
    """No frame above and to the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _mark(axes: Axes, measured: Measured, height: float, colour: str, size: float) -> None:
    if measured.low == measured.low:
        axes.plot(
            [measured.low, measured.high],
            [height, height],
            color=colour,
            linewidth=size / 3,
            solid_capstyle="round",
            zorder=2,
        )
    axes.plot(measured.value, height, "o", color=colour, markersize=size, zorder=3)


def pyplot() -> Any:
    """Matplotlib's pyplot without a display, or an error that says how to install it."""
    try:
        import matplotlib
    except ImportError:
        raise TemperamentError("figures need matplotlib", "pip install 'temperament[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["text.parse_math"] = False  # a $ in a name is a $

    return pyplot


def outlined() -> list[Any]:
    """Path effects of a label that lines may cross: a white rim."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]
