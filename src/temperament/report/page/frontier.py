"""The frontier: what each method reaches (separation) against what it costs (perplexity), beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from temperament.report.page.labels import Box, Spot, place
from temperament.report.page.numbers import interval, plain, ratio
from temperament.report.page.svg import Drawing, Scale, text_width, tick_text
from temperament.report.summary import Figure, Method, mapping, number, sequence

#: Ratios above this are drawn at the right edge; with a third of the methods there the axis is logarithmic instead.
WIDE = 2.0
#: An effect so many times the next one's bends the vertical axis, where so many lie below.
FAR, CROWD = 4.0, 5
SHAPES = {"edit": "circle", "text": "diamond", "trained": "square", "combination": "triangle"}


@dataclass(frozen=True)
class Point:
    """A method in the plane."""

    method: Method
    cost: float
    effect: Figure
    solid: bool

    @property
    def tip(self) -> str:
        return (
            f"{self.method.name}: {plain(self.effect.value)} {interval(self.effect)} nats/token at {ratio(self.cost)}"
        )


def points(methods: Sequence[Method]) -> list[Point]:
    """The methods with both figures. ``solid``: the effect stands out from its controls."""
    found = []
    for method in methods:
        cost, effect = method.perplexity, method.measures.get("separation")
        if cost is not None and cost > 0 and effect is not None:
            found.append(Point(method, cost, effect, bool(method.stands_out("separation"))))
    return found


def tuning(method: Method) -> list[tuple[float, float, float, float | None]]:
    """(strength, perplexity ratio, separation, share of repetition) of every strength that was tried, by strength."""
    rows = []
    for entry in sequence(method.raw.get("tuning")):
        row = [number(mapping(entry).get(key)) for key in ("strength", "perplexity", "separation")]
        if row[0] is not None and row[1] is not None and row[2] is not None and row[1] > 0:
            rows.append((row[0], row[1], row[2], number(mapping(entry).get("repeat"))))
    return sorted(rows, key=lambda row: row[:3])


def band(methods: Sequence[Method]) -> tuple[float, float] | None:
    """Range of the separations of every random and shuffled control."""
    values = [control.value for method in methods for control in method.empty("separation")]
    return (min(values), max(values)) if values else None


def bend(shown: Sequence[Point]) -> float | None:
    """The largest effect but one, if the largest is so far beyond that the others would lie in a heap; else None."""
    away = _pinned(shown)
    inside = [point for point in shown if point.method.name not in away]
    if len(inside) <= CROWD:
        return None
    *others, top = sorted(point.effect.value for point in inside)
    usual = max(map(abs, others))
    return usual if 0 < usual < top / FAR else None


def frontier(summary: Mapping[str, Any], methods: Sequence[Method], *, narrow: bool) -> Drawing | None:
    """The figure, in its wide or narrow form; None when no method has both figures."""
    shown = points(methods)
    if not shown:
        return None
    budgets = [value for entry in sequence(summary.get("budgets")) if (value := number(entry)) is not None]
    main = number(summary.get("budget"))
    budgets = sorted({*budgets, *([main] if main is not None else [])})
    width, height, size = (358.0, 480.0, 11.5) if narrow else (960.0, 540.0, 13.5)
    left, right, top, bottom = (38.0, 8.0, 52.0, 46.0) if narrow else (56.0, 16.0, 50.0, 52.0)
    pinned = _pinned(shown)
    xs = _costs(shown, pinned, budgets, left, width - right)
    grey = band(methods)
    ys = _effects([p for p in shown if p.method.name not in pinned], grey, top, height - bottom)
    drawing = Drawing(
        f"frontier-{'narrow' if narrow else 'wide'}",
        width,
        height,
        "Effect against cost of every method",
        "Separation in nats per token against the perplexity ratio on neutral text, one labelled point per method. "
        + "; ".join(point.tip for point in shown),
    )
    _frame(drawing, xs, ys, grey, budgets, main, narrow)
    lines = _curves(drawing, methods, xs, ys)
    _marks(drawing, shown, pinned, xs, ys, lines, size)
    return drawing


def _pinned(shown: Sequence[Point]) -> set[str]:
    """The methods drawn at the right edge: beyond ``WIDE``, unless so many are that the axis is logarithmic."""
    beyond = {point.method.name for point in shown if point.cost > WIDE}
    return set() if len(beyond) * 3 >= len(shown) else beyond


def _costs(shown: Sequence[Point], pinned: set[str], budgets: Sequence[float], start: float, end: float) -> Scale:
    """The horizontal scale for all methods but those that are ``pinned``."""
    costs = [point.cost for point in shown if point.method.name not in pinned]
    log = max(costs) > WIDE
    inside = [*costs, *budgets, 1.0]
    low, high = min(inside), max(inside)
    if log:
        return Scale(low * 0.93, high * (high / low) ** 0.12, start, end, log=True)
    # Room on the right for the tuning curves, which go past the budget, and for labels.
    span = max(high - low, 0.1)
    return Scale(low - 0.1 * span, high + 0.28 * span, start, end)


def _effects(inside: Sequence[Point], grey: tuple[float, float] | None, top: float, bottom: float) -> Scale:
    reaches = [end for point in inside for end in point.effect.reach] + [0.0, *(grey or ())]
    low, high = min(reaches), max(reaches)
    span = max(high - low, 0.05)
    if usual := bend(inside):
        return Scale(low - 0.4 * usual, high * 1.25, bottom, top, bend=usual / 2)
    return Scale(low - 0.07 * span, high + 0.09 * span, bottom, top)


def _frame(
    drawing: Drawing,
    xs: Scale,
    ys: Scale,
    grey: tuple[float, float] | None,
    budgets: Sequence[float],
    main: float | None,
    narrow: bool,
) -> None:
    bent = " (compressed upwards)" if ys.bend else ""
    drawing.text(0 if narrow else xs.start - 44, 15, f"↑ separation, nats/token{bent}", "axis")
    if main is not None:
        drawing.rect(xs.start, ys.end, xs(main) - xs.start, ys.start - ys.end, "allowed")
    ticks = ys.ticks(6)
    for tick, text in zip(ticks, tick_text(ticks), strict=True):
        drawing.line(xs.start, ys(tick), xs.end, ys(tick), "zero" if tick == 0 else "grid")
        drawing.text(xs.start - 7, ys(tick) + 4, text, anchor="end")
    if grey:
        thick = max(ys(grey[0]) - ys(grey[1]), 2.0)
        drawing.rect(xs.start, ys(grey[1]), xs.end - xs.start, thick, "band")
    ticks, written = xs.ticks(4 if narrow else 7), 0.0
    for tick, text in zip(ticks, tick_text(ticks), strict=True):
        drawing.line(xs(tick), ys.start, xs(tick), ys.start + 5, "tickmark")
        wide = text_width(text, 12.5)
        middle = min(xs(tick), xs.end - wide / 2)
        if middle - wide / 2 >= written:
            drawing.text(middle, ys.start + 19, text, anchor="middle")
            written = middle + wide / 2 + 4
    _budgets(drawing, xs, ys, budgets, main)
    scale = " (log scale)" if xs.log else ""
    text = f"perplexity, worn / unworn{scale} →" if narrow else f"perplexity on neutral text, worn / unworn{scale} →"
    drawing.text(xs.end, ys.start + 40, text, "axis", "end")


def _budgets(drawing: Drawing, xs: Scale, ys: Scale, budgets: Sequence[float], main: float | None) -> None:
    """A line per budget; numbers that would lie on another are left out, the main budget's never."""
    written = [xs.end - 45]
    for budget in sorted(budgets, key=lambda budget: budget != main):
        x = xs(budget)
        drawing.line(x, ys.end - 6, x, ys.start, "budget main" if budget == main else "budget")
        if all(abs(x - other) >= 31 for other in written):
            drawing.text(x, ys.end - 10, f"{budget:.2f}", "tick strong" if budget == main else "tick", "middle")
            written.append(x)
    if budgets:
        drawing.text(xs.end, ys.end - 10, "budgets", "tick", "end")


