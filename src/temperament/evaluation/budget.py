"""The budget: the largest strength whose perplexity ratio stays within a limit, found on validation items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from temperament.errors import TemperamentError

#: Shares of the largest strength at which a curve is looked at first.
GRID = (0.125, 0.25, 0.5, 0.75, 1.0)
#: A bisection ends where all but this share of what the limit allows above 1 is used, or at an interval this narrow,
#: relative to its end.
NEAR, NARROW = 0.08, 0.05
#: Largest share of an answer that may be repetition, beyond that of the unworn model's answers.
MOST_REPEAT = 0.1
#: Most bisection steps for one limit: six halvings towards 0 until something fits, and four to come near the limit.
STEPS = 10


def check_budget(budget: float) -> None:
    """Raise unless ``budget`` is a perplexity ratio that a strength can be sought for."""
    if not 1 < budget <= 10:
        raise TemperamentError(
            f"the budget is a perplexity ratio of {budget:g}", "give one above 1 and at most 10, such as 1.10"
        )


@dataclass(frozen=True)
class Point:
    """What a pair or one persona measures at one strength on validation items.

    ``perplexity`` is the ratio to the unworn model, of a pair that of the worse pole; ``effect`` is 0 at strength 0.
    ``repeat`` is the share of a free answer that repeats itself (0–1), of the worse pole and beyond the unworn model's;
    None where nobody asked. Neutral text does not notice a model that goes round in circles when it speaks of itself.
    """

    strength: float
    perplexity: float
    effect: float
    repeat: float | None = None

    def as_json(self) -> dict[str, float | None]:
        figures = {"strength": self.strength, "perplexity": self.perplexity, "separation": self.effect}
        return {**figures, "repeat": self.repeat}

    @property
    def coherent(self) -> bool:
        """Whether the figures are numbers at all: a broken model gives infinities."""
        return math.isfinite(self.perplexity) and math.isfinite(self.effect)


@dataclass(frozen=True)
class Choice:
    """What a budget allows: the ``largest`` strength within it, and the ``best`` of those for the effect.

    They differ where the effect falls again as strength grows (an inverted U). None: not even a weak dose fits.
    """

    limit: float
    largest: Point | None
    best: Point | None


@dataclass
class Curve:
    """Points of one method by strength, each measured once.

    ``repeat`` gives a strength's share of repetition where ``measure`` does not: answers take as long as all the rest,
    so only strengths about to be chosen are asked, and, once one of them was too large, all that may be.
    """

    measure: Callable[[float], Point]
    strongest: float
    repeat: Callable[[float], float] | None = None
    points: dict[float, Point] = field(default_factory=dict)
    _wary: bool = field(default=False, init=False)

    def at(self, strength: float) -> Point:
        strength = min(float(f"{strength:.6g}"), self.strongest)
        if strength not in self.points:
            self.points[strength] = self.measure(strength)
        return self.points[strength]

    @property
    def sorted(self) -> list[Point]:
        return [self.points[strength] for strength in sorted(self.points)]

    def choose(self, limit: float) -> Choice:
        """The largest strength within ``limit``, by a look at the grid and a search around its first crossing.

        Coherence guard: a strength counts only if every weaker one that was measured is within the limit too. A curve
        that comes back below the limit behind a break is not followed there.
        """
        while True:
            self._approach(limit)
            inside, _ = self._edge(limit)
            allowed = [point for point in self.sorted if inside and point.strength <= inside.strength]
            best = max(allowed, key=lambda point: point.effect, default=None)
            chosen = [self._asked(point.strength) if point else None for point in (inside, best)]
            if all(point is None or within(point, limit) for point in chosen):
                return Choice(limit, *chosen)
            self._wary = True

    def _approach(self, limit: float) -> None:
        """Measure the grid up to the first strength beyond the limit, then around the crossing.

        Interpolation and bisection take turns.
        """
        for share in GRID:
            if not within(self.at(share * self.strongest), limit):
                break
        for step in range(STEPS):
            inside, outside = self._edge(limit)
            low = inside.strength if inside else 0.0
            if outside is None or outside.strength - low <= NARROW * outside.strength:
                break
            if inside and limit - inside.perplexity <= NEAR * (limit - 1):
                break
            if step % 2 == 0 and inside and outside.coherent and outside.perplexity > limit:
                self.at(_guess(inside, outside, limit))
            else:
                self.at((low + outside.strength) / 2)

    def _edge(self, limit: float) -> tuple[Point | None, Point | None]:
        """The last point within the limit before the first one beyond it, and that one."""
        while True:
            inside, outside = self._crossing(limit)
            if not self._wary or inside is None or inside.repeat is not None:
                return inside, outside
            self._asked(inside.strength)

    def _asked(self, strength: float) -> Point:
        """A measured point with its share of repetition."""
        point = self.points[strength]
        if point.repeat is None and self.repeat:
            point = self.points[strength] = replace(point, repeat=self.repeat(strength))
        return point

    def _crossing(self, limit: float) -> tuple[Point | None, Point | None]:
        """The same by what is known of the points."""
        inside: Point | None = None
        for point in self.sorted:
            if not within(point, limit):
                return inside, point
            inside = point
        return inside, None


def _guess(inside: Point, outside: Point, limit: float) -> float:
    """Where enough of the limit would be used if the root of the log perplexity grew in proportion to strength.

    The middle of what counts as near the limit; not nearer to either end than a tenth of the way, so that every guess
    narrows the interval.
    """
    aim = 1 + (1 - NEAR / 2) * (limit - 1)
    low, high, wanted = (math.sqrt(max(0.0, math.log(x))) for x in (inside.perplexity, outside.perplexity, aim))
    share = (wanted - low) / (high - low) if high > low else 0.5
    return _between(inside.strength, outside.strength, min(max(share, 0.1), 0.9))


def within(point: Point, limit: float) -> bool:
    """Whether a point's figures are numbers, its perplexity ratio at most ``limit``, and its answers no loops."""
    return point.coherent and point.perplexity <= limit and (point.repeat or 0.0) <= MOST_REPEAT


def strength_for(points: Sequence[Point], target: float, limit: float) -> Point | None:
    """The weakest strength that reaches ``target`` effect within ``limit``, interpolated between measured points.

    None if no measured strength within the limit reaches it. Strength 0 has no effect and costs nothing.
    """
    before = Point(0.0, 1.0, 0.0)
    if target <= 0:
        return before
    for point in sorted(points, key=lambda point: point.strength):
        if not within(point, limit):
            return None
        if point.effect >= target:
            share = (target - before.effect) / (point.effect - before.effect)
            return Point(*(_between(a, b, share) for a, b in zip(_values(before), _values(point), strict=True)))
        before = point
    return None


def _values(point: Point) -> Iterable[float]:
    return point.strength, point.perplexity, point.effect


def _between(first: float, second: float, share: float) -> float:
    return first + share * (second - first)
