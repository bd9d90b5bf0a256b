"""People's answers to a questionnaire: read from a file, or generated as a synthetic group."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from temperament.calibration.items import LETTERS, Item
from temperament.calibration.public import read_rows, read_text
from temperament.errors import TemperamentError

#: ``raw``: as answered. ``reversed``: items with key −1 were already turned round (6 − answer).
Scored = Literal["raw", "reversed"]
FORMS = (120, 300)

_COLUMN = re.compile(r"(?:i|q|item)?[ _.-]?0*([1-9]\d*)", re.IGNORECASE)
_NAMES = ("id", "name", "person", "case")
_MISSING = ("", "0", "na", "nan", "none")
_FORMAT = "expected answers 1–5 to 120 or 300 items: a csv with a column per item (1, 2 … or i1, i2 …), or JSON"
#: Fewer people do not tell whether their answers are reversed.
_ENOUGH = 10


@dataclass(frozen=True)
class Person:
    """Raw answers, 1–5, by item number; what was not answered is absent. ``synthetic`` people were generated."""

    name: str
    answers: Mapping[int, int]
    synthetic: bool = False


@dataclass(frozen=True)
class People:
    """A group, and what its reader has to say: people left out, and a warning where answers look reversed."""

    people: tuple[Person, ...]
    notes: tuple[str, ...] = ()


def trait_means(answers: Mapping[int, float], items: Sequence[Item]) -> dict[str, float]:
    """Mean answer 1–5 of every trait, reversed by key, over those of ``items`` that were answered."""
    values: dict[str, list[float]] = {}
    for item in items:
        if item.number in answers:
            answer = answers[item.number]
            values.setdefault(item.domain, []).append(answer if item.key > 0 else 6 - answer)
    return {trait: float(np.mean(values[trait])) for trait in LETTERS if trait in values}


def read_people(path: Path, items: Sequence[Item], *, scored: Scored) -> People:
    """Answers of a csv of people × items, or of one person in JSON (a list, or {"name", "answers": list or object}).

    Answers to 120 items go by ``Item.number``, to 300 by ``Item.full_number``; items that were not read are ignored.
    0, NA and nothing at all are missing. ``scored`` says what the answers are, since a file does not: in some public
    files the negative items are reversed already. A contradiction in the data is put into ``notes``.
    """
    if scored not in ("raw", "reversed"):
        raise TemperamentError(f"unknown scoring {scored!r}", "say raw or reversed")
    rows = [_one(path)] if path.suffix.lower() == ".json" else _table(path)
    found, notes = [], []
    for line, name, answers, form in rows:
        places = _places(path, items, form)
        raw = {
            item.number: value if scored == "raw" or item.key > 0 else 6 - value
            for place, text in answers.items()
            if place in places
            for item in (places[place],)
            if (value := _value(path, line, place, text)) is not None
        }
        found.append(Person(name, raw))
    kept = [person for person in found if _answered(person, items)]
    if not kept:
        raise TemperamentError(f"nobody in {path} answered half of each trait's items", _FORMAT)
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} people left out who answered less than half of a trait's items")
    contradiction = reversal_warning(kept, items, scored)
    return People(tuple(kept), (*notes, *([contradiction] if contradiction else [])))


def read_group(spec: str, items: Sequence[Item], *, scored: str | None, count: int | None, seed: int = 0) -> People:
    """People of a file, ``count`` of them a seeded sample, or ``synthetic`` for a generated group (default: 8).

    ``scored`` must be given for a file, and for a file only.
    """
    if spec == "synthetic":
        if scored is not None:
            raise TemperamentError("synthetic people need no --scored", "leave it out, or give a file of answers")
        return synthetic_people(items, 8 if count is None else count, seed)
    known: dict[str | None, Scored] = {"raw": "raw", "reversed": "reversed"}
    if scored not in known:
        raise TemperamentError(
            f"it is not said how the answers in {spec} are scored" if scored is None else f"unknown scoring {scored!r}",
            "give --scored raw, or --scored reversed where items with key -1 are turned round already",
        )
    group = read_people(Path(spec).expanduser(), items, scored=known[scored])
    if count is None or count >= len(group.people):
        return group
    kept = np.sort(np.random.default_rng(seed).choice(len(group.people), count, replace=False))
    return replace(group, people=tuple(group.people[index] for index in kept))


def key_correlation(people: Sequence[Person], items: Sequence[Item]) -> float | None:
    """Correlation over people of the raw means of + and − keyed items, traits pooled and each centred.

    Raw answers give a negative one; reversed ones, taken for raw, a positive one. None for fewer than ten people.
    """
    if len(people) < _ENOUGH:
        return None
    pairs = []
    for trait in LETTERS:
        sides = [[item.number for item in items if item.domain == trait and item.key == key] for key in (1, -1)]
        means = [
            [np.mean([person.answers[n] for n in side if n in person.answers]) for side in sides]
            for person in people
            if all(any(n in person.answers for n in side) for side in sides)
        ]
        if len(means) >= _ENOUGH:
            pairs.append(np.array(means) - np.mean(means, axis=0))
    if not pairs or not (stacked := np.concatenate(pairs)).std(0).all():
        return None
    return float(np.corrcoef(stacked.T)[0, 1])


def reversal_warning(people: Sequence[Person], items: Sequence[Item], scored: Scored) -> str | None:
    """What contradicts ``scored``, or that too few people were given to tell; None where all is well."""
    correlation = key_correlation(people, items)
    if correlation is None:
        return f"too few people to check that the answers are {scored}, as was said"
    if correlation <= 0:
        return None
    other = "reversed" if scored == "raw" else "raw"
    return (
        f"the answers were said to be {scored} but look {other}: who agrees with + keyed items also agrees with "
        f"− keyed ones (r = {correlation:.2f}); read them as {other}"
    )


def synthetic_people(items: Sequence[Item], count: int, seed: int = 0) -> People:
    """A generated group, no real people: a five-factor model with facets, acquiescence and noise.

    answer = round(3 + key · (0.8·trait + 0.4·facet) + habit + noise), cut to 1–5, with trait and facet ~ N(0, 1)
    independent of one another, habit ~ N(0.15, 0.25) per person and noise ~ N(0, 0.8) per answer.
    """
    if count < 1:
        raise TemperamentError(f"a group of {count} people", "give 1 or more")
    people = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        trait = {name: rng.normal() for name in LETTERS}
        facet = {f"{letter}{number}": rng.normal() for letter in LETTERS.values() for number in range(1, 7)}
        habit = rng.normal(0.15, 0.25)
        answers = {}
        for item in items:
            lean = item.key * (0.8 * trait[item.domain] + 0.4 * facet.get(item.facet, 0.0))
            answers[item.number] = int(np.clip(np.rint(3 + lean + habit + rng.normal(0, 0.8)), 1, 5))
        people.append(Person(f"synthetic-{index + 1}", answers, synthetic=True))
    return People(tuple(people), ("a synthetic group, generated from a five-factor model: no real people",))


def reverse_scored(person: Person, items: Sequence[Item]) -> Person:
    """The same answers with − keyed items turned round, as some public files hold them."""
    keys = {item.number: item.key for item in items}
    return replace(person, answers={n: a if keys[n] > 0 else 6 - a for n, a in person.answers.items()})


_Answers = tuple[int, str, dict[int, Any], int]


def _table(path: Path) -> list[_Answers]:
    rows = list(read_rows(path))
    if not rows:
        raise TemperamentError(f"{path} holds no people", _FORMAT)
    columns = {name: int(match[1]) for name in rows[0][1] if (match := _COLUMN.fullmatch(name.strip()))}
    form = len(columns)
    if sorted(columns.values()) not in [list(range(1, size + 1)) for size in FORMS]:
        raise TemperamentError(f"{path} line 1: {form} columns of items, not 1 to 120 or 1 to 300", _FORMAT)
    label = next((name for name in rows[0][1] if name.strip().lower() in _NAMES), None)
    return [
        (
            line,
            str(row[label]).strip() if label else f"person-{position}",
            {place: row.get(name) for name, place in columns.items()},
            form,
        )
        for position, (line, row) in enumerate(rows, 1)
    ]


def _one(path: Path) -> _Answers:
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise TemperamentError(f"{path} is not JSON", _FORMAT) from None
    name = str(data.get("name", path.stem)) if isinstance(data, dict) else path.stem
    answers = data.get("answers") if isinstance(data, dict) else data
    if isinstance(answers, list):
        answers = {str(place): value for place, value in enumerate(answers, 1)}
    if not isinstance(answers, dict):
        raise TemperamentError(f"{path} holds no answers", _FORMAT)
    places = {int(match[1]): value for key, value in answers.items() if (match := _COLUMN.fullmatch(key.strip()))}
    if sorted(places) not in [list(range(1, size + 1)) for size in FORMS] or len(places) != len(answers):
        raise TemperamentError(f"{path} holds {len(answers)} answers, not those to items 1–120 or 1–300", _FORMAT)
    return 1, name, places, len(places)


def _places(path: Path, items: Sequence[Item], form: int) -> dict[int, Item]:
    """Items by their column in a form of that length."""
    full = form == 300 and len(items) != 300
    places = {place: item for item in items if (place := item.full_number if full else item.number) is not None}
    if len(places) != len(items) or max(places) > form:
        raise TemperamentError(
            f"{path} holds answers to {form} items, which the items read do not belong to",
            "read items of the same form, or ones with both numbers (short120_no and full300_no)",
        )
    return places


def _value(path: Path, line: int, place: int, given: Any) -> int | None:
    text = "" if given is None else str(given).strip().lower().removesuffix(".0")
    if text in _MISSING:
        return None
    if isinstance(given, bool) or text not in ("1", "2", "3", "4", "5"):
        raise TemperamentError(
            f"{path} line {line}: the answer to item {place} is {given!r}", "expected 1 to 5, or nothing"
        )
    return int(text)


def _answered(person: Person, items: Sequence[Item]) -> bool:
    return all(
        2 * sum(item.number in person.answers for item in own) >= len(own)
        for trait in LETTERS
        for own in ([item for item in items if item.domain == trait],)
    )
