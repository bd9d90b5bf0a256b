"""A fingerprint of a model's weights that does not depend on loading dtype or device."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn


def _digest(item: tuple[str, Tensor]) -> bytes:
    name, tensor = item
    values = tensor.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy().data
    head = f"{name}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(head + hashlib.sha256(values).digest()).digest()


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the family and every parameter, rounded to bf16, in name order; tied parameters count once."""
    parameters = sorted(model.named_parameters())
    family = str(model.config.model_type).encode()  # type: ignore[union-attr]
    with ThreadPoolExecutor() as pool:
        return hashlib.sha256(family + b"".join(pool.map(_digest, parameters))).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text, as hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
