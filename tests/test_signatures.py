"""Signatures: against a naive computation, safe variance, exact merging, interruption, files, refusals."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from expect import refused
from routing import seen_by_experts
from support import hooks, mixed_contrast
from tiny import MAX_TOKENS
from torch import Tensor, nn

from temperament.calibration import Contrast, Example
from temperament.models import LoadedModel, load_model
from temperament.personas import Persona, extract
from temperament.signatures import Moments, Signature, SignaturePair, collect, load_signatures, save_signatures
from temperament.signatures.collect import Tokens, signature_provenance
from temperament.signatures.statistics import batch_moments, input_sums, merge
from temperament.signatures.store import find_signatures
from temperament.wear import wear

FIELDS = ("mean", "m2", "l2")
#: A model whose Linears see every token, and one with experts that see some.
EITHER = pytest.mark.parametrize("tiny_model", ["llama", "qwen2_moe"], indirect=True)


def identical(first: Moments, second: Moments) -> bool:
    """Bit by bit."""
    counts = (first.count, first.sentences) == (second.count, second.sentences)
    seen = torch.equal(*(torch.zeros(1) if part.seen is None else part.seen for part in (first, second)))
    return counts and seen and all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


def all_identical(first: SignaturePair, second: SignaturePair) -> bool:
    halves = zip((*first.plus.halves, *first.minus.halves), (*second.plus.halves, *second.minus.halves), strict=True)
    return all(identical(one, other) for one, other in halves)


def assert_close(found: Moments, expected: Moments, tolerance: float) -> None:
    assert (found.count, found.sentences) == (expected.count, expected.sentences)
    assert (found.seen is None) == (expected.seen is None)
    assert found.seen is None or torch.equal(found.seen, torch.as_tensor(expected.seen))
    for name in ("mean_abs", "mean_square", "rms", "variance", "sentence_l2"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=tolerance, atol=tolerance)


def of_sentences(sentences: list[Tensor]) -> Moments:
    """The definitions, word by word, in float64; each sentence is (tokens, inputs)."""
    sentences = [sentence.double() for sentence in sentences]
    x = torch.cat(sentences).abs()
    mean = x.mean(0) if len(x) else torch.zeros(x.shape[1], dtype=torch.float64)
    norms = torch.stack([sentence.square().sum(0).sqrt() for sentence in sentences])
    return Moments(len(x), len(sentences), mean, (x - mean).square().sum(0), norms.sum(0))


def remember(seen: dict[str, Tensor], name: str, _: nn.Module, args: tuple[Any, ...]) -> None:
    seen[name] = args[0].reshape(-1, args[0].shape[-1])


def naive(lm: LoadedModel, examples: tuple[Example, ...], tokens: Tokens) -> Moments:
    """One sentence at a time, without padding; the input of every Linear of a site must be the same."""
    sentences: dict[str, list[Tensor]] = {site.name: [] for site in lm.inputs}
    for example in examples:
        item = lm.encode(example.prompt, example.response)
        begin, ids = 0 if tokens == "all" else item.start, torch.tensor([item.ids])
        seen: dict[str, Tensor] = {}
        with ExitStack() as stack:
            for linear in lm.linears:
                if linear.input.expert is None:
                    see = partial(remember, seen, linear.name)
                    stack.callback(lm.module(linear.name).register_forward_pre_hook(see).remove)
            routed = seen_by_experts(lm, ids)
        counted = {name: x[begin:] for name, x in seen.items()} | {
            name: x[positions >= begin] for name, (positions, x) in routed.items()
        }
        assert all(torch.equal(counted[linear.name], counted[linear.input.linears[0]]) for linear in lm.linears)
        for site in lm.inputs:
            sentences[site.name].append(counted[site.linears[0]])
    parts = [of_sentences(sentences[site.name]) for site in lm.inputs]
    mean, m2, l2 = (torch.cat([getattr(part, name) for part in parts]) for name in FIELDS)
    mixture = any(site.expert for site in lm.inputs)
    reached = torch.cat([torch.full_like(part.mean, part.count) for part in parts]) if mixture else None
    return Moments(parts[0].count, parts[0].sentences, mean, m2, l2, reached)


def interrupt_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


# Statistics


@pytest.mark.parametrize("tokens", ["response", "all"])
def test_statistics_equal_a_naive_computation(tiny_model: LoadedModel, tokens: Tokens) -> None:
    contrast = mixed_contrast()
    pair = collect(tiny_model, contrast, tokens=tokens, batch_rows=2)
    assert_close(pair.pole("plus"), naive(tiny_model, contrast.plus, tokens), 1e-4)
    assert_close(pair.pole("minus"), naive(tiny_model, contrast.minus, tokens), 1e-4)
    assert hooks(tiny_model.model) == 0


def test_input_sums_by_hand() -> None:
    # two sentences of two and one counted tokens, one input: |x| = 3, 4 and 6; padding 99 does not count
    x = torch.tensor([[[-3.0], [4.0]], [[6.0], [99.0]]])
    counted, shift = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([4.0])
    sums = input_sums(x, counted, shift)
    assert sums.flatten().tolist() == [1, 5, 11]  # −1 + 0 + 2; 1 + 0 + 4; √(9 + 16) + √36
    found = batch_moments(sums, shift, 3, 2)
    assert found.mean_abs.tolist() == pytest.approx([13 / 3])
    assert found.mean_square.tolist() == pytest.approx([61 / 3])  # 9 + 16 + 36
    assert found.variance.tolist() == pytest.approx([61 / 3 - 169 / 9])
    assert found.sentence_l2.tolist() == [5.5]


def test_variance_does_not_cancel() -> None:
    # x = 10,000 + noise of .01: E[x²] − m² in fp32 has no correct digit left
    x = 1e4 + 0.01 * torch.randn(8, 32, 16, generator=torch.Generator().manual_seed(0))
    state = Moments.zeros(16)
    for part in torch.split(x, 2):
        shift = state.mean.float() if state.count else part[0].abs().mean(0)
        state = merge(state, batch_moments(input_sums(part, torch.ones(2, 32), shift), shift, 64, 2))
    expected = of_sentences(list(x))
    torch.testing.assert_close(state.variance, expected.variance, rtol=1e-3, atol=0)
    careless = x.square().mean((0, 1)) - x.mean((0, 1)).square()
    assert not torch.allclose(careless.double(), expected.variance, rtol=0.5, atol=0)


def test_collected_variance_does_not_cancel(tiny_folders: dict[str, Path]) -> None:
    gpt2: LoadedModel = load_model(str(tiny_folders["gpt2"]), dtype="float32", device="cpu")
    gpt2.model.get_parameter("transformer.h.0.ln_1.bias").data.fill_(1e4)  # the input of the first Linear
    site, contrast = gpt2.inputs[0].slice, mixed_contrast()
    found = collect(gpt2, contrast, batch_rows=2).pole("plus").variance[site]
    torch.testing.assert_close(found, naive(gpt2, contrast.plus, "response").variance[site], rtol=1e-2, atol=0)


def random_sentences(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 24, generator=generator) for length in (3, 1, 8)]


def test_merge_equals_the_whole() -> None:
    first, second = random_sentences(0), random_sentences(1)
    assert_close(merge(of_sentences(first), of_sentences(second)), of_sentences(first + second), 1e-13)


def test_merge_is_associative_and_commutative() -> None:
    a, b, c = (of_sentences(random_sentences(seed)) for seed in range(3))
    assert_close(merge(merge(a, b), c), merge(a, merge(b, c)), 1e-13)
    assert_close(merge(a, b), merge(b, a), 1e-13)


def test_merging_nothing_changes_nothing() -> None:
    a, nothing = of_sentences(random_sentences(0)), Moments.zeros(24)
    assert merge(a, nothing) is merge(nothing, a) is a
    assert merge(nothing, nothing).count == 0


@EITHER
def test_batch_size_has_no_influence(tiny_model: LoadedModel) -> None:
    one = collect(tiny_model, mixed_contrast(), batch_rows=1)
    for rows, tokens in ((3, 2048), (64, 2048), (64, 200)):
        other = collect(tiny_model, mixed_contrast(), batch_rows=rows, batch_tokens=tokens)
        for pole in (one.plus, other.plus), (one.minus, other.minus):
            for first, second in zip(pole[0].halves, pole[1].halves, strict=True):
                assert_close(first, second, 1e-5)


@EITHER
def test_same_call_same_bits(tiny_model: LoadedModel) -> None:
    contrast = mixed_contrast()
    turned = replace(contrast, plus=contrast.plus[::-1], minus=contrast.minus[::-1])  # the order of items is no matter
    assert all_identical(collect(tiny_model, contrast), collect(tiny_model, turned))


# Halves and shuffled labels


def powers_of_two() -> Contrast:
    """Responses of 1, 2, 4, … 64 tokens: a half's token count says which texts are in it."""

    def pole(letter: str) -> tuple[Example, ...]:
        return tuple(Example("Hm?", letter * 2**i, letter * 2**i) for i in range(7))

    return Contrast("powers", pole("a"), pole("b"))


