"""LoRA edits: a low-rank change of the weights, kept as an ordinary PEFT adapter beside the persona file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load

from temperament.atomic import write_bytes
from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.methods.low_rank import Factors, factors_of, random_factors
from temperament.models import LoadedModel
from temperament.personas.edits.edit import Content, expect_tensors

#: Files of an adapter, as PEFT names them; the weights are written last.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
STRONGEST = 2.0


class LoraHeader(BaseModel):
    """Where the adapter lies, seen from the persona file, the SHA-256 of its weights, and ΔW = scaling · B · A."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    adapter: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scaling: float = Field(gt=0)
    noise: int | None = None


@dataclass(frozen=True, eq=False)
class LoraEdit:
    """ΔW = strength · scaling · B · A added to every Linear that the adapter in ``path`` names.

    With ``noise``, a seed, the change has a random direction and the same norm in every Linear (random control).
    ``reference`` is the path as a persona file states it; ``temporary`` is the folder that is lost with the edit.
    """

    kind: ClassVar[str] = "lora"
    bound: ClassVar[bool] = True
    strongest: ClassVar[float | None] = 2.0
    path: Path
    sha256: str
    scaling: float
    noise: int | None = None
    reference: str | None = field(default=None, repr=False)
    temporary: TemporaryDirectory[str] | None = field(default=None, repr=False)

    @cached_property
    def factors(self) -> dict[str, Factors]:
        """Factors by Linear; ``TemperamentError`` if the adapter is not there or not the one that was meant."""
        remedy = "put the adapter's folder back, or extract the persona again"
        file = self.path / WEIGHTS
        try:
            data = file.read_bytes()
        except OSError as error:
            raise TemperamentError(f"the adapter {str(file)!r} cannot be read: {error.strerror}", remedy) from None
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise TemperamentError(f"{str(file)!r} is not the adapter of this persona: its SHA-256 differs", remedy)
        try:
            found = factors_of(load(data))
        except (SafetensorError, ValueError) as error:
            raise TemperamentError(f"{str(file)!r} is no LoRA adapter ({error})", remedy) from None
        return found if self.noise is None else random_factors(found, self.noise)

    def check(self, lm: LoadedModel) -> None:
        """Raise unless the adapter is there, is the right one, and changes Linears of this model."""
        shapes = {linear.name: linear.shape for linear in lm.linears}
        for name, factors in self.factors.items():
            if shapes.get(name) != factors.shape:
                raise TemperamentError(
                    f"the adapter changes {name} of shape {factors.shape}, which the model does not have",
                    "wear it on the model it was made from",
                )

    @property
    def identity(self) -> str:
        """SHA-256 of the adapter's weights, its scaling and the seed of its noise."""
        return hashlib.sha256(f"{self.sha256} {self.scaling!r} {self.noise}".encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoraEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def check_strength(self, name: str, strength: float) -> None:
        if not 0 <= strength <= STRONGEST:
            raise TemperamentError(
                f"strength {strength} of the lora persona {name!r}",
                "use 0 to 2; for the opposite effect wear the opposite pole",
            )

    def describe(self) -> dict[str, Any]:
        return {"adapter": str(self.path), "adapter_sha256": self.sha256, "scaling": self.scaling}

    def beside(self, file: Path) -> LoraEdit:
        """The edit as a persona ``file`` refers to it: relative inside the file's folder, else by absolute path.

        An adapter in a temporary folder is copied to ``NAME.adapter`` beside the file.
        """
        home = file.parent.resolve()
        path = self.path.resolve()
        if self.temporary is not None:
            path = home / f"{file.stem}.adapter"
            for name in (CONFIG, WEIGHTS):
                write_bytes(path / name, (self.path / name).read_bytes())
        inside = path.is_relative_to(home)
        return replace(self, reference=path.relative_to(home).as_posix() if inside else str(path))

    def content(self) -> Content:
        reference = self.reference or str(self.path.resolve())
        header = LoraHeader(adapter=reference, sha256=self.sha256, scaling=self.scaling, noise=self.noise)
        return Content({}, header.model_dump())

    @staticmethod
    def read(content: Content, pole: Pole) -> LoraEdit:  # noqa: ARG004 - an adapter is that of one pole
        """From a file's content; ValueError for anything but a reference. The adapter is checked when it is worn."""
        expect_tensors(content)
        header = LoraHeader.model_validate_json(content.json)
        reference = Path(header.adapter)
        if not reference.is_absolute() and ".." in reference.parts:
            raise ValueError("the adapter lies outside the folder of the file, but is not named by an absolute path")
        path = (content.folder or Path()) / reference
        return LoraEdit(path, header.sha256, header.scaling, header.noise, header.adapter)
