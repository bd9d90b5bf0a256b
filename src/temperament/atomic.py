"""Atomic writes: a file is either the old one or the complete new one, whatever interrupts the writing; plain JSON."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temperament.errors import TemperamentError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file in the same folder and a rename."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise TemperamentError(f"{path} cannot be written: {error.strerror}", "choose a writable folder") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise TemperamentError(
            f"{path} cannot be written: {error.strerror}", "free disk space or choose another folder"
        ) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def ensure_folder(path: Path) -> Path:
    """Create a folder that will be written to, before any long work; an error if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TemperamentError(f"{path} cannot be written: {error.strerror}", "choose a writable folder") from None
    if not os.access(path, os.W_OK):
        raise TemperamentError(f"{path} cannot be written: no permission", "choose a writable folder")
    return path


def write_json(path: Path, value: Any) -> None:
    """Write a value as ``finite`` makes JSON of it, all of it or nothing."""
    write_bytes(path, (json.dumps(finite(value), ensure_ascii=False, indent=1) + "\n").encode())


def finite(value: Any) -> Any:
    """A value as JSON holds it: keys are texts, tuples are lists, and figures that do not exist are null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
