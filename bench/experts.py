"""What statistics of mixtures of experts cost, beside a plain forward pass: models with random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.saliency import saliency_rows
from bench.speed import calibration_rows
from bench.table import Row
from temperament.calibration import Contrast
from temperament.language_model import LanguageModel, load

#: Sizes of a block; of Mixtral and Qwen2-MoE divided by about seven, with as many experts per token.
_SHARED: dict[str, Any] = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
_MODELS: dict[str, dict[str, Any]] = {
    "mixtral": {"intermediate_size": 1344, "num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {
        "moe_intermediate_size": 192,
        "shared_expert_intermediate_size": 768,
        "num_experts": 60,
        "num_experts_per_tok": 4,
    },
}


def random_model(model_type: str, layers: int) -> LanguageModel:
    """A bf16 model with random weights and the tokenizer of SmolLM2."""
    tokenizer = load().tokenizer
    config = AutoConfig.for_model(
        model_type, vocab_size=len(tokenizer), num_hidden_layers=layers, **_SHARED, **_MODELS[model_type]
    )
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    return LanguageModel(model, tokenizer, name=f"random {model_type}")


def expert_rows(contrast: Contrast, rounds: int) -> list[Row]:
    """Statistics for masks on six blocks, for subnetworks on two, each against the forward pass."""
    rows: list[Row] = []
    for model_type, sizes in _MODELS.items():
        count = sizes.get("num_experts", sizes.get("num_local_experts"))
        label = f"{model_type}, {count} experts, {sizes['num_experts_per_tok']} per token"
        own = calibration_rows(random_model(model_type, 6), contrast, rounds)
        own += saliency_rows(random_model(model_type, 2), contrast, max(3, rounds // 2))[:1]
        rows += [Row(f"{label}: {row.what}", row.value) for row in own]
    return rows
