"""Readers of published file formats and of our own; a row becomes examples, or an error with its line number."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from temperament.calibration.contrast import (
    NEUTRAL_PROMPT,
    SPLITS,
    Choice,
    Contrast,
    Example,
    Pole,
    Split,
    group_key,
    unique,
)
from temperament.errors import TemperamentError

Row = tuple[int, dict[str, Any]]

#: A csv file with a larger share of rows with empty fields is refused; fewer are left out and noted.
_INCOMPLETE_SHARE = 0.02

#: Options at the end of a question, each on its own line; else anywhere.
_LETTERED = (
    re.compile(r"(?:\A|\n)\s*\(A\)\s*(?P<a>(?:(?!\n\s*\(A\)).)+?)\s*\n\s*\(B\)\s*(?P<b>.+?)\s*\Z", re.DOTALL),
    re.compile(r"\(A\)\s*(?P<a>.+?)\s*\(B\)\s*(?P<b>.+?)\s*\Z", re.DOTALL),
)
_HEADING = re.compile(r"[\s*_]*choices:[\s*_]*\Z", re.IGNORECASE)

#: JSON can spell one half of a UTF-16 pair alone, which no encoding can write.
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")

FORMATS = (
    "own JSON lines {pole: plus|minus, prompt, response}, "
    "persona statements {statement, answer_matching_behavior: Yes|No}, "
    "lettered choices {question with (A) and (B), answer_matching_behavior: (A)|(B)}, "
    "csv question,matching,not_matching, csv question,A,B,matching, "
    "or two files PLUS,MINUS of one statement a line or of [{instruction, input, output}]"
)


class _Collector:
    """Examples and choices in the order they were read."""

    def __init__(self) -> None:
        self.plus: list[Example] = []
        self.minus: list[Example] = []
        self.choices: list[Choice] = []
        self.incomplete: list[int] = []
        self.splits: dict[str, Split | None] = {}

    def add(self, pole: Pole, example: Example) -> None:
        (self.plus if pole == "plus" else self.minus).append(example)

    def add_choice(self, question: str, options: tuple[str, str], matching: int) -> None:
        """A two-choice row; its options double as the two poles' responses."""
        self.choices.append(Choice(question, options, matching, group=question))
        self.add("plus", Example(question, options[matching], group=question))
        self.add("minus", Example(question, options[1 - matching], group=question))


def read_contrast(path: Path) -> Contrast:
    """Read one file that holds both poles; the format is told from its first row."""
    rows = list(read_rows(path))
    if not rows:
        raise TemperamentError(f"{path} holds no data", f"expected {FORMATS}")
    number, first = rows[0]
    reader = next((reader for keys, reader in _READERS if keys <= set(first)), None)
    if reader is None and {"domain", "key", "text"} <= set(first):
        raise TemperamentError(
            f"{path} is a questionnaire, and questionnaire items are test data",
            "calibrate on other texts, such as a built-in contrast, and keep the items for measuring transfer",
        )
    if reader is None:
        raise TemperamentError(
            f"{path} line {number}: no known format has the fields {', '.join(map(str, first)) or '(none)'}",
            f"expected {FORMATS}",
        )
    collector = _Collector()
    for number, row in rows:
        if path.suffix.lower() == ".csv" and not all(value.strip() for value in row.values()):
            collector.incomplete.append(number)  # published csv files hold a few such rows
        else:
            reader(path, number, row, collector)
    if len(collector.incomplete) > len(rows) * _INCOMPLETE_SHARE:
        count = f"{len(collector.incomplete)} of {len(rows)} rows"
        raise TemperamentError(
            f"{path} line {collector.incomplete[0]}: a field is empty, as in {count}",
            f"expected a text in each of {', '.join(first)}",
        )
    return _finish(path.stem, path, collector)


