"""Saliency personas from the command line: extract, evaluate with all controls, inspect, chat, list."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from expect import counted_passes, error, printed

import temperament.personas.saliency_personas as personas
from temperament.calibration import resolve_contrast
from temperament.cli.main import run
from temperament.compare.candidates import Workshop
from temperament.compare.settings import Texts
from temperament.models import LoadedModel, load_model

NEUTRAL = ("The tide comes in twice a day.", "Ice floats.")
SALIENCY = ["--method", "contrastive-saliency"]


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module", autouse=True)
def few_passages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personas, "neutral_texts", lambda: NEUTRAL)
        yield


def extraction(model: str, folder: Path, *more: str) -> list[str]:
    command = ["extract", "--model", model, "--contrast", "extraversion", "--limit", "6", "--out", str(folder)]
    return [*command, *SALIENCY, *more]


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outgoing")
    assert run(extraction(model, root, "--set", "share=0.01")) == 0
    return root


def test_extract(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second time from the statistics that are there."""
    times = {path.name: path.stat().st_mtime_ns for path in (folder / "signatures").iterdir()}
    assert set(times) == {"saliency.safetensors", "saliency-000.safetensors"}
    assert run(extraction(model, folder, "--set", "share=0.01", "--json")) == 0
    result = printed(capsys)
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "signatures").iterdir()} == times
    assert set(result["seconds"]) == {"load", "signatures", "subnetwork", "write"}
    assert result["parameters"]["share"] == 0.01
    assert result["parameters"]["tokens"] == "response"
    assert "sparsity" not in result["parameters"]
    found = result["subnetwork"]
    assert (found["plus"], found["minus"], found["of"]) == (154, 154, 15360)
    for pole in ("plus", "minus"):
        assert sum(found["by_layer"][pole]) == sum(found["by_module"][pole].values()) == 154
    assert all((folder / f"{pole}.persona").stat().st_size == size for pole, size in result["bytes"].items())


