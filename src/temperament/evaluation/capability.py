"""``capability``: what wearing costs in accuracy on multiple-choice benchmarks, in percentage points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_uppercase as LETTERS
from typing import Any

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.errors import TemperamentError
from temperament.evaluation.benchmarks import Benchmark, Question
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.scored_items import score_items
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded, response_ids

#: Part of the hash: a change of the prompts' wording makes other records.
_FORMAT = "1"


class MultipleChoice:
    """The questions of a benchmark, each answered by the log-probabilities of its options.

    HellaSwag scores every ending, behind a space, as a continuation of the context. MMLU puts the lettered options
    in the prompt, behind ``shots`` worked examples of the subject (the first of the dev file that are not the
    question itself), and scores the letters; its words are the project's own, so that figures compare among
    themselves and not, to the point, with published ones. All is plain text behind a worn system prompt, with no chat
    template, unless ``chat`` is set: then context or question is the user's turn and the option the reply.

    Each record is {subject, question, options, answer, scoring, log_probability: one per option in nats}.
    """

    def __init__(self, benchmark: Benchmark, *, shots: int = 0, chat: bool = False) -> None:
        self._scoring, self._questions, self._chat = benchmark.scoring, benchmark.questions, chat
        if shots < 0 or (shots and benchmark.scoring == "endings"):
            raise TemperamentError(f"{shots} worked examples for {benchmark.name}", "leave out shots")
        self._prompts = [_prompt(benchmark, question, shots) for question in benchmark.questions]
        self._name = benchmark.name + (f"-{shots}-shot" if shots else "") + ("-chat" if chat else "")

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        items = zip(self._prompts, self._questions, strict=True)
        texts = ("\x1f".join((prompt, *item.options, str(item.answer), item.subject)) for prompt, item in items)
        return text_digest(["multiple choice", _FORMAT, self._scoring, str(self._chat), *texts])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(question.text) for question in self._questions)

    def __len__(self) -> int:
        return len(self._questions)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        def encode(index: int) -> list[Encoded]:
            options = self._questions[index].options
            answers = options if self._scoring == "endings" else LETTERS[: len(options)]
            put = _encode_chat if self._chat else _encode_plain
            return [_fitting(lm, put(lm, self._prompts[index], answer), self._prompts[index]) for answer in answers]

        for index, scores in score_items(lm, len(self), todo, encode):
            question = self._questions[index]
            yield (
                index,
                {
                    "subject": question.subject,
                    "question": question.text,
                    "options": list(question.options),
                    "answer": question.answer,
                    "scoring": self._scoring,
                    "log_probability": [score.total for score in scores],
                },
            )


def _prompt(benchmark: Benchmark, question: Question, shots: int) -> str:
    if benchmark.scoring == "endings":
        return question.text
    worked = [item for item in benchmark.examples.get(question.subject, ()) if item.key != question.key][:shots]
    if len(worked) < shots:
        raise TemperamentError(
            f"{shots} worked examples were asked for, but {benchmark.name} has {len(worked)} other ones on "
            f"{question.subject or 'its subject'!r}",
            "give a folder that holds SUBJECT_dev.csv beside SUBJECT_test.csv, or ask for fewer shots",
        )
    about = f" about {question.subject}" if question.subject else ""
    head = f"Here are multiple-choice questions{about}, each with the letter of the right answer.\n\n"
    return head + "".join(f"{_lettered(item)} {LETTERS[item.answer]}\n\n" for item in worked) + _lettered(question)


def _lettered(question: Question) -> str:
    options = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False))
    return f"{question.text}{options}\nAnswer:"


def _encode_plain(lm: LoadedModel, context: str, answer: str) -> Encoded:
    """Context and answer tokenised as one text, cut where the context alone would end.

    The special tokens, a worn system prompt and worn samples stand before it, apart, so that the scored tokens are
    the same whatever is worn.
    """
    head = lm.head_ids(context)
    alone, whole = (
        tuple(lm.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
        for text in (context, f"{context} {answer}")
    )
    if whole[: len(alone)] != alone or len(whole) == len(alone):  # a token that holds the end of one and the other
        whole = alone + tuple(lm.tokenizer(f" {answer}", add_special_tokens=False, verbose=False).input_ids)
    return Encoded((*head, *whole), len(head) + len(alone))


def _encode_chat(lm: LoadedModel, context: str, answer: str) -> Encoded:
    head = lm.dialogue_ids((("user", context),))
    return Encoded((*head, *response_ids(lm.tokenizer, answer)), len(head))


def _fitting(lm: LoadedModel, item: Encoded, prompt: str) -> Encoded:
    if len(item.ids) > lm.max_tokens:
        raise TemperamentError(
            f"a question takes {len(item.ids)} tokens, the model takes {lm.max_tokens}: {prompt[-60:]!r}",
            "ask for fewer shots, or shorten the system prompt that is worn",
        )
    return item


def hits(records: Sequence[Record], *, normalised: bool) -> Array:
    """1 where the right option scores highest, 1/k where k options tie for it, else 0; (items,).

    ``normalised`` divides each log-probability by the option's number of characters (acc_norm of lm-eval).
    """
    found = []
    for record in records:
        scores = np.array(record["log_probability"], dtype=float)
        if normalised:
            scores = scores / [len(option) for option in record["options"]]
        best = scores == scores.max()
        found.append(best[record["answer"]] / best.sum())
    return np.array(found, dtype=float)


def capability(plus: Sequence[Record], minus: Sequence[Record], base: Sequence[Record], *, seed: int) -> Measured:
    """Change of accuracy from unworn to worn, in percentage points; the value is the worse of plus and minus.

    Endings are judged by the normalised accuracy (``raw_*`` are the plain ones), letters by the plain one. ``plus``,
    ``minus`` and ``unworn`` are accuracies in %; ``chance`` is guessing, ``fixed`` the best score of always taking
    the same position. Where ``above_chance`` is false, the unworn model cannot do the task and no loss can show.
    """
    sides = {"plus": plus, "minus": minus, "unworn": base}
    for side in (plus, minus):
        if [_item(row) for row in side] != [_item(row) for row in base]:
            raise ValueError("the records of worn and unworn hold different questions")
    endings = any(row["scoring"] == "endings" for row in base)
    right = {name: hits(rows, normalised=endings) for name, rows in sides.items()}
    extra: dict[str, Any] = {}
    unworn = measured((right["unworn"],), _percent, seed=seed)
    for name, values in right.items():
        accuracy = unworn if name == "unworn" else measured((values,), _percent, seed=seed)
        extra |= {name: accuracy.value, f"{name}_interval": [accuracy.low, accuracy.high]}
    changes = {name: measured((right[name], right["unworn"]), _change, seed=seed, paired=True) for name in _WORN}
    for name, change in changes.items():
        extra |= {f"{name}_change": change.value, f"{name}_change_interval": [change.low, change.high]}
    if endings:
        extra |= {f"raw_{name}": float(100 * hits(rows, normalised=False).mean()) for name, rows in sides.items()}
    chance = float(np.mean([100 / len(row["options"]) for row in base]))
    extra |= {"chance": chance, "fixed": _fixed(base), "above_chance": bool(unworn.low > chance)}
    worst = min(changes.values(), key=lambda change: change.value)
    return Measured(worst.value, worst.low, worst.high, len(base), extra)


_WORN = ("plus", "minus")


def _item(record: Record) -> tuple[Any, ...]:
    return record["subject"], record["question"], record["options"], record["answer"], record["scoring"]


def _fixed(records: Sequence[Record]) -> float:
    return float(100 * np.bincount([row["answer"] for row in records]).max() / len(records))


def _percent(right: Array, axis: int = -1) -> Any:
    return 100 * np.mean(right, axis=axis)


def _change(worn: Array, unworn: Array, axis: int = -1) -> Any:
    return 100 * (np.mean(worn, axis=axis) - np.mean(unworn, axis=axis))
