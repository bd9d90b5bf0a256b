"""Load-time proof that every site is live: an edit there changes the logits, and undoing it restores them exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.models.architecture import Family, InputSite, LinearSite, NeuronSite


@torch.no_grad()
def probe(
    model: nn.Module,
    family: Family,
    inputs: Sequence[InputSite],
    linears: Sequence[LinearSite],
    neurons: Sequence[NeuronSite],
) -> None:
    """Raise ``TemperamentError`` unless all sites of the model behave as its table row says.

    One forward pass checks that each site of each block runs exactly once and that grouped Linears read the
    same tensor. Then an edit at each site of the first block must change the logits, and undoing it must give
    bit-identical logits.
    """
    device = next(model.parameters()).device
    size = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    tokens = (torch.arange(8, device=device) * 7 + 3).remainder(size).unsqueeze(0)

    def logits() -> Tensor:
        return model(input_ids=tokens, use_cache=False).logits  # type: ignore[no-any-return]

    with _watch(model, inputs, neurons) as calls:
        base = logits()
    _check_calls(family, inputs, calls)
    if not torch.isfinite(base).all():
        raise TemperamentError(
            f"this {family.name} model computes logits that are not finite", "its weights are damaged: load it again"
        )
    for linear in linears:
        if linear.layer == 0:
            with _zeroed(model.get_submodule(linear.name)):
                edited = logits()
            _check_edit(family, linear.name, base, edited, logits())
    with _silenced(model.get_submodule(neurons[0].name)):
        edited = logits()
    _check_edit(family, neurons[0].name, base, edited, logits())


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


def _check_calls(family: Family, inputs: Sequence[InputSite], calls: dict[str, list[Tensor]]) -> None:
    for name, seen in calls.items():
        if len(seen) != 1:
            raise TemperamentError(
                f"{name} ran {len(seen)} times in one forward pass of this {family.name} model, once expected",
                "fused or compiled modules bypass it; load the model without them",
            )
    for site in inputs:
        if len({(calls[name][0].data_ptr(), calls[name][0].shape) for name in site.linears}) != 1:
            raise TemperamentError(
                f"{', '.join(site.linears)} do not read the same input in this {family.name} model",
                "the family's table row does not fit this checkpoint",
            )


@contextmanager
def _watch(
    model: nn.Module, inputs: Sequence[InputSite], neurons: Sequence[NeuronSite]
) -> Iterator[dict[str, list[Tensor]]]:
    """Record what every site reads; the tensors are held, so that no two of them can share an address by reuse."""
    calls: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for name in [*(name for site in inputs for name in site.linears), *(site.name for site in neurons)]:
            calls[name] = []

            def record(_: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                calls[name].append(args[0])

            handle = model.get_submodule(name).register_forward_pre_hook(record)
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
