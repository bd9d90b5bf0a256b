"""What a model is asked while questions are built, and how its replies are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temperament.calibration.contrast import Pole
from temperament.calibration.facets import Facet

Dialogue = list[dict[str, str]]

_ROLE = (
    "You write material for the study of character. Everything is in plain English, concrete and varied. You reply "
    "with one JSON object and nothing else."
)


@dataclass(frozen=True)
class Cell:
    """One facet in one direction, met in one topic."""

    facet: Facet
    pole: Pole
    topic: str

    @property
    def behaviour(self) -> str:
        return self.facet.plus if self.pole == "plus" else self.facet.minus


def describe(trait: str, facets: Sequence[Facet], focus: Facet, number: int, part: int) -> Dialogue:
    """Ask for pairs of descriptions of people at either end; ``part`` tells requests with the same focus apart."""
    sides = "\n".join(f"- {facet.name}: one will {facet.plus}; the other will {facet.minus}" for facet in facets)
    return _dialogue(
        f"Two kinds of people stand at the two ends of one trait ({trait}):\n{sides}\n\n"
        f"Write {number} pairs of descriptions (set {part}). In each pair “plus” describes the first kind of person "
        "and “minus” the second. Both speak to the person (“You are …”, “You …”), in 40 to 70 words, about equally "
        "long, and cover several of the points above, with the most room for "
        f"{focus.name}. Neither sounds better than the other. Every pair starts differently and has its own examples "
        "from life.\n\n"
        'Form: {"descriptions": [{"plus": "…", "minus": "…"}, …]}'
    )


def question(cell: Cell, number: int, known: Sequence[str]) -> Dialogue:
    """Ask for situational questions of a cell, other than those already ``known``."""
    earlier = "\n".join(f"- {text}" for text in known)
    avoid = f"\n\nThese exist already; write about other situations:\n{earlier}" if known else ""
    return _dialogue(
        f"Some people {cell.facet.plus}; others {cell.facet.minus}. We want to see which kind someone is without "
        f"asking. Write {number} questions about {cell.topic}. Each puts the reader into one small, definite "
        f"situation, told in one to three sentences, in which a person could well {cell.behaviour}, and just as well "
        "do the opposite. It ends with one open question on what they do, say, think or feel. Nothing hints at which "
        "reply is better, no options are listed, yes or no is no answer to it, and neither the quality itself nor any "
        f"name for it is mentioned.{avoid}\n\n"
        'Form: {"questions": ["…", …]}'
    )


def refine(cell: Cell, questions: Sequence[str], faults: Sequence[str | None]) -> Dialogue:
    """Ask for a check and, where needed, a new wording of each question; ``faults`` are those already found."""
    listed = "\n".join(
        f"{number}. {text}" + (f" [fault: {fault}]" if fault else "")
        for number, (text, fault) in enumerate(zip(questions, faults, strict=True), 1)
    )
    return _dialogue(
        f"Below are questions meant to show, through how someone reacts, whether they rather {cell.facet.plus} or "
        f"rather {cell.facet.minus}. Check every one:\n"
        "- Does it push towards one reply, or praise one? Reword it evenly.\n"
        "- Could yes or no, or a choice from a list, answer it? Make it open.\n"
        f"- Does it speak of “{cell.facet.name}”, or of any other name for the quality? Show the situation instead.\n"
        "- Is it the same situation as another one in the list? Give it a new one.\n"
        "- Would both kinds of people answer it alike? Sharpen the situation.\n"
        "Leave a question without fault word for word as it is. Give null for one that cannot be mended.\n\n"
        f"{listed}\n\n"
        'Form: {"questions": [{"number": 1, "question": "…"}, …], one entry for every number}'
    )


def again(dialogue: Dialogue, reply: str) -> Dialogue:
    """The dialogue after a reply of the wrong form."""
    return [
        *dialogue,
        {"role": "assistant", "content": reply[:2000]},
        {"role": "user", "content": "That is not in the form asked for. Reply once more, with the JSON object alone."},
    ]


def _dialogue(text: str) -> Dialogue:
    return [{"role": "system", "content": _ROLE}, {"role": "user", "content": text}]


def read_descriptions_reply(text: str) -> list[tuple[str, str]] | None:
    """Pairs of descriptions, or None where the reply is not of the form asked for."""
    rows = _list_in(text, "descriptions")
    pairs = [(_text(row.get("plus")), _text(row.get("minus"))) for row in rows or () if isinstance(row, dict)]
    whole = [(plus, minus) for plus, minus in pairs if plus and minus]
    return whole if rows and len(whole) == len(rows) else None


def read_questions_reply(text: str) -> list[str] | None:
    """Questions, or None."""
    rows = _list_in(text, "questions")
    found = [_text(row.get("question") if isinstance(row, dict) else row) for row in rows or ()]
    return found if found and all(found) else None


def read_refined_reply(text: str, number: int) -> list[str | None] | None:
    """The new wording of each of ``number`` questions, None for one given up; None unless all are there once."""
    rows = _list_in(text, "questions")
    found: dict[Any, str | None] = {}
    for row in rows or ():
        if not isinstance(row, dict) or "question" not in row or row.get("number") not in range(1, number + 1):
            return None
        found[row["number"]] = _text(row["question"]) or None
    return [found[at] for at in range(1, number + 1)] if len(found) == number == len(rows or ()) else None


def _list_in(text: str, name: str) -> list[Any] | None:
    """The list under ``name`` in the first JSON object of the text."""
    begin = text.find("{")
    try:
        value, _ = json.JSONDecoder().raw_decode(text, max(begin, 0))
    except (ValueError, RecursionError):
        return None
    rows = value.get(name) if isinstance(value, dict) else None
    return rows if isinstance(rows, list) else None


def _text(value: Any) -> str:
    """One line of text, or nothing."""
    if not isinstance(value, str):
        return ""
    return " ".join(value.encode("utf-8", "ignore").decode().split())