def test_extract_prints_a_table(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(extraction(model, folder, "--set", "share=0.01")) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "154 of the plus pole, 154 of the minus pole, of 15,360 (1 % each)" in shown
    assert "by layer, plus" in shown
    assert "by module, minus" in shown
    assert "down_proj" in shown


def test_damaged_statistics_are_collected_anew(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    intact = (folder / "plus.persona").read_bytes()
    for name in ("saliency-000.safetensors", "saliency.safetensors"):
        (tmp_path / "signatures" / name).write_bytes(b"rubbish")
        (tmp_path / "plus.persona").unlink()
        assert run(extraction(model, tmp_path, "--set", "share=0.01")) == 0
        assert (tmp_path / "plus.persona").read_bytes() == intact
    capsys.readouterr()


def evaluation(model: str, folder: Path, out: Path, *more: str) -> list[str]:
    pair = [f"--{pole}={folder / f'{pole}.persona'}" for pole in ("plus", "minus")]
    command = ["evaluate", "--model", model, *pair, "--data", "extraversion", "--limit", "3", "--measure", "separation"]
    return [*command, "--out", str(out), *more]


def test_evaluate_with_all_controls(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(evaluation(model, folder, tmp_path, "--strength", "1.5", "--json")) == 0
    result = printed(capsys)
    assert set(result["controls"]) == {"unworn", "random-0", "random-1", "random-2", "shuffled", "swapped", "prompt"}
    assert result["provenance"]["personas"]["plus"]["kind"] == "subnetwork"
    values = {name: measures["separation"]["value"] for name, measures in result["controls"].items()}
    worn = result["measures"]["separation"]["value"]
    assert values["unworn"] == 0
    assert values["swapped"] == -worn != 0
    assert len({worn, *values.values()}) == 8, "each condition wears something else"


@pytest.mark.parametrize("controls", ["random", "random-1", "unworn,random-0"])
def test_random_controls_alone_find_their_statistics(
    model: str, folder: Path, tmp_path: Path, controls: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(evaluation(model, folder, tmp_path, "--controls", controls, "--json")) == 0
    assert len(printed(capsys)["controls"]) == {"random": 3, "random-1": 1}.get(controls, 2)


def test_evaluate_without_statistics(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pole in ("plus", "minus"):
        shutil.copy(folder / f"{pole}.persona", tmp_path)
    for controls, control in (
        ("all", "shuffled control"),
        ("random", "random control"),
        ("random-2", "random control"),
    ):
        assert run(evaluation(model, tmp_path, tmp_path, "--controls", controls)) == 2
        message = error(capsys)
        assert control in message
        assert "--controls unworn,swapped,prompt" in message
    assert run(evaluation(model, tmp_path, tmp_path, "--controls", "unworn,swapped,prompt", "--json")) == 0
    assert len(printed(capsys)["controls"]) == 3
    given = ["--controls", "random-0", "--signatures", str(folder / "signatures"), "--json"]
    assert run(evaluation(model, tmp_path, tmp_path, *given)) == 0
    assert list(printed(capsys)["controls"]) == ["random-0"]


def test_inspect_and_chat(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "minus.persona"
    assert run(["inspect", str(path), "--json"]) == 0
    found = printed(capsys)
    assert (found["kind"], found["pole"], found["calibration_texts"]) == ("subnetwork", "minus", 12)
    assert found["subnetwork"] == {"weights": 154, "share": 154 / 15360, "linears": 14}
    assert run(["inspect", str(path)]) == 0
    assert "weights 154" in capsys.readouterr().out
    command = ["chat", "--model", model, "--wear", f"{path}:1.5", "--max-tokens", "3", "--prompt", "Hm?", "--json"]
    assert run(command) == 0
    assert printed(capsys)["worn"] == [["extraversion-minus", 1.5]]


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "methods", "--json"]) == 0
    rows = {row["name"]: row for row in printed(capsys)["methods"]}
    assert "share=0.005" in str(rows["contrastive-saliency"])


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--sparsity", "0.2"], ("no sparsity", "share=0.005")),
        (["--set", "sparsity.mlp=0.2"], ("no sparsity",)),
        (["--tokens", "all"], ("responses only", "--tokens response")),
        (["--source", "generate"], ("--source generate", "--method neurons")),
        (["--threshold", "0.1"], ("'threshold'", "no such setting")),
        (["--set", "share=0.5"], ("'share'",)),
        (["--set", "layers=4-7"], ("layers 4-7", "2 layers")),
    ],
)
def test_mistakes_get_one_line(
    more: list[str], parts: tuple[str, ...], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(extraction(model, tmp_path, *more)) == 2
    message = error(capsys)
    assert all(part in message for part in parts), message
    assert not list(tmp_path.glob("*.persona"))
    if "--set" in more and "--sparsity" not in more:
        assert not list(tmp_path.glob("signatures/saliency*"))


def test_negative_strengths_are_refused(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["chat", "--model", model, "--wear", f"{folder / 'plus.persona'}:-1", "--prompt", "Hm?"]
    assert run(command) == 2
    assert "opposite pole" in error(capsys)


def test_a_comparison_builds_the_pair_and_its_controls_from_files(model: str, tmp_path: Path) -> None:
    """A second workshop reads the personas, and the statistics for a control that is not there yet."""
    lm: LoadedModel = load_model(model, dtype="float32", device="cpu")
    contrast = resolve_contrast("extraversion", limit=4)
    texts = Texts(contrast, contrast, contrast, trait="extraversion")
    first = Workshop(lm, texts, 0, tmp_path).candidate("contrastive-saliency")
    assert first.random is not None
    drawn = first.random(0)
    with counted_passes(lm) as passes:
        again = Workshop(lm, texts, 0, tmp_path).candidate("contrastive-saliency")
        assert again.random is not None
        assert again.shuffled is not None
        assert again.random(0)[0].edit == drawn[0].edit
        assert again.random(1)[0].edit != drawn[0].edit
        assert again.shuffled()[0].edit not in (drawn[0].edit, first.plus.edit)
    assert passes == []
    assert (again.plus.edit, again.minus.edit) == (first.plus.edit, first.minus.edit)
    assert again.details == first.details
    assert (again.kind, again.strongest) == ("subnetwork", 4.0)
