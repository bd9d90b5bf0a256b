"""Every score and variant on matrices small enough for paper: the arithmetic stands beside the expected columns."""

from __future__ import annotations

from decimal import Decimal
from math import exp, log, log1p, sqrt
from typing import Any

import pytest
import torch
from expect import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from support import mask_method

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods import MASK_METHODS, METHODS, Recipe, build_mask, find_method
from temperament.methods.contrastive import linked, standardised_difference, tilted
from temperament.methods.recipe import RULES, Rule, contested_masks, normalised_saliency
from temperament.methods.sparse import damped_diagonal
from temperament.models import InputSite
from temperament.signatures import Moments, Signature, SignaturePair

#: One Linear input of four values.
SITE = InputSite("block:input", 0, "mlp", 4, 0, ("block.up",))


def moments(mean: list[float], variance: list[float] | None = None, l2: list[float] | None = None) -> Moments:
    """Statistics of 10 tokens in 2 sentences."""
    zero = [0.0] * len(mean)
    rows = torch.tensor([mean, variance or zero, l2 or zero], dtype=torch.float64)
    return Moments(10, 2, rows[0], 10 * rows[1], 2 * rows[2])


def squares(*values: float) -> Moments:
    """Statistics with these mean squares and nothing else that counts."""
    return moments([sqrt(value) for value in values])


def pair_of(plus: Moments, minus: Moments) -> SignaturePair:
    nothing = Moments.zeros(len(plus.mean))
    return SignaturePair(Signature((plus, nothing)), Signature((minus, nothing)), {}, frozenset())


def recipe(method: str, pole: Pole, plus: Moments, minus: Moments, **options: Any) -> Recipe:
    row = mask_method(method)
    width = len(plus.mean)
    site = SITE if width == 4 else InputSite("block:input", 0, "mlp", width, 0, ("block.up",))
    return row.recipe(pair_of(plus, minus), [site], pole, row.read(options))


def keeps(
    method: str, pole: Pole, plus: Moments, minus: Moments, weight: list[list[float]], sparsity: str, **options: Any
) -> list[list[int]]:
    """The columns that the mask of ``pole`` keeps in every row."""
    found = recipe(method, pole, plus, minus, **options)
    mask = build_mask(torch.tensor(weight), found, found.vectors, Decimal(sparsity))
    return [row.nonzero().flatten().tolist() for row in mask]


UNUSED = moments([0.0] * 4)


# wanda


def test_wanda_with_every_statistic() -> None:
    # mean |x| = (4, 3, 2, 1); rms = √(variance + mean²) = (4, 3, 2, 6); mean sentence norm = (1, 2, 3, 4)
    plus = moments([4, 3, 2, 1], [0, 0, 0, 35], [1, 2, 3, 4])
    weight = [[1.0, -1.0, 2.0, -2.0], [-4.0, 3.0, 1.0, 2.0]]

    def kept_by(**options: str) -> list[list[int]]:
        return keeps("wanda", "plus", plus, UNUSED, weight, "0.5", **options)

    published = [[0, 2], [0, 1]]  # |w|·A = (4, 3, 4, 2) and (16, 9, 2, 2)
    released = [[2, 3], [1, 3]]  # (1, 2, 6, 8) and (4, 6, 3, 8)
    assert kept_by() == kept_by(variant="published") == kept_by(statistic="mean_abs") == published
    assert kept_by(variant="released") == kept_by(statistic="sentence_l2") == released
    assert kept_by(statistic="rms") == [[0, 3], [0, 3]]  # (4, 3, 4, 12): 0 before 2; (16, 9, 2, 12)
    assert kept_by(variant="released", statistic="mean_abs") == published  # a named statistic goes first


