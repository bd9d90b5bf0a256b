"""Mask personas: from signatures to recipes, masks and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.methods import MaskMethod, Recipe, SparsityPlan
from temperament.models import LoadedModel
from temperament.personas.edits import MaskEdit
from temperament.personas.masks import PackedMasks, build_masks, mask_statistics
from temperament.personas.persona import Persona
from temperament.signatures import SignaturePair, collect, save_signatures
from temperament.signatures.collect import Progress, Tokens, signature_provenance
from temperament.signatures.store import find_signatures


def mask_signatures(
    lm: LoadedModel,
    contrast: Contrast,
    tokens: Tokens,
    seed: int,
    folder: Path | None,
    progress: Progress | None,
) -> SignaturePair:
    """Signatures from the folder if they fit, else collected (and kept there)."""
    found = find_signatures(folder, signature_provenance(lm, contrast, tokens, seed)) if folder else None
    if found is None:
        found = collect(lm, contrast, tokens=tokens, seed=seed, folder=folder, progress=progress)
        if folder:
            save_signatures(folder, found)
    return found


def mask_pair(
    lm: LoadedModel,
    method: MaskMethod,
    parameters: Any,
    sparsity: SparsityPlan,
    pair: SignaturePair,
    name: str,
    origin: Mapping[Pole, Mapping[str, Any]],
) -> tuple[Persona, Persona, dict[str, Any]]:
    """Both poles, and the statistics of their masks; ``origin`` is the provenance of each."""
    plus, minus = (
        mask_persona(
            lm,
            method.recipe(pair, lm.inputs, pole, parameters),
            sparsity,
            name=f"{name}-{pole}",
            provenance=origin[pole],
            pair=pair,
        )
        for pole in POLES
    )
    return plus, minus, {"masks": mask_statistics(lm, _masks(plus, lm), _masks(minus, lm))}


def mask_persona(
    lm: LoadedModel,
    recipe: Recipe,
    sparsity: SparsityPlan,
    *,
    name: str,
    provenance: Mapping[str, Any],
    pair: SignaturePair | None = None,
) -> Persona:
    """Build the masks of a recipe and wrap them as a persona of the recipe's pole."""
    masks = build_masks(lm, recipe, sparsity)
    edit = MaskEdit(sparsity, masks.checksum, recipe=recipe)
    edit.keep(lm, masks)
    return Persona(name, recipe.pole, edit, provenance, pair.groups if pair else frozenset(), pair)


def _masks(persona: Persona, lm: LoadedModel) -> PackedMasks:
    if not isinstance(persona.edit, MaskEdit):
        raise ValueError("not a mask persona")
    return persona.edit.masks(lm)
