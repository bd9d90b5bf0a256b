"""Our own texts: Big Five statements as matched pairs, descriptions to act out, questions, and neutral prose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from temperament.calibration.contrast import NEUTRAL_PROMPT, Contrast, Example
from temperament.calibration.roleplay import RolePlay

LICENCE = "MIT"


@dataclass(frozen=True)
class Trait:
    """A built-in trait: names of its poles and the system prompts of the ``prompt`` control."""

    name: str
    poles: tuple[str, str]
    prompts: tuple[str, str]


TRAITS: tuple[Trait, ...] = (
    Trait(
        "openness",
        ("imaginative", "practical"),
        (
            "You are an open person: curious, imaginative, fond of art, new ideas and unfamiliar things.",
            "You are a down-to-earth person: practical, conventional, fond of routine and of what has proved itself.",
        ),
    ),
    Trait(
        "conscientiousness",
        ("disciplined", "spontaneous"),
        (
            "You are a conscientious person: organised, punctual, thorough and disciplined in everything you do.",
            "You are an easy-going person: spontaneous, disorganised, relaxed about plans, order and deadlines.",
        ),
    ),
    Trait(
        "extraversion",
        ("outgoing", "reserved"),
        (
            "You are an extraverted person: outgoing, talkative, energetic and happiest among many people.",
            "You are an introverted person: reserved, quiet, calm and happiest alone or with one close friend.",
        ),
    ),
    Trait(
        "agreeableness",
        ("accommodating", "tough-minded"),
        (
            "You are an agreeable person: trusting, helpful, forgiving and eager to get along with everyone.",
            "You are a tough-minded person: blunt, competitive, sceptical of others and ready for an argument.",
        ),
    ),
    Trait(
        "neuroticism",
        ("anxious", "steady"),
        (
            "You are a neurotic person: anxious, moody, easily upset and always worried that something will go wrong.",
            "You are an emotionally stable person: calm, relaxed, even-tempered and hard to upset or to worry.",
        ),
    ),
)


def find_trait(name: str) -> Trait | None:
    """The built-in trait of that name, or None."""
    return next((trait for trait in TRAITS if trait.name == name), None)


def trait_of(name: str) -> str | None:
    """The built-in trait a contrast is named after, such as extraversion.jsonl, or None."""
    stem = Path(name).stem.removesuffix("-scenes")
    return stem if find_trait(stem) else None


#: Suffixes of contrast names: plain self-descriptions, and a second instrument of scenes and anecdotes.
INSTRUMENTS = {"": "plain self-descriptions", "-scenes": "scenes and anecdotes, a harder second instrument"}

#: Every built-in contrast: each trait in each instrument.
CONTRASTS: dict[str, Trait] = {f"{trait.name}{suffix}": trait for suffix in INSTRUMENTS for trait in TRAITS}


@cache
def builtin_contrast(name: str) -> Contrast:
    """All pairs of a built-in contrast; every row names its split."""
    trait = CONTRASTS[name]
    rows = [json.loads(line) for line in _text(f"{name.replace('-', '.')}.jsonl").splitlines()]

    def pole(key: str) -> tuple[Example, ...]:
        return tuple(Example(NEUTRAL_PROMPT, row[key], row[key], row["split"]) for row in rows)

    return Contrast(name=name, plus=pole("plus"), minus=pole("minus"), licence=LICENCE, prompts=trait.prompts)


def questions(name: str, use: Literal["identification", "test"] = "test") -> tuple[str, ...]:
    """Situational questions of a trait that force a choice and do not name it; the two uses share none."""
    return tuple(line for line in _text(f"{name}.questions.{use}.txt").splitlines() if line.strip())


def descriptions(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Second-person descriptions of a trait's plus and minus pole, in pairs of matched length and negation."""
    rows = [json.loads(line) for line in _text(f"{name}.descriptions.jsonl").splitlines()]
    return tuple(row["plus"] for row in rows), tuple(row["minus"] for row in rows)


@cache
def builtin_roleplay(name: str) -> RolePlay:
    """Every description of a trait's poles with every identification question."""
    plus, minus = descriptions(name)
    trait = next(trait for trait in TRAITS if trait.name == name)
    return RolePlay(name, plus, minus, questions(name, "identification"), LICENCE, trait.prompts)


@cache
def neutral_texts() -> tuple[str, ...]:
    """The 60 neutral passages to calibrate on; the evaluation's own neutral passages are other texts."""
    return tuple(line for line in _read("neutral.txt").splitlines() if line.strip())


def _text(name: str) -> str:
    return _read("big_five", name)


def _read(*path: str) -> str:
    return files("temperament.calibration.builtin").joinpath(*path).read_text(encoding="utf-8")
