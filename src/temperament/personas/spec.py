"""Personas to wear as one writes them on a command line: ``FILE[:STRENGTH][+FILE[:STRENGTH]...]``."""

from __future__ import annotations

from pathlib import Path

from temperament.errors import TemperamentError
from temperament.personas.file import open_persona
from temperament.personas.plan import Plan


def read_plan(spec: str) -> Plan:
    """The plan that ``spec`` writes; the strength is 1 where none is given.

    A file whose own name holds a ``+`` or ends in ``:NUMBER`` must stand alone.
    """
    path, strength = _strength(spec)
    if "+" in spec and not Path(path).is_file():
        return Plan(tuple(item for part in spec.split("+") for item in read_plan(part).items))
    if not path:
        raise TemperamentError("a persona to wear has no file name", "write FILE or FILE:STRENGTH, several joined by +")
    return Plan.of(open_persona(path), strength)


def _strength(spec: str) -> tuple[str, float]:
    path, mark, tail = spec.rpartition(":")
    if not mark or not path or Path(spec).is_file():
        return spec, 1.0
    try:
        return path, float(tail)
    except ValueError:
        if "+" not in tail and Path(path).is_file():
            raise TemperamentError(f"the strength {tail!r} of {path!r} is not a number", "write FILE:0.8") from None
        return spec, 1.0
