"""The SparseGPT kernel against brute force: exact inverses column by column, float64, one row at a time."""

from __future__ import annotations

from decimal import Decimal
from math import ceil

import pytest
import torch
from expect import refused
from torch import Tensor

import temperament.methods.sparsegpt as kernel
from temperament.methods import kept
from temperament.methods.select import keep_largest, keep_largest_by_row
from temperament.methods.sparsegpt import Factor, Scope, choose_masks, factorise, masks_of_costs

ROWS, COLUMNS = 6, 20


def inputs(seed: int, tokens: int = 60, columns: int = COLUMNS) -> Tensor:
    """Correlated inputs of unequal size, (tokens, columns) float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    mixing *= torch.rand(columns, generator=generator, dtype=torch.float64)
    return torch.randn(tokens, columns, generator=generator, dtype=torch.float64) @ mixing


def hessian(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


def damped(matrix: Tensor, share: float) -> Tensor:
    return matrix + share * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)


def weights(seed: int = 9, rows: int = ROWS, columns: int = COLUMNS) -> Tensor:
    """Values that bf16 holds exactly."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


HESSIANS = tuple(damped(hessian(inputs(seed)), 0.01) for seed in (1, 2))
UPPERS = torch.stack([factorise(hessian(inputs(seed)).float(), 0.01).upper for seed in (1, 2)])


def brute_force(
    weight: Tensor, matrices: tuple[Tensor, ...], sparsity: str, block: int, scope: Scope, *, contrastive: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Optimal brain surgery, one weight at a time, with an inverse computed anew for every column.

    Returns masks and what is left of the weights, (rows, columns) each, of both poles.
    """
    left = [weight.double().clone() for _ in matrices]
    masks = [torch.ones_like(weight, dtype=torch.bool) for _ in matrices]
    rows, columns = weight.shape
    for begin in range(0, columns, block):
        end = min(begin + block, columns)
        saliency = []
        for own, matrix in zip(left, matrices, strict=True):
            first = torch.stack([torch.linalg.inv(matrix[j:, j:])[0, 0] for j in range(begin, end)])
            saliency.append(own[:, begin:end].square() / first)
        lines = [list(range(rows))] if scope == "block" else [[row] for row in range(rows)]
        for line in lines:
            cells = [(row, column) for column in range(end - begin) for row in line]
            full = len(line) * begin, len(line) * end
            count = len(cells) - (kept(sparsity, full[1]) - kept(sparsity, full[0]))
            if contrastive:
                count = min(count, len(cells) // 2)
                shares = [own / own.sum(1, keepdim=True) for own in saliency]
                ranking = {cell: float(shares[0][cell] - shares[1][cell]) for cell in cells}
                order = sorted(cells, key=ranking.__getitem__)
                pruned = [order[:count], order[len(order) - count :]]
            else:
                pruned = [sorted(cells, key=lambda cell, own=own: float(own[cell]))[:count] for own in saliency]  # type: ignore[misc]
            for mask, chosen in zip(masks, pruned, strict=True):
                for row, column in chosen:
                    mask[row, begin + column] = False
        for own, matrix, mask in zip(left, matrices, masks, strict=True):
            for j in range(begin, end):
                inverse = torch.linalg.inv(matrix[j:, j:])
                for row in range(rows):
                    if not mask[row, j]:
                        own[row, j:] -= own[row, j] / inverse[0, 0] * inverse[0]
    return masks, left


# U


def test_u_is_the_upper_factor_of_the_inverse() -> None:
    matrix = hessian(inputs(1))
    factor = factorise(matrix.float(), 0.01)
    expected = torch.linalg.inv(HESSIANS[0])
    assert torch.equal(factor.upper, factor.upper.triu())
    assert bool((factor.upper.diagonal() > 0).all())
    torch.testing.assert_close(factor.upper.double().T @ factor.upper.double(), expected, rtol=1e-3, atol=1e-4)
    assert factor.damping == 0.01


def test_squares_of_the_diagonal_are_first_entries_of_the_inverses_of_what_is_left() -> None:
    factor = factorise(hessian(inputs(1)).float(), 0.01)
    first = [float(torch.linalg.inv(HESSIANS[0][j:, j:])[0, 0]) for j in range(COLUMNS)]
    assert factor.upper.diagonal().square().tolist() == pytest.approx(first, rel=1e-3)
    assert factor.costs.tolist() == pytest.approx([1 / value for value in first], rel=1e-3)


def test_torchs_factorisation_is_that_of_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that a GPU takes, on the CPU."""
    matrix = hessian(inputs(1)).float()
    expected = factorise(matrix, 0.01).upper
    singular = hessian(inputs(1, tokens=5)).float()
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "_ON_CPU", ())
        torch.testing.assert_close(factorise(matrix, 0.01).upper, expected, rtol=1e-5, atol=1e-6)
        assert factorise(singular, 0.0).damping > 0


