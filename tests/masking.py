"""What tests of mask personas look at: the edit, its masks, and the layers that SparseGPT chooses for."""

from __future__ import annotations

import pytest
from torch import Tensor

import temperament.personas.sparsegpt_masks as choosing_module
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona
from temperament.personas.sparsegpt_masks import Choosing
from temperament.personas.sparsegpt_store import LayerChoice
from temperament.signatures.hessians import LayerHessians


def edit(persona: Persona) -> MaskEdit:
    """The edit of a mask persona."""
    assert isinstance(persona.edit, MaskEdit)
    return persona.edit


def masks(lm: LoadedModel, persona: Persona) -> dict[str, Tensor]:
    """The bool mask of every Linear that loses something, by name."""
    own = edit(persona).masks(lm)
    return {linear.name: mask for linear in lm.linears if (mask := own.mask(linear)) is not None}


def interrupted_at(monkeypatch: pytest.MonkeyPatch, layer: int) -> tuple[list[int], list[int]]:
    """Interrupt SparseGPT where it comes to a layer; the layers it came to, and those that interrupt, to be cleared."""
    choose, asked, broken = choosing_module.choose_layer, list[int](), [layer]

    def choosing(lm: LoadedModel, how: Choosing, hessians: LayerHessians) -> LayerChoice:
        asked.append(hessians.layer)
        if hessians.layer in broken:
            raise KeyboardInterrupt
        return choose(lm, how, hessians)

    monkeypatch.setattr(choosing_module, "choose_layer", choosing)
    return asked, broken
