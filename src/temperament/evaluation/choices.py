"""Two-choice items: how likely each of the two answers to a question is as the model's reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from temperament.calibration import Choice, Contrast
from temperament.calibration.choices import two_choice_items
from temperament.calibration.contrast import group_key
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.scored_items import encode_reply, score_items
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded


class TwoChoice:
    """Two-choice items; both options are scored as replies to the question alone, with no letters and no order.

    Each record is {prompt, options, matching, log_probability, nats_per_token}: ``matching`` is the plus pole's option,
    0 or 1; the last two hold one figure per option, the log-probability of its tokens summed and their mean, in nats.
    """

    def __init__(self, items: Sequence[Choice], label: str = "choices", groups: frozenset[str] | None = None) -> None:
        self._items, self._name = tuple(items), label
        self._groups = frozenset(group_key(item.group) for item in items) if groups is None else groups

    @staticmethod
    def of(contrast: Contrast) -> TwoChoice:
        """The two-choice items of a contrast, else its statements as yes/no questions (``two_choice_items``)."""
        return TwoChoice(two_choice_items(contrast), groups=contrast.group_keys)

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        return text_digest(["choices", *(f"{item.text}\x1f{item.matching}" for item in self._items)])

    @property
    def groups(self) -> frozenset[str]:
        return self._groups

    def __len__(self) -> int:
        return len(self._items)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> list[Encoded]:
            return [encode_reply(lm, self._items[index].prompt, option) for option in self._items[index].options]

        for index, scores in score_items(lm, len(self), todo, encode):
            item = self._items[index]
            yield (
                index,
                {
                    "prompt": item.prompt,
                    "options": list(item.options),
                    "matching": item.matching,
                    "log_probability": [score.total for score in scores],
                    "nats_per_token": [score.per_token for score in scores],
                },
            )


def choice_items(records: Sequence[Record]) -> tuple[Choice, ...]:
    """The items that the records answer; a question serves as its own group."""
    return tuple(
        Choice(row["prompt"], (row["options"][0], row["options"][1]), row["matching"], row["prompt"]) for row in records
    )


def choice_array(records: Sequence[Record]) -> Array:
    """(items, options, 2): the log-probability of every option, summed and per token."""
    figures = [[*zip(row["log_probability"], row["nats_per_token"], strict=True)] for row in records]
    return np.array(figures, dtype=float).reshape(-1, 2, 2)
