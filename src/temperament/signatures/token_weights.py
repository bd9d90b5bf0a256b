"""What the tokens of a response weigh in its mean log-probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from temperament.calibration import Example
from temperament.models import LoadedModel
from temperament.models.dialogue import encode
from temperament.signatures.batches import Batch
from temperament.signatures.log_probs import log_prob_batches, normalisers

#: A token's surprisal −log p times how far the prompt of its pole moves that, the surprisal alone, or all alike.
Weighting = Literal["prompt", "surprisal", "even"]


def prompted_log_probs(lm: LoadedModel, examples: Sequence[Example], prompt: str) -> list[Tensor]:
    """log p of the response tokens of every example under a system prompt, (tokens,) each."""
    items = [encode(lm.tokenizer, one.prompt, one.response, prompt, lm.max_tokens) for one in examples]
    found = {index: torch.zeros(0) for index in range(len(items))}
    inside = [index for index, item in enumerate(items) if len(item.ids) > item.start]  # a long prompt may fill it all
    for done in log_prob_batches(lm, [items[index] for index in inside]):
        found |= {inside[one.index]: one.values.float() for one in done}
    return [found[index] for index in range(len(items))]


def targets(batch: Batch, first: int, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The response token to be predicted at each position from ``first`` on, and where there is one.

    Both (items, positions), on the device of the logits.
    """
    tokens = torch.zeros(logits.shape[:2], dtype=torch.int64)
    scored = torch.zeros(logits.shape[:2], dtype=torch.bool)
    for row, item in enumerate(batch.items):
        places = slice(item.start - 1 - first, len(item.ids) - 1 - first)
        tokens[row, places] = torch.tensor(item.ids[item.start :])
        scored[row, places] = True
    return tokens.to(logits.device), scored.to(logits.device)


def scored_normalisers(logits: Tensor, scored: Tensor) -> Tensor:
    """log Σ exp of the logits at positions that are ``scored``, (items, positions) fp32; infinite elsewhere."""
    found = torch.full(scored.shape, torch.inf, device=logits.device)
    found[scored] = normalisers(logits, *scored.nonzero().T)
    return found


def token_weights(surprisal: Tensor, scored: Tensor, weighting: Weighting, prompted: Sequence[Tensor] = ()) -> Tensor:
    """Weight of every token in its item's mean (items, positions); they sum to 1 over an item and are 0 elsewhere.

    ``surprisal`` is −log p of the tokens, (items, positions). ``prompt``: words that could not be guessed, but are
    likelier or less likely once the pole is described, carry the trait. The grammar between them tells how these texts
    are written, which no other text has in common. An item whose tokens all weigh nothing counts evenly.
    """
    sizes = scored.float()
    if weighting != "even":
        own = surprisal[scored]
        if weighting == "prompt":
            own = own * (own + _aligned(prompted, scored)[scored]).abs().nan_to_num(0.0)
        sizes = torch.zeros_like(sizes).masked_scatter(scored, own)
        sizes = torch.where((sizes.sum(1, keepdim=True) > 0), sizes, scored.float())
    return sizes / sizes.sum(1, keepdim=True)


def _aligned(prompted: Sequence[Tensor], scored: Tensor) -> Tensor:
    """Log-probabilities at the positions that are scored, (items, positions).

    Not a number, which weighs nothing, where a response lost its end behind a long prompt.
    """
    found = torch.full(scored.shape, torch.nan)
    for row, values in enumerate(prompted):
        places = scored[row].nonzero().squeeze(1).cpu()[: len(values)]
        found[row, places] = values[: len(places)]
    return found.to(scored.device)
