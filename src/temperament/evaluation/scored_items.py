"""Items that are answered by log-probabilities: scored in batches of similar length, given out as they finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from temperament.errors import TemperamentError
from temperament.evaluation.score import Score, score_responses
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded

#: Responses scored between two records: a few batches, so that an interruption costs seconds.
_RESPONSES = 128


def score_items(
    lm: LoadedModel, count: int, todo: Sequence[int], encode: Callable[[int], Sequence[Encoded]]
) -> Iterator[tuple[int, list[Score]]]:
    """Yield (position, score of every response of that item) for the items ``todo`` of ``count``, long ones first.

    ``encode`` gives an item's responses, which stay in one batch list, so that those behind one prompt that differ
    in their last token share a row. Batches are those of all items whichever are to do: in bf16 a score depends on
    its batch in the third digit, and an interrupted run must end with the records of an uninterrupted one.
    """
    encoded = {index: list(encode(index)) for index in range(count)}
    wanted = frozenset(todo)
    waiting = sorted(encoded, key=lambda index: (-max((len(item.ids) for item in encoded[index]), default=0), index))
    while waiting:
        taken, responses = 0, 0
        while taken < len(waiting) and (not taken or responses + len(encoded[waiting[taken]]) <= _RESPONSES):
            responses += len(encoded[waiting[taken]])
            taken += 1
        chunk, waiting = waiting[:taken], waiting[taken:]
        if wanted.isdisjoint(chunk):
            continue
        scores = iter(score_responses(lm, [item for index in chunk for item in encoded[index]]))
        found = {index: [next(scores) for _ in encoded[index]] for index in chunk}
        yield from ((index, found[index]) for index in chunk if index in wanted)


def encode_reply(lm: LoadedModel, prompt: str, response: str) -> Encoded:
    """A response behind its prompt; an error if the prompt leaves no room for it."""
    item = lm.encode(prompt, response)
    if len(item.ids) <= item.start:
        raise TemperamentError(
            f"the test prompt {prompt[:50]!r} fills all {lm.max_tokens} tokens of the model, so no answer fits",
            "shorten it, or the system prompt that is worn",
        )
    return item