def test_wanda_reads_its_own_pole_and_prefers_the_lower_column() -> None:
    plus, minus, weight = moments([2, 1, 1, 0]), moments([0, 1, 2, 2]), [[1.0, 2.0, -2.0, 1.0]]
    assert keeps("wanda", "plus", plus, minus, weight, "0.5") == [[0, 1]]  # (2, 2, 2, 0): 0 and 1 before 2
    assert keeps("wanda", "minus", plus, minus, weight, "0.5") == [[1, 2]]  # (0, 2, 4, 2): 1 before 3
    assert keeps("wanda", "minus", plus, minus, weight, "0.25") == [[1, 2, 3]]


# sparse


def test_sparse_with_damping() -> None:
    # H = (4, 1, 0, 3), mean 2: λ = damping · 2
    plus = squares(4, 1, 0, 3)
    weight = [[1.0, 1.0, 2.0, -1.0], [1.0, -3.0, 1.0, 1.0]]

    def kept_with(**options: float) -> list[list[int]]:
        return keeps("sparse", "plus", plus, UNUSED, weight, "0.5", **options)

    assert kept_with(damping=0) == [[0, 3], [0, 1]]  # (4, 1, 0, 3) and (4, 9, 0, 3)
    assert kept_with(damping=1) == [[0, 2], [0, 1]]  # (6, 3, 8, 5) and (6, 27, 2, 5)
    assert kept_with() == [[0, 3], [0, 1]]  # λ = .02: (4.02, 1.02, .08, 3.02) and (4.02, 9.18, .02, 3.02)
    assert damped_diagonal(plus.mean_square, 0.01).tolist() == pytest.approx([4.02, 1.02, 0.02, 3.02])


def test_sparse_in_blocks() -> None:
    # saliency (4, 1 | 0, 3) and (4, 9 | 0, 3): the best of each block of two
    weight = [[1.0, 1.0, 2.0, -1.0], [1.0, -3.0, 1.0, 1.0]]
    assert keeps("sparse", "plus", squares(4, 1, 0, 3), UNUSED, weight, "0.5", damping=0, block=2) == [[0, 3], [1, 3]]


def test_sparse_squares_the_weight() -> None:
    # 1²·3 = 3 against 2²·1 = 4, where |w|·H would say 3 against 2
    assert keeps("sparse", "plus", squares(3, 1, 0, 0), UNUSED, [[1.0, 2.0, 0.0, 0.0]], "0.75", damping=0) == [[1]]


# contrastive-wanda

# variances .5 + .5 = 1, so z = μ⁺ − μ⁻ = (2, −1, 0, 0)
Z_PLUS, Z_MINUS = moments([3, 4, 1, 2], [0.5] * 4), moments([1, 5, 1, 2], [0.5] * 4)
Z_WEIGHT = [[1.0, -2.0, 1.0, -4.0], [2.0, 2.0, -2.0, 2.0]]


def by_contrast(pole: Pole, sparsity: str, **options: Any) -> list[list[int]]:
    return keeps("contrastive-wanda", pole, Z_PLUS, Z_MINUS, Z_WEIGHT, sparsity, **options)


def test_contrastive_wanda_relu_breaks_ties_by_wanda() -> None:
    # plus: |w|·φ(z) = (2, 0, 0, 0), wanda (3, 8, 1, 8): 0, then 1 before 3; and (4, 0, 0, 0), wanda (6, 8, 2, 4)
    assert by_contrast("plus", "0.75") == [[0], [0]]
    assert by_contrast("plus", "0.5") == [[0, 1], [0, 1]]
    assert by_contrast("plus", "0.25") == [[0, 1, 3], [0, 1, 3]]
    # minus: |w|·φ(−z) = (0, 2, 0, 0), wanda (1, 10, 1, 8): 1, 3, then 0 before 2; and (0, 2, 0, 0), wanda (2, 10, 2, 4)
    assert by_contrast("minus", "0.75") == [[1], [1]]
    assert by_contrast("minus", "0.5") == [[1, 3], [1, 3]]
    assert by_contrast("minus", "0.25") == [[0, 1, 3], [0, 1, 3]]


