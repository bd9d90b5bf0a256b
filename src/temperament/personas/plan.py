"""The Plan: personas with strengths, to be worn together."""

from __future__ import annotations

from dataclasses import dataclass

from temperament.errors import TemperamentError
from temperament.personas.mixture import parts_of
from temperament.personas.persona import Persona


@dataclass(frozen=True)
class Plan:
    """Personas and their strengths, such as ``0.7 * introvert + 0.3 * thinker``.

    A mask takes strengths from 0 to 1: its gate is M + γ(1 − M) with γ = 1 − strength (PS Eq. 7), and the gates
    of several masks multiply. Neurons take any: s raises by s·γ·a95·f(δ) and takes the share min(s, 1) of what is
    positive from the other pole's neurons; a negative one wears the opposite pole. A neuron that several personas
    claim follows the one with the largest |strength·δ|. Vectors take any strength too, and
    add up. A prompt is worn (1) or not (0).
    """

    items: tuple[tuple[Persona, float], ...] = ()

    def __post_init__(self) -> None:
        for persona, strength in self.items:
            persona.edit.check_strength(persona.name, strength)

    @staticmethod
    def of(worn: Persona | Plan | None, strength: float = 1.0) -> Plan:
        """A plan from a persona, a plan (its strengths multiplied) or nothing."""
        if worn is None:
            return Plan()
        if not isinstance(worn, Persona | Plan):
            raise TemperamentError(f"{worn!r} cannot be worn", "give a persona (tp.open reads a file), a plan or None")
        return strength * (worn if isinstance(worn, Plan) else 1.0 * worn)

    @property
    def active(self) -> tuple[tuple[Persona, float], ...]:
        """What changes anything: items of a strength other than 0, of a mixture its parts."""
        return tuple(part for item in self.items for part in parts_of(*item) if part[1] != 0)

    def __rmul__(self, strength: float) -> Plan:
        return Plan(tuple((persona, strength * own) for persona, own in self.items))

    __mul__ = __rmul__

    def __neg__(self) -> Plan:
        return -1.0 * self

    def __add__(self, other: Persona | Plan) -> Plan:
        return Plan(self.items + Plan.of(other).items)

    def __sub__(self, other: Persona | Plan) -> Plan:
        return self + (-Plan.of(other))

    def __str__(self) -> str:
        return " + ".join(f"{strength:g}*{persona.name}" for persona, strength in self.items) or "nothing"
