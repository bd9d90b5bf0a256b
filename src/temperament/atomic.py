"""Atomic writes: a file or folder is either the old one or the complete new one, whatever interrupts; plain JSON."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from temperament.errors import TemperamentError, WriteError

_WRITABLE = "choose a writable folder"


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file in the same folder and a rename."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise WriteError(path, error.strerror, _WRITABLE) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise WriteError(path, error.strerror) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def ensure_folder(path: Path) -> Path:
    """Create a folder that will be written to, before any long work; an error if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(path, error.strerror, _WRITABLE) from None
    if not os.access(path, os.W_OK):
        raise WriteError(path, "no permission", _WRITABLE)
    return path


def encode_text(text: str) -> bytes:
    """UTF-8; half a surrogate pair, as an odd file name or a cut emoji leaves, becomes ``\\udc80``, JSON's escape."""
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a value as ``finite`` makes JSON of it, all of it or nothing."""
    write_bytes(path, encode_text(json.dumps(finite(value), ensure_ascii=False, indent=1) + "\n"))


def check_new_folder(path: Path) -> None:
    """Raise unless ``path`` can become a new folder: nothing is there, or an empty folder."""
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise TemperamentError(f"{path} is there already", "choose a folder that does not exist or is empty")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes ``path`` when the block ends; if it raises, nothing is left."""
    check_new_folder(path)
    ensure_folder(path.parent)
    try:
        work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise WriteError(path, error.strerror, _WRITABLE) from None
    try:
        yield work
        for file in work.iterdir():
            file.chmod(0o644)
        work.chmod(0o755)
        if path.is_dir():
            path.rmdir()  # not every system renames onto an empty folder
        os.replace(work, path)
    except (OSError, SafetensorError) as error:  # a full disk is one or the other, by who was writing
        reason = getattr(error, "strerror", None) or error
        raise WriteError(path, reason) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def finite(value: Any) -> Any:
    """A value as JSON holds it: keys are texts, tuples are lists, and figures that do not exist are null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
