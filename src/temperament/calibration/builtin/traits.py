"""What the built-in texts are about: the five traits, and four axes whose ends combine to sixteen types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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


@dataclass(frozen=True)
class Axis(Trait):
    """One of four either-or axes; its name ends in the letters of its plus and minus pole."""

    @property
    def letters(self) -> str:
        """Letters of the plus and the minus pole, such as ``EI``."""
        return self.name[-2:].upper()


#: Axes in the order of a type's four letters. The texts are ours: no publisher's inventory, and not endorsed by one.
AXES: tuple[Axis, ...] = (
    Axis(
        "mbti-ei",
        ("outward", "inward"),
        (
            "You are turned outward: you think by talking, act before you reflect and draw strength from company.",
            "You are turned inward: you think before you talk, reflect before you act and draw strength from solitude.",
        ),
    ),
    Axis(
        "mbti-sn",
        ("concrete", "conceptual"),
        (
            "You are a concrete thinker: you go by facts, details, experience and what is here and now.",
            "You are a conceptual thinker: you go by hunches, patterns, meanings and what could be some day.",
        ),
    ),
    Axis(
        "mbti-tf",
        ("analytical", "empathetic"),
        (
            "You decide with your head: you go by logic, impartial reasons and consistent principles.",
            "You decide with your heart: you go by empathy, personal values and what people feel.",
        ),
    ),
    Axis(
        "mbti-jp",
        ("settled", "flexible"),
        (
            "You like things settled: you plan ahead, decide early and finish what is on the schedule.",
            "You like things open: you improvise, decide late and follow whatever comes up.",
        ),
    ),
)


def trait_of(name: str) -> str | None:
    """The Big Five trait a contrast is named after, such as extraversion.jsonl, or None."""
    stem = Path(name).stem.removesuffix("-scenes")
    return stem if find_trait(stem) else None


def find_axis(name: str) -> Axis | None:
    """The axis of that name, or None."""
    return next((axis for axis in AXES if axis.name == name), None)
