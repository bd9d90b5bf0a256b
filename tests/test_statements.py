"""Statements as an instrument: its records against direct scores, its identity, and its arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from expect import counted_passes, refused
from support import mixed_contrast

from temperament.calibration import Example
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.score import score_responses
from temperament.evaluation.statements import Statements, statement_arrays, statement_changes
from temperament.models import LoadedModel
from temperament.personas import Plan


def test_every_statement_gets_its_own_mean_log_probability(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    contrast = mixed_contrast()
    instrument = Statements(contrast)
    records = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    assert len(records) == len(instrument) == 10
    for record, example in zip(records, (*contrast.plus, *contrast.minus), strict=True):
        (score,) = score_responses(tiny_llama, [tiny_llama.encode(example.prompt, example.response)])
        assert (record["prompt"], record["response"]) == (example.prompt, example.response)
        assert record["nats_per_token"] == pytest.approx(score.per_token, abs=1e-4)
    high, low = statement_arrays(records)
    assert [record["pole"] for record in records] == ["plus"] * 5 + ["minus"] * 5
    assert [*high, *low] == [record["nats_per_token"] for record in records]


def test_an_interrupted_run_puts_only_the_rest_to_the_model(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    instrument = Statements(mixed_contrast())
    complete = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    (file,) = tmp_path.iterdir()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:-3]), encoding="utf-8")
    with counted_passes(tiny_llama) as passes:
        again = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    assert passes
    assert [row["response"] for row in again] == [row["response"] for row in complete]
    assert [row["nats_per_token"] for row in again] == pytest.approx([row["nats_per_token"] for row in complete])
    with counted_passes(tiny_llama) as passes:
        Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    assert not passes


def test_the_hash_changes_with_texts_and_poles() -> None:
    contrast = mixed_contrast()
    first = contrast.plus[0]
    variants = [
        contrast,
        replace(contrast, plus=contrast.minus, minus=contrast.plus),
        replace(contrast, plus=contrast.plus[1:], minus=(first, *contrast.minus)),
        replace(contrast, plus=(replace(first, prompt="Why?"), *contrast.plus[1:])),
    ]
    assert len({Statements(variant).hash for variant in variants}) == 4
    assert Statements(contrast, "another").hash == Statements(contrast).hash
    assert Statements(contrast).groups == contrast.group_keys


def test_a_prompt_that_leaves_no_room_is_refused(tiny_llama: LoadedModel) -> None:
    long = Example("word " * 200, "Yes.", "g")
    with refused("the test prompt 'word word", "fills all 512 tokens", "shorten"):
        list(Statements(replace(mixed_contrast(), plus=(long,))).run(tiny_llama, range(6)))


def test_changes_are_taken_statement_by_statement() -> None:
    def rows(*values: float) -> list[dict[str, object]]:
        return [
            {"pole": pole, "prompt": "?", "response": text, "nats_per_token": value}
            for (pole, text), value in zip((("plus", "a"), ("plus", "b"), ("minus", "c")), values, strict=True)
        ]

    high, low = statement_changes(rows(-1, -2, -3), rows(-2, -2, -1))
    assert np.array_equal(high, [1, 0])
    assert np.array_equal(low, [-2])
    with pytest.raises(ValueError, match="different statements"):
        statement_changes(rows(-1, -2, -3), rows(-2, -2, -1)[::-1])
