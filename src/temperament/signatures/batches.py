"""Token sequences in batches of similar length, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temperament.models.dialogue import Encoded
from temperament.models.experts import Routed


@dataclass(frozen=True)
class Batch:
    """``rows`` are positions in the original list; ``ids`` (sentences, tokens) is padded on the right.

    Attention is causal and padding comes last, so no real token sees it and no attention mask is needed.
    """

    rows: tuple[int, ...]
    ids: Tensor
    items: tuple[Encoded, ...]


def length_buckets(
    items: Sequence[Encoded], *, padding: int, tokens: int, rows: int, positions: int | None = None
) -> list[Batch]:
    """Sort by length and cut into batches of at most ``tokens`` padded tokens and ``rows`` sentences.

    ``positions`` also bounds (sentences × positions from the earliest response token on), for callers that
    compute logits there.
    """
    order = sorted(range(len(items)), key=lambda index: (-len(items[index].ids), items[index].start, index))
    batches: list[Batch] = []
    while order:
        longest = len(items[order[0]].ids)
        take = max(1, min(rows, tokens // longest, len(order)))
        while positions and take > 1 and take * (longest - min(items[i].start for i in order[:take])) > positions:
            take -= 1
        batches.append(_pad(order[:take], items, longest, padding))
        order = order[take:]
    return batches


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
