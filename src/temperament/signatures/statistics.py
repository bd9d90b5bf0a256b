"""Activation statistics as pure functions: update with a batch, merge, read off (METHODS §1, PS Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Statistics of |x| for every Linear input j, over counted tokens.

    ``count`` tokens and ``sentences`` sentences; ``mean`` and ``m2`` (sum of squared deviations of |x|) and
    ``l2`` (sum over sentences of the L2 norm over the sentence's tokens), each (inputs,) in float64.
    """

    count: int
    sentences: int
    mean: Tensor
    m2: Tensor
    l2: Tensor

    @staticmethod
    def zeros(width: int, device: torch.device | str = "cpu") -> Moments:
        empty = torch.zeros(width, dtype=torch.float64, device=device)
        return Moments(0, 0, empty, empty.clone(), empty.clone())

    @cached_property
    def mean_abs(self) -> Tensor:
        """Mean |x| (PS Eq. 2)."""
        return self.mean

    @cached_property
    def mean_square(self) -> Tensor:
        """Mean x², the diagonal of E[x xᵀ]; a sum of two squares, so nothing cancels."""
        return self.m2 / max(self.count, 1) + self.mean.square()

    @cached_property
    def rms(self) -> Tensor:
        """Square root of the mean x²."""
        return self.mean_square.sqrt()

    @cached_property
    def variance(self) -> Tensor:
        """Population variance of |x|."""
        return self.m2 / max(self.count, 1)

    @cached_property
    def sentence_l2(self) -> Tensor:
        """Mean over sentences of the L2 norm over each sentence's tokens (the released code's statistic)."""
        return self.l2 / max(self.sentences, 1)

    def to(self, device: torch.device | str) -> Moments:
        return Moments(self.count, self.sentences, self.mean.to(device), self.m2.to(device), self.l2.to(device))


def merge(first: Moments, second: Moments) -> Moments:
    """Statistics of the union of two disjoint sets of sentences (Chan, Golub and LeVeque's update)."""
    count = first.count + second.count
    if first.count == 0 or second.count == 0:
        return second if first.count == 0 else first
    delta = second.mean - first.mean
    return Moments(
        count=count,
        sentences=first.sentences + second.sentences,
        mean=first.mean + delta * (second.count / count),
        m2=first.m2 + second.m2 + delta.square() * (first.count * second.count / count),
        l2=first.l2 + second.l2,
    )


def input_sums(x: Tensor, counted: Tensor, shift: Tensor) -> Tensor:
    """Three sums over the counted tokens of one batch, for one Linear's inputs.

    ``x`` (sentences, tokens, inputs) of any float type, ``counted`` (sentences, tokens) fp32 of zeros and ones,
    ``shift`` (inputs,) fp32, any value near the mean of |x|: it keeps the variance from being the small
    difference of two large sums. Returns (3, inputs) fp32: Σ(|x| − shift), Σ(|x| − shift)² and the sum over
    sentences of the L2 norm of x over the sentence's tokens.
    """
    weights = counted.unsqueeze(1)
    deviation = x.abs().float().sub_(shift)
    first = torch.bmm(weights, deviation).squeeze(1)
    second = torch.bmm(weights, deviation.square_()).squeeze(1)
    totals = [first.sum(0), second.sum(0)]
    squares = second.addcmul_(first, 2 * shift).addr_(counted.sum(1), shift.square())
    return torch.stack([*totals, squares.clamp_min_(0).sqrt_().sum(0)])


def batch_moments(sums: Tensor, shift: Tensor, count: int, sentences: int) -> Moments:
    """Turn ``input_sums`` of one batch, (3, inputs), into Moments."""
    first, second, l2 = sums.double()
    return Moments(
        count, sentences, shift.double() + first / count, (second - first.square() / count).clamp_min_(0), l2
    )
