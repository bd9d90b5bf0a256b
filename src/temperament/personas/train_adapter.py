"""Supervised fine-tuning of a low-rank adapter (PEFT) on responses; the model itself stays as it was."""

from __future__ import annotations

import json
import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from temperament.calibration import Example
from temperament.errors import TemperamentError
from temperament.methods.baselines import LoraParameters
from temperament.models import LinearSite, LoadedModel
from temperament.models.architecture import is_transposed
from temperament.signatures.batches import Batch, counted_tokens, length_buckets
from temperament.signatures.collect import encode_all, padding_id


@dataclass(frozen=True)
class Adapter:
    """A trained adapter: the bytes of its weights file, its configuration, and the loss of every step in nats/token."""

    weights: bytes
    config: str
    losses: tuple[float, ...]


def check_peft() -> None:
    """Raise ``TemperamentError`` unless PEFT is installed."""
    if find_spec("peft") is None:
        raise TemperamentError("training an adapter needs peft, not installed here", "pip install 'temperament[lora]'")


def steps_of(count: int, parameters: LoraParameters) -> int:
    """Optimiser steps on that many texts."""
    return parameters.epochs * math.ceil(count / parameters.batch)


def train_adapter(
    lm: LoadedModel, examples: Sequence[Example], parameters: LoraParameters, seed: int, step: Callable[[], None]
) -> Adapter:
    """Train an adapter on (prompt, response) pairs with the loss on response tokens only; ``step`` follows every step.

    AdamW without weight decay, learning rate falling to 0 along a cosine, texts in a new seeded order every epoch.
    Adapter weights are fp32, whatever the type of the model. Experts get none: they are no modules of their own.
    """
    check_peft()
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    items = encode_all(lm, sorted(examples, key=lambda example: example.text), "response")
    total = steps_of(len(items), parameters)
    config = LoraConfig(
        r=parameters.rank,
        lora_alpha=parameters.alpha,
        lora_dropout=0.0,
        target_modules=sorted({linear.kind for linear in _adapted(lm)}),
        fan_in_fan_out=is_transposed(lm.module(lm.linears[0].name)),
        task_type="CAUSAL_LM",
    )
    losses: list[float] = []
    # the fused attention's backward pass is slow on CPUs
    kernel = sdpa_kernel(SDPBackend.MATH) if lm.device.type == "cpu" else nullcontext()
    devices = [lm.device] if lm.device.type == "cuda" else []
    with _unwrapped_afterwards(lm), torch.random.fork_rng(devices=devices), torch.enable_grad(), kernel:
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # PEFT asks transformers by a name that is going away
            warnings.simplefilter("ignore", FutureWarning)
            wrapped: Any = get_peft_model(lm.model, config)
        trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=parameters.learning_rate, weight_decay=0.0)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
        for epoch in range(parameters.epochs):
            order = list(items)
            random.Random(f"{seed} {epoch}").shuffle(order)
            for begin in range(0, len(order), parameters.batch):
                part = order[begin : begin + parameters.batch]
                (batch,) = length_buckets(part, padding=padding_id(lm), tokens=2**62, rows=len(part))
                loss = _loss(lm, batch)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    raise TemperamentError("the training diverged: its loss is not finite", "lower learning_rate")
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                cosine.step()
                step()
        state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in state.items()}
        described = {**asdict(config), "base_model_name_or_path": lm.name, "inference_mode": True}
        described.pop("runtime_config", None)
    text = json.dumps(described, indent=2, sort_keys=True, default=lambda value: sorted(value))
    return Adapter(save(tensors, {"format": "pt"}), text, tuple(losses))


def _adapted(lm: LoadedModel) -> list[LinearSite]:
    """Every Linear that is a module."""
    return [linear for linear in lm.linears if linear.input.expert is None]


def _loss(lm: LoadedModel, batch: Batch) -> Tensor:
    """Mean over the response tokens of a batch of −log p, in nats."""
    first, counted = counted_tokens(batch)
    ids, counted = batch.ids.to(lm.device), counted.to(lm.device)
    keep = torch.arange(first - 1, ids.shape[1], device=lm.device)
    logits = lm.model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[:, :-1]
    chosen = counted.bool()  # only these: a softmax over a whole vocabulary is dear
    return nn.functional.cross_entropy(logits[chosen].float(), ids[:, first:][chosen])


@contextmanager
def _unwrapped_afterwards(lm: LoadedModel) -> Iterator[None]:
    """Afterwards the model has its own modules again and none of PEFT's, whatever interrupts the training."""
    flags = [(parameter, parameter.requires_grad) for parameter in lm.model.parameters()]
    modules = [(linear.name, lm.module(linear.name)) for linear in _adapted(lm)]

    def restore() -> None:
        for name, module in modules:
            parent, _, child = name.rpartition(".")
            setattr(lm.module(parent), child, module)
        lm.model.__dict__.pop("peft_config", None)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None

    with ExitStack() as stack:
        for _ in range(2):  # where an interrupt stops the first, the second goes on
            stack.callback(restore)
        yield


def write_adapter(adapter: Adapter, folder: Path, names: tuple[str, str]) -> None:
    """Write configuration and weights, which PEFT reads under these names."""
    (folder / names[0]).write_text(adapter.config, encoding="utf-8")
    (folder / names[1]).write_bytes(adapter.weights)
