"""``temperament types`` from end to end on a tiny model: compositions, controls, figures, resumption, mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import one_line_error, printed_json

from temperament.analyze import types as study
from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.items import axes_items
from temperament.cli.main import run
from temperament.evaluation.axis_types import NAMES
from temperament.evaluation.questionnaire import Questionnaire
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, extract
from temperament.wear import wear

SMALL = ["--limit", "2", "--types", "ESTJ,INFP", "--dtype", "float32"]


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama with room for four system prompts, a token per byte."""
    folder = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(tiny_folders["llama"], folder)
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, key: 2048}))
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Few items and texts: what is tested here does not depend on how many there are."""
    with pytest.MonkeyPatch.context() as patch:
        items = axes_items()
        patch.setattr(study, "axes_items", lambda: tuple(item for item in items if item.number % 20 in (1, 2)))
        patch.setattr(study, "_PASSAGES", 2)

        def few(spec: str, **options: Any) -> Contrast:
            return resolve_contrast(spec, **{"limit": 6, **options})

        patch.setattr(study, "resolve_contrast", few)
        yield


@pytest.fixture(scope="module")
def done(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("types")
    assert run(["types", "--model", model, "--out", str(folder), *command("0.1,0.3")]) == 0
    return folder


def command(values: str) -> list[str]:
    return ["--method", "contrastive-tilt", "--over", "sparsity", "--values", values, *SMALL]


def test_every_value_stands_beside_its_controls(
    model: str, done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> Any:
        pytest.fail("an item was put to the model twice")

    monkeypatch.setattr(Questionnaire, "run", nothing)
    assert run(["types", "--model", model, "--out", str(done), *command("0.3,0.1"), "--json"]) == 0
    result = printed_json(capsys)
    assert [point["value"] for point in result["points"]] == [0.1, 0.3]
    for condition in (*(point[side] for point in result["points"] for side in ("worn", "random")), result["prompt"]):
        assert set(condition["success"]) == set(study.READINGS)
        for found in condition["success"].values():
            assert found["types"]["n"] == 2
            assert found["axes"]["n"] == 8
            assert set(found["by_type"]) == {"ESTJ", "INFP"}
            assert set(found["by_type"]["ESTJ"]["margins"]) == set(NAMES)
        assert set(condition["perplexity"]) == {"ESTJ", "INFP"}
    assert result["chance"] == {"types": 6.25, "axes": 50.0}
    assert len(result["unworn"]["type"]) == 4
    worn, random = (result["points"][0][side]["success"]["statements, change"] for side in ("worn", "random"))
    assert worn["by_type"]["ESTJ"]["scores"] != random["by_type"]["ESTJ"]["scores"]
    names = {Path(path).name for path in result["figures"]}
    assert names == {
        *(f"{kind}-contrastive-tilt-sparsity-{value}.png" for kind in ("margins", "radar") for value in ("0.1", "0.3")),
        "success-contrastive-tilt.png",
    }
    assert all((done / name).read_bytes().startswith(b"\x89PNG") for name in names)
    assert (done / "types-contrastive-tilt.json").is_file()


def test_the_table_names_chance_and_the_unworn_type(
    model: str, done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["types", "--model", model, "--out", str(done), *command("0.1,0.3")]) == 0
    text = capsys.readouterr().out
    for part in ("chance", "random", "prompt", "unworn the questionnaire gives", "ESTJ", "margin"):
        assert part in text


def test_a_type_is_the_product_of_four_gates(tiny_llama: LoadedModel) -> None:
    pairs: dict[str, tuple[Persona, Persona]] = {}
    for axis in NAMES:
        found = extract(tiny_llama, resolve_contrast(axis, limit=6), method="contrastive-tilt", sparsity=0.3)
        pairs[axis] = found.plus, found.minus
    plan = study.compose(pairs, "ENTP", 0.5)
    assert [(persona.pole, strength) for persona, strength in plan.items] == [
        ("plus", 0.5),
        ("minus", 0.5),
        ("plus", 0.5),
        ("minus", 0.5),
    ]
    linear = tiny_llama.linears[0]
    before = tiny_llama.weight(linear).clone()
    gates = torch.ones_like(before)
    for persona, _ in plan.items:
        assert isinstance(persona.edit, MaskEdit)
        mask = persona.edit.masks(tiny_llama).mask(linear, torch.device("cpu"))
        assert mask is not None
        gates *= torch.where(mask, 1.0, 0.5)
    with wear(tiny_llama, plan):
        assert torch.allclose(tiny_llama.weight(linear), before * gates)
    assert torch.equal(tiny_llama.weight(linear), before)
    assert len(set(gates.flatten().tolist())) > 2


def test_a_setting_of_another_method_can_be_varied(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["types", "--model", model, "--out", str(tmp_path), "--over", "share", "--values", "0.01", *SMALL]
    assert run([*base, "--no-random", "--json"]) == 0
    result = printed_json(capsys)
    assert (result["method"], result["over"], result["points"][0]["random"]) == ("contrastive-saliency", "share", None)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--types", "ESTX"], ("'ESTX' is no type", "INFP")),
        (["--over", "sparsity", "--values", "0.1"], ("mask method",)),
        (["--over", "colour", "--values", "1"], ("colour",)),
        (["--values", "much"], ("holds no numbers",)),
        (["--strength", "1"], ("--over strength",)),
        (["--method", "contrastive-tilt", "--over", "sparsity", "--values", "0.1", "--sparsity", "0.2"], ("sparsity",)),
        (["--presentations", "odd"], ("quick",)),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], parts: tuple[str, ...], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["types", "--model", model, "--out", str(tmp_path / "out"), *more]) == 2
    error = one_line_error(capsys)
    assert all(part in error for part in parts)


def test_prompts_that_do_not_fit_are_found_out_before_anything_is_worn(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four system prompts of a token per byte and a questionnaire item do not go into 512 tokens."""
    folder = tmp_path / "types"
    assert run(["types", "--model", str(tiny_folders["llama"]), "--out", str(folder), *command("0.1")]) == 2
    assert "tokens" in one_line_error(capsys)
    assert not list(folder.glob("mbti-*"))
    assert not list((folder / "records").glob("sparsity-*"))


def test_the_questionnaire_command_takes_our_own_form(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["questionnaire", "--model", model, "--presentations", "quick", "--dtype", "float32"]
    assert run([*base, "--instrument", "mbti-axes", "--json"]) == 0
    result = printed_json(capsys)
    side = result["sides"]["unworn"]
    assert list(side["traits"]) == list(NAMES)
    assert len(side["type"]) == 4
    assert side["acquiescence"]["traits"] == 4
    assert run([*base, "--items", "mbti-axes"]) == 0
    assert f"type {side['type']}" in capsys.readouterr().out


def test_people_are_aligned_on_traits_only(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["align", "--model", model, "--people", "synthetic", "--items", "mbti-axes", "--trait-personas", "none"]
    assert run(command) == 2
    assert "other things than the five traits" in one_line_error(capsys)
