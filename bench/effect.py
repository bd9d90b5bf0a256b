"""Effect of the methods on public persona statements (if they are there) and on the built-in texts."""

from __future__ import annotations

import os
from pathlib import Path

from bench.table import Row
from temperament.calibration import Contrast, resolve_contrast
from temperament.evaluation import Evaluation, evaluate
from temperament.language_model import LanguageModel
from temperament.methods import MASK_METHODS, SPARSEGPT
from temperament.personas import extract
from temperament.report.tables import interval
from temperament.signatures import Pair

SPARSITY = "0.2"


def public_file(trait: str = "extraversion") -> Path | None:
    """The public statements on a trait, where ``TEMPERAMENT_DATA`` points to them."""
    root = os.environ.get("TEMPERAMENT_DATA")
    path = Path(root) / "anthropic_evals" / "persona" / f"{trait}.jsonl" if root else None
    return path if path and path.is_file() else None


def effect_rows(lm: LanguageModel) -> list[Row]:
    """Separation, AUC, perplexity ratios and controls at ρ .2 for every method."""
    rows = []
    if path := public_file():
        calibration = resolve_contrast(str(path), limit=120, seed=42)
        test = resolve_contrast(str(path), split="test", limit=60, seed=42)
        rows += _rows(lm, calibration, test, "public extraversion", aims=True)
    rows += _rows(
        lm, resolve_contrast("extraversion"), resolve_contrast("extraversion", split="test"), "built-in extraversion"
    )
    return rows


def _rows(lm: LanguageModel, calibration: Contrast, test: Contrast, label: str, *, aims: bool = False) -> list[Row]:
    rows: list[Row] = []
    signatures: dict[str, Pair] = {}
    methods = (*SPARSEGPT, *MASK_METHODS)
    for method in methods:
        known = signatures.get(method.kind)
        found = extract(lm, calibration, method=method.name, sparsity=SPARSITY, signatures=known)
        signatures[method.kind] = found.signatures
        result = evaluate(
            lm,
            found.plus,
            found.minus,
            test,
            measures=("separation", "auc", "perplexity"),
            controls=("random", "shuffled", "prompt"),
            signatures=found.signatures,
        )
        rows += _method_rows(result, f"{label}, {method.name}", aims=aims)
        if method is methods[-1]:
            prompt = result.controls["prompt"]
            rows.append(
                Row(
                    f"{label}, system prompt",
                    f"separation {interval(prompt['separation'])}, AUC {interval(prompt['auc'])}",
                )
            )
    return rows


def _method_rows(result: Evaluation, label: str, *, aims: bool) -> list[Row]:
    separation, auc, cost = (result.measures[name] for name in ("separation", "auc", "perplexity"))
    aim = ""
    met: bool | None = None
    if aims and label.endswith("contrastive-tilt"):
        aim, met = "separation ≥ 1.2, AUC ≥ .86", separation.value >= 1.2 and auc.value >= 0.86
    elif aims and label.endswith(", wanda"):
        aim, met = "separation within ± .15", abs(separation.value) <= 0.15
    value = f"separation {interval(separation)}, AUC {interval(auc)}, "
    value += f"perplexity × {cost.extra['plus']:.2f} / {cost.extra['minus']:.2f}"
    controls = {name: measures["separation"] for name, measures in result.controls.items() if name != "prompt"}
    worst = max(abs(control.value) for control in controls.values())
    shown = ", ".join(f"{name} {control.value:+.2f}" for name, control in controls.items())
    aimed = aims and label.endswith("contrastive-tilt")
    return [
        Row(label, value, aim, met),
        Row(f"{label}, controls", shown, "within ± .15" if aimed else "", worst <= 0.15 if aimed else None),
    ]