def _curves(drawing: Drawing, methods: Sequence[Method], xs: Scale, ys: Scale) -> list[tuple[float, float]]:
    """Draw the tuning curves, clipped to the plot; returns samples of them."""
    area = drawing.clip(xs.start, ys.end, xs.end - xs.start, ys.start - ys.end)
    samples: list[tuple[float, float]] = []
    drawing.parts.append(Markup('<g clip-path="{}">').format(area))
    for method in methods:
        path = [(xs(cost), ys(effect)) for _, cost, effect, _ in tuning(method)]
        if len(path) < 2:
            continue
        drawing.path(path, f"curve {method.family}")
        for (x1, y1), (x2, y2) in pairwise(path):
            count = min(max(int(abs(x2 - x1) + abs(y2 - y1)) // 8, 1), 200)
            samples += [(x1 + (x2 - x1) * k / count, y1 + (y2 - y1) * k / count) for k in range(count)]
    drawing.parts.append(Markup("</g>"))
    return samples


def _apart(shown: Sequence[Point], xs: Scale, ys: Scale) -> dict[str, float]:
    """Pixels by which points at the same cost move left, so that their intervals do not lie on each other.

    Methods tuned to one budget end at nearly the same cost; to the right they would seem to miss it.
    """
    moved: dict[str, float] = {}
    taken: list[tuple[float, float, float]] = []
    for point in sorted(shown, key=lambda point: -point.cost):
        low, high = sorted(ys(ys.clamp(end)) for end in point.effect.reach)
        low, high = low - 8, high + 8
        shift = 0.0
        while shift < min(24.0, xs(point.cost) - xs.start - 8) and any(
            abs(xs(point.cost) - shift - x) < 7 and low < bottom and high > top for x, top, bottom in taken
        ):
            shift += 2.0
        taken.append((xs(point.cost) - shift, low, high))
        moved[point.method.name] = shift
    return moved


def _marks(
    drawing: Drawing,
    shown: Sequence[Point],
    pinned: set[str],
    xs: Scale,
    ys: Scale,
    lines: list[tuple[float, float]],
    size: float,
) -> None:
    spots, solid, soft = [], [], list(lines)
    moved = _apart(shown, xs, ys)
    ranked, last = sorted(shown, key=lambda point: -point.effect.value), 0.0
    for point in ranked:
        name, family = point.method.name, point.method.family
        away = name in pinned
        x, y = xs(point.cost) - moved[name], ys(ys.clamp(point.effect.value))
        if away:
            x, y = xs.end - 9, max(y, last + 18, ys.end + 10)
            last = y
        spots.append(Spot(x, y, f"{name}, {plain(point.effect.value)} at {ratio(point.cost)}" if away else name))
        solid.append(Box(x - 8, y - 8, x + 8, y + 8))
        if not away:
            low, high = (ys(ys.clamp(end)) for end in point.effect.reach)
            drawing.line(x, low, x, high, f"error {family}")
            soft += [(x, high + (low - high) * k / 12) for k in range(13)]
    bounds = Box(xs.start + 2, ys.end + 2, xs.end, ys.start - 2)
    boxes = place(spots, bounds, size=size, solid=solid, soft=soft)
    for spot, box in zip(spots, boxes, strict=True):
        x, y = box.nearest(spot.x, spot.y)
        if abs(x - spot.x) + abs(y - spot.y) > 17:
            drawing.line(spot.x, spot.y, x, y, "leader")
    for point, spot, box in zip(ranked, spots, boxes, strict=True):
        family, fill = point.method.family, "solid" if point.solid else "hollow"
        shape = "arrow" if point.method.name in pinned else SHAPES[family]
        drawing.marker(spot.x, spot.y, shape, f"{family} {fill}", 6.0, point.tip)
        middle = (box.left + box.right) / 2
        anchor, at = ("start", box.left) if middle > spot.x + 4 else ("end", box.right)
        if abs(middle - spot.x) <= 4:
            anchor, at = "middle", middle
        drawing.text(at, box.bottom - size * 0.3, spot.text, f"label {family}", anchor)
