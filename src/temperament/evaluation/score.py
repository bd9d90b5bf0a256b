"""Log-probabilities of given responses: one batched forward pass, logits only where they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.signatures.batches import length_buckets
from temperament.signatures.collect import padding_id

#: Logits computed at a time, in values: 256 MB in fp32.
_LOGITS = 2**26
#: Positions whose logits are normalised at a time.
_CHUNK = 128


@dataclass(frozen=True)
class Score:
    """Log-probability of one response: its sum in nats and its number of tokens.

    ``greedy`` tells whether every token was the likeliest; None where it was not asked for.
    """

    total: float
    tokens: int
    greedy: bool | None = None

    @property
    def per_token(self) -> float:
        """Mean log-probability in nats per token."""
        return self.total / self.tokens


def score_responses(lm: LoadedModel, items: Sequence[Encoded]) -> list[Score]:
    """Score every item under whatever ``lm`` wears.

    Padding stands on the right and attention is causal, so batch neighbours have no influence. Items that
    differ in their last token only (Yes and No behind one question) share one row: that token is never read.
    """
    scores: dict[int, Score] = {}
    for done in score_batches(lm, items):
        scores.update(done)
    return [scores[index] for index in range(len(items))]


@torch.inference_mode()
def score_batches(
    lm: LoadedModel, items: Sequence[Encoded], *, tokens: int = 2048, rows: int = 64, greedy: bool = False
) -> Iterator[list[tuple[int, Score]]]:
    """As ``score_responses``, batch by batch: (position, score) of the items just done, longest first.

    A forward pass takes at most ``tokens`` padded tokens and ``rows`` sequences.
    """
    if lm.rows_worn:
        raise TemperamentError("responses are scored under one plan, but one per row is worn", "wear one plan")
    sharing: dict[Encoded, list[int]] = {}
    for index, item in enumerate(items):
        sharing.setdefault(Encoded(item.ids[:-1], item.start), []).append(index)
    owners, inputs = list(sharing.values()), list(sharing)
    vocabulary = int(lm.model.config.get_text_config().vocab_size)
    positions = max(1, _LOGITS // vocabulary)
    for batch in length_buckets(inputs, padding=padding_id(lm), tokens=tokens, rows=rows, positions=positions):
        first = min(item.start for item in batch.items) - 1
        keep = torch.arange(first, batch.ids.shape[1], device=lm.device)
        starts = torch.tensor([item.start - 1 for item in batch.items], device=lm.device)
        with lm.responding(starts):
            logits = lm.model(input_ids=batch.ids.to(lm.device), use_cache=False, logits_to_keep=keep).logits
        held = [(row, index) for row, owner in enumerate(batch.rows) for index in owners[owner]]
        picks = [
            (row, items[index].start - 1 - first + offset, token)
            for row, index in held
            for offset, token in enumerate(items[index].ids[items[index].start :])
        ]
        at, columns, chosen = torch.tensor(picks, device=lm.device).T
        values = (logits[at, columns, chosen].float() - _normalisers(logits, at, columns)).double().cpu()
        counts = [len(items[index].ids) - items[index].start for _, index in held]
        totals = [float(part.sum()) for part in values.split(counts)]
        best: list[bool | None] = [None] * len(held)
        if greedy:
            likeliest = logits.argmax(-1)[at, columns] == chosen
            best = [bool(part.all()) for part in likeliest.cpu().split(counts)]
        yield [
            (index, Score(total, count, likely))
            for (_, index), total, count, likely in zip(held, totals, counts, best, strict=True)
        ]


def _normalisers(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """log Σ exp in fp32 at (row, column) pairs, (pairs,); ``logits`` (rows, columns, vocabulary) of any type.

    A few positions at a time, only those asked for, so that the fp32 copy stays in the cache.
    """
    flat = logits.flatten(0, 1)
    where, inverse = torch.unique(rows * logits.shape[1] + columns, return_inverse=True)
    parts = [flat[chunk].float().logsumexp(-1) for chunk in where.split(_CHUNK)]
    return torch.cat(parts)[inverse]
