"""Mixture edits: edits of several kinds that are worn together, each at a strength of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from temperament.calibration import Pole
from temperament.models import LoadedModel
from temperament.personas.edits import (
    Content,
    Edit,
    MaskEdit,
    NeuronEdit,
    PromptEdit,
    SubnetworkEdit,
    VectorEdit,
)
from temperament.personas.persona import Persona

#: What can be part of a mixture: edits that a file holds whole.
MIXABLE: dict[str, type[Edit]] = {
    edit.kind: edit for edit in (MaskEdit, SubnetworkEdit, NeuronEdit, VectorEdit, PromptEdit)
}


class PartHeader(BaseModel):
    """One part: an edit as a file of its own would hold it, its strength, and where it comes from."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    name: str
    pole: Pole
    kind: str
    strength: float
    provenance: dict[str, Any]
    edit: Any


class MixtureHeader(BaseModel):
    """The parts in the order in which they are worn."""

    model_config = ConfigDict(extra="forbid", strict=True)
    parts: list[PartHeader] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class MixtureEdit:
    """Personas with strengths, as one edit; the texts they have seen are those of the persona that holds it."""

    kind: ClassVar[str] = "mixture"
    bound: ClassVar[bool] = True
    parts: tuple[tuple[Persona, float], ...]

    @property
    def strongest(self) -> float | None:
        """The largest factor at which every part is within its own range; None if one of them is worn or not."""
        limits = [(persona.edit.strongest, abs(strength)) for persona, strength in self.parts]
        if any(limit is None for limit, _ in limits):
            return None
        return min(limit / strength for limit, strength in limits if limit is not None)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over the parts' identities, poles and strengths."""
        parts = [[persona.edit.identity, persona.pole, strength] for persona, strength in self.parts]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MixtureEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def check(self, lm: LoadedModel) -> None:
        """Raise unless every part fits this model."""
        for persona, _ in self.parts:
            persona.check_model(lm)
            persona.edit.check(lm)

    def check_strength(self, name: str, strength: float) -> None:  # noqa: ARG002 - the part is named
        for persona, own in self.parts:
            persona.edit.check_strength(persona.name, strength * own)

    def describe(self) -> dict[str, Any]:
        parts = [
            {"name": persona.name, "pole": persona.pole, "strength": strength, **persona.edit.describe()}
            for persona, strength in self.parts
        ]
        return {"mixture": parts}

    def content(self) -> Content:
        tensors: dict[str, Tensor] = {}
        parts = []
        for index, (persona, strength) in enumerate(self.parts):
            content = persona.edit.content()
            tensors |= {f"{index}.{name}": tensor for name, tensor in content.tensors.items()}
            parts.append(
                PartHeader(
                    name=persona.name,
                    pole=persona.pole,
                    kind=persona.kind,
                    strength=strength,
                    provenance=dict(persona.provenance),
                    edit=content.header,
                )
            )
        return Content(tensors, MixtureHeader(parts=parts).model_dump())

    @staticmethod
    def read(content: Content, pole: Pole) -> MixtureEdit:  # noqa: ARG004 - every part has a pole of its own
        """From a file's content; ValueError for anything that is not a list of edits."""
        header = MixtureHeader.model_validate_json(content.json)
        own: list[dict[str, Any]] = [{} for _ in header.parts]
        for key, tensor in content.tensors.items():
            index, _, name = key.partition(".")
            if not (index.isdecimal() and int(index) < len(own)):
                raise ValueError(f"the tensor {key!r} belongs to no part")
            own[int(index)][name] = tensor
        return MixtureEdit(tuple(_part(part, tensors) for part, tensors in zip(header.parts, own, strict=True)))


def _part(header: PartHeader, tensors: Mapping[str, Any]) -> tuple[Persona, float]:
    kind = MIXABLE.get(header.kind)
    if kind is None:
        raise ValueError(f"a part is of kind {header.kind!r}, a mixture holds {', '.join(MIXABLE)}")
    edit = kind.read(Content(tensors, header.edit), header.pole)
    edit.check_strength(header.name, header.strength)
    return Persona(header.name, header.pole, edit, header.provenance), header.strength


def parts_of(persona: Persona, strength: float) -> tuple[tuple[Persona, float], ...]:
    """What is worn when a persona is: itself, or the parts of a mixture, which have seen all texts it has seen."""
    if not isinstance(persona.edit, MixtureEdit):
        return ((persona, strength),)
    return tuple((replace(part, groups=persona.groups), own * strength) for part, own in persona.edit.parts)
