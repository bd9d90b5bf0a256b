"""Mask personas: from signatures to recipes, masks and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temperament.calibration.contrast import POLES
from temperament.methods import MASK_METHODS, MaskMethod, Method, Recipe, SparsityPlan
from temperament.methods.randomise import permutation, permute_ratio
from temperament.models import LoadedModel
from temperament.personas.edits import MaskEdit
from temperament.personas.experts import seen_experts, with_experts
from temperament.personas.kind import MethodKind, Origin, Poles, Task, method_of, plan_of, texts_of, with_sparsity
from temperament.personas.masks import build_masks
from temperament.personas.overlap import mask_statistics
from temperament.personas.persona import Persona
from temperament.signatures import Pair, SignaturePair, collect, load_signatures, save_signatures
from temperament.signatures.collect import Progress, signature_provenance
from temperament.signatures.store import find_signatures


class MaskKind(MethodKind[SignaturePair]):
    """Methods whose personas are masks over the Linears."""

    name = "masks"
    statistics = SignaturePair

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        texts_of(task)
        return with_sparsity(lm, task)

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return signature_provenance(lm, texts_of(task), task.tokens, task.seed)

    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> SignaturePair:
        found = find_signatures(folder, self.provenance(lm, task)) if folder else None
        if found is None:
            found = collect(lm, texts_of(task), tokens=task.tokens, seed=task.seed, folder=folder, progress=progress)
            if folder:
                save_signatures(folder, found)
        return found

    def load(self, folder: Path) -> SignaturePair:
        return load_signatures(folder)

    def pair(
        self, lm: LoadedModel, task: Task, pair: SignaturePair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        experts = seen_experts(lm, pair, task.parameters)
        unmasked = experts.rare if experts else ()
        plus, minus = _poles(
            lm,
            _method(task.method),
            task.parameters,
            plan_of(task),
            unmasked,
            pair,
            name,
            with_experts(origin, experts),
        )
        found = mask_statistics(lm, _edit(plus).masks(lm), _edit(minus).masks(lm))
        return plus, minus, {"masks": {**found, **({"experts": experts.as_json()} if experts else {})}}

    def rebuild(self, lm: LoadedModel, pair: SignaturePair, plus: Persona, minus: Persona) -> Poles:
        method, parameters = method_of(plus)
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        edit = _edit(plus)
        return _poles(lm, _method(method), parameters, edit.sparsity, edit.unmasked, pair, "rebuilt", origin)

    def random_needs(self, persona: Persona) -> str | None:
        return "random control of packed masks" if _edit(persona).recipe is None else None

    def randomised(self, lm: LoadedModel, plus: Persona, minus: Persona, seed: int, pair: Pair | None) -> Poles:
        """The contrast term permuted across the inputs of each Linear, the same number pruned per row.

        This needs nothing but the two recipes; packed masks have none, for them the log-ratio of the two poles'
        activations is permuted, which needs the signatures.
        """
        order = permutation(lm.inputs, seed)
        first, second = _edit(plus), _edit(minus)
        if first.recipe is not None and second.recipe is not None:
            recipes = _method(method_of(plus)[0]).randomise(first.recipe, second.recipe, order)
        elif isinstance(pair, SignaturePair):
            wanda = MASK_METHODS[0]
            plain = [wanda.recipe(pair, lm.inputs, pole, wanda.read({})) for pole in POLES]
            recipes = permute_ratio(plain[0], plain[1], order)
        else:
            raise ValueError("packed masks need the signatures of masks")
        built = [
            mask_persona(lm, recipe, edit.sparsity, edit.unmasked, name=f"random-{seed}", provenance=persona.provenance)
            for recipe, edit, persona in zip(recipes, (first, second), (plus, minus), strict=True)
        ]
        return built[0], built[1]


def _method(method: Method) -> MaskMethod:
    if not isinstance(method, MaskMethod):
        raise ValueError(f"{method.name} does not make masks")
    return method


def _edit(persona: Persona) -> MaskEdit:
    if not isinstance(persona.edit, MaskEdit):
        raise ValueError("not a mask persona")
    return persona.edit


def _poles(
    lm: LoadedModel,
    method: MaskMethod,
    parameters: Any,
    sparsity: SparsityPlan,
    unmasked: tuple[str, ...],
    pair: SignaturePair,
    name: str,
    origin: Origin,
) -> Poles:
    plus, minus = (
        mask_persona(
            lm,
            method.recipe(pair, lm.inputs, pole, parameters),
            sparsity,
            unmasked,
            name=f"{name}-{pole}",
            provenance=origin[pole],
            pair=pair,
        )
        for pole in POLES
    )
    return plus, minus


def mask_persona(
    lm: LoadedModel,
    recipe: Recipe,
    sparsity: SparsityPlan,
    unmasked: tuple[str, ...] = (),
    *,
    name: str,
    provenance: Mapping[str, Any],
    pair: SignaturePair | None = None,
) -> Persona:
    """Build the masks of a recipe and wrap them as a persona of the recipe's pole; some experts stay ``unmasked``."""
    masks = build_masks(lm, recipe, sparsity, unmasked)
    edit = MaskEdit(sparsity, masks.checksum, recipe=recipe, unmasked=unmasked)
    edit.keep(lm, masks)
    return Persona(name, recipe.pole, edit, provenance, pair.groups if pair else frozenset(), pair)
