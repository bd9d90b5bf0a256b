"""Saliency statistics on disk: one file per group of layers, read Linear by Linear, and the group in work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.signatures.saliency import PARTS, LinearSaliency, SaliencyPair

FORMAT_VERSION = 1
_REMEDY = "delete it and run the extraction again"
_KIND = "saliency file"


class SaliencyFolder:
    """The files of one collection; ``key`` identifies the run they belong to."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def _path(self, index: int) -> Path:
        return self._folder / f"saliency-{index:03d}.safetensors"

    @property
    def _partial(self) -> Path:
        return self._folder / "saliency-partial.safetensors"

    def has(self, index: int) -> bool:
        """Whether the group is finished; a damaged or foreign file is no work done."""
        return _header(self._path(index)).get("key") == self._key

    def unfinished(self, index: int) -> tuple[dict[str, Tensor], int]:
        """The sums of an interrupted group and how many batches they cover; ({}, 0) if there are none."""
        header = _header(self._partial)
        if header.get("key") != self._key or header.get("group") != index:
            return {}, 0
        tensors, _ = read_container(self._partial, kind=_KIND, remedy=_REMEDY)
        return tensors, int(header["done"])

    def keep(self, index: int, done: int, sums: Mapping[str, Tensor]) -> None:
        """Keep the sums of an interrupted group."""
        write_container(self._partial, sums, {"key": self._key, "group": index, "done": done})

    def save(self, index: int, parts: Mapping[str, LinearSaliency]) -> None:
        """Write a finished group."""
        tensors = {name: torch.stack([getattr(part, field) for field in PARTS]) for name, part in parts.items()}
        write_container(self._path(index), tensors, {"format_version": FORMAT_VERSION, "key": self._key})
        self._partial.unlink(missing_ok=True)

    def finish(
        self,
        groups: Sequence[Sequence[str]],
        provenance: Mapping[str, str],
        texts: frozenset[str],
        tokens: Mapping[Pole, int],
    ) -> SaliencyPair:
        """Write the index of all groups; from now on ``load_saliency`` finds them."""
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "saliency",
            "provenance": dict(provenance),
            "groups": sorted(texts),
            "tokens": dict(tokens),
            "files": [[self._path(index).name, list(names)] for index, names in enumerate(groups)],
        }
        write_container(self._folder / "saliency.safetensors", {}, header)
        return load_saliency(self._folder)


def load_saliency(folder: Path) -> SaliencyPair:
    """Read the index; statistics are read, and verified, when they are asked for."""
    path = folder / "saliency.safetensors"
    _, header = read_container(path, kind=_KIND, remedy=_REMEDY)
    try:
        if header["format_version"] != FORMAT_VERSION or header["kind"] != "saliency":
            raise ValueError(f"format {header['format_version']!r}")
        where = {name: folder / file for file, names in header["files"] for name in names}
        provenance, groups = dict(header["provenance"]), frozenset(header["groups"])
        tokens: dict[Pole, int] = {pole: int(header["tokens"][pole]) for pole in POLES}
    except (KeyError, TypeError, ValueError) as error:
        raise TemperamentError(f"{path} is damaged ({error!r})", _REMEDY) from None

    @lru_cache(maxsize=1)
    def group(file: Path) -> dict[str, Tensor]:
        return read_container(file, kind=_KIND, remedy=_REMEDY)[0]

    def read(name: str) -> LinearSaliency:
        tensors = group(where[name])
        try:
            stacked = checked_tensor(tensors, name, torch.bfloat16, 3)
            return LinearSaliency(*stacked.unbind())
        except (ValueError, KeyError, TypeError) as error:
            raise TemperamentError(f"{where[name]} is damaged: {error}", _REMEDY) from None

    return SaliencyPair(tuple(where), read, provenance, groups, tokens)


def find_saliency(folder: Path, provenance: Mapping[str, str]) -> SaliencyPair | None:
    """Saved statistics with exactly this provenance, or None."""
    if not (folder / "saliency.safetensors").is_file():
        return None
    pair = load_saliency(folder)
    return pair if pair.provenance == dict(provenance) else None


def _header(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_container(path, kind=_KIND, remedy=_REMEDY)[1]
    except TemperamentError:
        return {}
