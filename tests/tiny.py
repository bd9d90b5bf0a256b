"""Tiny random models with a byte tokenizer, one per model family, made offline in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import gguf
import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from temperament.models import FAMILIES

MODEL_TYPES: tuple[str, ...] = tuple(family.model_type for family in FAMILIES)
#: Mixtures of experts, and the families whose every neuron sees every token.
MIXTURES: tuple[str, ...] = tuple(family.model_type for family in FAMILIES if family.sparse)
DENSE: tuple[str, ...] = tuple(family.model_type for family in FAMILIES if not family.sparse)

BLOCKS, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, WIDE_HEAD, MAX_TOKENS = 2, 32, 48, 4, 2, 16, 512
EXPERTS, EXPERT_WIDTH = 4, 24

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|endoftext|>"  # the last as in Qwen2, whose tokenizer class would add it
SPECIAL = (PAD, BOS, EOS, "<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT_TEMPLATE
)

_SHARED: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": MAX_TOKENS,
}
_ALTERNATING = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
_MIXTURE = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT_WIDTH}
_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _SHARED,
    "qwen2": _SHARED,
    "qwen3": {**_SHARED, "head_dim": WIDE_HEAD},
    "mistral": {**_SHARED, "sliding_window": None},
    "gemma2": {**_SHARED, **_ALTERNATING, "head_dim": WIDE_HEAD, "query_pre_attn_scalar": WIDE_HEAD},
    "gemma3_text": {**_SHARED, **_ALTERNATING, "head_dim": WIDE_HEAD, "query_pre_attn_scalar": WIDE_HEAD},
    "phi3": {**_SHARED, "original_max_position_embeddings": MAX_TOKENS},
    "gpt2": {
        "n_embd": HIDDEN,
        "n_inner": INTERMEDIATE,
        "n_layer": BLOCKS,
        "n_head": HEADS,
        "n_positions": MAX_TOKENS,
    },
    "mixtral": {**_SHARED, "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
    "qwen2_moe": {**_SHARED, **_MIXTURE, "shared_expert_intermediate_size": INTERMEDIATE},
    "qwen3_moe": {**_SHARED, **_MIXTURE, "head_dim": WIDE_HEAD, "mlp_only_layers": [0]},  # the first block is dense
}


def byte_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per UTF-8 byte plus the special tokens; ``tokenizer(text)`` puts BOS in front."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]),
        ]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template
    return fast


def tiny_causal_lm(model_type: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """A float32 model of the family with weights large enough that every edit shows in the logits."""
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **_CONFIGS[model_type],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # biases and norms start at exactly 0 or 1
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return cast(PreTrainedModel, model.train(False))


def make_tiny(
    folder: Path, model_type: str, *, seed: int = 0, chat_template: bool | Literal["no-system"] = True
) -> Path:
    """Save a tiny model and its tokenizer to ``folder``, as ``save_pretrained`` lays them out.

    ``chat_template`` False gives a base model, ``"no-system"`` a template that raises on a system message.
    """
    template = {True: CHAT_TEMPLATE, False: None, "no-system": NO_SYSTEM_TEMPLATE}[chat_template]
    tokenizer = byte_tokenizer(template)
    tiny_causal_lm(model_type, tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def make_tiny_gguf(file: Path, llama: Path) -> Path:
    """Write a Llama saved by ``make_tiny`` as an unquantised GGUF file; the weights are the same, bit for bit."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(MAX_TOKENS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-6)

    tokenizer = byte_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(CHAT_TEMPLATE)

    for name, tensor in load_file(llama / "model.safetensors").items():
        path = name.removesuffix(".weight")
        block = ""
        if path.startswith("model.layers."):
            _, _, layer, path = path.split(".", 3)
            block = f"blk.{layer}."
        if path in ("self_attn.q_proj", "self_attn.k_proj"):  # GGUF interleaves the two halves that RoPE rotates
            heads = HEADS if path == "self_attn.q_proj" else KV_HEADS
            tensor = tensor.reshape(heads, 2, -1, HIDDEN).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(f"{block}{_GGUF_NAMES[path]}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
