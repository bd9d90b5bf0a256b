"""The analyses of masks and subnetworks from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from temperament.cli.main import run


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module")
def folder(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of masks and a pair of subnetworks of one trait, and neurons."""
    root = tmp_path_factory.mktemp("personas")
    for name, method in (("tilt", "contrastive-tilt"), ("sub", "contrastive-saliency"), ("neurons", "neurons")):
        command = ["extract", "--model", model, "--contrast", "extraversion", "--limit", "6", "--method", method]
        command += ["--set", "count=4"] if method == "neurons" else []
        command += ["--set", "share=0.02"] if name == "sub" else []
        assert run([*command, "--out", str(root / name)]) == 0
    return root


def pair(folder: Path) -> list[str]:
    return [str(folder / f"{pole}.persona") for pole in ("plus", "minus")]


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


def error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("note: ")]
    assert captured.out == ""
    assert [line.startswith("error: ") for line in lines] == [True], lines
    return lines[0]


def test_masks_with_the_texts_they_were_found_in(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["analyze", "masks", *pair(folder / "tilt"), *pair(folder / "sub"), "--model", model, "--limit", "3"]
    capsys.readouterr()
    assert run([*command, "--out", str(tmp_path), "--random", "2", "--json"]) == 0
    result = printed(capsys)
    assert list(result["personas"]) == ["tilt/plus", "tilt/minus", "sub/plus", "sub/minus"]
    assert result["texts"] == 6
    assert result["jaccard_shown"] == "edited"
    opposite = [pair for pair in result["pairs"] if pair["opposite"]]
    assert [(pair["first"], pair["second"]) for pair in opposite] == [
        ("tilt/plus", "tilt/minus"),
        ("sub/plus", "sub/minus"),
    ]
    assert [len(pair["random"]) for pair in result["pairs"]] == [2, 0, 0, 0, 0, 2]
    assert len(opposite[0]["states"]["cosine"]["value"]) == 2
    assert len(result["figures"]) == 5
    assert all(Path(path).with_suffix(suffix).is_file() for path in result["figures"] for suffix in (".png", ".svg"))
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "Jaccard index of weights edited" in shown
    assert "Cosine of mean hidden states" in shown


def test_masks_without_texts(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["analyze", "masks", *pair(folder / "tilt"), "--model", model, "--texts", "none", "--json"]) == 0
    result = printed(capsys)
    assert result["cosine_with_base"] == {}
    assert result["pairs"][0]["differential_ratio"]["all"] > 0
    assert run(["analyze", "masks", *pair(folder / "tilt"), "--model", model, "--texts", "none"]) == 0
    shown = capsys.readouterr().out
    assert "entries kept" in shown
    assert "hidden states" not in shown


def test_texts_they_were_calibrated_on_get_a_remark(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["analyze", "masks", *pair(folder / "tilt"), "--model", model, "--random", "0", "--json"]
    assert run([*command, "--texts", "extraversion#calibration"]) == 0
    assert "12 of 168 texts were used to calibrate" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("only", [False, True])
def test_restore_a_pair(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], only: bool
) -> None:
    command = ["analyze", "restore", *pair(folder / "sub"), "--model", model, "--limit", "2", "--out", str(tmp_path)]
    command += ["--only"] if only else []
    assert run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "38 conditions of 4 statements" in captured.err
    assert result["direction"] == ("only" if only else "restore")
    assert result["provenance"]["data"]["split"] == "validation"
    assert [len(result["levels"][level]["ranked"]) for level in ("layers", "linears")] == [2, 14]
    assert result["levels"]["layers"]["ranked"][0]["random"] is not None
    assert result["levels"]["linears"]["intervals"]["by_chance"] == pytest.approx(0.7)
    figure = tmp_path / ("only.png" if only else "restore.png")
    assert result["figure"] == str(figure)
    assert figure.with_suffix(".svg").is_file()
    assert json.loads(figure.with_suffix(".json").read_text())["direction"] == result["direction"]
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()}
    assert before
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert ("gained where worn only there" if only else "lost where restored") in " ".join(shown.split())
    assert "intervals exclude 0" in shown
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "records").iterdir()} == before


def test_restore_one_persona_and_one_level(model: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plus = folder / "tilt" / "plus.persona"
    command = ["analyze", "restore", str(plus), "--model", model, "--limit", "2", "--level", "layers", "--json"]
    assert run(command) == 0
    result = printed(capsys)
    assert list(result["levels"]) == ["layers"]
    assert list(result["provenance"]["personas"]) == ["plus"]
    assert (folder / "tilt" / "restore" / "restore.png").is_file()


def test_statistics_are_found_where_a_comparison_keeps_them(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "personas" / "contrastive-saliency"
    place.mkdir(parents=True)
    files = [str(shutil.copy(path, place)) for path in pair(folder / "sub")]
    shutil.copytree(folder / "sub" / "signatures", tmp_path / "signatures" / "subnetwork")
    restore = ["analyze", "restore", *files, "--model", model, "--limit", "2", "--level", "layers", "--json"]
    capsys.readouterr()
    assert run(restore) == 0
    assert printed(capsys)["no_random_control"] is None
    evaluate = ["evaluate", "--plus", files[0], "--minus", files[1], "--data", "extraversion", "--model", model]
    assert run([*evaluate, "--limit", "2", "--controls", "shuffled", "--json"]) == 0


def test_a_subnetwork_without_statistics_is_restored_without_control(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for path in map(Path, pair(folder / "sub")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        files.append(str(tmp_path / path.name))
    assert run(["analyze", "restore", *files, "--model", model, "--limit", "2", "--level", "layers", "--json"]) == 0
    captured = capsys.readouterr()
    assert "no random control: there is no folder" in " ".join(captured.err.split())
    assert "needs the statistics" in json.loads(captured.out)["no_random_control"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["masks", "tilt/plus"], ("nothing to be compared with",)),
        (["masks", "tilt/plus", "neurons/plus"], ("is a neurons persona", "masks or subnetworks")),
        (["masks", "tilt/plus", "tilt/none"], ("there is no persona file",)),
        (["masks", "tilt/plus", "tilt/minus", "--texts", "nowhere.txt"], ("no built-in contrast and no file",)),
        (["restore", "tilt/plus", "tilt/plus"], ("both files hold the plus pole",)),
        (["restore", "tilt/plus", "sub/minus"], ("are not a pair",)),
        (["restore", "tilt/plus", "tilt/minus", "sub/plus"], ("3 files were given",)),
        (["restore", "neurons/plus"], ("is a neurons persona",)),
        (["restore", "tilt/plus", "--level", "heads"], ("--level heads", "layers or linears")),
        (["restore", "tilt/plus", "--strength", "2"], ("strength 2", "use 0 to 1")),
        (["restore", "tilt/plus", "--data", "extraversion#calibration", "--all"], ("used to calibrate",)),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    parts: tuple[str, ...],
    model: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(folder / f"{name}.persona") if name.count("/") == 1 else name for name in arguments]
    assert run(["analyze", *files, "--model", model, "--out", str(tmp_path / "out")]) == 2
    message = error(capsys)
    assert all(part in message for part in parts), message


def test_a_persona_of_another_model_is_refused_in_one_line(
    tiny_folders: dict[str, Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("masks", "restore"):
        assert run(["analyze", command, *pair(folder / "tilt"), "--model", str(tiny_folders["qwen2"])]) == 2
        assert "whose weights are not those of" in error(capsys)
