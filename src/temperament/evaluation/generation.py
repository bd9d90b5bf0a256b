"""``generation``: what a model in what it wears writes to open questions, and how far a judge sees it move."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from temperament.calibration.builtin import TRAITS, find_trait
from temperament.calibration.builtin import questions as builtin_questions
from temperament.calibration.contrast import group_key
from temperament.calibration.personality_bench import read_questions
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record, batches, text_digest
from temperament.generate.chat import check_dialogue, decode
from temperament.models import LoadedModel
from temperament.models.generation import generate_ids


class Generation:
    """Open questions, each answered freely: one record {question, answer, tokens} per question.

    Greedy, or sampled at ``temperature`` with a ``seed``. ``tokens`` is the number of tokens written, without the end
    token; an answer may be empty. Records hold no verdict, so that any judge can read them. Batches are the same
    whichever items are still to do, so that an interrupted run ends with the records of an uninterrupted one.
    """

    def __init__(
        self,
        questions: Sequence[str],
        *,
        max_tokens: int = 60,
        repetition_penalty: float = 1.1,
        seed: int | None = None,
        temperature: float = 0.8,
        batch: int = 10,
        label: str = "generation",
    ) -> None:
        if isinstance(questions, str):
            raise TemperamentError("one question was given, not a list of them", "put it in a list")
        self.questions = tuple(questions)
        if not self.questions or not all(question.strip() for question in self.questions):
            raise TemperamentError("a question is empty, or there is none", "give one or more questions")
        if len(set(self.questions)) < len(self.questions):
            raise TemperamentError("a question stands twice in the list", "give every question once")
        if min(max_tokens, batch) < 1:
            raise TemperamentError(f"{max_tokens} new tokens in batches of {batch} were asked for", "give 1 or more")
        self._max_tokens, self._penalty, self._batch = max_tokens, repetition_penalty, batch
        self._seed, self._temperature, self._label = seed, temperature, label

    @property
    def name(self) -> str:
        return self._label

    @property
    def hash(self) -> str:
        settings = (self._max_tokens, self._penalty, self._batch, self._seed)
        sampled = "" if self._seed is None else str(self._temperature)
        return text_digest(["own answers", repr(settings), sampled, *self.questions])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(question) for question in self.questions)

    def __len__(self) -> int:
        return len(self.questions)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        """Answer the questions at ``todo`` under whatever ``lm`` wears, batch by batch."""
        if lm.rows_worn:
            raise TemperamentError("questions are answered under one plan, but one per row is worn", "wear one plan")
        order = sorted(range(len(self)), key=lambda index: (len(self.questions[index]), index))  # little padding
        for rows in batches(order, self._batch, todo):
            answers = self._answers(lm, [self.questions[index] for index in rows])
            yield from ((index, record) for index, record in zip(rows, answers, strict=True) if index in todo)

    def _answers(self, lm: LoadedModel, questions: Sequence[str]) -> list[Record]:
        prompts = [check_dialogue(lm, (("user", question),), self._max_tokens) for question in questions]
        answers = generate_ids(
            lm,
            prompts,
            max_tokens=min(self._max_tokens, lm.max_tokens - max(map(len, prompts))),
            repetition_penalty=self._penalty,
            seed=self._seed,
            temperature=self._temperature,
        )
        return [
            {"question": question, "answer": decode(lm, answer), "tokens": len(answer)}
            for question, answer in zip(questions, answers, strict=True)
        ]


def open_questions(source: str | Path) -> tuple[str, ...]:
    """The 20 test questions of a built-in trait, or those of a file (one a line, or JSON lines with a ``question``)."""
    if find_trait(str(source)):
        return builtin_questions(str(source), "test")
    path = Path(os.path.expanduser(source))
    if not path.is_file():
        raise TemperamentError(
            f"there are no built-in questions and no file {str(source)!r}",
            f"check the path, or use one of {', '.join(trait.name for trait in TRAITS)}",
        )
    return read_questions(path)


class Judge(Protocol):
    """What turns an answer into the probability of the plus pole; NaN where it has no verdict."""

    @property
    def label(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def auc(self) -> Measured: ...
    def probability(self, texts: Sequence[str]) -> Array: ...


def generation_effect(
    plus: Sequence[Record], minus: Sequence[Record], base: Sequence[Record], judge: Judge, *, seed: int
) -> Measured:
    """Mean P(plus pole) of the answers worn plus less that worn minus, from −1 to 1; 0 is no effect.

    The three lists answer the same questions in the same order, worn plus, worn minus and unworn. ``extra`` also has
    the judge's label, hash and held-out AUC with its interval.
    """
    for side in (minus, base):
        if [record["question"] for record in side] != [record["question"] for record in plus]:
            raise TemperamentError("the answers compared are to different questions", "ask all sides the same ones")
    answers = [[record["answer"] for record in side] for side in (plus, minus, base)]
    scores = [judge.probability(texts) for texts in answers]
    found = score_effect(scores[0], scores[1], scores[2], seed=seed)
    interval = [judge.auc.low, judge.auc.high]
    about = {"judge": judge.label, "judge_hash": judge.hash, "judge_auc": judge.auc.value}
    return Measured(
        found.value, found.low, found.high, found.n, {**found.extra, **about, "judge_auc_interval": interval}
    )


def score_effect(plus: Array, minus: Array, base: Array, *, seed: int) -> Measured:
    """Mean of ``plus`` − ``minus`` over questions, whatever scored the answers; each array is (questions,).

    NaN is a missing score (an empty answer, no verdict). A question counts if neither worn side is missing; the
    interval resamples questions. ``extra``: the means of both sides and of the unworn one over these questions (the
    latter where it has a score), and how many scores are missing per side. Without any question all figures are NaN.
    """
    sides = {"plus": plus, "minus": minus, "unworn": base}
    extra: dict[str, Any] = {"missing": {name: int(np.isnan(side).sum()) for name, side in sides.items()}}
    both = ~(np.isnan(plus) | np.isnan(minus))
    extra |= {f"{name}_mean": _mean(side[both & ~np.isnan(side)]) for name, side in sides.items()}
    if not both.any():
        return Measured(np.nan, np.nan, np.nan, 0, extra)
    return measured(((plus - minus)[both],), np.mean, seed=seed, extra=extra)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
