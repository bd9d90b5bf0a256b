"""Plans and wearing them: arithmetic, strengths, prompts, partial masks, refusals, real interrupts; packed masks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from support import bits, hooks, logits, mixed_contrast, same
from torch import Tensor

from temperament.language_model import LanguageModel
from temperament.methods import Recipe, SparsityPlan
from temperament.models import LoadedModel, load_model
from temperament.personas import MaskEdit, PackedMasks, Persona, Plan, extract, mask_statistics, open_persona
from temperament.personas.masks import build_masks, pack, unpack
from temperament.wear import wear
from temperament.wear.masks import GatedLinear


@pytest.fixture(scope="module")
def lm(tiny_folders: dict[str, Path]) -> LanguageModel:
    loaded: LanguageModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu", factory=LanguageModel)
    return loaded


@pytest.fixture(scope="module")
def poles(lm: LanguageModel) -> tuple[Persona, Persona]:
    found = extract(lm, mixed_contrast())
    return found.plus, found.minus


@pytest.fixture(autouse=True)
def untouched(lm: LanguageModel) -> Iterator[None]:
    """Every test must leave the model as it was found."""
    before = bits(lm.model)
    yield
    assert same(bits(lm.model), before)
    assert (lm.worn, lm.system_prompt, lm.restorers, hooks(lm.model)) == ((), None, [], 0)


# Plans


def test_plan_arithmetic(poles: tuple[Persona, Persona]) -> None:
    a, b = poles
    plan = 0.7 * a + 0.3 * b
    assert plan.items == ((a, 0.7), (b, 0.3))
    assert str(plan) == "0.7*mixed-plus + 0.3*mixed-minus"
    assert (a * 0.7 + b * 0.3) == plan
    assert (a + b).items == ((a, 1.0), (b, 1.0))
    assert (0.7 * a + b).items == ((a, 0.7), (b, 1.0))
    assert (a + 0.5 * b + a).items == ((a, 1.0), (b, 0.5), (a, 1.0))
    assert (0.5 * plan).items == (plan * 0.5).items == ((a, 0.35), (b, 0.15))
    assert (2 * (0.5 * a)).items == ((a, 1.0),)


def test_a_plan_of_anything(poles: tuple[Persona, Persona]) -> None:
    a, _ = poles
    assert Plan.of(None) == Plan()
    assert str(Plan()) == "nothing"
    assert Plan.of(a).items == ((a, 1.0),)
    assert Plan.of(a, 0.25) == 0.25 * a
    assert Plan.of(0.5 * a, 0.5) == 0.25 * a


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), float("inf")])
def test_mask_strengths_are_0_to_1(lm: LanguageModel, poles: tuple[Persona, Persona], strength: float) -> None:
    with refused(f"strength {strength} of the mask persona 'mixed-plus'", "use 0 to 1", "opposite pole"):
        strength * poles[0]
    with refused(f"strength {strength}"):
        lm.wear(poles[0], strength).__enter__()


def test_prompt_strengths_are_0_or_1(lm: LanguageModel) -> None:
    shy = Persona.from_prompt("Be shy.", "shy")
    with refused("strength 0.5 of the prompt persona 'shy'", "use 0 or 1"), lm.wear(shy, strength=0.5):
        pass
    assert [(share * shy).items for share in (0, 1)] == [((shy, 0),), ((shy, 1),)]


# Wearing


def test_the_method_and_the_function_do_the_same(lm: LanguageModel, poles: tuple[Persona, Persona]) -> None:
    with lm.wear(0.5 * poles[0]) as inside:
        assert inside is lm
        by_method = bits(lm.model)
    with wear(lm, 0.5 * poles[0]):
        assert same(bits(lm.model), by_method)


def test_prompts_stack_in_order_and_come_off(lm: LanguageModel) -> None:
    first, second = Persona.from_prompt("Be shy.", "shy"), Persona.from_prompt("Be brief.", "brief")
    bare = lm.prompt_ids("Hm?")
    with lm.wear(first):
        with lm.wear(second):
            assert lm.system_prompt == "Be shy.\n\nBe brief."
            assert len(lm.prompt_ids("Hm?")) > len(bare)
        assert lm.system_prompt == "Be shy."
    with lm.wear(first + second):
        assert lm.system_prompt == "Be shy.\n\nBe brief."
        assert lm.worn == ("1*shy", "1*brief")
    with lm.wear(0 * first):
        assert lm.system_prompt is None
    assert lm.prompt_ids("Hm?") == bare


def test_a_mask_from_a_file_may_be_worn_under_a_prompt(
    tiny_folders: dict[str, Path], poles: tuple[Persona, Persona], tmp_path: Path
) -> None:
    """On a model just loaded nothing has asked for its fingerprint yet; a prompt does not change it."""
    fresh: LoadedModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu")
    base, loaded = logits(fresh), open_persona(poles[0].save(tmp_path / "plus.persona"))
    with wear(fresh, Persona.from_prompt("Be shy.")), wear(fresh, loaded):
        assert not torch.equal(logits(fresh), base)
    assert torch.equal(logits(fresh), base)


def test_exceptions_from_the_sparsity_leave_linears_alone(lm: LanguageModel, tmp_path: Path) -> None:
    """Rules keep their order in the file: layer 0 is exempt although ``mlp`` comes later in the alphabet."""
    found = extract(
        lm, mixed_contrast(), method="wanda", sparsity={"mlp": 0.5, "attention.layers.1": 0.25, "layers.0": 0}
    )
    before = bits(lm.model)
    for persona in (found.plus, open_persona(found.plus.save(tmp_path / "plus.persona"))):
        with lm.wear(persona):
            after = bits(lm.model)
        changed = {name.removesuffix(".weight") for name in before if not torch.equal(before[name], after[name])}
        assert changed == {linear.name for linear in lm.linears if linear.layer == 1}
        assert isinstance(persona.edit, MaskEdit)
        zeros = {
            linear.kind: 1 - mask.float().mean().item()
            for linear in lm.linears
            if (mask := persona.edit.masks(lm).mask(linear)) is not None
        }
        assert zeros == {
            **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), 0.25),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), 0.5),
        }


def test_everything_is_checked_before_the_first_weight_changes(
    lm: LanguageModel, poles: tuple[Persona, Persona]
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("an edit was made")

    good, other = poles
    stranger = replace(other, provenance={**other.provenance, "model": {"name": "elsewhere/model", "fingerprint": "0"}})
    assert isinstance(other.edit, MaskEdit)
    spoiled = replace(other, edit=MaskEdit(other.edit.sparsity, "0" * 64, recipe=other.edit.recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GatedLinear, "__init__", forbidden)
        with refused("made from elsewhere/model", "load elsewhere/model"), lm.wear(good + stranger):
            pass
        with refused("differs from the one that was saved", "extract again"), lm.wear(good + spoiled):
            pass


def test_a_recipe_of_another_width_is_refused(lm: LanguageModel) -> None:
    recipe = Recipe("product", "plus", torch.ones(1, 10))
    with refused("10 inputs", f"the model has {lm.width}", "the model it was made from"):
        build_masks(lm, recipe, SparsityPlan.of(0.5))


def test_a_selector_that_fits_nothing_is_refused(lm: LanguageModel) -> None:
    with refused("'layers.7'", "its layers 0 to 1"):
        extract(lm, mixed_contrast(), sparsity={"layers.7": 0.2})


def test_only_masks_can_be_packed(lm: LanguageModel) -> None:
    with refused("'shy' is a prompt persona", "only masks can be packed"):
        Persona.from_prompt("Be shy.", "shy").packed(lm)


def test_nested_blocks_restore_after_an_error(lm: LanguageModel, poles: tuple[Persona, Persona]) -> None:
    before = bits(lm.model)
    with lm.wear(poles[0]):
        outer = bits(lm.model)
        with suppress(ZeroDivisionError), lm.wear(poles[1]), lm.wear(0.5 * poles[0]):
            raise ZeroDivisionError
        assert same(bits(lm.model), outer)
    assert same(bits(lm.model), before)


def test_one_persona_worn_twice(lm: LanguageModel, poles: tuple[Persona, Persona]) -> None:
    with lm.wear(0.75 * poles[0]):
        once = bits(lm.model)
    with lm.wear(0.5 * poles[0] + 0.5 * poles[0]):  # gates multiply: ½ · ½ = ¼
        assert same(bits(lm.model), once)


@pytest.mark.parametrize("call", [1, 2, 7, 14])
@pytest.mark.parametrize("after", [False, True])
def test_a_real_interrupt_while_restoring(
    lm: LanguageModel, poles: tuple[Persona, Persona], monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    before, calls, restore = bits(lm.model), 0, GatedLinear.restore

    def interrupted(self: GatedLinear, weight: Tensor | None = None) -> None:
        nonlocal calls
        calls += 1
        if after:
            restore(self, weight)
        if calls == call:
            signal.raise_signal(signal.SIGINT)
        restore(self, weight)

    monkeypatch.setattr(GatedLinear, "restore", interrupted)
    before_signal = signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells start jobs that ignore it
    try:
        with pytest.raises(KeyboardInterrupt), lm.wear(poles[0]):
            pass
    finally:
        signal.signal(signal.SIGINT, before_signal)
    assert calls >= len(lm.linears)
    assert same(bits(lm.model), before)


def test_an_interrupt_leaves_the_outer_persona_on(
    lm: LanguageModel, poles: tuple[Persona, Persona], monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = GatedLinear.restore
    with lm.wear(poles[0]):
        outer = bits(lm.model)
        with ExitStack() as stack:
            stack.enter_context(pytest.raises(KeyboardInterrupt))
            stack.enter_context(lm.wear(poles[1]))
            armed = [True]

            def interrupted(self: GatedLinear, weight: Tensor | None = None) -> None:
                if armed:
                    armed.pop()
                    raise KeyboardInterrupt
                restore(self, weight)

            monkeypatch.setattr(GatedLinear, "restore", interrupted)
        assert same(bits(lm.model), outer)
        assert lm.worn == ("1*mixed-plus",)


# Packed bits and mask statistics


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 16, 33])
def test_packed_bits_unpack_to_the_same_mask(columns: int) -> None:
    mask = torch.rand(5, columns, generator=torch.Generator().manual_seed(columns)) > 0.5
    for layout in (mask, mask.T.contiguous().T):  # GPT-2 keeps its weights the other way round
        packed = pack(layout)
        assert packed.is_contiguous()
        assert packed.shape == (5, -(-columns // 8))
        assert torch.equal(packed, pack(mask))
        assert torch.equal(unpack(packed, columns), mask)


def test_packed_bits_by_hand() -> None:
    mask = torch.tensor([[True, False, False, False, False, False, False, True, True]])
    assert pack(mask).tolist() == [[0b10000001, 0b10000000]]


def test_mask_statistics_by_hand(lm: LanguageModel) -> None:
    """One attention Linear masked by both, one MLP Linear by the first only; all others keep everything."""
    q, up = (next(linear for linear in lm.linears if linear.kind == kind) for kind in ("q_proj", "up_proj"))
    total = sum(rows * columns for rows, columns in (linear.shape for linear in lm.linears))
    attention = sum(linear.part == "attention" for linear in lm.linears)
    left, right, most = (torch.ones(shape, dtype=torch.bool) for shape in (q.shape, q.shape, up.shape))
    left[:, :8], right[:, 4:12], most[0] = False, False, False  # 8 of 32 columns each, 4 of them shared
    first = PackedMasks({q.name: pack(left), up.name: pack(most)})
    second = PackedMasks({q.name: pack(right)})
    rows, columns = q.shape
    lost_by_first, lost_by_either, different = 8 * rows + 32, 12 * rows + 32, 8 * rows + 32
    found = mask_statistics(lm, first, second)
    assert found["sparsity"] == pytest.approx(lost_by_first / total)
    assert found["jaccard"] == pytest.approx((total - lost_by_either) / (total - lost_by_either + different))
    shares = {"attention": 8 / columns / attention, "mlp": (1 / up.shape[0]) / (len(lm.linears) - attention)}
    whole = (8 / columns + 1 / up.shape[0]) / len(lm.linears)
    assert found["differential_ratio"] == pytest.approx({"all": whole, **shares})
    only = {"plus": {"q_proj": 4 * rows, "up_proj": 32}, "minus": {"q_proj": 4 * rows, "up_proj": 0}}
    assert found["by_layer"] == {"plus": [4 * rows + 32, 0], "minus": [4 * rows, 0]}
    modules: Any = found["by_module"]
    assert {pole: {kind: kinds[kind] for kind in only[pole]} for pole, kinds in modules.items()} == only
    assert sum(sum(kinds.values()) for kinds in modules.values()) == 8 * rows + 32


def test_blocks_that_end_out_of_order_restore_exactly(lm: LanguageModel) -> None:
    """Generators can end an outer block first; its edit then comes off when the inner one does."""
    found = extract(lm, mixed_contrast())
    before = bits(lm.model)
    outer, inner = lm.wear(found.plus), lm.wear(found.minus, 0.5)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert lm.worn
    inner.__exit__(None, None, None)
    after = bits(lm.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert lm.worn == ()
    assert lm.sessions == []
    assert lm.restorers == []
