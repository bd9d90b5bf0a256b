"""Readers of PersonalityBench files, and of our own form of the same: descriptions to act out, and questions.

Descriptions: JSON lines with one text per pole, either ``{"plus": …, "minus": …}`` or one field per trait and pole
(``Openness``, ``Openness_reversed`` …). Questions: one a line, or JSON lines with a ``question``; search items also
name their trait in ``BFI``.
"""

from __future__ import annotations

from pathlib import Path

from temperament.calibration.contrast import Pole
from temperament.calibration.public import read_rows, read_text, text_field
from temperament.errors import TemperamentError

#: What a field name of the low pole ends in.
_REVERSED = "_reversed"


def read_descriptions(path: Path, trait: str | None = None) -> dict[Pole, tuple[str, ...]]:
    """Descriptions of both poles; ``trait`` picks one where the file holds several (in any spelling of case)."""
    rows = list(read_rows(path, lines=True))
    if not rows:
        raise TemperamentError(f"{path} holds no descriptions", 'expected JSON lines {"plus": …, "minus": …}')
    number, first = rows[0]
    if {"plus", "minus"} <= set(first):
        keys = ("plus", "minus")
    else:
        traits = [key for key in first if f"{key}{_REVERSED}" in first]
        if not traits:
            raise TemperamentError(
                f"{path} line {number}: no descriptions of two poles",
                f'expected {{"plus": …, "minus": …}}, or fields such as Openness and Openness{_REVERSED}',
            )
        found = next((key for key in traits if trait and key.lower() == trait.lower()), None)
        if found is None:
            raise TemperamentError(
                f"{path} describes {', '.join(traits)}, " + (f"not {trait!r}" if trait else "and no trait was chosen"),
                f"put the trait after a #, such as {path.name},QUESTIONS#{traits[0]}",
            )
        keys = (found, f"{found}{_REVERSED}")
    plus, minus = (tuple(text_field(path, number, row, key) for number, row in rows) for key in keys)
    return {"plus": plus, "minus": minus}


def read_questions(path: Path, trait: str | None = None) -> tuple[str, ...]:
    """Situational questions, repeated ones left out; of search items only those of ``trait``."""
    if path.suffix.lower() == ".txt":
        found = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    else:
        rows = list(read_rows(path, lines=True))
        named = {str(row["BFI"]) for _, row in rows if "BFI" in row}
        if named and not (trait and trait.lower() in {name.lower() for name in named}):
            raise TemperamentError(
                f"{path} holds questions on {', '.join(sorted(named))}, "
                + (f"not on {trait!r}" if trait else "and no trait was chosen"),
                f"put the trait after a #, such as DESCRIPTIONS,{path.name}#{sorted(named)[0]}",
            )
        wanted = [
            (number, row) for number, row in rows if "BFI" not in row or str(row["BFI"]).lower() == str(trait).lower()
        ]
        found = [text_field(path, number, row, "question") for number, row in wanted]
    if not found:
        raise TemperamentError(f"{path} holds no questions", "expected one a line, or JSON lines with a question")
    return tuple(dict.fromkeys(found))
