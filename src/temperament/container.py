"""A safetensors file with one JSON header and a SHA-256 of its whole content; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from temperament.atomic import write_bytes
from temperament.errors import TemperamentError

_KEY = "temperament"
_BLANK = "0" * 64


def write_container(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Write tensors and header atomically; returns the content hash.

    The hash is taken over the complete file with the hash field itself zeroed, so every byte is covered. That
    field comes first, so no text of the header can be taken for it.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(contiguous, {_KEY: json.dumps({"sha256": _BLANK, **header}, separators=(",", ":"))})
    digest = hashlib.sha256(data).hexdigest()
    write_bytes(path, data.replace(_BLANK.encode(), digest.encode(), 1))
    return digest


def read_container(path: Path, *, kind: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify a file written by ``write_container``; ``kind`` and ``remedy`` word the error.

    Raises ``TemperamentError`` for anything but an intact file: missing, truncated, altered in any byte.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TemperamentError(f"there is no {kind} {str(path)!r}", "check the path") from None
    except OSError as error:
        raise TemperamentError(f"{kind} {str(path)!r} cannot be read: {error.strerror}", "check the path") from None
    try:
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        header = json.loads(metadata[_KEY])
        digest = header["sha256"]
        if not isinstance(digest, str) or len(digest) != 64:
            raise ValueError("no content hash")
        if hashlib.sha256(data.replace(digest.encode(), _BLANK.encode(), 1)).hexdigest() != digest:
            raise TemperamentError(f"{kind} {str(path)!r} is damaged: its content does not match its SHA-256", remedy)
        return load(data), header
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError) as error:
        raise TemperamentError(
            f"{str(path)!r} is not a {kind}, or is damaged ({type(error).__name__})", remedy
        ) from None


def checked_tensor(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype, dimensions: int) -> Tensor:
    """The tensor ``name``; ValueError unless it has the stated type and rank and, if floating, is finite."""
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.dim() != dimensions:
        raise ValueError(f"tensor {name!r} is missing or has the wrong type")
    if dtype.is_floating_point and not torch.isfinite(tensor).all():
        raise ValueError(f"tensor {name!r} holds values that are not finite")
    return tensor