def read_pair(plus: Path, minus: Path) -> Contrast:
    """Read two files, one per pole: statements one a line, or JSON lists of {instruction, input, output}."""
    collector = _Collector()
    sides: tuple[tuple[Pole, Path], ...] = (("plus", plus), ("minus", minus))
    for pole, path in sides:
        if path.suffix.lower() in (".json", ".jsonl"):
            for number, row in read_rows(path):
                instruction = text_field(path, number, row, "instruction")
                output = text_field(path, number, row, "output")
                extra = text_field(path, number, row, "input") if str(row.get("input") or "").strip() else ""
                prompt = f"{instruction}\n{extra}" if extra else instruction
                collector.add(pole, Example(prompt, output, group=prompt))
        else:
            for line in read_text(path).split("\n"):
                if line.strip():
                    collector.add(pole, Example(NEUTRAL_PROMPT, line.strip(), group=line.strip()))
    return _finish(f"{plus.stem}-{minus.stem}", plus, collector)


def read_text(path: Path) -> str:
    """A UTF-8 text file, or an error that says what is wrong with it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise TemperamentError(f"{path} line {line}: not UTF-8 text", "save the file as UTF-8") from None
    except OSError as error:
        raise TemperamentError(f"{path} cannot be read: {error.strerror}", "check the path") from None


def _finish(name: str, path: Path, collector: _Collector) -> Contrast:
    plus, minus, choices = unique(collector.plus), unique(collector.minus), unique(collector.choices)
    for pole, examples in (("plus", plus), ("minus", minus)):
        if not examples:
            raise TemperamentError(f"{path} has no {pole} examples", "a contrast needs texts for both poles")
    notes: list[str] = []
    if collector.incomplete:
        lines = ", ".join(map(str, collector.incomplete[:5]))
        notes.append(f"{len(collector.incomplete)} rows with an empty field left out (line {lines})")
    repeated = len(collector.plus) + len(collector.minus) - len(plus) - len(minus)
    if repeated:
        notes.append(f"{repeated} repeated texts left out")
    both = {example.text for example in plus} & {example.text for example in minus}
    if both:
        notes.append(f"{len(both)} texts that stand in both poles left out")
        plus, minus = (tuple(example for example in pole if example.text not in both) for pole in (plus, minus))
    if not plus or not minus:
        raise TemperamentError(
            f"every text of one pole of {path} stands in the other pole too", "give texts that differ"
        )
    return Contrast(name=name, plus=plus, minus=minus, choices=choices, notes=tuple(notes))


def read_rows(path: Path, *, lines: bool = False) -> Iterator[Row]:
    """Rows of a csv, JSON or JSON lines file as objects, each with its line number.

    With ``lines`` a .json file that holds no list is read as JSON lines.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise TemperamentError(
                        f"{path} line {reader.line_num}: {len(reader.fieldnames or ())} fields expected "
                        f"({', '.join(reader.fieldnames or ())})",
                        "quote fields that hold commas",
                    )
                yield reader.line_num, row
        except csv.Error as error:
            begin = reader.line_num + 1  # the last good row ended one line before
            raise TemperamentError(f"{path} line {begin}: {error}", "check the quotes of this row") from None
    elif path.suffix.lower() == ".json" and not (lines and not text.lstrip().startswith("[")):
        rows = _json(path, 1, text, "a list of objects")
        if not isinstance(rows, list):
            raise TemperamentError(f"{path} line 1: a JSON {type(rows).__name__}", "expected a list of objects")
        for row, number in zip(rows, _entry_lines(text), strict=False):
            yield number, _object(path, number, row)
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, _object(path, number, _json(path, number, line, "one JSON object a line"))


def _json(path: Path, number: int, text: str, expected: str) -> Any:
    """The JSON value of ``text``, which begins on line ``number`` of the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        number, reason = number + error.lineno - 1, error.msg
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or nested that deep
        reason = str(error)
    raise TemperamentError(f"{path} line {number}: not JSON ({reason})", f"expected {expected}")


def _entry_lines(text: str) -> Iterator[int]:
    """The line on which each entry of a JSON list begins."""
    decoder, line, counted, position = json.JSONDecoder(), 1, 0, text.index("[") + 1
    while True:
        while text[position] in ", \t\r\n":
            position += 1
        line, counted = line + text.count("\n", counted, position), position
        yield line
        _, position = decoder.raw_decode(text, position)


def _object(path: Path, number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise TemperamentError(
            f"{path} line {number}: a JSON {type(row).__name__}", "expected an object with named fields"
        )
    return row


def text_field(path: Path, number: int, row: dict[str, Any], key: str) -> str:
    """The text in a field of a row; an error with the line number if there is none."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TemperamentError(
            f"{path} line {number}: the field {key!r} is missing or empty", f"expected a text in {key!r}"
        )
    if _HALF_CHARACTER.search(value):
        raise TemperamentError(f"{path} line {number}: {key!r} holds half a UTF-16 pair", "expected whole characters")
    return value.strip()


