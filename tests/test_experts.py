"""Mixtures of experts: every expert's Linears are views of fused tensors, and the probe proves that they act."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from expect import refused
from routing import seen_by_experts, views
from support import bits, logits, mixed_contrast, same, stored, tokens
from tiny import make_tiny
from torch import Tensor, nn

from temperament.models import LoadedModel, load_model
from temperament.models.architecture import find_sites
from temperament.models.experts import opened
from temperament.models.probe import probe
from temperament.personas import extract
from temperament.wear import wear


@pytest.fixture
def lm(mixture: LoadedModel) -> LoadedModel:
    """Every mixture of experts; a model that every test must leave as it was found."""
    return mixture


# Views


def test_views_are_the_fused_tensors_themselves(lm: LoadedModel) -> None:
    """No copy: the same memory, no parameter or module of the model more."""
    names = {name for name, _ in lm.model.named_parameters()}
    assert set(views(lm)) == {linear.name for linear in lm.linears if linear.input.expert}
    for linear in lm.linears:
        assert torch.equal(lm.weight(linear), stored(lm.model, linear.name))
        assert lm.weight(linear).data_ptr() == stored(lm.model, linear.name).data_ptr()
    for name, view in views(lm).items():
        assert not list(view.parameters())
        assert not list(view.buffers())
        assert f"{name}.weight" not in names
        assert view not in set(lm.model.modules())
    other: LoadedModel = load_model(lm.name, dtype="float32", device="cpu")
    other.model.bfloat16()
    assert {view.weight.dtype for view in views(other).values()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 40)])
def test_opened_experts_compute_the_same_bits(lm: LoadedModel, dtype: str, shape: tuple[int, int]) -> None:
    model: LoadedModel = load_model(lm.name, dtype=dtype, device="cpu")
    ids = tokens(shape[1], rows=shape[0])
    base = logits(model, ids)
    with model.opened_experts(), model.opened_experts():
        assert torch.equal(logits(model, ids), base)
    assert torch.equal(logits(model, ids), base)


def test_a_forward_of_ones_own_is_put_back(fresh_mixtral: LoadedModel) -> None:
    experts = fresh_mixtral.sites.experts[0].module
    own = experts.forward = lambda *args: 2 * type(experts).forward(experts, *args)
    with suppress(KeyboardInterrupt), opened(fresh_mixtral.sites.experts):
        assert experts.forward is not own
        raise KeyboardInterrupt
    assert vars(experts)["forward"] is own
    assert "forward" not in vars(fresh_mixtral.sites.experts[1].module)


def test_an_experts_linear_sees_its_tokens_and_may_change_its_output(lm: LoadedModel) -> None:
    ids, seen = tokens(12, rows=3), seen_by_experts(lm, tokens(12, rows=3))
    reached: dict[str, int] = {}
    for name, view in views(lm).items():

        def look(_: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
            x, routed = args
            order = routed.positions.argsort()
            assert torch.equal(routed.positions[order], seen[name][0])
            torch.testing.assert_close(x[order], seen[name][1], rtol=1e-5, atol=1e-6)
            assert routed.total == ids.numel()
            reached[name] = len(x)

        handle = view.register_forward_pre_hook(look)
        with lm.opened_experts():
            base = logits(lm, ids)
        handle.remove()
        handle = view.register_forward_hook(lambda _, __, output: output + 1)
        with lm.opened_experts():
            assert torch.equal(logits(lm, ids), base) == (name not in reached)
        handle.remove()
    assert len(reached) > len(views(lm)) / 2


# The probe


@pytest.mark.parametrize("fused", ["gate_up_proj", "down_proj"])
def test_missing_and_quantised_experts_are_named(fresh_mixtral: LoadedModel, fused: str) -> None:
    experts = fresh_mixtral.module("model.layers.1.mlp.experts")
    packed = nn.Parameter(torch.zeros(4, 32, 8, dtype=torch.uint8), requires_grad=False)
    setattr(experts, fused, packed)
    with refused(f"model.layers.1.mlp.experts.{fused}", "unquantised"):
        find_sites(fresh_mixtral.model, fresh_mixtral.family)
    delattr(experts, fused)
    with refused(f"model.layers.1.mlp.experts.{fused}"):
        find_sites(fresh_mixtral.model, fresh_mixtral.family)
    del fresh_mixtral.module("model.layers.0.mlp").experts
    with refused("model.layers.0.mlp.experts.gate_up_proj, model.layers.0.mlp.experts.down_proj"):
        find_sites(fresh_mixtral.model, fresh_mixtral.family)


def swapped(experts: Any) -> Callable[..., Tensor]:
    """Gate and up exchanged, as another layout of the fused tensor would have it."""

    def forward(hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        own = experts.gate_up_proj.data
        experts.gate_up_proj.data = torch.cat(own.chunk(2, 1)[::-1], 1)
        try:
            result: Tensor = type(experts).forward(experts, hidden, chosen, weights)
        finally:
            experts.gate_up_proj.data = own
        return result

    return forward


def test_the_probe_finds_experts_of_another_layout(fresh_mixtral: LoadedModel) -> None:
    experts = fresh_mixtral.module("model.layers.1.mlp.experts")
    experts.forward = swapped(experts)
    with refused("model.layers.1.mlp.experts computes something else", "does not fit"):
        probe(fresh_mixtral.model, fresh_mixtral.family, fresh_mixtral.sites)


def test_the_probe_finds_experts_that_compute_with_a_stale_copy(lm: LoadedModel) -> None:
    block = lm.sites.experts[0]
    copy = type(block.module)(lm.model.config)
    copy.load_state_dict(block.module.state_dict())
    block.module.forward = copy.forward
    with refused(f"an edit of {block.name}.", "gate_proj does not change the logits"):
        probe(lm.model, lm.family, lm.sites)
    del block.module.forward


# The rest


def test_neurons_are_refused_in_one_line(lm: LoadedModel) -> None:
    with refused("the method neurons does not support mixtures of experts", lm.family.name, "contrastive-saliency"):
        extract(lm, mixed_contrast(), method="neurons")
    assert lm.neurons == ()


def test_routers_are_never_edited(lm: LoadedModel) -> None:
    """Nor are the gates of shared experts."""
    routers = {name for name in bits(lm.model) if name.endswith(("mlp.gate.weight", "shared_expert_gate.weight"))}
    assert routers
    assert not routers & {f"{linear.name}.weight" for linear in lm.linears}
    before = bits(lm.model)
    with wear(lm, extract(lm, mixed_contrast(), sparsity=0.5, settings={"expert_tokens": 0}).plus):
        after = bits(lm.model)
        assert same({name: after[name] for name in routers}, {name: before[name] for name in routers})


def test_a_model_of_dense_blocks_only_is_dense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**tiny._CONFIGS["qwen3_moe"], "mlp_only_layers": [0, 1]}
    monkeypatch.setitem(tiny._CONFIGS, "qwen3_moe", config)
    lm: LoadedModel = load_model(str(make_tiny(tmp_path, "qwen3_moe")), dtype="float32", device="cpu")
    assert lm.sites.experts == ()
    assert len(lm.neurons) == 2
    assert "experts" not in extract(lm, mixed_contrast(), method="wanda").plus.provenance
