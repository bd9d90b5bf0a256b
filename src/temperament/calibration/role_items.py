"""Role dialogues as test items: multiple choice (who said this, which reply fits), and reference answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

from temperament.calibration.public import read_rows, text_field
from temperament.errors import TemperamentError

#: ``who``: the options are names, ``question`` is a line somebody said. ``reply``: the options answer ``question``.
Kind = Literal["who", "reply"]

_KINDS: dict[str, Kind] = {"who": "who", "reply": "reply"}
_CHOICE = "expected JSON lines {role, question, options: [text, ...], answer: number from 0, letter or text}"
_REFERENCE = "expected JSON lines {role, question, generated: [text, ...]}"


@dataclass(frozen=True)
class RoleChoice:
    """A multiple-choice item about ``role``; ``answer`` is the position of the right option.

    ``profile`` says who the people are; a prompt may give it or leave it out.
    """

    role: str
    kind: Kind
    question: str
    options: tuple[str, ...]
    answer: int
    profile: str = ""


@dataclass(frozen=True)
class RoleReference:
    """A question put to ``role`` and the answers that count as in role; ``type`` is the file's own label."""

    role: str
    question: str
    answers: tuple[str, ...]
    type: str = ""


def read_role_items(path: Path) -> tuple[RoleChoice, ...] | tuple[RoleReference, ...]:
    """Items of a JSON lines (or JSON) file; the format is told from its first row.

    Multiple choice: ``role``, ``question``, ``options`` (two or more different texts) and ``answer`` (position from 0,
    letter from A, or the option's text); optional ``profile`` and ``kind``, ``reply`` (default) or ``who``, whose
    ``question`` is the line and whose options are names. RoleBench: ``role``, ``question``, ``generated`` (a list of
    reference answers) and optional ``type``. Raises with the line number of what is wrong.
    """
    rows = list(read_rows(path, lines=True))
    if not rows:
        raise TemperamentError(f"{path} holds no items", f"{_CHOICE}, or {_REFERENCE}")
    number, first = rows[0]
    if "options" in first:
        return tuple(_choice(path, number, row) for number, row in rows)
    if "generated" in first:
        return tuple(_reference(path, number, row) for number, row in rows)
    raise TemperamentError(
        f"{path} line {number}: there is neither 'options' nor 'generated'", f"{_CHOICE}, or {_REFERENCE}"
    )


def _choice(path: Path, number: int, row: dict[str, Any]) -> RoleChoice:
    role, question = text_field(path, number, row, "role"), text_field(path, number, row, "question")
    options = _texts(path, number, row, "options", _CHOICE)
    if len(options) < 2 or len(set(options)) < len(options):
        raise TemperamentError(
            f"{path} line {number}: {len(options)} options, {len(set(options))} different",
            "give two or more, all different",
        )
    kind = _KINDS.get(str(row.get("kind") or "reply"))
    if kind is None:
        remedy = "expected who or reply, or no such field"
        raise TemperamentError(f"{path} line {number}: 'kind' is {row.get('kind')!r}", remedy)
    profile = text_field(path, number, row, "profile") if row.get("profile") else ""
    answer = _position(row.get("answer"), options)
    if answer is None:
        raise TemperamentError(
            f"{path} line {number}: 'answer' is {row.get('answer')!r}",
            f"expected 0 to {len(options) - 1}, A to {ascii_uppercase[min(len(options), 26) - 1]}, or an option's text",
        )
    return RoleChoice(role, kind, question, options, answer, profile)


def _position(answer: Any, options: Sequence[str]) -> int | None:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(options) else None
    if not isinstance(answer, str):
        return None
    text = answer.strip()
    if text in options:
        return options.index(text)
    letter = text.strip("().").upper()
    position = ascii_uppercase.find(letter) if len(letter) == 1 else -1
    return position if 0 <= position < len(options) else None


def _reference(path: Path, number: int, row: dict[str, Any]) -> RoleReference:
    role, question = text_field(path, number, row, "role"), text_field(path, number, row, "question")
    answers = _texts(path, number, row, "generated", _REFERENCE)
    return RoleReference(role, question, answers, str(row.get("type") or ""))


def _texts(path: Path, number: int, row: dict[str, Any], key: str, expected: str) -> tuple[str, ...]:
    values = row.get(key)
    if not isinstance(values, list) or not values:
        raise TemperamentError(f"{path} line {number}: {key!r} is no list of texts", expected)
    return tuple(text_field(path, number, {key: value}, key) for value in values)