def _answer(path: Path, number: int, row: dict[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = text_field(path, number, row, key)
    if value not in allowed:
        raise TemperamentError(f"{path} line {number}: {key!r} is {value!r}", f"expected {' or '.join(allowed)}")
    return value


def _own(path: Path, number: int, row: dict[str, Any], collector: _Collector) -> None:
    pole: Pole = "plus" if _answer(path, number, row, "pole", ("plus", "minus")) == "plus" else "minus"
    prompt, response = text_field(path, number, row, "prompt"), text_field(path, number, row, "response")
    split: Split | None = row.get("split")
    if split is not None and split not in SPLITS[:3]:
        raise TemperamentError(
            f"{path} line {number}: 'split' is {split!r}", f"expected {', '.join(SPLITS[:3])} or no such field"
        )
    group = response if prompt == NEUTRAL_PROMPT else prompt
    earlier = collector.splits.setdefault(group, split)
    if earlier != split:
        raise TemperamentError(
            f"{path} line {number}: {group[:40]!r} has the split {split or 'none'} here and {earlier or 'none'} above",
            "expected one split for all rows with the same prompt",
        )
    collector.add(pole, Example(prompt, response, group=group, split=split))


def _statement(path: Path, number: int, row: dict[str, Any], collector: _Collector) -> None:
    statement = text_field(path, number, row, "statement")
    answer = _answer(path, number, row, "answer_matching_behavior", ("Yes", "No"))
    collector.add("plus" if answer == "Yes" else "minus", Example(NEUTRAL_PROMPT, statement, group=statement))


def _lettered(path: Path, number: int, row: dict[str, Any], collector: _Collector) -> None:
    question = text_field(path, number, row, "question")
    answer = _answer(path, number, row, "answer_matching_behavior", ("(A)", "(B)", "A", "B"))
    found = _LETTERED[0].search(question) or _LETTERED[1].search(question)
    if found is None:
        raise TemperamentError(
            f"{path} line {number}: 'question' has no options", "expected '... (A) ... (B) ...' in it"
        )
    stem = _HEADING.sub("", question[: found.start()]).strip()
    collector.add_choice(stem, (found["a"].strip(), found["b"].strip()), "AB".index(answer.strip("()")))


def _matching_pair(path: Path, number: int, row: dict[str, Any], collector: _Collector) -> None:
    question = text_field(path, number, row, "question")
    pair = text_field(path, number, row, "matching"), text_field(path, number, row, "not_matching")
    matching = group_key(question).encode()[0] % 2  # the matching answer is A as often as B, whatever the file's order
    collector.add_choice(question, pair if matching == 0 else (pair[1], pair[0]), matching)


def _two_choice(path: Path, number: int, row: dict[str, Any], collector: _Collector) -> None:
    question = text_field(path, number, row, "question")
    options = (text_field(path, number, row, "A"), text_field(path, number, row, "B"))
    collector.add_choice(question, options, "AB".index(_answer(path, number, row, "matching", ("A", "B"))))


_READERS: tuple[tuple[set[str], Callable[[Path, int, dict[str, Any], _Collector], None]], ...] = (
    ({"pole", "prompt", "response"}, _own),
    ({"statement", "answer_matching_behavior"}, _statement),
    ({"question", "answer_matching_behavior"}, _lettered),
    ({"question", "matching", "not_matching"}, _matching_pair),
    ({"question", "A", "B", "matching"}, _two_choice),
)
