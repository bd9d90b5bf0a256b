"""Drift by turn of a dialogue and counts by layer: one small figure per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.report.page.numbers import interval, plain
from temperament.report.page.svg import Drawing, Scale, tick_text
from temperament.report.summary import Figure, figure, mapping, number, sequence

Side = list[tuple[float, Figure]]
SIDES = ("plus", "unworn", "minus")


def drift_series(entry: Mapping[str, Any]) -> dict[str, Side]:
    """Per side the (turn, figure) pairs that hold a value."""
    turns = sequence(entry.get("turns"))
    series: dict[str, Side] = {}
    for side in SIDES:
        pairs = zip(turns, map(figure, sequence(entry.get(side))), strict=False)
        found = [(at, item) for turn, item in pairs if (at := number(turn)) is not None and item is not None]
        if found:
            series[side] = found
    return series


def drift_figure(name: str, entry: Mapping[str, Any], key: str, span: tuple[float, float]) -> Drawing | None:
    """Trait by turn wearing plus, minus and nothing, with intervals; ``span`` is the axis that all figures share."""
    series = drift_series(entry)
    if not series:
        return None
    turns = sorted({turn for side in series.values() for turn, _ in side})
    width, height, left, right, top, bottom = 360.0, 230.0, 36.0, 74.0, 12.0, 36.0
    last = turns[-1] if len(turns) > 1 else turns[0] + 1
    xs = Scale(turns[0], last, left + 8, width - right)
    ys = Scale(*span, height - bottom, top)
    drawing = Drawing(key, width, height, f"Drift: {name}", "Trait by turn wearing plus, minus and nothing.")
    ticks = ys.ticks(4)
    for tick, text in zip(ticks, tick_text(ticks), strict=True):
        drawing.line(left, ys(tick), width - right + 6, ys(tick), "grid")
        drawing.text(left - 6, ys(tick) + 4, text, anchor="end")
    every = max(1, -(-len(turns) // 8))
    for turn in turns[::every]:
        drawing.text(xs(turn), height - bottom + 17, f"{turn:g}", anchor="middle")
    drawing.text(width - right + 6, height - 4, "turn →", "axis", "end")
    for side, found in series.items():
        upper = [(xs(turn), ys(item.reach[1])) for turn, item in found]
        lower = [(xs(turn), ys(item.reach[0])) for turn, item in found]
        if len(found) > 1:
            drawing.path([*upper, *reversed(lower)], f"ribbon side-{side}", closed=True)
            drawing.path([(xs(turn), ys(item.value)) for turn, item in found], f"line side-{side}")
    ends = []
    for side, found in series.items():
        for turn, item in found:
            tip = f"{side}, turn {turn:g}: {plain(item.value)} {interval(item)}"
            drawing.marker(xs(turn), ys(item.value), "circle", f"solid side-{side}", 3.2, tip)
        ends.append((ys(found[-1][1].value), side))
    for y, side in _apart(sorted(ends), 14):
        drawing.text(width - right + 12, y + 4, side, f"label side-{side}")
    return drawing


def drift_span(entries: Mapping[str, Any]) -> tuple[float, float]:
    """The range of every interval, with some room."""
    ends = [
        end
        for entry in entries.values()
        for side in drift_series(mapping(entry)).values()
        for _, item in side
        for end in item.reach
    ]
    if not ends:
        return 0.0, 1.0
    pad = 0.06 * (max(ends) - min(ends) or 1.0)
    return min(ends) - pad, max(ends) + pad


def _apart(ends: list[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Labels at the ends of lines, moved apart to at least ``gap`` pixels, the middle of each pile kept."""
    placed = [y for y, _ in ends]
    for _ in range(30):
        for i in range(len(placed) - 1):
            short = gap - (placed[i + 1] - placed[i])
            if short > 0.01:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
    return [(y, text) for y, (_, text) in zip(placed, ends, strict=True)]


def counts(values: Any) -> list[float]:
    """Counts by layer; an entry that is no number counts as none."""
    return [number(value) or 0.0 for value in sequence(values)]


def layers_figure(name: str, entry: Mapping[str, Any], key: str) -> Drawing | None:
    """Counts by layer: plus above and minus below where both are known, else their total; None without counts."""
    plus, minus, total = (counts(entry.get(part)) for part in ("plus", "minus", "layers"))
    both = bool(plus) and len(plus) == len(minus)
    bars = plus if both else total
    if not any(bars) and not any(minus):
        return None
    width, height, left, right, top, bottom = 360.0, 210.0, 44.0, 8.0, 12.0, 36.0
    high = max(bars)
    ys = Scale(-max(minus) if both else 0.0, max(high, 1e-9), height - bottom, top)
    drawing = Drawing(key, width, height, f"Distribution by layer: {name}", "Number of edited places in each layer.")
    ticks = ys.ticks(4)
    for tick, text in zip(ticks, _amounts(ticks), strict=True):
        drawing.line(left, ys(tick), width - right, ys(tick), "zero" if tick == 0 else "grid")
        drawing.text(left - 6, ys(tick) + 4, text, anchor="end")
    step = (width - right - left) / len(bars)
    for layer, count in enumerate(bars):
        x, bar = left + step * layer + step * 0.12, step * 0.76
        drawing.rect(x, ys(count), bar, ys(0) - ys(count), "bar side-plus" if both else "bar edit", 1)
        if both:
            drawing.rect(x, ys(0), bar, ys(-minus[layer]) - ys(0), "bar side-minus", 1)
        if layer % max(1, -(-len(bars) // 8)) == 0:
            drawing.text(x + bar / 2, height - bottom + 17, str(layer), anchor="middle")
    drawing.text(width - right, height - 4, "layer →", "axis", "end")
    return drawing


def _amounts(ticks: Sequence[float]) -> list[str]:
    """Counts without a sign, large ones in thousands or millions."""
    top = max((abs(tick) for tick in ticks), default=0.0)
    unit, mark = (1e6, "M") if top >= 1e6 else (1e3, "k") if top >= 1e4 else (1.0, "")
    return [f"{abs(tick) / unit:g}{mark if tick else ''}" for tick in ticks]
