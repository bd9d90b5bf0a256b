"""Choices: how likely each of two answers to a question is, in nats, summed and per token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from temperament.calibration import Choice
from temperament.calibration.contrast import group_key
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.scored_items import score_items
from temperament.evaluation.statements import encode_reply
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded


class Choices:
    """Two-choice items; both options are scored as replies to the question alone, with no letters and no order.

    Each record is {prompt, options, matching, log_probability: one per option, nats_per_token: one per option}.
    """

    def __init__(self, choices: Sequence[Choice], label: str = "choices") -> None:
        self.choices, self._name = tuple(choices), label

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        return text_digest(["choices", *(f"{choice.text}\x1f{choice.matching}" for choice in self.choices)])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(choice.group) for choice in self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> list[Encoded]:
            return [encode_reply(lm, self.choices[index].prompt, option) for option in self.choices[index].options]

        for index, scores in score_items(lm, todo, encode):
            choice = self.choices[index]
            yield (
                index,
                {
                    "prompt": choice.prompt,
                    "options": list(choice.options),
                    "matching": choice.matching,
                    "log_probability": [score.total for score in scores],
                    "nats_per_token": [score.per_token for score in scores],
                },
            )


def choice_array(records: Sequence[Record]) -> Array:
    """(items, options, 2): log-probability of each option, [..., 0] summed and [..., 1] per token."""
    rows = [[*zip(record["log_probability"], record["nats_per_token"], strict=True)] for record in records]
    return np.array(rows, dtype=float).reshape(-1, 2, 2)
