"""Input Hessians E[x xᵀ] of every Linear, streamed layer by layer: only those of one layer are ever in memory.

The hidden states of all calibration texts are held at one layer boundary, and each block is run by itself on all of
them, once: some MB of states in place of the Hessians of the whole model (800 MB for a pair in 135M parameters, 40 GB
in 7B), and one forward pass in all, where a pass for each group of layers would run the blocks below it every time.
Unlike SparseGPT, which hands the output of the pruned layer on to the next, the blocks are the model's own throughout:
a persona is a mask on the original weights, chosen for what the unedited model sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temperament.calibration import Example
from temperament.errors import TemperamentError
from temperament.models import InputSite, LoadedModel
from temperament.signatures.batches import Batch, counted_tokens, length_buckets
from temperament.signatures.collect import BATCH_ROWS, BATCH_TOKENS, Tokens, backbone, encode_all, padding_id

#: Rows of a Hessian added up at a time, each from its diagonal on: it is symmetric.
_BAND = 256

#: How a block was called, without the hidden states: further arguments, and those by name.
Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class _Work:
    """One batch at a layer boundary: hidden ``states`` (rows, tokens, width) and how each block is to be called.

    ``pole`` is 0 for plus and 1 for minus; ``counted`` (rows, tokens from ``first`` on) says which tokens count.
    """

    pole: int
    states: Tensor
    calls: list[Call]
    first: int
    counted: Tensor


@dataclass(frozen=True)
class LayerHessians:
    """E[x xᵀ] of plus and minus, (2, inputs, inputs) fp32, by the name of the input; ``tokens`` counted of either.

    Linears that read the same input share it.
    """

    layer: int
    hessians: dict[str, Tensor]
    tokens: tuple[int, int]


def stream_hessians(
    lm: LoadedModel, plus: Sequence[Example], minus: Sequence[Example], tokens: Tokens, layers: Collection[int]
) -> Iterator[LayerHessians]:
    """The Hessians of the named ``layers`` in ascending order, each emptied when the next one is asked for.

    ``tokens`` says which tokens count, those of the response or all; padding never does. The order of the texts does
    not matter. Sums are taken in fp32.
    """
    if not layers:
        return
    if lm.worn:
        raise TemperamentError("Hessians describe the unedited model, but a persona is worn", "leave lm.wear() first")
    work = [_begin(lm, pole, batch, tokens) for pole, batch in _batches(lm, plus, minus, tokens)]
    counts = [sum(int(one.counted.sum()) for one in work if one.pole == pole) for pole in (0, 1)]
    for layer in range(max(layers) + 1):
        if layer not in layers:
            _run(lm, layer, work)
            continue
        sites = [site for site in lm.inputs if site.layer == layer]
        sums = {site.name: torch.zeros(2, site.width, site.width, device=lm.device) for site in sites}
        _run(lm, layer, work, sums)
        for total in sums.values():
            for own, count in zip(total, counts, strict=True):
                _mirror(own).div_(max(count, 1))
        yield LayerHessians(layer, sums, (counts[0], counts[1]))
        sums.clear()  # whoever still holds the layer holds no Hessian


def _batches(
    lm: LoadedModel, plus: Sequence[Example], minus: Sequence[Example], tokens: Tokens
) -> Iterator[tuple[int, Batch]]:
    for pole, examples in enumerate((plus, minus)):
        encoded = encode_all(lm, sorted(examples, key=lambda example: (example.text, example.prompt)), tokens)
        for batch in length_buckets(encoded, padding=padding_id(lm), tokens=BATCH_TOKENS, rows=BATCH_ROWS):
            yield pole, batch


@torch.inference_mode()
def _begin(lm: LoadedModel, pole: int, batch: Batch, tokens: Tokens) -> _Work:
    """The states before the first block, and how the model calls every block for this batch."""
    first, counted = counted_tokens(batch, whole=tokens == "all")
    with _passing_through(lm) as (states, calls):
        backbone(lm)(input_ids=batch.ids.to(lm.device), use_cache=False)
    return _Work(pole, states[0], calls, first, counted.bool().to(lm.device))


@contextmanager
def _passing_through(lm: LoadedModel) -> Iterator[tuple[list[Tensor], list[Call]]]:
    """Blocks that note how they are called and hand on what they are given, without any work.

    Families differ in what a block is told (positions, masks by kind of layer); the model itself says it.
    """
    states: list[Tensor] = []
    calls: list[Call] = []

    def note(hidden_states: Tensor, *args: Any, **named: Any) -> Tensor:
        states.append(hidden_states)
        calls.append((args, named))
        return hidden_states

    with ExitStack() as stack:
        for block in (lm.module(lm.block(layer)) for layer in range(lm.depth)):
            stack.callback(_forward_again, block, block.__dict__.get("forward"))
            block.forward = note
        yield states, calls


def _forward_again(block: nn.Module, own: Any) -> None:
    """Give a block its forward back: that of its class, or the one it had of its own."""
    block.__dict__.pop("forward", None)
    if own is not None:
        block.forward = own


@torch.inference_mode()
def _run(lm: LoadedModel, layer: int, work: Sequence[_Work], sums: dict[str, Tensor] | None = None) -> None:
    """Take all batches through one block; with ``sums``, add up x xᵀ of its inputs there."""
    block = lm.module(lm.block(layer))
    for one in work:
        with ExitStack() as stack:
            for site in lm.inputs:
                if sums is not None and site.layer == layer:
                    module = lm.module(site.linears[0])
                    stack.callback(module.register_forward_pre_hook(_adding(site, one, sums)).remove)
            args, named = one.calls[layer]
            output = block(one.states, *args, **named)
        one.states = output[0] if isinstance(output, tuple) else output


def _adding(site: InputSite, one: _Work, sums: dict[str, Tensor]) -> Any:
    def add(_: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0][:, one.first :][one.counted].float()  # (counted tokens, inputs)
        total = sums[site.name][one.pole]
        for begin in range(0, site.width, _BAND):
            total[begin : begin + _BAND, begin:].addmm_(x[:, begin : begin + _BAND].T, x[:, begin:])

    return add


def _mirror(total: Tensor) -> Tensor:
    """Fill what lies below the diagonal, in place."""
    for begin in range(0, len(total), _BAND):
        end = begin + _BAND
        total[end:, begin:end] = total[begin:end, end:].T
    return total
