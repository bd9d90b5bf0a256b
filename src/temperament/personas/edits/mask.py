"""Mask edits: a mask over the Linears, as a recipe from which it is rebuilt or as packed bits."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from temperament.calibration import Pole
from temperament.container import checked_tensor
from temperament.errors import TemperamentError
from temperament.methods import Recipe, SparsityPlan
from temperament.methods.recipe import RULES, Rule
from temperament.models import LoadedModel
from temperament.personas.edits.compressed import deflated, inflated
from temperament.personas.edits.edit import Content, expect_tensors
from temperament.personas.masks import MaskDigest, PackedMasks, build_masks, mask_builder, masked_linears


class MaskHeader(BaseModel):
    """How the mask is stored: ``rule`` (and ``block``) of a recipe, or ``linears`` of packed bits.

    ``packing`` is how the bits are compressed; files of earlier versions do not. ``unmasked`` names experts whose
    Linears have no mask.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    sparsity: dict[str, str]
    checksum: str
    rule: str | None = None
    block: int | None = Field(default=None, ge=2)
    linears: list[tuple[str, int, int]] | None = None
    packing: Literal["zlib"] | None = None
    unmasked: list[str] | None = Field(default=None, min_length=1)


@dataclass(frozen=True, eq=False)
class MaskEdit:
    """A mask over the Linears of one model: a recipe from which it is rebuilt, or packed bits.

    ``checksum`` is the SHA-256 of the packed masks; rebuilding checks it. ``unmasked`` names experts that stay as they
    are, because the texts hardly reached them.
    """

    kind: ClassVar[str] = "mask"
    bound: ClassVar[bool] = True
    strongest: ClassVar[float | None] = 1.0
    sparsity: SparsityPlan
    checksum: str
    recipe: Recipe | None = None
    packed: PackedMasks | None = None
    unmasked: tuple[str, ...] = ()
    _built: WeakKeyDictionary[LoadedModel, PackedMasks] = field(default_factory=WeakKeyDictionary, repr=False)

    def masks(self, lm: LoadedModel) -> PackedMasks:
        """The masks for this model, built on first use; a checksum mismatch is an error."""
        built = self._built.get(lm)
        if built is None:
            built = self.packed or build_masks(lm, _required(self.recipe), self.sparsity, self.unmasked)
            self._verify(built.checksum)
            self._built[lm] = built
        return built

    def kept(self, lm: LoadedModel) -> Iterator[Tensor | None]:
        """See ``Gated``; a mask that was not built before is built Linear by Linear and never held as a whole."""
        known = self.packed or self._built.get(lm)
        if known is not None:
            yield from (known.bits.get(linear.name) for linear in lm.linears)
            return
        build, digest = mask_builder(lm, _required(self.recipe), self.sparsity), MaskDigest()
        masked = {linear.name for linear in masked_linears(lm, self.sparsity, self.unmasked)}
        for linear in lm.linears:
            bits = build(linear) if linear.name in masked else None
            if bits is not None:
                digest.add(linear.name, bits)
            yield bits
        self._verify(digest.hexdigest())

    def within(self, lm: LoadedModel, linears: Container[str]) -> MaskEdit:
        """See ``Gated``; the result holds packed bits."""
        packed = self.masks(lm).within(linears)
        return MaskEdit(self.sparsity, packed.checksum, packed=packed)

    def _verify(self, checksum: str) -> None:
        if checksum != self.checksum:
            raise TemperamentError(
                "the mask rebuilt from this persona differs from the one that was saved",
                "the model's weights are not those it was made from, or another version wrote it: extract again",
            )

    def keep(self, lm: LoadedModel, built: PackedMasks) -> None:
        """Remember masks that were just built for ``lm``."""
        self._built[lm] = built

    def check(self, lm: LoadedModel) -> None:
        """Raise unless the masks can be rebuilt for this model."""
        self.masks(lm)

    @property
    def identity(self) -> str:
        return self.checksum

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MaskEdit) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

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
        if self.unmasked:
            mask["unmasked experts"] = len(self.unmasked)
        return {"mask": mask}

    def content(self) -> Content:
        shared: dict[str, Any] = {"sparsity": self.sparsity.as_json(), "checksum": self.checksum}
        if self.unmasked:
            shared["unmasked"] = list(self.unmasked)
        if self.recipe is not None:
            header = MaskHeader(**shared, rule=self.recipe.rule, block=self.recipe.block)
            return Content({"importance": self.recipe.vectors}, header.model_dump(exclude_none=True))
        if self.packed is None:
            raise ValueError("a mask edit needs a recipe or packed bits")
        shapes = [(name, *bits.shape) for name, bits in self.packed.bits.items()]
        data = b"".join(bits.numpy().tobytes() for bits in self.packed.bits.values())
        header = MaskHeader(**shared, linears=shapes, packing="zlib")
        # at a sparsity of .2 a quarter smaller; a higher level gains a hundredth and takes six times as long
        return Content({"bits": deflated(data, 1)}, header.model_dump(exclude_none=True))

    @staticmethod
    def read(content: Content, pole: Pole) -> MaskEdit:
        """From a file's content; ValueError for anything that is not a mask."""
        mask = MaskHeader.model_validate_json(content.json)
        expect_tensors(content, "bits" if mask.rule is None else "importance")
        sparsity = SparsityPlan.of(mask.sparsity)
        unmasked = tuple(mask.unmasked or ())
        if (mask.rule is None) == (mask.linears is None) or (mask.packing and mask.rule):
            raise ValueError("a mask is either a rule or a list of Linears")
        if mask.rule is not None:
            if mask.rule not in RULES:
                raise ValueError(f"unknown mask rule {mask.rule!r}")
            rule: Rule = mask.rule
            vectors = checked_tensor(content.tensors, "importance", torch.float32, 2)
            return MaskEdit(sparsity, mask.checksum, recipe=Recipe(rule, pole, vectors, mask.block), unmasked=unmasked)
        packed = _unpacked(mask, checked_tensor(content.tensors, "bits", torch.uint8, 1))
        return MaskEdit(sparsity, mask.checksum, packed=packed, unmasked=unmasked)


def _required(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        raise ValueError("a mask edit needs a recipe or packed bits")
    return recipe


def _unpacked(mask: MaskHeader, bits: Tensor) -> PackedMasks:
    shapes = mask.linears or []
    sizes = [math.prod(shape) for _, *shape in shapes]
    if any(min(shape) < 1 for _, *shape in shapes):
        raise ValueError("a listed Linear has no weights")
    if mask.packing:
        bits = torch.from_numpy(
            np.frombuffer(inflated(bits, sum(sizes), f"{sum(sizes)} bytes of bits"), np.uint8).copy()
        )
    if sum(sizes) != len(bits):
        raise ValueError("the packed bits do not fit the listed Linears")
    parts = torch.split(bits, sizes) if sizes else ()
    packed = PackedMasks(
        {name: part.view(rows, columns) for (name, rows, columns), part in zip(shapes, parts, strict=True)}
    )
    if packed.checksum != mask.checksum:
        raise ValueError("the packed mask does not match its checksum")
    return packed
