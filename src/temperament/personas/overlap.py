"""What two edits of single weights have in common, Linear by Linear, and what chance gives (PS Tables 2, 13)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.models import LinearSite, LoadedModel
from temperament.models.architecture import Part
from temperament.personas.masks import PackedMasks

Array = NDArray[np.float64]
Kept = Iterable[Tensor | None]


@dataclass(frozen=True)
class Overlap:
    """How many weights of every Linear the first edit keeps, the second keeps, and both keep: (linears,) each."""

    linears: tuple[LinearSite, ...]
    first: Array
    second: Array
    both: Array

    @property
    def size(self) -> Array:
        """Weights of every Linear."""
        return np.array([linear.size for linear in self.linears], dtype=float)

    @property
    def different(self) -> Array:
        """Weights that exactly one of the two keeps."""
        return self.first + self.second - 2 * self.both

    @property
    def edited(self) -> tuple[int, int]:
        """Weights that the first edits, and that the second edits."""
        total = self.size.sum()
        return int(total - self.first.sum()), int(total - self.second.sum())

    def jaccard(self, *, kept: bool = True) -> float:
        """Jaccard index of the weights kept (PS Table 13) or of those edited; 1 where there are none."""
        shared = self.both.sum() if kept else (self.size - self.first - self.second + self.both).sum()
        united = shared + self.different.sum()
        return float(shared / united) if united else 1.0

    def ratio(self, *, part: Part | None = None, layer: int | None = None, kind: str | None = None) -> float:
        """Differential ratio (PS Table 2): mean over the chosen Linears of the share of weights that differ."""
        chosen = [
            part in (None, linear.part) and layer in (None, linear.layer) and kind in (None, linear.kind)
            for linear in self.linears
        ]
        shares: Array = self.shares[np.array(chosen)]
        return float(shares.mean()) if len(shares) else 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of Linear in the order in which a block has them."""
        return tuple(dict.fromkeys(linear.kind for linear in self.linears))

    @property
    def shares(self) -> Array:
        """Share of every Linear's weights that differ."""
        shares: Array = self.different / self.size
        return shares

    @property
    def ratios(self) -> dict[str, float]:
        """The differential ratio of all Linears, and split into attention and MLP."""
        return {"all": self.ratio(), "attention": self.ratio(part="attention"), "mlp": self.ratio(part="mlp")}

    @property
    def by_chance(self) -> Overlap:
        """What two independent edits of the same size in every Linear are expected to give."""
        return replace(self, both=self.first * self.second / self.size)


def overlaps(lm: LoadedModel, edits: Iterable[Kept], pairs: Iterable[tuple[int, int]]) -> list[Overlap]:
    """The overlap of every pair of positions in ``edits``; one Linear of each is held at a time."""
    wanted = list(pairs)
    found = [[counts(linear, [bits[i] for i in pair]) for pair in wanted] for linear, bits in _linears(lm, edits)]
    columns = np.array(found, dtype=float).reshape(len(lm.linears), len(wanted), 3)
    return [Overlap(lm.linears, *columns[:, index].T) for index in range(len(wanted))]


def edited_weights(lm: LoadedModel, kept: Kept) -> Array:
    """How many weights of every Linear an edit changes, (linears,)."""
    sizes = (linear.size for linear in lm.linears)
    return np.array(
        [0 if bits is None else size - _ones(bits) for size, bits in zip(sizes, kept, strict=True)], dtype=float
    )


def _linears(lm: LoadedModel, edits: Iterable[Kept]) -> Iterator[tuple[LinearSite, tuple[Tensor | None, ...]]]:
    # strict: every edit is read to its end, where masks compare their checksum
    yield from zip(lm.linears, zip(*edits, strict=True), strict=True)


def counts(linear: LinearSite, bits: Iterable[Tensor | None]) -> tuple[int, int, int]:
    """Weights of one Linear that the first, the second and both of two packed masks keep."""
    size = linear.size
    first, second = bits
    kept = [size if mask is None else _ones(mask) for mask in (first, second)]
    if first is None or second is None:
        return kept[0], kept[1], min(kept)
    return kept[0], kept[1], _ones(first & second)


def _ones(bits: Tensor) -> int:
    return int(np.bitwise_count(bits.numpy()).sum(dtype=np.int64))


def mask_statistics(lm: LoadedModel, first: PackedMasks, second: PackedMasks) -> dict[str, object]:
    """Sparsity, Jaccard index of kept entries (PS Table 13) and differential ratio (PS Table 2) of two mask sets.

    The differential ratio is the mean over Linears of the share of entries that differ, for all Linears and
    split into attention and MLP. ``by_layer`` and ``by_module`` count the entries that only the first (plus) or only
    the second (minus) mask prunes.
    """
    kept = ([masks.bits.get(linear.name) for linear in lm.linears] for masks in (first, second))
    (found,) = overlaps(lm, kept, [(0, 1)])
    layers: dict[Pole, list[int]] = {pole: [0] * lm.depth for pole in POLES}
    modules: dict[Pole, dict[str, int]] = {pole: {} for pole in POLES}
    for pole, alone in zip(POLES, (found.second - found.both, found.first - found.both), strict=True):
        for linear, count in zip(lm.linears, alone.astype(int).tolist(), strict=True):
            layers[pole][linear.layer] += count
            modules[pole][linear.kind] = modules[pole].get(linear.kind, 0) + count
    return {
        "sparsity": float(found.edited[0] / found.size.sum()),
        "jaccard": found.jaccard(),
        "differential_ratio": found.ratios,
        "by_layer": layers,
        "by_module": modules,
    }
