"""``temperament export`` from end to end on a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from comparing import custom_contrast
from support import tokens
from test_cli import one_line_error, printed_json
from test_export import reloaded

from temperament.cli.main import run
from temperament.evaluation.perplexity import neutral_passages
from temperament.models import load_model
from temperament.personas import open_persona
from temperament.wear import wear

TRAIT = "extraversion"


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module")
def extracted(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extracted")
    assert run(["extract", "--model", model, "--contrast", TRAIT, "--limit", "8", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = neutral_passages()[:3]
    monkeypatch.setattr("temperament.export.measure.neutral_passages", lambda: kept)
    monkeypatch.setattr("temperament.export.energy.neutral_texts", lambda: kept)


def command(model: str, out: Path, *more: str) -> list[str]:
    return ["export", "--model", model, "--out", str(out), "--dtype", "float32", *more]


def test_merged(model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plus, minus = (str(extracted / f"{pole}.persona") for pole in ("plus", "minus"))
    worn = ["--wear", f"{plus}:0.7", "--wear", f"{minus}:0.2"]
    assert run(command(model, tmp_path / "out", *worn, "--merged", "--json")) == 0
    result = printed_json(capsys)
    assert [row["strength"] for row in result["worn"]] == [0.7, 0.2]
    assert result["merged"]
    assert result["bytes"] == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    lm = load_model(model, dtype="float32", device="cpu")
    with wear(lm, 0.7 * open_persona(plus) + 0.2 * open_persona(minus)), torch.no_grad():
        expected = lm.model(input_ids=tokens(12), use_cache=False).logits
    assert torch.equal(reloaded(tmp_path / "out", tokens(12)), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert run(command(model, tmp_path / "again", *worn, "--merged")) == 0
    assert "AutoModelForCausalLM" in capsys.readouterr().out
    assert run(command(model, tmp_path / "unchanged", "--wear", f"{plus}:0", "--merged")) == 0
    assert "all is worn at strength 0" in capsys.readouterr().err


@pytest.mark.parametrize("pole", ["plus", "minus"])
def test_structured_beside_its_controls(
    pole: str, model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = (
        str(extracted / f"{name}.persona") for name in (("plus", "minus") if pole == "plus" else ("minus", "plus"))
    )
    more = ["--wear", own, "--against", other, "--structured", "0.25", "--heads", "0.5", "--limit", "4", "--measure"]
    assert run(command(model, tmp_path / "out", *more, "--merged", "--json")) == 0
    result = printed_json(capsys)
    assert result["structured"]["from"] == {"channels": 48, "heads": 4, "key_value_heads": 2}
    assert result["structured"]["to"] == {"channels": 36, "heads": 2, "key_value_heads": 1}
    figures = result["figures"]
    speed = figures.pop("tokens_per_second")
    assert min(speed["dense"], speed["exported"], speed["ratio"]) > 0
    cuts = ["exported", "random pair of personas", "importance unworn", "magnitude", "channels at random"]
    assert list(figures) == ["dense, unworn", "dense, worn", *cuts]
    assert figures["dense, unworn"]["perplexity"]["value"] == 1
    assert figures["dense, unworn"]["separation"]["value"] == 0
    note = json.loads((tmp_path / "out" / "temperament.json").read_text())
    assert note["figures"]["exported"] == figures["exported"]
    assert list((tmp_path / "out-records").glob("*.jsonl"))
    assert run(command(model, tmp_path / "second", *more, "--merged", "--records", str(tmp_path / "out-records"))) == 0
    printed = capsys.readouterr().out
    said = " ".join(printed.split())
    assert all(word in said for word in ("48 → 36 MLP channels", "4 → 2 heads", "exported", "magnitude", "tokens/s"))
    assert max(map(len, printed.partition(str(tmp_path))[0].splitlines())) <= 80
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "second"))
    assert first == second
    evaluation = [
        "evaluate",
        "--model",
        model,
        "--dtype",
        "float32",
        "--data",
        TRAIT,
        "--limit",
        "4",
        "--controls",
        "none",
    ]
    pair = ["--plus", str(extracted / "plus.persona"), "--minus", str(extracted / "minus.persona")]
    assert run([*evaluation, *pair, "--measure", "separation", "--out", str(tmp_path / "e"), "--json"]) == 0
    separation = printed_json(capsys)["measures"]["separation"]["value"]
    assert figures["dense, worn"]["separation"]["value"] == pytest.approx(separation)


def test_a_subnetwork_has_its_random_control_where_its_statistics_are(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--contrast", TRAIT, "--limit", "8", "--method", "contrastive-saliency", "--set", "share=0.02"]
    assert run(["extract", "--model", model, *more, "--out", str(tmp_path / "sub")]) == 0
    pair = [str(tmp_path / "sub" / f"{pole}.persona") for pole in ("plus", "minus")]
    cut = ["--wear", f"{pair[0]}:1.5", "--against", pair[1]]
    cut += ["--structured", "0.25", "--limit", "4", "--merged", "--json"]
    capsys.readouterr()
    assert run(command(model, tmp_path / "with", *cut)) == 0
    with_random = printed_json(capsys)["figures"]
    assert with_random["random pair of personas"]["separation"] != with_random["exported"]["separation"]
    shutil.rmtree(tmp_path / "sub" / "signatures")
    assert run(command(model, tmp_path / "without", *cut)) == 0
    captured = capsys.readouterr()
    without = json.loads(captured.out)["figures"]
    assert without == {name: row for name, row in with_random.items() if name != "random pair of personas"}
    assert "no random control" in captured.err


@pytest.mark.parametrize("more", [["--data", TRAIT], ["--limit", "3"], ["--records", "kept"]])
def test_what_nothing_is_measured_for_is_refused(
    more: list[str], model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worn = ["--wear", str(extracted / "plus.persona"), "--merged"]
    assert run(command(model, tmp_path / "out", *worn, *more)) == 2
    assert ("--records" if "--records" in more else "--against") in one_line_error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_file_with_the_name_of_a_trait_is_not_that_trait(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = custom_contrast(tmp_path / f"{TRAIT}.jsonl", per_pole=8)
    assert run(["extract", "--model", model, "--contrast", f"{texts}#all", "--out", str(tmp_path / "own")]) == 0
    capsys.readouterr()
    pair = ["--wear", str(tmp_path / "own/plus.persona"), "--against", str(tmp_path / "own/minus.persona")]
    assert run(command(model, tmp_path / "out", "--structured", "0.25", *pair)) == 2
    assert "--data" in one_line_error(capsys)


def test_structured_without_a_persona(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(model, tmp_path / "out", "--structured", "0.25", "--json")) == 0
    result = printed_json(capsys)
    assert list(result["figures"]) == ["dense, unworn", "exported", "magnitude", "channels at random"]
    assert "separation" not in result["figures"]["exported"]
    assert result["worn"] == []


def test_the_cut_of_a_mask_is_not_that_of_the_model(model: str, extracted: Path, tmp_path: Path) -> None:
    plus = ["--wear", str(extracted / "plus.persona")]
    assert run(command(model, tmp_path / "plain", "--structured", "0.25")) == 0
    assert run(command(model, tmp_path / "mask", "--structured", "0.25", *plus)) == 0
    assert run(command(model, tmp_path / "both", "--structured", "0.25", *plus, "--merged")) == 0
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "mask", "both")]
    assert len(set(files)) == 3


def test_test_texts_that_were_calibrated_on_are_refused(
    model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the mask only chose what goes."""
    pair = ["--wear", str(extracted / "plus.persona"), "--against", str(extracted / "minus.persona")]
    more = ["--structured", "0.25", *pair, "--data", f"{TRAIT}#calibration"]
    assert run(command(model, tmp_path / "out", *more)) == 2
    assert "calibrate" in one_line_error(capsys)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_goes_on_with_its_figures(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("temperament.export.checkpoint._write", _interrupt)
        assert run(command(model, tmp_path / "out", "--structured", "0.25")) == 130
    assert not (tmp_path / "out").exists()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out-records").iterdir()}
    assert before
    assert run(command(model, tmp_path / "out", "--structured", "0.25")) == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out-records").iterdir()} == before
    capsys.readouterr()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_mistakes_take_one_line_and_leave_nothing(
    model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plus = str(extracted / "plus.persona")
    neurons = tmp_path / "neurons"
    more = ["--limit", "8", "--method", "neurons", "--set", "count=3"]
    assert run(["extract", "--model", model, "--contrast", TRAIT, *more, "--out", str(neurons)]) == 0
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("mine")
    capsys.readouterr()
    out = tmp_path / "out"
    for arguments, words in (
        (["--wear", str(neurons / "plus.persona"), "--merged"], "only masks and subnetworks"),
        (["--wear", plus], "nothing says what to export"),
        (["--merged"], "--merged without a persona"),
        (["--wear", plus, "--merged", "--measure"], "does what wearing does"),
        (["--wear", plus, "--structured", "1.5"], "share of 1.5"),
        (["--wear", plus, "--structured", "0.25", "--heads", "0.1"], "removes none"),
        (["--wear", plus, "--against", plus, "--structured", "0.25"], "plus pole first"),
        (["--wear", plus, "--wear", plus, "--against", plus, "--structured", "0.25"], "that of one pair"),
        (["--against", f"{plus}+{extracted / 'minus.persona'}", "--structured", "0.25"], "that of one pair"),
        (["--wear", f"{plus}:2", "--merged"], "strength 2"),
    ):
        assert run(command(model, out, *arguments)) == 2, words
        assert words in one_line_error(capsys)
        assert not out.exists()
    assert run(command(model, full, "--wear", plus, "--merged")) == 2
    assert "is there already" in one_line_error(capsys)
    assert [file.name for file in full.iterdir()] == ["file"]
