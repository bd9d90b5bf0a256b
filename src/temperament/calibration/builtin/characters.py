"""Six characters of our invention: lines in three splits, and multiple-choice items on other lines and replies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from temperament.calibration.builtin.traits import Trait
from temperament.calibration.contrast import NEUTRAL_PROMPT, SHARES, Contrast, Example, Split
from temperament.calibration.role_items import RoleChoice

#: Which of the other five, by distance, stand beside the right option; alternating, so that each serves equally often.
_BESIDE = ((1, 2, 4), (5, 4, 2), (1, 3, 5), (2, 3, 4), (1, 3, 5))
OPTIONS = 4


@dataclass(frozen=True)
class Character:
    """A character: what it says by split, 10 other ``quotes`` for multiple choice, a reply to every situation.

    ``lines`` has 20 to calibrate on, 12 to tune on (validation) and 16 to test on.
    """

    name: str
    description: str
    lines: Mapping[Split, tuple[str, ...]]
    quotes: tuple[str, ...]
    replies: tuple[str, ...]

    @property
    def contrast(self) -> str:
        """Name of the contrast with the other five, such as ``role-orla-venn``."""
        return f"role-{self.name.lower().replace(' ', '-')}"

    @property
    def profile(self) -> str:
        return f"{self.name} is {self.description}."


@cache
def situations() -> tuple[str, ...]:
    """The questions that every character has a reply to."""
    return tuple(row["question"] for row in _rows("situations.jsonl"))


@cache
def characters() -> tuple[Character, ...]:
    """All six."""
    replies = [row["replies"] for row in _rows("situations.jsonl")]
    return tuple(
        Character(
            row["name"],
            row["description"],
            {split: tuple(row["lines"][split]) for split, _ in SHARES},
            tuple(row["quotes"]),
            tuple(reply[index] for reply in replies),
        )
        for index, row in enumerate(_rows("characters.jsonl"))
    )


def find_character(name: str) -> Character | None:
    """The character of that name, or of the contrast of that name, in any case."""
    wanted = name.strip().lower()
    return next((one for one in characters() if wanted in (one.name.lower(), one.contrast)), None)


def character_trait(one: Character) -> Trait:
    """The character against the other five, as a contrast is described."""
    others = " ".join(other.profile for other in characters() if other is not one)
    return Trait(
        one.contrast,
        (one.name, "the other five"),
        (f"You are {one.name}, {one.description}.", f"You are one of these people. {others}"),
    )


def character_texts(one: Character) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Lines of the character, and in every split as many of the others' lines of that split, in equal parts.

    12 or 16 lines do not divide by five: some of the others then give one more.
    """
    others = [other for other in characters() if other is not one]
    plus: tuple[Example, ...] = ()
    minus: tuple[Example, ...] = ()
    for split, _ in SHARES:
        plus += _examples(one.lines[split], split)
        for place, other in enumerate(others):
            minus += _examples(other.lines[split][place :: len(others)], split)
    return plus, minus


def character_judge_texts(one: Character) -> Contrast:
    """What a local judge of the character learns from: its quotes and replies against those of the other five.

    No line of any split is among them, so that nothing need be set aside. Replies to one situation are one group.
    """

    def said(other: Character) -> tuple[Example, ...]:
        replies = (
            Example(question, text, question) for question, text in zip(situations(), other.replies, strict=True)
        )
        return *_examples(other.quotes, None), *replies

    minus = tuple(text for other in characters() if other is not one for text in said(other))
    return Contrast(one.contrast, said(one), minus)


@cache
def role_choices() -> tuple[RoleChoice, ...]:
    """20 items per character: who said a quote, and which reply to a situation fits; four options each.

    Every quote and every reply is right once, every reply stands beside the right one three times, and the right
    option takes each place equally often.
    """
    cast, found = characters(), []
    for index, one in enumerate(cast):
        for number, quote in enumerate(one.quotes):
            shown = _beside(index, number)
            names = [cast[place].name for place in shown]
            profile = "\n".join(cast[place].profile for place in sorted(shown))
            found.append(RoleChoice(one.name, "who", quote, tuple(names), shown.index(index), profile))
        for number, question in enumerate(situations()):
            shown = _beside(index, number + 2)
            texts = tuple(cast[place].replies[number] for place in shown)
            found.append(RoleChoice(one.name, "reply", question, texts, shown.index(index), one.profile))
    return tuple(found)


def _beside(index: int, number: int) -> list[int]:
    """Places of the four shown, the right one at ``number`` modulo 4."""
    count = len(characters())
    shown = [(index + distance) % count for distance in _BESIDE[number % len(_BESIDE)]]
    shown.insert((index + number) % OPTIONS, index)
    return shown


def _examples(texts: Sequence[str], split: Split | None) -> tuple[Example, ...]:
    return tuple(Example(NEUTRAL_PROMPT, text, text, split) for text in texts)


def _rows(name: str) -> list[dict[str, Any]]:
    path = files("temperament.calibration.builtin") / "role_play" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
