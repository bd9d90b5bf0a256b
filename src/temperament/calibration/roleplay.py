"""Role play: descriptions of the two poles to act out, and situational questions to answer in the role (NPTI §3)."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

from temperament.calibration.contrast import POLES, Pole, group_key
from temperament.errors import TemperamentError


@dataclass(frozen=True)
class Scene:
    """A question to be answered as the person described."""

    description: str
    question: str


@dataclass(frozen=True)
class RolePlay:
    """Descriptions of both poles (second person) and the questions that each of them answers.

    ``positions`` are the chosen (description, question) pairs of plus and minus, as numbers description · questions
    + question; None is all of them. ``prompts`` are the system prompts of the ``prompt`` control.
    """

    name: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    questions: tuple[str, ...]
    licence: str = "unknown"
    prompts: tuple[str, str] | None = None
    positions: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    split: str = "identification"
    notes: tuple[str, ...] = ()

    def scenes(self, pole: Pole) -> tuple[Scene, ...]:
        """All chosen scenes of a pole."""
        descriptions = self.plus if pole == "plus" else self.minus
        count = len(self.questions)
        chosen = self.positions[POLES.index(pole)] if self.positions else range(len(descriptions) * count)
        return tuple(Scene(descriptions[at // count], self.questions[at % count]) for at in chosen)

    def limit(self, count: int | None, seed: int) -> RolePlay:
        """A seeded sample of ``count`` scenes per pole; the same pairs for poles with equally many descriptions."""
        if count is None:
            return self
        if count < 1:
            raise TemperamentError(f"the limit is {count} scenes per pole", "give 1 or more")
        totals = (len(self.plus) * len(self.questions), len(self.minus) * len(self.questions))
        plus, minus = (sorted(random.Random(seed).sample(range(n), min(count, n))) for n in totals)
        return replace(self, positions=(tuple(plus), tuple(minus)))

    @property
    def items(self) -> dict[str, int]:
        """Number of scenes per pole."""
        return {"plus": len(self.scenes("plus")), "minus": len(self.scenes("minus"))}

    @property
    def hash(self) -> str:
        """SHA-256 over all scenes in order."""
        texts = [f"{pole}\x1f{scene.description}\x1f{scene.question}" for pole in POLES for scene in self.scenes(pole)]
        return hashlib.sha256("\x1e".join(texts).encode()).hexdigest()

    @property
    def group_keys(self) -> frozenset[str]:
        """Identities of the questions, for leak checks."""
        return frozenset(group_key(question) for question in self.questions)

    def pole_prompts(self) -> tuple[str, str]:
        """System prompts of the ``prompt`` control; without written ones, the first description of each pole."""
        return self.prompts or (self.plus[0], self.minus[0])
