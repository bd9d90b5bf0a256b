"""Checks of situational questions that need no model: form, yes/no, the trait's name, and near-duplicates."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from temperament.calibration.balance import words

#: Token-set ratio from which two questions count as the same.
SAME = 0.8

_YES_NO = re.compile(
    r"(?:do|does|did|is|are|was|were|will|would|can|could|should|have|has|had|may|might|shall)(?:n't)?\s+"
    r"(?:you|it|there|this|that|he|she|they|we|your)\b",
    re.IGNORECASE,
)
_ASKING = re.compile(r"\b(?:how|what|which|who|whom|whose|why|where|when|describe|tell|explain|say)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")
_LENGTH = (8, 90)


def fault(question: str, named: Collection[str]) -> str | None:
    """What is wrong with a question, or None; no word in it may begin with one of ``named`` (lower case).

    Its last sentence must ask openly: a question that yes or no would answer, and one that lists options, are faulty.
    """
    spoken = words(question)
    if not _LENGTH[0] <= len(spoken) <= _LENGTH[1]:
        return f"has {len(spoken)} words, not {_LENGTH[0]} to {_LENGTH[1]}"
    if "\n" in question or re.search(r"(?:^|\s)\(?[abAB1][).]\s", question):
        return "lists options to choose from"
    told = [word for word in named if re.search(rf"\b{re.escape(word)}", question.lower())]
    if told:
        return f"names what it looks for ({told[0]})"
    last = _SENTENCE.findall(question.strip())[-1].strip()
    asked = re.split(r",\s+", last)
    if any(_YES_NO.match(part) for part in asked) and not _ASKING.search(last):
        return "can be answered with yes or no"
    if not (last.endswith("?") or _ASKING.search(last)):
        return "asks nothing"
    return None


def token_set_ratio(first: str, second: str) -> float:
    """2 · common words / words of both, each word once; 1 for the same set of words, in any order."""
    a, b = frozenset(words(first)), frozenset(words(second))
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def distinct(questions: Sequence[str], ratio: float = SAME) -> list[int]:
    """Positions of the questions to keep: the first of every group with a token-set ratio of ``ratio`` or more.

    Only questions that share one of their rarest words are compared, which finds every such pair: of two sets with
    that much in common the rarest |a| − ⌈|a| · ratio / (2 − ratio)⌉ + 1 words of both cannot be disjoint.
    """
    sets = [frozenset(words(question)) for question in questions]
    counts = Counter(word for own in sets for word in own)
    by_word: dict[str, list[int]] = defaultdict(list)
    kept = []
    seen_empty = False
    for at, own in enumerate(sets):
        rare = sorted(own, key=lambda word: (counts[word], word))
        prefix = rare[: len(own) - math.ceil(len(own) * ratio / (2 - ratio) - 1e-9) + 1]
        near = {other for word in prefix for other in by_word[word]}
        same = any(2 * len(own & sets[other]) >= ratio * (len(own) + len(sets[other])) for other in near)
        if same or (not own and seen_empty):
            continue
        seen_empty = seen_empty or not own
        kept.append(at)
        for word in prefix:
            by_word[word].append(at)
    return kept
