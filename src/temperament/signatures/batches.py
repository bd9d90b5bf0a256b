"""Token sequences in batches of similar length, padded on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temperament.models.dialogue import Encoded
from temperament.models.experts import Routed

#: Overhead of a batch, in tokens, by which there are as few batches as the limits allow.
AS_FEW_AS_FIT = 2**32


@dataclass(frozen=True)
class Batch:
    """``rows`` are positions in the original list; ``ids`` (sentences, tokens) is padded on the right.

    Attention is causal and padding comes last, so no real token sees it and no attention mask is needed.
    """

    rows: tuple[int, ...]
    ids: Tensor
    items: tuple[Encoded, ...]


def length_buckets(
    items: Sequence[Encoded],
    *,
    padding: int,
    tokens: int,
    rows: int,
    positions: int | None = None,
    overhead: int = AS_FEW_AS_FIT,
) -> list[Batch]:
    """Sort by length and cut into batches of at most ``tokens`` padded tokens and ``rows`` sentences.

    ``positions`` also bounds (sentences × positions from the earliest response token on), for callers that
    compute logits there. The cuts are those with the least padding, where ``overhead`` is what one more batch costs
    in tokens.
    """
    order = sorted(range(len(items)), key=lambda index: (-len(items[index].ids), items[index].start, index))
    lengths, starts = [len(items[index].ids) for index in order], [items[index].start for index in order]
    cost, begins = [0], [0]  # of the first items: the least cost, and where their last batch begins
    for end in range(1, len(order) + 1):
        first, least, last = starts[end - 1], math.inf, end - 1
        for begin in range(end - 1, max(-1, end - 1 - rows), -1):
            count, longest, first = end - begin, lengths[begin], min(first, starts[begin])
            if count > 1 and (count * longest > tokens or (positions and count * (longest - first) > positions)):
                break
            if cost[begin] + count * longest < least:
                least, last = cost[begin] + count * longest, begin
        cost.append(int(least) + overhead)
        begins.append(last)
    batches: list[Batch] = []
    end = len(order)
    while end:
        batches.append(_pad(order[begins[end] : end], items, lengths[begins[end]], padding))
        end = begins[end]
    return batches[::-1]


def _pad(indices: list[int], items: Sequence[Encoded], longest: int, padding: int) -> Batch:
    chosen = tuple(items[index] for index in indices)
    ids = torch.tensor([[*item.ids, *[padding] * (longest - len(item.ids))] for item in chosen])
    return Batch(tuple(indices), ids, chosen)


def counted_tokens(batch: Batch, *, whole: bool = False) -> tuple[int, Tensor]:
    """Which tokens count: the response tokens, or with ``whole`` every one; padding never does.

    Returns the first position at which any sentence counts, and from there on (sentences, tokens) zeros and ones.
    """
    begins = [0 if whole else item.start for item in batch.items]
    first = min(begins)
    positions = torch.arange(first, batch.ids.shape[1])
    begin = torch.tensor(begins).unsqueeze(1)
    end = torch.tensor([len(item.ids) for item in batch.items]).unsqueeze(1)
    return first, ((positions >= begin) & (positions < end)).float()


def counted_routed(routed: Routed, first: int, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the tokens that reach an expert count, (tokens,) bool, and the sentence of each, (tokens,) int64.

    ``first`` and ``counted`` are those of ``counted_tokens``.
    """
    columns = routed.total // len(counted)
    sentence, column = routed.positions // columns, routed.positions % columns - first
    return (column >= 0) & counted[sentence, column.clamp_min(0)].bool(), sentence
