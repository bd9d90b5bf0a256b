"""Streamed input Hessians: against a forward pass per text, layer by layer, with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from expect import refused
from routing import seen_by_experts
from support import bits, hooks, logits, mixed_contrast, same
from tiny import EXPERTS, MIXTURES
from torch import Tensor, nn

import temperament.signatures.hessians as streaming
from temperament.calibration import Example
from temperament.models import LoadedModel
from temperament.signatures.collect import Tokens
from temperament.signatures.hessians import LayerHessians, stream_hessians
from temperament.signatures.second_moment import SecondMoment


@pytest.fixture(autouse=True)
def untouched(tiny_llama: LoadedModel) -> Iterator[None]:
    """No stream may leave hooks or blocks that pass through, or change a weight."""
    before, base = bits(tiny_llama.model), logits(tiny_llama)
    yield
    assert same(bits(tiny_llama.model), before)
    assert torch.equal(logits(tiny_llama), base)
    assert hooks(tiny_llama.model) == 0
    assert not [name for name, module in tiny_llama.model.named_modules() if "forward" in module.__dict__]


def taken(layer: LayerHessians) -> dict[str, tuple[Tensor, Tensor]]:
    return {name: layer.take(name) for name in layer.tokens}


def everything(lm: LoadedModel, tokens: Tokens = "response") -> dict[str, tuple[Tensor, Tensor]]:
    contrast = mixed_contrast()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for layer in stream_hessians(lm, contrast.plus, contrast.minus, tokens, range(lm.depth)):
        found |= taken(layer)
    return found


def one_by_one(lm: LoadedModel, examples: Sequence[Example], tokens: Tokens) -> dict[str, tuple[Tensor, int]]:
    """E[xxᵀ] in float64 and its tokens, from a plain forward pass of each text by itself.

    What an expert sees is computed from the fused tensors and the router's choice (``routing``).
    """
    seen: dict[str, list[Tensor]] = {site.name: [] for site in lm.inputs}
    for example in examples:
        item = lm.encode(example.prompt, example.response)
        begin = 0 if tokens == "all" else item.start
        with ExitStack() as stack:
            for site in (site for site in lm.inputs if site.expert is None):

                def see(_: nn.Module, args: tuple[Any, ...], name: str = site.name, begin: int = begin) -> None:
                    x = args[0].reshape(-1, args[0].shape[-1])  # rows by tokens, or both in one
                    seen[name].append(x[begin:].detach().double())

                # the last of the Linears that read this input
                stack.callback(lm.module(site.linears[-1]).register_forward_pre_hook(see).remove)
            routed = seen_by_experts(lm, torch.tensor([item.ids]))  # runs the model
        for site in (site for site in lm.inputs if site.expert):
            positions, x = routed[site.linears[-1]]
            seen[site.name].append(x[positions >= begin].double())
    inputs = {name: torch.cat(parts) for name, parts in seen.items()}
    return {name: (x.T @ x / max(len(x), 1), len(x)) for name, x in inputs.items()}


@pytest.mark.parametrize("tokens", ["response", "all"])
def test_they_are_those_of_one_text_at_a_time(tiny_model: LoadedModel, tokens: Tokens) -> None:
    """Texts of different lengths in one batch, so padding is there and must not count."""
    contrast, found = mixed_contrast(), everything(tiny_model, tokens)
    assert list(found) == [site.name for site in tiny_model.inputs]
    for pole, examples in enumerate((contrast.plus, contrast.minus)):
        for name, (expected, _) in one_by_one(tiny_model, examples, tokens).items():
            torch.testing.assert_close(found[name][pole].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", ["response", "all"])
def test_tokens_are_those_of_each_expert(mixture: LoadedModel, tokens: Tokens) -> None:
    """By the definition, and each counted token at two experts of a layer."""
    contrast = mixed_contrast()
    expected = [one_by_one(mixture, examples, tokens) for examples in (contrast.plus, contrast.minus)]
    layer = None
    for layer in stream_hessians(mixture, contrast.plus, contrast.minus, tokens, range(mixture.depth)):
        assert layer.tokens == {name: (expected[0][name][1], expected[1][name][1]) for name in layer.tokens}
    assert layer is not None, "the last layer is a mixture in every family"
    own = [site for site in mixture.inputs if site.layer == layer.layer and site.expert]
    assert len(own) == 2 * EXPERTS
    for pole in (0, 1):
        everywhere = layer.tokens[mixture.inputs[0].name.replace("layers.0", f"layers.{layer.layer}")][pole]
        assert sum(layer.tokens[site.name][pole] for site in own) == 2 * 2 * everywhere


@pytest.mark.parametrize("few", [1, 10**9])
@pytest.mark.parametrize("tiny_model", ["llama", *MIXTURES], indirect=True)
def test_tokens_that_wait_and_tokens_that_are_summed_up_at_once(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(streaming, "BATCH_ROWS", 2)
    expected = everything(tiny_model)
    monkeypatch.setattr("temperament.signatures.second_moment._FEW", few)
    for name, found in everything(tiny_model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)


def test_a_sum_is_made_only_where_it_is_smaller() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 40, generator=generator, dtype=torch.bfloat16)
    moment = SecondMoment(40, torch.device("cpu"))
    for begin in range(0, 10, 5):
        moment.add(x[begin : begin + 5])
    assert moment._total is None
    moment.add(x[10:])
    assert moment._total is not None
    assert moment._waiting == []
    assert moment.count == 20
    torch.testing.assert_close(moment.take(), x.float().T @ x.float() / 20)
    assert moment._total is None
    nothing = SecondMoment(3, torch.device("cpu"))
    nothing.add(torch.zeros(0, 3))
    assert torch.equal(nothing.take(), torch.zeros(3, 3))


def test_experts_leave_the_model_as_it_was(mixture: LoadedModel) -> None:
    """Interrupted at an expert or not; ``mixture`` looks for hooks and forwards left behind."""
    contrast, base = mixed_contrast(), logits(mixture)
    stream = stream_hessians(mixture, contrast.plus, contrast.minus, "response", range(mixture.depth))
    next(stream)
    assert torch.equal(logits(mixture), base), "between layers the experts are closed"
    assert not [block for block in mixture.sites.experts if "forward" in vars(block.module)]
    del stream
    view = mixture.module(mixture.linears[-1].name)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = view.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        everything(mixture)
    handle.remove()


def test_tokens_are_counted(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    for tokens in ("response", "all"):
        items = [[tiny_llama.encode(e.prompt, e.response) for e in pole] for pole in (contrast.plus, contrast.minus)]
        expected = tuple(sum(len(i.ids) - (i.start if tokens == "response" else 0) for i in pole) for pole in items)
        (layer,) = stream_hessians(tiny_llama, contrast.plus, contrast.minus, tokens, [0])
        assert set(layer.tokens.values()) == {expected}


def test_batches_and_the_order_of_texts_do_not_matter(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    contrast, expected = mixed_contrast(), everything(tiny_llama)
    for layer in stream_hessians(tiny_llama, contrast.plus[::-1], contrast.minus[::-1], "response", [0, 1]):
        for name, found in taken(layer).items():
            assert all(map(torch.equal, found, expected[name]))
    monkeypatch.setattr(streaming, "BATCH_ROWS", 1)
    for name, found in everything(tiny_llama).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-6)


def test_some_layers_only(tiny_llama: LoadedModel) -> None:
    contrast, expected = mixed_contrast(), everything(tiny_llama)
    (only,) = stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", {1})
    assert only.layer == 1
    assert not only.moments, "those of the last layer are gone as well"
    for layer in stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", {1}):
        assert all(all(map(torch.equal, found, expected[name])) for name, found in taken(layer).items())
    assert list(stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", [])) == []


def test_only_one_layer_is_held(tiny_llama: LoadedModel) -> None:
    contrast, held = mixed_contrast(), []
    for layer in stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", [0, 1]):
        held.append(layer)
        assert [len(one.moments) for one in held] == [0] * (len(held) - 1) + [4]
    assert [len(one.moments) for one in held] == [0, 0]


def test_every_block_runs_once_for_each_batch(tiny_llama: LoadedModel) -> None:
    contrast, calls = mixed_contrast(), [0, 0]
    with ExitStack() as stack:
        for layer in range(tiny_llama.depth):
            inner = tiny_llama.module(tiny_llama.linears[7 * layer].name)

            def count(*_: Any, layer: int = layer) -> None:
                calls[layer] += 1

            stack.callback(inner.register_forward_hook(count).remove)
        for _ in stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", [0, 1]):
            pass
    assert calls == [2, 2], "one batch for each pole, and nothing for finding out how blocks are called"


@pytest.mark.parametrize("when", ["while blocks pass through", "between layers", "within a block"])
def test_an_interrupt_leaves_the_model_as_it_was(tiny_llama: LoadedModel, when: str) -> None:
    contrast = mixed_contrast()

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        if when == "while blocks pass through":
            norm = tiny_llama.module("model.norm")
            stack.callback(norm.register_forward_hook(stop).remove)
        elif when == "within a block":
            stack.callback(tiny_llama.module(tiny_llama.linears[-1].name).register_forward_hook(stop).remove)
        stream = stream_hessians(tiny_llama, contrast.plus, contrast.minus, "response", [0, 1])
        if when == "between layers":
            next(stream)
            stream.close()  # type: ignore[attr-defined]
        else:
            with pytest.raises(KeyboardInterrupt):
                list(stream)


def test_a_forward_of_its_own_stays(fresh_llama: LoadedModel) -> None:
    block = fresh_llama.module(fresh_llama.block(0))
    calls, forward = [], block.forward

    def own(*args: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(*args, **named)

    block.forward = own
    everything(fresh_llama)
    assert block.__dict__["forward"] is own
    assert len(calls) == 2


def test_a_worn_model_is_refused(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_llama, "worn", ("1*somebody",))
    with refused("a persona is worn", "leave lm.wear()"):
        everything(tiny_llama)


def test_a_text_without_response_is_refused(tiny_llama: LoadedModel) -> None:
    long, short = Example("x" * 600, "y", "z"), Example("a", "b", "c")
    with refused("no response token", "shorten the prompt"):
        list(stream_hessians(tiny_llama, (long,), (short,), "response", [0]))
