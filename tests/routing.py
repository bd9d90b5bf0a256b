"""What experts see, by the definition: one expert after the other, from the fused tensors and the router's choice."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from temperament.models import LoadedModel
from temperament.models.experts import ExpertLinear


def views(lm: LoadedModel) -> dict[str, ExpertLinear]:
    """Every Linear of an expert by its name."""
    return {name: view for block in lm.sites.experts for name, view in block.linears.items()}


def seen_by_experts(lm: LoadedModel, ids: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """For every Linear of an expert the positions (n,) that it sees of ``ids`` (rows, columns), and x (n, inputs).

    Positions ascend and count through rows and columns. The model computes its experts as it does by itself.
    """
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack, torch.no_grad():
        for name, module in lm.model.named_modules():
            if name.endswith(".experts"):

                def see(experts: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                    for expert in range(len(experts.get_parameter("down_proj"))):
                        _one(seen, f"{name}.{expert}", experts, expert, *args)

                stack.callback(module.register_forward_pre_hook(see).remove)
        lm.model(input_ids=ids, use_cache=False)
    return seen


def _one(
    seen: dict[str, tuple[Tensor, Tensor]],
    name: str,
    experts: nn.Module,
    expert: int,
    hidden: Tensor,
    chosen: Tensor,
    _weights: Tensor,
) -> None:
    positions = (chosen == expert).any(1).nonzero().squeeze(1)
    x = hidden[positions]
    both = experts.get_parameter("gate_up_proj")[expert]
    half = len(both) // 2
    product = functional.silu(x @ both[:half].T) * (x @ both[half:].T)
    seen[f"{name}.gate_proj"] = seen[f"{name}.up_proj"] = positions, x
    seen[f"{name}.down_proj"] = positions, product
