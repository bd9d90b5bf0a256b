"""Log-probabilities of given responses: one batched forward pass, logits only where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from temperament.errors import TemperamentError
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

    Padding stands on the right and attention is causal, so batch neighbours have no influence. Items that
    differ in their last token only (Yes and No behind one question) share one row: that token is never read.
    """
    if lm.rows_worn:
        raise TemperamentError("responses are scored under one plan, but one per row is worn", "wear one plan")
    sharing: dict[Encoded, list[int]] = {}
    for index, item in enumerate(items):
        sharing.setdefault(Encoded(item.ids[:-1], item.start), []).append(index)
    owners, inputs = list(sharing.values()), list(sharing)
    scores: dict[int, Score] = {}
    vocabulary = int(lm.model.config.get_text_config().vocab_size)
    positions = max(1, _LOGITS // vocabulary)
    for batch in length_buckets(inputs, padding=padding_id(lm), tokens=2048, rows=64, positions=positions):
        first = min(item.start for item in batch.items) - 1
        keep = torch.arange(first, batch.ids.shape[1], device=lm.device)
        starts = torch.tensor([item.start - 1 for item in batch.items], device=lm.device)
        with lm.responding(starts):
            logits = lm.model(input_ids=batch.ids.to(lm.device), use_cache=False, logits_to_keep=keep).logits.float()
        held = [(row, index) for row, owner in enumerate(batch.rows) for index in owners[owner]]
        picks = [
            (row, items[index].start - 1 - first + offset, token)
            for row, index in held
            for offset, token in enumerate(items[index].ids[items[index].start :])
        ]
        rows, columns, tokens = torch.tensor(picks, device=lm.device).T
        chosen = (logits[rows, columns, tokens] - logits.logsumexp(-1)[rows, columns]).double().cpu()
        counts = [len(items[index].ids) - items[index].start for _, index in held]
        for (_, index), values in zip(held, chosen.split(counts), strict=True):
            scores[index] = Score(float(values.sum()), len(values))
        if progress:
            progress(len(held))
    return [scores[index] for index in range(len(items))]
