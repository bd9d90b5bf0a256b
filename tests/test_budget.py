"""The budget on curves with a known answer: where the limit is crossed, and what is no answer."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temperament.evaluation.budget import GRID, MOST_REPEAT, NEAR, STEPS, Choice, Curve, Point, strength_for, within

Function = Callable[[float], float]


def curve(cost: Function, effect: Function = lambda s: s, strongest: float = 1.0) -> tuple[Curve, list[float]]:
    """A curve and the list of the strengths it measured."""
    measured: list[float] = []

    def measure(strength: float) -> Point:
        measured.append(strength)
        return Point(strength, cost(strength), effect(strength))

    return Curve(measure, strongest), measured


def chosen(choice: Choice) -> Point:
    assert choice.largest is not None
    return choice.largest


@pytest.mark.parametrize("crossing", [0.93, 0.61, 0.3, 0.126, 0.05, 0.004])
@pytest.mark.parametrize("strongest", [1.0, 8.0, 32.0])
def test_a_growing_cost_is_followed_to_its_limit(crossing: float, strongest: float) -> None:
    found, measured = curve(lambda s: 1 + 0.10 * (s / (crossing * strongest)) ** 2, strongest=strongest)
    best = chosen(found.choose(1.10))
    assert best.perplexity <= 1.10
    assert 0.94 * crossing * strongest <= best.strength <= crossing * strongest
    assert len(measured) <= len(GRID) + STEPS


def test_the_limit_itself_is_allowed_and_used() -> None:
    found, _ = curve(lambda s: 1 + 0.2 * s)
    assert chosen(found.choose(1.10)).strength == 0.5
    assert chosen(found.choose(1.20)).strength == 1.0


def test_a_narrow_budget_is_used_as_well_as_a_wide_one() -> None:
    found, _ = curve(lambda s: 1 + 0.01 * s)
    assert chosen(found.choose(1.003)).strength == pytest.approx(0.3, rel=NEAR + 0.01)


@pytest.mark.parametrize("loops_at", [0.9, 0.34, 0.02])
def test_answers_that_go_round_in_circles_end_the_search(loops_at: float) -> None:
    """Perplexity on neutral text does not notice: it stays where it was."""
    measured: list[float] = []

    def measure(strength: float) -> Point:
        measured.append(strength)
        return Point(strength, 1.01, strength, MOST_REPEAT * strength / loops_at)

    found = chosen(Curve(measure, 1.0).choose(1.10))
    assert found.repeat is not None
    assert found.repeat <= MOST_REPEAT
    assert 0.94 * loops_at <= found.strength <= loops_at
    assert len(measured) <= len(GRID) + STEPS


@pytest.mark.parametrize("loops_at", [2.0, 0.9, 0.34, 0.02])
def test_answers_are_asked_where_they_decide(loops_at: float) -> None:
    """The same strength as where every one is asked, and the chosen one was; without loops only that one."""
    asked: list[float] = []

    def repeat(strength: float) -> float:
        asked.append(strength)
        return MOST_REPEAT * strength / loops_at

    found = Curve(lambda s: Point(s, 1 + 0.1 * s**2, s), 1.0, repeat)
    choice = found.choose(1.08)
    crossing = min(loops_at, math.sqrt(0.8))
    assert 0.94 * crossing <= chosen(choice).strength <= crossing
    assert asked[-1] == chosen(choice).strength or loops_at < 1
    assert len(asked) == len(set(asked))
    if loops_at > 1:
        assert asked == [chosen(choice).strength]
    assert found.choose(1.08) == choice


def test_the_best_is_asked_too() -> None:
    asked: list[float] = []

    def repeat(strength: float) -> float:
        asked.append(strength)
        return 0.0 if strength > 0.4 else 2 * MOST_REPEAT

    found = Curve(lambda s: Point(s, 1.0, 1 - s), 1.0, repeat)
    assert found.choose(1.10) == Choice(1.10, None, None), "a weaker strength that loops lets none stand"
    assert {1.0, 0.125} <= set(asked)


def test_what_nobody_asked_for_is_no_loop() -> None:
    assert within(Point(1.0, 1.05, 0.3), 1.10)
    assert not within(Point(1.0, 1.05, 0.3, MOST_REPEAT + 0.01), 1.10)


@pytest.mark.parametrize("edge", [0.9, 0.34, 0.02])
def test_a_step_is_found_from_below(edge: float) -> None:
    found, measured = curve(lambda s: 1.0 if s < edge else 40.0)
    assert 0.94 * edge <= chosen(found.choose(1.10)).strength < edge
    assert len(measured) <= len(GRID) + STEPS


def test_a_flat_curve_allows_the_strongest() -> None:
    found, measured = curve(lambda s: 1.0, strongest=8.0)
    assert chosen(found.choose(1.10)).strength == 8.0
    assert measured == [share * 8 for share in GRID]


def test_nothing_fits() -> None:
    found, measured = curve(lambda s: 3.0)
    assert found.choose(1.10) == Choice(1.10, None, None)
    assert min(measured) < 1e-3, "weak doses were tried"
    assert len(measured) <= len(GRID) + STEPS


def test_behind_a_break_nothing_is_followed() -> None:
    found, _ = curve(lambda s: 1.3 if 0.2 < s < 0.6 else 1.0)
    best = chosen(found.choose(1.10))
    assert best.strength <= 0.2
    found.at(0.75)  # known to be within the limit, and still not taken
    assert found.choose(1.10).largest == best


def test_the_best_effect_may_lie_below_the_largest_strength() -> None:
    found, _ = curve(lambda s: 1 + 0.12 * s, lambda s: s * (1 - s))
    choice = found.choose(1.10)
    assert chosen(choice).strength > 0.7
    assert choice.best is not None
    assert choice.best.strength == 0.5
    beyond, _ = curve(lambda s: 1.0 if s <= 0.3 else 2.0, lambda s: s)
    limited = beyond.choose(1.10)
    assert limited.best == limited.largest, "a larger effect beyond the limit does not count"


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["cost", "effect"])
def test_figures_that_are_no_numbers_are_a_break(broken: float, part: str) -> None:
    breaks: Function = lambda s: broken if s > 0.4 else 1.0  # noqa: E731
    found, _ = curve(breaks, lambda s: s) if part == "cost" else curve(lambda s: 1.0, breaks)
    choice = found.choose(1.10)
    assert 0.37 <= chosen(choice).strength <= 0.4
    assert choice.best is not None
    assert choice.best.coherent


def test_budgets_share_their_points() -> None:
    found, measured = curve(lambda s: 1 + 0.5 * s**2)
    choices = [found.choose(limit) for limit in (1.05, 1.10, 1.25)]
    assert len(measured) == len(set(measured)) <= len(GRID) + 3 * 5
    for choice in choices:
        crossing = math.sqrt((choice.limit - 1) / 0.5)
        assert 0.94 * crossing <= chosen(choice).strength <= crossing
    before = len(measured)
    assert [found.choose(limit) for limit in (1.05, 1.10, 1.25)] == choices
    assert len(measured) == before


def test_tiny_strengths_keep_their_digits() -> None:
    found, measured = curve(lambda s: 1 + 1e6 * s, strongest=1.23456789e-6)
    assert 9e-8 < chosen(found.choose(1.10)).strength <= 1e-7
    assert max(measured) <= 1.23456789e-6


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0.8, 2.0), st.just(math.nan)), min_size=2, max_size=9),
    st.floats(1.01, 1.6),
    st.floats(0.1, 40),
)
def test_no_weaker_strength_that_was_measured_exceeds_the_limit(
    knots: list[float], limit: float, strongest: float
) -> None:
    def cost(strength: float) -> float:
        place = strength / strongest * (len(knots) - 1)
        low = min(int(place), len(knots) - 2)
        return knots[low] + (place - low) * (knots[low + 1] - knots[low])

    found, measured = curve(cost, strongest=strongest)
    choice = found.choose(limit)
    assert len(measured) <= len(GRID) + STEPS
    outside = [point.strength for point in found.sorted if not point.perplexity <= limit]
    if choice.largest is None:
        assert outside
        assert min(outside) == found.sorted[0].strength
        return
    assert choice.largest.perplexity <= limit
    assert all(point.perplexity <= limit for point in found.sorted if point.strength <= choice.largest.strength)
    beyond = min(outside, default=math.inf)
    near = limit - choice.largest.perplexity <= NEAR * (limit - 1)
    strongest_fits = choice.largest.strength > 0.9999 * strongest
    assert strongest_fits or near or choice.largest.strength >= 0.94 * beyond or beyond < 0.001


POINTS = (Point(0.5, 1.02, 0.2), Point(1.0, 1.08, 0.6), Point(1.5, 1.3, 0.9))


def test_the_strength_for_an_effect_lies_between_measured_ones() -> None:
    found = strength_for(POINTS[::-1], 0.4, 1.10)
    assert found is not None
    assert (found.strength, found.perplexity, found.effect) == pytest.approx((0.75, 1.05, 0.4))
    first = strength_for(POINTS, 0.1, 1.10)
    assert first is not None
    assert (first.strength, first.perplexity) == pytest.approx((0.25, 1.01)), "from nothing, which costs nothing"
    assert strength_for(POINTS, 0.6, 1.10) == POINTS[1]


@pytest.mark.parametrize("target", [0.0, -0.3])
def test_no_effect_needs_no_strength(target: float) -> None:
    assert strength_for((Point(0.5, 1.0, 0.0),), target, 1.10) == Point(0.0, 1.0, 0.0)


def test_an_effect_out_of_reach() -> None:
    assert strength_for(POINTS, 0.8, 1.10) is None, "only beyond the limit"
    assert strength_for(POINTS, 2.0, 2.0) is None
    assert strength_for((), 0.1, 1.10) is None
    assert strength_for((Point(0.5, math.nan, 0.5),), 0.1, 1.10) is None
    assert strength_for((Point(0.5, 1.0, 0.3), Point(1.0, 1.0, 0.1), Point(1.5, 1.0, 0.4)), 0.35, 1.10) is not None
