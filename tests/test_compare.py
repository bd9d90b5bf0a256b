"""A comparison from end to end on a tiny model: every figure from its records, nothing twice, nothing leaked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparing import METHODS, asked, comparison, lasting, quick, recorded, stub_judge, watched, written_records
from expect import counted_passes, refused

from temperament.atomic import finite
from temperament.compare import candidates, compare
from temperament.compare.candidates import Workshop
from temperament.compare.measuring import Measuring
from temperament.compare.settings import read_texts
from temperament.errors import TemperamentError, WriteError
from temperament.evaluation.auc import auc
from temperament.evaluation.budget import MOST_REPEAT
from temperament.evaluation.fluency import excess_repeat, fluency
from temperament.evaluation.generation import generation_effect
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.own_words import own_words
from temperament.evaluation.passages import passage_array
from temperament.evaluation.perplexity import perplexity
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import statement_changes
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan
from temperament.report.page import render
from temperament.report.page.frontier import tuning
from temperament.report.summary import read_methods

Run = tuple[Path, dict[str, Any], int]


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def finished(tiny_llama: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder and summary of an uninterrupted run, and the number of items it put to the model."""
    folder = tmp_path_factory.mktemp("finished")
    with quick(), recorded() as items:
        summary = comparison(tiny_llama, folder)
    return folder, summary, len(items)


def plain(value: Any) -> Any:
    return finite(value)  # as files hold it


def test_the_summary_holds_everything(finished: Run, tiny_llama: LoadedModel) -> None:
    folder, summary, _ = finished
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == summary
    assert summary["model"]["fingerprint"] == tiny_llama.fingerprint
    assert summary["contrast"]["items"] == {
        split: {"plus": n, "minus": n} for split, n in (("calibration", 4), ("validation", 3), ("test", 3))
    }
    assert summary["contrast"]["transfer"] == "extraversion-scenes"
    assert (summary["budget"], summary["budgets"]) == (1.10, [1.05, 1.10])
    assert list(summary["methods"]) == ["prompt", *METHODS]
    for name, entry in summary["methods"].items():
        assert {"separation", "auc", "perplexity", "transfer_separation", "transfer_auc"} <= set(entry["measures"])
        assert {"transfer_separation_question", "generation", "fluency"} <= set(entry["measures"])
        expected = {"swapped"}
        if name != "prompt":
            expected |= {"random-0", "random-1", "random-2", "shuffled", "prompt", "prompt + method"}
            assert set(entry["by_budget"]) == {"1.05", "1.10"}
            assert entry["by_budget"]["1.10"]["strength"] == entry["strength"]
            assert entry["by_budget"]["1.05"]["strength"] <= entry["strength"]
            assert entry["bytes"] > 0
        assert set(entry["controls"]) == expected
        assert entry["seconds"]["measure"] > 0
        assert entry["controls"]["swapped"]["separation"]["value"] == -entry["measures"]["separation"]["value"]
    assert summary["methods"]["prompt"]["strength"] is None
    assert summary["to_do"] == []
    assert {"sentence", "winner"} <= set(summary["verdict"])
    assert summary["judge"]["label"].startswith("local judge")
    assert len(summary["examples"]) == 2
    assert set(summary["examples"][0]["answers"]) == {"unworn", "prompt", *METHODS}


