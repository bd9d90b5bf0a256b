"""Passages: log-probability of neutral text, window by window, as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.perplexity import encode_passages
from temperament.evaluation.scored_items import score_items
from temperament.models import LoadedModel


class Passages:
    """Passages of neutral text, each in windows of at most 256 tokens (``perplexity.encode_passages``).

    Each record is {passage, log_probability, tokens}: summed over the passage's scored tokens, in nats.
    """

    def __init__(self, passages: Sequence[str], label: str = "passages") -> None:
        self._passages, self._name = tuple(passages), label

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        return text_digest(["passages", *self._passages])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(map(group_key, self._passages))

    def __len__(self) -> int:
        return len(self._passages)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        for index, scores in score_items(
            lm, len(self), todo, lambda index: encode_passages(lm, [self._passages[index]])
        ):
            total, tokens = sum(score.total for score in scores), sum(score.tokens for score in scores)
            yield index, {"passage": self._passages[index][:60], "log_probability": total, "tokens": tokens}


def passage_array(records: Sequence[Record]) -> Array:
    """(passages, 2): summed log-probability and scored tokens of each."""
    return np.array([[record["log_probability"], record["tokens"]] for record in records], dtype=float).reshape(-1, 2)
