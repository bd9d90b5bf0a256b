"""Specificity and transfer on records with known separations, and both through the ledger on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from expect import refused
from support import mixed_contrast

from temperament.calibration import NEUTRAL_PROMPT, resolve_contrast
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.specificity import (
    Sides,
    builtin_statements,
    run_matrix,
    specificity,
    trait_statements,
)
from temperament.evaluation.statements import Statements
from temperament.evaluation.transfer import (
    SECOND_PROMPT,
    transfer_statements,
    with_prompt,
)
from temperament.models import LoadedModel
from temperament.personas import Extraction, Plan


def side(high: Sequence[float], low: Sequence[float]) -> list[Record]:
    poles = [("plus", value) for value in high] + [("minus", value) for value in low]
    return [
        {"pole": pole, "prompt": "?", "response": f"{pole}{at}", "nats_per_token": -3 + value}
        for at, (pole, value) in enumerate(poles)
    ]


def moved(separation: float, noise: float = 0.0, seed: int = 0) -> Sides:
    """Four statements per pole whose mean change between the poles is exactly ``separation``."""
    rng = np.random.default_rng(seed)
    high, low = (values - values.mean() for values in rng.normal(0, noise, (2, 4)))
    return side(list(separation + high), list(low)), side([0.0] * 4, [0.0] * 4)


def test_the_matrix_keeps_signs_and_the_summary_compares_own_with_other_traits() -> None:
    values = {"e": {"e": 1.0, "n": -0.4, "o": 0.2}, "n": {"e": -0.2, "n": 0.6, "o": 0.0}}
    matrix = {worn: {trait: moved(value) for trait, value in row.items()} for worn, row in values.items()}
    found = specificity(matrix, seed=0)
    for worn, row in values.items():
        for trait, value in row.items():
            assert found.cells[worn][trait].value == pytest.approx(value)
    assert found.cells["e"]["n"].extra["auc"] == 0
    assert found.cells["n"]["o"].extra["auc"] == 0.5
    summary = found.summary
    assert summary is not None
    assert summary.extra["diagonal"] == pytest.approx(0.8)
    assert summary.extra["off_diagonal"] == pytest.approx(0.2)
    assert summary.extra["off_diagonal_signed"] == pytest.approx(-0.1)
    assert (summary.value, summary.low, summary.high) == pytest.approx((0.6, 0.6, 0.6))
    assert (summary.n, summary.extra["rows"]) == (24, 2)
    assert found.as_json()["cells"]["e"]["n"]["value"] == pytest.approx(-0.4)


def test_the_interval_of_the_summary_resamples_statements_once_for_all_rows() -> None:
    """Two rows that move every statement alike: their own and other traits differ by 0, resampled or not."""
    noisy = {"e": moved(1.0, 0.5, 1), "n": moved(1.0, 0.5, 2)}
    together = specificity({"e": noisy, "n": noisy}, seed=0).summary
    apart = specificity({"e": noisy}, seed=0).summary
    assert together is not None
    assert apart is not None
    assert together.value == pytest.approx(0)
    assert (together.low, together.high) == pytest.approx((0, 0), abs=1e-9)
    assert apart.low < -0.1 < 0.1 < apart.high
    assert apart == specificity({"e": noisy}, seed=0).summary


def test_a_pair_without_a_column_of_its_own_has_cells_but_no_summary() -> None:
    found = specificity({"pirate": {"e": moved(0.5), "n": moved(0.1)}}, seed=0)
    assert found.cells["pirate"]["e"].value == pytest.approx(0.5)
    assert found.summary is None
    assert specificity({"e": {"e": moved(1.0)}}, seed=0).summary is None
    mixed = specificity({"pirate": {"e": moved(9), "n": moved(9)}, "n": {"e": moved(0.5), "n": moved(1)}}, seed=0)
    assert mixed.summary is not None
    assert mixed.summary.value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="different traits"):
        specificity({"e": {"e": moved(1)}, "n": {"n": moved(1)}}, seed=0)


def test_the_matrix_through_the_ledger(tiny_llama: LoadedModel, tiny_extraction: Extraction) -> None:
    columns = builtin_statements(limit=2)
    assert list(columns) == ["openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"]
    assert len({column.name for column in columns.values()}) == 5
    columns = {trait: columns[trait] for trait in ("extraversion", "neuroticism")}
    pair = Plan.of(tiny_extraction.plus), Plan.of(tiny_extraction.minus)
    ledger = Ledger(tiny_llama)
    matrix = run_matrix(ledger, {"extraversion": pair, "swapped": pair[::-1]}, columns)
    found = specificity(matrix, seed=0)
    assert matrix["extraversion"]["neuroticism"][0] == ledger.run(columns["neuroticism"], pair[0], "x")
    for trait in columns:
        assert found.cells["extraversion"][trait].value == pytest.approx(-found.cells["swapped"][trait].value)
        assert found.cells["extraversion"][trait].value != 0
    leaking = trait_statements({"extraversion": resolve_contrast("extraversion", limit=8)})
    with refused("statements-extraversion", "used to calibrate"):
        run_matrix(ledger, {"extraversion": pair}, leaking)


# --- transfer --------------------------------------------------------------------------------------------------------


def test_another_question_keeps_texts_and_their_identity() -> None:
    contrast = resolve_contrast("extraversion-scenes", split="test", limit=3)
    found = transfer_statements(contrast)
    changed = with_prompt(contrast, SECOND_PROMPT)
    assert {item.prompt for item in (*changed.plus, *changed.minus)} == {SECOND_PROMPT} != {NEUTRAL_PROMPT}
    assert [item.response for item in changed.plus] == [item.response for item in contrast.plus]
    assert found["same"].groups == found["changed"].groups == contrast.group_keys
    assert found["same"].hash == Statements(contrast).hash
    assert found["changed"].hash == Statements(changed).hash != found["same"].hash
    assert found["same"].name != found["changed"].name
    with refused("question is empty"):
        with_prompt(contrast, " ")


def test_answers_to_questions_of_their_own_keep_them() -> None:
    assert list(transfer_statements(mixed_contrast())) == ["same"]
    with refused("'mixed'", "3 different questions"):
        with_prompt(mixed_contrast(), SECOND_PROMPT)
