"""The dial: one persona's strength for a target score, found on validation texts within a perplexity budget."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from temperament.calibration import Contrast, Pole
from temperament.calibration.builtin import trait_of
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured
from temperament.evaluation.budget import GRID, Curve, Point, check_budget, strength_for, within
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger, check_leak
from temperament.evaluation.loops import loops, tuning_answers
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity_ratio
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_arrays, statement_changes
from temperament.personas import Dial, DialData, Persona, Plan

#: A measured gain this near to the one aimed at, relative to it, is taken; else the strength is interpolated again.
TOLERANCE = 0.05
#: Most measurements at interpolated strengths.
CONFIRMATIONS = 3

_SD = re.compile(r"\+?(\d+(?:\.\d*)?|\.\d+)\s*sd", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """``sds`` standard deviations above the unworn score, or the ``score`` itself (nats per token)."""

    text: str
    sds: float | None = None
    score: float | None = None

    @staticmethod
    def of(text: str) -> Target:
        """``+1sd``, ``0.5sd`` or a number; the opposite direction belongs to the opposite pole and is refused."""
        written = text.strip()
        match = _SD.fullmatch(written)
        if match and 0 < float(match[1]) < math.inf:
            return Target(f"+{float(match[1]):g}sd", sds=float(match[1]))
        try:
            score = float(written)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise TemperamentError(
                f"the target {text!r} is neither a gain in standard deviations nor a score",
                "write +1sd or 0.8; for the opposite direction wear the opposite pole",
            )
        return Target(f"{score:g}", score=score)

    def goal(self, unworn: Unworn) -> float:
        """The score to reach."""
        if self.score is not None:
            return self.score
        return unworn.score + (self.sds or 0) * unworn.sd


@dataclass(frozen=True)
class Unworn:
    """What the model does without the persona: ``score`` towards the pole and ``sd`` over statements."""

    score: float
    sd: float


def trait_score(own: Array, other: Array) -> float:
    """Score towards a pole: mean over its statements − mean over the other pole's, in nats per token.

    ``own`` and ``other`` hold the mean log-probability per token of each statement as the reply to its prompt
    (``statements``), under whatever is worn. 0: neither pole's statements are likelier.
    """
    return float(own.mean() - other.mean())


def unworn_scores(records: Sequence[Record], pole: Pole) -> Unworn:
    """The unworn model's score towards ``pole`` and its standard deviation over statements.

    The deviation is the within-pole one, pooled over both poles: √((SS_own + SS_other) / (n_own + n_other − 2)). So it
    is the same for both poles, does not grow with the distance between their means, and a gain of +1 SD moves the two
    poles' statements apart by one standard deviation of how statements of the same pole differ (a Cohen's d of 1).
    """
    own, other = _sides(records, pole)
    if min(len(own), len(other)) < 2:
        raise TemperamentError(
            f"{len(own)} and {len(other)} validation statements", "a dial needs two or more of each pole"
        )
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (own, other))
    sd = math.sqrt(squares / (len(own) + len(other) - 2))
    if not sd > 0:
        raise TemperamentError("the unworn model scores all validation statements alike", "give other texts")
    return Unworn(trait_score(own, other), sd)


@dataclass(frozen=True)
class Found:
    """A strength of a curve, and whether the gain aimed at was reached there."""

    point: Point
    reached: bool


def find_strength(curve: Curve, gain: float, limit: float) -> Found | None:
    """The weakest strength within ``limit`` that brings ``gain`` (> 0), measured there; where none does, the best one.

    A look at the grid up to the first strength that is enough, interpolation, and a confirming measurement, up to two
    more where it misses ``gain`` by more than 5 %. None if no strength within the limit brings any gain.
    """
    for share in GRID:
        point = curve.at(share * curve.strongest)
        if not within(point, limit) or point.effect >= gain:
            break
    if strength_for(curve.sorted, gain, limit) is None:
        curve.choose(limit)  # a closer look at where the limit is crossed
    for _ in range(CONFIRMATIONS):
        aim = strength_for(curve.sorted, gain, limit)
        if aim is None:
            break
        point = curve.at(aim.strength)
        if within(point, limit) and abs(point.effect - gain) <= TOLERANCE * gain:
            return Found(point, True)
    allowed = _allowed(curve, limit)
    enough = next((point for point in allowed if point.effect >= (1 - TOLERANCE) * gain), None)
    if enough:
        return Found(enough, True)
    best = max(allowed, key=lambda point: point.effect, default=None)
    return Found(best, False) if best and best.effect > 0 else None


def _allowed(curve: Curve, limit: float) -> list[Point]:
    """Measured points, weakest first, up to the first beyond the limit."""
    allowed = []
    for point in curve.sorted:
        if not within(point, limit):
            break
        allowed.append(point)
    return allowed


@dataclass(frozen=True)
class Dialled:
    """A persona with its dial; ``gain`` is score − unworn score at its strength, ``curve`` every point measured."""

    persona: Persona
    dial: Dial
    gain: Measured
    curve: tuple[Point, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.persona.name,
            **self.dial.model_dump(exclude={"texts"}),
            "gain": self.gain.as_json(),
            "curve": [vars(point) for point in self.curve],
        }


def dial(
    ledger: Ledger, persona: Persona, contrast: Contrast, *, target: str = "+1sd", budget: float = 1.10, seed: int = 0
) -> Dialled:
    """Find the strength at which ``persona`` reaches ``target`` on validation texts, within a perplexity ratio.

    Where the target lies beyond the budget the dial stands at the largest gain within it and is not ``reached``
    (``check_reached`` raises). A strength at which answers go round in circles counts as beyond it. Raises
    ``TemperamentError`` for an edit without strengths, for texts the persona was calibrated on, and where no strength
    within the budget brings any gain. A dial found before is no part of this.
    """
    aim = Target.of(target)
    persona = persona.without_dial()
    strongest = persona.edit.strongest
    if strongest is None:
        raise TemperamentError(
            f"{persona.name!r} is a {persona.kind} persona, which is worn or not, with nothing between",
            "dial a mask, neuron, subnetwork or vector persona",
        )
    check_budget(budget)
    statements = Statements(replace(contrast, choices=()), "validation")
    text = Passages(neutral_passages(split="validation"), "neutral-validation")
    answers = tuning_answers(trait_of(contrast.name))

    def changes(strength: float) -> tuple[Array, Array]:
        worn = ledger.run(statements, Plan.of(persona, strength), f"{persona.pole}-{strength:g}")
        high, low = statement_changes(worn, base)
        return (high, low) if persona.pole == "plus" else (low, high)

    def measure(strength: float) -> Point:
        plan, label = Plan.of(persona, strength), f"{persona.pole}-{strength:g}"
        ratio = perplexity_ratio(passage_array(ledger.run(text, plan, label)), cost)
        repeat = loops(ledger.run(answers, plan, label), said) if ratio <= budget else None
        return Point(strength, ratio, trait_score(*changes(strength)), repeat)

    check_leak(statements, Plan.of(persona))
    base = ledger.run(statements, Plan(), "unworn")
    unworn = unworn_scores(base, persona.pole)
    goal = aim.goal(unworn)
    if goal <= unworn.score:
        raise TemperamentError(
            f"the unworn model already scores {unworn.score:.3f} towards {persona.name!r}, the target is {goal:.3f}",
            "give a target above it, or one such as +1sd",
        )
    cost = passage_array(ledger.run(text, Plan(), "unworn"))
    said = ledger.run(answers, Plan(), "unworn")
    curve = Curve(measure, strongest)
    found = find_strength(curve, goal - unworn.score, budget)
    if found is None:
        raise TemperamentError(
            f"no strength of {persona.name!r} within × {budget:.2f} perplexity brings its score above the unworn "
            f"{unworn.score:.3f}",
            "give a larger --budget, or extract with another method",
        )
    point = found.point
    mark = Dial(
        strength=point.strength,
        target=aim.text,
        goal=goal,
        score=unworn.score + point.effect,
        unworn=unworn.score,
        sd=unworn.sd,
        budget=budget,
        perplexity=point.perplexity,
        repeat=point.repeat,
        reached=found.reached,
        data=DialData(
            name=contrast.name,
            split=contrast.split,
            hash=contrast.hash,
            plus=len(contrast.plus),
            minus=len(contrast.minus),
            neutral=text.hash,
        ),
        texts=tuple(sorted(statements.groups | answers.groups)),
    )
    gain = separation(*changes(point.strength), seed=seed)
    return Dialled(persona.with_dial(mark), mark, gain, tuple(curve.sorted))


def check_reached(found: Sequence[Dialled]) -> None:
    """Raise unless every target was reached; the message gives the largest score within the budget."""
    short = [one for one in found if not one.dial.reached]
    if short:
        said = "; ".join(
            f"{one.persona.name!r} comes to {one.dial.score:.3f} ({one.gain.value / one.dial.sd:+.2f}sd) at strength "
            f"{one.dial.strength:g}, {one.dial.goal:.3f} was asked for"
            for one in short
        )
        raise TemperamentError(
            f"{short[0].dial.target} is not reached within × {short[0].dial.budget:.2f} perplexity: {said}",
            "give a lower --target or a larger --budget, or take the closest with --closest",
        )


def _sides(records: Sequence[Record], pole: Pole) -> tuple[Array, Array]:
    """Nats per token of the pole's own statements and of the other pole's."""
    high, low = statement_arrays(records)
    return (high, low) if pole == "plus" else (low, high)
