"""``drift``: how long a persona lasts in a dialogue that goes on with the model's own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from temperament.calibration.contrast import group_key
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.instrument import Record, batches, text_digest
from temperament.models import LoadedModel
from temperament.models.generation import generate_ids

#: Fewest user turns of a script: a persona that fades does so over several.
MIN_TURNS = 8
#: Dialogues that are generated side by side.
_ROWS = 16

#: Probabilities (texts,) that each text comes from the plus pole; NaN for a text without a verdict.
Judge = Callable[[Sequence[str]], Array]


class Script(Protocol):
    """What the user says in one dialogue, turn by turn, whatever the model answers."""

    @property
    def name(self) -> str: ...

    @property
    def turns(self) -> Sequence[str]: ...


class Dialogues:
    """Scripted dialogues of at least eight user turns, answered greedily; each answer stays in the dialogue.

    One item is one script; scripts run side by side, one batch a turn, and a row's answers do not depend on its
    neighbours. Each record is {script, turns: [{question, answer}], note}. A dialogue stops before the turn whose
    question and longest answer no longer fit into the model's window; ``note`` says so, else it is None.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        *,
        max_tokens: int = 40,
        repetition_penalty: float = 1.1,
        label: str = "drift",
    ) -> None:
        _check(scripts, max_tokens)
        self._scripts = [(script.name, tuple(script.turns)) for script in scripts]
        self._max_tokens, self._penalty, self._name = max_tokens, repetition_penalty, label

    @property
    def name(self) -> str:
        return self._name

    @property
    def hash(self) -> str:
        scripts = ("\x1f".join((name, *turns)) for name, turns in self._scripts)
        return text_digest(["own turns", str(self._max_tokens), str(self._penalty), *scripts])

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(group_key(turn) for _, turns in self._scripts for turn in turns)

    def __len__(self) -> int:
        return len(self._scripts)

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        if lm.rows_worn:
            raise TemperamentError("dialogues are held under one plan, but one per row is worn", "wear one plan")
        for batch in batches(range(len(self)), _ROWS, todo):
            running = [_Dialogue(index, *self._scripts[index]) for index in batch]
            finished: list[_Dialogue] = []
            while running:
                self._turn(lm, running)
                finished += [dialogue for dialogue in running if dialogue.over]
                running = [dialogue for dialogue in running if not dialogue.over]
            finished.sort(key=lambda row: row.index)
            yield from ((dialogue.index, dialogue.record()) for dialogue in finished if dialogue.index in todo)

    def _turn(self, lm: LoadedModel, dialogues: Sequence[_Dialogue]) -> None:
        """One more answer in every dialogue that has room for it; the others stop."""
        prompts = [lm.dialogue_ids(dialogue.asked()) for dialogue in dialogues]
        fits = [len(prompt) + self._max_tokens <= lm.max_tokens for prompt in prompts]
        for dialogue, prompt, fit in zip(dialogues, prompts, fits, strict=True):
            if not fit:
                dialogue.stop(len(prompt), self._max_tokens, lm.max_tokens)
        going = [dialogue for dialogue, fit in zip(dialogues, fits, strict=True) if fit]
        if going:
            answers = generate_ids(
                lm,
                [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit],
                max_tokens=self._max_tokens,
                repetition_penalty=self._penalty,
            )
            for dialogue, answer in zip(going, answers, strict=True):
                dialogue.answers.append(str(lm.tokenizer.decode(answer, skip_special_tokens=True)).strip())


class _Dialogue:
    """A dialogue as far as it has gone."""

    def __init__(self, index: int, name: str, questions: tuple[str, ...]) -> None:
        self.index, self._name, self._questions = index, name, questions
        self.answers: list[str] = []
        self._note: str | None = None

    @property
    def over(self) -> bool:
        return self._note is not None or len(self.answers) == len(self._questions)

    def asked(self) -> tuple[tuple[str, str], ...]:
        """Everything said so far and the next question."""
        past = zip(self._questions, self.answers, strict=False)
        said = [turn for question, answer in past for turn in (("user", question), ("assistant", answer))]
        return (*said, ("user", self._questions[len(self.answers)]))

    def stop(self, tokens: int, answer: int, window: int) -> None:
        self._note = (
            f"stopped before turn {len(self.answers) + 1}: {tokens} tokens and an answer of up to {answer} do not fit "
            f"into the model's window of {window}"
        )

    def record(self) -> Record:
        turns = zip(self._questions, self.answers, strict=False)
        spoken = [{"question": question, "answer": answer} for question, answer in turns]
        return {"script": self._name, "turns": spoken, "note": self._note}


