"""The contract of every method: saved, worn, nested, interrupted, a persona acts as its mask says and leaves no trace.

Each test runs for every method and variant on a Llama and on mixtures of experts, and for one method on every family.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from safetensors.torch import load_file, save_file
from support import bits, hooks, logits, mixed_contrast, same, stored, tokens
from tiny import MIXTURES, MODEL_TYPES, make_tiny
from torch import Tensor

from temperament.methods import find_method, kept
from temperament.models import LinearSite, LoadedModel, load_model
from temperament.personas import MaskEdit, PackedMasks, Persona, extract, open_persona
from temperament.wear import wear
from temperament.wear.masks import GatedLinear

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("wanda", {}),
    ("wanda", {"variant": "released"}),
    ("wanda", {"statistic": "rms"}),
    ("sparse", {}),
    ("sparse", {"block": 16}),
    ("contrastive-wanda", {}),
    ("contrastive-wanda", {"link": "softplus"}),
    ("contrastive-wanda", {"variant": "released"}),
    ("contrastive-sparse", {}),
    ("contrastive-sparse", {"variant": "appendix-k"}),
    ("contrastive-sparse", {"variant": "released"}),
    ("contrastive-tilt", {}),
    ("sparsegpt", {"scope": "row"}),
    ("contrastive-sparsegpt", {"scope": "row", "block": 16}),
]
CASES = [
    *(("llama", method, options) for method, options in VARIANTS),
    *((family, "contrastive-tilt", {}) for family in MODEL_TYPES if family != "llama"),
    *((family, method, options) for family in MIXTURES for method, options in VARIANTS if method != "contrastive-tilt"),
]


def label(parts: tuple[str, str, dict[str, Any]]) -> str:
    return "-".join((parts[0], parts[1], *map(str, parts[2].values())))


@dataclass(frozen=True)
class Case:
    """A model and the two personas that one method found in it."""

    lm: LoadedModel
    plus: Persona
    minus: Persona

    def masks(self, persona: Persona | None = None) -> PackedMasks:
        edit = (persona or self.plus).edit
        assert isinstance(edit, MaskEdit)
        return edit.masks(self.lm)

    def mask(self, linear: LinearSite, persona: Persona | None = None) -> Tensor:
        mask = self.masks(persona).mask(linear)
        assert mask is not None
        return mask

    def weights(self) -> dict[str, Tensor]:
        """Every Linear as (outputs, inputs), read from the parameter itself."""
        conv1d = self.lm.family.model_type == "gpt2"  # stores (inputs, outputs)
        parameters = {line.name: stored(self.lm.model, line.name) for line in self.lm.linears}
        return {name: (p.detach().T if conv1d else p.detach()).clone() for name, p in parameters.items()}


@pytest.fixture(scope="module")
def models(tiny_folders: dict[str, Path]) -> dict[str, LoadedModel]:
    return {family: load_model(str(path), dtype="float32", device="cpu") for family, path in tiny_folders.items()}


@pytest.fixture(scope="module", params=CASES, ids=label)
def extracted(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> Case:
    family, method, options = request.param
    if family in MIXTURES:
        options = {**options, "expert_tokens": 0}  # every expert is masked, however few tokens it sees
    found = extract(models[family], mixed_contrast(), method=method, sparsity=0.3, settings=options)
    return Case(models[family], found.plus, found.minus)


@pytest.fixture
def case(extracted: Case) -> Iterator[Case]:
    """A case whose model every test must leave as it was found: weights bit by bit, no hook, nothing worn."""
    lm = extracted.lm
    state = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    before = bits(lm.model)
    yield extracted
    clean = same(bits(lm.model), before) and not (lm.restorers or lm.worn or lm.system_prompt or hooks(lm.model))
    if not clean:  # the next test shall not suffer
        lm.model.load_state_dict(state)
        lm.restorers.clear()
        lm.worn, lm.system_prompt = (), None
    assert clean


# What a mask does


def test_a_worn_mask_zeroes_what_it_prunes_and_nothing_else(case: Case) -> None:
    before = case.weights()
    with wear(case.lm, case.plus):
        after = case.weights()
    for linear in case.lm.linears:
        mask = case.mask(linear)
        assert mask.shape == linear.shape == after[linear.name].shape
        assert torch.equal(after[linear.name], torch.where(mask, before[linear.name], 0.0))


def test_every_row_keeps_its_share(case: Case) -> None:
    for linear in case.lm.linears:
        rows, columns = linear.shape
        count = kept("0.3", columns)
        method = case.plus.provenance["method"]
        left = count
        if method["parameters"].get("block"):
            left = sum(kept("0.3", min(16, columns - begin)) for begin in range(0, columns, 16))
        assert case.mask(linear, case.plus).sum(1).tolist() == [left] * rows
        if method["name"] == "contrastive-sparse" and method["parameters"]["variant"] != "published":
            left = columns - count  # what plus did not take
        assert case.mask(linear, case.minus).sum(1).tolist() == [left] * rows


def test_the_poles_differ(case: Case) -> None:
    assert case.masks(case.plus).checksum != case.masks(case.minus).checksum


def test_wearing_changes_the_logits_and_leaving_restores_them(case: Case) -> None:
    base = logits(case.lm)
    with wear(case.lm, case.plus):
        plus = logits(case.lm)
        assert hooks(case.lm.model) == 0
        assert case.lm.worn == ("1*mixed-plus",)
    with wear(case.lm, case.minus):
        minus = logits(case.lm)
    assert torch.equal(logits(case.lm), base)
    assert not torch.allclose(plus, base, atol=1e-3)
    assert not torch.allclose(plus, minus, atol=1e-3)


def test_strength_zero_is_the_base(case: Case) -> None:
    base, before = logits(case.lm), bits(case.lm.model)
    for plan, strength in ((case.plus, 0.0), (0 * case.plus + 0.0 * case.minus, 1.0), (None, 1.0)):
        with wear(case.lm, plan, strength):
            assert same(bits(case.lm.model), before)
            assert torch.equal(logits(case.lm), base)
            assert case.lm.worn == ()


def test_a_strength_between_scales_what_is_pruned(case: Case) -> None:
    before = case.weights()
    with wear(case.lm, case.plus, strength=0.25):
        after, quarter = case.weights(), logits(case.lm)
    with wear(case.lm, 0.5 * case.plus, strength=0.5):  # strengths multiply
        assert torch.equal(logits(case.lm), quarter)
    for linear in case.lm.linears:
        weight = before[linear.name]
        assert torch.equal(after[linear.name], torch.where(case.mask(linear), weight, 0.75 * weight))
    with wear(case.lm, case.plus):
        full = logits(case.lm)
    assert 0 < (quarter - logits(case.lm)).norm() < (full - logits(case.lm)).norm()


# Files


def test_save_and_load(case: Case, tmp_path: Path) -> None:
    loaded = open_persona(case.plus.save(tmp_path / "plus.persona"))
    assert isinstance(loaded.edit, MaskEdit)
    assert (loaded.name, loaded.pole, loaded.groups) == (case.plus.name, case.plus.pole, case.plus.groups)
    assert loaded.provenance == case.plus.provenance
    rebuilt = loaded.edit.masks(case.lm)
    assert rebuilt is not case.masks()
    assert rebuilt.checksum == loaded.edit.checksum == case.masks().checksum
    assert all(torch.equal(rebuilt.bits[name], packed) for name, packed in case.masks().bits.items())
    with wear(case.lm, case.plus):
        expected = bits(case.lm.model)
    with wear(case.lm, loaded):
        assert same(bits(case.lm.model), expected)


def test_packed_masks_equal_those_found(case: Case, tmp_path: Path) -> None:
    packed = case.plus.packed(case.lm)
    assert isinstance(packed.edit, MaskEdit)
    assert packed.edit.recipe is None
    with wear(case.lm, case.plus):
        expected = bits(case.lm.model)
    for persona in (packed, open_persona(packed.save(tmp_path / "packed.persona"))):
        with wear(case.lm, persona):
            assert same(bits(case.lm.model), expected)


def test_another_model_is_refused(case: Case, fresh_llama: LoadedModel) -> None:
    fresh_llama.weight(fresh_llama.linears[0])[0, 0] += 1
    before = bits(fresh_llama.model)
    for persona in (case.plus, case.plus.packed(case.lm)):
        with refused("mixed-plus", "weights are not those of", "extract the persona again"), wear(fresh_llama, persona):
            pass
    assert same(bits(fresh_llama.model), before)


# Restoring


class UnforeseenError(Exception):
    """An error that nothing in the library expects."""


def test_restored_after_an_error_inside_the_block(case: Case) -> None:
    before = bits(case.lm.model)
    with suppress(UnforeseenError), wear(case.lm, case.plus, strength=0.7):
        assert not same(bits(case.lm.model), before)
        raise UnforeseenError
    assert same(bits(case.lm.model), before)


@pytest.mark.parametrize("error", [UnforeseenError, KeyboardInterrupt])
def test_restored_after_an_error_while_applying(
    case: Case, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before, calls, apply = bits(case.lm.model), [], GatedLinear.apply

    def failing(self: GatedLinear, strength: float) -> None:
        calls.append(strength)
        apply(self, strength)
        if len(calls) == 3:
            raise error

    monkeypatch.setattr(GatedLinear, "apply", failing)
    with pytest.raises(error), wear(case.lm, case.plus):
        pytest.fail("the block must not run")
    assert len(calls) == 3
    assert same(bits(case.lm.model), before)


@pytest.mark.parametrize("half_done", [False, True])
def test_restored_although_interrupted_while_restoring(
    case: Case, monkeypatch: pytest.MonkeyPatch, half_done: bool
) -> None:
    before, calls, restore = bits(case.lm.model), [], GatedLinear.restore

    def interrupted(self: GatedLinear, weight: Tensor | None = None) -> None:
        calls.append(self)
        if half_done or len(calls) != 3:
            restore(self, weight)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(GatedLinear, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt), wear(case.lm, case.plus):
        pass
    assert same(bits(case.lm.model), before)


# Nesting


def test_gates_multiply_and_come_off_in_turn(case: Case) -> None:
    base, bare = case.weights(), bits(case.lm.model)
    with wear(case.lm, case.plus, strength=0.5):
        outer = bits(case.lm.model)
        with wear(case.lm, case.minus, strength=0.25):
            both, inner = case.weights(), bits(case.lm.model)
            assert case.lm.worn == ("0.5*mixed-plus", "0.25*mixed-minus")
            for linear in case.lm.linears:
                assert torch.equal(case.lm.base_weight(linear), base[linear.name])
        assert same(bits(case.lm.model), outer)
        for linear in case.lm.linears:
            assert torch.equal(case.lm.base_weight(linear), base[linear.name])
    assert same(bits(case.lm.model), bare)
    for linear in case.lm.linears:
        gate = torch.where(case.mask(linear), 1, 0.5) * torch.where(case.mask(linear, case.minus), 1, 0.75)
        torch.testing.assert_close(both[linear.name], gate * base[linear.name], rtol=1e-6, atol=0)
    with wear(case.lm, 0.5 * case.plus + 0.25 * case.minus):  # one plan is the same as two blocks
        assert same(bits(case.lm.model), inner)


def test_masks_built_while_another_is_worn_are_those_of_the_bare_model(case: Case, tmp_path: Path) -> None:
    loaded = open_persona(case.minus.save(tmp_path / "minus.persona"))
    assert isinstance(loaded.edit, MaskEdit)
    method = case.plus.provenance["method"]
    with wear(case.lm, case.plus), wear(case.lm, case.minus, strength=0.5):
        assert loaded.edit.masks(case.lm).checksum == case.masks(case.minus).checksum
        again = extract(
            case.lm,
            mixed_contrast(),
            method=method["name"],
            sparsity=0.3,
            signatures=case.plus.signatures,
            settings=method["parameters"],
        )
    assert case.masks(again.plus).checksum == case.masks(case.plus).checksum


# Generation


def test_cached_generation_equals_a_full_pass(case: Case) -> None:
    ids = tokens(24, seed=3)  # longer than the sliding windows of the tiny models
    with wear(case.lm, case.plus), torch.no_grad():
        full = logits(case.lm, ids)
        out = case.lm.model(input_ids=ids[:, :6], use_cache=True)
        steps = [out.logits]
        for position in range(6, ids.shape[1]):
            out = case.lm.model(
                input_ids=ids[:, position : position + 1], past_key_values=out.past_key_values, use_cache=True
            )
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), full, rtol=1e-4, atol=1e-4)


def test_left_padding_is_neutral(case: Case) -> None:
    short, long = tokens(7, seed=1), tokens(20, seed=2)
    padding = long.shape[1] - short.shape[1]
    ids = torch.cat([torch.nn.functional.pad(short, (padding, 0), value=0), long])
    attention = torch.ones_like(ids)
    attention[0, :padding] = 0
    with wear(case.lm, case.plus), torch.no_grad():
        alone = logits(case.lm, short), logits(case.lm, long)
        batch = case.lm.model(
            input_ids=ids, attention_mask=attention, position_ids=(attention.cumsum(1) - 1).clamp_min(0)
        ).logits
    torch.testing.assert_close(batch[:1, padding:], alone[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batch[1:], alone[1], rtol=1e-4, atol=1e-4)


def test_batch_rows_are_independent(case: Case) -> None:
    ids = tokens(10, seed=4, rows=3)
    with wear(case.lm, case.plus):
        batch = logits(case.lm, ids)
        rows = torch.cat([logits(case.lm, row) for row in torch.split(ids, 1)])
        neighbours = logits(case.lm, torch.cat([ids[:1], tokens(10, seed=5, rows=2)]))
    torch.testing.assert_close(batch, rows, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(neighbours[0], batch[0], rtol=1e-5, atol=1e-5)


# Loading type


@pytest.fixture(scope="module")
def two_dtypes(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedModel, LoadedModel]:
    """One checkpoint whose weights are bf16 values, loaded as fp32 and as bf16."""
    folder = make_tiny(tmp_path_factory.mktemp("rounded"), "llama")
    file = folder / "model.safetensors"
    save_file({name: t.bfloat16().float() for name, t in load_file(file).items()}, file, {"format": "pt"})
    single, half = (load_model(str(folder), dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16"))
    return single, half


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_masks_do_not_depend_on_the_loading_type(
    two_dtypes: tuple[LoadedModel, LoadedModel], method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    single, half = two_dtypes
    found = extract(single, mixed_contrast(), method=method, sparsity=0.3, settings=options)
    for persona in (found.plus, found.minus):
        loaded = open_persona(persona.save(tmp_path / "saved.persona"))
        before = bits(half.model)
        with wear(half, loaded):  # compares fingerprint and checksum
            assert not same(bits(half.model), before)
        assert same(bits(half.model), before)


def test_every_method_is_covered() -> None:
    assert {find_method(method).name for method, _ in VARIANTS} == {
        "wanda",
        "sparse",
        "contrastive-wanda",
        "contrastive-sparse",
        "contrastive-tilt",
        "sparsegpt",
        "contrastive-sparsegpt",
    }
