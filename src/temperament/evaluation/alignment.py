"""Individual alignment: strengths of five personas so that a model answers a questionnaire as one person did.

NPTI Table 3. The paper chooses and measures on the same items; here half of the items choose and the other half, the
default, measure. The error of a trait is |model − person| of its score 1–5, the total its sum over traits.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from temperament.calibration.items import LETTERS, Item
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Measured, measured
from temperament.evaluation.people import Person, trait_means

Strengths = Mapping[str, float]
Answers = Mapping[int, float]
#: Items that errors are measured on: those not used for choosing (ours), or all of them (as published).
On = Literal["held_out", "all"]
Search = Literal["additive", "coordinate"]

GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)
#: Combinations of strengths that the additive search compares at most.
_COMBINATIONS = 10**6
_ROUNDS = 4

#: Adjectives of both poles (the simple prompt of NPTI Table 3).
ADJECTIVES = {
    "openness": ("open", "closed"),
    "conscientiousness": ("conscientious", "unconscientious"),
    "extraversion": ("extraverted", "introverted"),
    "agreeableness": ("agreeable", "disagreeable"),
    "neuroticism": ("neurotic", "calm"),
}


class Score(Protocol):
    """A model's raw agreement, 1–5 before reversal, by item number, wearing each trait's persona at its strength."""

    def __call__(self, strengths: Strengths, items: Sequence[Item], /) -> Answers: ...


@dataclass(frozen=True)
class Aligned:
    """One person's strengths, and by condition and items the error of every trait."""

    person: Person
    strengths: Strengths
    errors: Mapping[str, Mapping[On, Mapping[str, float]]]

    def total(self, condition: str = "aligned", on: On = "held_out") -> float:
        """Sum over traits of |model − person|."""
        return sum(self.errors[condition][on].values())


@dataclass(frozen=True)
class Alignment:
    """A group's alignment: item numbers used for choosing and held out, and how many settings the model was put in.

    Conditions: ``aligned``; ``unworn``; ``random`` (mean over seeds); ``other``, the strengths chosen for the next
    person, which tells individual alignment from a shift that suits everybody; and ``prompt`` where it was given.
    """

    people: tuple[Aligned, ...]
    choosing: tuple[int, ...]
    held_out: tuple[int, ...]
    evaluations: int

    @property
    def conditions(self) -> tuple[str, ...]:
        return tuple(self.people[0].errors)

    def total(self, condition: str = "aligned", on: On = "held_out", seed: int = 0) -> Measured:
        """Mean over people of the total error, its interval over people; ``extra``: the error of every trait."""
        totals = np.array([one.total(condition, on) for one in self.people])
        traits = {
            trait: float(np.mean([one.errors[condition][on][trait] for one in self.people]))
            for trait in self.people[0].errors[condition][on]
        }
        return measured([totals], np.mean, seed=seed, extra={"traits": traits})

    def gain(self, condition: str, on: On = "held_out", seed: int = 0) -> Measured:
        """Total error of ``condition`` minus that of the chosen strengths, paired over people; above 0 is a gain."""
        pairs = [(one.total(condition, on), one.total("aligned", on)) for one in self.people]
        return measured([np.array([first - second for first, second in pairs])], np.mean, seed=seed)

    def as_json(self, seed: int = 0) -> dict[str, Any]:
        """Totals by items and condition, and every person's strengths."""
        return {
            **{
                on: {name: self.total(name, on, seed).as_json() for name in self.conditions}
                for on in ("held_out", "all")
            },
            "people": {one.person.name: dict(one.strengths) for one in self.people},
            "synthetic": any(one.person.synthetic for one in self.people),
            "items": {"choosing": list(self.choosing), "held_out": list(self.held_out)},
            "evaluations": self.evaluations,
        }


