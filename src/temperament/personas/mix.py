"""Mix personas into one: masks by a rule into one mask, everything else beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.methods import SparsityPlan
from temperament.methods.mix import own_score, paper_mix, rank_mix, ranked, whole_weights
from temperament.methods.recipe import canonical
from temperament.models import LinearSite, LoadedModel
from temperament.personas.edits import MaskEdit
from temperament.personas.masks import PackedMasks, pack
from temperament.personas.mixture import MIXABLE, MixtureEdit
from temperament.personas.overlap import edited_weights
from temperament.personas.persona import Persona
from temperament.personas.plan import Plan
from temperament.personas.provenance import package_versions

#: ``paper`` and ``rank`` make one mask of all masks; ``together`` wears everything side by side.
Rule = Literal["paper", "rank", "together"]
#: What ``paper`` takes the largest of.
By = Literal["magnitude", "score"]

Items = Sequence[tuple[Persona, float]]


def mix(lm: LoadedModel, plan: Plan, rule: Rule = "rank", *, by: By = "magnitude", name: str = "mix") -> Persona:
    """One persona of several; the strengths of the plan are the weights of masks, and strengths of all else.

    Weights count in proportion to each other. Personas that are no masks are worn beside the mixed mask, or, with
    the rule ``together``, all are. The mixture has seen what any of its parts has seen. Of a mixed mask the provenance
    holds ``pruned``, the share of the weights of all Linears that it does not keep: a union keeps more or less than
    its parts.
    """
    for value, kind in ((rule, Rule), (by, By)):
        if value not in get_args(kind):
            raise TemperamentError(f"{value!r} is no way to mix", f"use one of {', '.join(get_args(kind))}")
    if by != "magnitude" and rule != "paper":
        raise TemperamentError(f"{by!r} says what paper takes, and the rule is {rule}", "leave it out, or use paper")
    items = plan.active
    if not items:
        raise TemperamentError("there is nothing to mix", "give personas with strengths above 0")
    for persona, _ in items:
        if persona.kind not in MIXABLE:
            raise TemperamentError(
                f"{persona.name!r} is a {persona.kind} persona, which no mixture holds",
                f"mix {', '.join(MIXABLE)} personas, and wear this one beside it",
            )
        persona.check_model(lm)
    masks = [(persona, weight) for persona, weight in items if isinstance(persona.edit, MaskEdit)]
    rest = [item for item in items if not isinstance(item[0].edit, MaskEdit)]
    for persona in (persona for persona, _ in masks if by == "score"):
        if isinstance(persona.edit, MaskEdit) and persona.edit.recipe is None:
            raise TemperamentError(
                f"{persona.name!r} is stored as bits without the score they come from", "mix by magnitude"
            )
    if rule != "together" and not masks:
        raise TemperamentError(f"the rule {rule} mixes masks, and there is none", "use the rule together")
    origin = _origin(lm, items, rule, by)
    groups = frozenset(key for persona, _ in items for key in persona.groups)
    poles = {persona.pole for persona, _ in items}
    pole: Pole = "minus" if poles == {"minus"} else "plus"
    if rule == "together":
        return Persona(name, pole, MixtureEdit(tuple(map(_alone, items))), origin, groups)
    edit = _mixed(lm, masks, rule, by)
    origin["pruned"] = float(edited_weights(lm, edit.kept(lm)).sum()) / sum(linear.size for linear in lm.linears)
    mask = Persona(name, pole, edit, origin, groups)
    if not rest:
        return mask
    return replace(mask, edit=MixtureEdit((_alone((mask, 1.0)), *map(_alone, rest))))


def _alone(item: tuple[Persona, float]) -> tuple[Persona, float]:
    """A part as a mixture holds it: without a dial, signatures and texts of its own."""
    persona, strength = item
    return Persona(persona.name, persona.pole, persona.edit, persona.provenance), strength


def _origin(lm: LoadedModel, items: Items, rule: Rule, by: By) -> dict[str, Any]:
    """Provenance; ``method`` is the same for the mixtures of both poles, ``parts`` are not."""
    parameters = {"rule": rule, "by": by, "weights": [strength for _, strength in items]}
    parts = [
        {"name": persona.name, "pole": persona.pole, "kind": persona.kind, "checksum": persona.edit.identity}
        | {key: persona.provenance[key] for key in ("method", "data") if key in persona.provenance}
        for persona, _ in items
    ]
    return {
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "family": lm.family.name,
            "fingerprint": lm.fingerprint,
        },
        "method": {"name": "mix", "parameters": parameters},
        "parts": parts,
        "versions": package_versions(),
    }


@torch.no_grad()
def _mixed(lm: LoadedModel, masks: Items, rule: Rule, by: By) -> MaskEdit:
    edits = [persona.edit for persona, _ in masks if isinstance(persona.edit, MaskEdit)]
    weights = whole_weights([weight for _, weight in masks])
    combine = paper_mix if rule == "paper" else rank_mix
    packed = PackedMasks(dict(_linears(lm, edits, weights, combine, own=rule == "rank" or by == "score")))
    plans = {edit.sparsity for edit in edits}
    shares = [plan.as_json().get("default", "0") for plan in (edit.sparsity for edit in edits)]
    mean = sum(float(share) * weight for share, weight in zip(shares, weights, strict=True)) / sum(weights)
    sparsity = plans.pop() if len(plans) == 1 else SparsityPlan.of(f"{mean:.4f}")
    return MaskEdit(sparsity, packed.checksum, packed=packed)


def _linears(
    lm: LoadedModel,
    edits: Sequence[MaskEdit],
    weights: Sequence[int],
    combine: Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[int]], Tensor],
    *,
    own: bool,
) -> Iterator[tuple[str, Tensor]]:
    """Name and packed mask of every Linear that any part masks."""
    for linear in lm.linears:
        found = [edit.masks(lm).mask(linear) for edit in edits]
        if all(mask is None for mask in found):
            continue
        full = torch.ones(linear.shape, dtype=torch.bool)
        masks = [full if mask is None else mask for mask in found]
        magnitude = canonical(lm.base_weight(linear)).cpu()
        ranks = [
            ranked(_score(magnitude, edit, linear) if own else magnitude, mask)
            for edit, mask in zip(edits, masks, strict=True)
        ]
        yield linear.name, pack(combine(ranks, masks, weights))


def _score(magnitude: Tensor, edit: MaskEdit, linear: LinearSite) -> Tensor:
    """The persona's own score; packed masks have none and rank by magnitude."""
    if edit.recipe is None:
        return magnitude
    return own_score(magnitude, edit.recipe, edit.recipe.vectors[:, linear.input.slice])
