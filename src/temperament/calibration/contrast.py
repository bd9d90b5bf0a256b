"""The Contrast: two poles of (prompt, response) texts, their splits into calibration, validation and test, a hash."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from temperament.errors import TemperamentError

Pole = Literal["plus", "minus"]
POLES: tuple[Pole, Pole] = ("plus", "minus")
Split = Literal["calibration", "validation", "test", "all"]
SPLITS: tuple[Split, ...] = ("calibration", "validation", "test", "all")

#: The question every bare statement answers, so that nothing is learned about saying yes or no.
NEUTRAL_PROMPT = "Tell me something about yourself."

#: Shares of calibration, validation and test when a file does not name its splits.
SHARES: tuple[tuple[Split, int], ...] = (("calibration", 6), ("validation", 2), ("test", 3))


@dataclass(frozen=True)
class Example:
    """One response to one prompt.

    ``group`` is what must stay on one side of a split: the statement itself, or the question that several
    responses answer. ``split`` is set where the source names it.
    """

    prompt: str
    response: str
    group: str
    split: Split | None = None

    @property
    def text(self) -> str:
        return f"{self.prompt}\x1f{self.response}"


@dataclass(frozen=True)
class Choice:
    """A two-choice item: ``options`` A and B answer ``prompt``; ``matching`` is the plus pole's option, 0 or 1."""

    prompt: str
    options: tuple[str, str]
    matching: int
    group: str
    split: Split | None = None

    @property
    def text(self) -> str:
        return "\x1f".join((self.prompt, *self.options))


Item = TypeVar("Item", Example, Choice)


def group_key(group: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a group's text: its identity in splits and leak checks."""
    return hashlib.sha256(group.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Contrast:
    """Calibration or test data with two poles.

    ``prompts`` are the system prompts of the ``prompt`` control, one per pole (None: made from the texts).
    ``choices`` are two-choice items of sources that have them; ``notes`` say what a reader left out.
    """

    name: str
    plus: tuple[Example, ...]
    minus: tuple[Example, ...]
    choices: tuple[Choice, ...] = ()
    split: Split = "all"
    licence: str = "unknown"
    prompts: tuple[str, str] | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def pole(self, pole: Pole) -> tuple[Example, ...]:
        return self.plus if pole == "plus" else self.minus

    @property
    def items(self) -> dict[str, int]:
        """Number of texts per pole."""
        return {"plus": len(self.plus), "minus": len(self.minus)}

    @property
    def hash(self) -> str:
        """SHA-256 over the texts of both poles; the order of items does not matter."""
        lines = sorted(
            f"{pole}\x1f{hashlib.sha256(item.text.encode()).hexdigest()}" for pole in POLES for item in self.pole(pole)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def group_keys(self) -> frozenset[str]:
        """Identities of every statement or question in the data."""
        items: tuple[Example | Choice, ...] = (*self.plus, *self.minus, *self.choices)
        return frozenset(group_key(item.group) for item in items)

    def select(self, split: Split) -> Contrast:
        """The part of the data that belongs to ``split``.

        Items whose source names a split follow it. All others are ranked by the hash of their group and cut
        6 : 2 : 3, so that the answer depends on the texts alone and no group lies in two splits.
        """
        if split == "all":
            return replace(self, split="all")
        inside = self._groups_of(split)
        return replace(
            self,
            plus=_keep(self.plus, split, inside),
            minus=_keep(self.minus, split, inside),
            choices=_keep(self.choices, split, inside),
            split=split,
        )

    def _groups_of(self, split: Split) -> frozenset[str]:
        plus, minus = ({item.group for item in pole if item.split is None} for pole in (self.plus, self.minus))
        shared = (plus & minus) | {choice.group for choice in self.choices if choice.split is None}
        inside: set[str] = set()
        for groups in (plus - shared, minus - shared, shared):  # ranked apart, so that each pole is cut in proportion
            ordered = sorted(groups, key=lambda group: hashlib.sha256(f"split\x1f{group}".encode()).digest())
            inside.update(ordered[_cut(len(ordered), split)])
        return frozenset(inside)

    def limit(self, count: int | None, seed: int) -> Contrast:
        """A seeded sample of ``count`` items per pole, and of ``count`` choices per matching option."""
        if count is None:
            return self
        if count < 1:
            raise TemperamentError(f"the limit is {count} items per pole", "give 1 or more")
        by_option = [tuple(choice for choice in self.choices if choice.matching == option) for option in (0, 1)]
        return replace(
            self,
            plus=_sample(self.plus, count, seed),
            minus=_sample(self.minus, count, seed),
            choices=tuple(choice for group in by_option for choice in _sample(group, count, seed)),
        )

    def first(self, count: int, seed: int) -> Contrast:
        """The first ``count`` items per pole of one seeded order: a smaller number is part of a larger one."""
        whole = self.limit(max(len(self.plus), len(self.minus)), seed)
        return replace(whole, plus=whole.plus[:count], minus=whole.minus[:count])

    def pole_prompts(self) -> tuple[str, str]:
        """System prompts of the ``prompt`` control; without written ones, three statements of the pole are quoted."""
        return self.prompts or (_prompt_from(self.plus), _prompt_from(self.minus))


def _cut(count: int, split: Split) -> slice:
    total, begin = sum(share for _, share in SHARES), 0
    for name, share in SHARES:
        if name == split:
            return slice(round(count * begin / total), round(count * (begin + share) / total))
        begin += share
    raise ValueError(split)


def _keep(items: tuple[Item, ...], split: Split, inside: frozenset[str]) -> tuple[Item, ...]:
    return tuple(item for item in items if (item.group in inside if item.split is None else item.split == split))


def _sample(items: Sequence[Item], count: int, seed: int) -> tuple[Item, ...]:
    ordered = sorted(items, key=lambda item: hashlib.sha256(item.text.encode()).digest())
    return tuple(random.Random(seed).sample(ordered, min(count, len(ordered))))


def _prompt_from(examples: Sequence[Example]) -> str:
    quotes = " ".join(f'"{example.response}"' for example in _sample(examples, 3, 0))
    return f"You are the kind of person who would say the following. {quotes} Answer every question as that person."


def unique(items: Iterable[Item]) -> tuple[Item, ...]:
    """Items without repeated texts, first occurrence kept."""
    seen: dict[str, Item] = {}
    for item in items:
        seen.setdefault(item.text, item)
    return tuple(seen.values())
