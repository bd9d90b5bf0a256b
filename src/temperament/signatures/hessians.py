"""Input Hessians E[x xᵀ] of every Linear, streamed layer by layer: only those of one layer are ever in memory.

The hidden states of all calibration texts are held at one layer boundary, and each block is run by itself on all of
them, once: some MB of states in place of the Hessians of the whole model (800 MB for a pair in 135M parameters, 40 GB
in 7B), and one forward pass in all, where a pass for each group of layers would run the blocks below it every time.
Each expert of a mixture has Hessians of its own, over the tokens that the router sends to it; of those of a layer one
pair at a time is ever formed while the tokens are fewer than a quarter of the inputs (``second_moment``).
Unlike SparseGPT, which hands the output of the pruned layer on to the next, the blocks are the model's own throughout:
a persona is a mask on the original weights, chosen for what the unedited model sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temperament.calibration import Example
from temperament.errors import TemperamentError
from temperament.models import InputSite, LoadedModel
from temperament.models.experts import Routed
from temperament.signatures.batches import Batch, counted_routed, counted_tokens, length_buckets
from temperament.signatures.collect import BATCH_ROWS, BATCH_TOKENS, Tokens, backbone, encode_all, padding_id
from temperament.signatures.second_moment import SecondMoment

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


#: What grows to the Hessians of plus and minus of one input.
_Poles = tuple[SecondMoment, SecondMoment]


@dataclass(frozen=True)
class LayerHessians:
    """E[x xᵀ] of plus and minus for every input of one layer, each to be taken once.

    ``tokens`` are the counted tokens of either pole that reached the input of that name, those routed to it if it is
    that of an expert. Linears that read the same input share it.
    """

    layer: int
    tokens: dict[str, tuple[int, int]]
    moments: dict[str, _Poles]

    def take(self, name: str) -> tuple[Tensor, Tensor]:
        """The Hessians of one input, plus and minus, (inputs, inputs) fp32 each; they are held here no longer."""
        plus, minus = self.moments.pop(name)
        return plus.take(), minus.take()


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
    for layer in range(max(layers) + 1):
        if layer not in layers:
            _run(lm, layer, work)
            continue
        sites = [site for site in lm.inputs if site.layer == layer]
        moments = {site.name: _empty(lm, site) for site in sites}
        _run(lm, layer, work, {site.linears[0]: moments[site.name] for site in sites})
        seen = {name: (first.count, second.count) for name, (first, second) in moments.items()}
        yield LayerHessians(layer, seen, moments)
        moments.clear()  # whoever still holds the layer holds no Hessian


def _empty(lm: LoadedModel, site: InputSite) -> _Poles:
    return SecondMoment(site.width, lm.device), SecondMoment(site.width, lm.device)


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
def _run(lm: LoadedModel, layer: int, work: Sequence[_Work], moments: Mapping[str, _Poles] | None = None) -> None:
    """Take all batches through one block, and add what the Linears named there read to their ``moments``."""
    block = lm.module(lm.block(layer))
    for one in work:
        with lm.opened_experts(), ExitStack() as stack:
            for name, poles in (moments or {}).items():
                stack.callback(lm.module(name).register_forward_pre_hook(_adding(one, poles[one.pole])).remove)
            args, named = one.calls[layer]
            output = block(one.states, *args, **named)
        one.states = output[0] if isinstance(output, tuple) else output


def _adding(one: _Work, moment: SecondMoment) -> Callable[..., None]:
    def add(_: nn.Module, args: tuple[Any, ...]) -> None:
        moment.add(_counted(one, *args))

    return add


def _counted(one: _Work, x: Tensor, routed: Routed | None = None) -> Tensor:
    """The inputs of the counted tokens, (tokens, inputs).

    ``x`` is (rows, tokens, inputs), or the first two flattened, or what an expert sees of them if it is ``routed``.
    """
    if routed is None:
        return x.reshape(len(one.counted), -1, x.shape[-1])[:, one.first :][one.counted]
    return x[counted_routed(routed, one.first, one.counted)[0]]
