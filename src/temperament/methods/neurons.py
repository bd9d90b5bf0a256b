"""Personality neurons (NPTI): which to edit, and by how much. Pure functions of statistics."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import floor
from typing import Literal

import torch
from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.models import NeuronSite
from temperament.signatures import NeuronSignaturePair
from temperament.signatures.neurons import TOP, quantile

Variant = Literal["published", "released"]

#: The released code takes at least this many neurons per pole, even below the threshold.
RELEASED_LEAST = 2000

#: Share of the raised neurons that the released code leaves out at every step.
RELEASED_DROPOUT = 0.1


@dataclass(frozen=True, eq=False)
class Neurons:
    """Chosen neurons as model-long positions: ``index`` ascending int64, ``delta`` and ``a95`` fp32, all (n,).

    δ > 0 marks neurons of the plus pole. ``a95`` is the 95th percentile of the unedited value on the pole that
    raises the neuron.
    """

    index: Tensor
    delta: Tensor
    a95: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def on(self, sign: int) -> Tensor:
        """Which of them belong to the plus (1) or minus (−1) pole, (n,) bool."""
        return self.delta * sign > 0


def choose(
    delta: Tensor,
    *,
    threshold: float | None = None,
    count: int | tuple[int, int] | None = None,
    share: float | None = None,
    least: int = 0,
) -> Tensor:
    """Positions of the neurons of both poles, ascending (n,) int64.

    Either |δ| > ``threshold`` (NPTI: .10), or the ``count`` largest |δ| per pole (a pair: of plus and of minus), or
    per pole that ``share`` of all neurons. ``least`` per pole are taken even below the threshold. Ties: lower
    position first. A neuron belongs to the pole of its sign, so a pole never gets one of the other sign.
    """
    chosen = []
    counts = count if isinstance(count, tuple) else (count, count)
    for sign, number in zip((1, -1), counts, strict=True):
        value = (delta * sign).clamp_min(0)
        if threshold is not None:
            wanted = max(int((value > threshold).sum()), least)
        else:
            wanted = number if number is not None else floor(Decimal(str(share or 0)) * len(delta))
        order = torch.argsort(value, descending=True, stable=True)[: min(wanted, int((value > 0).sum()))]
        chosen.append(order)
    return torch.cat(chosen).sort().values


def find_neurons(pair: NeuronSignaturePair, sites: tuple[NeuronSite, ...], index: Tensor) -> Neurons:
    """δ and a95 of the neurons at ``index`` (ascending model-long positions)."""
    delta = pair.delta[index]
    a95 = torch.zeros_like(delta)
    for site in sites:
        here = (index >= site.offset) & (index < site.offset + site.width)
        for pole, side in zip(POLES, (delta > 0, delta < 0), strict=True):
            rows = index[here & side] - site.offset
            if len(rows):
                a95[here & side] = quantile(pair.histogram(pole, site.layer)[rows], 0.95)
    return Neurons(index, delta.float(), a95.float())


def weight(delta: Tensor) -> Tensor:
    """f(δ) = 1 / (1 + exp(−10·(|δ| − .15))) (NPTI, below Eq. 4)."""
    return torch.sigmoid(10 * (delta.abs() - 0.15))


def saturated(neurons: Neurons) -> int:
    """How many a95 lie at the end of the histogram, so that the true value may be larger."""
    return int((neurons.a95 >= TOP * (1 - 1e-6)).sum())


def by_layer(neurons: Neurons, sites: tuple[NeuronSite, ...]) -> dict[str, list[int]]:
    """Number of chosen neurons per layer and pole."""
    return count_by_layer(neurons, tuple(site.width for site in sites))


def count_by_layer(neurons: Neurons, widths: tuple[int, ...]) -> dict[str, list[int]]:
    """The same where only the number of neurons per layer is known, as in a persona file."""
    layers = layers_of(neurons.index, widths)
    return {
        pole: torch.bincount(layers[neurons.on(sign)], minlength=len(widths)).tolist()
        for pole, sign in zip(POLES, (1, -1), strict=True)
    }


def layers_of(index: Tensor, widths: tuple[int, ...]) -> Tensor:
    """The layer of each model-long position, (n,) int64."""
    return torch.bucketize(index, torch.tensor(widths).cumsum(0), right=True)


def permuted(neurons: Neurons, sites: tuple[NeuronSite, ...], order: Tensor) -> Neurons:
    """The random control: the same values on other neurons of the same layer.

    ``order`` (neurons,) is a model-long permutation that keeps every neuron in its layer.
    """
    if sum(site.width for site in sites) != len(order):
        raise TemperamentError("the permutation does not fit the model", "make it from the model's neurons")
    moved = order[neurons.index]
    place = moved.argsort()
    return Neurons(moved[place], neurons.delta[place], neurons.a95[place])
