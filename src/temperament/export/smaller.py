"""A smaller ordinary model: the rows and columns of a cut, and the config that names its sizes."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights

from temperament.export.cut import Cut, units
from temperament.export.sizes import Sizes, smaller_config
from temperament.models import LoadedModel
from temperament.models.architecture import is_transposed


@torch.no_grad()
def smaller(lm: LoadedModel, cut: Cut) -> PreTrainedModel:
    """A model of its own without what the cut leaves out, with the weights as they are worn; the other stays whole."""
    with torch.random.fork_rng(devices=[]), no_init_weights():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            smaller_config(lm, cut.sizes), dtype=lm.dtype
        )
    state = dict(lm.model.state_dict())
    full = Sizes.of(lm)
    for layer in range(lm.depth):
        if cut.sizes.channels < full.channels:
            _cut_block(lm, state, layer, lm.family.mlp, [cut.channels[layer]], [full.channels])
        if cut.sizes.heads < full.heads:
            kept = [units(rows[layer], lm.head_width) for rows in (cut.heads, cut.groups, cut.groups)]
            sizes = [count * lm.head_width for count in (full.heads, full.groups, full.groups)]
            _cut_block(lm, state, layer, lm.family.attention, kept, sizes)
    model.tie_weights()
    model.load_state_dict(state)
    model.generation_config = deepcopy(lm.model.generation_config)
    torch.nn.Module.to(model, lm.device)
    return model.eval()  # type: ignore[no-untyped-call,no-any-return]


def _cut_block(
    lm: LoadedModel,
    state: dict[str, Tensor],
    layer: int,
    part: tuple[tuple[str, ...], ...],
    kept: list[Tensor],
    sizes: list[int],
) -> None:
    """Rows of the Linears that write the units, columns of the one that reads them.

    The rows of the first group of Linears, one after the other, are segments of ``sizes``, over and over; ``kept``
    says what stays of each. Several may lie in one fused Linear, or each in one of its own.
    """
    segments = _endless(kept, sizes)
    for path in part[0]:
        name = f"{lm.block(layer)}.{path}"
        outputs = lm.weight(lm.at_path(path)[layer]).shape[0]
        rows, begin = [], 0
        while begin < outputs:
            own, size = next(segments)
            rows.append(own + begin)
            begin += size
        chosen = torch.cat(rows).to(lm.device)
        _pick(lm, state, f"{name}.weight", name, 0, chosen)
        if f"{name}.bias" in state:
            state[f"{name}.bias"] = state[f"{name}.bias"].index_select(0, chosen)
    last = f"{lm.block(layer)}.{part[-1][-1]}"
    _pick(lm, state, f"{last}.weight", last, 1, kept[0].to(lm.device))


def _endless(kept: list[Tensor], sizes: list[int]) -> Iterator[tuple[Tensor, int]]:
    while True:
        yield from zip(kept, sizes, strict=True)


def _pick(lm: LoadedModel, state: dict[str, Tensor], key: str, module: str, dim: int, chosen: Tensor) -> None:
    """Keep some outputs (``dim`` 0) or inputs (1) of a Linear, however it lays its weight out."""
    state[key] = state[key].index_select(1 - dim if is_transposed(lm.module(module)) else dim, chosen)
