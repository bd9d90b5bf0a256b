"""A prompt that many items share goes through the model once, and every score stays what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support import mixed_contrast

from temperament.calibration import resolve_contrast
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.personas import Persona, Plan, extract
from temperament.signatures import log_probs
from temperament.wear import wear


def statements(lm: LoadedModel) -> list[Encoded]:
    texts = resolve_contrast("extraversion", split="test", limit=5)
    return [lm.encode(item.prompt, item.response) for item in (*texts.plus, *texts.minus)]


def alone(monkeypatch: pytest.MonkeyPatch, lm: LoadedModel, items: list[Encoded]) -> list[float]:
    """Scores without sharing."""
    with monkeypatch.context() as patch:
        patch.setattr(log_probs, "_SHARING", 10**9)
        return [found.total for found in score_responses(lm, items)]


@contextmanager
def lengths(lm: LoadedModel) -> Iterator[list[tuple[int, int]]]:
    """Shapes of the token batches that go through the model."""
    seen: list[tuple[int, int]] = []

    def see(_: object, __: object, given: dict[str, torch.Tensor]) -> None:
        seen.append((given["input_ids"].shape[0], given["input_ids"].shape[1]))

    handle = lm.model.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def test_every_family_scores_the_same(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    items = statements(tiny_model)
    prompt = items[0].start - 1
    with lengths(tiny_model) as seen:
        found = [own.total for own in score_responses(tiny_model, items)]
    assert seen[0] == (1, prompt)
    assert max(length for _, length in seen[1:]) < max(len(item.ids) for item in items) - prompt + 1
    assert found == pytest.approx(alone(monkeypatch, tiny_model, items), rel=1e-4)


def test_items_of_several_prompts_keep_their_places(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    many = statements(tiny_llama)
    other = [
        tiny_llama.encode("What would a friend say about you, if asked?", text) for text in ("Lazy.", "Kind, I hope.")
    ]
    third = [tiny_llama.encode("And a stranger, who has seen you once?", f"Number {n}.") for n in range(5)]
    items = [many[0], other[0], third[0], *many[1:4], *third[1:], other[1], *many[4:]]
    found = [own.total for own in score_responses(tiny_llama, items)]
    assert found == pytest.approx(alone(monkeypatch, tiny_llama, items), rel=1e-4)
    assert len({round(total, 3) for total in found}) > len(items) // 2


@pytest.mark.parametrize("method", ["neurons", "vector", "contrastive-saliency"])
def test_edits_act_at_the_same_positions(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    settings = {"count": 20} if method == "neurons" else {}
    persona = extract(tiny_llama, mixed_contrast(), method=method, settings=settings).plus
    items = statements(tiny_llama)
    unworn = [own.total for own in score_responses(tiny_llama, items)]
    with wear(tiny_llama, 1.5 * persona):
        found = [own.total for own in score_responses(tiny_llama, items)]
        assert found == pytest.approx(alone(monkeypatch, tiny_llama, items), rel=1e-4)
    assert max(abs(a - b) for a, b in zip(found, unworn, strict=True)) > 1e-2


def test_a_worn_prompt_is_shared_too(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with wear(tiny_llama, Plan.of(Persona.from_prompt("You like quiet evenings."))):
        items = statements(tiny_llama)
        with lengths(tiny_llama) as seen:
            found = [own.total for own in score_responses(tiny_llama, items)]
        assert seen[0][1] == items[0].start - 1
        assert found == pytest.approx(alone(monkeypatch, tiny_llama, items), rel=1e-4)


def test_few_items_or_short_prompts_are_not_worth_it(tiny_llama: LoadedModel) -> None:
    few = statements(tiny_llama)[:3]
    short = [Encoded((1, 2, *range(3, 9 + n)), 2) for n in range(6)]
    for items in (few, short):
        with lengths(tiny_llama) as seen:
            score_responses(tiny_llama, items)
        assert all(rows > 1 for rows, _ in seen)
