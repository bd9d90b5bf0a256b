"""Blind ranking by people: sheets of answers under letters, and the key that tells whose they are (NPTI Table 2)."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from scipy.stats import rankdata

from temperament.atomic import write_bytes, write_json
from temperament.calibration.public import read_text
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array

SCHEMA = 1

#: What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t")


@dataclass(frozen=True)
class Sheet:
    """What was written, and ``notes`` on what might still tell a judge whose an answer is."""

    sheet: Path
    key: Path
    instructions: Path
    items: int
    methods: int
    notes: tuple[str, ...]


def write_sheet(
    answers: Mapping[str, Mapping[str, str]], criterion: str, folder: Path, *, seed: int | None = None
) -> Sheet:
    """Write ``sheet.csv``, ``instructions.txt`` and, for no judge's eyes, ``key.json`` into ``folder``.

    ``answers`` holds each method's answers by question; every method answers every question. Items come in a shuffled
    order, and so do the answers of each: over as many items as there are methods, every method stands once in every
    column. Without a ``seed`` one is drawn and kept in the key, so that nobody can work out the order.
    """
    if not criterion.strip():
        raise TemperamentError("the criterion is empty", "say what to rank by, such as 'how outgoing the writer seems'")
    methods, questions = _check(answers)
    for name in ("sheet.csv", "key.json"):
        if (folder / name).exists():  # a sheet may be filled, and without its key it says nothing
            raise TemperamentError(f"{folder / name} is there already", "choose another folder")
    drawn = secrets.randbits(63) if seed is None else seed
    orders = _orders(methods, questions, random.Random(drawn))
    letters = ascii_uppercase[: len(methods)]
    texts = [[question, *(_plain(answers[method][question]) for method in order)] for question, order in orders]
    batch = hashlib.sha256("\x1e".join("\x1f".join(row) for row in texts).encode()).hexdigest()[:6]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["item", "question", *letters, *(f"rank_{letter}" for letter in letters)])
    items = []
    for number, ((question, order), row) in enumerate(zip(orders, texts, strict=True), 1):
        name = f"{batch}-{number:03d}"
        writer.writerow([name, *map(_cell, row), *([""] * len(letters))])
        items.append({"item": name, "question": question, "order": list(order)})
    key = {"schema": SCHEMA, "criterion": criterion, "seed": drawn, "methods": list(methods), "items": items}
    files = Sheet(
        folder / "sheet.csv",
        folder / "key.json",
        folder / "instructions.txt",
        len(items),
        len(methods),
        _notes(methods, texts),
    )
    write_bytes(files.sheet, stream.getvalue().encode("utf-8-sig"))  # spreadsheets know UTF-8 by its mark
    write_bytes(files.instructions, _instructions(criterion, letters).encode())
    write_json(files.key, key)
    return files


def _check(answers: Mapping[str, Mapping[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    methods = tuple(answers)
    if not 2 <= len(methods) <= len(ascii_uppercase):
        raise TemperamentError(f"answers of {len(methods)} methods cannot be ranked", "give those of 2 to 26")
    questions = tuple(dict.fromkeys(question for own in answers.values() for question in own))
    if not questions:
        raise TemperamentError("there are no answers to rank", "give JSON lines {question, answer}")
    for method, own in answers.items():
        lacking = [question for question in questions if question not in own]
        if lacking:
            raise TemperamentError(
                f"{method!r} has no answer to {len(lacking)} of {len(questions)} questions ({lacking[0][:40]!r})",
                "give every method's answers to the same questions",
            )
    return methods, questions


def _orders(methods: Sequence[str], questions: Sequence[str], draw: random.Random) -> list[tuple[str, tuple[str, ...]]]:
    """Questions in a shuffled order, each with its methods in the order of the columns."""
    shuffled = draw.sample(questions, len(questions))
    orders: list[tuple[str, ...]] = []
    while len(orders) < len(shuffled):
        block = draw.sample(methods, len(methods))
        turns = [tuple(block[turn:] + block[:turn]) for turn in range(len(block))]
        orders += draw.sample(turns, len(turns))
    return list(zip(shuffled, orders, strict=False))


def _plain(text: str) -> str:
    """Without what differs between methods by accident: blanks at the ends and kinds of line ends."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _notes(methods: Sequence[str], texts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    told = sum(any(name.lower() in text.lower() for name in methods) for row in texts for text in row[1:])
    equal = sum(len(set(row[1:])) < len(row) - 1 for row in texts)
    notes = []
    if told:
        notes.append(f"{told} answers hold the name of a method as one of their own words")
    if equal:
        notes.append(f"{equal} items hold the same answer twice: judges should rank these equal")
    return tuple(notes)


