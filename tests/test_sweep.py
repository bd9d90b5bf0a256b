"""Sweeps: every axis on a tiny model, statistics that are collected once, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import error, printed, refused

from temperament.analyze.axes import AXES, Around, Step, find_axis
from temperament.analyze.reuse import Statistics
from temperament.analyze.sweep import plan_steps, shown, sweep
from temperament.calibration import Contrast, resolve_contrast
from temperament.cli.main import run
from temperament.evaluation import evaluate
from temperament.methods import find_method
from temperament.models import LoadedModel
from temperament.personas import extract
from temperament.report.sweep_figure import sweep_figure
from temperament.report.sweep_table import sweep_table
from temperament.signatures import SignaturePair, Writing, collect


def texts(spec: str, limit: int = 12) -> tuple[Contrast, Contrast]:
    return resolve_contrast(spec, limit=limit), resolve_contrast(spec, split="validation", limit=4)


@contextmanager
def counted_tokens(lm: LoadedModel) -> Iterator[list[int]]:
    """The tokens of every batch that is put to the model inside the block, by whatever way."""
    tokens: list[int] = []
    hook = lm.model.get_input_embeddings().register_forward_hook(lambda _, args, __: tokens.append(args[0].numel()))
    try:
        yield tokens
    finally:
        hook.remove()


def around(lm: LoadedModel) -> Around:
    return Around(lm.depth, texts)


def step(method: str = "contrastive-tilt", **changes: Any) -> Step:
    data, test = texts("extraversion")
    return replace(Step(method, method, data, test), **changes)


# --- axes ------------------------------------------------------------------------------------------------------------


def test_every_axis_is_explained_and_its_usual_values_are_of_its_kind() -> None:
    for axis in AXES:
        assert axis.summary
        assert axis.label
        assert all(isinstance(value, str) == axis.words for value in axis.values)
        if not axis.words:
            assert list(axis.values) == sorted(axis.values)
    with refused("--over depth", "sparsity", "contrast"):
        find_axis("depth")


def test_values_are_read() -> None:
    assert find_axis("sparsity").read("0.3, 0.1,0.3") == (0.1, 0.3)
    assert find_axis("modules").read("mlp,all,mlp") == ("mlp", "all")
    assert find_axis("contrast").read("a.txt,b.txt; openness") == ("a.txt,b.txt", "openness")
    assert find_axis("tokens").read(None) == ("response", "all")
    with refused("model", "--values"):
        find_axis("model").read(None)
    with refused("'a,b' holds no numbers", "0.1,0.2"):
        find_axis("sparsity").read("a,b")
    with refused("'nan' holds no numbers"):
        find_axis("sparsity").read("nan")


@pytest.mark.parametrize(
    ("axis", "value", "start", "parts"),
    [
        ("size", 13.0, step(), ("13 calibration texts", "2 to 12")),
        ("size", 2.5, step(), ("2.5 calibration texts",)),
        ("tokens", "most", step(), ("'most'", "response or all")),
        ("modules", "head", step(), ("'head'", "attention")),
        ("modules", "early", step(), ("2 layers", "early third")),
        ("modules", "mlp", step(sparsity={"mlp": 0.2}), ("one sparsity",)),
        ("gamma", 0.7, step("neurons", settings={"weighted": True}), ("sets weighted itself",)),
        ("threshold", 0.1, step("neurons", settings={"count": 3}), ("count or share",)),
        ("share", 0.1, step("contrastive-saliency", settings={"share": 0.01}), ("sets share itself",)),
    ],
)
def test_what_does_not_fit_is_refused(axis: str, value: Any, start: Step, parts: tuple[str, ...]) -> None:
    with refused(*parts):
        plan_steps(find_axis(axis), [start], [value], Around(2, texts))


def test_axes_apply_to_some_methods_only() -> None:
    with refused("neurons has no sparsity to vary", "masks"):
        find_axis("sparsity").check(find_method("neurons"))
    with refused("wanda has no gamma to vary", "neurons"):
        find_axis("gamma").check(find_method("wanda"))


def test_a_smaller_calibration_set_is_part_of_a_larger_one() -> None:
    steps = plan_steps(find_axis("size"), [step()], [2.0, 5.0, 12.0], Around(2, texts))
    sets = [set(one.data.plus) for one in steps if isinstance(one.data, Contrast)]
    assert [len(found) for found in sets] == [2, 5, 12]
    assert sets[0] < sets[1] < sets[2]


# --- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_grow_by_the_texts_that_are_new(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    steps = plan_steps(find_axis("size"), [step()], [3.0, 7.0, 12.0], around(tiny_llama))
    found = Statistics(tmp_path, Writing())
    counted = []
    for one in steps:
        with counted_tokens(tiny_llama) as passes:
            pair = found.of(tiny_llama, one, None)
            assert found.of(tiny_llama, one, None) is pair
        counted.append(sum(passes))
        assert isinstance(pair, SignaturePair)
        assert isinstance(one.data, Contrast)
        whole = collect(tiny_llama, one.data)
        for pole in ("plus", "minus"):
            grown, once = getattr(pair, pole).moments, getattr(whole, pole).moments
            assert (grown.count, grown.sentences) == (once.count, once.sentences)
            for name in ("mean", "m2", "l2"):
                torch.testing.assert_close(getattr(grown, name), getattr(once, name), rtol=1e-5, atol=1e-7)
        assert pair.groups == one.data.group_keys
        extract(tiny_llama, one.data, signatures=pair)
    with counted_tokens(tiny_llama) as passes:
        again = Statistics(tmp_path, Writing())
        for one in steps:
            last = again.of(tiny_llama, one, None)
    assert passes == []
    assert isinstance(last, SignaturePair)
    assert last.hash == pair.hash


def test_all_masks_of_a_sparsity_sweep_come_from_one_pass(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    base = [step("wanda"), step("contrastive-tilt")]
    steps = plan_steps(find_axis("sparsity"), base, [0.2, 0.5], around(tiny_llama))
    found = Statistics(tmp_path, Writing())
    assert len({id(found.of(tiny_llama, one, None)) for one in steps}) == 1


# --- the sweep -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "values", "methods"),
    [
        ("sparsity", [0.2, 0.5], ("wanda", "contrastive-tilt")),
        ("share", [0.01, 0.05], ("contrastive-saliency",)),
        ("strength", [0.5, 1.0], ("contrastive-tilt", "vector")),
        ("size", [4.0, 8.0], ("contrastive-tilt",)),
        ("tokens", ["response", "all"], ("contrastive-tilt",)),
        ("modules", ["all", "attention", "mlp", "late"], ("contrastive-tilt", "contrastive-saliency")),
        ("contrast", ["extraversion", "openness"], ("contrastive-tilt",)),
        ("gamma", [0.7], ("neurons",)),
    ],
)
def test_every_axis_is_measured(
    axis: str, values: list[Any], methods: tuple[str, ...], tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    settings = {"neurons": {"count": 6}}
    base = [step(method, settings=settings.get(method, {})) for method in methods]
    row = find_axis(axis)
    result = sweep(tiny_llama, row, plan_steps(row, base, values, around(tiny_llama)), folder=tmp_path)
    expected = 2 if axis == "gamma" else len(methods)
    assert [point.value for point in result.points] == [value for value in values for _ in range(expected)]
    assert len(result.series) == expected
    effects = {point.result.measures["separation"].value for point in result.points}
    assert len(effects) > 1
    assert all("random-0" in point.result.controls for point in result.points)
    made = json.loads(json.dumps(result.as_json()))
    assert made["over"] == axis
    assert made["points"][0]["provenance"]["data"]["split"] == "validation"
    table = sweep_table(result)
    assert table.row_count == len(result.points)
    picture = sweep_figure(result, tmp_path / "sweep.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    with counted_tokens(tiny_llama) as passes:
        again = sweep(tiny_llama, row, plan_steps(row, base, values, around(tiny_llama)), folder=tmp_path)
    assert passes == []
    assert again.as_json() == result.as_json()


def test_a_point_is_what_a_single_run_measures(tiny_llama: LoadedModel) -> None:
    row = find_axis("modules")
    for method in ("contrastive-tilt", "contrastive-saliency"):
        start = step(method, sparsity=0.4 if method == "contrastive-tilt" else None, strength=0.5)
        (point,) = sweep(tiny_llama, row, plan_steps(row, [start], ["mlp"], around(tiny_llama))).points
        options: dict[str, Any] = {"sparsity": {"mlp": 0.4}}
        if method == "contrastive-saliency":
            options = {"settings": {"modules": "mlp", "layers": "all"}}
        found = extract(tiny_llama, start.data, method=method, **options)
        single = evaluate(tiny_llama, found.plus, found.minus, start.test, controls=(), strength=0.5)
        for name in ("separation", "auc", "perplexity"):
            assert point.result.measures[name] == single.measures[name]


def test_a_sweep_over_models_loads_each(tiny_llama: LoadedModel, fresh_llama: LoadedModel) -> None:
    row, loaded = find_axis("model"), []

    def load(name: str) -> LoadedModel:
        loaded.append(name)
        return {"one": tiny_llama, "two": fresh_llama}[name]

    base = [step("wanda"), step("contrastive-tilt")]
    result = sweep(tiny_llama, row, plan_steps(row, base, ["one", "two"], around(tiny_llama)), load=load)
    assert loaded == ["one", "two"]
    assert [(point.value, point.series) for point in result.points] == [
        (value, method) for value in ("one", "two") for method in ("wanda", "contrastive-tilt")
    ]


def test_eight_points_put_fewer_texts_to_the_model_than_three_single_runs(
    tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    start = step()
    with counted_tokens(tiny_llama) as once:
        found = extract(tiny_llama, start.data)
        evaluate(
            tiny_llama, found.plus, found.minus, start.test, signatures=found.signatures,
            measures=("separation", "auc", "perplexity"),
        )  # fmt: skip
    row = find_axis("sparsity")
    with counted_tokens(tiny_llama) as passes:
        sweep(tiny_llama, row, plan_steps(row, [start], row.values, around(tiny_llama)), folder=tmp_path)
    assert len(row.values) == 8
    assert sum(passes) < 3 * sum(once)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "--model", str(tiny_folders["llama"]), "--contrast", "extraversion", "--limit", "6"]
    command += ["--over", "sparsity", "--values", "0.5,0.2", "--method", "wanda,contrastive-tilt"]
    assert run([*command, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "contrastive-tilt" in shown
    assert max(map(len, shown.partition("figure:")[0].splitlines())) <= 80
    kept = json.loads((tmp_path / "sweep-sparsity.json").read_text())
    assert [(point["value"], point["series"]) for point in kept["points"]] == [
        (value, method) for value in (0.2, 0.5) for method in ("wanda", "contrastive-tilt")
    ]
    assert (tmp_path / "sweep-sparsity.png").read_bytes().startswith(b"\x89PNG")
    other = ["--over", "model", "--values", f"{tiny_folders['llama']},{tiny_folders['qwen2']}", "--json"]
    assert run([*command[:7], *other, "--out", str(tmp_path)]) == 0
    found = printed(capsys)["points"]
    assert len({point["provenance"]["model"]["fingerprint"] for point in found}) == 2


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--over", "depth"], ("--over depth", "sparsity")),
        (["--over", "sparsity", "--method", "neurons"], ("neurons has no sparsity to vary",)),
        (["--over", "sparsity", "--values", "1.5"], ("out of range",)),
        (["--over", "sparsity", "--sparsity", "0.2"], ("sets sparsity itself",)),
        (["--over", "size", "--values", "500"], ("500 calibration texts", "2 to 6")),
        (["--over", "contrast", "--values", "nowhere"], ("'nowhere'",)),
        (["--over", "modules", "--set", "sparsity.mlp=0.1"], ("--over modules",)),
        (["--over", "strength", "--set", "t=x"], ("'t'",)),
        (["--over", "strength", "--method", "prompt"], ("unknown method 'prompt'",)),
        (["--over", "strength", "--strength", "0.3"], ("sets strength itself", "--strength")),
    ],
)
def test_mistakes_get_one_line(
    more: list[str],
    parts: tuple[str, ...],
    tiny_folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["sweep", "--model", str(tiny_folders["llama"]), "--contrast", "extraversion", "--limit", "6"]
    assert run([*command, "--out", str(tmp_path), *more]) == 2
    message = error(capsys)
    assert all(part in message for part in parts), message
    assert not list(tmp_path.glob("sweep*"))


def test_contrasts_may_be_named_as_values_alone(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--model", str(tiny_folders["llama"]), "--limit", "6", "--out", str(tmp_path), "--json"]
    assert run([*command, "--over", "sparsity"]) == 2
    assert "no --contrast" in error(capsys)
    assert run([*command, "--over", "contrast", "--values", "openness,mbti-ei"]) == 0
    assert [point["value"] for point in printed(capsys)["points"]] == ["openness", "mbti-ei"]


def test_values_are_shown_without_their_folders() -> None:
    assert shown(0.20) == "0.2"
    assert shown("/some/where/ext-plus.txt,/some/where/ext-minus.txt") == "ext-plus, ext-minus"
    assert shown("data/openness.jsonl#all") == "openness#all"
    assert shown("Qwen/Qwen2.5-0.5B") == "Qwen2.5-0.5B"
