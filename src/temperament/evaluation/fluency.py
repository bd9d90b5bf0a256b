"""``fluency``: how well formed and how varied free answers are, whatever they say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record, batches, text_digest
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel

#: Answers scored between two records kept.
_PORTION = 64
_WORD = re.compile(r"\w+(?:['’]\w+)*")
#: Letters of the longest word; scripts without spaces have longer runs.
_LONGEST_WORD = 32


class AnswerScores:
    """Free answers scored by the unworn model, each as the reply to its question: {question, answer, total, tokens}.

    ``answers`` are records of ``Generation``, from a model in whatever it wore. ``total`` is the summed
    log-probability in nats of the answer's ``tokens``; for an empty answer, or one that no longer fits the model behind
    its question, it is null and ``tokens`` 0.
    """

    def __init__(self, answers: Sequence[Record]) -> None:
        if not answers:
            raise TemperamentError("there are no answers to score", "generate some first")
        self._pairs = tuple((str(record["question"]), str(record["answer"])) for record in answers)

    @property
    def name(self) -> str:
        return "fluency"

    @property
    def hash(self) -> str:
        return text_digest([self.name, *(text for pair in self._pairs for text in pair)])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(question) for question, _ in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        """Score the answers at ``todo``; an error if ``lm`` wears anything."""
        if lm.worn:
            raise TemperamentError(
                "fluency is measured by the unworn model, but a persona is worn", "run it under the empty Plan()"
            )
        encoded = {index: lm.encode(*pair) for index, pair in enumerate(self._pairs) if pair[1].strip()}
        present = [index for index, item in encoded.items() if len(item.ids) > item.start]
        for index in set(todo).difference(present):
            yield index, self._record(index, None, 0)
        present.sort(key=lambda index: -len(encoded[index].ids))
        for portion in batches(present, _PORTION, todo):
            for index, score in zip(portion, score_responses(lm, [encoded[i] for i in portion]), strict=True):
                if index in todo:
                    yield index, self._record(index, score.total, score.tokens)

    def _record(self, index: int, total: float | None, tokens: int) -> Record:
        question, answer = self._pairs[index]
        return {"question": question, "answer": answer, "total": total, "tokens": tokens}


def fluency(plus: Sequence[Record], minus: Sequence[Record], base: Sequence[Record], *, seed: int) -> Measured:
    """Perplexity of the answers under the unworn model: the larger of worn plus and worn minus.

    The lists are records of ``AnswerScores`` for answers worn plus, worn minus and unworn. ``extra`` has for each side
    the figures of ``answer_figures``. A low perplexity alone is no merit: a loop has one too, and shows in the others.
    """
    sides = {name: answer_figures(side, seed=seed) for name, side in zip(_SIDES, (plus, minus, base), strict=True)}
    worst = max((sides[name]["perplexity"] for name in _SIDES[:2]), key=lambda found: np.nan_to_num(found.value, nan=0))
    extra: dict[str, Any] = {}
    for name, figures in sides.items():
        for key, found in figures.items():
            extra[f"{name}_{key}"] = found.value
            extra[f"{name}_{key}_interval"] = [found.low, found.high]
        extra[f"{name}_missing"] = figures["perplexity"].extra["missing"]
        extra[f"{name}_distinct_2_together"] = figures["distinct_2"].extra["together"]
    return Measured(worst.value, worst.low, worst.high, worst.n, extra)


_SIDES = ("plus", "minus", "unworn")


def answer_figures(records: Sequence[Record], *, seed: int) -> dict[str, Measured]:
    """``perplexity``, ``distinct_2`` and ``repeat`` of one side's answers, intervals over answers."""
    answers = [str(record["answer"]) for record in records]
    return {
        "perplexity": answer_perplexity(records, seed=seed),
        "distinct_2": distinct_2(answers, seed=seed),
        "repeat": repeat_share(answers, seed=seed),
    }


def answer_perplexity(records: Sequence[Record], *, seed: int) -> Measured:
    """exp(−mean log-probability per token) over all tokens of all answers; empty answers are missing, and counted."""
    scores = [(record["total"], record["tokens"]) for record in records if record["tokens"]]
    extra = {"missing": len(records) - len(scores)}
    if not scores:
        return _nothing(extra)
    total, tokens = np.array(scores, dtype=np.float64).T
    return measured((total, tokens), _perplexity, seed=seed, paired=True, extra=extra)


def distinct_2(answers: Sequence[str], *, seed: int) -> Measured:
    """Different word pairs in a row as a share of all, 0–1, mean over answers (distinct-2, Li et al. 2016).

    An answer of less than two words has none and is missing. ``extra["together"]`` is the same share over the pairs of
    all answers at once: it shows a model that writes one varied text to every question.
    """
    pairs = [list(pairwise(words)) for words in map(_words, answers)]
    present = [found for found in pairs if found]
    every = [pair for found in present for pair in found]
    extra = {"missing": len(pairs) - len(present), "together": len(set(every)) / len(every) if every else float("nan")}
    if not present:
        return _nothing(extra)
    return measured((np.array([len(set(found)) / len(found) for found in present]),), np.mean, seed=seed, extra=extra)


def repeat_share(answers: Sequence[str], *, seed: int) -> Measured:
    """Length of the longest run of words that occurs twice as a share of the answer, mean over answers, 0–1.

    The two may overlap, so that a loop has a share near 1. Answers without a word are missing.
    """
    present = [words for words in map(_words, answers) if words]
    extra = {"missing": len(answers) - len(present)}
    if not present:
        return _nothing(extra)
    return measured(
        (np.array([longest_repeat(words) / len(words) for words in present]),), np.mean, seed=seed, extra=extra
    )


def excess_repeat(worn: Sequence[str], base: Sequence[str]) -> float:
    """How much more of the worn answers is repetition than of the unworn ones; 1 where nothing is said any more."""
    before, after = (repeat_share(answers, seed=0).value for answers in (base, worn))
    if math.isnan(before):
        return 0.0
    return 1.0 if math.isnan(after) else float(after - before)


def longest_repeat(words: Sequence[str]) -> int:
    """Length n of the longest n-gram that occurs at two places."""
    fits, fails = 0, len(words)  # a repeated n-gram holds a repeated (n − 1)-gram
    while fails - fits > 1:
        size = (fits + fails) // 2
        grams = [tuple(words[begin : begin + size]) for begin in range(len(words) - size + 1)]
        fits, fails = (size, fails) if len(set(grams)) < len(grams) else (fits, size)
    return fits


def _words(text: str) -> list[str]:
    """Words in lower case, without punctuation; letters of what is too long for a word, such as a run of one letter."""
    words = _WORD.findall(text.lower())
    return [part for word in words for part in ([word] if len(word) <= _LONGEST_WORD else word)]


def _perplexity(total: Array, tokens: Array, axis: int = -1) -> Any:
    return np.exp(-np.sum(total, axis=axis) / np.sum(tokens, axis=axis))


def _nothing(extra: dict[str, Any]) -> Measured:
    return Measured(float("nan"), float("nan"), float("nan"), 0, extra)
