"""Which built-in texts a persona was found in."""

from __future__ import annotations

from temperament.calibration.builtin import CONTRASTS, builtin_contrast
from temperament.personas.persona import Persona


def builtin_origin(persona: Persona) -> str | None:
    """The built-in contrast that all calibration texts of a persona belong to, or None.

    A user's file may have the name of a built-in contrast; the texts decide.
    """
    name = str((persona.provenance.get("data") or {}).get("name"))
    groups = persona.without_dial().groups
    return name if name in CONTRASTS and groups and groups <= builtin_contrast(name).group_keys else None
