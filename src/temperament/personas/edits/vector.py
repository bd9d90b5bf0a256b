"""Vector edits: fixed vectors added to hidden states, in the residual stream or before the attention's projection."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from temperament.calibration import Pole
from temperament.container import checked_tensor
from temperament.errors import TemperamentError
from temperament.methods import Shifts
from temperament.models import LoadedModel
from temperament.personas.edits.edit import Content, expect_tensors


class VectorHeader(BaseModel):
    """Where vectors are added: as in ``Shifts``, in a model with ``depth`` blocks."""

    model_config = ConfigDict(extra="forbid", strict=True)
    place: Literal["residual", "heads"]
    layers: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    parts: int = Field(ge=1, le=2**16)
    depth: int = Field(ge=1, le=2**12)


@dataclass(frozen=True, eq=False)
class VectorEdit:
    """Vectors that lead from the minus pole of one model to its plus pole, and where they are added."""

    kind: ClassVar[str] = "vector"
    bound: ClassVar[bool] = True
    depth: int
    shifts: Shifts

    def check(self, lm: LoadedModel) -> None:
        """Raise unless this model has the layers, widths and heads the vectors were found in."""
        outputs, inputs = lm.projections[0].shape
        residual = self.shifts.place == "residual"
        own = (self.depth, self.shifts.vectors.shape[1], self.shifts.parts)
        its = (lm.depth, outputs if residual else inputs, 1 if residual else lm.heads)
        if own != its:
            raise TemperamentError(
                f"the persona's vectors belong to {own[0]} layers of width {own[1]} in {own[2]} parts, the model has "
                f"{its[0]} of width {its[1]} in {its[2]}",
                "wear it on the model it was made from",
            )

    @property
    def strongest(self) -> float:
        """Largest strength that a search should try: mean differences, or standard deviations along a probe."""
        return 8.0 if self.shifts.place == "residual" else 32.0

    @cached_property
    def identity(self) -> str:
        """SHA-256 over places and values."""
        digest = hashlib.sha256(json.dumps(self._header.model_dump()).encode())
        digest.update(self.shifts.vectors.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def check_strength(self, name: str, strength: float) -> None:
        if not math.isfinite(strength):
            raise TemperamentError(f"strength {strength} of the vector persona {name!r}", "use a number such as 1.5")

    def describe(self) -> dict[str, Any]:
        shifts = self.shifts
        described: dict[str, Any] = {"place": shifts.place, "layers": list(shifts.layers), "of": self.depth}
        if shifts.place == "heads":
            described["heads"] = int((shifts.norms > 0).sum())
        return {"vector": {**described, "norms": [round(float(norm), 3) for norm in shifts.vectors.norm(dim=1)]}}

    @property
    def _header(self) -> VectorHeader:
        shifts = self.shifts
        return VectorHeader(place=shifts.place, layers=list(shifts.layers), parts=shifts.parts, depth=self.depth)

    def content(self) -> Content:
        return Content({"vectors": self.shifts.vectors}, self._header.model_dump())

    @staticmethod
    def read(content: Content, pole: Pole) -> VectorEdit:  # noqa: ARG004 - a file serves both poles
        """From a file's content; ValueError for anything that is not a set of vectors."""
        header = VectorHeader.model_validate_json(content.json)
        expect_tensors(content, "vectors")
        vectors = checked_tensor(content.tensors, "vectors", torch.float32, 2)
        if header.layers != sorted(set(header.layers)) or header.layers[-1] >= header.depth:
            raise ValueError(f"the layers are not ascending ones of {header.depth}")
        if header.place == "residual" and header.parts != 1:
            raise ValueError("the residual stream has no parts")
        if not bool(vectors.any()):
            raise ValueError("every vector is 0")
        return VectorEdit(header.depth, Shifts(header.place, tuple(header.layers), vectors, header.parts))
