"""The kinds of edit a persona can be: a mask over weights, values added to neurons, a system prompt.

Each has a ``kind``, an ``identity`` (equal for equal edits) and rules for the strength it may be worn at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from temperament.errors import TemperamentError
from temperament.methods import Neurons, Recipe, SparsityPlan
from temperament.methods.neurons import Variant, weight
from temperament.models import LoadedModel
from temperament.personas.masks import PackedMasks, build_masks


@dataclass(frozen=True)
class MaskEdit:
    """A mask over the Linears of one model: a recipe from which it is rebuilt, or packed bits.

    ``checksum`` is the SHA-256 of the packed masks; rebuilding checks it.
    """

    kind: ClassVar[str] = "mask"
    sparsity: SparsityPlan
    checksum: str
    recipe: Recipe | None = None
    packed: PackedMasks | None = None
    _built: WeakKeyDictionary[LoadedModel, PackedMasks] = field(
        default_factory=WeakKeyDictionary, compare=False, repr=False
    )

    def masks(self, lm: LoadedModel) -> PackedMasks:
        """The masks for this model, built on first use; a checksum mismatch is an error."""
        built = self._built.get(lm)
        if built is None:
            built = self.packed or build_masks(lm, _required(self.recipe), self.sparsity)
            if built.checksum != self.checksum:
                raise TemperamentError(
                    "the mask rebuilt from this persona differs from the one that was saved",
                    "the model's weights are not those it was made from, or another version wrote it: extract again",
                )
            self._built[lm] = built
        return built

    def keep(self, lm: LoadedModel, built: PackedMasks) -> None:
        """Remember masks that were just built for ``lm``."""
        self._built[lm] = built

    def check(self, lm: LoadedModel) -> None:
        """Raise unless the masks can be rebuilt for this model."""
        self.masks(lm)

    @property
    def identity(self) -> str:
        return self.checksum

    def check_strength(self, name: str, strength: float) -> None:
        if not 0 <= strength <= 1:
            raise TemperamentError(
                f"strength {strength} of the mask persona {name!r}",
                "use 0 to 1; for the opposite effect wear the opposite pole",
            )

    def describe(self) -> dict[str, Any]:
        form = f"recipe ({self.recipe.rule})" if self.recipe else "packed bits"
        mask: dict[str, Any] = {"form": form, "sparsity": self.sparsity.as_json(), "checksum": self.checksum}
        if self.recipe:
            mask |= {"vectors": len(self.recipe.vectors), "inputs": self.recipe.vectors.shape[1]}
        return {"mask": mask}


def _required(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        raise ValueError("a mask edit needs a recipe or packed bits")
    return recipe


@dataclass(frozen=True, eq=False)
class NeuronEdit:
    """Neurons of both poles of one model and how far to raise them (NPTI Eq. 4).

    ``widths`` are the neurons per layer. The released variant begins one position later and leaves out a tenth of
    the raised neurons at every step, drawn with ``seed``.
    """

    kind: ClassVar[str] = "neurons"
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


@dataclass(frozen=True)
class PromptEdit:
    """A persona that is nothing but a system prompt."""

    kind: ClassVar[str] = "prompt"
    text: str

    @property
    def identity(self) -> str:
        return self.text

    def check(self, lm: LoadedModel) -> None:
        """A prompt fits every model."""

    def check_strength(self, name: str, strength: float) -> None:
        if strength not in (0, 1):
            raise TemperamentError(f"strength {strength} of the prompt persona {name!r}", "use 0 or 1")

    def describe(self) -> dict[str, Any]:
        return {"text": self.text}


Edit = MaskEdit | NeuronEdit | PromptEdit


def check_origin(edit: Edit, name: str, provenance: Mapping[str, Any], lm: LoadedModel) -> None:
    """Raise unless an edit that belongs to certain weights was made from those of ``lm``."""
    model = provenance.get("model")
    facts = model if isinstance(model, Mapping) else {}
    if not isinstance(edit, PromptEdit) and facts.get("fingerprint") != lm.fingerprint:
        origin = facts.get("name", "another model")
        raise TemperamentError(
            f"the persona {name!r} was made from {origin}, whose weights are not those of {lm.name}",
            f"load {origin}, or extract the persona again on {lm.name}",
        )
