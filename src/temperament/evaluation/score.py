"""Log-probabilities of given responses, summed over their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.signatures.log_probs import log_prob_batches


@dataclass(frozen=True)
class Score:
    """Log-probability of one response: its sum in nats and its number of tokens.

    ``greedy`` tells whether every token was the likeliest; None where it was not asked for.
    """

    total: float
    tokens: int
    greedy: bool | None = None

    @property
    def per_token(self) -> float:
        """Mean log-probability in nats per token."""
        return self.total / self.tokens


def score_responses(lm: LoadedModel, items: Sequence[Encoded]) -> list[Score]:
    """Score every item under whatever ``lm`` wears; batch neighbours have no influence."""
    scores: dict[int, Score] = {}
    for done in score_batches(lm, items):
        scores.update(done)
    return [scores[index] for index in range(len(items))]


def score_batches(
    lm: LoadedModel, items: Sequence[Encoded], *, tokens: int = 2048, rows: int = 64, greedy: bool = False
) -> Iterator[list[tuple[int, Score]]]:
    """As ``score_responses``, batch by batch: (position, score) of the items just done, longest first.

    A forward pass takes at most ``tokens`` padded tokens and ``rows`` sequences (see ``log_prob_batches``).
    """
    if lm.rows_worn:
        raise TemperamentError("responses are scored under one plan, but one per row is worn", "wear one plan")
    for done in log_prob_batches(lm, items, tokens=tokens, rows=rows, greedy=greedy):
        yield [(found.index, Score(float(found.values.sum()), len(found.values), found.greedy)) for found in done]
