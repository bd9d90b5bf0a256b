"""The Plan: personas with strengths, to be worn together."""

from __future__ import annotations

from dataclasses import dataclass

from temperament.errors import TemperamentError
from temperament.personas.persona import MaskEdit, Persona


@dataclass(frozen=True)
class Plan:
    """Personas and their strengths, such as ``0.7 * introvert + 0.3 * thinker``.

    A mask takes strengths from 0 to 1: its gate is M + γ(1 − M) with γ = 1 − strength (PS Eq. 7), and the
    gates of several masks multiply. A prompt is worn (1) or not (0).
    """

    items: tuple[tuple[Persona, float], ...] = ()

    def __post_init__(self) -> None:
        for persona, strength in self.items:
            if isinstance(persona.edit, MaskEdit) and not 0 <= strength <= 1:
                raise TemperamentError(
                    f"strength {strength} of the mask persona {persona.name!r}",
                    "use 0 to 1; for the opposite effect wear the opposite pole",
                )
            if not isinstance(persona.edit, MaskEdit) and strength not in (0, 1):
                raise TemperamentError(f"strength {strength} of the prompt persona {persona.name!r}", "use 0 or 1")

    @staticmethod
    def of(worn: Persona | Plan | None, strength: float = 1.0) -> Plan:
        """A plan from a persona, a plan (its strengths multiplied) or nothing."""
        if worn is None:
            return Plan()
        return strength * (worn if isinstance(worn, Plan) else 1.0 * worn)

    def __rmul__(self, strength: float) -> Plan:
        return Plan(tuple((persona, strength * own) for persona, own in self.items))

    __mul__ = __rmul__

    def __add__(self, other: Persona | Plan) -> Plan:
        return Plan(self.items + Plan.of(other).items)

    def __str__(self) -> str:
        return " + ".join(f"{strength:g}*{persona.name}" for persona, strength in self.items) or "nothing"
