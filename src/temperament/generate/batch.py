"""Answers to many questions in one batch, each row in what it wears."""

from __future__ import annotations

from collections.abc import Sequence

from temperament.errors import TemperamentError
from temperament.generate.chat import check_dialogue, decode
from temperament.models import LoadedModel
from temperament.models.generation import generate_ids


def generate(
    lm: LoadedModel,
    prompts: Sequence[str],
    *,
    max_tokens: int = 128,
    seed: int | None = None,
    temperature: float = 0.8,
    repetition_penalty: float = 1.1,
    use_cache: bool = True,
) -> list[str]:
    """One answer per question, as ``chat`` gives it for a single one; greedy, or sampled with a ``seed``.

    Inside ``wear([plan, None, ...])`` row i wears plan i.
    """
    if isinstance(prompts, str):
        raise TemperamentError("one question was given, not a list of them", "use chat, or put it in a list")
    if lm.rows_worn not in (0, len(prompts)):
        raise TemperamentError(
            f"{len(prompts)} questions, but {lm.rows_worn} plans are worn, one per row", "give one question per plan"
        )
    if not prompts:
        return []
    rows = [check_dialogue(lm, (("user", prompt),), max_tokens) for prompt in prompts]
    answers = generate_ids(
        lm,
        rows,
        max_tokens=min(max_tokens, lm.max_tokens - max(map(len, rows))),
        repetition_penalty=repetition_penalty,
        seed=seed,
        temperature=temperature,
        use_cache=use_cache,
    )
    return [decode(lm, answer) for answer in answers]
