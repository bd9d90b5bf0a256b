"""Loading, sites, the probe, fingerprints and dialogue, on tiny models of every family."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import (
    BLOCKS,
    BOS,
    CHAT_TEMPLATE,
    EOS,
    EXPERTS,
    INTERMEDIATE,
    MAX_TOKENS,
    MODEL_TYPES,
    NO_SYSTEM_TEMPLATE,
    byte_tokenizer,
    make_tiny,
    make_tiny_gguf,
)
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, OPTConfig
from transformers.pytorch_utils import Conv1D

from temperament.errors import TemperamentError
from temperament.models import LinearSite, LoadedModel, load_model
from temperament.models.architecture import find_sites
from temperament.models.dialogue import encode, prompt_ids, response_ids
from temperament.models.probe import probe

CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "mixtral": "MixtralForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}

# One block of each family as (part, {path: (outputs, inputs)}), a line per group that shares its input.
Block = list[tuple[str, dict[str, tuple[int, int]]]]
_MLP: Block = [
    ("mlp", {"mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32)}),
    ("mlp", {"mlp.down_proj": (32, 48)}),
]
_NARROW: Block = [
    ("attention", {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32)}),
    ("attention", {"self_attn.o_proj": (32, 32)}),
    *_MLP,
]
_WIDE: Block = [
    ("attention", {"self_attn.q_proj": (64, 32), "self_attn.k_proj": (32, 32), "self_attn.v_proj": (32, 32)}),
    ("attention", {"self_attn.o_proj": (32, 64)}),
    *_MLP,
]


def experts(width: int) -> Block:
    """Every expert of a block."""
    lines: Block = []
    for number in range(EXPERTS):
        own = f"mlp.experts.{number}"
        lines.append(("mlp", {f"{own}.gate_proj": (width, 32), f"{own}.up_proj": (width, 32)}))
        lines.append(("mlp", {f"{own}.down_proj": (32, width)}))
    return lines


SITES: dict[str, Block] = {
    "llama": _NARROW,
    "qwen2": _NARROW,
    "qwen3": _WIDE,
    "mistral": _NARROW,
    "gemma2": _WIDE,
    "gemma3_text": _WIDE,
    "phi3": [
        ("attention", {"self_attn.qkv_proj": (64, 32)}),
        ("attention", {"self_attn.o_proj": (32, 32)}),
        ("mlp", {"mlp.gate_up_proj": (96, 32)}),
        ("mlp", {"mlp.down_proj": (32, 48)}),
    ],
    "gpt2": [
        ("attention", {"attn.c_attn": (96, 32)}),
        ("attention", {"attn.c_proj": (32, 32)}),
        ("mlp", {"mlp.c_fc": (48, 32)}),
        ("mlp", {"mlp.c_proj": (32, 48)}),
    ],
    "mixtral": [*_NARROW[:2], *experts(48)],
    "qwen2_moe": [
        *_NARROW[:2],
        ("mlp", {"mlp.shared_expert.gate_proj": (48, 32), "mlp.shared_expert.up_proj": (48, 32)}),
        ("mlp", {"mlp.shared_expert.down_proj": (32, 48)}),
        *experts(24),
    ],
    "qwen3_moe": [*_WIDE[:2], *experts(24)],
}
#: First blocks that differ from the others.
FIRST: dict[str, Block] = {"qwen3_moe": _WIDE}


def block_of(lm: LoadedModel, layer: int) -> Block:
    table = FIRST if layer == 0 and lm.family.model_type in FIRST else SITES
    return table[lm.family.model_type]


def logits(lm: LoadedModel) -> Tensor:
    with torch.no_grad():
        result: Tensor = lm.model(torch.arange(1, 250, 6).unsqueeze(0)).logits  # enough to reach every expert
    return result


def run_probe(lm: LoadedModel) -> None:
    probe(lm.model, lm.family, lm.sites)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def one_line_error(action: Callable[[], object], *expected: str) -> None:
    with pytest.raises(TemperamentError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for text in expected:
        assert text in message


# The table


def test_every_family_has_a_tiny_model_and_expectations() -> None:
    assert set(MODEL_TYPES) == set(CLASSES) == set(SITES)


def test_family_loads_and_passes_the_probe(tiny_model: LoadedModel) -> None:
    assert type(tiny_model.model).__name__ == CLASSES[tiny_model.family.model_type]
    assert tiny_model.dtype == torch.float32
    assert tiny_model.device == torch.device("cpu")
    assert tiny_model.max_tokens == MAX_TOKENS
    assert hooks(tiny_model.model) == 0


def test_sites_are_the_expected_ones_in_block_order(tiny_model: LoadedModel) -> None:
    blocks = tiny_model.family.blocks
    expected = [
        (f"{blocks}.{layer}.", layer, part, group)
        for layer in range(BLOCKS)
        for part, group in block_of(tiny_model, layer)
    ]
    offset = 0
    for site, (prefix, layer, part, group) in zip(tiny_model.inputs, expected, strict=True):
        assert site.linears == tuple(prefix + path for path in group)
        assert (site.layer, site.part, site.width) == (layer, part, next(iter(group.values()))[1])
        assert site.offset == offset
        assert site.slice == slice(offset, offset + site.width)
        offset += site.width
    assert tiny_model.width == offset

    shapes = {prefix + path: shape for prefix, _, _, group in expected for path, shape in group.items()}
    assert {linear.name: linear.shape for linear in tiny_model.linears} == shapes
    for linear in tiny_model.linears:
        assert linear.name in linear.input.linears
        assert (linear.layer, linear.part) == (linear.input.layer, linear.input.part)
        assert linear.name.endswith(f".{linear.kind}")


def test_no_linear_of_a_block_is_left_out(tiny_model: LoadedModel) -> None:
    blocks = tiny_model.module(tiny_model.family.blocks)
    found = {
        f"{tiny_model.family.blocks}.{name}"
        for name, module in blocks.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    of_experts = {linear.name for linear in tiny_model.linears if linear.input.expert}
    gates = {name for name in found if name.endswith("shared_expert_gate")}  # a router of a kind: one output
    assert found - gates == {linear.name for linear in tiny_model.linears} - of_experts
    parameters = {name for name, parameter in blocks.named_parameters() if parameter.ndim > 1}
    targeted = {f"{name}.weight".removeprefix(f"{tiny_model.family.blocks}.") for name in found}
    fused = {name for name in parameters if name.endswith((".gate_up_proj", ".down_proj"))}
    routers = {name for name in parameters if name.endswith("mlp.gate.weight")}
    assert parameters == targeted | fused | routers
    assert len(of_experts) == 3 * EXPERTS * len(fused) // 2


def remember(seen: dict[str, Tensor], name: str, _: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
    seen[f"{name} in"], seen[name] = args[0], output


def test_activation_is_the_neuron_value_before_the_product(tiny_model: LoadedModel) -> None:
    """NPTI Eq. 1: a = σ(ĥW₁); the last Linear of the MLP reads a ⊙ ĥW₃, or a itself without a gate (GPT-2)."""
    lm = tiny_model
    for layer, activation in enumerate(site.name for site in lm.neurons):
        first, last = [site for site in lm.inputs if (site.layer, site.part) == (layer, "mlp")]
        seen: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for name in (activation, *first.linears, *last.linears):
                handle = lm.module(name).register_forward_hook(partial(remember, seen, name))
                stack.callback(handle.remove)
            logits(lm)
        neurons = seen[activation]
        assert neurons.shape[-1] == INTERMEDIATE
        match lm.family.model_type, [seen[name] for name in first.linears]:
            case "gpt2", [hidden]:
                gate, product = hidden, neurons
            case "phi3", [both]:
                gate, up = both.chunk(2, dim=-1)
                product = neurons * up
            case _, [gate, up]:
                product = neurons * up
        assert torch.equal(seen[f"{activation} in"], gate)
        assert torch.equal(seen[f"{last.linears[0]} in"], product)


def test_weight_is_an_outputs_by_inputs_view_that_edits_the_model(tiny_model: LoadedModel) -> None:
    base = logits(tiny_model)
    for linear in tiny_model.linears:
        module, weight = tiny_model.module(linear.name), tiny_model.weight(linear)
        assert tuple(weight.shape) == linear.shape
        inputs = torch.randn(3, linear.shape[1], generator=torch.Generator().manual_seed(1))
        bias = 0 if module.bias is None else cast(Tensor, module.bias).detach()
        with torch.no_grad():
            outputs = module(inputs)
        torch.testing.assert_close(inputs @ weight.T + bias, outputs)

        original = weight.clone()
        weight[:, ::2] = 0
        edited = logits(tiny_model)
        weight.copy_(original)
        assert not torch.equal(edited, base)
        assert torch.equal(logits(tiny_model), base)


def test_unsupported_model_without_a_list_of_blocks(tiny_llama: LoadedModel) -> None:
    body = tiny_llama.model.get_submodule("model")
    one_line_error(lambda: find_sites(body, tiny_llama.family), "'model.layers'", "causal language model")


def test_missing_modules_are_named(fresh_llama: LoadedModel) -> None:
    block = fresh_llama.module("model.layers.1")
    del block.get_submodule("self_attn").k_proj
    del block.get_submodule("mlp").act_fn
    one_line_error(
        lambda: find_sites(fresh_llama.model, fresh_llama.family),
        "model.layers.1.self_attn.k_proj, model.layers.1.mlp.act_fn",
    )


def test_quantised_weights_are_refused(fresh_llama: LoadedModel) -> None:
    packed = nn.Parameter(torch.zeros(512, 1, dtype=torch.uint8), requires_grad=False)
    fresh_llama.module("model.layers.0.mlp.up_proj").weight = packed
    one_line_error(
        lambda: find_sites(fresh_llama.model, fresh_llama.family), "model.layers.0.mlp.up_proj", "unquantised"
    )


# The probe


def bypass_activation(mlp: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: mlp.down_proj(functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))


def bypass_linear(mlp: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: mlp.down_proj(mlp.act_fn(functional.linear(x, mlp.gate_proj.weight)) * mlp.up_proj(x))


def run_activation_twice(mlp: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x) + mlp.act_fn(x.new_zeros(1)))


def feed_a_copy(mlp: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x + 0)) * mlp.up_proj(x + 0))


def ignore_activation(mlp: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        gate = mlp.gate_proj(x)
        mlp.act_fn(gate)
        result: Tensor = mlp.down_proj(functional.silu(gate) * mlp.up_proj(x))
        return result

    return forward


def add_noise(mlp: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)) + torch.randn_like(x)


@pytest.mark.parametrize(
    ("layer", "fault", "expected"),
    [
        (1, bypass_activation, "model.layers.1.mlp.act_fn ran 0 times"),
        (1, bypass_linear, "model.layers.1.mlp.gate_proj ran 0 times"),
        (1, run_activation_twice, "model.layers.1.mlp.act_fn ran 2 times"),
        (1, feed_a_copy, "model.layers.1.mlp.gate_proj, model.layers.1.mlp.up_proj do not read the same input"),
        (0, ignore_activation, "an edit of model.layers.0.mlp.act_fn does not change the logits"),
        (0, add_noise, "does not restore the logits"),
    ],
)
def test_probe_finds(
    fresh_llama: LoadedModel, layer: int, fault: Callable[[Any], Callable[[Tensor], Tensor]], expected: str
) -> None:
    mlp = fresh_llama.module(f"model.layers.{layer}.mlp")
    mlp.forward = fault(mlp)
    one_line_error(lambda: run_probe(fresh_llama), expected)
    assert hooks(fresh_llama.model) == 0


@pytest.mark.parametrize("model_type", ["llama", "phi3", "gpt2"])
def test_probe_finds_every_linear_that_computes_with_a_stale_copy(
    tiny_folders: dict[str, Path], model_type: str
) -> None:
    lm = load_model(str(tiny_folders[model_type]), dtype="float32", device="cpu")

    def freeze(linear: LinearSite) -> Callable[[Tensor], Tensor]:
        weight, bias = lm.weight(linear).clone(), lm.module(linear.name).bias
        return lambda x: functional.linear(x, weight, bias)

    for linear in lm.linears:
        if linear.layer == 0:
            module = lm.module(linear.name)
            module.forward = freeze(linear)
            one_line_error(lambda: run_probe(lm), f"an edit of {linear.name} does not change the logits")
            del module.forward
    run_probe(lm)


def test_probe_finds_logits_that_are_not_finite(fresh_llama: LoadedModel) -> None:
    fresh_llama.weight(fresh_llama.linears[-1])[0, 0] = torch.nan
    one_line_error(lambda: run_probe(fresh_llama), "not finite")


def test_probe_leaves_weights_and_hooks_as_they_were(tiny_model: LoadedModel) -> None:
    before = weights(tiny_model.model)
    run_probe(tiny_model)
    assert same(before, weights(tiny_model.model))
    assert hooks(tiny_model.model) == 0


@pytest.mark.parametrize("failing_call", [1, 2, 3, 14, 16])  # 2 to 14, even: a Linear is edited; 16: the activation
def test_probe_restores_after_a_crash(fresh_llama: LoadedModel, failing_call: int) -> None:
    before = weights(fresh_llama.model)
    calls = 0

    def crash(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise MemoryError

    handle = fresh_llama.module("model.norm").register_forward_hook(crash)
    with pytest.raises(MemoryError):
        run_probe(fresh_llama)
    handle.remove()
    assert same(before, weights(fresh_llama.model))
    assert hooks(fresh_llama.model) == 0


# GGUF


def test_gguf_loads_quietly_as_the_same_model(
    tiny_folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = make_tiny_gguf(tmp_path / "tiny.gguf", tiny_folders["llama"])
    folder = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu")
    capfd.readouterr()
    lm = load_model(str(file), dtype="float32", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert lm.fingerprint == folder.fingerprint
    assert lm.tokenizer_hash == folder.tokenizer_hash
    assert lm.prompt_ids("Hé?") == folder.prompt_ids("Hé?")
    assert torch.equal(logits(lm), logits(folder))


# Load errors


@pytest.fixture
def copied(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the Llama's folder, to be damaged."""
    return Path(shutil.copytree(tiny_folders["llama"], tmp_path / "damaged"))


