"""Batched generation from token ids through the plain transformers ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from temperament.models.dialogue import NEXT_TURN, NEXT_TURN_LENGTH
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
    whole: bool = False,
) -> list[list[int]]:
    """The tokens that follow each prompt, without the end token; greedy, or sampled with a ``seed``.

    A model without a chat template has no end token for a turn and goes on to invent the next one: it is stopped
    there, and its answer ends before the label of that turn, unless the ``whole`` of what it wrote is wanted (the
    label is then complete).

    Shorter prompts are padded on the left with their own first token: it is masked out of the attention, and the
    repetition penalty, which looks at all tokens of a row, finds none that a single request would not have.
    """
    longest = max(len(prompt) for prompt in prompts)
    rows = [[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ends, next_turn = end_tokens(lm), NextTurn.of(lm, longest)
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
            stopping_criteria=StoppingCriteriaList([next_turn] if next_turn else []),
            **sampling,
        )
    answers: list[list[int]] = output[:, longest:].tolist()
    answers = [answer[: next((at for at, t in enumerate(answer) if t in ends), len(answer))] for answer in answers]
    return [without_next_turn(lm.tokenizer, answer) for answer in answers] if next_turn and not whole else answers


class NextTurn(StoppingCriteria):
    """Rows whose answer, from the column ``begin`` on, has come to the label of the next turn.

    transformers' own stop strings prepare the whole vocabulary at every call, seconds where it is large.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, begin: int) -> None:
        self._tokenizer, self._begin = tokenizer, begin

    @staticmethod
    def of(lm: LoadedModel, begin: int) -> NextTurn | None:
        """None for a model with a chat template, whose turns end with a token."""
        return None if lm.tokenizer.chat_template else NextTurn(lm.tokenizer, begin)

    def __call__(self, input_ids: Tensor, scores: Tensor | None = None, **_: Any) -> Tensor:
        del scores
        begin = max(self._begin, input_ids.shape[1] - NEXT_TURN_LENGTH)  # a token a character at most
        tails = self._tokenizer.batch_decode(input_ids[:, begin:])
        return torch.tensor([bool(NEXT_TURN.search(tail)) for tail in tails], device=input_ids.device)


def without_next_turn(tokenizer: PreTrainedTokenizerBase, answer: list[int]) -> list[int]:
    """The tokens before a next turn, without the space between; one that holds a part of it goes too."""
    text = str(tokenizer.decode(answer))
    if found := NEXT_TURN.search(text):
        own = len(text[: found.start()].rstrip())
        while len(str(tokenizer.decode(answer))) > own:
            answer = answer[:-1]
    return answer


def end_tokens(lm: LoadedModel) -> frozenset[int]:
    """Tokens at which ``generate`` stops."""
    ends = lm.model.generation_config.eos_token_id
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)
