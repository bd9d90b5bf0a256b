"""Personas to wear as one writes them on a command line: ``FILE[:STRENGTH][+FILE[:STRENGTH]...]``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from temperament.errors import TemperamentError
from temperament.personas.file import open_persona
from temperament.personas.persona import Persona
from temperament.personas.plan import Plan

#: Is told what was chosen where nothing was given.
Note = Callable[[str], None]


def read_plan(spec: str, note: Note | None = None) -> Plan:
    """The plan that ``spec`` writes.

    Where no strength is given it is that of the file's dial, which ``note`` is told of, or 1. A file whose own name
    holds a ``+`` or ends in ``:NUMBER`` must stand alone.
    """
    path, strength = split_strength(spec)
    if "+" in spec and not Path(path).is_file():
        return Plan(tuple(item for part in spec.split("+") for item in read_plan(part, note).items))
    if not path:
        raise TemperamentError("a persona to wear has no file name", "write FILE or FILE:STRENGTH, several joined by +")
    persona = open_persona(path)
    return usual_plan(persona, path, note) if strength is None else Plan.of(persona, strength)


def usual_plan(persona: Persona, path: str, note: Note | None = None) -> Plan:
    """The persona of a file where no strength is given: at that of its dial, which ``note`` is told of, or 1."""
    dial = persona.dial
    if dial is None:
        return Plan.of(persona)
    if note:
        reached = "reaches" if dial.reached else "comes closest to"
        note(f"{path} is worn at its dialled strength {dial.strength:g}, which {reached} {dial.target}")
    return persona.dialled


def split_strength(spec: str) -> tuple[str, float | None]:
    """The file and the strength of ``FILE[:STRENGTH]``; None where no strength is given."""
    path, mark, tail = spec.rpartition(":")
    if not mark or not path or Path(spec).is_file():
        return spec, None
    try:
        return path, float(tail)
    except ValueError:
        if "+" not in tail and Path(path).is_file():
            raise TemperamentError(f"the strength {tail!r} of {path!r} is not a number", "write FILE:0.8") from None
        return spec, None
