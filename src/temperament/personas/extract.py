"""From a contrast to a pair of opposite personas: signatures, recipes, masks, provenance."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods import Method, Recipe, SparsityPlan, find_method
from temperament.models import LoadedModel
from temperament.personas.masks import build_masks, mask_statistics
from temperament.personas.persona import MaskEdit, Persona
from temperament.signatures import SignaturePair, collect, save_signatures
from temperament.signatures.collect import Progress, Tokens, signature_provenance
from temperament.signatures.store import find_signatures


@dataclass(frozen=True)
class Extraction:
    """Two opposite personas, the signatures they were computed from, seconds per stage and mask statistics."""

    plus: Persona
    minus: Persona
    signatures: SignaturePair
    seconds: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, Any] = field(default_factory=dict)


def extract(
    lm: LoadedModel,
    contrast: Contrast,
    *,
    method: str = "contrastive-tilt",
    sparsity: float | str | Mapping[str, float | str] | SparsityPlan | None = None,
    tokens: Tokens = "response",
    seed: int = 42,
    signatures: SignaturePair | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Extraction:
    """Find the two poles of ``contrast`` in ``lm`` as masks.

    ``sparsity`` is one share of inputs to prune per row, or a mapping from selectors to shares (see
    ``SparsityPlan``); ``settings`` are the method's own. With ``signatures`` no forward pass is made; with a
    ``folder`` signatures are saved there, reused if they fit, and resumed after an interruption.
    """
    if tokens not in ("response", "all"):
        raise TemperamentError(f"unknown token rule {tokens!r}", "use response or all")
    row = find_method(method)
    parameters = row.read(dict(settings or {}))
    plan = SparsityPlan.of(row.sparsity if sparsity is None else sparsity)
    plan.check(lm.linears)
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    if signatures is not None:
        _check_signatures(signatures, signature_provenance(lm, contrast, tokens, seed))
    pair = signatures or (find_signatures(folder, signature_provenance(lm, contrast, tokens, seed)) if folder else None)
    if pair is None:
        pair = collect(lm, contrast, tokens=tokens, seed=seed, folder=folder, progress=progress)
        if folder:
            save_signatures(folder, pair)
    seconds["signatures"] = time.perf_counter() - start
    start = time.perf_counter()
    described = {"name": row.name, "parameters": parameters.model_dump(exclude_none=True)}
    shared = {**provenance(lm, contrast, pair), "method": described}
    prompts = dict(zip(POLES, contrast.pole_prompts(), strict=True))
    plus, minus = (
        mask_persona(
            lm,
            row.recipe(pair, lm.inputs, pole, parameters),
            plan,
            name=f"{contrast.name}-{pole}",
            provenance={**shared, "prompt": prompts[pole]},
            pair=pair,
        )
        for pole in POLES
    )
    seconds["masks"] = time.perf_counter() - start
    statistics = mask_statistics(lm, _masks(plus, lm), _masks(minus, lm))
    return Extraction(plus, minus, pair, seconds, statistics)


def _check_signatures(signatures: SignaturePair, expected: Mapping[str, str]) -> None:
    for name in ("model", "data", "tokens", "seed"):
        if signatures.provenance.get(name) != expected[name]:
            raise TemperamentError(
                f"the signatures given were collected with another {name}",
                "leave them out, and they are collected anew",
            )


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


def rebuild(lm: LoadedModel, method: Method, pair: SignaturePair, like: Persona, pole: Pole) -> Persona:
    """The persona of ``pole`` that ``method`` finds in other signatures, with the settings and sparsity of ``like``."""
    if not isinstance(like.edit, MaskEdit):
        raise ValueError("only mask personas can be rebuilt")
    parameters = method.read(dict(like.provenance["method"]["parameters"]))
    recipe = method.recipe(pair, lm.inputs, pole, parameters)
    return mask_persona(lm, recipe, like.edit.sparsity, name=f"{like.name} rebuilt", provenance=like.provenance)


def _masks(persona: Persona, lm: LoadedModel) -> Any:
    if not isinstance(persona.edit, MaskEdit):
        raise ValueError("not a mask persona")
    return persona.edit.masks(lm)


def provenance(lm: LoadedModel, contrast: Contrast, pair: SignaturePair) -> dict[str, Any]:
    """Where a persona comes from, as JSON values."""
    return {
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "family": lm.family.name,
            "fingerprint": lm.fingerprint,
        },
        "tokenizer": lm.tokenizer_hash,
        "template": lm.template_hash,
        "data": {
            "name": contrast.name,
            "split": contrast.split,
            "hash": contrast.hash,
            "licence": contrast.licence,
            "items": {"plus": len(contrast.plus), "minus": len(contrast.minus)},
            "tokens": {pole: pair.pole(pole).count for pole in POLES},
            "counted": pair.provenance.get("tokens", ""),
            "seed": pair.provenance.get("seed", ""),
        },
        "signatures": pair.hash,
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    return {name: _version(name) for name in ("temperament", "torch", "transformers", "numpy")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