def test_halves_are_disjoint_complete_and_seeded(tiny_llama: LoadedModel) -> None:
    halves = set()
    for seed in range(3):
        pair = collect(tiny_llama, powers_of_two(), seed=seed)
        for signature in (pair.plus, pair.minus):
            first, second = signature.halves
            assert (first.sentences, second.sentences) == (4, 3)
            assert first.count + second.count == 127
            assert first.count & second.count == 0
            halves.add(first.count)
    assert len(halves) > 3


@EITHER
def test_a_pole_of_one_text_has_an_empty_half(tiny_model: LoadedModel) -> None:
    contrast = mixed_contrast()
    pair = collect(tiny_model, replace(contrast, plus=contrast.plus[:1]))
    assert [half.sentences for half in pair.plus.halves] == [1, 0]
    assert_close(pair.pole("plus"), naive(tiny_model, contrast.plus[:1], "response"), 1e-4)


@EITHER
def test_shuffled_takes_one_half_of_either_pole(tiny_model: LoadedModel) -> None:
    pair = collect(tiny_model, mixed_contrast())
    mixed = pair.shuffled()
    assert mixed.plus.halves == (pair.plus.halves[0], pair.minus.halves[0])
    assert mixed.minus.halves == (pair.plus.halves[1], pair.minus.halves[1])
    assert_close(merge(mixed.pole("plus"), mixed.pole("minus")), merge(pair.pole("plus"), pair.pole("minus")), 1e-12)
    assert mixed.provenance == {**pair.provenance, "labels": "shuffled"}
    assert mixed.groups == pair.groups


