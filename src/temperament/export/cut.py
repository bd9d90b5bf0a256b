"""Which channels and heads stay: scores, a choice per block, and the same choice as a mask that can be worn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temperament.export.sizes import Sizes, down_projections
from temperament.methods import SparsityPlan
from temperament.methods.select import keep_largest
from temperament.models import LinearSite, LoadedModel
from temperament.personas import MaskEdit, PackedMasks, Persona
from temperament.personas.masks import pack


@dataclass(frozen=True)
class Scores:
    """What each channel, (layers, channels), and each query head, (layers, heads), is worth; float32."""

    channels: Tensor
    heads: Tensor


@dataclass(frozen=True)
class Cut:
    """What stays of every block, ascending: ``channels``, ``heads``, ``groups`` of heads, each (layers, kept) int64."""

    sizes: Sizes
    channels: Tensor
    heads: Tensor
    groups: Tensor


def choose(scores: Scores, full: Sizes, sizes: Sizes) -> Cut:
    """The channels and heads of largest score in every block, as many as ``sizes`` says.

    Whole groups are ranked by the sum over their heads.
    """
    channels = _largest(scores.channels, sizes.channels)
    shared = full.heads // full.groups
    by_group = scores.heads.view(-1, full.groups, shared)
    groups = _largest(by_group.sum(2), sizes.groups)
    kept = by_group.gather(1, groups.unsqueeze(2).expand(-1, -1, shared))
    each = _largest(kept.flatten(0, 1), sizes.heads // sizes.groups).view(*groups.shape, -1)
    heads = (each + groups.unsqueeze(2) * shared).flatten(1)
    return Cut(sizes, channels, heads, groups)


def _largest(scores: Tensor, count: int) -> Tensor:
    """Columns of the ``count`` largest of every row, ascending, (rows, count)."""
    return keep_largest(scores, count).nonzero()[:, 1].view(len(scores), count)


@torch.no_grad()
def magnitude(lm: LoadedModel) -> Scores:
    """Σ w² over all weights that would go with a channel or head: the control that knows neither mask nor data."""
    depth, full = lm.depth, Sizes.of(lm)
    channels = _columns(lm, down_projections(lm))
    heads = _columns(lm, lm.projections).view(depth, full.heads, -1).sum(2)
    for path in lm.family.mlp[0]:
        rows = _rows(lm, lm.at_path(path))
        channels = channels + rows.view(depth, -1, full.channels).sum(1)
    rows = torch.cat([_rows(lm, lm.at_path(path)) for path in lm.family.attention[0]], 1)
    sizes = [count * lm.head_width for count in (full.heads, full.groups, full.groups)]
    query, key, value = torch.split(rows, sizes, 1)
    heads = heads + query.reshape(depth, full.heads, -1).sum(2)
    shared = (key + value).view(depth, full.groups, -1).sum(2) / (full.heads // full.groups)
    return Scores(channels, heads + shared.repeat_interleave(full.heads // full.groups, 1))


def _columns(lm: LoadedModel, linears: Sequence[LinearSite]) -> Tensor:
    return torch.stack([lm.base_weight(linear).float().square().sum(0).cpu() for linear in linears])


def _rows(lm: LoadedModel, linears: Sequence[LinearSite]) -> Tensor:
    return torch.stack([lm.base_weight(linear).float().square().sum(1).cpu() for linear in linears])


def random_scores(lm: LoadedModel, seed: int) -> Scores:
    """Scores without meaning."""
    generator = torch.Generator().manual_seed(seed)
    full = Sizes.of(lm)
    draw = [torch.rand(lm.depth, count, generator=generator) for count in (full.channels, full.heads)]
    return Scores(*draw)


def removal(lm: LoadedModel, cut: Cut, name: str, groups: frozenset[str] = frozenset()) -> Persona:
    """The cut as a mask over the last Linears of MLP and attention: worn, the model computes what is left of it.

    ``groups`` are the identities of the texts that the cut was chosen by.
    """
    bits: dict[str, Tensor] = {}
    full, masked = Sizes.of(lm), {}
    for layer in range(lm.depth):
        if cut.sizes.heads < full.heads:
            masked[lm.projections[layer]] = units(cut.heads[layer], lm.head_width)
        if cut.sizes.channels < full.channels:
            masked[down_projections(lm)[layer]] = cut.channels[layer]
    for linear, kept in masked.items():
        mask = torch.zeros(linear.shape, dtype=torch.bool)
        mask[:, kept] = True
        bits[linear.name] = pack(mask)
    packed = PackedMasks(bits)
    share = 1 - cut.sizes.channels / full.channels
    edit = MaskEdit(SparsityPlan.of({"default": 0, "mlp": f"{share:.4f}"}), packed.checksum, packed=packed)
    return Persona(name, "plus", edit, {"model": {"name": lm.name, "fingerprint": lm.fingerprint}}, groups)


def units(kept: Tensor, width: int) -> Tensor:
    """Indices of all values of units of ``width`` values each."""
    return (kept.unsqueeze(1) * width + torch.arange(width)).flatten()
