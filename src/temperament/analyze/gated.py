"""What the analyses of masks and subnetworks share: which personas they take, opposite pairs, random controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.evaluation.controls import random_pair
from temperament.evaluation.run import check_pair
from temperament.models import LoadedModel
from temperament.personas import Persona
from temperament.personas.edits.edit import Gated
from temperament.personas.kinds import kind_of

#: Personas to be worn by pole, each with its strength; a pole that is missing stays unworn.
Worn = Mapping[Pole, tuple[Persona, float]]


def gates(persona: Persona) -> Gated:
    """The edit of a persona, if it gates single weights."""
    if not isinstance(persona.edit, Gated):
        raise TemperamentError(
            f"{persona.name!r} is a {persona.kind} persona", "give masks or subnetworks, which edit single weights"
        )
    return persona.edit


def check_gated(lm: LoadedModel, persona: Persona) -> None:
    """Raise unless this is a mask or a subnetwork of the model's own weights."""
    gates(persona)
    persona.check_model(lm)


def is_pair(plus: Persona, minus: Persona) -> bool:
    """Whether these are the plus and minus poles of one extraction."""
    try:
        check_pair(plus, minus)
    except TemperamentError:
        return False
    return True


def random_fault(persona: Persona) -> str | None:
    """Why no random control can be made of a pole of a pair, in words, or None: it can."""
    kind = kind_of(persona)
    if kind is None:
        return "no known method made it"
    needs = kind.random_needs(persona)
    return f"the {needs} needs the statistics of the extraction" if needs and persona.signatures is None else None


def within(lm: LoadedModel, persona: Persona, linears: frozenset[str], name: str) -> Persona:
    """The persona in these Linears alone, under another name."""
    return replace(persona, name=name, edit=gates(persona).within(lm, linears))


def control_pair(lm: LoadedModel, worn: Worn, seed: int = 0) -> Worn:
    """The random control of a worn pair, at the same strengths."""
    (plus, first), (minus, second) = worn["plus"], worn["minus"]
    made = random_pair(lm, plus, minus, seed, plus.signatures)
    return {"plus": (made[0], first), "minus": (made[1], second)}