def load_error(name: object, *expected: str, **arguments: Any) -> None:
    one_line_error(lambda: load_model(str(name), **{"dtype": "float32", "device": "cpu", **arguments}), *expected)


def test_load_hub_id_offline() -> None:
    load_error("nobody/no-such-model", "'nobody/no-such-model'", "couldn't connect", "give a hub id")


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "~nobody-here/model", "a/b/c"])
def test_load_path_that_is_not_there(name: str) -> None:
    load_error(name, f"there is no file or folder {name!r}")


def test_load_folder_without_config(tmp_path: Path) -> None:
    load_error(tmp_path, str(tmp_path), "has no config.json")


def test_load_file_that_is_not_gguf(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"x")
    load_error(file, "weights.bin", "not a .gguf file")


def test_load_missing_gguf(tmp_path: Path) -> None:
    load_error(tmp_path / "none.gguf", "there is no GGUF file", "none.gguf")


@pytest.mark.parametrize("content", [b"", b"no model at all" * 40, b"GGUF\x03\0\0\0", b"GGUF\x03\0\0\0" + bytes(64)])
def test_load_damaged_gguf(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.gguf"
    file.write_bytes(content)
    load_error(file, "damaged.gguf", "cannot be loaded: ")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_load_truncated_safetensors(copied: Path, share: float) -> None:
    file = copied / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    load_error(copied, str(copied), "cannot be loaded: ")


def test_load_checkpoint_without_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    load_error(copied, "no file named model.safetensors")


def test_load_checkpoint_that_lacks_tensors(copied: Path) -> None:
    edit_tensors(copied, lambda tensors: [tensors.pop(name) for name in list(tensors) if "down_proj" in name])
    load_error(copied, "incomplete", "model.layers.0.mlp.down_proj.weight, model.layers.1.mlp.down_proj.weight")


def test_load_checkpoint_with_a_wrong_shape(copied: Path) -> None:
    edit_tensors(copied, lambda tensors: tensors.update({"model.norm.weight": torch.ones(31)}))
    load_error(copied, "model.norm.weight ((31,) instead of (32,))")


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_load_without_tokenizer(copied: Path) -> None:
    for file in copied.glob("tokenizer*"):
        file.unlink()
    load_error(copied, "cannot be loaded: ", "tokenizer")


@pytest.mark.parametrize("content", ["{", "{}", '{"model_type": "bananas"}'])
def test_load_damaged_config(copied: Path, content: str) -> None:
    (copied / "config.json").write_text(content)
    load_error(copied, str(copied), "cannot be loaded: ")


def test_load_never_runs_code_from_the_checkpoint(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked at the terminal"))
    mapping = {"AutoConfig": "custom.Config", "AutoModelForCausalLM": "custom.Model"}
    (copied / "config.json").write_text(json.dumps({"model_type": "bananas", "auto_map": mapping}))
    (copied / "custom.py").write_text(f"open({str(copied / 'ran')!r}, 'w')")
    load_error(copied, "contains custom code")
    assert not (copied / "ran").exists()


@pytest.mark.parametrize("config", [BertConfig(), OPTConfig()], ids=["bert", "opt"])
def test_load_unsupported_model_type(tmp_path: Path, config: BertConfig | OPTConfig) -> None:
    config.save_pretrained(tmp_path)
    load_error(tmp_path, f"model type {config.model_type!r} is not supported", "Llama (llama)", "GPT-2 (gpt2)")


def test_load_unknown_dtype(tiny_folders: dict[str, Path]) -> None:
    load_error(tiny_folders["llama"], "unknown dtype 'float8'", "bfloat16", dtype="float8")


@pytest.mark.parametrize("device", ["gpu", "", "meta", "cuda:99"])
def test_load_unknown_device(tiny_folders: dict[str, Path], device: str) -> None:
    load_error(tiny_folders["llama"], f"device {device!r}", "use cpu, cuda", device=device)


def test_load_revision_of_a_local_model(tiny_folders: dict[str, Path]) -> None:
    load_error(tiny_folders["llama"], "revision 'main'", "leave it out", revision="main")


def test_load_is_quiet_and_leaves_logging_alone(
    copied: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("transformers")  # it does not propagate to the root, where caplog listens
    caplog.set_level(logging.INFO, logger="transformers")
    edit_tensors(copied, lambda tensors: tensors.popitem())
    logger.addHandler(caplog.handler)
    try:
        load_error(copied, "incomplete")
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert logger.level == logging.INFO


# Fingerprints


def test_fingerprint_does_not_depend_on_dtype(tiny_model: LoadedModel) -> None:
    half = load_model(tiny_model.name, dtype="bfloat16", device="cpu")
    assert half.dtype == torch.bfloat16
    assert half.fingerprint == tiny_model.fingerprint


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_fingerprint_does_not_depend_on_device(tiny_model: LoadedModel) -> None:
    assert load_model(tiny_model.name, dtype="float32", device="cuda").fingerprint == tiny_model.fingerprint


def test_fingerprint_changes_with_one_weight(fresh_llama: LoadedModel, tiny_llama: LoadedModel) -> None:
    fresh_llama.weight(fresh_llama.linears[3])[2, 5] *= 1.01
    assert fresh_llama.fingerprint != tiny_llama.fingerprint


def test_fingerprint_is_refused_while_a_mask_is_worn(fresh_llama: LoadedModel) -> None:
    fresh_llama.restorers.append(lambda _linear, _weight: None)
    one_line_error(lambda: fresh_llama.fingerprint, "mask is worn", "take it off")


def test_tokenizer_and_template_have_hashes(fresh_llama: LoadedModel, tmp_path: Path) -> None:
    base = load_model(str(make_tiny(tmp_path, "llama", chat_template=False)), dtype="float32", device="cpu")
    assert base.tokenizer_hash == fresh_llama.tokenizer_hash
    assert base.template_hash != fresh_llama.template_hash
    fresh_llama.tokenizer.chat_template = None
    assert base.template_hash == fresh_llama.template_hash


def test_tiny_models_are_reproducible(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    state = torch.get_rng_state()
    again = make_tiny(tmp_path / "again", "llama")
    other = make_tiny(tmp_path / "other", "llama", seed=1)
    assert torch.equal(state, torch.get_rng_state())
    first, second, third = ((path / "model.safetensors").read_bytes() for path in (tiny_folders["llama"], again, other))
    assert first == second != third


# Dialogue


def test_tokenizer_survives_saving_and_knows_its_offsets(tiny_model: LoadedModel) -> None:
    text = "Hé, two  spaces\nand <|user|> 123"
    encoded = tiny_model.tokenizer(text, return_offsets_mapping=True)
    assert encoded.input_ids == byte_tokenizer()(text).input_ids
    assert tiny_model.tokenizer.decode(encoded.input_ids) == BOS + text
    pieces = [text[start:end] for start, end in encoded.offset_mapping]
    assert pieces[:5] == ["", "H", "é", "é", ","]
    assert "<|user|>" in pieces
    assert len(tiny_model.tokenizer) == tiny_model.model.config.vocab_size


def decoded(template: str | None, prompt: str, system: str | None = None) -> str:
    tokenizer = byte_tokenizer(template)
    return str(tokenizer.decode(list(prompt_ids(tokenizer, prompt, system))))


def test_prompt_with_template() -> None:
    assert decoded(CHAT_TEMPLATE, "Hi?") == f"{BOS}<|user|>Hi?{EOS}<|assistant|>"
    assert decoded(CHAT_TEMPLATE, "Hi?", "Be shy.") == f"{BOS}<|system|>Be shy.{EOS}<|user|>Hi?{EOS}<|assistant|>"


def test_prompt_without_template() -> None:
    assert decoded(None, "Hi?") == f"{BOS}Question: Hi?\nAnswer:"
    assert decoded(None, "Hi?", "Be shy.") == f"{BOS}Be shy.\n\nQuestion: Hi?\nAnswer:"


DROPS_SYSTEM = (
    "{% for message in messages %}{% if message.role != 'system' %}<|{{ message.role }}|>{{ message.content }}"
    "{% endif %}{% endfor %}<|assistant|>"
)


@pytest.mark.parametrize("template", [NO_SYSTEM_TEMPLATE, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_system_prompt_joins_the_user_turn_of_a_template_without_one(template: str) -> None:
    end = EOS if template == NO_SYSTEM_TEMPLATE else ""
    assert decoded(template, "Hi?").endswith(f"<|user|>Hi?{end}<|assistant|>")
    assert decoded(template, "Hi?", "Be shy.").endswith(f"<|user|>Be shy.\n\nHi?{end}<|assistant|>")


def test_refusing_template_travels_with_the_model(tmp_path: Path) -> None:
    lm = load_model(str(make_tiny(tmp_path, "gemma2", chat_template="no-system")), dtype="float32", device="cpu")
    lm.system_prompt = "Be shy."
    assert lm.tokenizer.decode(lm.prompt_ids("Hi?")) == f"{BOS}<|user|>Be shy.\n\nHi?{EOS}<|assistant|>"


def test_prompt_follows_a_change_of_template() -> None:
    tokenizer = byte_tokenizer()
    chat = prompt_ids(tokenizer, "Hi?")
    tokenizer.chat_template = None
    assert prompt_ids(tokenizer, "Hi?") != chat


def test_response_starts_where_the_prompt_ends() -> None:
    for template, answer in ((CHAT_TEMPLATE, "Gladly."), (None, " Gladly.")):
        tokenizer = byte_tokenizer(template)
        item = encode(tokenizer, "Hi?", "Gladly.", None, limit=100)
        assert item.ids[: item.start] == prompt_ids(tokenizer, "Hi?")
        assert item.ids[item.start :] == response_ids(tokenizer, "Gladly.")
        assert tokenizer.decode(list(item.ids[item.start :])) == answer


def test_limit_cuts_the_end(tiny_llama: LoadedModel) -> None:
    whole = tiny_llama.encode("Hi?", "Gladly, and often.")
    cut = tiny_llama.encode("Hi?", "Gladly, and often.", limit=whole.start + 3)
    assert cut.ids == whole.ids[: whole.start + 3]
    assert cut.start == whole.start
    nothing_left = tiny_llama.encode("Hi?", "Gladly, and often.", limit=whole.start - 1)
    assert nothing_left.start == len(nothing_left.ids) == whole.start - 1
    assert len(tiny_llama.encode("Hi?", "a" * 600, limit=10_000).ids) == MAX_TOKENS
