"""Neutral passages of three uses that share nothing, and the scripts of a long conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from test_builtin_texts import FIRST_PERSON, TRAIT_WORDS, all_questions, all_statements

from temperament.calibration.balance import words
from temperament.calibration.builtin import neutral_texts
from temperament.evaluation.drift_scripts import drift_scripts
from temperament.evaluation.perplexity import neutral_passages

SETS = {
    "calibration": neutral_texts(),
    "validation": neutral_passages(split="validation"),
    "test": neutral_passages(),
}


def shingles(texts: Sequence[str], length: int = 8) -> set[str]:
    found = set()
    for text in texts:
        tokens = words(text)
        found |= {" ".join(tokens[begin : begin + length]) for begin in range(len(tokens) - length + 1)}
    return found


def openings(texts: Sequence[str]) -> set[str]:
    """Subjects, roughly: the nouns of a first sentence stand among its first longer words."""
    return {" ".join([word for word in words(text) if len(word) > 3][:3]) for text in texts}


# --- neutral passages ------------------------------------------------------------------------------------------------


def test_counts() -> None:
    assert {name: len(texts) for name, texts in SETS.items()} == {"calibration": 60, "validation": 40, "test": 28}


@pytest.mark.parametrize("name", ["calibration", "validation"])
def test_passages_are_neutral_prose_of_one_paragraph(name: str) -> None:
    for text in SETS[name]:
        assert text == text.strip()
        assert 60 <= len(words(text)) <= 110, text
        assert text.endswith(".")
        assert not FIRST_PERSON & {word.split("'")[0] for word in words(text)}, text
        assert not {"you", "your", "yours"} & set(words(text)), text
        assert not set('!?"') & set(text), text
        assert not TRAIT_WORDS.search(text.lower()), text


def test_the_three_sets_share_no_passage_and_no_eight_words_in_a_row() -> None:
    passages = [" ".join(words(text)) for texts in SETS.values() for text in texts]
    assert len(passages) == len(set(passages)) == 128
    for first, second in combinations(SETS.values(), 2):
        assert shingles(first).isdisjoint(shingles(second))
        assert openings(first).isdisjoint(openings(second))
    assert shingles([SETS["test"][0]]) & shingles(SETS["test"])


@pytest.mark.parametrize("name", SETS)
def test_a_set_does_not_repeat_itself(name: str) -> None:
    found = [shingles([text]) for text in SETS[name]]
    assert all(first.isdisjoint(second) for first, second in combinations(found, 2))


def test_a_file_of_ones_own_is_read_whatever_the_split(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("one two three four five six seven eight\n", encoding="utf-8")
    assert (
        neutral_passages(path, "validation") == neutral_passages(path) == ("one two three four five six seven eight",)
    )


# --- scripts ---------------------------------------------------------------------------------------------------------


def test_scripts_have_ten_turns_and_every_turn_invites_an_answer() -> None:
    scripts = drift_scripts()
    assert len(scripts) == len({script.name for script in scripts}) == 4
    for script in scripts:
        assert len(script.turns) == 10
        for turn in script.turns:
            assert turn == turn.strip()
            assert 10 <= len(words(turn)) <= 45, turn
            assert turn[-1] in ".?!", turn
            assert re.search(r"\byou(?:rs?|'d)?\b", turn.lower()), turn
            assert re.search(r"\?|\btell me\b", turn.lower()), turn
            assert not TRAIT_WORDS.search(turn.lower()), turn


def test_turns_are_new() -> None:
    turns = [turn for script in drift_scripts() for turn in script.turns]
    plain = [" ".join(words(turn)) for turn in turns]
    assert len(set(plain)) == 40
    others = [*all_questions(), *all_statements(), *(text for texts in SETS.values() for text in texts)]
    assert set(plain).isdisjoint(" ".join(words(text)) for text in others)
    assert shingles(turns, 6).isdisjoint(shingles(all_questions(), 6))
