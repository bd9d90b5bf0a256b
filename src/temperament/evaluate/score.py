"""Log-probabilities of given responses: one batched forward pass, logits only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.signatures.batches import length_buckets
from temperament.signatures.collect import padding_id

#: Logits computed at a time, in values: 256 MB in fp32.
_LOGITS = 2**26


@dataclass(frozen=True)
class Score:
    """Log-probability of one response: its sum in nats and its number of tokens."""

    total: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability in nats per token."""
        return self.total / self.tokens


@torch.inference_mode()
def score_responses(
    lm: LoadedModel, items: Sequence[Encoded], progress: Callable[[int], None] | None = None
) -> list[Score]:
    """Score every item under whatever ``lm`` wears; ``progress`` gets the number of items just done.

    Padding stands on the right and attention is causal, so batch neighbours have no influence.
    """
    scores: dict[int, Score] = {}
    vocabulary = int(lm.model.config.get_text_config().vocab_size)
    positions = max(1, _LOGITS // vocabulary)
    for batch in length_buckets(items, padding=padding_id(lm), tokens=2048, rows=64, positions=positions):
        ids = batch.ids.to(lm.device)
        first = min(item.start for item in batch.items)
        keep = torch.arange(first - 1, ids.shape[1] - 1, device=lm.device)
        logits = lm.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits.float()
        chosen = logits.gather(2, ids[:, first:].unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
        for row, index, item in zip(chosen.double().cpu(), batch.rows, batch.items, strict=True):
            span = row[item.start - first : len(item.ids) - first]
            scores[index] = Score(float(span.sum()), len(span))
        if progress:
            progress(len(batch.items))
    return [scores[index] for index in range(len(items))]
