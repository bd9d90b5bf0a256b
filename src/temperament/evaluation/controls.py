"""Controls: the same measurement on nothing, random edits of the same size, shuffled labels, a plain prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan
from temperament.personas.extract import rebuild
from temperament.personas.kind import MethodKind
from temperament.personas.kinds import kind_of
from temperament.signatures import Pair

CONTROLS = ("unworn", "random", "shuffled", "swapped", "prompt")
RANDOM_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Condition:
    """A named pair of plans to score: what stands for plus and what stands for minus."""

    name: str
    plus: Plan
    minus: Plan


def check_conditions(plus: Persona, minus: Persona, names: tuple[str, ...], signatures: Pair | None) -> None:
    """Raise, before anything is scored, if one of the named controls cannot be built for this pair."""
    random = any(name.startswith("random") for name in names)
    for persona in (plus, minus):
        if random or "shuffled" in names:
            needs = _kind(persona).random_needs(persona)
            if random and needs:
                _given(signatures, needs)
        if "shuffled" in names:
            _given(signatures, "shuffled control")
        if "prompt" in names:
            _prompt(persona)


def control_conditions(
    lm: LoadedModel,
    plus: Persona,
    minus: Persona,
    strengths: tuple[float, float],
    names: tuple[str, ...],
    signatures: Pair | None,
) -> Iterator[Condition]:
    """The conditions of the named controls, each built when it is asked for.

    ``swapped`` is the worn pair exchanged; the caller has its scores already.
    """
    if "unworn" in names:
        yield Condition("unworn", Plan(), Plan())
    for seed in RANDOM_SEEDS:
        if "random" in names or f"random-{seed}" in names:
            first, second = random_pair(lm, plus, minus, seed, signatures)
            yield Condition(f"random-{seed}", Plan.of(first, strengths[0]), Plan.of(second, strengths[1]))
    if "shuffled" in names:
        first, second = shuffled_pair(lm, plus, minus, signatures)
        yield Condition("shuffled", Plan.of(first, strengths[0]), Plan.of(second, strengths[1]))
    if "prompt" in names:
        yield Condition("prompt", Plan.of(_prompt(plus)), Plan.of(_prompt(minus)))


def random_pair(
    lm: LoadedModel, plus: Persona, minus: Persona, seed: int, signatures: Pair | None = None
) -> tuple[Persona, Persona]:
    """The same edit without its meaning, as the kind of the method says (``MethodKind.randomised``)."""
    kind = _kind(plus)
    needs = kind.random_needs(plus)
    return kind.randomised(lm, plus, minus, seed, _given(signatures, needs) if needs else signatures)


def shuffled_pair(lm: LoadedModel, plus: Persona, minus: Persona, signatures: Pair | None) -> tuple[Persona, Persona]:
    """The same method and settings on the same texts with shuffled labels."""
    return rebuild(lm, _given(signatures, "shuffled control").shuffled(), plus, minus)


def prompt_pair(contrast: Contrast) -> tuple[Persona, Persona]:
    """Both poles of a contrast as system prompts."""
    plus, minus = contrast.pole_prompts()
    return Persona.from_prompt(plus, "prompt-plus", "plus"), Persona.from_prompt(minus, "prompt-minus", "minus")


def _given(signatures: Pair | None, control: str) -> Pair:
    if signatures is None:
        raise TemperamentError(
            f"the {control} needs the signatures the personas were computed from",
            "give --signatures DIR, or name the controls you want, such as --controls unworn,swapped,prompt",
        )
    return signatures


def _kind(persona: Persona) -> MethodKind[Any]:
    kind = kind_of(persona)
    if kind is None:
        raise TemperamentError(
            f"{persona.name!r} is a {persona.kind} persona, which has no random or shuffled control",
            "choose others with --controls unworn,swapped",
        )
    return kind


def _prompt(persona: Persona) -> Persona:
    text = persona.provenance.get("prompt")
    if not isinstance(text, str):
        raise TemperamentError(
            f"the persona {persona.name!r} names no system prompt for the prompt control",
            "leave it out with --controls",
        )
    return Persona.from_prompt(text, f"prompt-{persona.pole}", persona.pole)
