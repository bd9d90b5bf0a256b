"""Placing labels beside points so that none lies on another label, a point or, where possible, a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from temperament.report.page.svg import text_width

_ANGLES = (0, 180, -28, 28, -152, 152, -60, 60, -120, 120, -90, 90)
_REACHES = (11.0, 18.0, 28.0, 40.0, 56.0, 76.0)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Common area in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def inside(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the rectangle next to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


@dataclass(frozen=True)
class Spot:
    """A point to be labelled."""

    x: float
    y: float
    text: str


def place(
    spots: Sequence[Spot],
    bounds: Box,
    *,
    size: float,
    solid: Sequence[Box] = (),
    soft: Sequence[tuple[float, float]] = (),
) -> list[Box]:
    """One box per spot within ``bounds``, at a font size of ``size`` pixels.

    Labels never cover each other or the ``solid`` boxes as long as there is room; they avoid the ``soft`` points
    (samples of lines). Each is placed in turn, then all are moved again until none changes.
    """
    boxes: list[Box | None] = [None] * len(spots)
    order = sorted(range(len(spots)), key=lambda i: (-_neighbours(spots, i), spots[i].y))
    for _ in range(4):
        before = list(boxes)
        for index in order:
            others = [box for other, box in enumerate(boxes) if box is not None and other != index]
            rivals = [(spot.x, spot.y) for other, spot in enumerate(spots) if other != index]
            boxes[index] = _best(spots[index], others, rivals, bounds, size, solid, soft)
        if boxes == before:
            break
    return [box for box in boxes if box is not None]


def _neighbours(spots: Sequence[Spot], index: int) -> int:
    here = spots[index]
    return sum(math.hypot(spot.x - here.x, spot.y - here.y) < 60 for spot in spots)


def _best(
    spot: Spot,
    others: Sequence[Box],
    rivals: Sequence[tuple[float, float]],
    bounds: Box,
    size: float,
    solid: Sequence[Box],
    soft: Sequence[tuple[float, float]],
) -> Box:
    width, height = text_width(spot.text, size), size * 1.2

    def cost(box: Box) -> float:
        x, y = box.nearest(spot.x, spot.y)
        away = math.hypot(x - spot.x, y - spot.y)
        # Level with its point a label reads best.
        total = away + abs((box.top + box.bottom) / 2 - spot.y) + (0.0 if box.inside(bounds) else 1e4)
        total += sum(1e3 + 10 * area for other in others if (area := box.overlap(other)))
        total += sum(300 + area for other in solid if (area := box.overlap(other)))
        total += 2.5 * sum(box.left < px < box.right and box.top < py < box.bottom for px, py in soft)
        # A label closer to another point would be read as that point's.
        total += 45 * sum(math.dist(box.nearest(px, py), (px, py)) < away + 4 for px, py in rivals)
        # A leader that would cross another label cannot be followed.
        steps = [(spot.x + (x - spot.x) * k / 6, spot.y + (y - spot.y) * k / 6) for k in range(1, 6)]
        crossed = sum(any(o.left < px < o.right and o.top < py < o.bottom for px, py in steps) for o in others)
        return total + 60 * crossed

    near = [_at(spot, angle, reach, width, height) for reach, angle in product(_REACHES, _ANGLES)]
    best = min(near, key=cost)
    if cost(best) < 300:
        return best
    columns = [bounds.left + k * (bounds.right - width - bounds.left) / 24 for k in range(25)]
    rows = [bounds.top + k * (bounds.bottom - height - bounds.top) / 40 for k in range(41)]
    anywhere = [Box(x, y, x + width, y + height) for x, y in product(columns, rows)]
    return min((best, *anywhere), key=cost)


def _at(spot: Spot, angle: float, reach: float, width: float, height: float) -> Box:
    """The label ``reach`` pixels away from its point in a direction, at the side that faces the point."""
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = spot.x + math.copysign(reach, dx) if abs(dx) > 0.8 else spot.x + reach * dx
    y = spot.y + reach * dy
    left = x if dx > 0.3 else x - width if dx < -0.3 else x - width / 2
    top = y - height if dy < -0.8 else y if dy > 0.8 else y - height / 2
    return Box(left, top, left + width, top + height)
