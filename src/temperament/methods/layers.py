"""Layers of a model as a setting: words, numbers and ranges."""

from __future__ import annotations

import re

from temperament.errors import TemperamentError

_LAYERS = re.compile(r"middle|upper|all|\d+(-\d+)?(,\d+(-\d+)?)*")


def valid_layers(spec: str) -> str:
    """``spec`` without blanks; ValueError unless it names layers as ``chosen_layers`` reads them."""
    spec = re.sub(r"\s", "", spec)
    if not _LAYERS.fullmatch(spec):
        raise ValueError("name layers as middle, upper, all, 8-20 or 3,5,9")
    return spec


def chosen_layers(spec: str, depth: int) -> tuple[int, ...]:
    """Ascending layers of a model with ``depth`` blocks, counted from 0.

    ``middle`` is depth // 2 alone, ``upper`` all but the first third (depth // 3 layers).
    """
    match spec:
        case "middle":
            return (depth // 2,)
        case "upper":
            return tuple(range(depth // 3, depth))
        case "all":
            return tuple(range(depth))
    found: set[int] = set()
    for part in spec.split(","):
        first, _, last = part.partition("-")
        begin, end = int(first), int(last or first)
        if begin > end or end >= depth:
            raise TemperamentError(
                f"layers {part} of a model that has 0-{depth - 1}", f"name some of its {depth} layers"
            )
        found.update(range(begin, end + 1))
    return tuple(sorted(found))
