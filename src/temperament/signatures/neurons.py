"""Neuron statistics: how often each MLP activation is positive, and a histogram of its values (NPTI Eq. 2)."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES

#: Bins of the value histogram, and the value at which the last one ends; what lies outside counts in the end bins.
BINS, TOP = 300, 3.0


@dataclass(frozen=True)
class Counts:
    """Over ``tokens`` counted tokens, how often each neuron was positive: ``active`` (neurons,) int64."""

    tokens: int
    active: Tensor

    @staticmethod
    def zeros(width: int, device: torch.device | str = "cpu") -> Counts:
        return Counts(0, torch.zeros(width, dtype=torch.int64, device=device))

    @property
    def probability(self) -> Tensor:
        """Activation probability Pr_i = mean 1[a_i > 0], (neurons,) float64 (NPTI Eq. 2)."""
        return self.active.double() / max(self.tokens, 1)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tokens + other.tokens, self.active + other.active)


@dataclass(frozen=True)
class Histogram:
    """Counts of neuron values in ``BINS`` bins of ``TOP / BINS``, kept compressed, one part per layer.

    Dense it takes (neurons × bins) int32, and most of the bins of most neurons are empty.
    """

    parts: tuple[bytes, ...]

    @staticmethod
    def of(dense: Sequence[Tensor]) -> Histogram:
        """Compress one (neurons, bins) int32 tensor per layer."""
        return Histogram(tuple(zlib.compress(layer.cpu().numpy().tobytes(), 1) for layer in dense))

    def layer(self, index: int) -> Tensor:
        """The counts of one layer, (neurons, bins) int32."""
        data = np.frombuffer(zlib.decompress(self.parts[index]), dtype=np.int32)
        return torch.from_numpy(data.reshape(-1, BINS).copy())

    def dense(self) -> list[Tensor]:
        """The counts of all layers."""
        return [self.layer(index) for index in range(len(self.parts))]


def add_values(histogram: Tensor, values: Tensor) -> None:
    """Count ``values`` (neurons, tokens) of any float type into ``histogram`` (neurons, bins) int32, in place."""
    offsets = torch.arange(len(values), dtype=torch.int32, device=values.device).unsqueeze(1) * BINS
    scaled = values.to(torch.float32, copy=True).mul_(BINS / TOP).clamp_(0, BINS - 1)  # the values are the model's own
    bins = scaled.to(torch.int32).add_(offsets).reshape(-1)
    histogram.view(-1).index_add_(0, bins, torch.ones(1, dtype=torch.int32, device=bins.device).expand(len(bins)))


def quantile(histogram: Tensor, q: float) -> Tensor:
    """The q-quantile of each row of ``histogram`` (neurons, bins), linear within its bin; (neurons,) float64.

    Exact to one bin (.01). Values at or below 0 read as the first bin, values above the last bin as its end.
    """
    counts = histogram.double()
    cumulative = counts.cumsum(1)
    target = q * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target).clamp_max(BINS - 1)
    inside = counts.gather(1, index)
    fraction = (target - (cumulative.gather(1, index) - inside)) / inside.clamp_min(1)
    fraction = torch.where(index == BINS - 1, 1.0, fraction.clamp(0, 1))
    return ((index + fraction) * (TOP / BINS)).squeeze(1)


@dataclass(frozen=True)
class NeuronSignature:
    """One pole: activation counts of two seeded halves of its texts, and the histogram of the whole pole."""

    halves: tuple[Counts, Counts]
    histogram: Histogram

    @cached_property
    def counts(self) -> Counts:
        """Counts of the whole pole."""
        return self.halves[0] + self.halves[1]


@dataclass(frozen=True)
class NeuronSignaturePair:
    """Neuron statistics of both poles and where they come from.

    ``provenance`` names model, data, source and settings; ``groups`` are the identities of the texts (leak checks).
    ``pooled`` marks shuffled labels, whose poles have no histograms of their own.
    """

    plus: NeuronSignature
    minus: NeuronSignature
    provenance: dict[str, str]
    groups: frozenset[str]
    pooled: bool = False

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance and statistics; persona files refer to it."""
        digest = hashlib.sha256(json.dumps(self.provenance, sort_keys=True).encode())
        for signature in (self.plus, self.minus):
            for half in signature.halves:
                digest.update(f"{half.tokens}".encode())
                digest.update(half.active.cpu().numpy().tobytes())
            for layer in signature.histogram.dense():
                digest.update(layer.numpy().tobytes())
        return digest.hexdigest()

    def pole(self, pole: Pole) -> NeuronSignature:
        return self.plus if pole == "plus" else self.minus

    @property
    def tokens(self) -> dict[Pole, int]:
        """Counted tokens of each pole."""
        return {pole: self.pole(pole).counts.tokens for pole in POLES}

    def histogram(self, pole: Pole, layer: int) -> Tensor:
        """Value counts of one layer under a pole, (neurons, bins) int32."""
        own = self.pole(pole).histogram.layer(layer)
        if not self.pooled:
            return own
        return own + self.pole("minus" if pole == "plus" else "plus").histogram.layer(layer)

    @property
    def delta(self) -> Tensor:
        """δ_i = Pr_i under plus − Pr_i under minus, (neurons,) float64 (NPTI Eq. 3)."""
        return self.plus.counts.probability - self.minus.counts.probability

    def shuffled(self) -> NeuronSignaturePair:
        """The same texts with shuffled labels: each new pole is one half of either old pole.

        Activation counts add up, so δ is exact; histograms are kept per pole only, so both new poles get the pooled
        one, of which each is a random half.
        """
        return NeuronSignaturePair(
            NeuronSignature((self.plus.halves[0], self.minus.halves[0]), self.plus.histogram),
            NeuronSignature((self.plus.halves[1], self.minus.halves[1]), self.minus.histogram),
            {**self.provenance, "labels": "shuffled"},
            self.groups,
            pooled=True,
        )


def statistics_settings() -> dict[str, Any]:
    """What the numbers depend on besides model and texts."""
    return {"bins": str(BINS), "top": str(TOP)}
