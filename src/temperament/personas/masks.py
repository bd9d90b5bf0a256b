"""The masks of a whole model as packed bits: built from a recipe, checksummed, compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods import Recipe, SparsityPlan, build_mask
from temperament.models import LinearSite, LoadedModel


@dataclass(frozen=True)
class PackedMasks:
    """One bit per weight of every masked Linear, most significant bit first, rows padded to whole bytes.

    ``bits[name]`` is uint8 of shape (outputs, ⌈inputs / 8⌉); a Linear that is not masked has no entry.
    """

    bits: dict[str, Tensor]

    @property
    def checksum(self) -> str:
        """SHA-256 over names and bits in model order."""
        digest = hashlib.sha256()
        for name, bits in self.bits.items():
            digest.update(f"{name}{tuple(bits.shape)}".encode())
            digest.update(bits.numpy().data)
        return digest.hexdigest()

    def mask(self, linear: LinearSite, device: torch.device | str = "cpu") -> Tensor | None:
        """The bool mask of one Linear, (outputs, inputs), True where kept; None where everything is kept."""
        bits = self.bits.get(linear.name)
        return None if bits is None else unpack(bits, linear.shape[1], device)


def pack(mask: Tensor) -> Tensor:
    """Bool (rows, columns) to uint8 (rows, ⌈columns / 8⌉), on the CPU, row by row whatever the layout of the mask."""
    return torch.from_numpy(np.ascontiguousarray(np.packbits(mask.cpu().numpy(), axis=1)))


def unpack(bits: Tensor, columns: int, device: torch.device | str = "cpu") -> Tensor:
    """The inverse of ``pack``; bits travel packed and are unpacked on ``device``."""
    if torch.device(device).type == "cpu":
        return torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=columns).view(np.bool_))
    shifts = torch.arange(7, -1, -1, device=device, dtype=torch.uint8)
    wide = bits.to(device).unsqueeze(-1).bitwise_right_shift(shifts).bitwise_and(1)
    return wide.flatten(1)[:, :columns].bool()


@torch.no_grad()
def build_masks(lm: LoadedModel, recipe: Recipe, sparsity: SparsityPlan, unmasked: Iterable[str] = ()) -> PackedMasks:
    """Rebuild every mask of a recipe on the device of the model, from its unedited weights.

    Linears of the experts named ``unmasked`` get none.
    """
    if recipe.vectors.shape[1] != lm.width:
        raise TemperamentError(
            f"the persona has importances for {recipe.vectors.shape[1]} inputs, the model has {lm.width}",
            "wear it on the model it was made from",
        )
    sparsity.check(lm.linears)
    unmasked = frozenset(unmasked)
    vectors = recipe.vectors.to(lm.device)

    def build(linear: LinearSite) -> Tensor:
        return pack(
            build_mask(lm.base_weight(linear), recipe, vectors[:, linear.input.slice], sparsity.sparsity(linear))
        )

    left = unmasked - {site.expert for site in lm.inputs}
    if left:
        raise TemperamentError(
            f"the persona leaves experts unmasked that the model does not have, such as {min(left)}",
            "wear it on the model it was made from",
        )
    chosen = [linear for linear in lm.linears if linear.input.expert not in unmasked and sparsity.sparsity(linear) > 0]
    return PackedMasks({linear.name: bits for linear, bits in zip(chosen, _over(lm, build, chosen), strict=True)})


def _over(lm: LoadedModel, build: object, linears: Sequence[LinearSite]) -> Iterator[Tensor]:
    if lm.device.type != "cpu":
        return map(build, linears)  # type: ignore[call-overload,no-any-return]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return iter(list(pool.map(build, linears)))  # type: ignore[arg-type]


def mask_statistics(lm: LoadedModel, first: PackedMasks, second: PackedMasks) -> dict[str, object]:
    """Sparsity, Jaccard index of kept entries (PS Table 13) and differential ratio (PS Table 2) of two mask sets.

    The differential ratio is the mean over Linears of the share of entries that differ, for all Linears and
    split into attention and MLP. ``by_layer`` and ``by_module`` count the entries that only the first (plus) or only
    the second (minus) mask prunes.
    """
    layers: dict[Pole, list[int]] = {pole: [0] * lm.depth for pole in POLES}
    modules: dict[Pole, dict[str, int]] = {pole: {} for pole in POLES}
    ratios: dict[str, list[float]] = {"all": [], "attention": [], "mlp": []}
    entries = pruned = shared = united = 0
    for linear in lm.linears:
        a, b = first.mask(linear), second.mask(linear)
        size = linear.shape[0] * linear.shape[1]
        entries += size
        if a is None and b is None:
            kept_a, kept_b, kept_both = size, size, size
        else:
            full = torch.ones(linear.shape, dtype=torch.bool)
            a, b = (full if mask is None else mask for mask in (a, b))
            kept_a, kept_b, kept_both = (int(kept.count_nonzero()) for kept in (a, b, a & b))
        different = kept_a + kept_b - 2 * kept_both
        for pole, alone in zip(POLES, (kept_b - kept_both, kept_a - kept_both), strict=True):
            layers[pole][linear.layer] += alone
            modules[pole][linear.kind] = modules[pole].get(linear.kind, 0) + alone
        pruned += size - kept_a
        shared += kept_both
        united += kept_both + different
        for part in ("all", linear.part):
            ratios[part].append(different / size)
    return {
        "sparsity": pruned / entries,
        "jaccard": shared / united if united else 1.0,
        "differential_ratio": {part: sum(values) / len(values) if values else 0.0 for part, values in ratios.items()},
        "by_layer": layers,
        "by_module": modules,
    }