# Masks


@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize("scope", ["block", "row"])
@pytest.mark.parametrize("block", [2, 7, 8, 20, 64])
@pytest.mark.parametrize("sparsity", ["0.2", "0.5"])
def test_masks_are_those_of_brute_force(sparsity: str, block: int, scope: Scope, contrastive: bool) -> None:
    found = choose_masks(weights(), UPPERS, Decimal(sparsity), block=block, scope=scope, contrastive=contrastive)
    expected, _ = brute_force(weights(), HESSIANS, sparsity, block, scope, contrastive=contrastive)
    assert torch.equal(found, torch.stack(expected))


@pytest.mark.parametrize("scope", ["block", "row"])
def test_block_of_one_column(scope: Scope) -> None:
    """The choice is that of each column among the weights as they stand then."""
    found = choose_masks(weights(), UPPERS, Decimal("0.5"), block=1, scope=scope)
    expected, _ = brute_force(weights(), HESSIANS, "0.5", 1, scope, contrastive=False)
    assert torch.equal(found, torch.stack(expected))
    if scope == "block":
        assert found.sum(1).tolist() == [[ROWS // 2] * COLUMNS] * 2


def test_what_brute_force_leaves_is_the_best_correction() -> None:
    """After every column the later weights are those that change the outputs least, by least squares."""
    matrix, weight = HESSIANS[0], weights(rows=1)
    masks, left = brute_force(weight, (matrix,), "0.4", 5, "block", contrastive=False)
    root = torch.linalg.cholesky(matrix).T  # |root · d|² = dᵀ H d
    current = weight.double()[0]
    for column in (~masks[0][0]).nonzero().flatten().tolist():
        free = root[:, column + 1 :]
        change = torch.linalg.lstsq(free, (root[:, column] * current[column]).unsqueeze(1)).solution[:, 0]
        current = current.clone()
        current[column] = 0
        current[column + 1 :] += change
    torch.testing.assert_close(current, left[0][0], rtol=1e-6, atol=1e-9)


def test_errors_are_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that other masks come out, so the tests above can fail; strips of any width give the same."""
    expected = choose_masks(weights(), UPPERS, Decimal("0.5"), block=8)
    for width in (1, 3, 100):
        monkeypatch.setattr(kernel, "_STRIP", width)
        assert torch.equal(choose_masks(weights(), UPPERS, Decimal("0.5"), block=8), expected)
    monkeypatch.setattr(kernel, "_carry", lambda block, masks, steps: torch.zeros_like(block))
    assert not torch.equal(choose_masks(weights(), UPPERS, Decimal("0.5"), block=8), expected)


def test_a_diagonal_hessian_gives_the_masks_of_the_diagonal_method() -> None:
    """Nothing to carry: saliency is w² · H_jj, as in ``sparse`` by blocks."""
    diagonal = torch.rand(COLUMNS, generator=torch.Generator().manual_seed(3)) + 0.1
    upper = factorise(torch.diag(diagonal), 0.0).upper
    found = choose_masks(weights(), torch.stack([upper, upper]), Decimal("0.5"), block=10, scope="row")
    score = weights().square() * diagonal
    expected = torch.cat([keep_largest(part.contiguous(), 5) for part in torch.split(score, 10, 1)], 1)
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)


@pytest.mark.parametrize("sparsity", ["0.2", "0.5", "0.7", "0.05"])
@pytest.mark.parametrize("block", [3, 8, 128])
def test_counts(sparsity: str, block: int) -> None:
    """Exactly the share of the whole Linear, and of each of its first blocks; or of each row."""
    whole = choose_masks(weights(), UPPERS, Decimal(sparsity), block=block)
    by_row = choose_masks(weights(), UPPERS, Decimal(sparsity), block=block, scope="row")
    for end in (*range(block, COLUMNS, block), COLUMNS):
        assert whole[:, :, :end].sum((1, 2)).tolist() == [kept(sparsity, ROWS * end)] * 2
        assert by_row[:, :, :end].sum(2).tolist() == [[kept(sparsity, end)] * ROWS] * 2
    if block == 8 and sparsity == "0.5":
        assert len(set(whole[0].sum(1).tolist())) > 1, "a threshold over all rows prunes rows unequally"


@pytest.mark.parametrize("scope", ["block", "row"])
@pytest.mark.parametrize("sparsity", ["0.1", "0.2", "0.37", "0.5"])
@pytest.mark.parametrize("block", [2, 3, 7, 128])
def test_contrastive_pruned_sets_are_disjoint(block: int, sparsity: str, scope: Scope) -> None:
    for seed in range(3):
        weight = weights(seed, rows=5, columns=COLUMNS)
        plus, minus = choose_masks(weight, UPPERS, Decimal(sparsity), block=block, scope=scope, contrastive=True)
        assert bool((plus | minus).all())
        assert int((~plus).sum()) == int((~minus).sum())
        if block == 128:
            lines = 1 if scope == "block" else 5
            pruned = lines * (5 * COLUMNS // lines - kept(sparsity, 5 * COLUMNS // lines))
            assert int((~plus).sum()) == pruned


def test_contrastive_beyond_one_half_reaches_its_share() -> None:
    plus, minus = choose_masks(weights(), UPPERS, Decimal("0.7"), contrastive=True)
    assert plus.sum() == minus.sum() == kept("0.7", ROWS * COLUMNS)


def test_equal_poles_differ_only_where_all_is_tied() -> None:
    same = torch.stack([UPPERS[0], UPPERS[0]])
    plus, minus = choose_masks(weights(), same, Decimal("0.5"), block=8)
    assert torch.equal(plus, minus)
    zero, _ = choose_masks(torch.zeros(2, 4), torch.eye(4).expand(2, 4, 4), Decimal("0.5"))
    assert zero.tolist() == [[True, True, False, False]] * 2, "the lower column is kept"


def test_masks_do_not_depend_on_type_or_layout_and_change_no_input() -> None:
    weight, uppers = weights(), UPPERS.clone()
    expected = choose_masks(weight, uppers, Decimal("0.3"), block=8)
    assert torch.equal(weight, weights())
    assert torch.equal(uppers, UPPERS)
    nudged = weight * (1 + 0.001 * torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)))
    for other in (weight.bfloat16(), weight.double(), nudged, weight.T.contiguous().T):
        assert torch.equal(choose_masks(other, uppers, Decimal("0.3"), block=8), expected)
    assert expected.is_contiguous()


# Damping


def test_a_singular_hessian_is_damped_until_it_is_not() -> None:
    singular = hessian(inputs(1, tokens=5)).float()  # rank 5 of 20
    assert factorise(singular, 0.01).damping == 0.01
    raised = factorise(singular, 0.0)
    assert raised.damping > 0
    again = factorise(singular, raised.damping)
    assert torch.equal(again.upper, raised.upper)
    assert again.damping == raised.damping
    assert factorise(singular, raised.damping / 10 * 0.99).damping > raised.damping / 10 * 0.99


def test_damping_is_raised_tenfold_where_it_is_not_enough() -> None:
    """An indefinite matrix, as rounding can make one: smallest eigenvalue −.025 of the mean diagonal."""
    matrix = torch.diag(torch.tensor([1.0, 1.0, 1.2, -0.02]))
    mean = float(matrix.diagonal().mean())
    factor = factorise(matrix, 0.01)
    assert factor.damping == pytest.approx(0.1)
    expected = (matrix.diagonal() + factor.damping * mean).rsqrt()
    torch.testing.assert_close(factor.upper, torch.diag(expected))


def test_inputs_that_are_always_zero() -> None:
    """One such input costs λ and no less than that does any; where all are, magnitude decides."""
    matrix = hessian(inputs(1)).float()
    matrix[3], matrix[:, 3] = 0, 0
    factor = factorise(matrix, 0.01)
    assert factor.damping == 0.01
    assert float(factor.costs[3]) == pytest.approx(0.01 * float(matrix.diagonal().mean()), rel=1e-4)
    assert float(factor.costs.min()) == float(factor.costs[3])
    nothing = factorise(torch.zeros(4, 4), 0.01)
    torch.testing.assert_close(nothing.upper, 10 * torch.eye(4))
    assert factorise(torch.zeros(4, 4), 0.0).damping > 0


def test_values_that_are_not_finite_are_refused() -> None:
    for value in (float("nan"), float("inf")):
        matrix = torch.eye(3)
        matrix[1, 1] = value
        with refused("not finite", "float32"):
            factorise(matrix, 0.01)


def test_no_damping_for_a_sound_hessian() -> None:
    factor = factorise(hessian(inputs(1)).float(), 0.0)
    assert factor == Factor(factor.upper, 0.0)


# The random control


def test_masks_of_costs_keep_as_many_in_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(2, COLUMNS, generator=generator) + 0.1
    counts = torch.randint(0, COLUMNS + 1, (2, ROWS), generator=generator)
    found = masks_of_costs(weights(), costs, counts, contrastive=False)
    assert found.sum(2).tolist() == counts.tolist()
    for mask, own, numbers in zip(found, costs, counts.tolist(), strict=True):
        score = weights().square() * own
        for row, number in enumerate(numbers):
            assert set(mask[row].nonzero().flatten().tolist()) == set(score[row].topk(number).indices.tolist())


def test_contrastive_masks_of_costs_are_disjoint() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(2, COLUMNS, generator=generator) + 0.1
    pruned = torch.stack([torch.tensor([0, 3, 10, 7, 1, 20]), torch.tensor([5, 17, 10, 0, 19, 0])])
    plus, minus = masks_of_costs(weights(), costs, COLUMNS - pruned, contrastive=True)
    assert (~plus).sum(1).tolist() == pruned[0].tolist()
    assert (~minus).sum(1).tolist() == pruned[1].tolist()
    assert bool((plus | minus).all())
    share = [weights().square() * own for own in costs]
    ranking = share[0] / share[0].sum(1, keepdim=True) - share[1] / share[1].sum(1, keepdim=True)
    assert bool((ranking[2][~plus[2]].max() < ranking[2][plus[2]].min()).item())


def test_a_count_of_its_own_for_each_row() -> None:
    score = torch.tensor([[1.0, 1.0, 1.0], [3.0, 1.0, 2.0], [0.0, 0.0, 5.0], [2.0, 2.0, 1.0]])
    found = keep_largest_by_row(score, torch.tensor([2, 1, 0, 3]))
    assert found.int().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]
    for count in range(ceil(3) + 1):
        assert torch.equal(keep_largest_by_row(score, torch.full((4,), count)), keep_largest(score, count))
