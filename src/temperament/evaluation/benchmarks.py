"""Readers of capability benchmarks in their published formats: HellaSwag JSON lines and MMLU csv files."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from temperament.calibration.public import read_rows, read_text, text_field
from temperament.errors import TemperamentError
from temperament.evaluation.instrument import text_digest

LETTERS = "ABCD"

#: A larger share of rows with empty fields is refused; fewer are left out and noted.
_INCOMPLETE_SHARE = 0.02

_ROW = "question, four options, answer (A to D, or 0 to 3)"


@dataclass(frozen=True)
class Question:
    """A context or question with ``options``, the position of the right one, and its subject if there is one."""

    text: str
    options: tuple[str, ...]
    answer: int
    subject: str = ""

    @property
    def key(self) -> str:
        """Identity of question and options, whatever their case and spacing and the options' order."""
        text, *options = (" ".join(part.split()).casefold() for part in (self.text, *self.options))
        return text_digest([text, *sorted(options)])


@dataclass(frozen=True)
class Benchmark:
    """Multiple-choice questions, with worked ``examples`` by subject where the source has them.

    ``scoring`` says what is scored: the ``endings`` themselves as continuations of the context, or the ``letters``
    of options that stand in the prompt. ``notes`` say what the reader left out.
    """

    name: str
    scoring: Literal["endings", "letters"]
    questions: tuple[Question, ...]
    examples: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def limit(self, count: int | None, seed: int = 0) -> Benchmark:
        """A seeded sample of ``count`` questions, in their order; it depends on the texts alone."""
        if count is None:
            return self
        if count < 1:
            raise TemperamentError(f"the limit is {count} questions", "give 1 or more")
        ordered = sorted(self.questions, key=lambda question: question.key)
        chosen = {question.key for question in random.Random(seed).sample(ordered, min(count, len(ordered)))}
        return replace(self, questions=tuple(question for question in self.questions if question.key in chosen))


def read_hellaswag(path: Path, *, limit: int | None = None, seed: int = 0) -> Benchmark:
    """Read JSON lines of {ctx, endings, label}; a row with ctx_a, ctx_b and activity_label is put together of these.

    Headings in square brackets, left by the articles the data come from, are dropped, as the field's standard
    harness does (lm-eval, task hellaswag 1.0).
    """
    questions = []
    for number, row in read_rows(path, lines=True):
        endings = row.get("endings")
        if not isinstance(endings, list) or len(endings) < 2:
            raise TemperamentError(f"{path} line {number}: 'endings' is no list of texts", "expected two or more texts")
        options = tuple(_clean(text_field(path, number, {"endings": ending}, "endings")) for ending in endings)
        if not all(options):
            raise TemperamentError(f"{path} line {number}: an ending is empty", "expected a text in each")
        answer = _label(path, number, row.get("label"), len(options))
        questions.append(Question(_clean(_context(path, number, row)), options, answer))
    return _finish("hellaswag", "endings", path, questions).limit(limit, seed)


def _context(path: Path, number: int, row: dict[str, Any]) -> str:
    if not row.get("ctx_a") or not row.get("activity_label"):
        return text_field(path, number, row, "ctx")
    opening = text_field(path, number, row, "ctx_b").capitalize() if row.get("ctx_b") else ""
    return f"{text_field(path, number, row, 'activity_label')}: {text_field(path, number, row, 'ctx_a')} {opening}"


def _clean(text: str) -> str:
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ").strip()


def _label(path: Path, number: int, value: Any, options: int) -> int:
    try:
        answer = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else -1
    except ValueError:
        answer = -1
    if answer not in range(options):
        raise TemperamentError(
            f"{path} line {number}: 'label' is {value!r}",
            f"expected the number of the right ending, 0 to {options - 1} (published test files have none: use val)",
        )
    return answer


def read_mmlu(path: Path, *, limit: int | None = None, seed: int = 0) -> Benchmark:
    """Read one csv file, or a folder of ``SUBJECT_test.csv``, ``SUBJECT_val.csv`` and ``SUBJECT_dev.csv`` files.

    Rows are question, four options, answer (letter, or position from 0), with or without a line of names. Asked are
    the test files, else the val files, else the dev files; where others are asked, the dev rows are the worked
    examples of their subject.
    """
    parts = _mmlu_files(path)
    asked = next(part for part in ("test", "val", "dev") if parts.get(part))
    incomplete: list[str] = []
    questions = [question for file in parts[asked] for question in _mmlu_rows(file, incomplete)]
    if len(incomplete) > _INCOMPLETE_SHARE * (len(questions) + len(incomplete)):
        raise TemperamentError(f"{incomplete[0]}: a field is empty", f"expected {_ROW}")
    notes = [f"{len(incomplete)} rows with an empty field left out ({incomplete[0]})"] if incomplete else []
    examples: dict[str, tuple[Question, ...]] = {}
    for file in parts.get("dev", ()) if asked != "dev" else ():
        examples[_subject(file)] = tuple(_mmlu_rows(file, []))
    return _finish("mmlu", "letters", path, questions, examples, notes).limit(limit, seed)


def _mmlu_files(path: Path) -> dict[str, list[Path]]:
    if path.is_file():
        return {"test": [path]}
    parts: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*.csv")):
        parts.setdefault(file.stem.rpartition("_")[2], []).append(file)
    parts = {part: parts[part] for part in ("test", "val", "dev") if part in parts}
    if not parts:
        raise TemperamentError(
            f"{path} holds no MMLU files", "expected SUBJECT_test.csv, SUBJECT_val.csv or SUBJECT_dev.csv in it"
        )
    return parts


def _subject(file: Path) -> str:
    stem, mark, part = file.stem.rpartition("_")
    return (stem if mark and part in ("test", "val", "dev") else file.stem).replace("_", " ")


def _mmlu_rows(file: Path, incomplete: list[str]) -> Iterator[Question]:
    """The questions of one file; where a row with an empty field stands goes to ``incomplete``."""
    for number, cells in _csv_rows(file):
        if len(cells) != 6:
            raise TemperamentError(f"{file} line {number}: {len(cells)} fields", f"expected 6: {_ROW}")
        *texts, answer = (cell.strip() for cell in cells)
        if number == 1 and answer.casefold() in ("answer", "target"):
            continue
        if not all(texts):
            incomplete.append(f"{file} line {number}")
            continue
        if len(answer) != 1 or answer not in f"{LETTERS}0123":
            raise TemperamentError(f"{file} line {number}: the answer is {answer!r}", "expected A to D, or 0 to 3")
        position = LETTERS.index(answer) if answer in LETTERS else int(answer)
        yield Question(texts[0], tuple(texts[1:]), position, _subject(file))


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line on which it begins."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    begin = 1
    try:
        for cells in reader:
            if cells:
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise TemperamentError(f"{file} line {begin}: {error}", "check the quotes of this row") from None


def _finish(
    name: str,
    scoring: Literal["endings", "letters"],
    path: Path,
    questions: Sequence[Question],
    examples: Mapping[str, tuple[Question, ...]] | None = None,
    notes: Sequence[str] = (),
) -> Benchmark:
    if not questions:
        raise TemperamentError(f"{path} holds no questions", f"give a file of {name} in its published format")
    once = {question.key: question for question in reversed(questions)}
    kept = tuple(question for question in questions if once[question.key] is question)
    if len(kept) < len(questions):
        notes = [*notes, f"{len(questions) - len(kept)} repeated questions left out"]
    return Benchmark(name, scoring, kept, examples or {}, tuple(notes))
