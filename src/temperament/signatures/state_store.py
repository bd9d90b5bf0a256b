"""Hidden states on disk: one file per pole, and the partial result of an interrupted run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.signatures.states import PLACES, Place, StatePair, States, StateSignature

FORMAT_VERSION = 1
_REMEDY = "delete it and run the extraction again"
_FILES = ("states-plus.safetensors", "states-minus.safetensors")
_PARTIAL = "states-partial.safetensors"


@dataclass(frozen=True)
class PartialStates:
    """A collection under way: batches done, and the states of both halves of both poles, filled in as they come."""

    done: int
    slots: tuple[States, ...]

    @staticmethod
    def zeros(counts: Sequence[int], depth: int, hidden: int, heads: int) -> PartialStates:
        """For ``counts`` texts per slot; ``hidden`` and ``heads`` are the widths of a layer at either place."""
        slots = (States(torch.zeros(n, depth, hidden), torch.zeros(n, depth, heads), 0) for n in counts)
        return PartialStates(0, tuple(slots))

    def after(self, slot: int, texts: Tensor, means: dict[Place, Tensor], tokens: int) -> PartialStates:
        """One more batch, whose ``means`` are those of ``texts`` of a slot; doing it again changes nothing."""
        own = self.slots[slot]
        for place in PLACES:
            own.at(place)[texts] = means[place]
        grown = States(own.residual, own.heads, own.tokens + tokens)
        return PartialStates(self.done + 1, (*self.slots[:slot], grown, *self.slots[slot + 1 :]))


def save_states(folder: Path, pair: StatePair) -> None:
    """Write both poles, one file each."""
    for pole, name, signature in zip(POLES, _FILES, (pair.plus, pair.minus), strict=True):
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "state signature",
            "pole": pole,
            "provenance": pair.provenance,
            "groups": sorted(pair.groups),
            **_sizes(signature.halves),
        }
        write_container(folder / name, _tensors(signature.halves), header)


def load_states(folder: Path) -> StatePair:
    """Read both poles; any damage is a ``TemperamentError``."""
    poles, headers = [], []
    for pole, name in zip(POLES, _FILES, strict=True):
        path = folder / name
        tensors, header = read_container(path, kind="state signature file", remedy=_REMEDY)
        if header.get("format_version") != FORMAT_VERSION or header.get("kind") != "state signature":
            raise TemperamentError(f"{path} is no state signature of format {FORMAT_VERSION}", _REMEDY)
        try:
            first, second = _slots(tensors, header)
            header["provenance"]["model"], frozenset(header["groups"])
            if header["pole"] != pole:
                raise ValueError(f"not the states of the {pole} pole")
        except (KeyError, TypeError, ValueError) as error:
            raise TemperamentError(f"{path} is damaged ({error!r})", _REMEDY) from None
        poles.append(StateSignature((first, second)))
        headers.append(header)
    if headers[0]["provenance"] != headers[1]["provenance"]:
        raise TemperamentError(f"the two state signature files in {folder} come from different runs", _REMEDY)
    return StatePair(poles[0], poles[1], headers[0]["provenance"], frozenset(headers[0]["groups"]))


def find_states(folder: Path, provenance: dict[str, str]) -> StatePair | None:
    """Saved states with exactly this provenance, or None; damaged files are none."""
    try:
        pair = load_states(folder)
    except TemperamentError:
        return None
    return pair if pair.provenance == provenance else None


def save_partial_states(folder: Path, key: str, partial: PartialStates) -> None:
    """Keep the work done so far; ``key`` identifies the run it belongs to."""
    header = {"key": key, "done": partial.done, **_sizes(partial.slots)}
    write_container(folder / _PARTIAL, _tensors(partial.slots), header)


def load_partial_states(folder: Path, key: str, like: PartialStates) -> PartialStates | None:
    """The kept work of the run identified by ``key``, or None; a damaged or foreign file is no work done."""
    try:
        tensors, header = read_container(folder / _PARTIAL, kind="partial state signature", remedy=_REMEDY)
        if header["key"] != key:
            return None
        partial = PartialStates(int(header["done"]), tuple(_slots(tensors, header)))
    except (TemperamentError, KeyError, TypeError, ValueError):
        return None
    shapes = ([slot.at(place).shape for slot in part.slots for place in PLACES] for part in (partial, like))
    return partial if next(shapes) == next(shapes) else None


def discard_partial_states(folder: Path) -> None:
    (folder / _PARTIAL).unlink(missing_ok=True)


def _sizes(slots: Sequence[States]) -> dict[str, list[int]]:
    return {"texts": [len(slot.residual) for slot in slots], "tokens": [slot.tokens for slot in slots]}


def _tensors(slots: Sequence[States]) -> dict[str, Tensor]:
    return {place: torch.cat([slot.at(place) for slot in slots]) for place in PLACES}


def _slots(tensors: dict[str, Tensor], header: dict[str, Any]) -> list[States]:
    texts, tokens = ([int(count) for count in header[name]] for name in ("texts", "tokens"))
    residual, heads = (checked_tensor(tensors, place, torch.float32, 3) for place in PLACES)
    if min([*texts, *tokens]) < 0 or not sum(texts) == len(residual) == len(heads):
        raise ValueError("the states are not those of the texts")
    parts = zip(torch.split(residual, texts), torch.split(heads, texts), tokens, strict=True)
    return [States(first, second, count) for first, second, count in parts]
