"""Saliency personas (ours): from saliency statistics to a pair of opposite subnetworks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.builtin import neutral_texts
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods.registry import SaliencyParameters
from temperament.methods.saliency import largest, median_cost, usefulness
from temperament.models import LinearSite, LoadedModel
from temperament.personas.edits import SubnetworkEdit
from temperament.personas.edits.subnetwork import shapes_of
from temperament.personas.experts import seen_experts, with_experts
from temperament.personas.kind import MethodKind, Origin, Poles, Task, method_of, texts_of, without_sparsity
from temperament.personas.persona import Persona
from temperament.signatures import Pair, SaliencyPair, collect_saliency, find_saliency, load_saliency
from temperament.signatures.collect import Progress
from temperament.signatures.collect_saliency import saliency_provenance


class SaliencyKind(MethodKind[SaliencyPair]):
    """The method whose personas are subnetworks, chosen by gradients."""

    name = "subnetwork"
    statistics = SaliencyPair

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        texts_of(task)
        without_sparsity(task)
        if task.tokens != "response":
            raise TemperamentError(f"the method {task.method.name} scores responses only", "use --tokens response")
        if not task.parameters.targets(lm.linears, lm.depth):
            raise TemperamentError(
                f"this model has no modules {task.parameters.modules} in layers {task.parameters.layers}",
                "use --set modules=all or other layers",
            )
        return task

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return saliency_provenance(lm, texts_of(task), neutral_texts(), task.seed, task.parameters.weighting)

    def coverage(self, lm: LoadedModel, task: Task) -> str:
        return " ".join(site.name for site in task.parameters.targets(lm.linears, lm.depth))

    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> SaliencyPair:
        targets = task.parameters.targets(lm.linears, lm.depth)
        if folder and (found := find_saliency(folder, self.provenance(lm, task), (site.name for site in targets))):
            return found
        return collect_saliency(
            lm,
            texts_of(task),
            neutral_texts(),
            linears=targets,
            weighting=task.parameters.weighting,
            seed=task.seed,
            folder=folder,
            progress=progress,
        )

    def load(self, folder: Path) -> SaliencyPair:
        return load_saliency(folder)

    def pair(
        self, lm: LoadedModel, task: Task, pair: SaliencyPair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        experts = seen_experts(lm, pair, task.parameters)
        plus, minus = subnetwork_pair(lm, task.parameters, pair, name, with_experts(origin, experts))
        found = _described(lm, plus, minus)
        return plus, minus, {self.name: {**found, **({"experts": experts.as_json()} if experts else {})}}

    def rebuild(self, lm: LoadedModel, pair: SaliencyPair, plus: Persona, minus: Persona) -> Poles:
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        return subnetwork_pair(lm, method_of(plus)[1], pair, "rebuilt", origin)

    def randomised(self, lm: LoadedModel, plus: Persona, minus: Persona, seed: int, pair: Pair | None) -> Poles:
        """G permuted within each Linear: as many weights, as useful for an objective without meaning."""
        if not isinstance(pair, SaliencyPair):
            raise ValueError("the random control of a subnetwork needs its statistics")
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        return subnetwork_pair(lm, method_of(plus)[1], pair, f"random-{seed}", origin, seed)

    def random_needs(self, persona: Persona) -> str | None:  # noqa: ARG002 - the same for all subnetworks
        return "random control of a subnetwork"


@torch.no_grad()
def subnetwork_pair(
    lm: LoadedModel,
    parameters: SaliencyParameters,
    pair: SaliencyPair,
    name: str,
    origin: Origin,
    permuted: int | None = None,
) -> Poles:
    """The weights of largest r for either pole; with the seed ``permuted``, G is permuted within each Linear.

    Experts that the texts of a pole hardly reach have none.
    """
    total = sum(linear.size for linear in lm.linears)
    targets = parameters.targets(lm.linears, lm.depth)
    if not pair.covers(site.name for site in targets):
        raise TemperamentError(
            "the statistics given leave out some of the layers or modules asked for",
            "leave them out, and they are collected anew",
        )
    experts = seen_experts(lm, pair, parameters)
    rare = frozenset(experts.rare if experts else ())
    targets = [linear for linear in targets if linear.input.expert not in rare]
    if not targets:
        raise TemperamentError(
            f"all {len(rare)} experts are rarely seen, and nothing else may be chosen from",
            "give more texts, other modules, or a smaller expert_tokens",
        )
    names = frozenset(linear.name for linear in targets)
    targeted = sum(linear.size for linear in targets)
    damping = parameters.damping * median_cost((_cost(lm, parameters, pair, linear) for linear in targets), targeted)
    if not damping > 0:
        raise TemperamentError("the texts have no effect on most weights of this model", "use another model or texts")

    def score(linear: LinearSite, pole: Pole) -> Tensor:
        if linear.name not in names:
            return torch.zeros(1).expand(linear.shape)
        gradient = _permuted(pair.gradient(linear.name, pole, parameters.other), linear.name, permuted)
        fisher = pair.read(linear.name).fisher(parameters.neutral)
        weight = lm.base_weight(linear).float().cpu()
        return usefulness(weight, gradient, fisher, damping, parameters.exponent)

    edits = []
    for pole in POLES:
        scores = (score(linear, pole) for linear in lm.linears)
        if parameters.scope == "global":
            positions, _ = largest(scores, max(1, round(parameters.share * total)))
        else:
            positions = _by_linear(lm, scores, parameters.share * total / targeted)
        if len(positions) == 0:
            raise TemperamentError("no weight serves either pole", "use texts that differ in what they say")
        edits.append(SubnetworkEdit(shapes_of(lm.linears), positions))
    plus, minus = (
        Persona(f"{name}-{pole}", pole, edit, origin[pole], pair.groups, pair)
        for pole, edit in zip(POLES, edits, strict=True)
    )
    return plus, minus


def _by_linear(lm: LoadedModel, scores: Iterator[Tensor], share: float) -> Tensor:
    """The same share of every Linear."""
    found, offset = [], 0
    for linear, score in zip(lm.linears, scores, strict=True):
        positions, _ = largest([score], max(1, round(share * linear.size)))
        found.append(positions + offset)
        offset += linear.size
    return torch.cat(found)


def _cost(lm: LoadedModel, parameters: SaliencyParameters, pair: SaliencyPair, linear: LinearSite) -> Tensor:
    weight = lm.base_weight(linear).float().cpu()
    return weight.square().mul_(pair.read(linear.name).fisher(parameters.neutral))


def _permuted(gradient: Tensor, name: str, seed: int | None) -> Tensor:
    """The same values elsewhere in the Linear, in the same order for both poles; as it is without a seed."""
    if seed is None:
        return gradient
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return gradient.flatten()[torch.randperm(gradient.numel(), generator=generator)].view_as(gradient)


def _described(lm: LoadedModel, plus: Persona, minus: Persona) -> dict[str, Any]:
    """Weights by pole, layer and kind of module."""
    result: dict[str, Any] = {}
    sites = {linear.name: linear for linear in lm.linears}
    for persona in (plus, minus):
        edit = _edit(persona)
        layers = [0] * lm.depth
        modules: dict[str, int] = {}
        for name, positions in edit.parts():
            layers[sites[name].layer] += len(positions)
            modules[sites[name].kind] = modules.get(sites[name].kind, 0) + len(positions)
        result[persona.pole] = len(edit.positions)
        result.setdefault("by_layer", {})[persona.pole] = layers
        result.setdefault("by_module", {})[persona.pole] = modules
    return {**result, "of": _edit(plus).total}


def _edit(persona: Persona) -> SubnetworkEdit:
    if not isinstance(persona.edit, SubnetworkEdit):
        raise ValueError("not a subnetwork persona")
    return persona.edit
