"""Norms: means and standard deviations of groups of people, and the T-scores they give."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temperament.calibration.items import DOMAINS
from temperament.calibration.public import read_text
from temperament.errors import TemperamentError

_FACETS = 6
_FORMAT = (
    'expected a JSON list of {"n_items", "group", "domain_mean", "domain_sd", "facet_mean", "facet_sd"}, '
    "domains by letter and six facets each"
)


@dataclass(frozen=True)
class Norms:
    """One group of people. ``scales`` maps traits and facet codes to mean and sd of the *sum* over their items."""

    group: str
    items: int
    scales: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """Short name, such as ``women 21-40``."""
        return short_name(self.group)

    def length(self, scale: str) -> int:
        """Number of items of a scale: of 120, 24 a domain and 4 a facet."""
        domains = len(DOMAINS)
        return self.items // (domains if scale in DOMAINS.values() else domains * _FACETS)

    def t(self, scale: str, mean: float, count: int) -> float | None:
        """T = 50 + 10 · (sum − mean) / sd of a mean item score 1–5 over ``count`` items.

        None unless the scale is complete: a sum over some of its items compares with no norm.
        """
        if scale not in self.scales or count != self.length(scale):
            return None
        centre, sd = self.scales[scale]
        return 50 + 10 * (mean * count - centre) / sd


def short_name(group: str) -> str:
    """Sex and age of a group in few words: ``men between 21 and 40 years old`` is ``men 21-40``."""
    words = group.lower()
    sex = next((sex for sex in ("women", "men") if re.search(rf"\b{sex}\b", words)), "")
    ages = re.findall(r"\d+", words)
    if len(ages) == 2:
        age = f"{ages[0]}-{ages[1]}"
    elif len(ages) == 1:
        age = f"{'under' if 'under' in words else 'over'} {ages[0]}"
    else:
        age = next((age for age in ("college", "adult") if age in words), "")
    return f"{sex} {age}" if sex and age else words


def read_norms(path: Path) -> tuple[Norms, ...]:
    """All groups of a file of norms."""
    try:
        rows = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise TemperamentError(f"{path} is not JSON", _FORMAT) from None
    if not isinstance(rows, list) or not rows:
        raise TemperamentError(f"{path} holds no norms", _FORMAT)
    return tuple(_norms(path, position, row) for position, row in enumerate(rows, 1))


def find_norms(path: Path, name: str, items: int = 120) -> Norms:
    """The group of that short or full name, in any case, among the norms of a form with ``items`` items."""
    groups = [norms for norms in read_norms(path) if norms.items == items]
    wanted = " ".join(name.lower().replace("–", "-").split())
    for norms in groups:
        if wanted in (norms.name, norms.group.lower()):
            return norms
    names = ", ".join(norms.name for norms in groups) or "none"
    raise TemperamentError(f"there are no norms of {name!r} for {items} items in {path}", f"use one of: {names}")


def _norms(path: Path, position: int, row: Any) -> Norms:
    try:
        group, items, scales = row["group"], row["n_items"], {}
        if not isinstance(group, str) or type(items) is not int or items <= 0 or items % (len(DOMAINS) * _FACETS):
            raise ValueError(f"{items!r} items of {group!r}")
        for letter, trait in DOMAINS.items():
            scales[trait] = _pair(row["domain_mean"][letter], row["domain_sd"][letter])
            means, sds = row["facet_mean"][letter], row["facet_sd"][letter]
            if len(means) != _FACETS:
                raise ValueError(f"{len(means)} facets of {letter}")
            for facet, pair in enumerate(zip(means, sds, strict=True), 1):
                scales[f"{letter}{facet}"] = _pair(*pair)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise TemperamentError(f"{path} entry {position} is no norm ({error})", _FORMAT) from None
    return Norms(group, items, scales)


def _pair(mean: Any, sd: Any) -> tuple[float, float]:
    pair = float(mean), float(sd)
    if not all(math.isfinite(value) for value in pair) or pair[1] <= 0:
        raise ValueError(f"mean {mean} and sd {sd}")
    return pair
