"""What was done to Hessians that have no inverse, as plain values and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.models import InputSite, LoadedModel
from temperament.personas.sparsegpt_masks import Chosen

#: How many Linears a note names; those of experts are too many, and the report has all.
_NAMED = 32


def report_of(lm: LoadedModel, chosen: Chosen, pole: Pole, asked: float) -> dict[str, Any]:
    """What was done to the Hessians of a pole, as plain JSON values.

    ``singular`` lists, by kind of Linear, the layers whose H alone has no inverse, as with fewer different tokens than
    inputs; a layer as often as it has experts of which that is true. ``raised`` maps each Linear for which λ was not
    enough to what was.
    """
    index = POLES.index(pole)
    sites = {site.name: site for site in lm.inputs}
    singular: dict[str, list[int]] = {}
    raised: dict[str, float] = {}
    total = 0
    for layer in chosen.layers:
        total += len(layer.damping)
        for name, used in layer.damping.items():
            if layer.singular[name][index]:
                singular.setdefault(_kinds(sites[name]), []).append(sites[name].layer)
            if used[index] > asked:
                raised |= dict.fromkeys(sites[name].linears, used[index])
    return {"count": total, "damping": asked, "singular": singular, "raised": raised}


def _kinds(site: InputSite) -> str:
    kinds = ", ".join(name.rpartition(".")[2] for name in site.linears)
    return f"experts' {kinds}" if site.expert else kinds


def notes(reports: Mapping[Pole, Mapping[str, Any]]) -> list[str]:
    """What a user must be told about the Hessians of either pole."""
    found = []
    for pole, report in reports.items():
        if report["singular"]:
            where = "; ".join(f"{kind} of layers {_ranges(layers)}" for kind, layers in report["singular"].items())
            number = sum(map(len, report["singular"].values()))
            found.append(
                f"{pole}: {number} of {report['count']} Hessians are singular by themselves (fewer different tokens "
                f"than inputs) and rest on their damping of {report['damping']:g}: {where}"
            )
        if report["raised"]:
            named = [f"{name} {share:g}" for name, share in report["raised"].items()]
            where = ", ".join(named[:_NAMED]) + (f" and {len(named) - _NAMED} more" if len(named) > _NAMED else "")
            found.append(f"{pole}: the damping of {report['damping']:g} was not enough and was raised: {where}")
    return found


def _ranges(layers: Sequence[int]) -> str:
    """0-3, 5 for 0, 1, 2, 2, 3, 5."""
    parts: list[list[int]] = []
    for layer in dict.fromkeys(layers):
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
