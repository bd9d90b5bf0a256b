"""Files of generated answers: JSON lines {question, answer}, with ``method`` and ``pole`` where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from temperament.calibration.contrast import POLES, Pole
from temperament.calibration.public import read_rows, text_field
from temperament.errors import TemperamentError
from temperament.evaluation.endpoint_judge import Answered


def read_answered(path: Path, pole: Pole | None, method: str) -> list[Answered]:
    """Answers of a file; a row's own ``pole`` and ``method`` go before those given. An answer may be empty."""
    found = []
    for number, row in read_rows(path, lines=True):
        answer = row.get("answer")
        if not isinstance(answer, str):
            raise TemperamentError(
                f"{path} line {number}: the field 'answer' is missing", "expected a text in 'answer'"
            )
        if answer.strip():
            answer = text_field(path, number, row, "answer")
        shown = row.get("pole", pole)
        if shown not in POLES:
            raise TemperamentError(
                f"{path} line {number}: 'pole' is {shown!r}" if shown else f"{path} names no pole",
                "expected plus or minus in 'pole', or give --pole for the whole file",
            )
        question = text_field(path, number, row, "question")
        found.append(Answered(question, answer.strip(), shown, str(row.get("method") or method)))
    if not found:
        raise TemperamentError(f"{path} holds no answers", "expected JSON lines {question, answer}")
    return found


def by_method(files: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Answers by method and question; a method is named in its rows, or else by its file."""
    result: dict[str, dict[str, str]] = {}
    for path in files:
        for item in read_answered(path, "plus", path.stem):  # the pole plays no part
            answers = result.setdefault(item.method, {})
            if item.question in answers:
                raise TemperamentError(
                    f"{path}: {item.method!r} answers {item.question[:40]!r} twice",
                    "give one answer per question and method",
                )
            answers[item.question] = item.answer
    return result
