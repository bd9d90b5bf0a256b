"""Bytes compressed by zlib as a tensor that a file can hold."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor


def deflated(data: bytes, level: int) -> Tensor:
    """Compressed bytes, uint8 (n,)."""
    return torch.from_numpy(np.frombuffer(zlib.compress(data, level), dtype=np.uint8).copy())


def inflated(packed: Tensor, size: int, what: str) -> bytes:
    """The inverse of ``deflated``; ValueError, naming ``what``, unless exactly ``size`` bytes are held."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed.numpy().tobytes(), size + 1)  # one more than wanted: the end must be read
    except (zlib.error, OverflowError, MemoryError) as error:
        raise ValueError(f"{what} cannot be unpacked ({error})") from None
    if len(data) != size or not stream.eof or stream.unused_data:
        raise ValueError(f"other than {what} are held")
    return data
