"""Saliency statistics: what each weight does to the contrast of two poles (G), and what it matters elsewhere (F).

G_ij = ∂/∂w_ij [mean log p(plus responses) − mean log p(minus responses)] and F_ij, the token-wise diagonal Fisher
information. For a Linear with inputs x and output gradients δ both are matrix products: G = Σ δ xᵀ, F = (δ²)ᵀ x².
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from temperament.calibration import Pole

#: Parts of the statistics of one Linear, in the order of ``LinearSaliency``.
PARTS = ("first", "second", "poles", "neutral")


@dataclass(frozen=True)
class LinearSaliency:
    """Statistics of one Linear, each (outputs, inputs) bf16.

    ``first`` and ``second`` are two parts of G: plus texts of one half and minus texts of the other, so that their sum
    is G and their difference is G of the same texts with shuffled labels. ``poles`` and ``neutral`` are F on the texts
    of the contrast (mean of both poles) and on neutral text.
    """

    first: Tensor
    second: Tensor
    poles: Tensor
    neutral: Tensor

    def gradient(self, *, shuffled: bool = False) -> Tensor:
        """G in fp32, of the true or of shuffled labels."""
        first, second = self.first.float(), self.second.float()
        return first - second if shuffled else first + second

    def fisher(self, neutral: float = 1 / 3) -> Tensor:
        """F in fp32: ``neutral`` is the share of neutral text, the rest is that of the contrast's own texts."""
        return torch.lerp(self.poles.float(), self.neutral.float(), neutral)


@dataclass(frozen=True)
class SaliencyPair:
    """Saliency statistics of a contrast in one model, read Linear by Linear.

    ``read`` returns those of the Linear of that name, from memory or from a file. ``groups`` are the identities of the
    calibration texts, ``tokens`` the response tokens of each pole.
    """

    names: tuple[str, ...]
    read: Callable[[str], LinearSaliency]
    provenance: dict[str, str]
    groups: frozenset[str]
    tokens: dict[Pole, int]
    has_shuffled_labels: bool = False

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance and statistics; persona files refer to it."""
        digest = hashlib.sha256(json.dumps([self.provenance, self.tokens], sort_keys=True).encode())
        for name in self.names:
            statistics = self.read(name)
            for part in PARTS:
                digest.update(getattr(statistics, part).contiguous().view(torch.int16).numpy().data)
        return digest.hexdigest()

    def gradient(self, name: str) -> Tensor:
        """G of one Linear, (outputs, inputs) fp32."""
        return self.read(name).gradient(shuffled=self.has_shuffled_labels)

    def shuffled(self) -> SaliencyPair:
        """The same texts with shuffled labels: each new pole is one half of either old pole; no further pass."""
        provenance = {**self.provenance, "labels": "shuffled"}
        return replace(self, provenance=provenance, has_shuffled_labels=not self.has_shuffled_labels)


def squares(x: Tensor) -> Tensor:
    """x² in the model's dtype; half precision in fp32, where a small square does not underflow."""
    return (x.float() if x.dtype == torch.float16 else x).square()


def products(x: Tensor, delta: Tensor, x_squares: Tensor) -> tuple[Tensor, Tensor]:
    """Σ δ xᵀ and Σ δ² (x²)ᵀ over positions; ``x`` (positions, inputs), ``delta`` (positions, outputs).

    Both (outputs, inputs) in the dtype of ``squares(x)``.
    """
    return delta.T.to(x_squares.dtype) @ x.to(x_squares.dtype), squares(delta).T @ x_squares