def test_every_figure_follows_from_the_records(finished: Run) -> None:
    folder, summary, _ = finished
    records, seed = written_records(folder), summary["seed"]

    def on(worn: tuple[str, str], items: str, text: str) -> dict[str, Any]:
        change = statement_changes(*(records[side, items] for side in worn))
        texts = [passage_array(records[side, text]) for side in (*worn, "unworn")]
        own = [records[side, items] for side in (*worn, "unworn")] if ("unworn", items) in records else []
        return {
            "separation": separation(*change, seed=seed).as_json(),
            "auc": auc(*change, seed=seed).as_json(),
            **({"own_words": own_words(own[0], own[1], own[2], seed=seed).as_json()} if own else {}),
            "perplexity": perplexity(texts[0], texts[1], texts[2], seed=seed).as_json(),
        }

    for name, entry in summary["methods"].items():
        at = "" if entry["strength"] is None else f"-{entry['strength']:g}"

        def sides(label: str, at: str = at) -> tuple[str, str]:
            return f"{label}{at}-plus", f"{label}{at}-minus"

        worn = sides(name)
        figures = plain(on(worn, "test", "neutral-test"))
        assert {key: entry["measures"][key] for key in figures} == figures
        for label, control in entry["controls"].items():
            pair = {"prompt": ("prompt-plus", "prompt-minus"), "swapped": (worn[1], worn[0])}.get(label)
            pair = pair or sides(f"{name}-prompt" if label == "prompt + method" else f"{name}-{label}")
            figures = plain(on(pair, "test", "neutral-test"))
            assert {key: control[key] for key in figures} == figures, label
            assert ("transfer_auc" in control) == (label == "prompt + method")
        for suffix, instrument in (("", ""), ("_question", "-question")):
            change = statement_changes(*(records[side, f"transfer-extraversion-scenes{instrument}"] for side in worn))
            found = entry["measures"][f"transfer_separation{suffix}"]
            assert found == plain(separation(*change, seed=seed).as_json())
        for point in entry.get("tuning", ()):
            tried = tuple(f"{name}-{point['strength']:g}-{pole}" for pole in ("plus", "minus"))
            again = on((tried[0], tried[1]), "validation", "neutral-validation")
            assert point["perplexity"] == again["perplexity"]["value"]
            assert point["separation"] == again["separation"]["value"]
            if point["repeat"] is not None:
                said = [
                    [record["answer"] for record in records[side, "generation-validation"]]
                    for side in (*tried, "unworn")
                ]
                assert point["repeat"] == max(excess_repeat(side, said[2]) for side in said[:2])
        for budget in entry.get("by_budget", {}).values():
            pair = (f"{name}-{budget['strength']:g}-plus", f"{name}-{budget['strength']:g}-minus")
            again = plain(on(pair, "test", "neutral-test"))
            assert {key: budget[key] for key in again} == again
        answers = [records[side, "generation"] for side in (*worn, "unworn")]
        judged = generation_effect(answers[0], answers[1], answers[2], stub_judge(), seed=seed)
        assert plain(judged.as_json()) == entry["measures"]["generation"]
        scores = [records[side, "fluency"] for side in worn]
        scores.append(records["prompt-unworn", "fluency"])
        assert plain(fluency(scores[0], scores[1], scores[2], seed=seed).as_json()) == entry["measures"]["fluency"]


def test_the_strength_is_the_largest_within_the_budget(finished: Run) -> None:
    _, summary, _ = finished
    for name in METHODS:
        entry = summary["methods"][name]
        inside = [point for point in entry["tuning"] if point["strength"] <= entry["strength"]]
        assert inside[-1]["strength"] == entry["strength"]
        assert all(point["perplexity"] <= summary["budget"] for point in inside)
        assert all((point["repeat"] or 0) <= MOST_REPEAT for point in inside)
        best = entry["by_budget"]["1.10"]["best_on_validation"]
        assert None not in (inside[-1]["repeat"], best["repeat"]), "what is chosen was asked"
        assert best["separation"] == max(point["separation"] for point in inside)


def test_the_report_shows_it(finished: Run) -> None:
    _, summary, _ = finished
    page = render(summary)
    assert all(name in page for name in METHODS)
    for method in read_methods(summary):
        assert len(tuning(method)) == len(summary["methods"][method.name].get("tuning", []))


def test_a_second_run_repeats_nothing(finished: Run, tiny_llama: LoadedModel) -> None:
    folder, summary, _ = finished
    with counted_passes(tiny_llama) as passes:
        again = comparison(tiny_llama, folder)
    assert passes == []
    assert lasting(again) == lasting(summary)


def test_another_budget_measures_only_what_is_new(finished: Run, tiny_llama: LoadedModel) -> None:
    folder, summary, _ = finished
    strengths = {summary["methods"][name]["by_budget"]["1.05"]["strength"] for name in METHODS}
    with recorded() as items:
        narrow = comparison(tiny_llama, folder, budget=1.05, methods=METHODS)
    assert {narrow["methods"][name]["strength"] for name in METHODS} == strengths
    with watched() as calls:
        comparison(tiny_llama, folder, budget=1.05)
    tuned = {label for instrument, _, label in calls if instrument.name == "validation"}
    assert tuned
    assert len(items) < finished[2] / 2


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.97])
def test_an_interrupted_run_goes_on(share: float, finished: Run, tiny_llama: LoadedModel, tmp_path: Path) -> None:
    _, summary, total = finished
    stop = max(1, int(share * total))
    with recorded(stop_at=stop) as first, pytest.raises(KeyboardInterrupt):
        comparison(tiny_llama, tmp_path)
    assert not tiny_llama.worn
    with recorded() as rest:
        again = comparison(tiny_llama, tmp_path)
    assert len(first) + len(rest) == total
    assert_close(lasting(again), lasting(summary))


