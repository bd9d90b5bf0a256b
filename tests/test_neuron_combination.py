"""Several neuron personas at once: hand-worked tables, plans that equal other plans, arithmetic with signs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from expect import refused
from made import neuron_persona
from support import bits, logits, mixed_contrast, same, tokens
from wearing import Worn, by_hand, edited, left_as_found, neurons

from temperament.calibration import resolve_contrast
from temperament.language_model import LanguageModel
from temperament.methods import Neurons
from temperament.models import load_model
from temperament.personas import NeuronEdit, Persona, Plan, extract
from temperament.wear.neurons import combine


def made(delta: dict[int, float], a95: float = 0.5, *, gamma: float = 2.0, weighted: bool = False) -> NeuronEdit:
    """Neurons of a model of two layers of four, each with the same a95: raised by γ · a95 = 1 unless weighted."""
    index = sorted(delta)
    found = Neurons(torch.tensor(index), torch.tensor([delta[i] for i in index]), torch.full((len(index),), float(a95)))
    return NeuronEdit((4, 4), found, gamma, weighted)


def table(*row: tuple[NeuronEdit, float]) -> tuple[list[float], list[float]]:
    keep, add = combine(row, 8)
    return keep.tolist(), add.tolist()


ONES, ZEROS = [1.0] * 8, [0.0] * 8


def with_values(values: Sequence[float], **changes: float) -> list[float]:
    """A copy in which ``n3=5`` sets neuron 3 to 5."""
    result = list(values)
    for name, value in changes.items():
        result[int(name.removeprefix("n"))] = value
    return result


# Tables by hand


def test_one_edit_raises_its_own_neurons_and_lowers_the_others() -> None:
    edit = made({0: 0.5, 3: -0.25, 6: 0.125})
    assert table((edit, 1.0)) == (with_values(ONES, n3=0), with_values(ZEROS, n0=1, n6=1))
    assert table((edit, -1.0)) == (with_values(ONES, n0=0, n6=0), with_values(ZEROS, n3=1))
    assert table((edit, 0.25)) == (with_values(ONES, n3=0.75), with_values(ZEROS, n0=0.25, n6=0.25))
    assert table((edit, -0.25)) == (with_values(ONES, n0=0.75, n6=0.75), with_values(ZEROS, n3=0.25))
    assert table((edit, 2.0)) == (with_values(ONES, n3=0), with_values(ZEROS, n0=2, n6=2))
    assert table((edit, -3.0)) == (with_values(ONES, n0=0, n6=0), with_values(ZEROS, n3=3))


def test_the_raise_is_gamma_times_a95_times_f() -> None:
    """f(.15) = ½, f(.15 + ln 3 / 10) = ¾, f(.15 − ln 3 / 10) = ¼, whatever the sign of δ."""
    step = math.log(3) / 10
    edit = made({1: 0.15, 2: 0.15 + step, 5: 0.15 - step, 7: -0.15}, a95=3.0, gamma=4.0, weighted=True)
    keep, add = combine(((edit, 1.0),), 8)
    torch.testing.assert_close(add, torch.tensor([0, 6.0, 9.0, 0, 0, 3.0, 0, 0]))
    assert keep.tolist() == with_values(ONES, n7=0)
    keep, add = combine(((edit, -0.5),), 8)
    torch.testing.assert_close(add, torch.tensor([0, 0, 0, 0, 0, 0, 0, 3.0]))
    assert keep.tolist() == with_values(ONES, n1=0.5, n2=0.5, n5=0.5)


def test_a_neuron_claimed_twice_follows_the_larger_weighted_difference() -> None:
    """Neuron 0: .5 against .2; neuron 1: .25 against .375; neuron 2 is claimed by the second edit alone."""
    first, second = made({0: 0.5, 1: 0.25}), made({0: -0.2, 1: -0.375, 2: 0.125})
    expected = (with_values(ONES, n1=0), with_values(ZEROS, n0=1, n2=1))
    assert table((first, 1.0), (second, 1.0)) == expected
    assert table((second, 1.0), (first, 1.0)) == expected
    # at three times the weight the second one wins neuron 0 as well: .6 against .5
    expected = (with_values(ONES, n0=0, n1=0), with_values(ZEROS, n2=3))
    assert table((first, 1.0), (second, 3.0)) == table((second, 3.0), (first, 1.0)) == expected
    # at half the weight the first one wins both: .25 against .1875
    expected = (ONES, with_values(ZEROS, n0=1, n1=1, n2=0.5))
    assert table((first, 1.0), (second, 0.5)) == table((second, 0.5), (first, 1.0)) == expected


def test_the_winner_brings_its_own_strength() -> None:
    """Neuron 4 is lowered by a quarter: |.25 · −.8| = .2 beats |1 · .15| = .15."""
    strong, weak = made({4: -0.8, 0: 0.1}), made({4: 0.15}, a95=3.0)
    assert table((strong, 0.25), (weak, 1.0)) == (with_values(ONES, n4=0.75), with_values(ZEROS, n0=0.25))
    assert table((strong, -0.25), (weak, -1.0)) == (with_values(ONES, n0=0.75), with_values(ZEROS, n4=0.25))


def test_the_first_of_equal_claims_wins() -> None:
    first, second = made({0: 0.5, 4: 0.25}), made({0: -0.5, 4: -0.5})
    assert table((first, 1.0), (second, 1.0)) == (with_values(ONES, n4=0), with_values(ZEROS, n0=1))
    assert table((second, 1.0), (first, 1.0)) == (with_values(ONES, n0=0, n4=0), ZEROS)
    assert table((first, 2.0), (second, 1.0)) == (ONES, with_values(ZEROS, n0=2, n4=2))  # a tie at neuron 4
    assert table((second, 1.0), (first, 2.0)) == (with_values(ONES, n4=0), with_values(ZEROS, n0=2))


def test_equal_edits_count_as_one() -> None:
    """Weights add up before neurons are claimed: ½ · .5 + ½ · .5 beats .375, each half alone does not."""
    edit, other = made({0: 0.5, 3: -0.5}), made({0: -0.375})
    again = made({0: 0.5, 3: -0.5})
    assert table((edit, 0.5), (again, 0.5)) == table((edit, 1.0))
    assert table((edit, 0.5), (other, 1.0), (again, 0.5)) == table((edit, 1.0), (other, 1.0))
    assert table((edit, 0.5), (other, 1.0)) == (with_values(ONES, n0=0, n3=0.5), ZEROS)
    assert table((edit, 0.75), (again, 0.75)) == table((edit, 1.5))
    assert table((edit, 1.0), (again, -0.25)) == table((edit, 0.75))
    assert table((edit, 0.25), (again, -1.0)) == table((edit, -0.75))


def test_weights_that_cancel_are_the_base() -> None:
    edit, other = made({0: 0.5, 3: -0.5}), made({0: -0.125, 5: 0.125})
    assert table((edit, 1.0), (edit, -1.0)) == (ONES, ZEROS)
    assert table() == table((edit, 0.0)) == (ONES, ZEROS)
    assert table((edit, 0.5), (other, 1.0), (edit, -0.5)) == table((other, 1.0))


@pytest.mark.parametrize(
    "change", [{"gamma": 1.0}, {"weighted": True}, {"widths": (8,)}, {"variant": "released"}, {"seed": 1}]
)
def test_edits_that_differ_in_anything_are_told_apart(change: dict[str, object]) -> None:
    edit = made({0: 0.5, 3: -0.5})
    other = replace(edit, **change)  # type: ignore[arg-type]
    assert edit != other
    assert edit.identity != other.identity
    assert len({edit, other, made({0: 0.5, 3: -0.5})}) == 2
    assert table((edit, 1.0), (other, 1.0)) == table((edit, 1.0))  # a tie, not a sum
    for moved in (made({0: 0.5, 2: -0.5}), made({0: 0.5, 3: -0.25}), made({0: 0.5, 3: -0.5}, a95=0.25)):
        assert edit != moved


# Plans on a model


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> LanguageModel:
    loaded: LanguageModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu", factory=LanguageModel)
    return loaded


@pytest.fixture(scope="module")
def personas(model: LanguageModel) -> tuple[Persona, Persona, Persona]:
    """Plus poles of three contrasts, some of whose neurons are the same."""
    sources = (mixed_contrast(), resolve_contrast("openness", limit=6), resolve_contrast("neuroticism", limit=6))
    settings = {"count": 20, "gamma": 1.0}
    a, b, c = (extract(model, source, method="neurons", settings=settings).plus for source in sources)
    claims = [index for persona in (a, b, c) for index in neurons(persona).neurons.index.tolist()]
    assert len(set(claims)) < len(claims)
    return a, b, c


@pytest.fixture
def lm(model: LanguageModel) -> Iterator[LanguageModel]:
    """A model that every test must leave as it was found."""
    with left_as_found(model):
        yield model


def worn(lm: LanguageModel, plan: Worn | Sequence[Worn], strength: float = 1.0) -> torch.Tensor:
    with lm.wear(plan, strength):
        return logits(lm, tokens(10, rows=2))


def test_plans_that_equal_other_plans(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    a, b, _ = personas
    for plan, other in (
        (0.5 * a + 0.5 * a, 1.0 * a),
        (a + b + -1.0 * a, 1.0 * b),
        (a + -a, Plan()),
        (0.25 * a + b + 0.75 * a, a + b),
        (-a + 0.5 * b, -1 * (a + -0.5 * b)),
    ):
        assert torch.equal(worn(lm, plan), worn(lm, other)), str(plan)
    assert not torch.allclose(worn(lm, a + b), worn(lm, a), atol=1e-3)
    assert not torch.allclose(worn(lm, a + b), worn(lm, b), atol=1e-3)


def test_both_poles_of_one_file_take_from_each_other(lm: LanguageModel) -> None:
    found = extract(lm, mixed_contrast(), method="neurons", settings={"count": 5})
    plus, minus = found.plus, found.minus
    assert torch.equal(worn(lm, plus + minus), worn(lm, None))
    assert torch.equal(worn(lm, plus + 0.25 * minus), worn(lm, 0.75 * plus))
    assert torch.equal(worn(lm, 0.25 * plus + minus), worn(lm, -0.75 * plus))
    assert torch.equal(worn(lm, plus + -1.0 * minus), worn(lm, 2.0 * plus))
    assert torch.equal(worn(lm, -plus), worn(lm, minus))


def test_the_order_of_a_plan_does_not_matter(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    parts = list(zip((0.9, 1.1, -0.7), personas, strict=True))
    claims = [
        dict(zip(neurons(p).neurons.index.tolist(), (s * neurons(p).neurons.delta).tolist(), strict=True))
        for s, p in parts
    ]
    contested = [sorted(abs(c[i]) for c in claims if i in c) for i in range(96)]
    assert all(len(set(values)) == len(values) for values in contested), "no ties"
    found = [worn(lm, Plan(tuple((persona, share) for share, persona in order))) for order in permutations(parts)]
    assert all(torch.equal(other, found[0]) for other in found[1:])


def test_nested_blocks_equal_one_plan(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    a, b, c = personas
    together = worn(lm, 0.9 * a + -1.1 * b + 0.7 * c)
    with lm.wear(0.9 * a):
        outer = logits(lm, tokens(10, rows=2))
        with lm.wear(b, -1.1):
            with lm.wear(0.7 * c):
                assert torch.equal(logits(lm, tokens(10, rows=2)), together)
                assert lm.worn == ("0.9*mixed-plus", "-1.1*openness-plus", "0.7*neuroticism-plus")
            assert not torch.equal(logits(lm, tokens(10, rows=2)), outer)
        assert torch.equal(logits(lm, tokens(10, rows=2)), outer)
        with lm.wear(-0.9 * a):
            cancelled = logits(lm, tokens(10, rows=2))
    assert torch.equal(cancelled, worn(lm, None))


def test_the_outer_block_wins_a_tie(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    """As the first of a plan does: two edits that differ in γ alone claim every neuron equally."""
    a = personas[0]
    more = replace(a, edit=replace(neurons(a), gamma=3.0))
    base, least, most = worn(lm, None), worn(lm, a), worn(lm, more)
    assert not torch.allclose(least, most, atol=1e-3)
    assert torch.equal(worn(lm, a + more), least)
    assert torch.equal(worn(lm, more + a), most)
    for outer, inner, expected in ((a, more, least), (more, a, most), (a, -more, least)):
        with lm.wear(outer):
            assert torch.equal(worn(lm, inner), expected)
            assert torch.equal(worn(lm, [inner, None]), expected)
            assert torch.equal(worn(lm, -1.0 * outer), base)
        with lm.wear([outer, outer]):
            assert torch.equal(worn(lm, inner), expected)


def test_two_personas_edit_the_values_as_their_table_says(
    lm: LanguageModel, personas: tuple[Persona, Persona, Persona]
) -> None:
    """Every neuron follows the one of both that claims it more, by Eq. 4."""
    a, b, _ = personas
    ((raw, found),) = edited(lm, a + -3 * b, lambda: logits(lm))
    claims = torch.zeros(2, 96)
    for row, (persona, strength) in enumerate(((a, 1.0), (b, 3.0))):
        claims[row, neurons(persona).neurons.index] = strength * neurons(persona).neurons.delta.abs()
    by_a, by_b = by_hand(neurons(a), raw, 1), by_hand(neurons(b), raw, -1, 3.0)
    assert bool((claims[0] > claims[1]).any())
    assert bool(((claims[1] > claims[0]) & (claims[0] > 0)).any())
    torch.testing.assert_close(found, torch.where(claims[0] >= claims[1], by_a, by_b), rtol=1e-6, atol=1e-6)


def test_a_mask_a_prompt_and_neurons_in_one_plan(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    mask, prompt, a = extract(lm, mixed_contrast()).plus, Persona.from_prompt("Be shy.", "shy"), personas[0]
    with lm.wear(0.5 * mask):
        gated = bits(lm.model)
        with lm.wear(0.8 * a):
            expected = logits(lm)
    neurons_only, bare_ids = worn(lm, a, 0.8), lm.prompt_ids("Hm?")
    for plan in (0.5 * mask + prompt + 0.8 * a, 0.8 * a + prompt + 0.5 * mask):
        with lm.wear(plan):
            assert same(bits(lm.model), gated)
            assert torch.equal(logits(lm), expected)
            assert lm.system_prompt == "Be shy."
            assert len(lm.prompt_ids("Hm?")) > len(bare_ids)
            answer = lm.chat("Hm?", max_tokens=6)
            assert lm.generate(["Hm?", "Hm?"], max_tokens=6) == [answer, answer]
    assert torch.equal(worn(lm, a, 0.8), neurons_only)


# What does not go together


def test_the_variants_do_not_mix(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    a, b, c = personas
    late, other_seed = (
        replace(persona, edit=replace(neurons(persona), variant="released", seed=seed))
        for persona, seed in ((b, 42), (c, 7))
    )
    reason = "published and the released variant, or of different seeds"
    for plan in (a + late, late + a, late + other_seed):
        with refused(reason, "same variant and seed"), lm.wear(plan):
            pass
    for rows in ([a, late], [late, None, other_seed]):
        with refused(reason), lm.wear(rows):
            pass
    for outer, inner in ((a, late), (late, a), (late, other_seed)):
        with lm.wear(outer):
            before = logits(lm)
            with refused(reason), lm.wear(inner):
                pass
            assert torch.equal(logits(lm), before)
    twin = replace(c, edit=replace(neurons(c), variant="released", seed=42))
    assert not torch.equal(worn(lm, late + twin), worn(lm, late))
    assert not torch.equal(worn(lm, a + 0 * late), worn(lm, None))


def test_seeds_of_the_published_variant_do_not_matter(
    lm: LanguageModel, personas: tuple[Persona, Persona, Persona]
) -> None:
    a, b, _ = personas
    assert torch.equal(worn(lm, a + replace(b, edit=replace(neurons(b), seed=7))), worn(lm, a + b))


# Arithmetic with signs


def test_plans_take_any_sign() -> None:
    a = neuron_persona()
    assert (-a).items == (-1 * a).items == (a * -1.0).items == ((a, -1.0),)
    assert (-(0.5 * a)).items == ((a, -0.5),)
    assert (-0.5 * (a + -2 * a)).items == ((a, -0.5), (a, 1.0))
    assert (a + -a).items == ((a, 1.0), (a, -1.0))
    assert (3 * a).items == ((a, 3.0),)
    assert str(-a + 0.5 * a) == "-1*outgoing + 0.5*outgoing"
    assert (0 * a + -0.0 * a).active == ()
    assert Plan.of(a, -2.5).active == ((a, -2.5),)


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -float("inf")])
def test_a_strength_is_a_number(lm: LanguageModel, strength: float) -> None:
    with refused(f"strength {strength} of the neuron persona 'outgoing'", "use a number such as"):
        strength * neuron_persona()
    with refused(f"strength {strength} of the neuron persona"), lm.wear(neuron_persona(), strength):
        pass


def test_masks_still_refuse_other_strengths(lm: LanguageModel, personas: tuple[Persona, Persona, Persona]) -> None:
    mask = extract(lm, mixed_contrast()).plus
    half, both = 0.5 * mask, personas[0] + mask
    for plan, factor in ((1.0 * mask, -1.0), (half, -1.0), (both, -1.0), (1.0 * mask, 1.5), (half, 2.5)):
        with refused("of the mask persona 'mixed-plus'", "use 0 to 1"):
            factor * plan
    for strength, negated in (("-1.0", mask.__neg__), ("-0.5", half.__neg__)):
        with refused(f"strength {strength} of the mask persona"):
            negated()
    with refused("strength -0.5 of the mask persona"), lm.wear(personas[0] + 0.5 * mask, -1):
        pass


def test_prompts_have_no_opposite(lm: LanguageModel) -> None:
    shy = Persona.from_prompt("Be shy.", "shy")
    with refused("strength -1.0 of the prompt persona 'shy'", "use 0 or 1"), lm.wear(-1 * (neuron_persona() + shy)):
        pass


@pytest.mark.parametrize("sign", [1, -1])
def test_neurons_of_one_pole_have_no_opposite(lm: LanguageModel, sign: int) -> None:
    persona = neuron_persona()
    edit = neurons(persona)
    kept = edit.neurons.on(sign)
    half = Neurons(edit.neurons.index[kept], edit.neurons.delta[kept], edit.neurons.a95[kept])
    one_sided = replace(persona, edit=replace(edit, neurons=half))
    for strength in (-1.0, -0.1):
        with refused(f"strength {strength} of the neuron persona 'outgoing'", "neurons of one pole only", "0 or more"):
            strength * one_sided
    with refused("strength -1.0"), lm.wear(one_sided, -1):
        pass
    assert (2 * one_sided).items == ((one_sided, 2),)
    assert (0 * one_sided).active == ()


def test_one_sided_personas_can_be_worn(lm: LanguageModel) -> None:
    """One with neurons of its own pole only raises, one with none of them only lowers."""
    found = extract(lm, mixed_contrast(), method="neurons", settings={"count": 5})
    edit = neurons(found.plus)
    for sign in (1, -1):
        kept = edit.neurons.on(sign)
        half = Neurons(edit.neurons.index[kept], edit.neurons.delta[kept], edit.neurons.a95[kept])
        one_sided = replace(found.plus, edit=replace(edit, neurons=half))
        ((raw, after),) = edited(lm, one_sided, lambda: logits(lm))
        changed = (raw != after).any(1)[0].nonzero().flatten().tolist()
        assert changed == half.index.tolist()
        assert bool((after >= raw).all()) == (sign == 1)


def test_subtracting_wears_the_opposite(personas: tuple[Persona, Persona, Persona]) -> None:
    a, b, _ = personas
    assert (1.5 * a - 0.5 * b).items == ((a, 1.5), (b, -0.5))
    assert (a - b).items == ((a, 1.0), (b, -1.0))
    assert (a - (b - 0.5 * a)).items == ((a, 1.0), (b, -1.0), (a, 0.5))
