"""Neuron edits: MLP activations of both poles that are raised or kept from being positive (NPTI Eq. 4)."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from temperament.calibration import Pole
from temperament.container import checked_tensor
from temperament.errors import TemperamentError
from temperament.methods import Neurons
from temperament.methods.neurons import Variant, weight
from temperament.models import LoadedModel
from temperament.personas.edits.edit import Content, expect_tensors
from temperament.signatures.neurons import TOP


class NeuronHeader(BaseModel):
    """How neurons are edited: ``widths`` are the neurons per layer, the rest as in ``NeuronEdit``."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    widths: list[Annotated[int, Field(ge=1, le=2**24)]] = Field(min_length=1, max_length=2**12)
    gamma: float = Field(ge=0, le=100)
    weighted: bool
    variant: Literal["published", "released"]
    seed: int = Field(ge=0, lt=2**63)


@dataclass(frozen=True, eq=False)
class NeuronEdit:
    """Neurons of both poles of one model and how far to raise them (NPTI Eq. 4).

    ``widths`` are the neurons per layer. The released variant begins one position later and leaves out a tenth of
    the raised neurons at every step, drawn with ``seed``.
    """

    kind: ClassVar[str] = "neurons"
    bound: ClassVar[bool] = True
    strongest: ClassVar[float | None] = 3.0
    widths: tuple[int, ...]
    neurons: Neurons
    gamma: float
    weighted: bool = True
    variant: Variant = "published"
    seed: int = 0

    @cached_property
    def raises(self) -> Tensor:
        """γ · a95 · f(δ) of every neuron, or γ · a95 without f, (n,) fp32."""
        scale = weight(self.neurons.delta) if self.weighted else torch.ones_like(self.neurons.delta)
        return self.gamma * self.neurons.a95 * scale

    def check(self, lm: LoadedModel) -> None:
        """Raise unless the layers of this model have the widths these neurons were found in."""
        if self.widths != tuple(site.width for site in lm.neurons):
            raise TemperamentError(
                f"the persona's neurons belong to {len(self.widths)} layers with {sum(self.widths)} neurons, the model "
                f"has {len(lm.neurons)} with {sum(site.width for site in lm.neurons)}",
                "wear it on the model it was made from",
            )

    @cached_property
    def identity(self) -> str:
        """SHA-256 over neurons, values and settings."""
        settings = [self.widths, self.gamma, self.weighted, self.variant, self.seed]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for tensor in (self.neurons.index, self.neurons.delta, self.neurons.a95):
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NeuronEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def check_strength(self, name: str, strength: float) -> None:
        if not math.isfinite(strength):
            raise TemperamentError(f"strength {strength} of the neuron persona {name!r}", "use a number such as 0.8")
        if strength < 0 and not (bool(self.neurons.on(1).any()) and bool(self.neurons.on(-1).any())):
            raise TemperamentError(
                f"strength {strength} of the neuron persona {name!r}, which holds neurons of one pole only",
                "use 0 or more, or extract it again with a lower threshold",
            )

    def describe(self) -> dict[str, Any]:
        counts = {"plus": int(self.neurons.on(1).sum()), "minus": int(self.neurons.on(-1).sum())}
        settings = {"gamma": self.gamma, "weighted": self.weighted, "variant": self.variant}
        return {"neurons": {**counts, "of": sum(self.widths), "layers": len(self.widths), **settings}}

    def content(self) -> Content:
        header = NeuronHeader(
            widths=list(self.widths), gamma=self.gamma, weighted=self.weighted, variant=self.variant, seed=self.seed
        )
        found = self.neurons
        tensors = {"index": found.index.int(), "delta": found.delta, "a95": found.a95}
        return Content(tensors, header.model_dump(exclude_none=True))

    @staticmethod
    def read(content: Content, pole: Pole) -> NeuronEdit:  # noqa: ARG004 - a file holds both poles' neurons
        """From a file's content; ValueError for anything that is not a set of neurons."""
        header, tensors = NeuronHeader.model_validate_json(content.json), content.tensors
        expect_tensors(content, "index", "delta", "a95")
        index = checked_tensor(tensors, "index", torch.int32, 1).long()
        delta, a95 = (checked_tensor(tensors, name, torch.float32, 1) for name in ("delta", "a95"))
        if not 0 < len(index) == len(delta) == len(a95):
            raise ValueError(f"{len(index)} neurons with {len(delta)} differences and {len(a95)} values")
        if int(index.min()) < 0 or int(index.max()) >= sum(header.widths):
            raise ValueError(f"a neuron lies outside the {sum(header.widths)} of the model")
        if bool((index.diff() <= 0).any()):
            raise ValueError("the neurons are not in ascending order")
        if (
            bool((delta == 0).any())
            or bool((delta.abs() > 1).any())
            or bool((a95 < 0).any())
            or bool((a95 > TOP).any())
        ):
            raise ValueError("a difference lies outside −1 to 1 or a value outside the histogram")
        neurons = Neurons(index, delta, a95)
        return NeuronEdit(tuple(header.widths), neurons, header.gamma, header.weighted, header.variant, header.seed)
