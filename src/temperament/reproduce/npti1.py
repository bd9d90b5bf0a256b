"""NPTI Table 1: how strongly free answers show each pole of the five traits, by a judge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from temperament.calibration import Contrast, Pole
from temperament.calibration.builtin import questions as builtin_questions
from temperament.calibration.contrast import POLES
from temperament.calibration.personality_bench import read_questions
from temperament.endpoint import Endpoint
from temperament.evaluation.bootstrap import Array, Measured, measured
from temperament.evaluation.endpoint_judge import Answered, judge_answers
from temperament.evaluation.generation import Generation
from temperament.evaluation.instrument import Record, text_digest
from temperament.evaluation.local_judge import LocalJudge, trait_judge
from temperament.evaluation.rubrics import trait_rubric
from temperament.personas import Persona, Plan
from temperament.reproduce.bench import OURS, Bench, control
from temperament.reproduce.paper import NPTI, NPTI_1, NPTI_MODEL
from temperament.reproduce.table import Column, Reproduced, Row
from temperament.reproduce.traits import TRAIT_NAMES, trait_candidate, trait_contrasts

#: The group of columns over all traits.
ALL = "all traits"
#: Repetition penalty of NPTI's answers (released setting).
PENALTY = 1.15


class PoleJudge(Protocol):
    """How strongly answers show a pole of a trait; NaN where there is no verdict."""

    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    def start(self, trait: str, texts: Contrast) -> str:
        """Get ready for a trait whose personas come from ``texts``; what must be said of the figures."""

    def scores(self, answers: Sequence[Record], trait: str, pole: Pole) -> Array: ...


class EndpointScores:
    """A language model's verdicts from 1 to 5, each pole on a scale of its own."""

    unit = "1–5"

    def __init__(self, endpoint: Endpoint, model: str, seed: int) -> None:
        self._endpoint, self._seed = endpoint, seed
        self.label = f"{model}, scores 1–5, each pole on its own scale; the sum goes from 2 to 10"

    def start(self, trait: str, texts: Contrast) -> str:  # noqa: ARG002 - needs no texts
        return ""

    def scores(self, answers: Sequence[Record], trait: str, pole: Pole) -> Array:
        asked = [Answered(row["question"], row["answer"], pole) for row in answers]
        found = judge_answers(
            self._endpoint, asked, lambda side: trait_rubric(trait, side), fluency=False, seed=self._seed
        )
        return np.array([np.nan if row["trait"] is None else row["trait"] for row in found], dtype=float)


class LocalScores:
    """The local judge's probability of the pole, from 0 to 1: another scale than the paper's."""

    unit = "0–1"
    label = "local judge, probability of the pole 0–1, not the paper's 1–5; the sum goes from 0 to 2"

    def __init__(self) -> None:
        self._judges: dict[str, LocalJudge] = {}

    def start(self, trait: str, texts: Contrast) -> str:
        judge = trait_judge(trait)
        judge.check_disjoint(texts.group_keys)
        self._judges[trait] = judge
        return f"{trait}: {judge.label}"

    def scores(self, answers: Sequence[Record], trait: str, pole: Pole) -> Array:
        found = self._judges[trait].probability([row["answer"] for row in answers])
        return found if pole == "plus" else 1 - found


def npti_1(bench: Bench, judge: PoleJudge) -> Reproduced:
    """Rows of methods; per trait both poles' means and variances and their sum, then the sum over all traits.

    All methods are worn at strength 1, untuned.
    """
    rows = bench.rows(NPTI_1, OURS)
    printed = {row.method: row.figures for row in NPTI_1}
    unworn = control("unworn", "unworn")
    contrasts = trait_contrasts(bench)
    kept: dict[str, list[tuple[Array, Array]]] = {}
    for trait, texts in contrasts.items():
        if said := judge.start(trait, texts):
            bench.note(said)
        items = _questions(bench, trait)
        base = bench.ledger.run(items, Plan(), "unworn")
        _add(bench, unworn, trait, _both(judge, trait, base, base), kept)
        for row in rows:
            bench.attempt(row, trait, partial(_method, bench, judge, trait, texts, items, row, kept))
    for row in (unworn, *rows):
        row.add(ALL, paper=printed.get(row.name, {}).get("total"), sum=_total(kept.get(row.name, []), bench.seed))
        row.add(ALL, random=_total(kept.get(f"{row.name}-random", []), bench.seed))
    bench.notes.extend(_notes(bench, judge))
    return bench.finish(
        "Judge's means and variances of both poles",
        f"{NPTI}, Table 1",
        f"{NPTI_MODEL}, judge's means 1–5, both poles summed (2–10)",
        {**dict.fromkeys(contrasts, _columns(judge.unit)), ALL: _total_columns(judge.unit)},
        [unworn, *rows],
    )


