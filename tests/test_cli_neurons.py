"""Neuron personas from the command line: extract from both sources, evaluate, chat, analyse, sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from expect import error, printed

from temperament.cli.main import run

COUNT = ["--method", "neurons", "--set", "count=6"]


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two extractions of neurons, side by side."""
    root = tmp_path_factory.mktemp("personas")
    for trait in ("extraversion", "openness"):
        command = ["extract", "--model", model, "--contrast", trait, "--limit", "8", "--out", str(root / trait)]
        assert run([*command, *COUNT]) == 0
    return root


def test_extract_from_texts(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", "--model", model, "--contrast", "extraversion", "--limit", "8", "--out", str(tmp_path)]
    assert run([*command, "--method", "neurons", "--threshold", "0.05", "--set", "gamma=1.4", "--json"]) == 0
    result = printed(capsys)
    assert set(result["seconds"]) == {"load", "signatures", "neurons", "write"}
    assert result["parameters"] == {
        "variant": "published",
        "threshold": 0.05,
        "gamma": 1.4,
        "weighted": True,
        "source": "texts",
        "tokens": "response",
        "seed": 42,
    }
    found = result["neurons"]
    assert found["plus"] > 0
    for pole in ("plus", "minus"):
        assert len(found["by_layer"][pole]) == 2
        assert sum(found["by_layer"][pole]) == found[pole]
    assert all((tmp_path / f"{pole}.persona").stat().st_size == size for pole, size in result["bytes"].items())


def test_extract_by_generating_keeps_transcripts_and_reuses_them(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["extract", "--model", model, "--contrast", "extraversion", *COUNT, "--source", "generate"]
    command += ["--limit", "3", "--max-tokens", "5", "--out", str(tmp_path), "--json"]
    assert run(command) == 0
    first = printed(capsys)
    assert first["items"] == {"plus": 3, "minus": 3}
    assert first["parameters"]["source"] == "generate"
    lines = (tmp_path / "signatures" / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["pole"] for line in lines] == ["plus"] * 3 + ["minus"] * 3
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "signatures").iterdir()}
    assert run(command) == 0
    assert printed(capsys)["neurons"] == first["neurons"]
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "signatures").iterdir()} == before


def test_evaluate_with_all_controls(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [f"--{pole}={folder / 'extraversion' / f'{pole}.persona'}" for pole in ("plus", "minus")]
    command = ["evaluate", "--model", model, *pair, "--data", "extraversion", "--limit", "3", "--measure", "separation"]
    assert run([*command, "--strength", "1.5", "--out", str(tmp_path), "--json"]) == 0
    result = printed(capsys)
    assert set(result["controls"]) == {"unworn", "random-0", "random-1", "random-2", "shuffled", "swapped", "prompt"}
    assert result["provenance"]["strength"] == {"plus": 1.5, "minus": 1.5}
    assert result["provenance"]["personas"]["plus"]["kind"] == "neurons"


def test_chat_mixes_two_traits(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [folder / trait / "plus.persona" for trait in ("extraversion", "openness")]
    command = ["chat", "--model", model, "--wear", f"{files[0]}:0.8", "--wear", f"{files[1]}:-0.5", "--max-tokens", "3"]
    assert run([*command, "--prompt", "Hm?", "--json"]) == 0
    assert printed(capsys)["worn"] == [["extraversion-plus", 0.8], ["openness-plus", -0.5]]


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(folder / "openness" / "minus.persona"), "--json"]) == 0
    found = printed(capsys)
    assert found["kind"] == "neurons"
    assert found["neurons"] == {
        "plus": 6,
        "minus": 6,
        "of": 96,
        "layers": 2,
        "gamma": 0.7,
        "weighted": True,
        "variant": "published",
    }


def test_analyze_one_and_several(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "neurons", str(folder), "--figure", str(tmp_path / "all.png"), "--json"]) == 0
    result = printed(capsys)
    assert list(result["personas"]) == ["extraversion", "openness"]
    assert [result["personas"]["openness"][pole] for pole in ("plus", "minus")] == [6, 6]
    own = result["overlap"]["openness"]["openness"]
    assert own.pop("chance") == pytest.approx(1.5 / 22.5), "12 and 12 of 96 have 1.5 in common by chance"
    assert own == {"jaccard": 1.0, "shared": 12, "same_sign": 1.0}
    assert result["overlap"]["openness"]["extraversion"] == result["overlap"]["extraversion"]["openness"]
    assert len(result["values"]["openness"]) == 4
    for values in result["values"]["openness"].values():
        assert sum(values["plus"]) == pytest.approx(1, abs=1e-4)
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    assert run(["analyze", "neurons", str(folder / "openness")]) == 0
    shown = capsys.readouterr().out
    assert "openness" in shown
    assert "Overlap" not in shown
    assert (folder / "openness" / "neurons.png").is_file()


