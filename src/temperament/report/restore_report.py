"""Table and figure of a causal restoration (PS Table 7)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from temperament.analyze.restore import LEAST, Effect, Level, Restoration
from temperament.evaluation.bootstrap import Measured
from temperament.report.figures import (
    CONTROL,
    GRID,
    INK,
    WORN,
    heat_map,
    plain_axes,
    pyplot,
    save_figure,
)
from temperament.report.tables import interval, plain_table, shortened

#: Places shown in a table of one level, best first; all are in the JSON.
_SHOWN = 15


def restore_tables(found: Restoration) -> Iterator[Table]:
    """One ranked table per level."""
    for level in found.levels:
        yield _table(found, level)


def _table(found: Restoration, level: Level) -> Table:
    effects = found.ranked(level)
    beside = ("random",) if effects[0].random else ()
    heads = ["", "gained" if found.only else "lost", "% of worn", "edits, %", *beside]
    table = plain_table(*heads, title=_title(found, level))
    for effect in effects[:_SHOWN]:
        mark = "★" if effect.survives else " "
        part = f"{100 * effect.measured.value / found.worn.value:.0f}" if found.worn.value else "–"
        cells = [f"{interval(effect.measured, 3)} {mark}", part, f"{100 * effect.share:.1f}"]
        cells += [interval(effect.random, 3)] if effect.random else []
        table.add_row(effect.spot.name, *cells)
    table.caption, table.caption_justify = "\n".join(_notes(found, level)), "left"
    return table


def _title(found: Restoration, level: Level) -> str:
    data, place = found.provenance["data"], level.removesuffix("s")
    items, what = data["items"], _what(found)
    return (
        f"{_names(found)} on {found.provenance['model']['name']}: separation {what}, {place} by {place} "
        f"(nats/token); {data['name']}, {data['split']} split, {items['plus']} + {items['minus']} texts"
    )


def _what(found: Restoration) -> str:
    return "gained where worn only there" if found.only else "lost where restored"


def _names(found: Restoration) -> str:
    return " / ".join(facts["name"] for facts in found.provenance["personas"].values())


def _notes(found: Restoration, level: Level) -> Iterator[str]:
    yield f"worn whole: separation {interval(found.worn)}" + (
        f"; random control: {interval(found.random)}" if found.random else ""
    )
    counts = found.counts(level)
    told = (
        f"{counts['exclude_zero']} of {counts['places']} intervals exclude 0, {counts['by_chance']:.1f} would by "
        "chance if nothing mattered; "
    )
    if found.levels[level][0].corrected is None:
        fewest = min(found.provenance["data"]["items"].values())
        yield f"{told}no ★: to correct all together takes {LEAST} statements per pole, here are {fewest}"
    else:
        yield f"{told}★ {counts['exclude_zero_corrected']} do when all are corrected together"
    total = sum(effect.measured.value for effect in found.levels[level])
    yield f"sum over all places: {total:.2f} (equal to the whole if places did not interact)"
    if len(found.levels[level]) > _SHOWN:
        yield f"the first {_SHOWN} of {len(found.levels[level])}"
    if found.why and level == "layers":
        yield f"no random control: {found.why}"


def restore_figure(found: Restoration, path: Path) -> Path:
    """Layers with intervals beside the random control, and a heat map of layer by module; PNG and SVG."""
    plt = pyplot()
    layers, linears = found.levels.get("layers", ()), found.levels.get("linears", ())
    depth = 1 + max(effect.spot.layer for effect in (*layers, *linears))
    widths = [*([5.6] if layers else []), *([6.4] if linears else [])]
    figure, grid = plt.subplots(1, len(widths), figsize=(0.8 + sum(widths), 2.4 + 0.22 * depth), dpi=140, squeeze=False,
                                width_ratios=widths, layout="constrained")  # fmt: skip
    what = _what(found)
    axes = list(grid[0])
    if layers:
        figure.legend(handles=_layers(plt, axes[0], layers, found), loc="outside lower center", ncols=3, frameon=False,
                      fontsize=8)  # fmt: skip
        axes[0].set_title(f"Layers: separation {what}", loc="left", fontsize=10, color=INK)
        axes[0].set_xlabel("nats per token, 95 % interval over texts", color=INK, fontsize=9)
    if linears:
        image = _linears(axes[-1], linears, depth)
        axes[-1].set_title(f"Linears: separation {what},\nhundredths of a nat per token", loc="left", fontsize=10)
        figure.colorbar(image, ax=axes[-1], shrink=0.5, label="nats per token")
        star = "★ corrected interval excludes 0, " if linears[0].corrected else ""
        axes[-1].set_xlabel(f"{star}grey: own interval includes 0", color=INK, fontsize=9)
    axes[0].set_ylabel("layer", color=INK)
    data = found.provenance["data"]
    title = (
        f"{shortened(_names(found), 44)} on {found.provenance['model']['name']}\n"
        f"worn whole: separation {interval(found.worn)}\n{data['name']}, {data['split']} split, {found.worn.n} texts"
    )
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=11, fontweight="bold")
    return save_figure(plt, figure, path.with_suffix(".png"), path.with_suffix(".svg"))


def _layers(plt: Any, axes: Any, effects: tuple[Effect, ...], found: Restoration) -> list[Any]:
    """Draws the layers, and returns what the legend shows."""
    for effect in effects:
        if effect.random:
            _mark(axes, effect.random, effect.spot.layer + 0.3, CONTROL, 3)
        _mark(axes, effect.measured, effect.spot.layer, WORN, 5, full=effect.survives)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.set_yticks(range(len(effects)), [str(effect.spot.layer) for effect in effects], fontsize=8)
    axes.grid(axis="x", color=GRID)
    plain_axes(axes)
    hollow = partial(plt.Line2D, [], [], color=WORN, marker="o", markersize=5, markerfacecolor="white")
    if effects[0].corrected is None:
        handles = [hollow(label=f"not corrected: fewer than {LEAST} statements per pole")]
    else:
        full = plt.Line2D([], [], color=WORN, marker="o", markersize=5, label="★ corrected interval excludes 0")
        handles = [full, hollow(label="it includes 0")]
    if found.random:
        handles.append(plt.Line2D([], [], color=CONTROL, marker="o", markersize=3, label="random control"))
    return handles


def _mark(axes: Any, measured: Measured, height: float, colour: str, size: float, *, full: bool = True) -> None:
    axes.plot([measured.low, measured.high], [height, height], color=colour, linewidth=1.4, zorder=2)
    fill = colour if full else "white"
    axes.plot(measured.value, height, "o", color=colour, markerfacecolor=fill, markersize=size, zorder=3)


def _linears(axes: Any, effects: tuple[Effect, ...], depth: int) -> Any:
    kinds = list(dict.fromkeys(effect.spot.kind for effect in effects))
    cells = {(effect.spot.layer, effect.spot.kind): effect for effect in effects}
    values = [
        [cells[layer, kind].measured.value if (layer, kind) in cells else float("nan") for kind in kinds]
        for layer in range(depth)
    ]
    most = max(abs(value) for row in values for value in row if value == value) or 1.0

    def text(i: int, j: int) -> str:
        effect = cells.get((i, kinds[j]))
        if effect is None:
            return ""
        figure = f"{100 * effect.measured.value:.1f}".replace("-0.0", "0.0")
        return figure + ("★" if effect.survives else "")

    def faint(i: int, j: int) -> bool:
        effect = cells.get((i, kinds[j]))
        return effect is not None and not effect.excludes_zero

    return heat_map(
        axes,
        values,
        rows=[str(layer) for layer in range(depth)],
        columns=kinds,
        text=text,
        faint=faint,
        limits=(-most, most),
        colours="RdBu_r",
        size=7,
    )
