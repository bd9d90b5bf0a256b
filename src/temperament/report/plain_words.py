"""Values as people read them: figures of three digits, thousands apart, sizes in units, hashes cut to twelve digits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from temperament.report.page.numbers import size

_HASH = re.compile(r"(?:sha256:)?[0-9a-f]{32,}")
_DIGITS = 12


def described(description: Mapping[str, Any]) -> dict[str, str]:
    """What a persona file holds, by fact; what a mixture prunes stands for the sparsity of its parts."""
    rows = {key.replace("_", " "): shown(value, key) for key, value in description.items()}
    pruned = description.get("pruned")
    if pruned is not None:
        rows["pruned"] = f"{100 * pruned:.1f} % of the weights of all Linears"
        if "mask" in description:
            rows["mask"] = pairs({key: value for key, value in description["mask"].items() if key != "sparsity"})
    parts = description.get("parts")
    if isinstance(parts, list):
        rows["parts"] = "; ".join(map(_part, parts))
    return rows


def _part(part: Mapping[str, Any]) -> str:
    method = (part.get("method") or {}).get("name")
    words = f"{part['name']} ({part['pole']} pole, {part['kind']}"
    return f"{words} by {method})" if method and method != part["kind"] else f"{words})"


def shown(value: Any, key: str = "") -> str:
    """One value; ``key`` tells sizes and seeds from other whole numbers."""
    if isinstance(value, Mapping):
        if key == "sparsity" and set(value) == {"default"}:
            return shown(value["default"])
        return pairs(value)
    if isinstance(value, list | tuple):
        return "; ".join(map(shown, value)) if any(isinstance(one, Mapping) for one in value) else _list(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return size(value) if key == "bytes" else str(value) if key == "seed" else f"{value:,}"
    if isinstance(value, float):
        return _figure(value)
    text = str(value)
    return text[:_DIGITS] if _HASH.fullmatch(text) else text


def pairs(value: Mapping[str, Any]) -> str:
    """Names and values in a row, those of values that hold several in brackets."""
    return ", ".join(f"{key} {_inner(item, key)}" for key, item in value.items())


def _inner(item: Any, key: str) -> str:
    text = shown(item, key)
    several = isinstance(item, Mapping) and not (key == "sparsity" and set(item) == {"default"})
    return f"({text})" if several else text


def _list(values: list[Any] | tuple[Any, ...]) -> str:
    return ", ".join(map(shown, values)) or "none"


def _figure(value: float) -> str:
    """Three significant digits; whole thousands without an exponent, and 0 without a sign."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value + 0.0:.3g}"
