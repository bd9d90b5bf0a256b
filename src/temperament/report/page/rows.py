"""Figures made of rows: one method a row, its effect as a dot with its interval on an axis that all rows share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.report.page.frontier import SHAPES
from temperament.report.page.numbers import interval, plain
from temperament.report.page.svg import Drawing, Scale, text_width, tick_text
from temperament.report.summary import Figure, Method, controls, figure, mapping, number

#: Pixels down to the effect, to its first control, and from control to control: the line heights of the table's cells.
_FIRST, _NEXT, _LINE = 11.0, 34.0, 18.4


def strip_scale(methods: Sequence[Method], width: float) -> Scale | None:
    """The axis that the strips of the table share: every effect within the budget, and its controls."""
    ends = [0.0]
    for method in methods:
        if "separation" in method.measures and method.within_budget is not False:
            shown = [
                method.measures["separation"],
                *(item for _, items in controls(method, "separation") for item in items),
            ]
            ends += [end for item in shown for end in item.reach]
    if max(ends) - min(ends) <= 0:
        return None
    return Scale(min(ends), max(ends), 7, width - 7)


def strip(method: Method, scale: Scale, width: float) -> Drawing | None:
    """The effect, and below it each of its controls, all with their intervals; None without an effect.

    What lies beyond the axis (methods outside the budget) is an arrow at its end.
    """
    effect = method.measures.get("separation")
    if effect is None:
        return None
    lines = controls(method, "separation")
    height = _NEXT + _LINE * (len(lines) - 1) + 10 if lines else 22.0
    drawing = Drawing(f"strip-{method.name}", width, height)
    drawing.line(scale(0), 0, scale(0), height, "zero")
    fill = "solid" if method.stands_out("separation") else "hollow"
    shape = SHAPES[method.family] if scale.clamp(effect.value) == effect.value else "arrow"
    _strip_mark(drawing, effect, scale, _FIRST, shape, f"{method.family} {fill}", 5.0)
    for index, (_, items) in enumerate(lines):
        for item in items:
            _strip_mark(drawing, item, scale, _NEXT + _LINE * index, "circle", "control solid", 2.6)
    return drawing


def _strip_mark(drawing: Drawing, item: Figure, scale: Scale, y: float, shape: str, kind: str, radius: float) -> None:
    low, high = (scale(scale.clamp(end)) for end in item.reach)
    drawing.line(low, y, high, y, f"error {kind.split()[0]}")
    drawing.marker(scale(scale.clamp(item.value)), y, shape, kind, radius)


def budget_rows(methods: Sequence[Method]) -> tuple[list[str], list[dict[str, Any]]]:
    """The budgets that were measured, ascending, and per method its separation, AUC, cost and strength at each."""
    keys = {str(key) for method in methods for key in mapping(method.raw.get("by_budget")) if _budget(key) is not None}
    budgets = sorted(keys, key=float)
    rows = []
    for method in methods:
        given = mapping(method.raw.get("by_budget"))
        cells = []
        for budget in budgets:
            entry = mapping(given.get(budget))
            cells.append(
                {
                    "separation": figure(entry.get("separation")),
                    "auc": figure(entry.get("auc")),
                    "perplexity": figure(entry.get("perplexity")),
                    "strength": number(entry.get("strength")),
                }
            )
        if any(cell["separation"] for cell in cells):
            rows.append({"method": method, "cells": cells})
    return budgets, rows


def _budget(key: Any) -> float | None:
    try:
        return number(float(key))
    except (TypeError, ValueError):
        return None


def budget_figure(methods: Sequence[Method], *, narrow: bool) -> Drawing | None:
    """Separation at each budget, one row per method above the range of its controls; None without such figures."""
    budgets, rows = budget_rows(methods)
    if not rows:
        return None
    width, step = (358.0, 62.0) if narrow else (960.0, 48.0)
    longest = max(text_width(row["method"].name, 13.5) for row in rows)
    left, top = (6.0, 30.0) if narrow else (min(longest, 300.0) + 16, 30.0)
    height = top + step * len(rows) + 30
    ends = [0.0]
    for row in rows:
        ends += [end for cell in row["cells"] if cell["separation"] for end in cell["separation"].reach]
        ends += [control.value for control in row["method"].empty("separation")]
    pad = 0.03 * (max(ends) - min(ends) or 1.0)
    xs = Scale(min(ends) - pad, max(ends) + pad, left, width - 10)
    drawing = Drawing(
        f"budgets-{'narrow' if narrow else 'wide'}",
        width,
        height,
        "Separation at each budget",
        f"One row per method; separation in nats per token at perplexity budgets {', '.join(budgets)}, with intervals.",
    )
    ticks = xs.ticks(4 if narrow else 8)
    for tick, text in zip(ticks, tick_text(ticks), strict=True):
        drawing.line(xs(tick), top - 6, xs(tick), height - 26, "zero" if tick == 0 else "grid")
        drawing.text(xs(tick), height - 10, text, anchor="middle")
    drawing.text(0, 14, "separation, nats/token →", "axis")
    for index, row in enumerate(rows):
        _budget_row(drawing, row, budgets, xs, top + step * index, step, narrow)
    return drawing


def _budget_row(
    drawing: Drawing, row: Mapping[str, Any], budgets: Sequence[str], xs: Scale, y: float, step: float, narrow: bool
) -> None:
    method: Method = row["method"]
    if narrow:
        drawing.text(0, y + 12, method.name, "label")
        y, step = y + 16, step - 18
    else:
        drawing.text(xs.start - 16, y + step / 2 + 4, method.name, "label", "end")
    empty = [control.value for control in method.empty("separation")]
    if empty:
        low, high = xs(min(empty)), xs(max(empty))
        drawing.rect(low - 1.5, y + step / 2 - 15, high - low + 3, 30, "band", 3)
    gap = 20 / max(len(budgets) - 1, 1)
    for index, (budget, cell) in enumerate(zip(budgets, row["cells"], strict=True)):
        effect: Figure | None = cell["separation"]
        if effect is None:
            continue
        at = y + step / 2 - 10 * (len(budgets) > 1) + gap * index
        shade = f"level-{min(index, 2)}"
        drawing.line(xs(effect.reach[0]), at, xs(effect.reach[1]), at, f"error {shade}")
        tip = f"{method.name} at {budget}: {plain(effect.value)} {interval(effect)}"
        drawing.marker(xs(effect.value), at, "circle", f"solid {shade}", 4.6, tip)
