"""Load-time proof that every site is live: an edit there changes the logits, and undoing it restores them exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.models.architecture import Family, LinearSite, Sites
from temperament.models.experts import ExpertBlock, opened

#: How far two ways to add the same fp32 products may lie apart, as a share of the result.
_ROUNDING = 1e-3


@torch.no_grad()
def probe(model: nn.Module, family: Family, sites: Sites) -> None:
    """Raise ``TemperamentError`` unless all sites of the model behave as its table row says.

    One forward pass checks that each site of each block runs exactly once (of an expert: at most once), that grouped
    Linears read the same tensor, and that experts computed through their views give what the model computes. Then an
    edit at each site of the first block, and of the first one whose Linears are others, must change the logits, and
    undoing it must give bit-identical logits; of the experts of a block one is edited that the tokens reach.
    """
    device = next(model.parameters()).device
    size = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    tokens = (torch.arange(8, device=device) * 7 + 3).remainder(size).unsqueeze(0)

    def logits() -> Tensor:
        return model(input_ids=tokens, use_cache=False).logits  # type: ignore[no-any-return]

    with _watch(model, sites) as calls:
        base = logits()
    _check_calls(family, sites, calls)
    if sites.experts:
        base = _with_own_experts(logits, family, sites)
    if not torch.isfinite(base).all():
        raise TemperamentError(
            f"this {family.name} model computes logits that are not finite", "its weights are damaged: load it again"
        )
    for linear in _to_edit(sites, calls):
        with _zeroed(sites.module(model, linear.name)):
            edited = logits()
        _check_edit(family, linear.name, base, edited, logits())
    for neuron in sites.neurons[:1]:
        with _silenced(model.get_submodule(neuron.name)):
            edited = logits()
        _check_edit(family, neuron.name, base, edited, logits())


def _to_edit(sites: Sites, calls: dict[str, list[Tensor]]) -> list[LinearSite]:
    """The Linears of the first block of each layout, with those of one expert that was reached."""
    layouts: dict[tuple[tuple[str, bool], ...], list[LinearSite]] = {}
    for layer in range(sites.depth):
        own = [linear for linear in sites.linears if linear.layer == layer and calls[linear.name]]
        experts = [linear.input.expert for linear in own if linear.input.expert is not None]
        chosen = [linear for linear in own if linear.input.expert in (None, *experts[:1])]
        layouts.setdefault(tuple((linear.kind, linear.input.expert is None) for linear in chosen), chosen)
    return [linear for chosen in layouts.values() for linear in chosen]


def _with_own_experts(logits: Callable[[], Tensor], family: Family, sites: Sites) -> Tensor:
    """Logits of the model as it is, whose experts must compute what their views do."""
    with ExitStack() as stack:
        for block in sites.experts:

            def compare(_: nn.Module, args: tuple[Any, ...], output: Tensor, block: ExpertBlock = block) -> None:
                difference = (block.compute(*args) - output).float().norm()
                rounding = max(8 * torch.finfo(output.dtype).eps, _ROUNDING)
                if not difference <= rounding * output.float().norm():
                    raise TemperamentError(
                        f"{block.name} computes something else than act(gate(x)) · up(x), then down, in this "
                        f"{family.name} model",
                        "the family's table row does not fit this checkpoint or this version of transformers",
                    )

            stack.callback(block.module.register_forward_hook(compare).remove)
        return logits()


def _check_edit(family: Family, site: str, base: Tensor, edited: Tensor, restored: Tensor) -> None:
    if torch.equal(base, edited):
        raise TemperamentError(
            f"an edit of {site} does not change the logits of this {family.name} model",
            "it cannot be edited here; check for fused or compiled modules, or load without acceleration",
        )
    if not torch.equal(base, restored):
        raise TemperamentError(
            f"undoing an edit of {site} does not restore the logits of this {family.name} model bit by bit",
            "the forward pass is not deterministic; disable dropout and non-deterministic kernels",
        )


def _check_calls(family: Family, sites: Sites, calls: dict[str, list[Tensor]]) -> None:
    some = {name for site in sites.inputs if site.expert is not None for name in site.linears}
    for name, seen in calls.items():
        if len(seen) != 1 and not (name in some and not seen):
            raise TemperamentError(
                f"{name} ran {len(seen)} times in one forward pass of this {family.name} model, once expected",
                "fused or compiled modules bypass it; load the model without them",
            )
    for site in sites.inputs:
        if len({(x.data_ptr(), x.shape) for name in site.linears for x in calls[name]}) > 1:
            raise TemperamentError(
                f"{', '.join(site.linears)} do not read the same input in this {family.name} model",
                "the family's table row does not fit this checkpoint",
            )


@contextmanager
def _watch(model: nn.Module, sites: Sites) -> Iterator[dict[str, list[Tensor]]]:
    """Record what every site reads; the tensors are held, so that no two of them can share an address by reuse."""
    calls: dict[str, list[Tensor]] = {}
    with opened(sites.experts), ExitStack() as stack:
        for name in [linear.name for linear in sites.linears] + [neuron.name for neuron in sites.neurons]:
            calls[name] = []

            def record(_: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                calls[name].append(args[0])

            handle = sites.module(model, name).register_forward_pre_hook(record)
            stack.callback(handle.remove)
        yield calls


@contextmanager
def _zeroed(module: nn.Module) -> Iterator[None]:
    weight: Tensor = module.weight.data  # type: ignore[assignment]
    original = weight.clone()
    weight.zero_()
    try:
        yield
    finally:
        weight.copy_(original)


@contextmanager
def _silenced(module: nn.Module) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _module, _args, output: torch.zeros_like(output))
    try:
        yield
    finally:
        handle.remove()
