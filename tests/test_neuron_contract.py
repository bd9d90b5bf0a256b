"""The contract of neuron personas on every family: Eq. 4 and nothing else, from the response on, and no trace left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from support import bits, hooks, logits, mixed_contrast, same, tokens
from tiny import DENSE
from torch import Tensor
from transformers import DynamicCache
from wearing import Written, agree, bare, by_hand, edited, neurons, padded, strip, write

from temperament.evaluation.score import score_responses
from temperament.methods.neurons import Variant
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import Encoded
from temperament.models.generation import generate_ids
from temperament.personas import Persona, extract, open_persona
from temperament.wear import wear

VARIANTS: tuple[Variant, ...] = ("published", "released")
CASES = [(family, variant) for family in DENSE for variant in VARIANTS]

PROMPT = 20  # tokens, more than the sliding windows of the tiny models hold


@dataclass(frozen=True)
class Case:
    """A model and the two neuron personas of it; ``late`` is 1 where edits begin one position later."""

    lm: LoadedModel
    plus: Persona
    minus: Persona
    late: int

    def poles(self) -> tuple[tuple[Persona, int], ...]:
        return (self.plus, 1), (self.minus, -1)


@pytest.fixture(scope="module")
def models(tiny_folders: dict[str, Path]) -> dict[str, LoadedModel]:
    return {family: load_model(str(path), dtype="float32", device="cpu") for family, path in tiny_folders.items()}


def made(lm: LoadedModel, variant: Variant) -> Case:
    found = extract(lm, mixed_contrast(), method="neurons", settings={"count": 5, "gamma": 2.0, "variant": variant})
    return Case(lm, found.plus, found.minus, int(variant == "released"))


def guarded(case: Case) -> Iterator[Case]:
    """A case whose model every test must leave as it was found."""
    before = bits(case.lm.model)
    assert bare(case.lm)
    yield case
    clean = bare(case.lm) and same(bits(case.lm.model), before)
    strip(case.lm)
    assert clean


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def extracted(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> Case:
    family, variant = request.param
    return made(models[family], variant)


@pytest.fixture
def case(extracted: Case) -> Iterator[Case]:
    """Every family and variant."""
    yield from guarded(extracted)


@pytest.fixture(scope="module", params=DENSE)
def extracted_published(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> Case:
    return made(models[request.param], "published")


@pytest.fixture
def published(extracted_published: Case) -> Iterator[Case]:
    """Every family; no raise is left out, so that Eq. 4 holds everywhere."""
    yield from guarded(extracted_published)


# What an edit does


def test_each_pole_has_its_neurons(case: Case) -> None:
    edit = neurons(case.plus)
    assert (int(edit.neurons.on(1).sum()), int(edit.neurons.on(-1).sum())) == (5, 5)
    assert neurons(case.minus) == edit
    assert edit.widths == (48, 48)
    assert (edit.variant == "released") == case.late


@pytest.mark.parametrize("strength", [1.0, 0.25, 3.0])
def test_an_edit_is_equation_4_and_touches_nothing_else(published: Case, strength: float) -> None:
    """A strength between scales both parts; one above 1 raises further, but lowers no more than all of it."""
    ids = tokens(12, rows=2)
    for persona, sign in published.poles():
        edit = neurons(persona)
        ((raw, found),) = edited(published.lm, persona, lambda: logits(published.lm, ids), strength)
        expected = by_hand(edit, raw, sign, strength)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        others = torch.ones(raw.shape[-1], dtype=torch.bool)
        others[edit.neurons.index] = False
        assert torch.equal(found[..., others].view(torch.int32), raw[..., others].view(torch.int32))
        lowered = edit.neurons.index[edit.neurons.on(-sign)]
        assert bool((raw[..., lowered] > 0).any())
        if strength >= 1:
            assert torch.equal(found[..., lowered], raw[..., lowered].clamp_max(0))


def test_f_can_be_left_out(published: Case) -> None:
    edit = replace(neurons(published.plus), weighted=False)
    persona = replace(published.plus, edit=edit)
    ((raw, found),) = edited(published.lm, persona, lambda: logits(published.lm))
    raised, by = edit.neurons.index[edit.neurons.on(1)], 2.0 * edit.neurons.a95[edit.neurons.on(1)]
    torch.testing.assert_close(found[..., raised] - raw[..., raised], by.expand(1, 12, 5), rtol=1e-4, atol=1e-5)


def test_an_edit_acts_from_the_last_prompt_position_on(published: Case) -> None:
    """The position that predicts the first response token; one for all rows, or one per row."""
    ids, edit = tokens(12, rows=2), neurons(published.plus)
    for start in (0, 5, 11, torch.tensor([3, 3]), torch.tensor([0, 11]), torch.tensor([7, 12])):

        def run(start: int | Tensor = start) -> None:
            with published.lm.responding(start):
                logits(published.lm, ids)

        ((raw, found),) = edited(published.lm, published.plus, run)
        inside = torch.arange(12) >= torch.as_tensor(start).reshape(-1, 1)
        expected = torch.where(inside.unsqueeze(-1), by_hand(edit, raw, 1), raw)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        outside = ~inside.expand(2, 12)
        assert torch.equal(found[outside].view(torch.int32), raw[outside].view(torch.int32))


def test_nothing_is_edited_before_the_response(case: Case) -> None:
    """The released variant begins one position later than the published one."""
    ids = tokens(12, rows=2)
    for start in (0, 5, torch.tensor([4, 9])):

        def run(start: int | Tensor = start) -> None:
            with case.lm.responding(start):
                logits(case.lm, ids)

        ((raw, found),) = edited(case.lm, case.plus, run)
        first = torch.as_tensor(start).expand(2) + case.late
        changed = (raw != found).any(-1)
        assert torch.equal(changed, torch.arange(12) >= first.unsqueeze(1))


def test_without_a_declared_start_every_position_is_edited(case: Case) -> None:
    ((raw, found),) = edited(case.lm, case.plus, lambda: logits(case.lm))
    assert bool((raw != found).any(-1).all())


def test_generation_declares_its_prompt(case: Case) -> None:
    """One pass over the prompt, of which the last position alone is edited, then one pass per token."""
    ids = tokens(PROMPT, seed=6)
    for options in ({}, {"inputs": ids}, {"input_ids": ids}):
        arguments: dict[str, Any] = {"do_sample": False, "min_new_tokens": 3, "max_new_tokens": 3, **options}

        def run(arguments: dict[str, Any] = arguments, given: bool = bool(options)) -> None:
            case.lm.model.generate(*([] if given else [ids]), **arguments)  # type: ignore[operator]

        passes = edited(case.lm, case.plus, run)
        changed = [(raw != found).any(-1)[0].tolist() for raw, found in passes]
        assert changed == [[False] * (PROMPT - 1) + [not case.late], [True], [True]]


def test_wearing_changes_the_logits_and_leaving_restores_them(case: Case) -> None:
    base = logits(case.lm)
    with wear(case.lm, case.plus):
        plus = logits(case.lm)
        assert case.lm.worn == ("1*mixed-plus",)
    with wear(case.lm, case.minus):
        minus = logits(case.lm)
    assert torch.equal(logits(case.lm), base)
    assert not torch.allclose(plus, base, atol=1e-3)
    assert not torch.allclose(minus, base, atol=1e-3)
    assert not torch.allclose(plus, minus, atol=1e-3)


def test_strength_zero_is_the_base(case: Case) -> None:
    base = logits(case.lm)
    for plan, strength in ((case.plus, 0.0), (0 * case.plus + 0.0 * case.minus, 1.0), (-0.0 * case.plus, 2.0)):
        with wear(case.lm, plan, strength):
            assert (hooks(case.lm.model), case.lm.worn) == (0, ())
            assert torch.equal(logits(case.lm), base)


def test_a_negative_strength_wears_the_opposite_pole(case: Case) -> None:
    for own, other in ((case.plus, case.minus), (case.minus, case.plus)):
        for strength in (1.0, 0.4, 2.5):
            with wear(case.lm, own, -strength):
                found = logits(case.lm)
            with wear(case.lm, other, strength):
                assert torch.equal(logits(case.lm), found)


def test_strengths_multiply(case: Case) -> None:
    with wear(case.lm, case.plus, 0.25):
        quarter = logits(case.lm)
    with wear(case.lm, -0.5 * case.plus, -0.5):
        assert torch.equal(logits(case.lm), quarter)
    with wear(case.lm, case.plus):
        assert not torch.allclose(logits(case.lm), quarter, atol=1e-3)
    assert not torch.allclose(logits(case.lm), quarter, atol=1e-4)


def test_save_and_load(case: Case, tmp_path: Path) -> None:
    for persona, _ in case.poles():
        with wear(case.lm, persona, 0.8):
            expected = logits(case.lm)
        loaded = open_persona(persona.save(tmp_path / f"{persona.pole}.persona"))
        assert loaded.edit == persona.edit
        with wear(case.lm, loaded, 0.8):
            assert torch.equal(logits(case.lm), expected)


def test_another_model_is_refused(case: Case, fresh_llama: LoadedModel) -> None:
    fresh_llama.weight(fresh_llama.linears[0])[0, 0] += 1
    with refused("mixed-plus", "weights are not those of", "extract the persona again"), wear(fresh_llama, case.plus):
        pass
    assert bare(fresh_llama)


@pytest.mark.parametrize("widths", [(96,), (40, 56), (48, 48, 48)])
def test_neurons_of_other_widths_are_refused(case: Case, widths: tuple[int, ...]) -> None:
    stranger = replace(case.plus, edit=replace(neurons(case.plus), widths=widths))
    with (
        refused(f"{len(widths)} layers with {sum(widths)} neurons", "the model has 2 with 96"),
        wear(case.lm, stranger),
    ):
        pass


# Taking off


class UnforeseenError(Exception):
    """An error that nothing in the library expects."""


@pytest.mark.parametrize("error", [UnforeseenError, KeyboardInterrupt])
def test_taken_off_after_an_error_inside_the_block(case: Case, error: type[BaseException]) -> None:
    base = logits(case.lm)
    with suppress(error), wear(case.lm, case.plus), case.lm.responding(3):
        assert not torch.equal(logits(case.lm), base)
        assert hooks(case.lm.model)
        raise error
    assert bare(case.lm)
    assert torch.equal(logits(case.lm), base)


@pytest.mark.parametrize("error", [UnforeseenError, KeyboardInterrupt])
def test_taken_off_after_an_error_inside_a_generation(case: Case, error: type[BaseException]) -> None:
    class Streamer:
        def put(self, _: Tensor) -> None:
            raise error

        def end(self) -> None:
            """The protocol of streamers wants it."""

    with pytest.raises(error), wear(case.lm, case.plus):
        write(case.lm, tokens(5), streamer=Streamer())
    assert bare(case.lm)


def test_blocks_that_end_out_of_order(case: Case) -> None:
    """Generators can end an outer block first; its edit then comes off when the inner one does."""
    base = logits(case.lm)
    outer, inner = wear(case.lm, case.plus), wear(case.lm, case.minus, 0.5)
    outer.__enter__()
    inner.__enter__()
    both = logits(case.lm)
    outer.__exit__(None, None, None)
    assert torch.equal(logits(case.lm), both)
    inner.__exit__(None, None, None)
    assert bare(case.lm)
    assert torch.equal(logits(case.lm), base)


def test_a_generate_of_ones_own_is_put_back(case: Case) -> None:
    def own(*_: Any, **__: Any) -> str:
        return f"begins at {case.lm.response_start}"

    case.lm.model.generate = own  # type: ignore[assignment]
    try:
        with wear(case.lm, case.plus), wear(case.lm, case.minus):
            assert case.lm.model.generate(tokens(4)) == "begins at 3"  # type: ignore[operator]
        assert vars(case.lm.model)["generate"] is own
    finally:
        vars(case.lm.model).pop("generate")


# Agreement between the ways to run a model


def worn_and_written(case: Case, ids: Tensor, **options: Any) -> Written:
    with wear(case.lm, case.plus):
        return write(case.lm, ids, **options)


def test_generation_does_not_depend_on_the_cache(case: Case) -> None:
    ids = tokens(PROMPT, seed=3)
    cached, uncached = (worn_and_written(case, ids, use_cache=use) for use in (True, False))
    assert torch.equal(cached.tokens, uncached.tokens)
    agree(cached.logits, uncached.logits)
    assert not torch.allclose(write(case.lm, ids).logits, cached.logits, atol=1e-3)


def test_scoring_a_response_agrees_with_writing_it(case: Case) -> None:
    ids = tokens(PROMPT, seed=3)
    written = worn_and_written(case, ids)
    whole = torch.cat([ids, written.tokens], 1)
    for start in (PROMPT - 1, torch.tensor([PROMPT - 1])):
        with wear(case.lm, case.plus), case.lm.responding(start):
            scored = logits(case.lm, whole)
        agree(scored[:, PROMPT - 1 : -1], written.logits)
    with wear(case.lm, case.plus):
        everywhere = logits(case.lm, whole)
    assert not torch.allclose(everywhere[:, PROMPT - 1 : -1], written.logits, atol=1e-3)


def test_reading_in_chunks_agrees_with_one_pass(case: Case) -> None:
    """The response begins within a chunk, with its first and with its last token; in every row for itself."""
    ids = tokens(PROMPT + 6, seed=5, rows=2)
    for start in (PROMPT - 1, torch.tensor([PROMPT - 1, 7])):
        with wear(case.lm, case.plus), case.lm.responding(start), torch.no_grad():
            full = logits(case.lm, ids)
            for chunk in (2, 6, 19, 20):
                cache = DynamicCache(config=case.lm.model.config)
                parts = [
                    case.lm.model(input_ids=part, past_key_values=cache, use_cache=True).logits
                    for part in torch.split(ids, chunk, 1)
                ]
                agree(torch.cat(parts, 1), full)


@pytest.mark.parametrize(
    "options", [{"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 3}, {"prefill_chunk_size": 4}]
)
def test_other_caches_and_decoders_write_the_same(published: Case, options: dict[str, Any]) -> None:
    """A cache of fixed length, several guessed tokens read in one pass, a prompt read in chunks."""
    ids = tokens(PROMPT, seed=3)
    with wear(published.lm, published.plus):
        arguments = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0, **options}
        found = published.lm.model.generate(ids, min_new_tokens=8, max_new_tokens=8, **arguments)  # type: ignore[operator]
    assert torch.equal(found[:, PROMPT:], worn_and_written(published, ids).tokens)


def test_left_padding_is_neutral(case: Case) -> None:
    rows = [tokens(7, seed=1), tokens(PROMPT, seed=2), tokens(12, seed=3)]
    ids, mask = padded(rows)
    for use_cache in (True, False):
        together = worn_and_written(case, ids, mask=mask, use_cache=use_cache)
        for index, row in enumerate(rows):
            alone = worn_and_written(case, row, use_cache=use_cache)
            assert torch.equal(together.tokens[index], alone.tokens[0])
            agree(together.logits[index], alone.logits[0])


def test_answers_in_a_batch_are_those_of_single_requests(case: Case) -> None:
    prompts = [tokens(count, seed=count)[0].tolist() for count in (9, PROMPT, 14)]
    with wear(case.lm, case.minus):
        together = generate_ids(case.lm, prompts, max_tokens=8, repetition_penalty=1.15)
        assert [generate_ids(case.lm, [p], max_tokens=8, repetition_penalty=1.15)[0] for p in prompts] == together
        assert generate_ids(case.lm, prompts, max_tokens=8, repetition_penalty=1.15, use_cache=False) == together


def test_scores_of_a_batch_are_those_of_single_responses(case: Case) -> None:
    """Right-padded, each response beginning elsewhere; a single one scored from the logits of one pass."""
    lengths = ((4, 9), (12, 3), (18, 1), (1, 20), (7, 7))
    items = [Encoded(tuple(tokens(prompt + new, seed=prompt)[0].tolist()), prompt) for prompt, new in lengths]
    with wear(case.lm, case.plus):
        together = score_responses(case.lm, items)
        alone = [score_responses(case.lm, [item])[0] for item in items]
        for item, score, single in zip(items, together, alone, strict=True):
            with case.lm.responding(item.start - 1):
                chances = logits(case.lm, torch.tensor([item.ids]))[0].log_softmax(-1)
            own = sum(float(chances[at - 1, item.ids[at]]) for at in range(item.start, len(item.ids)))
            assert score.total == pytest.approx(single.total, abs=1e-4)
            assert score.total == pytest.approx(own, abs=1e-4)
    for score, base in zip(together, score_responses(case.lm, items), strict=True):
        assert (abs(score.total - base.total) < 1e-6) == (case.late and score.tokens == 1)


def test_batch_rows_are_independent(case: Case) -> None:
    ids = tokens(10, seed=4, rows=3)
    starts = torch.tensor([2, 9, 5])
    with wear(case.lm, case.plus):
        with case.lm.responding(starts):
            batch = logits(case.lm, ids)
        for row, start in enumerate(starts.tolist()):
            with case.lm.responding(start):
                agree(batch[row], logits(case.lm, ids[row : row + 1])[0])
            others = torch.where(torch.arange(3).unsqueeze(1) == row, ids, tokens(10, seed=5, rows=3))
            with case.lm.responding(starts):
                torch.testing.assert_close(batch[row], logits(case.lm, others)[row], rtol=1e-5, atol=1e-5)


def test_embeddings_instead_of_tokens(case: Case) -> None:
    ids = tokens(PROMPT, seed=8)
    embedded = case.lm.model.get_input_embeddings()(ids).detach()
    expected = worn_and_written(case, ids)
    with wear(case.lm, case.plus):
        out = case.lm.model.generate(  # type: ignore[operator]
            inputs_embeds=embedded, do_sample=False, min_new_tokens=8, max_new_tokens=8, pad_token_id=0
        )
        with case.lm.responding(5), torch.no_grad():
            from_tokens = logits(case.lm, ids)
            agree(case.lm.model(inputs_embeds=embedded).logits, from_tokens)
    assert torch.equal(out, expected.tokens)