def _check(scripts: Sequence[Script], max_tokens: int) -> None:
    if not scripts:
        raise TemperamentError("there is no script to hold a dialogue by", "give one or more")
    if max_tokens < 1:
        raise TemperamentError(f"answers of {max_tokens} tokens were asked for", "give 1 or more")
    if len({script.name for script in scripts}) < len(scripts):
        raise TemperamentError("two scripts have the same name", "name each one differently")
    for script in scripts:
        if len(script.turns) < MIN_TURNS or not all(turn.strip() for turn in script.turns):
            raise TemperamentError(
                f"the script {script.name!r} has {sum(bool(turn.strip()) for turn in script.turns)} turns with text "
                f"of {len(script.turns)}",
                f"give {MIN_TURNS} or more user turns, none of them empty",
            )


def drift(
    plus: Sequence[Record], minus: Sequence[Record], base: Sequence[Record], judge: Judge, *, seed: int
) -> Measured:
    """Change per turn of (trait score wearing plus − wearing minus); 0 is no drift, and below 0 the persona fades.

    The value is the mean over scripts of each script's least-squares slope over its turns, with an interval over
    scripts. ``by_turn`` has, for each turn, the mean trait score of plus, minus and unworn and their difference over
    the scripts that reached it. An empty answer has no score; ``empty``, ``unscored`` and ``stopped`` count, per side,
    such answers, other answers without a verdict, and the scripts that the window cut short.
    """
    sides = {"plus": plus, "minus": minus, "unworn": base}
    for side in (plus, minus):
        if [row["script"] for row in side] != [row["script"] for row in base]:
            raise ValueError("the records of plus, minus and unworn hold different scripts")
    scores = {name: trait_scores(rows, judge) for name, rows in sides.items()}
    turns = max(score.shape[1] for score in scores.values())
    answered = {
        name: sum(bool(turn["answer"]) for row in rows for turn in row["turns"]) for name, rows in sides.items()
    }
    unscored = {name: count - int(np.isfinite(scores[name]).sum()) for name, count in answered.items()}
    scores = {name: _padded(score, turns) for name, score in scores.items()}
    difference = scores["plus"] - scores["minus"]
    slopes = np.array([slope for row in difference if (slope := _slope(row)) is not None])
    extra: dict[str, Any] = {
        "by_turn": [_at_turn(turn, scores, difference, seed) for turn in range(turns)],
        "scripts": len(base),
        "empty": {name: sum(not t["answer"] for row in rows for t in row["turns"]) for name, rows in sides.items()},
        "unscored": unscored,
        "stopped": {name: sum(row["note"] is not None for row in rows) for name, rows in sides.items()},
    }
    if not len(slopes):
        return Measured(float("nan"), float("nan"), float("nan"), 0, extra)
    return measured((slopes,), np.mean, seed=seed, extra=extra)


def trait_scores(records: Sequence[Record], judge: Judge) -> Array:
    """Score of every answer, (scripts, turns); NaN where there is none."""
    turns = max((len(row["turns"]) for row in records), default=0)
    scores = np.full((len(records), turns), np.nan)
    places = [
        (script, turn, answer["answer"])
        for script, row in enumerate(records)
        for turn, answer in enumerate(row["turns"])
        if answer["answer"]
    ]
    if places:
        rows, columns, texts = zip(*places, strict=True)
        values = np.asarray(judge(texts), dtype=float)
        if values.shape != (len(texts),):
            raise ValueError(f"the judge gave values of shape {values.shape} for {len(texts)} texts")
        scores[rows, columns] = values
    return scores


def _padded(scores: Array, turns: int) -> Array:
    missing = np.full((len(scores), turns - scores.shape[1]), np.nan)
    return np.concatenate([scores, missing], axis=1)


def _slope(values: Array) -> float | None:
    """Least-squares slope per turn over the turns that have a value; None for fewer than two."""
    turns = np.flatnonzero(np.isfinite(values))
    return float(np.polyfit(turns, values[turns], 1)[0]) if len(turns) > 1 else None


def _at_turn(turn: int, scores: dict[str, Array], difference: Array, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {"turn": turn + 1}
    for name, values in (*scores.items(), ("difference", difference)):
        there = values[np.isfinite(values[:, turn]), turn]
        if len(there):
            mean = measured((there,), np.mean, seed=seed)
            found |= {name: mean.value, f"{name}_interval": [mean.low, mean.high], f"{name}_n": mean.n}
        else:
            found |= {name: None, f"{name}_interval": None, f"{name}_n": 0}
    return found