# Interruption


@pytest.mark.parametrize("step", [1, 3, 5, 7])
@EITHER
def test_an_interrupted_run_goes_on_bit_by_bit(tiny_model: LoadedModel, tmp_path: Path, step: int) -> None:
    whole = collect(tiny_model, mixed_contrast(), batch_rows=1)
    with pytest.raises(KeyboardInterrupt):
        collect(tiny_model, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=interrupt_at(step))
    assert hooks(tiny_model.model) == 0
    steps: list[int] = []
    again = collect(
        tiny_model, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=lambda done, _: steps.append(done)
    )
    assert steps == list(range(step + 1, 11))
    assert all_identical(again, whole)
    assert list(tmp_path.iterdir()) == []


@EITHER
def test_a_run_may_be_interrupted_again_and_again(tiny_model: LoadedModel, tmp_path: Path) -> None:
    for step in range(1, 10):
        with pytest.raises(KeyboardInterrupt):
            collect(tiny_model, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=interrupt_at(step))
    again = collect(tiny_model, mixed_contrast(), batch_rows=1, folder=tmp_path)
    assert all_identical(again, collect(tiny_model, mixed_contrast(), batch_rows=1))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [damage, truncate, empty])
def test_a_damaged_partial_file_is_no_work_done(
    tiny_llama: LoadedModel, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(tiny_llama, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=interrupt_at(4))
    harm(tmp_path / "partial.safetensors")
    assert_starts_afresh(tiny_llama, tmp_path, mixed_contrast())


def test_the_partial_file_of_another_run_is_no_work_done(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(tiny_llama, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=interrupt_at(4))
    contrast = mixed_contrast()
    assert_starts_afresh(tiny_llama, tmp_path, replace(contrast, plus=contrast.minus, minus=contrast.plus))


def test_another_kind_of_file_in_its_place_is_no_work_done(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    save_signatures(tmp_path, collect(tiny_llama, mixed_contrast()))
    (tmp_path / "plus.safetensors").rename(tmp_path / "partial.safetensors")
    assert_starts_afresh(tiny_llama, tmp_path, mixed_contrast())


def assert_starts_afresh(lm: LoadedModel, folder: Path, contrast: Contrast) -> None:
    steps: list[int] = []
    found = collect(lm, contrast, batch_rows=1, folder=folder, progress=lambda done, _: steps.append(done))
    assert steps == list(range(1, 11))
    assert all_identical(found, collect(lm, contrast, batch_rows=1))


# Files


@EITHER
def test_save_and_load(tiny_model: LoadedModel, tmp_path: Path) -> None:
    pair = collect(tiny_model, mixed_contrast())
    save_signatures(tmp_path, pair)
    loaded = load_signatures(tmp_path)
    assert all_identical(loaded, pair)
    assert (loaded.provenance, loaded.groups, loaded.hash) == (pair.provenance, pair.groups, pair.hash)
    assert loaded.groups == mixed_contrast().group_keys
    assert len({loaded.hash, pair.shuffled().hash, collect(tiny_model, mixed_contrast(), seed=1).hash}) == 3


def test_signatures_are_found_by_all_they_depend_on(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    contrast = mixed_contrast()
    wanted = signature_provenance(tiny_llama, contrast, "response", 42)
    assert find_signatures(tmp_path / "missing", wanted) is None
    pair = collect(tiny_llama, contrast)
    save_signatures(tmp_path, pair)
    found = find_signatures(tmp_path, wanted)
    assert found is not None
    assert all_identical(found, pair)
    for other in (
        signature_provenance(tiny_llama, contrast, "all", 42),
        signature_provenance(tiny_llama, contrast, "response", 43),
        signature_provenance(tiny_llama, replace(contrast, plus=contrast.plus[1:]), "response", 42),
        {**wanted, "model": "another"},
    ):
        assert find_signatures(tmp_path, other) is None
    (tmp_path / "minus.safetensors").unlink()
    assert find_signatures(tmp_path, wanted) is None


@EITHER
def test_a_second_extraction_needs_no_forward_pass(tiny_model: LoadedModel, tmp_path: Path) -> None:
    def never(done: int, total: int) -> NoReturn:
        raise AssertionError(f"a forward pass: batch {done} of {total}")

    first = extract(tiny_model, mixed_contrast(), method="wanda", folder=tmp_path)
    second = extract(tiny_model, mixed_contrast(), method="contrastive-tilt", folder=tmp_path, progress=never)
    assert isinstance(first.signatures, SignaturePair)
    assert isinstance(second.signatures, SignaturePair)
    assert all_identical(first.signatures, second.signatures)
    assert first.plus.provenance["signatures"] == second.plus.provenance["signatures"] == second.signatures.hash
    third = extract(tiny_model, mixed_contrast(), method="wanda", signatures=first.signatures, progress=never)
    assert third.plus.provenance == first.plus.provenance


def test_signatures_of_another_model_or_other_texts_are_refused(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    pair = collect(tiny_llama, contrast)
    with refused("collected with another data", "leave them out"):
        extract(tiny_llama, replace(contrast, plus=contrast.plus[1:]), signatures=pair)
    stranger = replace(pair, provenance={**pair.provenance, "model": "0"})
    with refused("collected with another model", "leave them out"):
        extract(tiny_llama, contrast, signatures=stranger)


@pytest.mark.parametrize("harm", [damage, truncate, empty])
def test_a_damaged_signature_file_is_refused(
    tiny_llama: LoadedModel, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    save_signatures(tmp_path, collect(tiny_llama, mixed_contrast()))
    harm(tmp_path / "minus.safetensors")
    with refused("minus.safetensors", "damaged", "delete it and run the extraction again"):
        load_signatures(tmp_path)
    with refused("minus.safetensors"):
        extract(tiny_llama, mixed_contrast(), folder=tmp_path)


def test_files_of_two_runs_are_refused(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    save_signatures(tmp_path / "a", collect(tiny_llama, mixed_contrast()))
    save_signatures(tmp_path / "b", collect(tiny_llama, mixed_contrast(), seed=1))
    (tmp_path / "a" / "plus.safetensors").replace(tmp_path / "b" / "plus.safetensors")
    with refused("different runs"):
        load_signatures(tmp_path / "b")


# Refusals and leaving no trace


def test_hooks_are_gone_after_an_error_in_the_forward_pass(fresh_llama: LoadedModel, tmp_path: Path) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("out of memory")

    handle = fresh_llama.module(fresh_llama.neurons[1].name).register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        collect(fresh_llama, mixed_contrast(), folder=tmp_path)
    handle.remove()
    assert hooks(fresh_llama.model) == 0
    assert_starts_afresh(fresh_llama, tmp_path, mixed_contrast())


def test_a_prompt_that_fills_the_limit_is_an_error(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    long = Example("x" * MAX_TOKENS, "Yes.", "Yes.")
    with refused("the prompt 'xxx", "no response token is left", "within 512 tokens", "shorten the prompt"):
        collect(tiny_llama, replace(contrast, minus=(*contrast.minus, long)))


def test_a_long_response_loses_its_end(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    long = Example("Hm?", "x" * 2 * MAX_TOKENS, "long")
    head = len(tiny_llama.prompt_ids("Hm?"))
    assert collect(tiny_llama, replace(contrast, plus=(long,))).pole("plus").count == MAX_TOKENS - head


def test_a_worn_model_is_refused(tiny_llama: LoadedModel) -> None:
    worn = (Persona.from_prompt("Be shy."), extract(tiny_llama, mixed_contrast()).plus)
    for persona in worn:
        with wear(tiny_llama, persona), refused("a persona is worn", "leave lm.wear() first"):
            collect(tiny_llama, mixed_contrast())
    with wear(tiny_llama, worn[1], strength=0):  # exactly the base
        collect(tiny_llama, mixed_contrast())


def test_signature_of_halves() -> None:
    first, second = (of_sentences(random_sentences(seed)) for seed in (0, 1))
    assert identical(Signature((first, second)).moments, merge(first, second))
