"""Run an evaluation: put every item to every condition, then compute measures and controls from the records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.choices import TwoChoice, choice_array, choice_items
from temperament.evaluation.controls import CONTROLS, RANDOM_SEEDS, Condition, check_conditions, control_conditions
from temperament.evaluation.instrument import Instrument, Record, text_digest
from temperament.evaluation.ledger import Ledger, Progress, check_finite, check_leak, check_unworn
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.evaluation.two_choice import two_choice
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, Plan, package_versions
from temperament.signatures import Pair

#: Records of one instrument under one plan, in item order.
Records = Sequence[Record]


@dataclass(frozen=True)
class Measure:
    """A row of the table of measures: the instrument it needs, and how it reads that one's records.

    ``compute`` takes the records worn plus, worn minus and unworn, and the seed of the intervals.
    """

    name: str
    needs: str
    unit: str
    summary: str
    compute: Callable[[Records, Records, Records, int], Measured]


MEASURES: tuple[Measure, ...] = (
    Measure(
        "separation",
        "statements",
        "nats/token",
        "how far plus and minus pull the poles' statements apart; 0 = no effect",
        lambda plus, minus, base, seed: separation(*statement_changes(plus, minus), seed=seed),
    ),
    Measure(
        "auc",
        "statements",
        "0–1",
        "how well the change between plus and minus tells high from low statements; .5 = no effect",
        lambda plus, minus, base, seed: auc(*statement_changes(plus, minus), seed=seed),
    ),
    Measure(
        "two_choice",
        "choices",
        "%",
        "share of answers that fit the persona worn, two-sided; 50 = no effect or a fixed habit",
        lambda plus, minus, base, seed: two_choice(
            choice_items(base), choice_array(plus), choice_array(minus), seed=seed
        ),
    ),
    Measure(
        "perplexity",
        "passages",
        "ratio",
        "perplexity on neutral text, worn to unworn; 1 = no cost",
        lambda plus, minus, base, seed: perplexity(*map(passage_array, (plus, minus, base)), seed=seed),
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
        units = {measure.name: measure.unit for measure in MEASURES}
        lines = [f"{'':12}" + "".join(f"{name:>24}" for name in self.measures)]
        lines.append(f"{'':12}" + "".join(f"{units.get(name, ''):>24}" for name in self.measures))
        for label, measures in rows.items():
            cells = (f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" for m in measures.values())
            lines.append(f"{label:12}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join([*lines, "[ ] 95 % bootstrap interval over items"])

    __repr__ = __str__


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
    strength: float | tuple[float, float] = 1.0,
    neutral: Path | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a pair of opposite personas on test texts, beside its controls.

    ``contrast`` holds the test items; any that the personas were calibrated or tuned on is an error. ``strength`` is
    that of both poles, or a pair of them. With a ``folder`` the record of every finished item is kept there and reused
    by the next call, also after an interruption. Intervals resample statements, two-choice items, and passages of
    neutral text.
    """
    strengths = strength if isinstance(strength, tuple) else (strength, strength)
    check_unworn(lm)
    rows = find_measures(measures)
    check_controls(controls)
    check_pair(plus, minus)
    instruments: dict[str, Instrument] = {
        "statements": Statements(contrast),
        "choices": TwoChoice.of(contrast),
        "passages": Passages(neutral_passages(neutral)),
    }
    for instrument in instruments.values():  # also those that no measure asks for
        for persona in (plus, minus):
            check_leak(instrument, Plan.of(persona))
    _check_signatures(plus, minus, signatures)
    check_conditions(plus, minus, controls, signatures)
    for persona in (plus, minus):
        persona.check_model(lm)
    needed = [kind for kind in instruments if any(row.needs == kind for row in rows)]
    worn = Condition("worn", Plan.of(plus, strengths[0]), Plan.of(minus, strengths[1]))
    ledger = Ledger(lm, folder, progress)

    def side(plan: Plan, label: str) -> dict[str, Records]:
        records = ledger.run_all([instruments[kind] for kind in needed], plan, label)
        return dict(zip(needed, records, strict=True))

    base = side(Plan(), "unworn")

    def measure(first: Mapping[str, Records], second: Mapping[str, Records]) -> dict[str, Measured]:
        return {row.name: row.compute(first[row.needs], second[row.needs], base[row.needs], seed) for row in rows}

    sides = side(worn.plus, "worn-plus"), side(worn.minus, "worn-minus")
    for plan, found in ((Plan(), base), (worn.plus, sides[0]), (worn.minus, sides[1])):
        for kind, records in found.items():
            check_finite(records, plan, instruments[kind].name)
    result: dict[str, dict[str, Measured]] = {}
    for condition in control_conditions(lm, plus, minus, strengths, controls, signatures):
        first = side(condition.plus, f"{condition.name}-plus")
        result[condition.name] = measure(first, side(condition.minus, f"{condition.name}-minus"))
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
        "strength": dict(zip(POLES, strengths, strict=True)),
        "data": {
            "name": contrast.name,
            "split": contrast.split,
            "hash": text_digest(instruments[kind].hash for kind in needed),
            "items": {**contrast.items, "choices": len(instruments["choices"]) if "choices" in needed else 0},
            "notes": list(contrast.notes),
        },
        "seed": seed,
        "versions": package_versions(),
    }
    return Evaluation(measure(*sides), result, provenance)


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


def _check_signatures(plus: Persona, minus: Persona, signatures: Pair | None) -> None:
    if signatures is None:
        return
    for persona in (plus, minus):
        if persona.provenance.get("signatures") != signatures.hash:
            raise TemperamentError(
                f"the signatures are not those that {persona.name!r} was computed from (their hash differs)",
                "give the folder written by the same extraction with --signatures, or leave out the shuffled control",
            )