def assert_close(first: Any, second: Any) -> None:
    """Equal but for the last bits: what is left of a batch has other neighbours."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_close(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_close(one, other)
    else:
        assert first == (pytest.approx(second, rel=1e-4, abs=1e-5) if isinstance(second, float) else second)


def test_an_interruption_while_personas_are_saved(
    finished: Run, tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = Persona.save, []

    def save(persona: Persona, path: Path) -> Path:
        saved.append(path)
        if len(saved) == 4:
            raise KeyboardInterrupt
        return real(persona, path)

    monkeypatch.setattr(Persona, "save", save)
    with pytest.raises(KeyboardInterrupt):
        comparison(tiny_llama, tmp_path)
    assert lasting(comparison(tiny_llama, tmp_path)) == lasting(finished[1])


def test_tuned_pairs_refuse_the_texts_they_were_tuned_on(finished: Run, tiny_llama: LoadedModel) -> None:
    folder, _, _ = finished
    texts = read_texts(asked())
    measuring = Measuring(Ledger(tiny_llama), texts, None, 0)
    found = Workshop(tiny_llama, texts, 42, folder).candidate("vector")
    for persona in measuring.tuned((found.plus, found.minus)):
        assert measuring.tuning_answers
        for instrument in (measuring.validation, measuring.tuning_text, measuring.tuning_answers):
            with refused("used to calibrate or tune"):
                measuring.ledger.run(instrument, Plan.of(persona, 0.5), "worn")


def test_tuning_sees_no_test_item_and_test_no_tuning_item(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    with watched() as calls:
        comparison(tiny_llama, tmp_path, methods=("vector",))
    texts = read_texts(asked())
    seen = texts.calibration.group_keys | texts.validation.group_keys
    tuning = [call for call in calls if call[0].name in ("validation", "neutral-validation", "generation-validation")]
    others = [call for call in calls if call not in tuning]
    assert tuning
    for instrument, plan, _ in tuning:
        assert not instrument.groups & texts.test.group_keys
        assert all(persona.groups <= texts.calibration.group_keys for persona, _ in plan.active)
    for instrument, plan, label in others:
        assert not instrument.groups & seen, label
        edits = [persona for persona, _ in plan.active if persona.kind != "prompt"]
        assert all(persona.groups >= seen for persona in edits), label
    asked_of = {instrument.name for instrument, _, _ in others}
    assert asked_of >= {"test", "neutral-test", "generation", "fluency", "transfer-extraversion-scenes"}


@pytest.mark.parametrize("which", ["vector", "prompt"])
def test_a_method_that_fails_is_named_and_the_others_go_on(
    which: str, finished: Run, tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Workshop.candidate

    def fail(workshop: Workshop, name: str) -> candidates.Candidate:
        if name == which:
            raise TemperamentError(f"{name} found nothing", "use other texts")
        return real(workshop, name)

    monkeypatch.setattr(Workshop, "candidate", fail)
    notes: list[str] = []
    summary = compare(tiny_llama, asked(), tmp_path, note=notes.append)
    assert notes == [f"{which}: {which} found nothing; use other texts"]
    assert summary["methods"][which]["error"] == f"{which} found nothing; use other texts"
    other = summary["methods"]["contrastive-tilt"]
    assert other["measures"] == finished[1]["methods"]["contrastive-tilt"]["measures"]
    assert ("prompt" in other["controls"]) is (which != "prompt")
    assert f"Failed, no or partial figures: {which}" in render(summary)


@pytest.mark.parametrize("name", ["vector", "prompt"])
def test_a_full_disk_ends_it_all(
    name: str, tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(workshop: Workshop, method: str) -> candidates.Candidate:
        if method == name:
            raise WriteError(tmp_path / "plus.persona", "No space left on device")
        return real(workshop, method)

    real = Workshop.candidate
    monkeypatch.setattr(Workshop, "candidate", full)
    with refused("plus.persona cannot be written: No space left on device", "free disk space"):
        compare(tiny_llama, asked(methods=("vector",)), tmp_path)


def test_a_broken_model_is_no_figure(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    def break_if_worn(_: object, __: object, logits: torch.Tensor) -> torch.Tensor | None:
        return torch.full_like(logits, float("nan")) if tiny_llama.worn else None

    hook = tiny_llama.model.lm_head.register_forward_hook(break_if_worn)
    try:
        summary = comparison(tiny_llama, tmp_path, methods=("vector",))
    finally:
        hook.remove()
    entry = summary["methods"]["vector"]
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {point["perplexity"] for point in entry["tuning"]} == {None}
    assert entry["by_budget"]["1.10"] == {"strength": None}
    assert entry["within_budget"] is False
    assert entry["measures"]["separation"]["value"] is None
    assert summary["verdict"]["winner"] is None
    render(summary)


def test_what_is_no_number_is_null_on_disk_and_the_worst_cost(tmp_path: Path, tiny_llama: LoadedModel) -> None:
    hook = tiny_llama.model.lm_head.register_forward_hook(lambda *args: torch.full_like(args[2], float("nan")))
    texts = read_texts(asked())
    try:
        measuring = Measuring(Ledger(tiny_llama, tmp_path), texts, None, 0)
        broken = measuring.ledger.run(measuring.text, Plan(), "broken")
    finally:
        hook.remove()
    assert {record["log_probability"] for record in broken} == {None}
    whole = np.array([[-9.0, 3.0], [-8.0, 3.0], [-7.0, 3.0]])
    for plus, minus in ((passage_array(broken), whole), (whole, passage_array(broken))):
        assert not np.isfinite(perplexity(plus, minus, whole, seed=0).value)
