"""Where personality neurons lie, what values they take under both poles, and which traits share them (NPTI Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods.neurons import Neurons, count_by_layer, layers_of
from temperament.personas import NeuronEdit, Persona, open_persona
from temperament.signatures import NeuronSignaturePair
from temperament.signatures.neuron_store import find_neuron_signatures
from temperament.signatures.neurons import BINS, TOP

#: Bins joined to one for value histograms.
_COARSE = 10


@dataclass(frozen=True)
class NeuronValues:
    """Values of some neurons under both poles: share of tokens per bin of ``width``, (bins,) each.

    ``label`` says which neurons; ``positive`` is the share of tokens with a value above 0 (plus pole, minus pole).
    """

    label: str
    plus: Tensor
    minus: Tensor
    positive: tuple[float, float]
    width: float = TOP / BINS * _COARSE

    def as_json(self) -> dict[str, Any]:
        return {
            "bin_width": self.width,
            "plus": [round(value, 6) for value in self.plus.tolist()],
            "minus": [round(value, 6) for value in self.minus.tolist()],
            "positive": dict(zip(POLES, self.positive, strict=True)),
        }


@dataclass(frozen=True)
class NeuronAnalysis:
    """Neurons per layer by persona and pole, overlap between personas, and values where statistics are at hand.

    ``overlap[a][b]`` has the Jaccard index of the two sets of neurons, ``chance``, what independent sets of these sizes
    give, the number shared, and ``same_sign``, the share of those shared that belong to the same pole in both.
    """

    model: str
    widths: tuple[int, ...]
    by_layer: Mapping[str, Mapping[str, list[int]]]
    overlap: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    values: Mapping[str, tuple[NeuronValues, ...]]

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "layers": len(self.widths),
            "neurons": sum(self.widths),
            "personas": {
                name: {**{pole: sum(counts) for pole, counts in layers.items()}, "by_layer": dict(layers)}
                for name, layers in self.by_layer.items()
            },
            "overlap": {name: dict(row) for name, row in self.overlap.items()},
            "values": {
                name: {part.label: part.as_json() for part in parts} for name, parts in self.values.items() if parts
            },
        }


def analyze_neurons(folder: Path) -> NeuronAnalysis:
    """Analyse the neuron personas of a folder: one extraction, or a folder with several extractions in it."""
    found = dict(_personas(folder))
    edits = {name: edit for name, (_, edit) in found.items()}
    models = {str(_fact(persona, "model", "fingerprint")) for persona, _ in found.values()}
    widths = {edit.widths for edit in edits.values()}
    if len(models) > 1 or len(widths) > 1:
        raise TemperamentError(
            f"the personas in {folder} were made from {max(len(models), len(widths))} different models",
            "keep the personas of one model in one folder",
        )
    shape = widths.pop()
    statistics = {name: _statistics(folder, name, persona) for name, (persona, _) in found.items()}
    first = next(iter(found.values()))[0]
    return NeuronAnalysis(
        str(_fact(first, "model", "name") or "unknown"),
        shape,
        {name: count_by_layer(edit.neurons, shape) for name, edit in edits.items()},
        {a: {b: _overlap(edits[a].neurons, edits[b].neurons, sum(shape)) for b in edits} for a in edits},
        {name: _values(edits[name], pair) if pair else () for name, pair in statistics.items()},
    )


def _personas(folder: Path) -> list[tuple[str, tuple[Persona, NeuronEdit]]]:
    if not folder.is_dir():
        raise TemperamentError(f"there is no folder {str(folder)!r}", "give one that 'temperament extract' wrote")
    paths = [folder / "plus.persona"] if (folder / "plus.persona").is_file() else sorted(folder.glob("*/plus.persona"))
    found = []
    for path in paths:
        persona = open_persona(path)
        if isinstance(persona.edit, NeuronEdit):
            found.append((path.parent.name if path.parent != folder else _own_name(persona), (persona, persona.edit)))
    if not found:
        raise TemperamentError(
            f"there is no neuron persona in {str(folder)!r}",
            "write some with 'temperament extract --method neurons --out FOLDER'",
        )
    return found


def _own_name(persona: Persona) -> str:
    return str(_fact(persona, "data", "name") or persona.name)


def _fact(persona: Persona, part: str, key: str) -> Any:
    facts = persona.provenance.get(part)
    return facts.get(key) if isinstance(facts, Mapping) else None


def _statistics(folder: Path, name: str, persona: Persona) -> NeuronSignaturePair | None:
    """The statistics a persona was computed from, if they lie beside it."""
    for place in (folder / "signatures", folder / name / "signatures"):
        pair = find_neuron_signatures(place)
        if pair is not None and pair.hash == persona.provenance.get("signatures"):
            return pair
    return None


def _overlap(first: Neurons, second: Neurons, total: int) -> dict[str, float | None]:
    signs = dict(zip(second.index.tolist(), (second.delta > 0).tolist(), strict=True))
    shared = [
        signs[index] == sign
        for index, sign in zip(first.index.tolist(), (first.delta > 0).tolist(), strict=True)
        if index in signs
    ]
    union = len(first) + len(second) - len(shared)
    expected = len(first) * len(second) / total  # neurons in common, of independent sets
    return {
        "jaccard": len(shared) / union,
        "chance": expected / (len(first) + len(second) - expected),
        "shared": len(shared),
        "same_sign": sum(shared) / len(shared) if shared else None,
    }


def _values(edit: NeuronEdit, pair: NeuronSignaturePair) -> tuple[NeuronValues, ...]:
    """The neuron of the largest |δ| of each pole, and all chosen neurons of each pole together."""
    neurons, parts = edit.neurons, []
    for pole, sign in zip(POLES, (1, -1), strict=True):
        own = neurons.on(sign)
        if not bool(own.any()):
            continue
        top = int(torch.where(own, neurons.delta.abs(), 0).argmax())
        layer = int(layers_of(neurons.index[top : top + 1], edit.widths))
        place = int(neurons.index[top]) - sum(edit.widths[:layer])
        parts.append(_histogram(edit, pair, neurons.index[top : top + 1], f"layer {layer}, neuron {place} ({pole})"))
        parts.append(_histogram(edit, pair, neurons.index[own], f"all {int(own.sum())} of the {pole} pole"))
    return tuple(parts)


def _histogram(edit: NeuronEdit, pair: NeuronSignaturePair, index: Tensor, label: str) -> NeuronValues:
    layers = layers_of(index, edit.widths)
    totals = {pole: torch.zeros(BINS, dtype=torch.float64) for pole in POLES}
    for layer in sorted(set(layers.tolist())):
        rows = index[layers == layer] - sum(edit.widths[:layer])
        for pole in POLES:
            totals[pole] += pair.histogram(pole, layer)[rows].double().sum(0)
    shares = {pole: (total / total.sum().clamp_min(1)).view(-1, _COARSE).sum(1) for pole, total in totals.items()}
    plus, minus = (float(pair.pole(pole).counts.probability[index].mean()) for pole in POLES)
    return NeuronValues(label, shares["plus"], shares["minus"], (plus, minus))
