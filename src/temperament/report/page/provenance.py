"""Where the figures come from: everything needed to compute them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temperament.report.page.caveats import judge_label
from temperament.report.page.numbers import plain, ratio, seconds
from temperament.report.summary import mapping, number, sequence


def provenance(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; what the summary does not tell is left out."""
    model, contrast = summary["model"], summary["contrast"]
    parameters = number(model.get("parameters"))
    baseline, total = number(mapping(summary.get("baseline")).get("perplexity")), number(summary.get("seconds"))
    budgets = [value for entry in sequence(summary.get("budgets")) if (value := number(entry)) is not None]
    facts = [
        ("model", model.get("name")),
        ("revision", model.get("revision")),
        ("fingerprint", model.get("fingerprint")),
        ("parameters", None if parameters is None else plain(parameters, 0)),
        ("dtype, device", ", ".join(str(model[key]) for key in ("dtype", "device") if model.get(key))),
        ("unworn perplexity", None if baseline is None else plain(baseline)),
        ("contrast", contrast.get("name")),
        *_splits(contrast),
        ("budgets", ", ".join(ratio(budget) for budget in budgets)),
        ("judge", judge_label(summary)),
        ("seed", summary.get("seed")),
        ("computed in", None if total is None else seconds(total)),
        ("created", summary.get("created")),
        ("versions", ", ".join(f"{name} {version}" for name, version in mapping(summary.get("versions")).items())),
    ]
    return [(name, str(value)) for name, value in facts if value is not None and str(value)]


def _splits(contrast: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Items per pole and hash of each split, as ``60 plus + 60 minus, 3f…``."""
    items, hashes = mapping(contrast.get("items")), mapping(contrast.get("split_hashes"))
    rows = []
    for split in dict.fromkeys([*items, *hashes]):
        sides = [(side, number(mapping(items.get(split)).get(side))) for side in ("plus", "minus")]
        told = " + ".join(f"{plain(count, 0)} {side}" for side, count in sides if count is not None)
        parts = [told, str(hashes[split]) if hashes.get(split) else ""]
        rows.append((f"{split} split", ", ".join(part for part in parts if part)))
    return rows
