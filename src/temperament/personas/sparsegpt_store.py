"""SparseGPT masks on disk while a model is worked on: one file per finished layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.models import LinearSite
from temperament.personas.masks import packed_shape

_KIND = "file of SparseGPT masks"
_REMEDY = "delete it and run the extraction again"

#: Counted tokens of either pole that reached each expert, by its name.
Seen = dict[str, dict[Pole, int]]


@dataclass(frozen=True)
class LayerChoice:
    """Masks of one layer, bits by pole and Linear; and of each Linear input, by name:

    ``costs`` 1 / U_jj² (2, inputs) fp32 of plus and minus, ``damping`` the λ / mean diagonal that was needed, and
    whether H alone was ``singular``. ``seen`` is what each expert of the layer saw, masked or not.
    """

    bits: dict[tuple[Pole, str], Tensor]
    costs: dict[str, Tensor]
    damping: dict[str, tuple[float, ...]]
    singular: dict[str, tuple[bool, ...]]
    seen: Seen

    @staticmethod
    def empty(linears: Iterable[LinearSite], seen: Seen) -> LayerChoice:
        """With room for the masks and costs of these Linears.

        It is taken before any work: what stays must not come to lie between large matrices that go, or their memory is
        of no use to the next ones (docs/experiments.md).
        """
        choice = LayerChoice({}, {}, {}, {}, seen)
        for linear in linears:
            choice.bits.update(
                ((pole, linear.name), torch.empty(packed_shape(linear), dtype=torch.uint8)) for pole in POLES
            )
            choice.costs[linear.input.name] = torch.empty(len(POLES), linear.input.width)
        return choice


class LayerStore:
    """One file per finished layer; a damaged or foreign one is no work done."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def _path(self, layer: int) -> Path:
        return self._folder / f"{self._key[:12]}-{layer:03d}.safetensors"

    def keep(self, layer: int, choice: LayerChoice) -> LayerChoice:
        """Write a finished layer."""
        tensors = {f"{pole}:{name}": bits for (pole, name), bits in choice.bits.items()}
        tensors |= {f"costs:{name}": costs for name, costs in choice.costs.items()}
        header = {"key": self._key, "layer": layer, "damping": choice.damping, "singular": choice.singular}
        header["seen"] = choice.seen
        write_container(self._path(layer), tensors, header)
        return choice

    def read(self, layer: int, targets: Callable[[Seen], Sequence[LinearSite]]) -> LayerChoice | None:
        """The choice for a layer's ``targets``, which depend on what its experts saw, if it is there."""
        path = self._path(layer)
        try:
            tensors, header = read_container(path, kind=_KIND, remedy=_REMEDY)
            if header["key"] != self._key or header["layer"] != layer:
                return None
            seen: Seen = {
                name: {pole: int(counts[pole]) for pole in POLES} for name, counts in header.get("seen", {}).items()
            }
            linears = targets(seen)
            names = dict.fromkeys(linear.input.name for linear in linears)
            bits = {
                (pole, linear.name): _bits(tensors, f"{pole}:{linear.name}", linear)
                for linear in linears
                for pole in POLES
            }
            costs = {name: checked_tensor(tensors, f"costs:{name}", torch.float32, 2) for name in names}
            return LayerChoice(bits, costs, _tuples(header["damping"], names), _tuples(header["singular"], names), seen)
        except (TemperamentError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _bits(tensors: Mapping[str, Tensor], name: str, linear: LinearSite) -> Tensor:
    bits = checked_tensor(tensors, name, torch.uint8, 2)
    if bits.shape != packed_shape(linear):
        raise ValueError(f"{name} has another shape")
    return bits


def _tuples(values: Mapping[str, Sequence[Any]], names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(values[name]) for name in names}
