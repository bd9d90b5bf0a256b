"""Subnetworks by row: one dense product for all rows of a batch, and a sparse correction for each row's own weights."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from temperament.models import LinearSite, LoadedModel
from temperament.models.experts import Routed
from temperament.personas import SubnetworkEdit
from temperament.wear.positions import Positions
from temperament.wear.row_kind import Row, RowKind, distinct

SubnetworkRow = Row[SubnetworkEdit]


class SubnetworkRows(RowKind[SubnetworkEdit]):
    """Subnetworks that differ by row; one for a whole batch is worn in the weights (``wear.masks``)."""

    edit = SubnetworkEdit
    signed = False
    whole_batch = False

    def attach(self, lm: LoadedModel, rows: tuple[SubnetworkRow, ...], positions: Positions) -> None:  # noqa: ARG002
        """A hook on every Linear that some row gates; weights count for prompt and response alike."""
        unique, lookup = distinct(rows, lm.device)
        gates = [_gates(row) for row in unique]
        experts = ExitStack()
        lm.hooks.append(experts.close)
        experts.enter_context(lm.opened_experts())
        for site in lm.linears:
            own = [gate.get(site.name) for gate in gates]
            if any(gate is not None for gate in own):
                moved = [None if gate is None else (gate[0].to(lm.device), gate[1].to(lm.device)) for gate in own]
                correct = partial(_correct, lm, site, moved, lookup)
                lm.hooks.append(lm.module(site.name).register_forward_hook(correct).remove)


Gate = tuple[Tensor, Tensor]


def _gates(row: SubnetworkRow) -> dict[str, Gate]:
    """Positions gated in each Linear and what their product of gates adds to 1, by Linear: (n,) int64 and fp32."""
    found: dict[str, list[Gate]] = {}
    for edit, strength in row:
        for name, positions in edit.parts():
            found.setdefault(name, []).append((positions, torch.full((len(positions),), 1 - strength)))
    return {name: _product(gates) for name, gates in found.items()}


def _product(gates: list[Gate]) -> Gate:
    positions, inverse = torch.unique(torch.cat([gate[0] for gate in gates]), return_inverse=True)
    product = torch.ones(len(positions))
    product.scatter_reduce_(0, inverse, torch.cat([gate[1] for gate in gates]), "prod")
    return positions, product - 1


def _correct(
    lm: LoadedModel,
    site: LinearSite,
    gates: list[Gate | None],
    lookup: Tensor,
    _: nn.Module,
    args: tuple[Any, ...],
    output: Tensor,
) -> Tensor:
    """Add (gate − 1) · w · x of the gated weights to the rows that wear them.

    ``output`` (rows, tokens, outputs), or one axis for both; of an expert (tokens, outputs) where it was asked.
    """
    x, weight = args[0].reshape(-1, site.shape[1]), lm.weight(site)
    result = output.clone(memory_format=torch.contiguous_format)
    flat = result.view(-1, site.shape[0])
    owner = _owners(lookup, len(flat), *args[1:])
    for index, gate in enumerate(gates):
        if gate is None:
            continue
        positions, change = gate
        places = (owner == index).nonzero().squeeze(1)
        outputs, inputs = positions // weight.shape[1], positions % weight.shape[1]
        values = weight[outputs, inputs].float() * change
        sums = torch.zeros(len(places), len(weight), dtype=torch.float32, device=output.device)
        sums.index_add_(-1, outputs, x[places].index_select(-1, inputs).float() * values)
        flat[places] += sums.to(output.dtype)
    return result


def _owners(lookup: Tensor, count: int, routed: Routed | None = None) -> Tensor:
    """What the row of each of ``count`` positions wears, as a place in the table: all positions, or an expert's."""
    if routed is None:
        return lookup.repeat_interleave(count // len(lookup))
    return lookup[routed.positions // (routed.total // len(lookup))]
