"""Role play: who said this and which reply fits, by option log-probabilities (PS Table 5); reference answers.

Every multiple-choice figure stands beside its option prior: the same options without the question and the character.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.calibration.role_items import RoleChoice, RoleReference
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.scored_items import encode_reply, score_items
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded

#: ``told``: question, and who the people are; ``untold``: the question alone, so that only what is worn knows the role;
#: ``prior``: neither.
Context = Literal["told", "untold", "prior"]
CONTEXTS: tuple[Context, ...] = ("told", "untold", "prior")


def role_prompt(item: RoleChoice, context: Context) -> str:
    """What an item's options are replies to."""
    if item.kind == "who":
        if context == "prior":
            return "Somebody said something. Who was it?"
        asked = f'Somebody said: "{item.question}" Who was it?'
        return f"{item.profile}\n{asked}" if context == "told" and item.profile else asked
    if context == "prior":
        return "Say something."
    if context == "untold":
        return item.question
    return "\n".join(filter(None, (f"You are {item.role}.", item.profile, item.question)))


class RoleChoices:
    """Multiple-choice items under one context; options are replies without letters or order.

    Each record is {role, kind, question, options, answer, log_probability, nats_per_token}, the last two with one
    figure per option: summed over its tokens, and their mean, in nats.
    """

    def __init__(self, items: Sequence[RoleChoice], context: Context) -> None:
        if not items:
            raise TemperamentError("there are no multiple-choice items to put", "give one or more")
        self._items, self._context = tuple(items), context

    @property
    def name(self) -> str:
        return f"roles-{self._context}"

    @property
    def hash(self) -> str:
        rows = ("\x1f".join((*_identity(item), role_prompt(item, self._context))) for item in self._items)
        return text_digest(["roles 1", self._context, *rows])

    @property
    def groups(self) -> frozenset[str]:
        """Identities of the lines said, and of situations and replies."""
        texts = ((item.question, *(item.options if item.kind == "reply" else ())) for item in self._items)
        return frozenset(group_key(text) for row in texts for text in row)

    def __len__(self) -> int:
        return len(self._items)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> list[Encoded]:
            prompt = role_prompt(self._items[index], self._context)
            return [encode_reply(lm, prompt, option) for option in self._items[index].options]

        for index, scores in score_items(lm, len(self), todo, encode):
            item = self._items[index]
            yield (
                index,
                {
                    "role": item.role,
                    "kind": item.kind,
                    "question": item.question,
                    "options": list(item.options),
                    "answer": item.answer,
                    "log_probability": [score.total for score in scores],
                    "nats_per_token": [score.per_token for score in scores],
                },
            )


class RoleReferences:
    """Reference answers as replies to the question alone; each record has the answers' mean nats per token."""

    name = "references"

    def __init__(self, items: Sequence[RoleReference]) -> None:
        self._items = tuple(items)

    @property
    def hash(self) -> str:
        return text_digest(["references 1", *("\x1f".join((i.role, i.question, *i.answers)) for i in self._items)])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(text) for item in self._items for text in (item.question, *item.answers))

    def __len__(self) -> int:
        return len(self._items)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> list[Encoded]:
            return [encode_reply(lm, self._items[index].question, answer) for answer in self._items[index].answers]

        for index, scores in score_items(lm, len(self), todo, encode):
            item = self._items[index]
            mean = float(np.mean([score.per_token for score in scores]))
            yield index, {"role": item.role, "question": item.question, "type": item.type, "nats_per_token": mean}


def accuracy(records: Sequence[Record], prior: Sequence[Record] | None = None, *, seed: int) -> Measured:
    """Share in % of items whose right option has the largest log-probability per token; ties share the point.

    With ``prior``, the records of the same items without question and character, each option's own log-probability
    there is taken off first. ``extra``: ``chance``, and ``raw``, the share by summed log-probability.
    """
    if not records:
        raise TemperamentError("there are no records to score", "put items to the model first")
    if prior is not None and [row["options"] for row in prior] != [row["options"] for row in records]:
        raise ValueError("the prior belongs to other items")
    others: Sequence[Record | None] = prior if prior is not None else [None] * len(records)
    hits = {
        key: np.array([_hit(row, other, key) for row, other in zip(records, others, strict=True)])
        for key in ("nats_per_token", "log_probability")
    }
    extra = {"chance": chance(records), "raw": float(100 * hits["log_probability"].mean())}
    return measured([hits["nats_per_token"]], _percent, seed=seed, extra=extra)


def chance(records: Sequence[Record]) -> float:
    """Accuracy in % of guessing."""
    return float(np.mean([100 / len(row["options"]) for row in records]))


def reference_change(worn: Sequence[Record], base: Sequence[Record], *, seed: int) -> Measured:
    """Mean change of the reference answers' nats per token, worn less unworn; above 0 they have become likelier."""
    sides = [[row["nats_per_token"] for row in side] for side in (worn, base)]
    return measured([np.array(sides[0], dtype=float) - np.array(sides[1], dtype=float)], np.mean, seed=seed)


def role_summary(sides: Mapping[str, Mapping[Context, Sequence[Record]]], *, seed: int = 0) -> dict[str, Any]:
    """Accuracies by side, kind and context, each beside prior and chance."""
    return {
        side: {
            kind: _accuracies({context: _chosen(rows, kind) for context, rows in contexts.items()}, seed)
            for kind in ("who", "reply")
            if _chosen(contexts["prior"], kind)
        }
        for side, contexts in sides.items()
    }


def _accuracies(contexts: dict[Context, list[Record]], seed: int) -> dict[str, Any]:
    prior = contexts["prior"]
    found: dict[str, Any] = {name: accuracy(rows, seed=seed).as_json() for name, rows in contexts.items()}
    for name in ("told", "untold"):
        found[f"{name}, prior off"] = accuracy(contexts[name], prior, seed=seed).as_json()
    return {"n": len(prior), "chance": chance(prior), **found}


def _chosen(records: Sequence[Record], kind: str) -> list[Record]:
    return [row for row in records if row["kind"] == kind]


def _hit(row: Record, prior: Record | None, key: str) -> float:
    scores = np.array(row[key], dtype=float)
    if prior is not None:
        scores = scores - np.array(prior[key], dtype=float)
    best = scores == scores.max()  # a broken model's NaN is never the largest
    return float(best[row["answer"]] / best.sum()) if best.any() else 0.0


def _percent(hits: Array, axis: int = -1) -> Any:
    return 100 * np.mean(hits, axis=axis)


def _identity(item: RoleChoice) -> tuple[str, ...]:
    return item.role, item.kind, item.question, str(item.answer), *item.options
