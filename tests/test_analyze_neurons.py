"""The analysis of neuron personas whose neurons are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from expect import refused
from support import mixed_contrast

from temperament.analyze.neurons import analyze_neurons
from temperament.methods import Neurons
from temperament.models import LoadedModel
from temperament.personas import NeuronEdit, Persona, extract
from temperament.signatures import save_neuron_signatures


def persona(neurons: dict[int, float], widths: tuple[int, ...] = (4, 4), fingerprint: str = "f") -> Persona:
    index = torch.tensor(sorted(neurons))
    delta = torch.tensor([neurons[int(position)] for position in index])
    edit = NeuronEdit(widths, Neurons(index, delta, torch.zeros(len(index))), 0.7)
    return Persona("made", "plus", edit, {"model": {"name": "made", "fingerprint": fingerprint}})


def save(folder: Path, **personas: Persona) -> Path:
    for name, one in personas.items():
        one.save(folder / name / "plus.persona")
    return folder


def test_counts_by_layer_and_overlap(tmp_path: Path) -> None:
    first = persona({0: 0.5, 3: -0.2, 4: 0.3, 7: 0.9})
    second = persona({3: -0.4, 4: -0.1, 5: 0.2})
    third = persona({1: 0.5})
    found = analyze_neurons(save(tmp_path, first=first, second=second, third=third))
    assert found.by_layer["first"] == {"plus": [1, 2], "minus": [1, 0]}
    assert found.by_layer["second"] == {"plus": [0, 1], "minus": [1, 1]}
    assert found.overlap["first"]["second"] == {
        "jaccard": 2 / 5, "chance": 1.5 / 5.5, "shared": 2, "same_sign": 0.5,
    }  # fmt: skip
    assert found.overlap["first"]["third"] == {
        "jaccard": 0.0, "chance": 0.5 / 4.5, "shared": 0, "same_sign": None,
    }  # fmt: skip
    assert found.values == {"first": (), "second": (), "third": ()}


def test_models_are_not_mixed(tmp_path: Path) -> None:
    save(tmp_path, first=persona({0: 0.5}), second=persona({0: 0.5}, fingerprint="g"))
    with refused("2 different models"):
        analyze_neurons(tmp_path)


def test_values_of_the_strongest_neuron(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    """The histogram of the neuron with the largest δ is that of the statistics, in bins of a tenth."""
    found = extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 4})
    found.plus.save(tmp_path / "plus.persona")
    save_neuron_signatures(tmp_path / "signatures", found.signatures)  # type: ignore[arg-type]
    values = analyze_neurons(tmp_path).values["mixed"]
    assert len(values) == 4
    pair = found.signatures
    delta = pair.delta  # type: ignore[attr-defined]
    top = int(delta.argmax())
    layer, place = divmod(top, tiny_llama.neurons[0].width)
    assert values[0].label == f"layer {layer}, neuron {place} (plus)"
    counts = pair.histogram("minus", layer)[place].double()  # type: ignore[attr-defined]
    expected = (counts / counts.sum()).view(30, 10).sum(1)
    torch.testing.assert_close(values[0].minus, expected)
    assert values[0].positive[0] - values[0].positive[1] == pytest.approx(float(delta[top]))


def test_statistics_of_another_extraction_are_not_used(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    found = extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 4})
    save_neuron_signatures(tmp_path / "signatures", found.signatures)  # type: ignore[arg-type]
    other = replace(found.plus, provenance={**found.plus.provenance, "signatures": "0" * 64})
    other.save(tmp_path / "plus.persona")
    assert analyze_neurons(tmp_path).values == {"mixed": ()}
