"""What is scored: test statements, two-choice items and neutral passages; and the scores one plan gives them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from temperament.atomic import write_bytes
from temperament.calibration import Choice, Contrast, Example
from temperament.calibration.choices import two_choice_items
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.perplexity import encode_passages
from temperament.evaluation.score import Score, score_responses
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded

#: Kinds of items, each needed by some measures.
KINDS = ("statements", "choices", "passages")


@dataclass(frozen=True)
class TestSet:
    """Items by kind; a kind that no measure asks for stays empty."""

    __test__ = False
    high: tuple[Example, ...]
    low: tuple[Example, ...]
    choices: tuple[Choice, ...]
    passages: tuple[str, ...]

    @staticmethod
    def of(contrast: Contrast, passages: tuple[str, ...], kinds: frozenset[str]) -> TestSet:
        return TestSet(
            contrast.plus if "statements" in kinds else (),
            contrast.minus if "statements" in kinds else (),
            two_choice_items(contrast) if "choices" in kinds else (),
            passages if "passages" in kinds else (),
        )

    def __len__(self) -> int:
        """Responses to score, about: a long passage may take more than one window."""
        return len(self.high) + len(self.low) + 2 * len(self.choices) + len(self.passages)

    @property
    def hash(self) -> str:
        """SHA-256 over all items in order."""
        parts = [example.text for example in (*self.high, *self.low)]
        parts += [f"{choice.text}\x1f{choice.matching}" for choice in self.choices]
        return hashlib.sha256("\x1e".join([*parts, *self.passages]).encode()).hexdigest()


@dataclass(frozen=True)
class SideScores:
    """Scores of one plan.

    ``statements`` (high then low,) in nats/token; ``choices`` (items, 2, 2); ``passages`` (windows, 2).
    """

    statements: Array
    choices: Array
    passages: Array


def score_side(lm: LoadedModel, test: TestSet, progress: Callable[[int], None] | None = None) -> SideScores:
    """Score all items under what ``lm`` wears now."""
    statements = [_encode(lm, example.prompt, example.response) for example in (*test.high, *test.low)]
    options = [_encode(lm, choice.prompt, option) for choice in test.choices for option in choice.options]
    windows = encode_passages(lm, test.passages)
    scores = iter(score_responses(lm, [*statements, *options, *windows], progress))

    def take(count: int) -> list[Score]:
        return [next(scores) for _ in range(count)]

    return SideScores(
        np.array([score.per_token for score in take(len(statements))]),
        np.array([[score.total, score.per_token] for score in take(len(options))]).reshape(-1, 2, 2),
        np.array([[score.total, score.tokens] for score in take(len(windows))]).reshape(-1, 2),
    )


def _encode(lm: LoadedModel, prompt: str, response: str) -> Encoded:
    item = lm.encode(prompt, response)
    if len(item.ids) <= item.start:
        raise TemperamentError(
            f"the test prompt {prompt[:50]!r} fills all {lm.max_tokens} tokens of the model, so no answer fits",
            "shorten it, or the system prompt that is worn",
        )
    return item


def records(side: str, test: TestSet, scores: SideScores) -> Iterator[dict[str, object]]:
    """One JSON-ready record per item."""
    poles = ["plus"] * len(test.high) + ["minus"] * len(test.low)
    for pole, example, value in zip(poles, (*test.high, *test.low), scores.statements.tolist(), strict=True):
        yield {
            "side": side,
            "kind": "statement",
            "pole": pole,
            "prompt": example.prompt,
            "response": example.response,
            "nats_per_token": value,
        }
    for choice, options in zip(test.choices, scores.choices.tolist(), strict=True):
        yield {
            "side": side,
            "kind": "choice",
            "prompt": choice.prompt,
            "options": choice.options,
            "matching": choice.matching,
            "log_probability": [option[0] for option in options],
            "nats_per_token": [option[1] for option in options],
        }
    for index, (total, tokens) in enumerate(scores.passages.tolist()):
        yield {"side": side, "kind": "passage", "window": index, "log_probability": total, "tokens": int(tokens)}


def save_records(path: Path, side: str, test: TestSet, scores: SideScores) -> None:
    """Write the records of one side as JSON lines, atomically."""
    lines = (json.dumps(record, ensure_ascii=False) for record in records(side, test, scores))
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def load_records(path: Path, test: TestSet, windows: int) -> SideScores | None:
    """Scores of a finished side, or None if the file is absent, damaged or does not fit the items."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        statements = [row["nats_per_token"] for row in rows if row["kind"] == "statement"]
        choices = [
            [*zip(row["log_probability"], row["nats_per_token"], strict=True)]
            for row in rows
            if row["kind"] == "choice"
        ]
        passages = [[row["log_probability"], row["tokens"]] for row in rows if row["kind"] == "passage"]
        scores = SideScores(
            np.array(statements, dtype=float),
            np.array(choices, dtype=float).reshape(-1, 2, 2),
            np.array(passages, dtype=float).reshape(-1, 2),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    parts = (scores.statements, scores.choices, scores.passages)
    fits = [len(part) for part in parts] == [len(test.high) + len(test.low), len(test.choices), windows]
    if not fits or not all(np.isfinite(part).all() for part in parts):
        return None
    expected = json.loads(json.dumps(list(records(str(rows[0].get("side")), test, scores))))
    return scores if rows == expected else None
