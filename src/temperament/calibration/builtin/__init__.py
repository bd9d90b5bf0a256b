"""Our own texts: matched pairs on traits and axes, lines of characters, descriptions, questions, neutral prose."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from temperament.calibration.builtin.characters import (
    character_judge_texts,
    character_texts,
    character_trait,
    characters,
    find_character,
)
from temperament.calibration.builtin.traits import AXES, TRAITS, Axis, Trait, find_axis, find_trait, trait_of
from temperament.calibration.contrast import NEUTRAL_PROMPT, Contrast, Example
from temperament.calibration.roleplay import RolePlay

__all__ = [
    "AXES",
    "CONTRASTS",
    "INSTRUMENTS",
    "LICENCE",
    "TRAITS",
    "Axis",
    "Trait",
    "builtin_contrast",
    "builtin_judge_texts",
    "builtin_roleplay",
    "characters",
    "descriptions",
    "find_axis",
    "find_character",
    "find_trait",
    "neutral_texts",
    "questions",
    "trait_of",
]

LICENCE = "MIT"


#: Suffixes of contrast names: plain self-descriptions, and a second instrument of scenes and anecdotes.
INSTRUMENTS = {"": "plain self-descriptions", "-scenes": "scenes and anecdotes, a harder second instrument"}

#: Every built-in contrast: each trait in each instrument, each axis, each character against the other five.
CONTRASTS: dict[str, Trait] = {f"{trait.name}{suffix}": trait for suffix in INSTRUMENTS for trait in TRAITS}
CONTRASTS |= {axis.name: axis for axis in AXES}
CONTRASTS |= {one.contrast: character_trait(one) for one in characters()}


@cache
def builtin_contrast(name: str) -> Contrast:
    """All pairs of a built-in contrast; every row names its split."""
    trait = CONTRASTS[name]
    character = find_character(name)
    if character:
        plus, minus = character_texts(character)
        return Contrast(name=name, plus=plus, minus=minus, licence=LICENCE, prompts=trait.prompts)
    path = ("axes", f"{name}.jsonl") if find_axis(name) else ("big_five", f"{name.replace('-', '.')}.jsonl")
    rows = [json.loads(line) for line in _read(*path).splitlines()]

    def pole(key: str) -> tuple[Example, ...]:
        return tuple(Example(NEUTRAL_PROMPT, row[key], row[key], row["split"]) for row in rows)

    return Contrast(name=name, plus=pole("plus"), minus=pole("minus"), licence=LICENCE, prompts=trait.prompts)


def builtin_judge_texts(name: str) -> Contrast | None:
    """Texts for a local judge of a built-in contrast, which stand in none of its splits; None where there are none.

    Characters have them; the Big Five's are ``evaluation.judge_texts``.
    """
    character = find_character(name)
    return character_judge_texts(character) if character else None


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
