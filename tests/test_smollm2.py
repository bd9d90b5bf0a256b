"""The embedded model from end to end: extraction, effect beside its controls, wearing, chat, sizes, second load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import temperament as tp
from temperament.cli.main import run
from temperament.methods import kept
from temperament.personas import MaskEdit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lm() -> tp.LanguageModel:
    return tp.load("smollm2-135m")


@pytest.fixture(scope="module")
def personas(lm: tp.LanguageModel) -> tuple[tp.Persona, tp.Persona]:
    return tp.extract(lm, "extraversion")


def test_worn_pair_separates_and_controls_do_not(lm: tp.LanguageModel, personas: tuple[tp.Persona, tp.Persona]) -> None:
    result = tp.evaluate(lm, *personas, measures=("separation", "auc"), controls=("unworn", "shuffled", "swapped"))
    assert result.measures["separation"].low > 0.2
    assert result.measures["auc"].low > 0.6
    assert result.controls["unworn"]["separation"].value == 0
    assert result.controls["shuffled"]["separation"].low < 0 < result.controls["shuffled"]["separation"].high
    assert result.controls["swapped"]["separation"].value == -result.measures["separation"].value


def test_wearing_changes_the_answer_and_comes_off_exactly(
    lm: tp.LanguageModel, personas: tuple[tp.Persona, tp.Persona]
) -> None:
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    question = "What do you enjoy most about your weekends?"
    plain = lm.chat(question, max_tokens=16)
    with lm.wear(personas[0]):
        worn = lm.chat(question, max_tokens=16)
    with lm.wear(0.0 * personas[0]):
        assert lm.chat(question, max_tokens=16) == plain
    assert worn != plain
    assert lm.chat(question, max_tokens=16) == plain
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extraction = ["extract", "--contrast", "neuroticism", "--limit", "16", "--out", str(tmp_path), "--json"]
    assert run(extraction) == 0
    result = json.loads(capsys.readouterr().out)
    assert sum(result["bytes"].values()) <= 800_000
    assert 0.19 < result["masks"]["sparsity"] < 0.21
    pair = ["--plus", str(tmp_path / "plus.persona"), "--minus", str(tmp_path / "minus.persona")]
    evaluation = ["evaluate", *pair, "--data", "neuroticism", "--limit", "8", "--measure", "separation,perplexity"]
    assert run([*evaluation, "--controls", "unworn,prompt", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert 15 < measured["measures"]["perplexity"]["base"] < 60
    assert measured["controls"]["unworn"]["perplexity"]["value"] == 1


@pytest.mark.parametrize("method", ["sparsegpt", "contrastive-sparsegpt"])
def test_sparsegpt(lm: tp.LanguageModel, method: str, tmp_path: Path) -> None:
    """Masks by the full Hessians of the real model: their counts, the price of each, the file, the way back."""
    pair = tp.extract(lm, tp.contrast("extraversion", limit=16), method=method, sparsity=0.2, folder=tmp_path)
    masks = [persona.edit.masks(lm) for persona in pair if isinstance(persona.edit, MaskEdit)]
    for linear in lm.linears:
        plus, minus = (own.mask(linear) for own in masks)
        assert plus is not None
        assert minus is not None
        size = plus.numel()
        assert int(plus.sum()) == int(minus.sum()) == kept("0.2", size)
        assert bool((plus | minus).all()) == (method == "contrastive-sparsegpt")
    path = pair[0].save(tmp_path / "plus.persona")
    assert path.stat().st_size < 11_000_000
    singular = pair[0].provenance["hessians"]["singular"]
    assert singular["down_proj"] == list(range(30)), "16 texts have fewer tokens than 1536"
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    result = tp.evaluate(lm, *pair, limit=4, measures=("perplexity",), controls=())
    cost = result.measures["perplexity"]
    assert (cost.value < 1.1) == (method == "sparsegpt"), "contested weights are those the model needs most"
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())


def test_bundled_model_is_the_checked_file(lm: tp.LanguageModel) -> None:
    """The fingerprint of the dequantised weights is part of every persona file: it must never change unnoticed."""
    assert lm.family.name == "Llama"
    assert len(lm.linears) == 210
    assert lm.width == 97_920
    assert tp.load("smollm2-135m").fingerprint == lm.fingerprint


def test_public_statements(data_dir: Path, lm: tp.LanguageModel) -> None:
    """The figure the project is held to: separation and AUC on statements of another source."""
    path = data_dir / "anthropic_evals" / "persona" / "extraversion.jsonl"
    plus, minus = tp.extract(lm, tp.contrast(str(path), limit=120), t=8, sparsity=0.2)
    test = tp.contrast(str(path), split="test", limit=60)
    result = tp.evaluate(lm, plus, minus, test, measures=("separation", "auc"), controls=())
    assert result.measures["separation"].value >= 1.2
    assert result.measures["auc"].value >= 0.86
