"""SparseGPT personas from the command line: extract, evaluate with all controls, inspect, list; and in a comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from expect import counted_streams

from temperament.calibration import Contrast, resolve_contrast
from temperament.cli.main import run
from temperament.compare import Settings, compare
from temperament.compare.candidates import Workshop
from temperament.compare.settings import Texts
from temperament.models import LoadedModel

METHODS = ("sparsegpt", "contrastive-sparsegpt")


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


def extraction(model: str, folder: Path, *more: str, limit: str = "6") -> list[str]:
    command = ["extract", "--model", model, "--contrast", "extraversion", "--limit", limit, "--out", str(folder)]
    return [*command, "--sparsity", "0.3", *more]


@pytest.fixture(scope="module", params=METHODS)
def made(request: pytest.FixtureRequest, model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp("outgoing")
    assert run(extraction(model, root, "--method", request.param)) == 0
    return request.param, root


def test_extract(model: str, made: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The second time from the layers that are there."""
    method, folder = made
    layers = {path.name: path.stat().st_mtime_ns for path in (folder / "signatures" / "sparsegpt").iterdir()}
    personas = {path.name: path.read_bytes() for path in folder.glob("*.persona")}
    assert len(layers) == 2
    assert run(extraction(model, folder, "--method", method, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "signatures" / "sparsegpt").iterdir()} == layers
    assert {path.name: path.read_bytes() for path in folder.glob("*.persona")} == personas
    own = {"damping": 0.01, "block": 128, "scope": "block"}
    assert result["parameters"] == {**own, "sparsity": {"default": "0.3"}, "tokens": "response", "seed": 42}
    assert set(result["seconds"]) == {"load", "signatures", "sparsegpt", "write"}
    found = result["sparsegpt"]
    assert found["sparsity"] == pytest.approx(0.3, abs=0.001)
    assert set(found["hessians"]) == {"plus", "minus"}


def test_singular_hessians_are_told(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = tmp_path / "one.txt"
    one.write_text("No.\n")
    other = tmp_path / "other.txt"
    other.write_text("Yes!\n")
    command = ["extract", "--model", model, "--contrast", f"{one},{other}#all", "--out", str(tmp_path / "few")]
    for method in METHODS:
        assert run([*command, "--method", method, "--set", "damping=0", "--json"]) == 0
        captured = capsys.readouterr()
        report = json.loads(captured.out)["sparsegpt"]["hessians"]["plus"]
        assert report["raised"]["model.layers.1.mlp.down_proj"] > 0
        told = [line for line in captured.err.splitlines() if line.startswith("note: ")]
        assert any("8 of 8 Hessians are singular" in line for line in told)
        assert any("minus: the damping of 0 was not enough" in line and "down_proj" in line for line in told)
    assert run([*command, "--method", "sparsegpt"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "plus 8, 8 singular without damping, damping raised for 0 Linears" in shown
    assert run(["inspect", str(tmp_path / "few" / "plus.persona")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "packed bits" in shown
    assert "singular" in shown


def test_evaluate_with_all_controls(
    model: str, made: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = made
    pair = [f"--{pole}={folder / f'{pole}.persona'}" for pole in ("plus", "minus")]
    command = ["evaluate", "--model", model, *pair, "--data", "extraversion", "--limit", "3", "--measure", "separation"]
    assert run([*command, "--out", str(tmp_path), "--strength", "0.5", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    values = {name: measures["separation"]["value"] for name, measures in result["controls"].items()}
    assert set(values) == {"unworn", "random-0", "random-1", "random-2", "shuffled", "swapped", "prompt"}
    worn = result["measures"]["separation"]["value"]
    assert values["unworn"] == 0
    assert values["swapped"] == -worn != 0
    assert len({worn, *values.values()}) == 8, "each condition wears something else"
    assert result["provenance"]["personas"]["plus"]["sparsity"] == {"default": "0.3"}


def test_chat(model: str, made: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, folder = made
    wear = ["--wear", f"{folder / 'plus.persona'}:0.7"]
    assert run(["chat", "--model", model, *wear, "--prompt", "Who are you?", "--max-tokens", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["methods"]}
    for method in METHODS:
        assert rows[method]["settings"] == "expert_tokens, damping=0.01, block=128, scope=block"
        assert rows[method]["sparsity"] != "–"


def test_a_role_to_play_is_refused(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*extraction(model, tmp_path, "--method", "sparsegpt"), "--source", "generate"]) == 2
    assert "--source generate" in capsys.readouterr().err


def test_a_comparison_reads_a_pair_and_its_controls_again(
    tiny_llama: LoadedModel, few_texts: Contrast, tmp_path: Path
) -> None:
    texts = Texts(resolve_contrast("extraversion", limit=4), few_texts, few_texts)
    first = Workshop(tiny_llama, texts, 42, tmp_path).candidate("sparsegpt")
    assert first.random is not None
    assert first.shuffled is not None
    controls = first.random(0), first.shuffled()
    with counted_streams(tiny_llama) as passes:
        again = Workshop(tiny_llama, texts, 42, tmp_path).candidate("sparsegpt")
        assert again.random is not None
        assert again.shuffled is not None
        assert (again.plus.edit, again.minus.edit) == (first.plus.edit, first.minus.edit)
        assert (again.random(0)[0].edit, again.shuffled()[0].edit) == (controls[0][0].edit, controls[1][0].edit)
    assert passes == []
    assert again.details == first.details
    assert (tmp_path / "signatures" / "sparsegpt" / "sparsegpt").is_dir()


def test_a_comparison_passes_the_notes_on(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    told: list[str] = []
    settings = Settings("extraversion", ("sparsegpt",), calibration=2, validation=2, test=2, questions=1, transfer="")
    compare(tiny_llama, settings, tmp_path, note=told.append)
    assert any(text.startswith("sparsegpt: plus: ") and "singular" in text for text in told)