def _instructions(criterion: str, letters: str) -> str:
    return (
        f"What to do with sheet.csv\n\nEvery row holds a question and {len(letters)} answers to it, "
        f"{letters[0]} to {letters[-1]}. They come from different sources in an order that changes from row to row.\n\n"
        f"Rank the answers of each row by this: {criterion}\n\n"
        f"Write whole numbers into rank_{letters[0]} … rank_{letters[-1]}: 1 for the first place, up to {len(letters)} "
        "for the last. Answers that are alike may share a number. Leave a row empty if you cannot judge it: it then "
        "does not count. Change nothing else, work alone, and save the file as CSV (UTF-8) under your own name.\n"
    )


@dataclass(frozen=True)
class Rankings:
    """Mid-ranks (judges, items, methods), 1 = first place; nan where a judge left a row incomplete."""

    methods: tuple[str, ...]
    judges: tuple[str, ...]
    ranks: Array
    criterion: str

    @property
    def missing(self) -> dict[str, int]:
        """Number of rows without a complete ranking, by judge."""
        empty = np.isnan(self.ranks).any(axis=2).sum(axis=1)
        return {judge: int(count) for judge, count in zip(self.judges, empty, strict=True)}


def read_rankings(sheets: Sequence[Path], key: Path) -> Rankings:
    """Filled sheets of one key, one judge each (named by its file).

    Equal numbers are ties and share the mean of their places; only the order of the numbers counts, so 1, 1, 2 and
    1, 1, 3 say the same. Rows that are absent or lack a rank are missing. A rank that is no whole number from 1 to
    the number of answers, a ranking without a first place and a foreign item are errors with their line.
    """
    methods, orders, criterion = _read_key(key)
    judges = tuple(path.stem for path in sheets)
    if not sheets or len(set(judges)) < len(judges):
        raise TemperamentError(
            f"{len(judges)} sheets of {len(set(judges))} judges", "give one file per judge, each with its own name"
        )
    places = {item: at for at, item in enumerate(orders)}
    ranks = np.full((len(sheets), len(orders), len(methods)), np.nan)
    for judge, path in enumerate(sheets):
        for line, item, given in _read_sheet(path, len(methods)):
            if item not in places:
                raise TemperamentError(
                    f"{path} line {line}: the key knows no item {item!r}", "give the key of this very sheet"
                )
            if not np.isnan(ranks[judge, places[item]]).all():
                raise TemperamentError(f"{path} line {line}: item {item} stands here twice", "keep one of the rows")
            if given is not None:
                mids = rankdata(given, method="average")
                for letter, method in enumerate(orders[item]):
                    ranks[judge, places[item], methods.index(method)] = mids[letter]
    return Rankings(methods, judges, ranks, criterion)


def _read_key(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], str]:
    try:
        key = json.loads(read_text(path))
        if key["schema"] != SCHEMA:
            raise TemperamentError(f"{path} has schema {key['schema']}, not {SCHEMA}", "use the version that wrote it")
        methods = tuple(key["methods"])
        orders = {str(row["item"]): tuple(row["order"]) for row in key["items"]}
        if len(methods) < 2 or not orders or any(sorted(order) != sorted(methods) for order in orders.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TemperamentError(f"{path} is no key of a ranking", "give the key.json beside the sheet") from None
    return methods, orders, str(key.get("criterion", ""))


def _read_sheet(path: Path, count: int) -> list[tuple[int, str, list[int] | None]]:
    """Line, item and ranks of every row; None for an incomplete one."""
    text = read_text(path)
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    columns = ["item", *(f"rank_{letter}" for letter in ascii_uppercase[:count])]
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        absent = [name for name in columns if name not in header]
        if absent or sum(name.startswith("rank_") for name in header) > count:
            raise TemperamentError(
                f"{path} has not the columns of a sheet with {count} answers", f"expected {', '.join(columns)}"
            )
        at = [header.index(name) for name in columns]
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = [row[place].strip() if place < len(row) else "" for place in at]
                rows.append((reader.line_num, cells[0], _ranks(path, reader.line_num, cells[1:])))
    except csv.Error as error:
        raise TemperamentError(f"{path} line {reader.line_num}: {error}", "save the sheet as CSV again") from None
    return rows


def _ranks(path: Path, line: int, cells: Sequence[str]) -> list[int] | None:
    allowed = {form: rank for rank in range(1, len(cells) + 1) for form in (str(rank), f"{rank}.0", f"{rank},0")}
    for cell in filter(None, cells):
        if cell not in allowed:
            raise TemperamentError(f"{path} line {line}: {cell!r} is no rank", f"write whole numbers 1 to {len(cells)}")
    if not all(cells):
        return None
    ranks = [allowed[cell] for cell in cells]
    if min(ranks) != 1:
        raise TemperamentError(f"{path} line {line}: no answer has rank 1", "give the best answer 1")
    return ranks
