"""Saliency statistics: what each weight does to the responses of each pole (G), and what it matters elsewhere (F).

G_ij = ∂/∂w_ij mean log p(responses of a pole) and F_ij, the token-wise diagonal Fisher information. For a Linear with
inputs x and output gradients δ both are matrix products: G = Σ δ xᵀ, F = (δ²)ᵀ x².
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from temperament.calibration import Pole

#: Parts of the statistics of one Linear, in the order of ``LinearSaliency``.
HALVES = ("plus_first", "plus_second", "minus_first", "minus_second")
PARTS = (*HALVES, "poles", "neutral")


@dataclass(frozen=True)
class LinearSaliency:
    """Statistics of one Linear, each (outputs, inputs) bf16.

    The parts of G of either pole come from two halves of its texts and add up to the gradient of its mean. ``poles``
    and ``neutral`` are F on the texts of the contrast (mean of both poles) and on neutral text.
    """

    plus_first: Tensor
    plus_second: Tensor
    minus_first: Tensor
    minus_second: Tensor
    poles: Tensor
    neutral: Tensor

    def gradient(self, pole: Pole, other: float = 1.0, *, shuffled: bool = False) -> Tensor:
        """G of [mean log p(own) − ``other`` · mean log p(opposite)] in fp32.

        With shuffled labels each pole is one half of either true one.
        """
        plus, minus = (self.plus_first, self.plus_second), (self.minus_first, self.minus_second)
        if shuffled:
            plus, minus = (plus[0], minus[0]), (plus[1], minus[1])
        own, opposite = (plus, minus) if pole == "plus" else (minus, plus)
        return (own[0].float() + own[1].float()).sub_(opposite[0].float() + opposite[1].float(), alpha=other)

    def fisher(self, neutral: float = 1 / 3) -> Tensor:
        """F in fp32: ``neutral`` is the share of neutral text, the rest is that of the contrast's own texts."""
        return torch.lerp(self.poles.float(), self.neutral.float(), neutral)


@dataclass(frozen=True)
class SaliencyPair:
    """Saliency statistics of a contrast in one model, of the Linears ``names``, read Linear by Linear.

    ``read`` returns those of the Linear of that name, from memory or from a file. ``groups`` are the identities of the
    calibration texts, ``tokens`` the response tokens of each pole, ``seen`` for every Linear of an expert how many
    tokens of the texts reached it, in the halves of ``HALVES``.
    """

    names: tuple[str, ...]
    read: Callable[[str], LinearSaliency]
    provenance: dict[str, str]
    groups: frozenset[str]
    tokens: dict[Pole, int]
    seen: Mapping[str, Sequence[int]] = field(default_factory=dict)
    has_shuffled_labels: bool = False

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance and statistics; persona files refer to it."""
        facts = [self.provenance, self.tokens, *([self.seen] if self.seen else [])]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for name in self.names:
            statistics = self.read(name)
            for part in PARTS:
                digest.update(getattr(statistics, part).contiguous().view(torch.int16).numpy().data)
        return digest.hexdigest()

    def covers(self, names: Iterable[str]) -> bool:
        """Whether there are statistics of all these Linears."""
        return set(names) <= set(self.names)

    def gradient(self, name: str, pole: Pole, other: float = 1.0) -> Tensor:
        """G of one Linear for a pole, (outputs, inputs) fp32; ``other`` weighs the opposite pole."""
        return self.read(name).gradient(pole, other, shuffled=self.has_shuffled_labels)

    def seen_in(self, name: str, pole: Pole) -> int:
        """How many tokens of a pole reached that Linear of an expert."""
        plus_first, plus_second, minus_first, minus_second = self.seen[name]
        if self.has_shuffled_labels:
            plus_second, minus_first = minus_first, plus_second
        return plus_first + plus_second if pole == "plus" else minus_first + minus_second

    def shuffled(self) -> SaliencyPair:
        """The same texts with shuffled labels: each new pole is one half of either old pole; no further pass."""
        provenance = {**self.provenance, "labels": "shuffled"}
        return replace(self, provenance=provenance, has_shuffled_labels=not self.has_shuffled_labels)


def squares(x: Tensor) -> Tensor:
    """x² in the model's dtype; half precision in fp32, where a small square does not underflow."""
    return (x.float() if x.dtype == torch.float16 else x).square()


def products(x: Tensor, delta: Tensor, x_squares: Tensor, with_gradient: bool = True) -> tuple[Tensor | None, Tensor]:
    """Σ δ xᵀ, None where it is not asked for, and Σ δ² (x²)ᵀ over positions.

    ``x`` (positions, inputs), ``delta`` (positions, outputs); both products (outputs, inputs) in the dtype of
    ``squares(x)``.
    """
    gradient = delta.T.to(x_squares.dtype) @ x.to(x_squares.dtype) if with_gradient else None
    return gradient, squares(delta).T @ x_squares
