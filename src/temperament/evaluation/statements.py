"""Statements: how likely each statement of a contrast is as the model's reply, in nats per token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from temperament.calibration import Contrast
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.scored_items import encode_reply, score_items
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded


class Statements:
    """The statements of both poles, plus before minus, as replies to their prompts.

    Each record is {pole, prompt, response, nats_per_token}: the mean log-probability of the response's tokens.
    """

    def __init__(self, contrast: Contrast, label: str = "statements") -> None:
        self._items = [("plus", example) for example in contrast.plus]
        self._items += [("minus", example) for example in contrast.minus]
        self._name, self._groups = label, contrast.group_keys

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        return text_digest(["statements", *(f"{pole}\x1f{example.text}" for pole, example in self._items)])

    @property
    def groups(self) -> frozenset[str]:
        return self._groups

    def __len__(self) -> int:
        return len(self._items)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> tuple[Encoded]:
            return (encode_reply(lm, self._items[index][1].prompt, self._items[index][1].response),)

        for index, (score,) in score_items(lm, len(self), todo, encode):
            pole, example = self._items[index]
            yield (
                index,
                {
                    "pole": pole,
                    "prompt": example.prompt,
                    "response": example.response,
                    "nats_per_token": score.per_token,
                },
            )


def statement_arrays(records: Sequence[Record]) -> tuple[Array, Array]:
    """Nats per token of the (plus,) statements and of the (minus,) statements, in item order."""
    high, low = (
        np.array([record["nats_per_token"] for record in records if record["pole"] == pole], dtype=float)
        for pole in ("plus", "minus")
    )
    return high, low


def statement_changes(plus: Sequence[Record], minus: Sequence[Record]) -> tuple[Array, Array]:
    """x_s(plus) − x_s(minus) of the (plus,) and of the (minus,) statements, from records wearing either persona."""
    same = ([(row["pole"], row["prompt"], row["response"]) for row in side] for side in (plus, minus))
    if next(same) != next(same):
        raise ValueError("the records wearing plus and wearing minus hold different statements")
    (high, low), (high_minus, low_minus) = statement_arrays(plus), statement_arrays(minus)
    return high - high_minus, low - low_minus