def test_contrastive_wanda_a_dead_input_comes_last() -> None:
    # z = 0 everywhere, wanda (0, 1, 2, 3): the dead input 0 is pruned first although it is the lowest column
    same = moments([0, 1, 2, 3], [1.0] * 4)
    assert keeps("contrastive-wanda", "plus", same, same, [[1.0] * 4], "0.25") == [[1, 2, 3]]


def test_contrastive_wanda_released_takes_the_lower_column() -> None:
    assert by_contrast("plus", "0.25", variant="released") == [[0, 1, 2], [0, 1, 2]]  # (2, 0, 0, 0)
    assert by_contrast("minus", "0.5", variant="released") == [[0, 1], [0, 1]]  # (0, 2, 0, 0)


def test_contrastive_wanda_softplus() -> None:
    # softplus(z/2) = (1.313, .474, .693, .693): rows (1.31, .95, .69, 2.77) and (2.63, .95, 1.39, 1.39)
    assert by_contrast("plus", "0.5", link="softplus") == [[0, 3], [0, 2]]
    # softplus(−z/2) = (.313, .974, .693, .693): rows (.31, 1.95, .69, 2.77) and (.63, 1.95, 1.39, 1.39)
    assert by_contrast("minus", "0.5", link="softplus") == [[1, 3], [1, 2]]
    # τ = 0.1: softplus(10z) = (20, .00005, .693, .693): row (20, .0001, .69, 2.77)
    assert by_contrast("plus", "0.75", link="softplus") == [[3], [0]]
    assert by_contrast("plus", "0.75", link="softplus", temperature=0.1) == [[0], [0]]


def test_the_two_epsilons() -> None:
    # variances (9, 0), differences (6, 1), ε = ¼
    own, other = moments([6, 1], [5, 0]), moments([0, 0], [4, 0])
    published = standardised_difference(own, other, 0.25, under_root=False)
    released = standardised_difference(own, other, 0.25, under_root=True)
    assert published.tolist() == pytest.approx([6 / 3.25, 1 / 0.25])  # 1.85, 4
    assert released.tolist() == pytest.approx([6 / sqrt(9.25), 1 / sqrt(0.25)])  # 1.97, 2
    # |w| = (2, 1): published 3.69 < 4, released 3.95 > 2
    for variant, expected in (("published", 1), ("released", 0)):
        options = {"variant": variant, "epsilon": 0.25}
        assert keeps("contrastive-wanda", "plus", own, other, [[2.0, 1.0]], "0.5", **options) == [[expected]]


def test_links() -> None:
    z = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    assert linked(z, "relu", 2.0).tolist() == [0, 0, 3]
    assert linked(z, "softplus", 2.0).tolist() == pytest.approx([log1p(exp(-1)), log(2), log1p(exp(1.5))])


# contrastive-sparse

# Rows of ones and no damping: S̃⁺ = (.4, .3, .2, .1), S̃⁻ = (.1, .2, .3, .4), S̃⁺ − S̃⁻ = (.3, .1, −.1, −.3)
RISING, FALLING = squares(1, 2, 3, 4), squares(4, 3, 2, 1)


def contested(pole: Pole, sparsity: str, weight: list[float], **options: Any) -> list[int]:
    return keeps("contrastive-sparse", pole, FALLING, RISING, [weight], sparsity, damping=0, **options)[0]


def test_each_contested_weight_goes_to_one_pole() -> None:
    ones = [1.0, -1.0, 1.0, 1.0]
    assert (contested("plus", "0.25", ones), contested("minus", "0.25", ones)) == ([0, 1, 2], [1, 2, 3])
    assert (contested("plus", "0.5", ones), contested("minus", "0.5", ones)) == ([0, 1], [2, 3])
    # ρ .75 prunes three, but the contest decides about ⌊4/2⌋ only. Plus loses 2 and 3, then the lower own share of
    # (.4, .3); minus loses 0 and 1, then the lower own share of (.3, .4).
    assert (contested("plus", "0.75", ones), contested("minus", "0.75", ones)) == ([0], [3])


