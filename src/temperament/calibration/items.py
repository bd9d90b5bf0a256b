"""Questionnaire items: text, trait, facet and key, read from a file or from an installed package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from temperament.calibration.builtin import AXES
from temperament.calibration.public import Row, read_rows, text_field
from temperament.errors import TemperamentError

#: Letters of the five domains, as they begin a facet's code.
DOMAINS: dict[str, str] = {
    "O": "openness",
    "C": "conscientiousness",
    "E": "extraversion",
    "A": "agreeableness",
    "N": "neuroticism",
}
LETTERS: dict[str, str] = {trait: letter for letter, trait in DOMAINS.items()}
#: Everything that items may measure: the five domains and the four axes.
SCALES: tuple[str, ...] = (*LETTERS, *(axis.name for axis in AXES))
#: Name of our own questionnaire of the four axes, 20 items each.
AXES_ITEMS = "mbti-axes"

_KEYS = {"1": 1, "+1": 1, "+": 1, "plus": 1, "-1": -1, "−1": -1, "-": -1, "−": -1, "minus": -1}
#: Other names under which public copies hold a field.
_ALIASES = {
    "text": ("item", "question", "statement"),
    "key": ("keyed", "keying", "sign"),
    "domain": ("trait", "factor"),
    "short120_no": ("number", "num"),
}
_FORMAT = (
    "expected rows with domain (O, C, E, A, N or an axis such as mbti-ei), key (1 or -1) and text; facet_code, facet "
    "and numbers may be absent"
)


@dataclass(frozen=True)
class Item:
    """One statement of a questionnaire.

    ``key`` is 1 where agreement means more of the trait ``domain``, −1 where it means less. ``number`` is its place
    in this form, ``full_number`` its place in the 300-item form; ``facet`` is a code such as ``N1``, "" if unknown.
    """

    number: int
    text: str
    domain: str
    key: int
    facet: str = ""
    facet_name: str = ""
    full_number: int | None = None


def resolve_items(spec: str | Path) -> tuple[Item, ...]:
    """Items of a file, ``mbti-axes`` for our own, or ``ffm`` for those of the installed package of that name."""
    if str(spec) == AXES_ITEMS:
        return axes_items()
    return installed_items() if str(spec) == "ffm" else read_items(Path(spec).expanduser())


def axes_items() -> tuple[Item, ...]:
    """Our own 80 items for the four axes, 10 keyed each way; agreeing with a + keyed one means the first letter."""
    with as_file(files("temperament.calibration.builtin") / "axes" / "questionnaire.jsonl") as path:
        return read_items(path)


def read_items(path: Path) -> tuple[Item, ...]:
    """Items of a csv, JSON or JSON lines file with the fields domain, key and text, in the order of their numbers.

    Optional fields: facet_code, facet, short120_no, full300_no. Raises with the line number of what is wrong.
    """
    rows = [(line, _renamed(row)) for line, row in read_rows(path)]
    if not rows:
        raise TemperamentError(f"{path} holds no items", _FORMAT)
    absent = [name for name in ("domain", "key", "text") if name not in rows[0][1]]
    if absent:
        raise TemperamentError(f"{path} line {rows[0][0]}: there is no field {', '.join(absent)}", _FORMAT)
    numbers = _numbers(path, rows)
    items: dict[int, Item] = {}
    texts: dict[str, int] = {}
    for (line, row), number in zip(rows, numbers, strict=True):
        item = _item(path, line, row, number)
        if number in items:
            raise TemperamentError(f"{path} line {line}: a second item with the number {number}", "number each once")
        if item.text in texts:
            raise TemperamentError(
                f"{path} line {line}: {item.text[:40]!r} stands in line {texts[item.text]} too", "give each item once"
            )
        items[number], texts[item.text] = item, line
    return tuple(items[number] for number in sorted(items))


def installed_items() -> tuple[Item, ...]:
    """The 120 items of the package ``ffm``, which names no facets; an error where it is not installed."""
    remedy = "give a file with the fields domain, key and text"
    try:
        root = files("ffm")
    except ModuleNotFoundError:
        raise TemperamentError("the package ffm is not installed", f"pip install ffm, or {remedy}") from None
    for entry in _data_files(root):
        with as_file(entry) as path:
            try:
                items = read_items(path)
            except TemperamentError:
                continue  # a file of something else
        if len(items) == 120:
            return items
    raise TemperamentError("no data file of the installed ffm holds 120 items with domain, key and text", remedy)


def _data_files(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _data_files(entry)
        elif entry.name.lower().endswith((".csv", ".json", ".jsonl")):
            yield entry


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    for name, others in _ALIASES.items():
        for other in others:
            if name not in row and other in row:
                row[name] = row.pop(other)
    return row


def _item(path: Path, line: int, row: dict[str, Any], number: int) -> Item:
    given = str(row.get("domain") or "").strip()
    domain = DOMAINS.get(given.upper(), given.lower())
    if domain not in SCALES:
        raise TemperamentError(
            f"{path} line {line}: 'domain' is {given!r}", f"expected one of {', '.join((*DOMAINS, *SCALES))}"
        )
    key = _KEYS.get(str(row.get("key") if row.get("key") is not None else "").strip().lower())
    if key is None:
        raise TemperamentError(f"{path} line {line}: 'key' is {row.get('key')!r}", "expected 1 or -1")
    facet, name = str(row.get("facet_code") or "").strip().upper(), str(row.get("facet") or "").strip()
    if facet and domain not in LETTERS:
        raise TemperamentError(f"{path} line {line}: the axis {domain} has no facets", "leave facet_code empty")
    if not facet and domain in LETTERS and name in ("1", "2", "3", "4", "5", "6"):  # some copies number the facets
        facet, name = LETTERS[domain] + name, ""
    if facet and (facet[0] != LETTERS[domain] or facet[1:] not in ("1", "2", "3", "4", "5", "6")):
        raise TemperamentError(
            f"{path} line {line}: the facet {facet!r} is none of {domain}",
            f"expected {LETTERS[domain]}1 to {LETTERS[domain]}6",
        )
    full = _whole(path, line, row, "full300_no")
    return Item(number, text_field(path, line, row, "text"), domain, key, facet, name, full)


def _numbers(path: Path, rows: list[Row]) -> list[int]:
    """The number of every row in the form at hand; without any, its position from 1."""
    partial = None
    for field in ("short120_no", "full300_no"):
        found = [_whole(path, line, row, field) for line, row in rows]
        known = [number for number in found if number is not None]
        if len(known) == len(rows):
            return known
        if known:
            partial = rows[found.index(None)][0]
    if partial is not None:
        raise TemperamentError(f"{path} line {partial}: the item has no number", "number every item or none")
    return list(range(1, len(rows) + 1))


def _whole(path: Path, line: int, row: dict[str, Any], field: str) -> int | None:
    text = str(row.get(field) if row.get(field) is not None else "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise TemperamentError(f"{path} line {line}: {field!r} is {text!r}", "expected a whole number from 1 on")
    return int(text)
