"""Experts whose weights a model keeps in fused tensors, presented as one Linear per expert and projection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Routed:
    """Which positions of a batch an expert sees: ``positions`` (n,) int64, of ``total`` rows · columns.

    A position is row · columns + column.
    """

    positions: Tensor
    total: int


class ExpertLinear(nn.Module):
    """One projection of one expert: its weight is a view of the rows ``begin`` to ``end`` of a fused tensor.

    The tensor is looked up anew each time, so the view holds no memory and follows the model to another device. Not
    a part of the model's module tree. Hooks fire while the experts are opened (``opened``), with (x, routed) as
    arguments: x (n, inputs) are the values at the positions that the router sends to this expert.
    """

    bias = None

    def __init__(self, experts: nn.Module, fused: str, expert: int, begin: int, end: int) -> None:
        super().__init__()
        self._experts = (experts,)  # in a tuple, so that it is not registered as a part of this module
        self._fused, self._expert, self._rows = fused, expert, slice(begin, end)

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs), a view of the parameter."""
        parameter: Tensor = getattr(self._experts[0], self._fused)
        return parameter[self._expert, self._rows]

    def forward(self, x: Tensor, routed: Routed | None = None) -> Tensor:  # noqa: ARG002 - for the hooks
        return nn.functional.linear(x, self.weight)


@dataclass(frozen=True)
class Expert:
    """The Linears of one expert."""

    gate: ExpertLinear
    up: ExpertLinear
    down: ExpertLinear


class ExpertBlock:
    """All routed experts of one block: ``module`` computes them from its fused tensors.

    ``linears`` are the views by full name, such as ``model.layers.0.mlp.experts.3.up_proj``.
    """

    def __init__(self, name: str, module: nn.Module, fused: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.name, self.module = name, module
        self.linears: dict[str, ExpertLinear] = {}
        self.experts: list[Expert] = []
        for expert in range(len(getattr(module, fused[0][0]))):
            views = []
            for tensor, kinds in fused:
                height = getattr(module, tensor).shape[1] // len(kinds)
                views += [
                    ExpertLinear(module, tensor, expert, part * height, (part + 1) * height)
                    for part in range(len(kinds))
                ]
            names = [f"{name}.{expert}.{kind}" for _, kinds in fused for kind in kinds]
            self.linears |= dict(zip(names, views, strict=True))
            self.experts.append(Expert(*views))

    def compute(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """What ``module`` computes, expert by expert through the views: act(gate(x)) · up(x), then down.

        ``hidden_states`` (positions, width), the other two (positions, experts per token). Products and sums are
        taken in the order of transformers' grouped experts, on a CPU to the last bit.
        """
        total, spread = top_k_index.shape
        chosen, order = torch.sort(top_k_index.flatten())
        positions = order // spread
        states = hidden_states[positions]
        ends = torch.bincount(chosen, minlength=len(self.experts)).cumsum(0).tolist()
        parts = [
            (expert, slice(begin, end), Routed(positions[begin:end], total))
            for expert, begin, end in zip(self.experts, [0, *ends], ends, strict=False)
            if end > begin
        ]
        gated: list[Tensor] = []
        for expert, own, routed in parts:
            x = states[own]
            gated.append(torch.cat([expert.gate(x, routed), expert.up(x, routed)], -1))
        gate, up = torch.cat(gated).chunk(2, -1)
        product = self.module.act_fn(gate) * up  # type: ignore[operator]
        found = torch.cat([expert.down(product[own], routed) for expert, own, routed in parts])
        weighted = found * top_k_weights.flatten()[order].unsqueeze(-1)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        summed = weighted[back].view(total, spread, -1).sum(1)
        return summed.to(hidden_states.dtype)


@contextmanager
def opened(blocks: Sequence[ExpertBlock]) -> Iterator[None]:
    """Compute experts through their views while the block runs, so that hooks on these see and may change values."""
    with ExitStack() as stack:
        for block in blocks:
            own = vars(block.module)
            if "forward" in own:
                stack.callback(own.__setitem__, "forward", own["forward"])
            else:
                stack.callback(own.pop, "forward", None)
            own["forward"] = block.compute
        yield