def test_shares_of_the_row_decide_not_saliencies() -> None:
    # w² = (1, 4, 1, 1): S⁺ = (4, 12, 2, 1) / 19, S⁻ = (1, 8, 3, 4) / 16, difference (.148, .132, −.082, −.197);
    # the plain difference (3, 4, −1, −3) would make minus lose column 1
    assert contested("minus", "0.25", [1.0, 2.0, 1.0, 1.0]) == [1, 2, 3]
    assert contested("plus", "0.25", [1.0, 2.0, 1.0, 1.0]) == [0, 1, 2]


def test_contested_ties_give_plus_the_lower_and_minus_the_higher_column() -> None:
    def tied(pole: Pole, sparsity: str) -> list[int]:
        return keeps("contrastive-sparse", pole, squares(1, 1, 1, 1), squares(1, 1, 1, 1), [[1.0] * 4], sparsity)[0]

    assert (tied("plus", "0.25"), tied("minus", "0.25")) == ([0, 1, 2], [1, 2, 3])
    assert (tied("plus", "0.5"), tied("minus", "0.5")) == ([0, 1], [2, 3])
    assert (tied("plus", "0.75"), tied("minus", "0.75")) == ([0], [2])  # own shares tie too: the lower column stays


def test_an_odd_row_leaves_one_weight_uncontested() -> None:
    # n = 5, ρ .5: K = 2, three to prune, ⌊5/2⌋ = 2 by the contest
    plus, minus = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05]]), torch.tensor([[0.05, 0.1, 0.15, 0.3, 0.4]])
    assert contested_masks(plus, minus, 2)[0].tolist() == [[True, True, False, False, False]]  # 3, 4, then 2
    assert contested_masks(plus, minus, 2)[1].tolist() == [[False, False, False, True, True]]  # 0, 1, then 2


def test_a_row_without_any_saliency_has_no_shares() -> None:
    assert normalised_saliency(torch.zeros(1, 3), torch.ones(3)).tolist() == [[0, 0, 0]]
    found = normalised_saliency(torch.tensor([[1.0, 2.0, 1.0]]), torch.tensor([2.0, 1.0, 2.0]))
    assert found.tolist() == [[0.25, 0.5, 0.25]]  # (2, 4, 2) / 8


shares = st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.7])] * 2), min_size=2, max_size=13)


@settings(deadline=None)
@given(row=shares, data=st.data())
def test_pruned_sets_are_disjoint_and_of_the_right_size(row: list[tuple[float, float]], data: st.DataObject) -> None:
    plus, minus = torch.tensor(row).T.unsqueeze(1).unbind()
    count = data.draw(st.integers(0, len(row)))
    kept_plus, kept_minus = contested_masks(plus, minus, count)
    assert kept_plus.sum() == kept_minus.sum() == count
    if len(row) - count <= len(row) // 2:
        assert (kept_plus | kept_minus).all()
        difference = (plus - minus)[0]
        lost_by_plus, lost_by_minus = difference[~kept_plus[0]].tolist(), difference[~kept_minus[0]].tolist()
        assert max(lost_by_plus, default=-1) <= min(lost_by_minus, default=1)


def test_appendix_k_excludes_what_plus_kept() -> None:
    # C = |S̃⁺ − S̃⁻| = (.3, .1, .1, .3)
    ones = [1.0, 1.0, 1.0, 1.0]
    for sparsity, plus, minus in (("0.25", [0, 1, 3], [2]), ("0.5", [0, 3], [1, 2]), ("0.75", [0], [3])):
        assert contested("plus", sparsity, ones, variant="appendix-k") == plus
        assert contested("minus", sparsity, ones, variant="appendix-k") == minus  # short of K below ρ = .5


