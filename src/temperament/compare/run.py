"""Run a comparison: find, tune, measure and control every method, then say what came out."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder, write_bytes
from temperament.compare.candidates import Candidate, Workshop
from temperament.compare.full import full_measures, specificity_rows
from temperament.compare.measuring import Figures, Measuring, Worn, as_json
from temperament.compare.settings import PROMPT, Settings, Texts, read_texts
from temperament.compare.verdict import verdict
from temperament.errors import TemperamentError
from temperament.evaluation.budget import Curve
from temperament.evaluation.controls import RANDOM_SEEDS
from temperament.evaluation.generation import Judge
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.local_judge import contrast_judge, trait_judge
from temperament.models import LoadedModel
from temperament.personas import package_versions

Progress = Callable[[str, int, int], None]
FORMAT_VERSION = 1


def compare(
    lm: LoadedModel,
    settings: Settings,
    folder: Path,
    *,
    command: str = "",
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Compare methods on one contrast and return the summary (``summary.json``), plain JSON values.

    Every method is tuned on validation items to the largest strength within the budget, then measured once on test
    items, beside its controls. Personas, signatures and the record of every item are kept in ``folder``, so that an
    interrupted comparison goes on where it stopped. A method that fails is named with its reason; the others go on.
    """
    texts = read_texts(settings)
    tell = note or (lambda _: None)
    judge = _judge(texts, tell)
    ledger = Ledger(lm, ensure_folder(folder / "records"), progress)
    measuring = Measuring(ledger, texts, judge, settings.seed)
    workshop = Workshop(lm, texts, settings.seed, folder, progress)
    clock = _Clock(folder / "seconds.json")
    methods: dict[str, dict[str, Any]] = {}
    answers: dict[str, Mapping[str, Any]] = {}
    prompt: Candidate | None = None
    pairs: dict[str, Worn] = {}
    for name in settings.names:
        try:
            with clock.timing(name, "extract"):
                candidate = workshop.candidate(name)
            prompt = prompt or candidate
            entry, worn, written = _method(candidate, prompt, measuring, settings, clock)
            if settings.full:
                with clock.timing(name, "full"):
                    entry["measures"] |= full_measures(measuring, texts, settings, worn)
            answers[name], pairs[name] = written, worn
        except TemperamentError as error:
            tell(f"{name}: {error}")
            entry = {"kind": "", "error": str(error)}
        methods[name] = {**entry, "seconds": clock.of(name)}
        _write(folder, _summary(lm, settings, texts, measuring, methods, answers, judge, command, clock))
    summary = _summary(lm, settings, texts, measuring, methods, answers, judge, command, clock)
    if settings.full:
        summary["specificity"] = specificity_rows(measuring, pairs)
    _write(folder, summary)
    return summary


def _judge(texts: Texts, tell: Callable[[str], None]) -> Judge | None:
    """The local judge of the trait, or one trained on texts set aside; None, with a note, where it cannot be had."""
    try:
        judge = trait_judge(texts.trait) if texts.judge is None else contrast_judge(texts.judge)
    except TemperamentError as error:
        tell(f"free answers are not judged: {error}")
        return None
    seen = (texts.calibration, texts.validation, texts.test, *([texts.transfer] if texts.transfer else []))
    judge.check_disjoint(key for contrast in seen for key in contrast.group_keys)
    return judge


def _method(
    candidate: Candidate, prompt: Candidate, measuring: Measuring, settings: Settings, clock: _Clock
) -> tuple[dict[str, Any], Worn, Mapping[str, Any]]:
    """Tune, measure and control one method."""
    name, poles = candidate.name, (candidate.plus, candidate.minus)
    under = (prompt.plus, prompt.minus)
    entry: dict[str, Any] = {
        "kind": candidate.kind,
        "equation": candidate.equation,
        "summary": candidate.summary,
        "bytes": candidate.bytes,
        "details": dict(candidate.details),
    }
    curve: Curve | None = None
    strength, fits = 1.0, True
    if candidate.strongest is not None:
        with clock.timing(name, "tune"):
            curve = measuring.curve(name, poles, candidate.strongest)
            choices = {limit: curve.choose(limit) for limit in settings.budgets}
        poles = measuring.tuned(poles)
        chosen = choices[settings.budget].largest
        strength, fits = (chosen.strength, True) if chosen else (curve.sorted[0].strength, False)
        entry["tuning"] = [point.as_json() for point in curve.sorted]
    with clock.timing(name, "measure"):
        worn = Worn.of(name, poles, strength)
        measures: Figures = measuring.on_test(worn) | measuring.elsewhere(worn)
        written, answers = measuring.written(worn)
        controls = {label: measuring.on_test(pair) for label, pair in _controls(candidate, strength, under)}
        controls["swapped"] = measuring.on_test(Worn(f"{name}-swapped", worn.minus, worn.plus))
        if curve:
            entry["by_budget"] = {
                f"{limit:.2f}": _at_budget(measuring, name, poles, choice.largest, choice.best)
                for limit, choice in choices.items()
            }
    cost = measures["perplexity"]
    entry |= {
        "strength": strength if curve else None,
        "perplexity": cost.value,
        "perplexity_poles": {"plus": cost.extra["plus"], "minus": cost.extra["minus"]},
        "within_budget": fits and cost.value <= settings.budget,
        "measures": as_json(measures | written),
        "controls": {label: as_json(figures) for label, figures in controls.items()},
    }
    return entry, worn, answers


