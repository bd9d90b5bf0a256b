"""Run an evaluation: score every condition on every item, then compute measures and controls from the scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.controls import CONTROLS, RANDOM_SEEDS, Condition, check_conditions, control_conditions
from temperament.evaluation.perplexity import encode_passages, neutral_passages, perplexity
from temperament.evaluation.separation import separation
from temperament.evaluation.testset import SideScores, TestSet, load_records, save_records, score_side
from temperament.evaluation.two_choice import two_choice
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, Plan, package_versions
from temperament.signatures import Pair
from temperament.wear import wear

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measure:
    """A row of the table of measures: what it needs scored and how it reads the scores."""

    name: str
    needs: str
    unit: str
    summary: str
    compute: Callable[[TestSet, SideScores, SideScores, SideScores, int], Measured]


def _difference(test: TestSet, plus: SideScores, minus: SideScores) -> tuple[Any, Any]:
    change = plus.statements - minus.statements
    return change[: len(test.high)], change[len(test.high) :]


MEASURES: tuple[Measure, ...] = (
    Measure(
        "separation",
        "statements",
        "nats/token",
        "how far plus and minus pull the poles' statements apart; 0 = no effect",
        lambda test, plus, minus, base, seed: separation(*_difference(test, plus, minus), seed=seed),
    ),
    Measure(
        "auc",
        "statements",
        "0–1",
        "how well the change between plus and minus tells high from low statements; .5 = no effect",
        lambda test, plus, minus, base, seed: auc(*_difference(test, plus, minus), seed=seed),
    ),
    Measure(
        "two_choice",
        "choices",
        "%",
        "share of answers that fit the persona worn, two-sided; 50 = no effect or a fixed habit",
        lambda test, plus, minus, base, seed: two_choice(test.choices, plus.choices, minus.choices, seed=seed),
    ),
    Measure(
        "perplexity",
        "passages",
        "ratio",
        "perplexity on neutral text, worn to unworn; 1 = no cost",
        lambda test, plus, minus, base, seed: perplexity(plus.passages, minus.passages, base.passages, seed=seed),
    ),
)


@dataclass(frozen=True)
class Evaluation:
    """Measures of the worn pair, the same measures of every control, and provenance; ``str()`` is a short table."""

    measures: Mapping[str, Measured]
    controls: Mapping[str, Mapping[str, Measured]]
    provenance: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {
            "measures": {name: measured.as_json() for name, measured in self.measures.items()},
            "controls": {
                control: {name: measured.as_json() for name, measured in measures.items()}
                for control, measures in self.controls.items()
            },
            "provenance": dict(self.provenance),
        }

    def __str__(self) -> str:
        rows = {"worn": self.measures, **self.controls}
        lines = [f"{'':12}" + "".join(f"{name:>24}" for name in self.measures)]
        for label, measures in rows.items():
            cells = (f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" for m in measures.values())
            lines.append(f"{label:12}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join(lines)


def find_measures(names: tuple[str, ...]) -> tuple[Measure, ...]:
    """The rows of those names, or an error that lists all names."""
    known = {measure.name: measure for measure in MEASURES}
    if not names:
        raise TemperamentError("no measure was named", f"use one or more of {', '.join(known)}")
    for name in names:
        if name not in known:
            raise TemperamentError(
                f"unknown measure {name!r}", f"use one or more of {', '.join(known)}, joined by commas"
            )
    return tuple(known[name] for name in names)


def evaluate(
    lm: LoadedModel,
    plus: Persona,
    minus: Persona,
    contrast: Contrast,
    *,
    measures: tuple[str, ...] = ("separation", "auc", "two_choice", "perplexity"),
    controls: tuple[str, ...] = CONTROLS,
    signatures: Pair | None = None,
    strength: float = 1.0,
    neutral: Path | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a pair of opposite personas on test texts, beside its controls.

    ``contrast`` holds the test items; any that the personas were calibrated on is an error. With a ``folder``
    the per-item records of every finished side are kept there and reused by the next call.
    """
    if lm.worn:
        raise TemperamentError(
            "an evaluation starts from the unworn model, but a persona is worn", "leave lm.wear() first"
        )
    rows = find_measures(measures)
    check_controls(controls)
    check_pair(plus, minus)
    _check_leak(contrast, plus, minus)
    _check_signatures(plus, minus, signatures)
    check_conditions(plus, minus, controls, signatures)
    for persona in (plus, minus):
        persona.check_model(lm)
    test = TestSet.of(contrast, neutral_passages(neutral), frozenset(row.needs for row in rows))
    scorer = _Scorer(lm, test, folder, progress)
    worn = Condition("worn", Plan.of(plus, strength), Plan.of(minus, strength))
    base = scorer(Plan(), "unworn")

    def measure(first: SideScores, second: SideScores) -> dict[str, Measured]:
        return {row.name: row.compute(test, first, second, base, seed) for row in rows}

    sides = scorer(worn.plus, "worn-plus"), scorer(worn.minus, "worn-minus")
    result: dict[str, dict[str, Measured]] = {}
    for condition in control_conditions(lm, plus, minus, strength, controls, signatures):
        first = scorer(condition.plus, f"{condition.name}-plus")
        result[condition.name] = measure(first, scorer(condition.minus, f"{condition.name}-minus"))
    if "swapped" in controls:
        result["swapped"] = measure(sides[1], sides[0])
    provenance = {
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "fingerprint": lm.fingerprint,
            "dtype": str(lm.dtype),
            "device": lm.device.type,
        },
        "personas": {persona.pole: _describe(persona) for persona in (plus, minus)},
        "strength": strength,
        "data": {
            "name": contrast.name,
            "split": contrast.split,
            "hash": test.hash,
            "items": {"plus": len(contrast.plus), "minus": len(contrast.minus), "choices": len(test.choices)},
            "notes": list(contrast.notes),
        },
        "seed": seed,
        "versions": package_versions(),
    }
    return Evaluation(measure(*sides), result, provenance)


