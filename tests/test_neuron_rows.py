"""A list of plans, one per row of a batch: every row is what it is alone under its own plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from expect import counted_passes, refused
from support import hooks, logits, mixed_contrast, tokens
from torch import Tensor
from wearing import Worn, agree, alike, edited, left_as_found, neurons, padded, write

import temperament.wear.neurons as neuron_module
from temperament.calibration import resolve_contrast
from temperament.evaluation.score import score_responses
from temperament.language_model import LanguageModel
from temperament.models import load_model
from temperament.models.dialogue import Encoded
from temperament.personas import Persona, extract
from temperament.wear.neurons import NeuronRow

QUESTIONS = ("Who are you?", "Hm?", "What do you do on a Friday night, and with whom?", "Why?")


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def model(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]) -> LanguageModel:
    loaded: LanguageModel = load_model(
        str(tiny_folders[request.param]), dtype="float32", device="cpu", factory=LanguageModel
    )
    return loaded


@pytest.fixture(scope="module", params=["published", "released"])
def personas(request: pytest.FixtureRequest, model: LanguageModel) -> tuple[Persona, Persona, Persona]:
    """Both poles of one contrast and one of another."""
    settings = {"count": 6, "gamma": 2.0, "variant": request.param}
    found = extract(model, mixed_contrast(), method="neurons", settings=settings)
    other = extract(model, resolve_contrast("openness", limit=6), method="neurons", settings=settings)
    return found.plus, other.plus, found.minus


@pytest.fixture
def plans(personas: tuple[Persona, Persona, Persona]) -> list[Worn]:
    a, b, c = personas
    return [a, None, c, 0.5 * a + b]


@pytest.fixture
def lm(model: LanguageModel) -> Iterator[LanguageModel]:
    """A model that every test must leave as it was found."""
    with left_as_found(model):
        yield model


# Every row for itself


@pytest.mark.parametrize("start", [None, 0, 4, [0, 5, 8, 2]])
def test_a_forward_pass(lm: LanguageModel, plans: list[Worn], start: int | list[int] | None) -> None:
    ids = tokens(10, rows=4)

    def run(rows: Tensor, begin: int | list[int] | None) -> Tensor:
        if begin is None:
            return logits(lm, rows)
        with lm.responding(torch.tensor(begin) if isinstance(begin, list) else begin):
            return logits(lm, rows)

    with lm.wear(plans):
        together = run(ids, start)
    base = run(ids, start)
    for row, plan in enumerate(plans):
        with lm.wear(plan):
            alone = run(ids[row : row + 1], [start[row]] if isinstance(start, list) else start)
        agree(together[row], alone[0])
        assert alike(together[row], base[row]) == (plan is None)


def test_a_row_without_a_plan_keeps_its_values_bit_by_bit(lm: LanguageModel, plans: list[Worn]) -> None:
    ((raw, found),) = edited(lm, plans, lambda: logits(lm, tokens(10, rows=4)))
    assert torch.equal(raw[1].view(torch.int32), found[1].view(torch.int32))
    assert all(not torch.equal(raw[row], found[row]) for row in (0, 2, 3))


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_from_prompts_of_different_lengths(lm: LanguageModel, plans: list[Worn], use_cache: bool) -> None:
    rows = [tokens(count, seed=count) for count in (9, 20, 5, 14)]
    ids, mask = padded(rows)
    with lm.wear(plans):
        together = write(lm, ids, mask=mask, use_cache=use_cache)
    for row, plan in enumerate(plans):
        with lm.wear(plan):
            alone = write(lm, rows[row], use_cache=use_cache)
        assert torch.equal(together.tokens[row], alone.tokens[0])
        agree(together.logits[row], alone.logits[0])
        assert torch.allclose(write(lm, rows[row]).logits, alone.logits, atol=1e-3) == (plan is None)


def test_answers_are_those_of_single_chats(lm: LanguageModel, plans: list[Worn]) -> None:
    with lm.wear(plans):
        together = lm.generate(QUESTIONS, max_tokens=12)
        assert lm.generate(QUESTIONS, max_tokens=12, use_cache=False) == together
    for question, plan, answer in zip(QUESTIONS, plans, together, strict=True):
        with lm.wear(plan):
            assert lm.chat(question, max_tokens=12) == answer


def test_one_question_in_every_persona(lm: LanguageModel, plans: list[Worn]) -> None:
    with lm.wear(plans):
        found = logits(lm, tokens(10).expand(4, -1))
    assert all(not torch.allclose(found[i], found[j], atol=1e-3) for i in range(4) for j in range(i))


def test_a_row_does_not_depend_on_what_the_others_wear(lm: LanguageModel, plans: list[Worn]) -> None:
    ids = tokens(10, rows=4)
    with lm.wear(plans):
        found = logits(lm, ids)
    others: list[Worn] = [plans[0], plans[2], None, plans[0]]
    with lm.wear(others):
        changed = logits(lm, torch.cat([ids[:1], tokens(10, seed=9, rows=3)]))
    torch.testing.assert_close(changed[0], found[0], rtol=1e-5, atol=1e-5)
    with lm.wear(list(reversed(plans))):
        torch.testing.assert_close(logits(lm, ids.flip(0)).flip(0), found, rtol=1e-5, atol=1e-5)


def test_strength_multiplies_every_row(lm: LanguageModel, plans: list[Worn]) -> None:
    ids = tokens(10, rows=4)
    with lm.wear(plans, 0.3):
        found = logits(lm, ids)
    with lm.wear([None if plan is None else 0.3 * plan for plan in plans]):
        assert torch.equal(logits(lm, ids), found)
    base = logits(lm, ids)
    with lm.wear(plans, 0):
        assert torch.equal(logits(lm, ids), base)
        assert (lm.worn, hooks(lm.model)) == ((), 0)


def test_plans_that_recur_share_a_line_of_the_tables(
    lm: LanguageModel, personas: tuple[Persona, Persona, Persona], monkeypatch: pytest.MonkeyPatch
) -> None:
    combined: list[NeuronRow] = []
    combine = neuron_module.combine

    def counting(row: NeuronRow, width: int) -> tuple[Tensor, Tensor]:
        combined.append(row)
        return combine(row, width)

    monkeypatch.setattr(neuron_module, "combine", counting)
    a, b, _ = personas
    again = replace(a, edit=replace(neurons(a)))  # an equal edit, as two files with the same content hold
    ids = tokens(10, rows=8)
    with lm.wear([a, b, None, a, 1.0 * again, b, None, 0.5 * b]):
        found = logits(lm, ids)
        assert lm.rows_worn == 8
    assert set(combined) == {((a.edit, 1.0),), ((b.edit, 1.0),), (), ((b.edit, 0.5),)}
    assert len(combined) == 4
    for row, plan in enumerate((a, b, None, a, a, b, None, 0.5 * b)):
        with lm.wear(plan):
            agree(logits(lm, ids[row : row + 1])[0], found[row])


def test_none_everywhere_is_the_base(lm: LanguageModel) -> None:
    ids = tokens(10, rows=3)
    base = logits(lm, ids)
    with lm.wear([None, None, None]):
        assert torch.equal(logits(lm, ids), base)
        assert (lm.worn, hooks(lm.model)) == ((), 0)


def test_labels_name_the_row(lm: LanguageModel, plans: list[Worn]) -> None:
    with lm.wear(plans):
        assert lm.worn == ("row 0: 1*mixed-plus", "row 2: 1*mixed-minus", "row 3: 0.5*mixed-plus + 1*openness-plus")
        assert lm.rows_worn == 4
    assert lm.rows_worn == 0


# Nesting


def test_one_plan_inside_rows_and_rows_inside_one_plan(
    lm: LanguageModel, plans: list[Worn], personas: tuple[Persona, Persona, Persona]
) -> None:
    ids, b = tokens(10, rows=4), personas[1]
    sums: list[Worn] = [0.7 * b if plan is None else 0.7 * b + plan for plan in plans]
    with lm.wear(sums):
        expected = logits(lm, ids)
    with lm.wear(0.7 * b):
        uniform = logits(lm, ids)
        with lm.wear(plans):
            assert torch.equal(logits(lm, ids), expected)
        assert torch.equal(logits(lm, ids), uniform)
        assert lm.rows_worn == 0
    with lm.wear(plans):
        rows = logits(lm, ids)
        with lm.wear(0.7 * b):
            torch.testing.assert_close(logits(lm, ids), expected, rtol=1e-6, atol=1e-6)
            assert lm.rows_worn == 4
        assert torch.equal(logits(lm, ids), rows)
    assert not torch.allclose(expected, rows, atol=1e-3)
    assert not torch.allclose(expected, uniform, atol=1e-3)


def test_rows_inside_rows(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    a, b, c = personas
    ids = tokens(10, rows=3)
    with lm.wear([a + 0.5 * b, 1.0 * b, 1.0 * c]):
        expected = logits(lm, ids)
    with lm.wear([a, None, c]), lm.wear([0.5 * b, b, None]):
        assert torch.equal(logits(lm, ids), expected)
    with lm.wear([a, b, c]), lm.wear([-1 * a, None, -1.0 * c]):
        found = logits(lm, ids)
    with lm.wear([None, b, None]):
        assert torch.equal(logits(lm, ids), found)


def test_rows_of_different_lengths_are_refused(
    lm: LanguageModel, plans: list[Worn], personas: tuple[Persona, Persona, Persona]
) -> None:
    ids = tokens(10, rows=4)
    with lm.wear(plans):
        found = logits(lm, ids)
        for inner in ([personas[1]] * 3, [personas[1], None]):
            with refused(f"{len(inner)} plans", "a block that has 4", "give equally many"), lm.wear(inner):
                pass
        assert torch.equal(logits(lm, ids), found)


# Refusals


@pytest.mark.parametrize("rows", [1, 3, 5, 8])
def test_a_batch_of_another_size_is_refused(lm: LanguageModel, plans: list[Worn], rows: int) -> None:
    with lm.wear(plans):
        with refused("4 plans are worn, one per row", f"the batch has {rows} rows", "one plan per row"):
            logits(lm, tokens(5, rows=rows))
        with refused("4 plans are worn", f"the batch has {rows} rows"):
            write(lm, tokens(5, rows=rows))
        with counted_passes(lm) as passes, refused(f"{rows} questions, but 4 plans", "one question per plan"):
            lm.generate(["Hm?"] * rows)
        assert passes == []
        assert lm.response_start is None


def test_no_questions_are_no_match_for_plans(lm: LanguageModel, plans: list[Worn]) -> None:
    assert lm.generate([]) == []
    with refused("0 questions, but 4 plans"), lm.wear(plans):
        lm.generate([])


def test_a_single_chat_is_refused_under_plans_for_rows(lm: LanguageModel, plans: list[Worn]) -> None:
    with refused("4 plans are worn, one per row", "the batch has 1 rows"), lm.wear(plans):
        lm.chat("Hm?", max_tokens=2)


def test_scoring_is_refused(lm: LanguageModel, plans: list[Worn]) -> None:
    items = [Encoded(tuple(tokens(8)[0].tolist()), 4)] * 4
    with counted_passes(lm) as passes, refused("scored under one plan", "wear one plan"), lm.wear(plans):
        score_responses(lm, items)
    assert passes == []
    with lm.wear([None, None]):
        assert score_responses(lm, items)[0] == score_responses(lm, items[:1])[0]


def test_a_list_of_one_plan_is_for_a_single_row(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    """Like every list: it must not be worn by all rows of a larger batch."""
    ids = tokens(10, rows=2)
    with lm.wear(personas[0]):
        expected = logits(lm, ids[:1])
    with lm.wear([personas[0]]):
        assert torch.equal(logits(lm, ids[:1]), expected)
        with refused("the batch has 2 rows"):
            logits(lm, ids)
        with refused("2 questions"):
            lm.generate(["Hm?", "Why?"])


def test_an_empty_list_is_refused(lm: LanguageModel) -> None:
    with refused("no plans", "one plan, or None, per row"), lm.wear([]):
        pass


def test_only_neurons_differ_by_row(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    """Masks and prompts are for the whole batch; strength 0 wears nothing."""
    mask, prompt = extract(lm, mixed_contrast()).plus.renamed("masked"), Persona.from_prompt("Be shy.", "shy")
    for persona, kind in ((mask, "mask"), (prompt, "prompt")):
        lists: list[tuple[list[Worn], int]] = [([persona], 0), ([None, persona], 1), ([None, personas[1] + persona], 1)]
        for rows, row in lists:
            with refused(f"row {row} wears {persona.name!r}, a {kind} persona", "outside the list"), lm.wear(rows):
                pass
        with lm.wear([None, 0 * persona]):
            assert hooks(lm.model) == 0
    ids = tokens(10, rows=2)
    with lm.wear(mask):
        with lm.wear(personas[0]):
            expected = logits(lm, ids)[1]
        base = logits(lm, ids)[0]
        with lm.wear([None, personas[0]]):
            agree(logits(lm, ids), torch.stack([base, expected]))
