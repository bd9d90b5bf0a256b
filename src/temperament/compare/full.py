"""What ``--full`` adds: two-choice, questionnaire, capability and drift of every method, and specificity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from temperament.calibration.items import read_items
from temperament.compare.measuring import Figures, Measuring, Worn
from temperament.compare.settings import MATRIX_ITEMS, Settings, Texts
from temperament.evaluation.benchmarks import read_hellaswag, read_mmlu
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.capability import MultipleChoice, capability
from temperament.evaluation.choices import TwoChoice
from temperament.evaluation.drift import Dialogues, drift
from temperament.evaluation.drift_scripts import drift_scripts
from temperament.evaluation.instrument import Instrument, Record
from temperament.evaluation.questionnaire import PRESENTATIONS, Questionnaire, effect
from temperament.evaluation.run import find_measures
from temperament.evaluation.specificity import builtin_statements, run_matrix, specificity, trait_statements

#: Items of a benchmark.
BENCHMARK_ITEMS = 100

#: From the records wearing plus, wearing minus and unworn to a figure.
Compute = Callable[[list[Record], list[Record], list[Record]], Measured]


class Further:
    """The further measures of a comparison; those whose files are not given are left out.

    Files are read here, so that a wrong one is told before anything is measured.
    """

    def __init__(self, measuring: Measuring, texts: Texts, settings: Settings) -> None:
        self._measuring, seed = measuring, settings.seed
        self._trait, self._others = texts.trait, trait_statements(texts.others)
        (measure,) = find_measures(("two_choice",))
        self._measures: dict[str, tuple[Instrument, Compute]] = {
            "two_choice": (
                TwoChoice.of(texts.test),
                lambda plus, minus, base: measure.compute(plus, minus, base, seed),
            )
        }
        if judge := measuring.judge:
            self._measures["drift"] = (
                Dialogues(drift_scripts()),
                lambda plus, minus, base: drift(plus, minus, base, judge.probability, seed=seed),
            )
        for name, path, read in (
            ("hellaswag", settings.hellaswag, read_hellaswag),
            ("mmlu", settings.mmlu, read_mmlu),
        ):
            if path:
                benchmark = MultipleChoice(read(path, limit=BENCHMARK_ITEMS, seed=seed))
                self._measures[name] = (benchmark, lambda *sides: capability(*sides, seed=seed))
        if settings.questionnaire and (trait := texts.trait):
            form = Questionnaire(read_items(settings.questionnaire), PRESENTATIONS["quick"])
            self._measures["questionnaire"] = (form, lambda plus, minus, _: effect(plus, minus, trait, seed))

    def measure(self, worn: Worn) -> Figures:
        """The further figures of one pair of plans."""
        return {
            name: compute(*self._measuring.sides(instrument, worn))
            for name, (instrument, compute) in self._measures.items()
        }

    def specificity(self, pairs: Mapping[str, Worn]) -> dict[str, Any]:
        """Separation of every method's pair on statements of the five built-in traits and of other sets, as JSON."""
        columns = builtin_statements(limit=MATRIX_ITEMS, seed=self._measuring.seed) | self._others
        plans = {name: (worn.plus, worn.minus) for name, worn in pairs.items()}
        cells = specificity(run_matrix(self._measuring.ledger, plans, columns), seed=self._measuring.seed).cells
        return {
            "own": self._trait,
            "rows": list(cells),
            "columns": list(columns),
            "values": [[cell.as_json() for cell in row.values()] for row in cells.values()],
        }


def drift_by_turn(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The trait by turn of each side, {value, low, high, n} or null, from the plain values of the measure ``drift``."""
    turns: list[Mapping[str, Any]] = figure["by_turn"]
    found: dict[str, Any] = {"turns": [turn["turn"] for turn in turns]}
    for side in ("plus", "minus", "unworn"):
        found[side] = [
            None
            if turn[side] is None
            else {
                "value": turn[side],
                **dict(zip(("low", "high"), turn[f"{side}_interval"], strict=True)),
                "n": turn[f"{side}_n"],
            }
            for turn in turns
        ]
    return found
