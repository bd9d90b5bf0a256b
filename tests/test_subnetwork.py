"""Subnetworks worn in the weights and row by row: exact gates, exact restoring, every row as it is alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from expect import refused
from support import bits, hooks, logits, mixed_contrast, same, stored, tokens
from torch import Tensor
from wearing import Worn, agree, alike, bare, left_as_found, padded, strip, write

from temperament.language_model import LanguageModel
from temperament.methods import Shifts
from temperament.models import LinearSite, LoadedModel, load_model
from temperament.personas import Persona, SubnetworkEdit, VectorEdit, extract, open_persona
from temperament.personas.edits.subnetwork import packed_gaps, shapes_of, unpacked_gaps
from temperament.wear import wear
from temperament.wear.masks import GatedLinear


def made(lm: LoadedModel, seed: int, count: int = 400) -> Persona:
    """A subnetwork of random positions."""
    total = sum(rows * columns for _, rows, columns in shapes_of(lm.linears))
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    edit = SubnetworkEdit(shapes_of(lm.linears), order[:count].sort().values)
    origin = {"model": {"name": lm.name, "fingerprint": lm.fingerprint}}
    return Persona(f"sub{seed}", "plus" if seed % 2 else "minus", edit, origin)


def edit_of(persona: Persona) -> SubnetworkEdit:
    assert isinstance(persona.edit, SubnetworkEdit)
    return persona.edit


def gate(lm: LoadedModel, persona: Persona, linear: LinearSite) -> Tensor:
    """Which weights of a Linear a subnetwork holds, (outputs, inputs) bool, from the definition of positions."""
    flat = torch.zeros(edit_of(persona).total, dtype=torch.bool)
    flat[edit_of(persona).positions] = True
    begin = sum(site.shape[0] * site.shape[1] for site in lm.linears[: lm.linears.index(linear)])
    return flat[begin : begin + linear.shape[0] * linear.shape[1]].view(linear.shape)


def weights(lm: LoadedModel) -> dict[str, Tensor]:
    """Every Linear as (outputs, inputs), read from the parameter itself."""
    conv1d = lm.family.model_type == "gpt2"  # stores (inputs, outputs)
    parameters = {site.name: stored(lm.model, site.name).detach() for site in lm.linears}
    return {name: (p.T if conv1d else p).clone() for name, p in parameters.items()}


@pytest.fixture
def lm(tiny_model: LoadedModel) -> Iterator[LoadedModel]:
    """Every family; a model that every test must leave as it was found."""
    with left_as_found(tiny_model):
        yield tiny_model


@pytest.fixture(scope="module")
def speaking(tiny_folders: dict[str, Path]) -> LanguageModel:
    loaded: LanguageModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu", factory=LanguageModel)
    return loaded


@pytest.fixture
def llama(speaking: LanguageModel) -> Iterator[LanguageModel]:
    with left_as_found(speaking):
        yield speaking


# The edit


def test_gaps_are_packed_and_unpacked() -> None:
    for positions in (
        torch.tensor([0]),
        torch.arange(1000),
        torch.tensor([0, 1, 255, 256, 257, 2**16, 2**32 - 1, 2**32, 2**40, 2**40 + 1]),
        torch.tensor([3 * 2**32 + 5]),  # the first layers of a large model may be left out
    ):
        packed = packed_gaps(positions)
        assert packed.dtype == torch.uint8
        assert torch.equal(unpacked_gaps(packed, len(positions)), positions)
        for count in (len(positions) - 1, len(positions) + 1, 2**62, 2**70):
            with pytest.raises(ValueError, match=r"positions|packed"):
                unpacked_gaps(packed, count)


def test_a_bomb_is_not_inflated() -> None:
    import zlib

    import numpy as np

    bomb = torch.from_numpy(np.frombuffer(zlib.compress(bytes(10**7)), dtype=np.uint8).copy())
    with pytest.raises(ValueError, match="other than 5 positions"):
        unpacked_gaps(bomb, 5)
    packed = packed_gaps(torch.arange(5))
    for data in (packed[:-1], packed[:-4], packed[:0], torch.cat([packed, packed[:3]]), packed.flip(0)):
        with pytest.raises(ValueError, match="positions"):
            unpacked_gaps(data, 5)


def test_a_file_takes_about_two_bytes_a_weight(tmp_path: Path) -> None:
    """A thousandth of a hundred million weights, at random places."""
    total, count = 10**8, 10**5
    drawn = torch.randint(total, (count,), generator=torch.Generator().manual_seed(0))
    places = torch.tensor(sorted(set(drawn.tolist())))
    linears = tuple((f"linear.{index}", 10**3, 10**3) for index in range(100))
    persona = Persona("sparse", "plus", SubnetworkEdit(linears, places))
    path = persona.save(tmp_path / "sparse.persona")
    assert path.stat().st_size < 2 * len(places)
    assert edit_of(open_persona(path)) == edit_of(persona)


def test_files_hold_the_same_edit(lm: LoadedModel, tmp_path: Path) -> None:
    persona = made(lm, 1)
    loaded = open_persona(persona.save(tmp_path / "sub.persona"))
    assert (loaded.name, loaded.pole, loaded.provenance) == (persona.name, persona.pole, persona.provenance)
    assert edit_of(loaded) == edit_of(persona)
    assert edit_of(loaded).identity == edit_of(persona).identity
    assert edit_of(loaded).linears == shapes_of(lm.linears)
    assert torch.equal(edit_of(loaded).positions, edit_of(persona).positions)
    with wear(lm, persona):
        expected = bits(lm.model)
    with wear(lm, loaded):
        assert same(bits(lm.model), expected)


def test_identity_is_that_of_linears_and_positions() -> None:
    linears = (("a", 2, 3), ("b", 4, 1))
    edit = SubnetworkEdit(linears, torch.tensor([1, 8]))
    assert edit == SubnetworkEdit(linears, torch.tensor([1, 8]))
    assert hash(edit) == hash(SubnetworkEdit(linears, torch.tensor([1, 8])))
    for other in (
        SubnetworkEdit(linears, torch.tensor([1, 9])),
        SubnetworkEdit((("a", 3, 2), ("b", 4, 1)), torch.tensor([1, 8])),
        SubnetworkEdit((("c", 2, 3), ("b", 4, 1)), torch.tensor([1, 8])),
    ):
        assert edit != other
    assert [(name, part.tolist()) for name, part in edit.parts()] == [("a", [1]), ("b", [2])]
    assert [name for name, _ in SubnetworkEdit(linears, torch.tensor([6, 9])).parts()] == ["b"]
    assert [name for name, _ in SubnetworkEdit(linears, torch.tensor([5])).parts()] == ["a"]
    assert edit.describe() == {"subnetwork": {"weights": 2, "share": 0.2, "linears": 2}}


def test_another_model_is_refused(llama: LanguageModel, fresh_llama: LoadedModel) -> None:
    persona = made(llama, 1)
    fresh_llama.weight(fresh_llama.linears[0])[0, 0] += 1
    with refused("sub1", "weights are not those of", "extract the persona again"), wear(fresh_llama, persona):
        pass
    shapes = shapes_of(llama.linears)
    foreign = SubnetworkEdit((shapes[1], shapes[0], *shapes[2:]), edit_of(persona).positions)
    with (
        refused("14 Linears", "the model it was made from"),
        llama.wear(Persona("x", "plus", foreign, persona.provenance)),
    ):
        pass


@pytest.mark.parametrize("strength", [-0.1, 4.01, float("nan"), float("inf")])
def test_strengths_out_of_range_are_refused(llama: LanguageModel, strength: float) -> None:
    with refused("sub1", "0 to 4", "opposite pole"), llama.wear(made(llama, 1), strength):
        pass
    with refused("sub1"):
        _ = strength * made(llama, 1)


# In the weights


@pytest.mark.parametrize("strength", [1.0, 0.25, 1.5, 2.0])
def test_worn_weights_are_multiplied_and_nothing_else(lm: LoadedModel, strength: float) -> None:
    persona, before, base = made(lm, 1), weights(lm), logits(lm)
    with wear(lm, persona, strength):
        assert hooks(lm.model) == 0
        after = weights(lm)
        assert not alike(logits(lm), base)
        for linear in lm.linears:
            expected = torch.where(gate(lm, persona, linear), (1 - strength) * before[linear.name], before[linear.name])
            assert torch.equal(after[linear.name], expected)
            assert torch.equal(lm.base_weight(linear), before[linear.name])
    assert torch.equal(logits(lm), base)


def test_strength_zero_is_the_base(lm: LoadedModel) -> None:
    before = bits(lm.model)
    with wear(lm, made(lm, 1), 0):
        assert same(bits(lm.model), before)
        assert lm.worn == ()


def test_restored_after_an_error(lm: LoadedModel) -> None:
    before = bits(lm.model)
    for error in (ValueError, KeyboardInterrupt):
        with suppress(error), wear(lm, made(lm, 1), 0.7):
            assert not same(bits(lm.model), before)
            raise error
        assert same(bits(lm.model), before)


def test_restored_after_an_interrupt_while_putting_on(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, calls, apply = bits(llama.model), [], GatedLinear.apply

    def failing(self: GatedLinear, strength: float) -> None:
        calls.append(strength)
        apply(self, strength)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(GatedLinear, "apply", failing)
    with pytest.raises(KeyboardInterrupt), llama.wear(made(llama, 1)):
        pytest.fail("the block must not run")
    assert same(bits(llama.model), before)


def test_gates_multiply_where_subnetworks_overlap(lm: LoadedModel) -> None:
    a, b, before = made(lm, 1, 6000), made(lm, 2, 6000), weights(lm)
    own = lm.linears[0]
    assert bool((gate(lm, a, own) & gate(lm, b, own)).any())

    def check() -> None:
        for linear in lm.linears:
            factor = torch.where(gate(lm, a, linear), 0.5, 1.0) * torch.where(gate(lm, b, linear), 0.75, 1.0)
            torch.testing.assert_close(lm.weight(linear), factor * before[linear.name], rtol=1e-6, atol=0)
            assert torch.equal(lm.base_weight(linear), before[linear.name])

    with wear(lm, 0.5 * a + 0.25 * b):
        check()
    with wear(lm, a, 0.5), wear(lm, b, 0.25):
        check()
    with wear(lm, [a], 0.5), wear(lm, b, 0.25):
        together = logits(lm)
    with wear(lm, 0.5 * a + 0.25 * b):
        agree(together, logits(lm))


def test_the_fingerprint_is_refused_while_worn(fresh_llama: LoadedModel, tiny_llama: LoadedModel) -> None:
    persona = made(tiny_llama, 1)
    assert fresh_llama.fingerprint == tiny_llama.fingerprint
    vars(fresh_llama).pop("fingerprint")
    with wear(tiny_llama, persona):
        assert tiny_llama.fingerprint == persona.provenance["model"]["fingerprint"], "known before"
    with wear(fresh_llama, persona):
        vars(fresh_llama).pop("fingerprint")
        with refused("fingerprint", "take it off first"):
            _ = fresh_llama.fingerprint


def test_with_masks_neurons_vectors_and_prompts(llama: LanguageModel) -> None:
    """Each kind alone and below each other: the order of blocks does not matter, and each shows."""
    mask = extract(llama, mixed_contrast(), sparsity=0.2).plus
    neurons = extract(llama, mixed_contrast(), method="neurons", settings={"count": 5, "gamma": 2.0}).plus
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    origin = {"model": {"name": llama.name, "fingerprint": llama.fingerprint}}
    vector = Persona("v", "plus", VectorEdit(2, Shifts("residual", (0,), vectors, 1)), origin)
    sub = made(llama, 1)
    for other in (mask, neurons, vector):
        with llama.wear(other):
            alone = logits(llama)
        with llama.wear(0.5 * sub + other):
            expected = logits(llama)
        with llama.wear(sub, 0.5), llama.wear(other):
            agree(logits(llama), expected)
        with llama.wear(other), llama.wear(sub, 0.5):
            agree(logits(llama), expected)
            before = {site.name: llama.base_weight(site).clone() for site in llama.linears}
        assert not alike(alone, expected)
        assert all(torch.equal(before[name], weight) for name, weight in weights(llama).items())
    with llama.wear(sub + Persona.from_prompt("Be shy.")):
        assert llama.system_prompt == "Be shy."


# Row by row


def plans(lm: LoadedModel) -> list[Worn]:
    a, b = made(lm, 1), made(lm, 2, 3000)
    return [a, b, None, 0.5 * a, a + b, 2.0 * b]


def test_rows_are_what_each_plan_is_alone(lm: LoadedModel) -> None:
    ids, worn = tokens(10, rows=6), plans(lm)
    base, before = logits(lm, ids), bits(lm.model)
    with wear(lm, worn):
        assert same(bits(lm.model), before), "rows leave the weights alone"
        together = logits(lm, ids)
    assert bare(lm)
    assert torch.equal(together[2], base[2])
    for row, plan in enumerate(worn):
        with wear(lm, plan):
            alone = logits(lm, ids[row : row + 1])[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)
        assert alike(together[row], base[row]) == (plan is None)


def test_overlapping_gates_multiply_in_a_row(llama: LanguageModel) -> None:
    a, b = made(llama, 1, 6000), made(llama, 2, 6000)
    ids = tokens(10, rows=3)
    mixed: list[Worn] = [0.5 * a + 0.25 * b, 0.5 * a + 0.5 * a, a + 2.0 * b]
    with llama.wear(mixed):
        together = logits(llama, ids)
    for row, plan in enumerate(mixed):
        with llama.wear(plan):
            torch.testing.assert_close(together[row], logits(llama, ids[row : row + 1])[0], rtol=1e-4, atol=1e-4)


def test_padding_and_neighbours_have_no_influence(lm: LoadedModel) -> None:
    worn = plans(lm)
    rows = [tokens(count, seed=count) for count in (9, 20, 5, 14, 7, 12)]
    ids, mask = padded(rows)
    for cached in (True, False):
        with wear(lm, worn):
            together = write(lm, ids, count=5, mask=mask, use_cache=cached)
        for row, plan in enumerate(worn):
            with wear(lm, plan):
                alone = write(lm, rows[row], count=5)
            assert torch.equal(together.tokens[row], alone.tokens[0])
            agree(together.logits[row], alone.logits[0])
    short = tokens(10, rows=6)
    with wear(lm, worn):
        found = logits(lm, short)
        other = torch.cat([short[:1], tokens(10, seed=9, rows=5)])
        torch.testing.assert_close(logits(lm, other)[0], found[0], rtol=1e-5, atol=1e-5)


def test_rows_inside_a_mask_for_the_whole_batch(llama: LanguageModel) -> None:
    """The correction takes the weights as they are at the time, gated by the mask or the outer subnetwork."""
    mask, ids, worn = extract(llama, mixed_contrast(), sparsity=0.3).plus, tokens(10, rows=6), plans(llama)
    for outer in (0.7 * mask, 0.5 * made(llama, 3, 5000)):
        expected = []
        for row, plan in enumerate(worn):
            with llama.wear(outer), llama.wear(plan):
                expected.append(logits(llama, ids[row : row + 1])[0])
        with llama.wear(outer), llama.wear(worn):
            agree(logits(llama, ids), torch.stack(expected))
        with llama.wear(worn), llama.wear(outer):
            agree(logits(llama, ids), torch.stack(expected))


def test_rows_with_vectors_and_inside_rows(llama: LanguageModel) -> None:
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    origin = {"model": {"name": llama.name, "fingerprint": llama.fingerprint}}
    vector = Persona("v", "plus", VectorEdit(2, Shifts("residual", (0,), vectors, 1)), origin)
    a, b, ids = made(llama, 1), made(llama, 2), tokens(10, rows=3)
    mixed: list[Worn] = [a + vector, vector, b]
    expected = []
    for row, plan in enumerate(mixed):
        with llama.wear(plan):
            expected.append(logits(llama, ids[row : row + 1])[0])
    with llama.wear(mixed):
        agree(logits(llama, ids), torch.stack(expected))
    with llama.wear([vector, vector, None]), llama.wear([a, None, b]):
        agree(logits(llama, ids), torch.stack(expected))


def test_a_list_of_one_plan_is_for_a_single_row(llama: LanguageModel) -> None:
    with llama.wear(made(llama, 1)):
        expected = logits(llama)
    before = bits(llama.model)
    with llama.wear([made(llama, 1)]):
        assert same(bits(llama.model), before)
        agree(logits(llama), expected)
        with refused("the batch has 2 rows"):
            logits(llama, tokens(10, rows=2))


def test_answers_are_those_of_single_chats(llama: LanguageModel) -> None:
    questions, worn = ("Who are you?", "Hm?", "Why, and since when?", "No?", "Yes?", "So?"), plans(llama)
    with llama.wear(worn):
        together = llama.generate(questions, max_tokens=6)
    for question, plan, answer in zip(questions, worn, together, strict=True):
        with llama.wear(plan):
            assert llama.chat(question, max_tokens=6) == answer


def test_half_precision_rows(tiny_folders: dict[str, Path]) -> None:
    lm: LoadedModel = load_model(str(tiny_folders["llama"]), dtype="bfloat16", device="cpu")
    with left_as_found(lm):
        worn, ids = plans(lm), tokens(10, rows=6)
        with wear(lm, worn):
            together = logits(lm, ids).float()
        for row, plan in enumerate(worn):
            with wear(lm, plan):
                alone = logits(lm, ids[row : row + 1])[0].float()
            assert float((together[row] - alone).norm() / alone.norm()) < 0.05
    strip(lm)