def _columns(unit: str) -> tuple[Column, ...]:
    return (
        Column("plus", "+ mean", "ours", unit, 2, interval=False),
        Column("plus_variance", "+ var.", "ours", "", 2),
        Column("minus", "− mean", "ours", unit, 2, interval=False),
        Column("minus_variance", "− var.", "ours", "", 2),
        Column("sum", "sum", "ours", unit, 2, overview=True),
        Column("random", "random", "control", unit, 2),
    )


def _total_columns(unit: str) -> tuple[Column, ...]:
    return (
        Column("paper", "paper, 2–10", "paper", "2–10", 2, overview=True),
        Column("sum", f"sum, twice {unit}", "ours", unit, 2, overview=True),
        Column("random", "random", "control", unit, 2),
    )


def _questions(bench: Bench, trait: str) -> Generation:
    """The published test questions of a trait where they are there, else the built-in ones."""
    path = bench.settings.file(f"npti/test/{trait.capitalize()}.json")
    asked = read_questions(path) if path else builtin_questions(trait, "test")
    if not path:
        bench.note(f"{trait}: built-in test questions, since there is no npti/test/{trait.capitalize()}.json in DATA")
    asked = asked[: bench.settings.limit]
    bench.data[trait]["questions"] = {
        "source": path.name if path else "built-in",
        "hash": text_digest(asked),
        "items": len(asked),
    }
    return Generation(asked, max_tokens=bench.settings.max_tokens, repetition_penalty=PENALTY)


def _both(judge: PoleJudge, trait: str, plus: Sequence[Record], minus: Sequence[Record]) -> tuple[Array, Array]:
    """Scores of the answers written as plus on the plus scale, and as minus on the minus scale."""
    first, second = (judge.scores(side, trait, pole) for pole, side in zip(POLES, (plus, minus), strict=True))
    return first, second


def _method(
    bench: Bench,
    judge: PoleJudge,
    trait: str,
    texts: Contrast,
    items: Generation,
    row: Row,
    kept: dict[str, list[tuple[Array, Array]]],
) -> None:
    candidate = trait_candidate(bench, trait, texts, row)

    def judged(poles: tuple[Persona, Persona], label: str) -> tuple[Array, Array]:
        sides = bench.sides(items, poles, f"{trait}-{label}")
        return _both(judge, trait, sides.plus, sides.minus)

    _add(bench, row, trait, judged((candidate.plus, candidate.minus), row.name), kept)
    without = bench.random(candidate)
    if without:
        pair = judged(without, f"{row.name}-random")
        kept.setdefault(f"{row.name}-random", []).append(pair)
        row.add(trait, random=_total([pair], bench.seed, traits=1))


def _add(
    bench: Bench, row: Row, trait: str, pair: tuple[Array, Array], kept: dict[str, list[tuple[Array, Array]]]
) -> None:
    kept.setdefault(row.name, []).append(pair)
    for pole, scores in zip(POLES, pair, strict=True):
        mean = _mean(scores, bench.seed)
        row.add(trait, **{pole: mean, f"{pole}_variance": mean.extra["variance"] if mean else None})
    row.add(trait, sum=_total([pair], bench.seed, traits=1))


def _mean(scores: Array, seed: int) -> Measured | None:
    """Mean of the scores there are, with sample variance and the number of missing ones; None without any."""
    present = scores[~np.isnan(scores)]
    if not len(present):
        return None
    variance = float(present.var(ddof=1)) if len(present) > 1 else None
    extra = {"variance": variance, "n_missing": len(scores) - len(present)}
    return measured([present], np.mean, seed=seed, extra=extra)


def _total(pairs: Sequence[tuple[Array, Array]], seed: int, traits: int = len(TRAIT_NAMES)) -> Measured | None:
    """Sum of both poles' means, averaged over traits; None unless every trait and pole has a score."""
    present = [scores[~np.isnan(scores)] for pair in pairs for scores in pair]
    if len(pairs) != traits or not all(len(scores) for scores in present):
        return None

    def total(*samples: Array, axis: int = -1) -> Any:
        return sum(np.mean(sample, axis=axis) for sample in samples) / traits

    return measured(present, total, seed=seed)


def _notes(bench: Bench, judge: PoleJudge) -> tuple[str, ...]:
    return (
        f"judge: {judge.label}",
        "+ and −: mean and variance of the scores of the answers written wearing that pole, each for its own pole; "
        "sum: both means; random: the sum for a random edit of the same size (seed 0); unworn: the same answers judged "
        "for both poles, which is what nothing scores",
        f"answers: greedy, at most {bench.settings.max_tokens} tokens, repetition penalty {PENALTY} (released: 400 "
        "tokens); empty cells: the paper's figures by trait are not at hand",
    )
