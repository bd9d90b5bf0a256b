"""Personas made by hand, one of each stored form, that need no model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import torch

from temperament.calibration.contrast import group_key
from temperament.methods import Neurons, Recipe, Shifts, SparsityPlan
from temperament.personas import (
    MaskEdit,
    MixtureEdit,
    NeuronEdit,
    PackedMasks,
    Persona,
    PromptEdit,
    SubnetworkEdit,
    VectorEdit,
)

KINDS = ("recipe", "packed", "neurons", "vector", "subnetwork", "prompt", "mixture")

PROVENANCE: dict[str, Any] = {
    "model": {"name": "tiny", "revision": None, "family": "Llama", "fingerprint": "f" * 64},
    "data": {"name": "small", "hash": "d" * 64, "items": {"plus": 3, "minus": 3}},
    "method": {"name": "contrastive-tilt", "parameters": {"t": 8.0}},
    "prompt": "You are “calm”.\n",
}


def _groups(count: int) -> frozenset[str]:
    return frozenset(group_key(f"text {index}") for index in range(count))


def recipe_persona(inputs: int = 24, groups: int = 3) -> Persona:
    vectors = torch.rand(1, inputs, generator=torch.Generator().manual_seed(0))
    sparsity = SparsityPlan.of({"default": "0.2", "mlp.layers.0-9": "0.1"})
    edit = MaskEdit(sparsity, hashlib.sha256(b"").hexdigest(), recipe=Recipe("product", "plus", vectors))
    return Persona("outgoing", "plus", edit, PROVENANCE, _groups(groups))


def packed_persona() -> Persona:
    generator = torch.Generator().manual_seed(0)
    shapes = {"model.layers.0.q_proj": (4, 3), "model.layers.1.q_proj": (2, 5)}
    bits = {name: torch.randint(256, shape, dtype=torch.uint8, generator=generator) for name, shape in shapes.items()}
    packed = PackedMasks(bits)
    return Persona(
        "reserved", "minus", MaskEdit(SparsityPlan.of(0.5), packed.checksum, packed=packed), PROVENANCE, _groups(3)
    )


def neuron_persona() -> Persona:
    index = torch.tensor([0, 3, 7, 8, 15])
    delta, a95 = torch.tensor([0.5, -0.25, 0.125, -1.0, 0.2]), torch.tensor([0.0, 0.5, 3.0, 1.25, 0.01])
    edit = NeuronEdit((8, 8), Neurons(index, delta, a95), 0.7)
    return Persona("outgoing", "plus", edit, PROVENANCE, _groups(3))


def vector_persona() -> Persona:
    vectors = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    return Persona("outgoing", "plus", VectorEdit(4, Shifts("heads", (1, 3), vectors, 3)), PROVENANCE, _groups(3))


def subnetwork_persona() -> Persona:
    linears = (("model.layers.0.q_proj", 4, 3), ("model.layers.1.q_proj", 2, 5))
    edit = SubnetworkEdit(linears, torch.tensor([0, 3, 7, 11, 12, 21]))
    return Persona("outgoing", "plus", edit, PROVENANCE, _groups(3))


def prompt_persona() -> Persona:
    return Persona("prompt", "plus", PromptEdit("Answer as a calm person — always."), {"licence": "MIT"})


def mixture_persona() -> Persona:
    parts = tuple((replace(part, groups=frozenset()), 0.5) for part in (packed_persona(), neuron_persona()))
    return Persona("both", "plus", MixtureEdit(parts), PROVENANCE, _groups(4))


def made(kind: str) -> Persona:
    makers = {
        "recipe": recipe_persona,
        "packed": packed_persona,
        "neurons": neuron_persona,
        "vector": vector_persona,
        "subnetwork": subnetwork_persona,
        "prompt": prompt_persona,
        "mixture": mixture_persona,
    }
    return makers[kind]()