def _controls(candidate: Candidate, strength: float, under: tuple[Any, Any]) -> Iterator[tuple[str, Worn]]:
    """The controls of a method, each made when it is asked for."""
    name = candidate.name
    if candidate.random:
        for seed in RANDOM_SEEDS:
            yield f"random-{seed}", Worn.of(f"{name}-random-{seed}", candidate.random(seed), strength)
    if candidate.shuffled:
        yield "shuffled", Worn.of(f"{name}-shuffled", candidate.shuffled(), strength)
    if name != PROMPT:
        yield "prompt", Worn.of(PROMPT, under)
        yield "prompt + method", Worn.of(f"{name}-prompt", (candidate.plus, candidate.minus), strength, under)


def _at_budget(measuring: Measuring, name: str, poles: Any, largest: Any, best: Any) -> dict[str, Any]:
    """Test figures at the largest strength within a budget, and the best one by its validation figures."""
    if largest is None:
        return {"strength": None}
    found = measuring.on_test(Worn.of(f"{name}-{largest.strength:g}", poles, largest.strength))
    return {"strength": largest.strength, "best_on_validation": best.as_json(), **as_json(found)}


def _summary(
    lm: LoadedModel,
    settings: Settings,
    texts: Texts,
    measuring: Measuring,
    methods: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Any]],
    judge: Judge | None,
    command: str,
    clock: _Clock,
) -> dict[str, Any]:
    splits = {"calibration": texts.calibration, "validation": texts.validation, "test": texts.test}
    return {
        "format_version": FORMAT_VERSION,
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "fingerprint": lm.fingerprint,
            "dtype": str(lm.dtype).removeprefix("torch."),
            "device": lm.device.type,
            "parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
        },
        "contrast": {
            "name": texts.calibration.name,
            "trait": texts.trait,
            "transfer": texts.transfer.name if texts.transfer else None,
            "split_hashes": {name: split.hash for name, split in splits.items()},
            "items": {name: split.items for name, split in splits.items()},
            "licence": texts.calibration.licence,
            "notes": list(texts.notes),
        },
        "budget": settings.budget,
        "budgets": list(settings.budgets),
        "seed": settings.seed,
        "command": command,
        "versions": package_versions(),
        "created": datetime.date.today().isoformat(),
        "seconds": clock.total,
        "baseline": {"perplexity": measuring.base_perplexity()},
        "methods": dict(methods),
        "examples": _examples(measuring, answers),
        "distribution": _distributions(methods),
        "judge": {"label": "local judge", "auc": judge.auc.as_json()} if judge else None,
        "verdict": verdict(methods, settings.budget, texts.trait or texts.calibration.name),
    }


def _examples(measuring: Measuring, answers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every question with the answers of the unworn model and of both poles of every method."""
    examples = []
    for index, base in enumerate(measuring.unworn_answers()):
        by_method = {
            name: {pole: side[index]["answer"] for pole, side in sides.items()} for name, sides in answers.items()
        }
        examples.append({"question": base["question"], "answers": {"unworn": base["answer"], **by_method}})
    return examples


def _distributions(methods: Mapping[str, Any]) -> dict[str, Any]:
    """Where in the model a method's edits lie: counts by layer and pole."""
    found = {}
    for name, entry in methods.items():
        for details in entry.get("details", {}).values():
            layers = details.get("by_layer") if isinstance(details, Mapping) else None
            if layers:
                both = [a + b for a, b in zip(layers["plus"], layers["minus"], strict=True)]
                modules: dict[str, int] = {}
                for pole in details.get("by_module", {}).values():
                    for module, count in pole.items():
                        modules[module] = modules.get(module, 0) + count
                found[name] = {"layers": both, "modules": modules, **layers}
    return found


def _write(folder: Path, summary: Mapping[str, Any]) -> None:
    write_bytes(folder / "summary.json", json.dumps(summary, ensure_ascii=False, indent=1).encode())


class _Clock:
    """Seconds by method and stage, added up over interrupted runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._seconds: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._seconds = {}

    @contextmanager
    def timing(self, method: str, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            stages = self._seconds.setdefault(method, {})
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start
            write_bytes(self._path, json.dumps(self._seconds).encode())

    def of(self, method: str) -> dict[str, float]:
        return {stage: round(seconds, 2) for stage, seconds in self._seconds.get(method, {}).items()}

    @property
    def total(self) -> float:
        return round(sum(sum(stages.values()) for stages in self._seconds.values()), 1)