def test_released_is_blind_to_direction() -> None:
    # |w|·|z| = (1, 4, 1, 1) · (2, 1, 0, 0) = (2, 4, 0, 0)
    def released(pole: Pole, sparsity: str, first: Moments = Z_PLUS, second: Moments = Z_MINUS) -> list[list[int]]:
        return keeps("contrastive-sparse", pole, first, second, [[1.0, -4.0, 1.0, 1.0]], sparsity, variant="released")

    assert (released("plus", "0.5"), released("minus", "0.5")) == ([[0, 1]], [[2, 3]])
    assert (released("plus", "0.75"), released("minus", "0.75")) == ([[1]], [[0]])
    assert (released("plus", "0.25"), released("minus", "0.25")) == ([[0, 1, 2]], [[3]])
    assert released("plus", "0.75", Z_MINUS, Z_PLUS) == [[1]]


# contrastive-tilt

# A⁺ = (1, 2, 4, .5), A⁻ = (1, 1, 8, .125): ratios (1, 2, .5, 4)
TILT_PLUS, TILT_MINUS = squares(1, 4, 16, 0.25), squares(1, 1, 64, 1 / 64)


def tilt(pole: Pole, weight: list[float], sparsity: str, t: float) -> list[int]:
    return keeps("contrastive-tilt", pole, TILT_PLUS, TILT_MINUS, [weight], sparsity, t=t)[0]


def test_tilt_by_hand() -> None:
    weight = [1.0, -0.25, 1.0, 1.5]
    assert tilt("plus", weight, "0.5", 0) == [0, 2]  # (1, .5, 4, .75)
    assert tilt("plus", weight, "0.5", 1) == [2, 3]  # (1, 1, 2, 3)
    assert tilt("plus", weight, "0.5", 64) == [1, 3]  # ratios (1, 2, .5, 4) alone
    assert tilt("minus", weight, "0.5", 0) == [0, 2]  # (1, .25, 8, .19)
    assert tilt("minus", weight, "0.25", 64) == [0, 1, 2]  # ratios (1, ½, 2, ¼) alone
    assert tilt("minus", weight, "0.75", 64) == [2]


def test_tilt_vector_by_hand() -> None:
    found = recipe("contrastive-tilt", "plus", TILT_PLUS, TILT_MINUS, t=1)
    # A · ratio = (1, 4, 2, 2), the largest scaled to 1
    torch.testing.assert_close(found.vectors, torch.tensor([[0.25, 1, 0.5, 0.5]]))


def test_tilt_zero_ranks_as_wanda_with_rms() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (moments(*torch.rand(2, 40, generator=generator).tolist()) for _ in POLES)
    weight = torch.randn(16, 40, generator=generator).tolist()
    by_tilt = keeps("contrastive-tilt", "plus", first, second, weight, "0.3", t=0)
    assert by_tilt == keeps("wanda", "plus", first, second, weight, "0.3", statistic="rms")
    assert by_tilt != keeps("wanda", "plus", first, second, weight, "0.3")


def test_tilt_floor() -> None:
    dead, live = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    # dead on both poles: no ratio; floored at .01 · √½
    assert tilted(dead, dead, 8, 0.01).tolist() == pytest.approx([0.01 * sqrt(0.5), 1], rel=1e-9)
    # dead on this pole only: .01 · (.01 / 1)⁸; on the other only: 1 · (1 / .01)⁸ leads
    assert tilted(dead, live, 8, 0.01).tolist() == pytest.approx([1e-18, 1], rel=1e-9, abs=0)
    assert tilted(live, dead, 8, 0.01).tolist() == pytest.approx([1, 1e-16], rel=1e-9, abs=0)
    assert tilted(0 * live, 0 * live, 8, 0.01).tolist() == [1, 1]


# What all methods share


