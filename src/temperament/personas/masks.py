"""The masks of a whole model as packed bits: built from a recipe, checksummed, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from temperament.errors import TemperamentError
from temperament.methods import Recipe, SparsityPlan, build_mask
from temperament.models import LinearSite, LoadedModel


class MaskDigest:
    """The checksum of masks that are there one Linear at a time, in model order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, bits: Tensor) -> None:
        self._digest.update(f"{name}{tuple(bits.shape)}".encode())
        self._digest.update(bits.numpy().data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True)
class PackedMasks:
    """One bit per weight of every masked Linear, most significant bit first, rows padded to whole bytes.

    ``bits[name]`` is uint8 of shape (outputs, ⌈inputs / 8⌉); a Linear that is not masked has no entry.
    """

    bits: dict[str, Tensor]

    @property
    def checksum(self) -> str:
        """SHA-256 over names and bits in model order."""
        digest = MaskDigest()
        for name, bits in self.bits.items():
            digest.add(name, bits)
        return digest.hexdigest()

    def within(self, linears: Container[str]) -> PackedMasks:
        """The masks of these Linears, given by name, alone."""
        return PackedMasks({name: bits for name, bits in self.bits.items() if name in linears})

    def mask(self, linear: LinearSite, device: torch.device | str = "cpu") -> Tensor | None:
        """The bool mask of one Linear, (outputs, inputs), True where kept; None where everything is kept."""
        bits = self.bits.get(linear.name)
        return None if bits is None else unpack(bits, linear.shape[1], device)


def pack(mask: Tensor) -> Tensor:
    """Bool (rows, columns) to uint8 (rows, ⌈columns / 8⌉), on the CPU, row by row whatever the layout of the mask."""
    return torch.from_numpy(np.ascontiguousarray(np.packbits(mask.cpu().numpy(), axis=1)))


def packed_shape(linear: LinearSite) -> tuple[int, int]:
    """Of what ``pack`` makes of the mask of a Linear."""
    return linear.shape[0], -(-linear.shape[1] // 8)


def unpack(bits: Tensor, columns: int, device: torch.device | str = "cpu") -> Tensor:
    """The inverse of ``pack``; bits travel packed and are unpacked on ``device``."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=columns).view(np.bool_))
    shifts = torch.arange(7, -1, -1, device=device, dtype=torch.uint8)
    wide = bits.to(device).unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1)
    return wide.flatten(1)[:, :columns].bool()


def build_masks(lm: LoadedModel, recipe: Recipe, sparsity: SparsityPlan, unmasked: Iterable[str] = ()) -> PackedMasks:
    """Rebuild every mask of a recipe on the device of the model, from its unedited weights.

    Linears of the experts named ``unmasked`` get none.
    """
    build = mask_builder(lm, recipe, sparsity)
    chosen = masked_linears(lm, sparsity, unmasked)
    return PackedMasks({linear.name: bits for linear, bits in zip(chosen, _over(lm, build, chosen), strict=True)})


def masked_linears(lm: LoadedModel, sparsity: SparsityPlan, unmasked: Iterable[str] = ()) -> list[LinearSite]:
    """The Linears that lose something; an error if the model has no expert of a name in ``unmasked``."""
    names = frozenset(unmasked)
    left = names - {site.expert for site in lm.inputs}
    if left:
        raise TemperamentError(
            f"the persona leaves experts unmasked that the model does not have, such as {min(left)}",
            "wear it on the model it was made from",
        )
    return [linear for linear in lm.linears if linear.input.expert not in names and sparsity.sparsity(linear) > 0]


def mask_builder(lm: LoadedModel, recipe: Recipe, sparsity: SparsityPlan) -> Callable[[LinearSite], Tensor]:
    """What builds the packed mask of one Linear; an error if the recipe or the sparsity is not for this model."""
    if recipe.vectors.shape[1] != lm.width:
        raise TemperamentError(
            f"the persona has importances for {recipe.vectors.shape[1]} inputs, the model has {lm.width}",
            "wear it on the model it was made from",
        )
    sparsity.check(lm.linears)
    vectors = recipe.vectors.to(lm.device)

    @torch.no_grad()
    def build(linear: LinearSite) -> Tensor:
        return pack(
            build_mask(lm.base_weight(linear), recipe, vectors[:, linear.input.slice], sparsity.sparsity(linear))
        )

    return build


def _over(lm: LoadedModel, build: Callable[[LinearSite], Tensor], linears: Sequence[LinearSite]) -> Iterator[Tensor]:
    if lm.device.type != "cpu":
        return map(build, linears)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return iter(list(pool.map(build, linears)))
