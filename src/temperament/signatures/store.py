"""Signatures on disk: one file per pole, and the partial result of an interrupted run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.signatures.signature import Signature, SignaturePair
from temperament.signatures.statistics import Moments, merge

FORMAT_VERSION = 1
_REMEDY = "delete it and run the extraction again"
_FILES = ("plus.safetensors", "minus.safetensors")
_PARTIAL = "partial.safetensors"


@dataclass(frozen=True)
class Partial:
    """An interrupted collection: batches done, and the statistics of plus and minus halves so far."""

    done: int
    parts: tuple[Moments, ...]

    def after(self, slot: int, moments: Moments) -> Partial:
        """One more batch, whose statistics join those of ``slot``."""
        merged = merge(self.parts[slot], moments)
        return Partial(self.done + 1, (*self.parts[:slot], merged, *self.parts[slot + 1 :]))

    def to(self, device: torch.device | str) -> Partial:
        return Partial(self.done, tuple(part.to(device) for part in self.parts))


def save_signatures(folder: Path, pair: SignaturePair) -> None:
    """Write both poles, one file each."""
    for name, signature in zip(_FILES, (pair.plus, pair.minus), strict=True):
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "signature",
            "provenance": pair.provenance,
            "groups": sorted(pair.groups),
            "counts": [[half.count, half.sentences] for half in signature.halves],
        }
        write_container(folder / name, _tensors(signature.halves), header)


def load_signatures(folder: Path) -> SignaturePair:
    """Read both poles; any damage is a ``TemperamentError``."""
    signatures, headers = [], []
    for name in _FILES:
        path = folder / name
        tensors, header = read_container(path, kind="signature file", remedy=_REMEDY)
        if header.get("format_version") != FORMAT_VERSION or header.get("kind") != "signature":
            raise TemperamentError(
                f"{path} has signature format {header.get('format_version')!r}, {FORMAT_VERSION} expected", _REMEDY
            )
        try:
            first, second = _moments(path, tensors, header["counts"])
            header["provenance"]["model"], frozenset(header["groups"])
        except (KeyError, TypeError, ValueError) as error:
            raise TemperamentError(f"{path} is damaged ({error!r})", _REMEDY) from None
        signatures.append(Signature((first, second)))
        headers.append(header)
    if headers[0]["provenance"] != headers[1]["provenance"]:
        raise TemperamentError(f"the two signature files in {folder} come from different runs", _REMEDY)
    return SignaturePair(signatures[0], signatures[1], headers[0]["provenance"], frozenset(headers[0]["groups"]))


def find_signatures(folder: Path, provenance: dict[str, str]) -> SignaturePair | None:
    """Saved signatures with exactly this provenance, or None."""
    if not all((folder / name).is_file() for name in _FILES):
        return None
    pair = load_signatures(folder)
    return pair if pair.provenance == provenance else None


def save_partial(folder: Path, key: str, partial: Partial) -> None:
    """Keep the work done so far; ``key`` identifies the run it belongs to."""
    header = {"key": key, "done": partial.done, "counts": [[part.count, part.sentences] for part in partial.parts]}
    write_container(folder / _PARTIAL, _tensors(partial.parts), header)


def load_partial(folder: Path, key: str) -> Partial | None:
    """The kept work of the run identified by ``key``, or None; a damaged or foreign file is no work done."""
    path = folder / _PARTIAL
    if not path.is_file():
        return None
    try:
        tensors, header = read_container(path, kind="partial signature", remedy=_REMEDY)
        return Partial(header["done"], _moments(path, tensors, header["counts"])) if header.get("key") == key else None
    except TemperamentError:
        return None


def discard_partial(folder: Path) -> None:
    (folder / _PARTIAL).unlink(missing_ok=True)


def _tensors(parts: tuple[Moments, ...]) -> dict[str, Tensor]:
    tensors = {name: torch.stack([getattr(part, name) for part in parts]) for name in ("mean", "m2", "l2")}
    if any(part.seen is not None for part in parts):
        seen = [torch.zeros_like(part.mean) if part.seen is None else part.seen for part in parts]
        tensors["seen"] = torch.stack(seen)
    return tensors


def _moments(path: Path, tensors: dict[str, Tensor], counts: list[list[int]]) -> tuple[Moments, ...]:
    try:
        found = [
            checked_tensor(tensors, name, torch.float64, 2)
            for name in ("mean", "m2", "l2", "seen")
            if name != "seen" or name in tensors  # of experts only
        ]
        if len({tensor.shape for tensor in found}) != 1 or len(counts) != len(found[0]):
            raise ValueError("shapes differ")
    except ValueError as error:
        raise TemperamentError(f"{path} is damaged: {error}", _REMEDY) from None
    return tuple(
        Moments(int(count), int(sentences), *(values if count else values[:3]))
        for (count, sentences), *values in zip(counts, *found, strict=True)
    )
