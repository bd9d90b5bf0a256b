"""The texts themselves as statistics: for methods that show them to the model or train on them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, ValidationError

from temperament.calibration import Example, Pole
from temperament.calibration.contrast import POLES
from temperament.container import read_container, write_container
from temperament.errors import TemperamentError

FORMAT_VERSION = 1
_FILE = "texts.safetensors"
_KIND = "texts file"
_REMEDY = "delete it and run the extraction again"


@dataclass(frozen=True)
class TextPair:
    """The texts of both poles, in their own order.

    ``folder`` is where they were kept, with anything that was made from them; None if nowhere. A ``temporary``
    folder is lost with the pair and all that refers to it.
    """

    plus: tuple[Example, ...]
    minus: tuple[Example, ...]
    provenance: dict[str, str]
    groups: frozenset[str]
    tokens: dict[Pole, int]
    folder: Path | None = field(default=None, compare=False)
    temporary: TemporaryDirectory[str] | None = field(default=None, compare=False, repr=False)

    def pole(self, pole: Pole) -> tuple[Example, ...]:
        return self.plus if pole == "plus" else self.minus

    @cached_property
    def hash(self) -> str:
        """SHA-256 over provenance, texts and their tokens; persona files refer to it."""
        texts = {pole: [example.text for example in self.pole(pole)] for pole in POLES}
        return hashlib.sha256(json.dumps([self.provenance, self.tokens, texts], sort_keys=True).encode()).hexdigest()

    def shuffled(self) -> TextPair:
        """The same texts with shuffled labels: each new pole is one seeded half of either old pole."""
        plus, minus = (_halves(self.pole(pole), f"{self.provenance.get('seed')} {pole}") for pole in POLES)
        provenance = {**self.provenance, "labels": "shuffled"}
        return replace(self, plus=plus[0] + minus[0], minus=plus[1] + minus[1], provenance=provenance)


def _halves(examples: Sequence[Example], seed: str) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Two halves of the texts, each in their order."""
    ranks = sorted(range(len(examples)), key=lambda index: examples[index].text)
    random.Random(seed).shuffle(ranks)
    first = set(ranks[: (len(ranks) + 1) // 2])
    return (
        tuple(example for index, example in enumerate(examples) if index in first),
        tuple(example for index, example in enumerate(examples) if index not in first),
    )


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format_version: int
    provenance: dict[str, str]
    groups: list[str]
    tokens: dict[Pole, int]
    plus: list[tuple[str, str, str]]
    minus: list[tuple[str, str, str]]


def save_texts(pair: TextPair, folder: Path) -> TextPair:
    """Write the texts atomically; returns the pair that lies in the folder."""
    rows = {pole: [[e.prompt, e.response, e.group] for e in pair.pole(pole)] for pole in POLES}
    header = {
        "format_version": FORMAT_VERSION,
        "provenance": pair.provenance,
        "groups": sorted(pair.groups),
        "tokens": pair.tokens,
        **{str(pole): lines for pole, lines in rows.items()},
    }
    write_container(folder / _FILE, {}, header)
    return replace(pair, folder=folder)


def load_texts(folder: Path) -> TextPair:
    """Read texts that ``save_texts`` wrote; ``TemperamentError`` for anything damaged."""
    path = folder / _FILE
    _, raw = read_container(path, kind=_KIND, remedy=_REMEDY)
    raw.pop("sha256", None)
    try:
        header = _Header.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        fault = error.errors()[0]
        raise TemperamentError(
            f"{path} is damaged ({'.'.join(map(str, fault['loc']))}: {fault['msg']})", _REMEDY
        ) from None
    if header.format_version != FORMAT_VERSION:
        raise TemperamentError(f"{path} has format version {header.format_version}", _REMEDY)
    plus, minus = (tuple(Example(*row) for row in rows) for rows in (header.plus, header.minus))
    return TextPair(plus, minus, header.provenance, frozenset(header.groups), header.tokens, folder)


def find_texts(folder: Path, provenance: Mapping[str, str]) -> TextPair | None:
    """Texts in the folder with exactly this provenance, or None."""
    try:
        pair = load_texts(folder)
    except TemperamentError:
        return None
    return pair if pair.provenance == dict(provenance) else None
