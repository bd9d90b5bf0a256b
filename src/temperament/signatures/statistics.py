"""Activation statistics as pure functions: update with a batch, merge, read off (METHODS §1, PS Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moments:
    """Statistics of |x| for every Linear input j, over counted tokens.

    ``count`` tokens and ``sentences`` sentences; ``mean`` and ``m2`` (sum of squared deviations of |x|) and
    ``l2`` (sum over sentences of the L2 norm over the sentence's tokens), each (inputs,) in float64. ``seen`` is how
    many of the tokens reached each input, (inputs,) float64; None: every one reached them all, as without experts.
    """

    count: int
    sentences: int
    mean: Tensor
    m2: Tensor
    l2: Tensor
    seen: Tensor | None = None

    @staticmethod
    def zeros(width: int, device: torch.device | str = "cpu") -> Moments:
        empty = torch.zeros(width, dtype=torch.float64, device=device)
        return Moments(0, 0, empty, empty.clone(), empty.clone())

    @property
    def tokens(self) -> Tensor | int:
        """Tokens that reached each input, or one number for all; at least 1."""
        return max(self.count, 1) if self.seen is None else self.seen.clamp_min(1)

    @cached_property
    def mean_abs(self) -> Tensor:
        """Mean |x| (PS Eq. 2)."""
        return self.mean

    @cached_property
    def mean_square(self) -> Tensor:
        """Mean x², the diagonal of E[x xᵀ]; a sum of two squares, so nothing cancels."""
        return self.m2 / self.tokens + self.mean.square()

    @cached_property
    def rms(self) -> Tensor:
        """Square root of the mean x²."""
        return self.mean_square.sqrt()

    @cached_property
    def variance(self) -> Tensor:
        """Population variance of |x|."""
        return self.m2 / self.tokens

    @cached_property
    def sentence_l2(self) -> Tensor:
        """Mean over sentences of the L2 norm over each sentence's tokens (the released code's statistic).

        A sentence of which no token reached an expert counts as 0 there.
        """
        return self.l2 / max(self.sentences, 1)

    def to(self, device: torch.device | str) -> Moments:
        seen = None if self.seen is None else self.seen.to(device)
        return Moments(self.count, self.sentences, self.mean.to(device), self.m2.to(device), self.l2.to(device), seen)


def merge(first: Moments, second: Moments) -> Moments:
    """Statistics of the union of two disjoint sets of sentences (Chan, Golub and LeVeque's update)."""
    if first.count == 0 or second.count == 0:
        return second if first.count == 0 else first
    seen = None if first.seen is None or second.seen is None else first.seen + second.seen
    one, two = (moments.count if moments.seen is None else moments.seen for moments in (first, second))
    total = one + two if seen is None else seen.clamp_min(1)
    delta = second.mean - first.mean
    return Moments(
        count=first.count + second.count,
        sentences=first.sentences + second.sentences,
        mean=first.mean + delta * (two / total),
        m2=first.m2 + second.m2 + delta.square() * (one * two / total),
        l2=first.l2 + second.l2,
        seen=seen,
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
    return _over_sentences(first, second, counted.sum(1), shift)


def routed_sums(x: Tensor, sentence: Tensor, sentences: int) -> tuple[Tensor, Tensor]:
    """The same sums over the counted tokens that reached one expert, and their mean |x| as the shift.

    ``x`` (tokens, inputs), ``sentence`` (tokens,) int64 the sentence of each. Returns (3, inputs) and (inputs,) fp32,
    zeros where no token came.
    """
    size = x.abs().float()
    shift = size.mean(0) if len(x) else size.new_zeros(x.shape[1])
    weights = nn.functional.one_hot(sentence, sentences).T.to(size.dtype)
    deviation = size.sub_(shift)
    first, second = weights @ deviation, weights @ deviation.square_()
    return _over_sentences(first, second, weights.sum(1), shift), shift


def _over_sentences(first: Tensor, second: Tensor, tokens: Tensor, shift: Tensor) -> Tensor:
    """Sum over sentences Σ(|x| − shift) and Σ(|x| − shift)², (sentences, inputs), and the norms that follow."""
    totals = [first.sum(0), second.sum(0)]
    squares = second.addcmul_(first, 2 * shift).addr_(tokens, shift.square())
    return torch.stack([*totals, squares.clamp_min_(0).sqrt_().sum(0)])


def batch_moments(sums: Tensor, shift: Tensor, count: int, sentences: int, seen: Tensor | None = None) -> Moments:
    """Turn ``input_sums`` of one batch, (3, inputs), into Moments; ``seen`` as in these."""
    first, second, l2 = sums.double()
    tokens = count if seen is None else seen.clamp_min(1)
    return Moments(
        count, sentences, shift.double() + first / tokens, (second - first.square() / tokens).clamp_min_(0), l2, seen
    )
