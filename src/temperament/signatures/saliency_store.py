"""Saliency statistics on disk: one file per group of layers, read Linear by Linear, and the group in work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

FORMAT_VERSION = 2
INDEX = "saliency.safetensors"
_REMEDY = "delete it and run the extraction again"
_KIND = "saliency file"

#: Of each Linear of an expert how many tokens reached it, in the halves of ``saliency.HALVES``.
Seen = dict[str, list[int]]


@dataclass(frozen=True)
class Unfinished:
    """The sums of an interrupted group, how many batches those of each Linear cover, and what experts saw."""

    sums: dict[str, Tensor]
    covered: dict[str, int]
    seen: Seen


class SaliencyFolder:
    """The files of one collection; ``key`` identifies the run they belong to, in every one of them."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def _path(self, index: int) -> Path:
        return self._folder / f"saliency-{index:03d}.safetensors"

    @property
    def _partial(self) -> Path:
        return self._folder / "saliency-partial.safetensors"

    @property
    def _index(self) -> Path:
        return self._folder / INDEX

    def finished(self, index: int) -> Seen | None:
        """What experts of a finished group saw; None if it is not: a damaged or foreign file is no work done."""
        found = self._own(self._path(index))
        return found and found[1].get("seen", {})

    def unfinished(self, index: int) -> Unfinished | None:
        """The work done on an interrupted group, if there is any."""
        found = self._own(self._partial)
        if found is None or found[1]["group"] != index:
            return None
        return Unfinished(found[0], found[1]["covered"], found[1].get("seen", {}))

    def _own(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The content of an intact file of this run, or None."""
        try:
            tensors, header = read_container(path, kind=_KIND, remedy=_REMEDY)
        except TemperamentError:
            return None
        return (tensors, header) if header.get("key") == self._key else None

    def keep(self, index: int, work: Unfinished) -> None:
        """Keep the work done on an interrupted group."""
        header = {"key": self._key, "group": index, "covered": work.covered, "seen": work.seen}
        write_container(self._partial, work.sums, header)

    def save(self, index: int, parts: Mapping[str, LinearSaliency], seen: Seen) -> None:
        """Write a finished group; what an index says of files of another run holds no longer."""
        self._index.unlink(missing_ok=True)
        tensors = {name: torch.stack([getattr(part, field) for field in PARTS]) for name, part in parts.items()}
        write_container(self._path(index), tensors, {"key": self._key, "seen": seen})
        self._partial.unlink(missing_ok=True)

    def finish(
        self,
        groups: Sequence[Sequence[str]],
        provenance: Mapping[str, str],
        texts: frozenset[str],
        tokens: Mapping[Pole, int],
        seen: Seen,
    ) -> SaliencyPair:
        """Write the index of all groups, after which ``load_saliency`` finds them, and remove files of other runs."""
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "saliency",
            "key": self._key,
            "provenance": dict(provenance),
            "groups": sorted(texts),
            "tokens": dict(tokens),
            "seen": seen,
            "files": [[self._path(index).name, list(names)] for index, names in enumerate(groups)],
        }
        write_container(self._index, {}, header)
        for path in self._folder.glob("saliency-*.safetensors"):
            if path not in {self._path(index) for index in range(len(groups))}:
                path.unlink(missing_ok=True)
        return load_saliency(self._folder)


def load_saliency(folder: Path) -> SaliencyPair:
    """Read the index; statistics are read, and verified, when they are asked for."""
    path = folder / INDEX
    _, header = read_container(path, kind=_KIND, remedy=_REMEDY)
    try:
        if header["format_version"] != FORMAT_VERSION or header["kind"] != "saliency":
            raise ValueError(f"format {header['format_version']!r}")
        where = {name: folder / file for file, names in header["files"] for name in names}
        provenance, groups, key = dict(header["provenance"]), frozenset(header["groups"]), header["key"]
        tokens: dict[Pole, int] = {pole: int(header["tokens"][pole]) for pole in POLES}
        seen = {name: [int(count) for count in counts] for name, counts in header.get("seen", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TemperamentError(f"{path} is damaged ({error!r})", _REMEDY) from None

    @lru_cache(maxsize=1)
    def group(file: Path) -> dict[str, Tensor]:
        tensors, own = read_container(file, kind=_KIND, remedy=_REMEDY)
        if own.get("key") != key:
            raise TemperamentError(f"{file} belongs to another collection than {path}", _REMEDY)
        return tensors

    def read(name: str) -> LinearSaliency:
        tensors = group(where[name])
        try:
            stacked = checked_tensor(tensors, name, torch.bfloat16, 3)
            return LinearSaliency(*stacked.unbind())
        except (ValueError, KeyError, TypeError) as error:
            raise TemperamentError(f"{where[name]} is damaged: {error}", _REMEDY) from None

    return SaliencyPair(tuple(where), read, provenance, groups, tokens, seen)


def find_saliency(folder: Path, provenance: Mapping[str, str], names: Iterable[str]) -> SaliencyPair | None:
    """Saved statistics with exactly this provenance and at least these Linears, every file of them intact, or None."""
    try:
        pair = load_saliency(folder)
        if pair.provenance != dict(provenance) or not pair.covers(names):
            return None
        _ = pair.hash  # reads every file; whoever uses the statistics asks for it
    except TemperamentError:
        return None
    return pair
