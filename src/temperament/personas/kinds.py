"""The table of kinds of methods."""

from __future__ import annotations

from typing import Any

from temperament.methods import METHODS, find_method
from temperament.personas.description_personas import DescriptionKind
from temperament.personas.few_shot_personas import FewShotKind
from temperament.personas.kind import MethodKind
from temperament.personas.lora_personas import LoraKind
from temperament.personas.mask_personas import MaskKind
from temperament.personas.neuron_personas import NeuronKind
from temperament.personas.persona import Persona
from temperament.personas.saliency_personas import SaliencyKind
from temperament.personas.sparsegpt_personas import SparseGptKind
from temperament.personas.vector_personas import VectorKind

#: By the name that ``Method.kind`` refers to.
METHOD_KINDS: dict[str, MethodKind[Any]] = {
    kind.name: kind
    for kind in (
        MaskKind(),
        SparseGptKind(),
        NeuronKind(),
        VectorKind(),
        SaliencyKind(),
        DescriptionKind(),
        FewShotKind(),
        LoraKind(),
    )
}


def kind_of(persona: Persona) -> MethodKind[Any] | None:
    """The kind of the method a persona was found by, or None where no known method made it."""
    name = (persona.provenance.get("method") or {}).get("name")
    return METHOD_KINDS[find_method(name).kind] if name in {method.name for method in METHODS} else None
