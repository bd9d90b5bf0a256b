"""The random control of a mask pair: its contrast term permuted across the inputs of each Linear.

The permuted masks prune exactly as many entries per row and their contrast term has the same distribution; only
the meaning is gone. Both poles get the same permutation, so they stay opposites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from temperament.methods.recipe import Recipe
from temperament.models import InputSite, NeuronSite


def permutation(sites: Sequence[InputSite] | Sequence[NeuronSite], seed: int) -> Tensor:
    """A model-long index that permutes within each site, (total width,) int64; depends on seed and site name only."""
    parts = []
    for site in sites:
        digest = hashlib.sha256(f"{seed} {site.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        parts.append(site.offset + torch.randperm(site.width, generator=generator))
    return torch.cat(parts)


def permute_ratio(plus: Recipe, minus: Recipe, order: Tensor) -> tuple[Recipe, Recipe]:
    """Permute the log-ratio of the two poles' vectors around their unpermuted geometric mean."""
    first, second = permuted_ratio(plus.vectors, minus.vectors, order)
    return replace(plus, vectors=first), replace(minus, vectors=second)


def permute_shared_ratio(plus: Recipe, minus: Recipe, order: Tensor) -> tuple[Recipe, Recipe]:
    """The same where both personas hold both poles' vectors."""
    vectors = torch.stack(permuted_ratio(plus.vectors[0], plus.vectors[1], order))
    return replace(plus, vectors=vectors), replace(minus, vectors=vectors)


def permute_whole(plus: Recipe, minus: Recipe, order: Tensor) -> tuple[Recipe, Recipe]:
    """Permute a vector that is nothing but contrast."""
    return replace(plus, vectors=plus.vectors[:, order]), replace(minus, vectors=minus.vectors[:, order])


def permute_difference(plus: Recipe, minus: Recipe, order: Tensor) -> tuple[Recipe, Recipe]:
    """Permute φ(z) and leave the tie-breaking activations in place.

    Where a pole's own activation is not in its recipe (its φ(z) was positive there), the other pole's stands in.
    """
    if plus.rule != "tiered":
        return permute_whole(plus, minus, order)
    fallback = torch.maximum((-plus.vectors).clamp_min(0), (-minus.vectors).clamp_min(0))

    def permuted(recipe: Recipe) -> Recipe:
        primary = recipe.vectors.clamp_min(0)[:, order]
        return replace(recipe, vectors=torch.where(primary > 0, primary, -fallback))

    return permuted(plus), permuted(minus)


def permuted_ratio(plus: Tensor, minus: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Two vectors (…, inputs) whose log-ratio is permuted and whose geometric mean stays."""
    least = torch.finfo(torch.float32).tiny
    first, second = plus.double().clamp_min(least).log(), minus.double().clamp_min(least).log()
    middle, half = (first + second) / 2, ((first - second) / 2)[..., order]
    return (middle + half).exp().float(), (middle - half).exp().float()
