"""Batched generation from token ids through the plain transformers ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from temperament.models.load import LoadedModel


def generate_ids(
    lm: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    temperature: float = 1.0,
    use_cache: bool = True,
    streamer: Any = None,
) -> list[list[int]]:
    """The tokens that follow each prompt, without the end token; greedy, or sampled with a ``seed``.

    Shorter prompts are padded on the left with their own first token: it is masked out of the attention, and the
    repetition penalty, which looks at all tokens of a row, finds none that a single request would not have.
    """
    longest = max(len(prompt) for prompt in prompts)
    rows = [[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ends = end_tokens(lm)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if seed is not None:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 0.95}
    with torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        output = lm.model.generate(  # type: ignore[operator]
            torch.tensor(rows, device=lm.device),
            attention_mask=torch.tensor(mask, device=lm.device),
            max_new_tokens=max_tokens,
            repetition_penalty=repetition_penalty,
            pad_token_id=min(ends) if ends else 0,
            use_cache=use_cache,
            streamer=streamer,
            **sampling,
        )
    answers: list[list[int]] = output[:, longest:].tolist()
    return [answer[: next((at for at, token in enumerate(answer) if token in ends), len(answer))] for answer in answers]


def end_tokens(lm: LoadedModel) -> frozenset[int]:
    """Tokens at which ``generate`` stops."""
    ends = lm.model.generation_config.eos_token_id
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)