@pytest.mark.parametrize("method", [row.name for row in MASK_METHODS])
@pytest.mark.parametrize("pole", POLES)
def test_vectors_are_scaled_per_linear_and_tiny_values_dropped(method: str, pole: Pole) -> None:
    row = mask_method(method)
    sites = [InputSite("a:input", 0, "mlp", 3, 0, ("a",)), InputSite("b:input", 0, "mlp", 3, 3, ("b",))]
    plus = moments([1.0, 0.5, 1e-40, 5e9, 4e9, 1e-30], [0.1, 0.1, 0.1, 1e9, 1e9, 1e9])
    minus = moments([0.5, 1.0, 1e-40, 4e9, 5e9, 1e-30], [0.1, 0.1, 0.1, 1e9, 1e9, 1e9])
    found = row.recipe(pair_of(plus, minus), sites, pole, row.read({}))
    for site in sites:
        assert found.vectors[:, site.slice].abs().amax(1).tolist() == [1] * len(found.vectors)
    smallest = found.vectors.abs()
    assert ((smallest == 0) | (smallest >= 2.0**-90)).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pole", POLES)
def test_masks_do_not_depend_on_type_or_layout_and_change_no_input(rule: Rule, pole: Pole) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-3, 4, (6, 24), generator=generator).bfloat16()  # few values, so that ties are many
    vectors = torch.randint(1, 3, (RULES[rule], 24), generator=generator).float()
    if rule == "tiered":
        vectors -= 1.5
    given_recipe = Recipe(rule, pole, vectors.clone())
    masks = []
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        copy = weight.to(dtype)
        masks.append(build_mask(copy, given_recipe, given_recipe.vectors, Decimal("0.3")))
        assert torch.equal(copy, weight.to(dtype))
    nudged = weight.float() * (1 + 0.001 * torch.rand(weight.shape, generator=generator))  # bf16 rounds this away
    transposed = weight.T.contiguous().T  # as GPT-2 stores it
    masks += [build_mask(w, given_recipe, given_recipe.vectors, Decimal("0.3")) for w in (nudged, transposed)]
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert torch.equal(given_recipe.vectors, vectors)


def test_recipes_refuse_unfit_vectors() -> None:
    with pytest.raises(ValueError, match="needs 2 fp32 vectors"):
        Recipe("contested", "plus", torch.ones(1, 4))
    with pytest.raises(ValueError, match="needs 1 fp32 vectors"):
        Recipe("product", "plus", torch.ones(1, 4, dtype=torch.float64))
    for bad in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="finite and not negative"):
            Recipe("product", "plus", torch.tensor([[1.0, bad]]))


@pytest.mark.parametrize(
    ("method", "wrong", "words"),
    [
        ("wanda", {"t": 8}, ("setting 't'", "variant=published")),
        ("wanda", {"statistic": "median"}, ("setting 'statistic'", "'mean_abs'")),
        ("wanda", {"variant": "new"}, ("setting 'variant'", "'published' or 'released'")),
        ("sparse", {"damping": -0.1}, ("setting 'damping'", "greater than or equal to 0")),
        ("sparse", {"damping": float("nan")}, ("setting 'damping'",)),
        ("sparse", {"block": 1}, ("setting 'block'", "damping=0.01, block")),
        ("sparse", {"block": 2.5}, ("setting 'block'",)),
        ("contrastive-wanda", {"link": "gelu"}, ("setting 'link'", "'relu' or 'softplus'")),
        ("contrastive-wanda", {"temperature": 0}, ("setting 'temperature'", "greater than 0")),
        ("contrastive-wanda", {"epsilon": float("inf")}, ("setting 'epsilon'", "finite")),
        ("contrastive-sparse", {"variant": "appendix"}, ("setting 'variant'", "'appendix-k'")),
        ("contrastive-tilt", {"t": -1}, ("setting 't'", "t=8.0")),
        ("contrastive-tilt", {"t": "steep"}, ("setting 't'", "valid number")),
        ("contrastive-tilt", {"floor": 0}, ("setting 'floor'",)),
    ],
)
def test_wrong_settings(method: str, wrong: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused(method, *words):
        find_method(method).read(wrong)


def test_unknown_method() -> None:
    with refused("'wonder'", *(method.name for method in METHODS)):
        find_method("wonder")
