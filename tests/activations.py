"""MLP activations to compare neuron statistics with: read by a plain hook one text at a time, or made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from temperament.models import LoadedModel, NeuronSite
from temperament.signatures import NeuronSignaturePair
from temperament.signatures.neurons import BINS, Counts, Histogram, NeuronSignature, add_values

#: A model of two layers, of three and of two neurons.
SITES = (NeuronSite("blocks.0.act", 0, 3, 0), NeuronSite("blocks.1.act", 1, 2, 3))

PROVENANCE = {"model": "m", "data": "d", "seed": "42"}


def histogram_of(values: Tensor) -> Tensor:
    """The counts of values (tokens, neurons)."""
    histogram = torch.zeros(values.shape[1], BINS, dtype=torch.int32)
    add_values(histogram, values.T.contiguous())
    return histogram


def pole(
    active: Sequence[Sequence[int]],
    tokens: Sequence[int] = (10, 10),
    values: Tensor | None = None,
    sites: Sequence[NeuronSite] = SITES,
) -> NeuronSignature:
    """One pole from the counts of both halves and values (tokens, neurons); without values the histograms are empty."""
    found = torch.zeros(0, sum(site.width for site in sites)) if values is None else values
    first, second = (Counts(n, torch.tensor(row)) for n, row in zip(tokens, active, strict=True))
    histogram = Histogram.of([histogram_of(found[:, site.slice]) for site in sites])
    return NeuronSignature((first, second), histogram)


def made_pair(plus: NeuronSignature, minus: NeuronSignature) -> NeuronSignaturePair:
    return NeuronSignaturePair(plus, minus, dict(PROVENANCE), frozenset({"a", "b"}))


def identical(first: NeuronSignaturePair, second: NeuronSignaturePair) -> bool:
    """Every number of both poles, and where they come from."""
    for one, other in ((first.plus, second.plus), (first.minus, second.minus)):
        for half, other_half in zip(one.halves, other.halves, strict=True):
            if half.tokens != other_half.tokens or not torch.equal(half.active, other_half.active):
                return False
        layers = zip(one.histogram.dense(), other.histogram.dense(), strict=True)
        if not all(torch.equal(layer, other_layer) for layer, other_layer in layers):
            return False
    return first.provenance == second.provenance and first.groups == second.groups


def remember(seen: dict[str, Tensor], name: str, _: nn.Module, __: Any, output: Tensor) -> None:
    seen[name] = output[0].clone()


def activations(lm: LoadedModel, ids: Sequence[int]) -> Tensor:
    """Values of all neurons at every position of one sequence, (tokens, neurons)."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack, torch.no_grad():
        for site in lm.neurons:
            stack.callback(lm.module(site.name).register_forward_hook(partial(remember, seen, site.name)).remove)
        lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    return torch.cat([seen[site.name] for site in lm.neurons], -1)


def assert_counted(found: NeuronSignature, values: Tensor) -> None:
    """The pole must have counted exactly ``values`` (tokens, neurons): how many, how often above 0, in which bins.

    Batches differ from single sequences in the last bits, so a value within 1e-5 of an edge may lie on either side.
    """
    assert found.counts.tokens == len(values)
    assert torch.equal(found.counts.active, (values > 0).sum(0))
    counts = torch.cat(found.histogram.dense())
    assert torch.equal(counts.sum(1), torch.full((values.shape[1],), len(values)))
    below = counts.cumsum(1)[:, :-1].T
    edges = torch.arange(1, BINS) / 100
    least = torch.stack([(values < edge - 1e-5).sum(0) for edge in edges])
    most = torch.stack([(values < edge + 1e-5).sum(0) for edge in edges])
    assert ((least <= below) & (below <= most)).all()
