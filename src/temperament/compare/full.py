"""What ``--full`` adds: questionnaire, capability and drift of every method, and specificity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temperament.calibration.items import read_items
from temperament.compare.measuring import Measuring, Worn
from temperament.compare.settings import Settings, Texts
from temperament.evaluation.benchmarks import read_hellaswag, read_mmlu
from temperament.evaluation.capability import MultipleChoice, capability
from temperament.evaluation.drift import Dialogues, drift
from temperament.evaluation.drift_scripts import drift_scripts
from temperament.evaluation.instrument import Instrument, Record
from temperament.evaluation.questionnaire import PRESENTATIONS, Questionnaire, effects
from temperament.evaluation.specificity import builtin_statements, run_matrix, specificity
from temperament.personas import Plan

#: Items of a benchmark, and statements per pole of a trait in the specificity matrix.
BENCHMARK_ITEMS, MATRIX_ITEMS = 100, 20


def full_measures(measuring: Measuring, texts: Texts, settings: Settings, worn: Worn) -> dict[str, Any]:
    """Further measures of one pair of plans, as plain JSON values; those whose files are not given are left out."""
    ledger, seed = measuring.ledger, settings.seed

    def sides(instrument: Instrument) -> tuple[list[Record], list[Record], list[Record]]:
        return (
            ledger.run(instrument, worn.plus, f"{worn.name}-plus"),
            ledger.run(instrument, worn.minus, f"{worn.name}-minus"),
            ledger.run(instrument, Plan(), "unworn"),
        )

    found: dict[str, Any] = {}
    if measuring.judge:
        found["drift"] = drift(*sides(Dialogues(drift_scripts())), measuring.judge.probability, seed=seed).as_json()
    if settings.hellaswag:
        benchmark = read_hellaswag(settings.hellaswag, limit=BENCHMARK_ITEMS, seed=seed)
        found["hellaswag"] = capability(*sides(MultipleChoice(benchmark)), seed=seed).as_json()
    if settings.mmlu:
        benchmark = read_mmlu(settings.mmlu, limit=BENCHMARK_ITEMS, seed=seed)
        found["mmlu"] = capability(*sides(MultipleChoice(benchmark)), seed=seed).as_json()
    if settings.questionnaire and texts.trait:
        form = Questionnaire(read_items(settings.questionnaire), PRESENTATIONS["quick"])
        plus, minus, _ = sides(form)
        by_trait = effects(plus, minus, seed=seed)
        found["questionnaire"] = by_trait[texts.trait].as_json()
    return found


def specificity_rows(measuring: Measuring, pairs: Mapping[str, Worn]) -> dict[str, Any]:
    """Separation of every method's pair on the statements of the five built-in traits."""
    columns = builtin_statements(limit=MATRIX_ITEMS, seed=measuring.seed)
    plans = {name: (worn.plus, worn.minus) for name, worn in pairs.items()}
    cells = specificity(run_matrix(measuring.ledger, plans, columns), seed=measuring.seed).cells
    return {
        "rows": list(cells),
        "columns": list(columns),
        "values": [[cell.as_json() for cell in row.values()] for row in cells.values()],
    }
