"""The table of methods: every figure with its controls beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.report.page.numbers import HEADINGS, heading, interval, plain, ratio, seconds, size, spread
from temperament.report.page.rows import strip, strip_scale
from temperament.report.summary import Figure, Method, controls, mapping, number

STRIP = 190.0


def columns(methods: Sequence[Method]) -> list[str]:
    """The measures that any method has, the known ones first."""
    present = {name for method in methods for name in method.measures}
    return [*(name for name in HEADINGS if name in present), *sorted(present - set(HEADINGS))]


def method_rows(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """One row per method in the given order, ready for the template."""
    names = columns(methods)
    scale = strip_scale(methods, STRIP)
    rows = []
    for method in methods:
        took = {key: value for key in ("extract", "tune", "measure") if (value := _seconds(method, key)) is not None}
        strength, stored = number(method.raw.get("strength")), number(method.raw.get("bytes"))
        total = sum(took.values()) if took else None
        parts = ", ".join(f"{part} {seconds(value)}" for part, value in took.items())
        rows.append(
            {
                "method": method,
                "strip": strip(method, scale, STRIP) if scale else None,
                "cells": [cell(method, name) for name in names],
                "strength": {"text": plain(strength), "sort": strength},
                "seconds": {"text": seconds(total), "sort": total, "parts": parts},
                "bytes": {"text": size(stored), "sort": stored},
            }
        )
    return rows


def _seconds(method: Method, part: str) -> float | None:
    return number(mapping(method.raw.get("seconds")).get(part))


def cell(method: Method, measure: str) -> dict[str, Any]:
    """A figure, its interval and its controls."""
    found = method.measures.get(measure)
    named = heading(measure)
    lines = []
    if found is not None:
        lines = [(label, spread(figures, named.digits)) for label, figures in controls(method, measure)]
        lines += _beside(measure, found)
    out = measure == "perplexity" and method.within_budget is False
    return {
        "measure": measure,
        "text": ratio(found.value if found else None) if measure == "perplexity" else _text(found, named.digits),
        "interval": interval(found, named.digits),
        "n": found.n if found else None,
        "sort": found.value if found else None,
        "lines": lines,
        "unsure": found is not None and _unsure(method, measure),
        "over": out,
    }


def _text(found: Figure | None, digits: int) -> str:
    return plain(found.value if found else None, digits)


def _unsure(method: Method, measure: str) -> bool:
    """Whether the interval meets no effect, or that of a control that must show none."""
    neutral = heading(measure).neutral
    if neutral is None or measure == "perplexity":
        return False
    return method.stands_out(measure, neutral) is False


def _beside(measure: str, found: Figure) -> list[tuple[str, str]]:
    """Further figures that a measure is never shown without."""
    extra = found.extra
    if measure == "two_choice":
        beside = [("affirmation", text)] if (text := _shown(extra, "affirmation", 0)) else []
        part = extra.get("balanced") or {}
        if part and part["n"] != part["of"]:
            value = _shown(part, "value", 0) or "none"
            beside.append(("format-balanced", f"{value} ({part['n']} of {part['of']})"))
        return beside
    if measure == "perplexity":
        poles = [_shown(extra, "plus", 2), _shown(extra, "minus", 2)]
        return [("plus / minus", f"{poles[0]} / {poles[1]}")] if all(poles) else []
    if measure == "generation":
        sides = [_shown(extra, side, 2) for side in ("plus", "unworn", "minus")]
        return [("+ / 0 / −", " / ".join(side or "–" for side in sides))] if any(sides) else []
    return []


def _shown(extra: Mapping[str, Any], key: str, digits: int) -> str:
    value = number(extra.get(key))
    return "" if value is None else plain(value, digits)