def split_items(items: Sequence[Item], share: float = 0.5, seed: int = 0) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Items to choose by and items held out, disjoint, ``share`` of every trait and key in the first part."""
    if not 0 < share < 1:
        raise TemperamentError(f"a share of {share} of the items", "give a number between 0 and 1")
    chosen: set[int] = set()
    for trait, key in itertools.product(LETTERS, (1, -1)):
        own = _by_turns([item for item in items if (item.domain, item.key) == (trait, key)], seed)
        if len(own) == 1:
            raise TemperamentError(
                f"{trait} has one item with the key {key}", "give two or more, to choose and measure"
            )
        chosen.update(item.number for item in own[: min(max(1, round(share * len(own))), len(own) - 1)])
    parts = tuple(i for i in items if i.number in chosen), tuple(i for i in items if i.number not in chosen)
    if not parts[0]:
        raise TemperamentError("there are no items to align on", "read a questionnaire")
    return parts


def level_prompt(means: Mapping[str, float]) -> str:
    """A system prompt that names a person's level on every trait in adjectives: the ``prompt`` baseline.

    Beyond 1.25 from the middle of the scale it says "very", beyond 0.75 "rather", beyond 0.25 "a little".
    """
    words = []
    for trait, mean in means.items():
        high, low = ADJECTIVES[trait]
        degree = next((word for word, least in _DEGREES if abs(mean - 3) > least), None)
        words.append(f"{degree} {high if mean > 3 else low}" if degree else f"neither {high} nor {low}")
    return f"You are a person who is {', '.join(words)}. Answer every question as this person would."


def align(
    people: Sequence[Person],
    items: Sequence[Item],
    score: Score,
    *,
    grid: Sequence[float] = GRID,
    search: Search = "additive",
    share: float = 0.5,
    seed: int = 0,
    random_seeds: Sequence[int] = (0, 1, 2),
    prompt: Callable[[str, Sequence[Item]], Answers] | None = None,
) -> Alignment:
    """Choose every person's strengths on one part of the items and measure them, beside baselines, on the other.

    ``additive`` measures one trait's strength at a time, once for all people, and compares all combinations as if
    effects added up; ``coordinate`` tries every combination on its way out, trait by trait, for each person anew.
    ``prompt`` puts items to the model under a system prompt; its text too is made from the choosing items alone.
    """
    if search not in ("additive", "coordinate"):
        raise TemperamentError(f"unknown search {search!r}", "use additive or coordinate")
    if not people:
        raise TemperamentError("there is nobody to align to", "give one person or more")
    values = tuple(sorted({0.0, *map(float, grid)}, key=lambda value: (abs(value), value)))
    choosing, held_out = split_items(items, share, seed)
    traits = tuple(trait for trait in LETTERS if any(item.domain == trait for item in items))
    _check_answers(people, traits, (choosing, held_out))
    known = _Memory(score)
    find = _additive if search == "additive" else _coordinate
    chosen = [find(person, choosing, known, traits, values) for person in people]
    aligned = []
    for index, person in enumerate(people):

        def errors(strengths: Strengths, person: Person = person) -> dict[On, dict[str, float]]:
            first, second = known(strengths, choosing), known(strengths, held_out)
            return _errors(person, first, second, choosing, held_out)

        drawn = [errors(_random(traits, values, draw)) for draw in random_seeds]
        found = {"aligned": errors(chosen[index]), "unworn": errors({})}
        if drawn:
            found["random"] = _mean(drawn)
        if len(people) > 1:
            found["other"] = errors(chosen[(index + 1) % len(people)])
        if prompt:
            text = level_prompt(trait_means(person.answers, choosing))
            found["prompt"] = _errors(person, prompt(text, choosing), prompt(text, held_out), choosing, held_out)
        aligned.append(Aligned(person, chosen[index], found))
    numbers = [tuple(item.number for item in part) for part in (choosing, held_out)]
    return Alignment(tuple(aligned), numbers[0], numbers[1], known.evaluations)


_DEGREES = (("very", 1.25), ("rather", 0.75), ("a little", 0.25))


class _Memory:
    """Asks the model once per setting and part of the items."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._known: dict[tuple[Any, ...], Answers] = {}

    @property
    def evaluations(self) -> int:
        return len({key[0] for key in self._known})

    def __call__(self, strengths: Strengths, items: Sequence[Item]) -> Answers:
        active = {trait: value for trait, value in sorted(strengths.items()) if value}
        key = tuple(active.items()), tuple(item.number for item in items)
        if key not in self._known:
            answers = dict(self._score(active, items))
            if set(answers) != set(key[1]):
                raise ValueError("the model's answers are not those to the items asked")
            self._known[key] = answers
        return self._known[key]


