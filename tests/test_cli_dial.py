"""``temperament dial`` from end to end on a tiny model, and chat in what was dialled."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cli import one_line_error, printed_json

from temperament.cli.main import run
from temperament.errors import TemperamentError
from temperament.evaluation.budget import MOST_REPEAT
from temperament.evaluation.perplexity import neutral_passages
from temperament.personas import Persona, open_persona

TRAIT = "extraversion"


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module")
def extracted(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extracted")
    command = ["extract", "--model", model, "--contrast", TRAIT, "--limit", "8", "--method", "vector"]
    assert run([*command, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def pair(extracted: Path, tmp_path: Path) -> Path:
    """A folder with a fresh copy of both personas."""
    for pole in ("plus", "minus"):
        shutil.copy(extracted / f"{pole}.persona", tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def few_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = neutral_passages(split="validation")[:2]
    monkeypatch.setattr("temperament.evaluation.dial.neutral_passages", lambda split: kept)


def command(model: str, pair: Path, *more: str) -> list[str]:
    files = ["--plus", str(pair / "plus.persona"), "--minus", str(pair / "minus.persona")]
    return ["dial", "--model", model, *files, "--data", TRAIT, "--limit", "4", "--budget", "5", *more]


def test_both_poles_are_dialled_and_kept(model: str, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(model, pair, "--target", "+0.1sd", "--json")) == 0
    result = printed_json(capsys)
    assert set(result) == {"plus", "minus"}
    for pole, found in result.items():
        dial = open_persona(pair / f"{pole}.persona").dial
        assert dial is not None
        assert {key: found[key] for key in ("strength", "score", "unworn", "sd", "goal", "target", "perplexity")} == {
            "strength": dial.strength,
            "score": dial.score,
            "unworn": dial.unworn,
            "sd": dial.sd,
            "goal": dial.goal,
            "target": "+0.1sd",
            "perplexity": dial.perplexity,
        }
        assert found["reached"]
        assert found["repeat"] == dial.repeat
        assert dial.repeat is not None
        assert dial.repeat <= MOST_REPEAT
        assert found["gain"]["n"] == 8
        assert dial.perplexity <= dial.budget == 5
    assert result["plus"]["unworn"] == -result["minus"]["unworn"]
    assert result["plus"]["sd"] == result["minus"]["sd"]
    assert list((pair / "dial").glob("*.jsonl"))
    assert run(["inspect", str(pair / "plus.persona"), "--json"]) == 0
    shown = printed_json(capsys)
    assert shown["dial"]["strength"] == result["plus"]["strength"]
    assert shown["dial"]["texts"] == 28, "8 statements and 20 questions"
    assert shown["calibration_texts"] == 16
    assert run(["inspect", str(pair / "plus.persona")]) == 0
    assert "+0.1sd" in capsys.readouterr().out
    assert run(command(model, pair, "--target", "+0.1sd")) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("strength", "plus", "minus", "proves nothing"))
    assert max(map(len, printed.partition("kept in")[0].splitlines())) <= 80


def test_what_is_not_reached_is_not_kept(model: str, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [(pair / f"{pole}.persona").read_bytes() for pole in ("plus", "minus")]
    assert run(command(model, pair, "--target", "+40sd")) == 2
    line = one_line_error(capsys)
    assert "+40sd is not reached within × 5.00 perplexity" in line
    assert line.count("comes to") == 2
    assert [(pair / f"{pole}.persona").read_bytes() for pole in ("plus", "minus")] == before
    assert run(command(model, pair, "--target", "+40sd", "--closest")) == 0
    assert "beyond the budget" in capsys.readouterr().out
    dial = open_persona(pair / "plus.persona").dial
    assert dial is not None
    assert not dial.reached
    assert dial.unworn < dial.score < dial.goal


def test_chat_wears_the_dialled_strength(
    model: str, pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(model, pair, "--target", "+0.1sd", "--json")) == 0
    strength = printed_json(capsys)["plus"]["strength"]
    plus = str(pair / "plus.persona")
    question = ["chat", "--model", model, "--prompt", "How are you?", "--max-tokens", "8", "--json"]

    def worn(*specs: str) -> tuple[list[float], str, str]:
        capsys.readouterr()
        assert run([*question, *(word for spec in specs for word in ("--wear", spec))]) == 0
        captured = capsys.readouterr()
        said: dict[str, Any] = json.loads(captured.out)
        return [value for _, value in said["worn"]], said["answer"], captured.err

    strengths, answer, notes = worn(plus)
    assert strengths == [strength]
    assert f"dialled strength {strength:g}" in notes
    assert worn(f"{plus}:{strength}")[1] == answer
    strengths, _, notes = worn(f"{plus}:0.5")
    assert strengths == [0.5]
    assert "dialled" not in notes
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"/wear {plus}\nhello\n"))
    assert run(["chat", "--model", model, "--max-tokens", "5"]) == 0
    assert f"[{strength:g}*{TRAIT}-plus]" in capsys.readouterr().err


def test_dialled_texts_cannot_be_evaluated_on(model: str, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = ["evaluate", "--model", model, "--plus", str(pair / "plus.persona"), "--controls", "none"]
    evaluation += ["--minus", str(pair / "minus.persona"), "--measure", "separation", "--limit", "4", "--json"]
    assert run([*evaluation, "--data", f"{TRAIT}#validation"]) == 0
    assert run(command(model, pair, "--target", "+0.1sd")) == 0
    capsys.readouterr()
    assert run([*evaluation, "--data", f"{TRAIT}#validation"]) == 2
    assert "calibrate or tune" in one_line_error(capsys)
    assert run([*evaluation, "--data", TRAIT]) == 0


def test_each_pole_is_evaluated_at_its_dialled_strength(
    model: str, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = ["evaluate", "--model", model, "--plus", str(pair / "plus.persona"), "--data", TRAIT, "--json"]
    evaluation += ["--minus", str(pair / "minus.persona"), "--measure", "separation", "--limit", "4"]
    evaluation += ["--controls", "random-0,swapped"]

    def strengths(*more: str) -> tuple[dict[str, float], str]:
        capsys.readouterr()
        assert run([*evaluation, *more]) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out)["provenance"]["strength"], captured.err

    assert strengths()[0] == {"plus": 1, "minus": 1}
    assert run(command(model, pair, "--target", "+0.1sd", "--json")) == 0
    dialled = {pole: figures["strength"] for pole, figures in printed_json(capsys).items()}
    assert dialled["plus"] != dialled["minus"]
    found, notes = strengths()
    assert found == dialled
    assert f"dialled strength {dialled['minus']:g}" in notes
    found, notes = strengths("--strength", "0.5")
    assert found == {"plus": 0.5, "minus": 0.5}
    assert "dialled" not in notes


MISTAKES = {
    "target": (["--target", "plenty"], "'plenty'"),
    "other direction": (["--target=-1sd"], "opposite pole"),
    "budget": (["--budget", "0.9"], "0.9"),
    "calibration texts": (["--data", f"{TRAIT}#calibration"], "calibrate"),
    "no such texts": (["--data", "nothing"], "'nothing'"),
    "reached already": (["--target", "-30"], "already scores"),
    "poles swapped": (["--plus", "{minus}", "--minus", "{plus}"], "pole"),
    "other model": (["--model", "{other}"], "weights"),
    "blocked folder": (["--out", "{plus}"], "written"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line(
    name: str, model: str, pair: Path, tiny_folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = MISTAKES[name]
    places = {"plus": pair / "plus.persona", "minus": pair / "minus.persona", "other": tiny_folders["qwen2"]}
    before = places["plus"].read_bytes()
    given = command(model, pair)
    if name == "calibration texts":
        given[given.index("--limit") + 1] = "84"
    capsys.readouterr()
    assert run([*given, *(word.format(**places) for word in words)]) == 2
    assert expected in one_line_error(capsys)
    assert places["plus"].read_bytes() == before


def test_both_files_are_written_or_neither(
    model: str, pair: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in pair.glob("*.persona")}
    save = Persona.save

    def full(persona: Persona, path: Path) -> Path:
        if path.name == "minus.persona":
            raise TemperamentError(f"{path} cannot be written: disk full", "free disk space")
        return save(persona, path)

    monkeypatch.setattr(Persona, "save", full)
    assert run(command(model, pair, "--target", "+0.1sd")) == 2
    assert "disk full" in one_line_error(capsys)
    assert {path.name: path.read_bytes() for path in pair.glob("*.persona")} == before


def test_extracting_over_a_dialled_pair_is_told(model: str, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extraction = ["extract", "--model", model, "--contrast", TRAIT, "--limit", "8", "--method", "vector"]
    extraction += ["--out", str(pair)]
    assert run(extraction) == 0
    assert "dialled" not in capsys.readouterr().err
    assert run(command(model, pair, "--target", "+0.1sd")) == 0
    assert run(extraction) == 0
    assert "plus.persona and minus.persona had a dialled strength" in capsys.readouterr().err
