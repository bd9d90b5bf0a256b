"""What the tokens of a response weigh: by hand on made logits, and the log-probabilities behind a prompt."""

from __future__ import annotations

import pytest
import torch
from support import mixed_contrast

from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded, encode
from temperament.signatures.batches import Batch, length_buckets
from temperament.signatures.token_weights import (
    Weighting,
    prompted_log_probs,
    scored_normalisers,
    targets,
    token_weights,
)

#: Responses of three tokens and of one, behind prompts of two.
ITEMS = (Encoded((1, 2, 3, 4, 5), 2), Encoded((1, 2, 6), 2))


@pytest.fixture
def batch() -> Batch:
    (found,) = length_buckets(ITEMS, padding=0, tokens=100, rows=10)
    assert tuple(found.items) == ITEMS
    return found


@pytest.fixture
def logits() -> torch.Tensor:
    """(2 items, 4 positions from the last of the prompt on, 8 tokens)."""
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))


def test_targets_are_the_tokens_of_the_responses(batch: Batch, logits: torch.Tensor) -> None:
    tokens, scored = targets(batch, 1, logits)
    assert tokens[scored].tolist() == [3, 4, 5, 6]
    assert scored.tolist() == [[True, True, True, False], [True, False, False, False]]


@pytest.mark.parametrize("weighting", ["even", "surprisal", "prompt"])
def test_weights_are_what_they_say(batch: Batch, logits: torch.Tensor, weighting: Weighting) -> None:
    tokens, scored = targets(batch, 1, logits)
    prompted = [torch.tensor([-0.5, -3.0, -1.0]), torch.tensor([-2.0])]
    own = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)[0, :3]
    size = {"even": torch.ones(3), "surprisal": -own, "prompt": -own * (prompted[0] - own).abs()}[weighting]
    surprisal = -logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    weights = token_weights(surprisal, scored, weighting, prompted)
    torch.testing.assert_close(weights[0, :3], size / size.sum())
    assert weights[1].tolist() == [1, 0, 0, 0]
    assert weights[0, 3] == 0


def test_what_a_long_prompt_leaves_no_room_for_weighs_nothing(batch: Batch, logits: torch.Tensor) -> None:
    tokens, scored = targets(batch, 1, logits)
    surprisal = -logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    weights = token_weights(surprisal, scored, "prompt", [torch.tensor([-0.5, -3.0]), torch.zeros(0)])
    assert weights[0, 2] == 0
    assert weights.sum(1).tolist() == pytest.approx([1, 1]), "an item without any weight counts evenly"


def test_normalisers_of_what_is_scored(batch: Batch, logits: torch.Tensor) -> None:
    _, scored = targets(batch, 1, logits)
    found = scored_normalisers(logits.bfloat16(), scored)
    torch.testing.assert_close(found[scored], logits.bfloat16().float().logsumexp(-1)[scored])
    assert bool(found[~scored].isinf().all())


def test_log_probs_behind_a_prompt(tiny_llama: LoadedModel) -> None:
    """Each as if alone; where the prompt fills the context there are none."""
    examples, prompt = mixed_contrast().plus, "You are fond of long evenings with many guests."
    for example, found in zip(examples, prompted_log_probs(tiny_llama, examples, prompt), strict=True):
        item = encode(tiny_llama.tokenizer, example.prompt, example.response, prompt, tiny_llama.max_tokens)
        logits = tiny_llama.model(torch.tensor([item.ids])).logits[0, item.start - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(item.ids[item.start :]).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(found, expected.detach(), rtol=1e-3, atol=1e-4)
    assert [len(found) for found in prompted_log_probs(tiny_llama, examples, "far " * 9999)] == [0] * len(examples)
