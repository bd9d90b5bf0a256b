"""The random control: one seeded permutation within each Linear input for both poles, the same size of edit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import torch
from support import mask_method
from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.methods import Recipe, build_mask
from temperament.methods.randomise import (
    permutation,
    permute_difference,
    permute_ratio,
    permute_shared_ratio,
    permute_whole,
)
from temperament.models import InputSite
from temperament.signatures import Moments, Signature, SignaturePair

WIDTHS = (24, 40, 24)
SITES = [InputSite(f"{i}:input", i, "mlp", width, sum(WIDTHS[:i]), (f"{i}.up",)) for i, width in enumerate(WIDTHS)]

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("wanda", {}),
    ("sparse", {}),
    ("sparse", {"block": 8}),
    ("contrastive-wanda", {}),
    ("contrastive-wanda", {"link": "softplus"}),
    ("contrastive-wanda", {"variant": "released"}),
    ("contrastive-sparse", {}),
    ("contrastive-sparse", {"variant": "appendix-k"}),
    ("contrastive-sparse", {"variant": "released"}),
    ("contrastive-tilt", {"t": 1}),
]


def random_moments(generator: torch.Generator) -> Moments:
    mean, m2, l2 = (0.1 + torch.rand(sum(WIDTHS), dtype=torch.float64, generator=generator) for _ in range(3))
    return Moments(10, 2, mean, m2, l2)


def random_pair(seed: int = 0) -> SignaturePair:
    generator = torch.Generator().manual_seed(seed)
    plus, minus = ((random_moments(generator), random_moments(generator)) for _ in POLES)
    return SignaturePair(Signature(plus), Signature(minus), {}, frozenset())


def recipes(method: str, options: dict[str, Any]) -> tuple[Recipe, Recipe]:
    row, pair = mask_method(method), random_pair()
    plus, minus = (row.recipe(pair, SITES, pole, row.read(options)) for pole in POLES)
    return plus, minus


def product(*values: float, pole: Any = "plus") -> Recipe:
    return Recipe("product", pole, torch.tensor([values], dtype=torch.float32))


def sorted_parts(values: Tensor) -> Tensor:
    """Values sorted within each site: equal for two vectors that hold the same values per site."""
    return torch.cat([values[..., site.slice].sort(-1).values for site in SITES], -1)


# The permutation


def test_permutation_stays_within_each_site() -> None:
    order = permutation(SITES, 0)
    for site in SITES:
        assert sorted(order[site.slice].tolist()) == list(range(site.offset, site.offset + site.width))
        assert order[site.slice].tolist() != sorted(order[site.slice].tolist())


def test_permutation_depends_on_seed_and_site_name_alone() -> None:
    order = permutation(SITES, 0)
    torch.manual_seed(123)
    assert torch.equal(permutation(SITES, 0), order)
    assert not torch.equal(permutation(SITES, 1), order)
    first, _, third = (order[site.slice] - site.offset for site in SITES)
    assert not torch.equal(first, third)  # equally wide sites get different permutations
    moved = InputSite(SITES[2].name, 2, "mlp", 24, 0, SITES[2].linears)
    assert torch.equal(permutation([moved], 0), third)


# What is permuted, by hand

ORDER = torch.tensor([1, 2, 0])


def test_ratio_by_hand() -> None:
    # log-ratios plus / minus = log (4, 1, ¼), geometric means (2, 3, 2); permuted ratios (1, ¼, 4)
    plus, minus = permute_ratio(product(4, 3, 1), product(1, 3, 4, pole="minus"), ORDER)
    torch.testing.assert_close(plus.vectors, torch.tensor([[2.0, 1.5, 4.0]]))
    torch.testing.assert_close(minus.vectors, torch.tensor([[2.0, 6.0, 1.0]]))
    assert (plus.pole, minus.pole, plus.rule) == ("plus", "minus", "product")


def test_shared_ratio_by_hand() -> None:
    vectors = torch.tensor([[4.0, 3.0, 1.0], [1.0, 3.0, 4.0]])
    real, opposite = (Recipe("contested", pole, vectors) for pole in POLES)
    for found in permute_shared_ratio(real, opposite, ORDER):
        torch.testing.assert_close(found.vectors, torch.tensor([[2.0, 1.5, 4.0], [2.0, 6.0, 1.0]]))


def test_whole_vectors_by_hand() -> None:
    plus, minus = permute_whole(product(4, 3, 1), product(1, 3, 5, pole="minus"), ORDER)
    assert (plus.vectors.tolist(), minus.vectors.tolist()) == ([[3, 1, 4]], [[3, 5, 1]])


def test_difference_by_hand() -> None:
    # φ(z) = (.5, 0, 0) for plus and (0, 0, .25) for minus; the rest are activations, negative. Permuted φ(z):
    # (0, 0, .5) and (0, .25, 0). Activations stay; input 0 of plus and input 2 of minus take the other pole's.
    plus = Recipe("tiered", "plus", torch.tensor([[0.5, -0.2, -0.3]]))
    minus = Recipe("tiered", "minus", torch.tensor([[-0.7, -0.2, 0.25]]))
    plus, minus = permute_difference(plus, minus, ORDER)
    torch.testing.assert_close(plus.vectors, torch.tensor([[-0.7, -0.2, 0.5]]))
    torch.testing.assert_close(minus.vectors, torch.tensor([[-0.7, 0.25, -0.3]]))


def test_zero_importances_stay_finite() -> None:
    plus, minus = permute_ratio(product(0, 0, 1), product(1, 0, 0, pole="minus"), ORDER)
    assert torch.isfinite(torch.cat([plus.vectors, minus.vectors])).all()


# Every method's control


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_control_prunes_as_many_per_row_and_other_entries(method: str, options: dict[str, Any]) -> None:
    real = recipes(method, options)
    control = mask_method(method).randomise(*real, permutation(SITES, 0))
    site = SITES[1]
    weight = torch.randn(16, site.width, generator=torch.Generator().manual_seed(5))
    for before, after in zip(real, control, strict=True):
        assert (after.rule, after.pole, after.block) == (before.rule, before.pole, before.block)
        a, b = (build_mask(weight, one, one.vectors[:, site.slice], Decimal("0.3")) for one in (before, after))
        assert torch.equal(a.sum(1), b.sum(1))
        assert not torch.equal(a, b)


@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_control_keeps_the_contrast_term_up_to_order(method: str, options: dict[str, Any]) -> None:
    real = recipes(method, options)
    order = permutation(SITES, 0)
    control = mask_method(method).randomise(*real, order)

    def contrast_and_rest(plus: Recipe, minus: Recipe) -> tuple[Tensor, Tensor]:
        first, second = plus.vectors[0].double(), minus.vectors[-1].double()
        if plus.rule == "tiered":
            return torch.stack([first, second]).clamp_min(0), torch.zeros(())
        if method == "contrastive-wanda" or plus.rule == "appendix-k-product":
            return torch.stack([first, second]), torch.zeros(())
        return (first / second).log(), (first * second).log()

    (contrast, rest), (permuted, rest_after) = contrast_and_rest(*real), contrast_and_rest(*control)
    torch.testing.assert_close(sorted_parts(permuted), sorted_parts(contrast), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(permuted, contrast[..., order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rest_after, rest, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(permuted, contrast)


def test_tie_breaking_activations_of_both_poles_have_one_scale() -> None:
    """Else the control, which borrows one pole's activations for the other, would rank by pole instead of activation.

    φ(z) is up to 10 for plus and 1 for minus; where both recipes hold activations, all .1, they agree.
    """
    mean = torch.full((sum(WIDTHS),), 0.1, dtype=torch.float64)
    shift = torch.zeros_like(mean)
    shift[::4], shift[1::4] = 0.1, -0.01
    zero, m2 = (
        torch.zeros_like(mean),
        torch.full_like(mean, 10 * 0.5e-4),
    )  # variances .00005 + .00005, so z = shift / .01
    nothing = Moments.zeros(len(mean))
    pair = SignaturePair(
        Signature((Moments(10, 2, mean + shift, m2, zero), nothing)),
        Signature((Moments(10, 2, mean, m2, zero), nothing)),
        {},
        frozenset(),
    )
    row = mask_method("contrastive-wanda")
    plus, minus = (row.recipe(pair, SITES, pole, row.read({})).vectors[0] for pole in POLES)
    both = (plus < 0) & (minus < 0)
    ratio = plus[both] / minus[both]
    assert both.sum() == sum(WIDTHS) // 2
    assert 0.5 <= ratio.min() <= ratio.max() <= 2
