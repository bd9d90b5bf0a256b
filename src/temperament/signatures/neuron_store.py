"""Neuron statistics on disk: one file per pole, transcripts, and the partial result of an interrupted run."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from temperament.atomic import write_bytes
from temperament.calibration.contrast import POLES
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.models import NeuronSite
from temperament.signatures.neurons import Counts, Histogram, NeuronSignature, NeuronSignaturePair
from temperament.signatures.tally import Tally, empty_histogram

FORMAT_VERSION = 1
_REMEDY = "delete it and run the extraction again"
_FILES = ("neurons-plus.safetensors", "neurons-minus.safetensors")
_PARTIAL = "neurons-partial.safetensors"
_TRANSCRIPTS = "transcripts.jsonl"


@dataclass(frozen=True)
class Transcript:
    """What the model answered ``question`` as ``description``, and how many ``tokens`` it wrote for it.

    Those of a label of a next turn (``NextTurn``) are among the tokens but not in the answer.
    """

    pole: str
    description: str
    question: str
    answer: str
    tokens: int


def save_neuron_signatures(folder: Path, pair: NeuronSignaturePair) -> None:
    """Write both poles, one file each."""
    for pole, name in zip(POLES, _FILES, strict=True):
        signature = pair.pole(pole)
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "neuron signature",
            "pole": pole,
            "provenance": pair.provenance,
            "groups": sorted(pair.groups),
            "tokens": [half.tokens for half in signature.halves],
            "parts": [len(part) for part in signature.histogram.parts],
        }
        active = torch.stack([half.active for half in signature.halves])
        write_container(folder / name, {"active": active, "histogram": _joined([signature.histogram])}, header)


def load_neuron_signatures(folder: Path) -> NeuronSignaturePair:
    """Read both poles; any damage is a ``TemperamentError``."""
    poles, headers = [], []
    for pole, name in zip(POLES, _FILES, strict=True):
        path = folder / name
        tensors, header = read_container(path, kind="neuron signature file", remedy=_REMEDY)
        if header.get("format_version") != FORMAT_VERSION or header.get("kind") != "neuron signature":
            raise TemperamentError(f"{path} is no neuron signature of format {FORMAT_VERSION}", _REMEDY)
        try:
            active = checked_tensor(tensors, "active", torch.int64, 2)
            (histogram,) = _parted(checked_tensor(tensors, "histogram", torch.uint8, 1), [header["parts"]])
            first, second = (Counts(int(n), row) for n, row in zip(header["tokens"], active, strict=True))
            header["provenance"]["model"], frozenset(header["groups"])
            if header["pole"] != pole or sum(map(len, histogram.dense())) != active.shape[1]:
                raise ValueError(f"not the statistics of the {pole} pole, or not of all neurons")
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise TemperamentError(f"{path} is damaged ({error!r})", _REMEDY) from None
        poles.append(NeuronSignature((first, second), histogram))
        headers.append(header)
    if headers[0]["provenance"] != headers[1]["provenance"]:
        raise TemperamentError(f"the two neuron signature files in {folder} come from different runs", _REMEDY)
    return NeuronSignaturePair(poles[0], poles[1], headers[0]["provenance"], frozenset(headers[0]["groups"]))


def find_neuron_signatures(folder: Path, provenance: dict[str, str] | None = None) -> NeuronSignaturePair | None:
    """Saved statistics (with exactly this provenance), or None."""
    if not all((folder / name).is_file() for name in _FILES):
        return None
    pair = load_neuron_signatures(folder)
    return pair if provenance is None or pair.provenance == provenance else None


def save_transcripts(folder: Path, transcripts: Sequence[Transcript]) -> None:
    """Everything the model wrote, as JSON lines; no file where it wrote nothing."""
    if not transcripts:
        (folder / _TRANSCRIPTS).unlink(missing_ok=True)
        return
    lines = (json.dumps(asdict(transcript), ensure_ascii=False) for transcript in transcripts)
    write_bytes(folder / _TRANSCRIPTS, ("\n".join(lines) + "\n").encode(errors="replace"))


def save_partial_neurons(folder: Path, key: str, tally: Tally, transcripts: Sequence[Transcript]) -> None:
    """Keep the work done so far; ``key`` identifies the run it belongs to."""
    histograms = tally.histograms()
    header: dict[str, Any] = {
        "key": key,
        "done": tally.done,
        "tokens": [slot.tokens for slot in tally.slots],
        "parts": [[len(part) for part in histogram.parts] for histogram in histograms],
        "transcripts": [asdict(transcript) for transcript in transcripts],
    }
    active = torch.stack([slot.active for slot in tally.slots])
    write_container(folder / _PARTIAL, {"active": active, "histogram": _joined(histograms)}, header)
    if transcripts:
        save_transcripts(folder, transcripts)


def load_partial_neurons(folder: Path, key: str, sites: Sequence[NeuronSite]) -> tuple[Tally, list[Transcript]] | None:
    """The kept work of the run identified by ``key``, or None; a damaged or foreign file is no work done."""
    path = folder / _PARTIAL
    if not path.is_file():
        return None
    try:
        tensors, header = read_container(path, kind="partial neuron signature", remedy=_REMEDY)
        if header.get("key") != key:
            return None
        active = checked_tensor(tensors, "active", torch.int64, 2)
        histograms = _parted(checked_tensor(tensors, "histogram", torch.uint8, 1), header["parts"])
        slots = [Counts(int(n), row.clone()) for n, row in zip(header["tokens"], active, strict=True)]
        transcripts = [Transcript(**row) for row in header["transcripts"]]
        dense = histograms[-1].dense()
        if [layer.shape for layer in dense] != [layer.shape for layer in empty_histogram(sites)] or len(slots) != 4:
            return None
        return Tally(int(header["done"]), slots, list(histograms[:-1]), dense), transcripts
    except (TemperamentError, KeyError, TypeError, ValueError, IndexError, zlib.error):
        return None


def discard_partial_neurons(folder: Path) -> None:
    (folder / _PARTIAL).unlink(missing_ok=True)


def _joined(histograms: Sequence[Histogram]) -> Tensor:
    data = b"".join(part for histogram in histograms for part in histogram.parts)
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())


def _parted(data: Tensor, lengths: Sequence[Sequence[int]]) -> list[Histogram]:
    if any(length < 1 for part in lengths for length in part) or sum(map(sum, lengths)) != len(data):
        raise ValueError("the histograms do not fit their lengths")
    raw, begin, histograms = data.numpy().tobytes(), 0, []
    for sizes in lengths:
        parts = []
        for size in sizes:
            parts.append(raw[begin : begin + size])
            begin += size
        histograms.append(Histogram(tuple(parts)))
    return histograms