def _check_answers(people: Sequence[Person], traits: Sequence[str], parts: Sequence[Sequence[Item]]) -> None:
    for person, part in itertools.product(people, parts):
        missing = [trait for trait in traits if trait not in trait_means(person.answers, part)]
        if missing:
            raise TemperamentError(
                f"{person.name} answered no item of {missing[0]} among the {len(part)} of one half",
                "leave this person out, or change the seed",
            )


def _additive(
    person: Person, items: Sequence[Item], known: _Memory, traits: Sequence[str], grid: Sequence[float]
) -> dict[str, float]:
    """The best combination under base + Σ (effect of one trait's strength), ties to the weaker one."""
    if len(grid) ** len(traits) > _COMBINATIONS:
        raise TemperamentError(f"{len(grid)} strengths of {len(traits)} traits are too many", "give a coarser grid")
    own = [item for item in items if item.number in person.answers]
    wanted = trait_means(person.answers, own)

    def means(strengths: Strengths) -> Any:
        found = trait_means(known(strengths, items), own)
        return np.array([found[trait] for trait in wanted])

    base = means({})
    # (traits scored, grid of trait 1, grid of trait 2, …): every trait of the personas has an axis of its own
    total = (base - np.array(list(wanted.values()))).reshape(-1, *(1 for _ in traits))
    weight: Any = np.zeros([1] * len(traits))
    for axis, trait in enumerate(traits):
        shape = [len(grid) if other == axis else 1 for other in range(len(traits))]
        change = np.array([means({trait: value}) - base for value in grid]).T
        total = total + change.reshape(-1, *shape)
        weight = weight + np.abs(np.array(grid)).reshape(shape)
    loss = np.abs(total).sum(0).round(9)  # rounding noise decides no tie
    best = min(np.argwhere(loss == loss.min()), key=lambda place: (weight[tuple(place)], tuple(place)))
    return {trait: grid[place] for trait, place in zip(traits, best, strict=True)}


def _coordinate(
    person: Person, items: Sequence[Item], known: _Memory, traits: Sequence[str], grid: Sequence[float]
) -> dict[str, float]:
    """One trait after the other, from 0, until a round changes nothing; ties to the weaker strength."""
    own = [item for item in items if item.number in person.answers]
    best = dict.fromkeys(traits, 0.0)

    def loss(trait: str, value: float) -> float:
        return round(sum(_distance(person, known({**best, trait: value}, items), own).values()), 9)

    for _ in range(_ROUNDS):
        before = dict(best)
        for trait in traits:
            best[trait] = min(grid, key=lambda value: loss(trait, value))
        if best == before:
            break
    return best


def _distance(person: Person, answers: Answers, items: Sequence[Item]) -> dict[str, float]:
    """|model − person| of every trait, over the items that the person answered."""
    own = [item for item in items if item.number in person.answers]
    model, wanted = trait_means(answers, own), trait_means(person.answers, own)
    return {trait: abs(model[trait] - wanted[trait]) for trait in wanted}


def _errors(
    person: Person, first: Answers, second: Answers, choosing: Sequence[Item], held_out: Sequence[Item]
) -> dict[On, dict[str, float]]:
    return {
        "held_out": _distance(person, second, held_out),
        "all": _distance(person, {**first, **second}, (*choosing, *held_out)),
    }


def _mean(errors: Sequence[Mapping[On, Mapping[str, float]]]) -> dict[On, dict[str, float]]:
    parts: tuple[On, ...] = ("held_out", "all")
    return {on: {t: float(np.mean([one[on][t] for one in errors])) for t in errors[0][on]} for on in parts}


def _random(traits: Sequence[str], grid: Sequence[float], seed: int) -> dict[str, float]:
    return dict(zip(traits, np.random.default_rng(seed).choice(grid, len(traits)).tolist(), strict=True))


def _by_turns(items: Sequence[Item], seed: int) -> list[Item]:
    """Items in the order of a seeded hash, one of every facet before the second of any."""
    turns: dict[str, int] = {}
    order = []
    for item in sorted(items, key=lambda item: hashlib.sha256(f"{seed}\x1f{item.text}".encode()).digest()):
        turns[item.facet] = turns.get(item.facet, 0) + 1
        order.append((turns[item.facet], item))
    return [item for _, item in sorted(order, key=lambda pair: pair[0])]
