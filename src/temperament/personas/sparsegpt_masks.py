"""SparseGPT masks of a whole model, chosen layer by layer; an interrupted run goes on behind the last finished one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods import SparseGptMethod, SparsityPlan
from temperament.methods.randomise import permuted_ratio
from temperament.methods.sparsegpt import choose_masks, factorise, is_singular, masks_of_costs
from temperament.methods.sparsegpt_methods import SparseGptParameters
from temperament.models import LinearSite, LoadedModel
from temperament.personas.experts import Experts
from temperament.personas.masks import PackedMasks, pack
from temperament.personas.sparsegpt_store import LayerChoice, LayerStore, Seen
from temperament.signatures.collect import Progress, Tokens
from temperament.signatures.hessians import LayerHessians, stream_hessians
from temperament.signatures.texts import TextPair


@dataclass(frozen=True)
class Choosing:
    """What masks are chosen by: the method, its settings, and the share to prune of each Linear.

    ``unmasked`` names experts that stay as they are; None: those that the texts hardly reach.
    """

    method: SparseGptMethod
    parameters: SparseGptParameters
    sparsity: SparsityPlan
    unmasked: tuple[str, ...] | None = None

    def key(self, pair: TextPair) -> str:
        """Identity of all that the mask of a Linear depends on, if it gets one.

        The texts' own provenance names model, type and device.
        """
        settings = self.parameters.model_dump(exclude={"expert_tokens"})
        stated = [pair.hash, self.method.name, settings, self.sparsity.as_json()]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()

    def targets(self, lm: LoadedModel, layer: int, seen: Seen) -> list[LinearSite]:
        """Linears of a layer that lose anything, where its experts have ``seen`` so many tokens."""
        left = frozenset(self.left_alone(seen))
        own = (linear for linear in lm.linears if linear.layer == layer and linear.input.expert not in left)
        return [linear for linear in own if self.sparsity.sparsity(linear) > 0]

    def left_alone(self, seen: Seen) -> tuple[str, ...]:
        """Those without a mask among the experts that have ``seen`` so many tokens."""
        return Experts(seen, self.parameters.least).rare if self.unmasked is None else self.unmasked


@dataclass(frozen=True)
class Chosen:
    """Masks of both poles over the whole model, and what they were chosen by.

    ``experts`` is what those of these layers saw, None where there are none; ``unmasked`` names those without a mask.
    """

    layers: tuple[LayerChoice, ...]
    experts: Experts | None
    unmasked: tuple[str, ...]

    def masks(self, lm: LoadedModel) -> dict[Pole, PackedMasks]:
        """Masks of both poles, in model order."""
        bits = {key: own for layer in self.layers for key, own in layer.bits.items()}
        names = [linear.name for linear in lm.linears if (POLES[0], linear.name) in bits]
        return {pole: PackedMasks({name: bits[pole, name] for name in names}) for pole in POLES}

    @cached_property
    def costs(self) -> dict[str, Tensor]:
        """1 / U_jj² by Linear input."""
        return {name: costs for layer in self.layers for name, costs in layer.costs.items()}


def choose_all(lm: LoadedModel, pair: TextPair, choosing: Choosing, progress: Progress | None = None) -> Chosen:
    """Masks of both poles of every targeted Linear; layers that the pair's folder holds are not done again."""
    if pair.folder is None:
        raise ValueError("the masks need a folder")
    store = LayerStore(pair.folder / "sparsegpt", choosing.key(pair))
    layers = [layer for layer in range(lm.depth) if choosing.targets(lm, layer, {})]
    stored = {layer: store.read(layer, partial(choosing.targets, lm, layer)) for layer in layers}
    found = {layer: choice for layer, choice in stored.items() if choice is not None}
    tokens: Tokens = "all" if pair.provenance["tokens"] == "all" else "response"
    todo = set(layers) - found.keys()
    for hessians in stream_hessians(lm, pair.plus, pair.minus, tokens, todo):
        found[hessians.layer] = store.keep(hessians.layer, choose_layer(lm, choosing, hessians))
        if progress:
            progress(len(found), len(layers))
    seen = {name: counts for layer in layers for name, counts in found[layer].seen.items()}
    experts = Experts(seen, choosing.parameters.least) if seen else None
    return Chosen(tuple(found[layer] for layer in layers), experts, choosing.left_alone(seen))


@torch.inference_mode()
def choose_layer(lm: LoadedModel, choosing: Choosing, layer: LayerHessians) -> LayerChoice:
    """Masks of one layer; a Hessian is formed when its turn comes and let go as soon as it is factorised."""
    p = choosing.parameters
    sites = [site for site in lm.inputs if site.layer == layer.layer]
    seen = {site.expert: dict(zip(POLES, layer.tokens[site.name], strict=True)) for site in sites if site.expert}
    targets: dict[str, list[LinearSite]] = {}
    for linear in choosing.targets(lm, layer.layer, seen):
        targets.setdefault(linear.input.name, []).append(linear)
    choice = LayerChoice.empty(chain.from_iterable(targets.values()), seen)
    with _one_thread():
        for name, linears in targets.items():
            hessians = layer.take(name)
            pairs = zip(hessians, layer.tokens[name], strict=True)
            choice.singular[name] = tuple(is_singular(own, count) for own, count in pairs)
            factors = [factorise(own, p.damping) for own in hessians]
            del hessians, pairs
            choice.damping[name] = tuple(factor.damping for factor in factors)
            choice.costs[name].copy_(torch.stack([factor.costs for factor in factors]))
            uppers = torch.stack([factor.upper for factor in factors])
            for linear in linears:
                masks = choose_masks(
                    lm.base_weight(linear),
                    uppers,
                    choosing.sparsity.sparsity(linear),
                    block=p.block,
                    scope=p.scope,
                    contrastive=choosing.method.contrastive,
                )
                for pole, mask in zip(POLES, masks, strict=True):
                    choice.bits[pole, linear.name].copy_(pack(mask))
    return choice


@contextmanager
def _one_thread() -> Iterator[None]:
    """No threads of torch's own: they and those of LAPACK wait for each other to come to rest, twice the time."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@torch.inference_mode()
def random_masks(
    lm: LoadedModel, choosing: Choosing, costs: Mapping[str, Tensor], real: Mapping[Pole, PackedMasks], order: Tensor
) -> dict[Pole, PackedMasks]:
    """Masks by w² · cost with the log-ratio of the poles' ``costs`` permuted by the model-long ``order``.

    ``costs`` are (2, inputs) by Linear input. Each row loses as many entries as by the ``real`` masks; nothing is
    carried from column to column.
    """
    bits: dict[Pole, dict[str, Tensor]] = {pole: {} for pole in POLES}
    for linear in lm.linears:
        masks = [real[pole].mask(linear, lm.device) for pole in POLES]
        if masks[0] is None or masks[1] is None:
            continue
        counts = torch.stack([mask.sum(1) for mask in masks if mask is not None])
        own, local = costs[linear.input.name], order[linear.input.slice] - linear.input.offset
        permuted = torch.stack(permuted_ratio(own[0], own[1], local)).to(lm.device)
        chosen = masks_of_costs(lm.base_weight(linear), permuted, counts, contrastive=choosing.method.contrastive)
        for pole, mask in zip(POLES, chosen, strict=True):
            bits[pole][linear.name] = pack(mask)
    return {pole: PackedMasks(own) for pole, own in bits.items()}