class _Scorer:
    """Scores a plan on the test set once; finished sides are kept in memory and, with a folder, on disk."""

    def __init__(self, lm: LoadedModel, test: TestSet, folder: Path | None, progress: Progress | None) -> None:
        self._lm, self._test, self._folder, self._progress = lm, test, folder, progress
        self._known: dict[str, SideScores] = {}
        self._windows = len(encode_passages(lm, test.passages)) if folder else 0

    def __call__(self, plan: Plan, label: str) -> SideScores:
        key = self._key(plan)
        if key not in self._known:
            path = self._folder / f"{label}-{key[:12]}.jsonl" if self._folder else None
            scores = load_records(path, self._test, self._windows) if path else None
            if scores is None:
                scores = self._score(plan, label)
                if path:
                    save_records(path, label, self._test, scores)
            self._known[key] = scores
        return self._known[key]

    def _score(self, plan: Plan, label: str) -> SideScores:
        total, done = len(self._test), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self._progress:
                self._progress(label, min(done, total), total)

        with wear(self._lm, plan):
            return score_side(self._lm, self._test, advance)

    def _key(self, plan: Plan) -> str:
        """Identity of the numbers: model, dtype, test items, and everything that is worn."""
        edits = [[persona.edit.identity, persona.pole, strength] for persona, strength in plan.active]
        lm = self._lm
        parts = [
            lm.fingerprint,
            lm.tokenizer_hash,
            lm.template_hash,
            str(lm.dtype),
            lm.device.type,
            package_versions(),
            self._test.hash,
            edits,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _describe(persona: Persona) -> dict[str, Any]:
    sparsity = persona.edit.sparsity.as_json() if isinstance(persona.edit, MaskEdit) else None
    origin = {key: persona.provenance.get(key) for key in ("method", "data", "signatures")}
    return {
        "name": persona.name,
        "kind": persona.kind,
        "checksum": persona.edit.identity,
        "sparsity": sparsity,
        **origin,
    }


def check_controls(controls: tuple[str, ...]) -> None:
    """Raise unless every name is that of a control."""
    for name in controls:
        if name not in (*CONTROLS, *(f"random-{seed}" for seed in RANDOM_SEEDS)):
            raise TemperamentError(
                f"unknown control {name!r}", f"use all, none, or some of {', '.join(CONTROLS)}, random-0 … random-2"
            )


def check_pair(plus: Persona, minus: Persona) -> None:
    """Raise unless these are the plus and minus poles of one extraction."""
    if (plus.pole, minus.pole) != ("plus", "minus"):
        raise TemperamentError(
            f"{plus.name!r} is the {plus.pole} pole and {minus.name!r} the {minus.pole} pole",
            "give the plus pole first and the minus pole second",
        )
    first, second = _describe(plus), _describe(minus)
    for key in ("kind", "method", "sparsity", "data", "signatures"):
        if first[key] != second[key]:
            raise TemperamentError(
                f"{plus.name!r} and {minus.name!r} are not a pair: their {key} differs",
                "evaluate the two poles of one extraction",
            )


def _check_leak(contrast: Contrast, plus: Persona, minus: Persona) -> None:
    keys = contrast.group_keys
    leaked = len(keys & (plus.groups | minus.groups))
    if leaked:
        raise TemperamentError(
            f"{leaked} of {len(keys)} test texts of {contrast.name!r} were used for calibration or tuning",
            f"evaluate on other texts, such as the test split of the same file ({contrast.name}#test), "
            "and extract from its calibration split",
        )


def _check_signatures(plus: Persona, minus: Persona, signatures: Pair | None) -> None:
    if signatures is None:
        return
    for persona in (plus, minus):
        if persona.provenance.get("signatures") != signatures.hash:
            raise TemperamentError(
                f"the signatures are not those that {persona.name!r} was computed from (their hash differs)",
                "give the folder written by the same extraction with --signatures, or leave out the shuffled control",
            )