def test_sweep_measures_every_value_with_and_without_f(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--model", model, "--contrast", "extraversion", "--limit", "8", "--over", "gamma"]
    command += ["--values", "1.4,0", "--set", "count=6", "--out", str(folder / "extraversion"), "--json"]
    assert run(command) == 0
    result = printed(capsys)
    points = [(point["value"], point["series"]) for point in result["points"]]
    assert points == [(value, series) for value in (0.0, 1.4) for series in ("with f", "without f")]
    separation = [point["measures"]["separation"]["value"] for point in result["points"]]
    assert separation[0] == separation[1], "without a raise f makes no difference"
    assert len(set(separation)) == 3
    assert all(point["controls"]["random-0"]["separation"] for point in result["points"])
    assert all(point["provenance"]["data"]["split"] == "validation" for point in result["points"])
    assert (folder / "extraversion" / "sweep-gamma.png").read_bytes().startswith(b"\x89PNG")


def test_sweep_skips_thresholds_without_neurons(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--model", model, "--contrast", "extraversion", "--limit", "4", "--over", "threshold"]
    assert run([*command, "--values", "0.05,0.99", "--out", str(tmp_path), "--json"]) == 0
    result = printed(capsys)
    assert [point["value"] for point in result["points"]] == [0.05, 0.05]
    assert [left["value"] for left in result["skipped"]] == [0.99]
    assert run([*command, "--values", "0.99", "--out", str(tmp_path)]) == 2
    assert "0.99; give lower thresholds" in error(capsys)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["extract", "--method", "neurons", "--sparsity", "0.2"], ("no sparsity", "threshold=0.1")),
        (["extract", "--method", "neurons", "--set", "sparsity.mlp=0.2"], ("no sparsity",)),
        (["extract", "--method", "wanda", "--threshold", "0.1"], ("'threshold'", "no such setting")),
        (["extract", "--method", "wanda", "--source", "generate"], ("--source generate", "--method neurons")),
        (["extract", "--method", "neurons", "--source", "books"], ("--source books", "texts or generate")),
        (["extract", "--method", "neurons", "--threshold", "2"], ("'threshold'", "less than 1")),
        (["extract", "--method", "neurons", "--threshold", "0.1", "--set", "count=5"], ("one of threshold, count",)),
        (["extract", "--method", "neurons", "--set", "gamma=nan"], ("'gamma'",)),
        (["extract", "--method", "neurons", "--source", "generate", "--max-tokens", "1"], ("allow 2 tokens",)),
        (["extract", "--method", "neurons", "--threshold", "0.999"], ("largest |δ| is", "lower the threshold")),
        (["sweep", "--over", "depth", "--values", "1"], ("--over depth", "gamma")),
        (["sweep", "--over", "gamma", "--values", "a,b"], ("'a,b' holds no numbers",)),
        (["sweep", "--over", "gamma", "--values", "-1"], ("'gamma'", "greater than or equal to 0")),
        (["sweep", "--over", "gamma", "--values", "1", "--set", "gamma=2"], ("sets gamma itself",)),
        (["sweep", "--over", "threshold", "--values", ".1", "--set", "count=9"], ("no room for count or share",)),
        (["sweep", "--over", "gamma", "--values", "1", "--figure", "a.jpg"], ("give a .png file",)),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str], parts: tuple[str, ...], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*arguments, "--model", model, "--contrast", "extraversion", "--limit", "4", "--out", str(tmp_path)]
    assert run(command) == 2
    message = error(capsys)
    assert all(part in message for part in parts), message
    assert not list(tmp_path.glob("*.persona"))


def test_analyze_refuses_what_holds_no_neurons(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", "neurons", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in error(capsys)
    assert run(["analyze", "neurons", str(tmp_path)]) == 2
    assert "no neuron persona" in error(capsys)
    assert run(["analyze", "neurons", str(folder), "--figure", "a.svg"]) == 2
    assert "give a .png file" in error(capsys)
