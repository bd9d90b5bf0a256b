"""How many entries a row keeps, which ones, and who wins a tie: by hand and against a brute-force stable sort."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pytest
import torch
from expect import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from temperament.methods import SparsityPlan, keep_largest, kept
from temperament.methods.recipe import pairwise_row_sum
from temperament.methods.select import keep_largest_in_blocks, order_key, tiered_key
from temperament.models import InputSite, LinearSite
from temperament.models.architecture import Part


def columns(mask: Tensor) -> list[list[int]]:
    """The columns marked in every row."""
    return [row.nonzero().flatten().tolist() for row in mask]


def brute_force(row: list[float], count: int) -> list[int]:
    """A stable sort, largest first: of equal entries the lower column goes first."""
    return sorted(sorted(range(len(row)), key=lambda column: -row[column])[:count])


# K = ⌊(1 − ρ)·n⌋


@pytest.mark.parametrize(
    ("sparsity", "inputs", "count"),
    [
        ("0.8", 640, 128),  # (1 − 0.8) · 640 is 127.99999999999997 in binary floats
        (0.8, 640, 128),
        (Decimal("0.8"), 640, 128),
        (0.9, 10, 1),  # (1 − 0.9) · 10 is 0.9999999999999998
        (0.7, 10, 3),
        ("0.5", 5, 2),  # 2.5 is rounded down
        ("0.2", 4, 3),  # 3.2
        ("0.999", 10, 0),
        ("1e-3", 1000, 999),
        (0, 7, 7),
    ],
)
def test_kept_is_exact_in_decimal(sparsity: Decimal | str | float, inputs: int, count: int) -> None:
    assert kept(sparsity, inputs) == count


@given(thousandths=st.integers(0, 999), inputs=st.integers(1, 20_000))
def test_kept_equals_integer_arithmetic(thousandths: int, inputs: int) -> None:
    assert kept(thousandths / 1000, inputs) == (1000 - thousandths) * inputs // 1000


# Row-wise top-K


def test_keep_largest_by_hand() -> None:
    score = torch.tensor([[3.0, 1.0, 4.0, 2.0], [0.5, 8.0, 7.0, 0.0]])
    assert columns(keep_largest(score, 1)) == [[2], [1]]
    assert columns(keep_largest(score, 2)) == [[0, 2], [1, 2]]
    assert columns(keep_largest(score, 3)) == [[0, 2, 3], [0, 1, 2]]


def test_of_equal_entries_the_lower_column_stays() -> None:
    score = torch.tensor(
        [
            [2.0, 2.0, 2.0, 2.0],  # all equal: columns 0 and 1
            [1.0, 2.0, 1.0, 1.0],  # 2, then the first of the ones
            [1.0, 1.0, 3.0, 3.0],  # no tie at the edge
            [0.0, 5.0, 5.0, 5.0],  # the first two of the fives
        ]
    )
    assert columns(keep_largest(score, 2)) == [[0, 1], [0, 1], [2, 3], [1, 2]]


def test_negative_scores_and_both_zeros() -> None:
    score = torch.tensor([[-1.0, -3.0, -2.0, -2.0], [-0.0, 0.0, -1.0, 0.0], [0.0, -0.0, -0.0, 1.0]])
    assert columns(keep_largest(score, 2)) == [[0, 2], [0, 1], [0, 3]]  # −0 equals 0


def test_integer_keys_with_extremes() -> None:
    low, high = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
    keys = torch.tensor([[low, high, 0, high], [low, low, -1, low]], dtype=torch.int32)
    assert columns(keep_largest(keys, 2)) == [[1, 3], [0, 2]]


def test_nothing_and_everything() -> None:
    score = torch.tensor([[3.0, 1.0, 4.0, 2.0]])
    assert columns(keep_largest(score, 0)) == columns(keep_largest(score, -1)) == [[]]
    assert columns(keep_largest(score, 4)) == columns(keep_largest(score, 9)) == [[0, 1, 2, 3]]


def test_the_score_is_read_only_and_may_be_a_view() -> None:
    stored = torch.tensor([[3.0, 0.5], [1.0, 8.0], [4.0, 7.0], [2.0, 0.0]])
    before = stored.clone()
    assert columns(keep_largest(stored.T, 2)) == [[0, 2], [1, 2]]
    assert torch.equal(stored, before)


@st.composite
def matrices(draw: st.DrawFn) -> list[list[float]]:
    """Few distinct values, so that most rows have ties at the edge."""
    width = draw(st.integers(1, 12))
    value = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1.0, 2.0, 1e-40, 3e38])
    return draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=1, max_size=5))


@settings(deadline=None)
@given(rows=matrices(), share=st.floats(0, 1))
def test_keep_largest_is_a_stable_sort(rows: list[list[float]], share: float) -> None:
    count = round(share * len(rows[0]))
    score = torch.tensor(rows)
    expected = [brute_force(row, count) for row in score.tolist()]
    assert columns(keep_largest(score, count)) == expected
    assert columns(keep_largest(order_key(score), count)) == expected


@settings(deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=30))
def test_order_keys_rank_as_the_floats(values: list[float]) -> None:
    keys = order_key(torch.tensor(values)).tolist()
    for a, key_a in zip(values, keys, strict=True):
        for b, key_b in zip(values, keys, strict=True):
            assert (a < b) == (key_a < key_b)


def test_tiered_keys_by_hand() -> None:
    # primary 2 and 1 lead; among primary 0 the secondary decides: 9 (column 4), then 5 (column 0) before 5 (column 3)
    primary = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0, 0.0]])
    secondary = torch.tensor([[5.0, 99.0, 0.0, 5.0, 9.0, 0.0]])
    order = [2, 1, 4, 0, 3, 5]
    for count in range(1, 7):
        assert columns(keep_largest(tiered_key(primary, secondary), count)) == [sorted(order[:count])]


def test_a_negative_zero_does_not_lead_the_second_tier() -> None:
    assert columns(keep_largest(tiered_key(torch.tensor([[0.0, -0.0]]), torch.tensor([[-0.0, 1.0]])), 1)) == [[1]]


score_lists = st.lists(st.tuples(*[st.sampled_from([0.0, 1e-42, 0.5, 1.0, 7.0])] * 2), min_size=1, max_size=12)


@settings(deadline=None)
@given(pairs=score_lists, count=st.integers(0, 12))
def test_tiered_keys_are_a_two_level_stable_sort(pairs: list[tuple[float, float]], count: int) -> None:
    primary, secondary = torch.tensor(pairs).T.unsqueeze(1).unbind()
    values = torch.tensor(pairs).tolist()
    order = sorted(range(len(pairs)), key=lambda i: (-values[i][0], 0.0 if values[i][0] else -values[i][1]))
    assert columns(keep_largest(tiered_key(primary, secondary), count)) == [sorted(order[:count])]


# Blocks of columns


def test_every_block_keeps_its_own_share() -> None:
    score = torch.tensor([[9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0]])
    whole_row = [[0, 1, 2, 3]]
    assert columns(keep_largest(score, 4)) == whole_row
    for block, expected in ((2, [[0, 2, 5, 7]]), (4, [[0, 1, 6, 7]]), (8, whole_row), (128, whole_row)):
        assert columns(keep_largest_in_blocks(score, Decimal("0.5"), block)) == expected


def test_a_short_last_block_rounds_by_itself() -> None:
    # blocks of 3, 3 and 2 columns keep ⌊1.5⌋, ⌊1.5⌋ and 1, together 3, where the whole row keeps 4
    score = torch.tensor([[1.0, 2.0, 3.0, 3.0, 3.0, 1.0, 5.0, 5.0]])
    assert columns(keep_largest_in_blocks(score, Decimal("0.5"), 3)) == [[2, 3, 6]]


# Sums in fixed order


def test_pairwise_sum_folds_halves() -> None:
    # (1e8 + −1e8) + (1 + 1) = 2; from left to right fp32 would give 1
    assert pairwise_row_sum(torch.tensor([[1e8, 1.0, -1e8, 1.0]])).tolist() == [[2.0]]


def test_pairwise_sum_of_any_width_is_a_sum() -> None:
    for width in range(1, 41):
        values = torch.arange(2 * width).view(2, width).float()  # small integers, so fp32 is exact
        assert torch.equal(pairwise_row_sum(values), values.sum(1, keepdim=True))


def test_pairwise_sum_is_accurate_and_does_not_depend_on_layout() -> None:
    values = torch.rand(7, 1153, generator=torch.Generator().manual_seed(0))
    total = pairwise_row_sum(values)
    torch.testing.assert_close(total.double(), values.double().sum(1, keepdim=True), rtol=1e-6, atol=0)
    wide = torch.zeros(7, 3000)
    wide[:, 100:1253] = values
    for again in (values.T.contiguous().T, wide[:, 100:1253], values.clone()):
        assert torch.equal(pairwise_row_sum(again), total)
    for row in range(7):  # neighbours have no influence
        assert torch.equal(pairwise_row_sum(values[row : row + 1]), total[row : row + 1])


# Sparsity plans


def linear(layer: int, part: Part, kind: str) -> LinearSite:
    name = f"blocks.{layer}.{kind}"
    return LinearSite(name, kind, layer, part, (2, 4), InputSite(f"{name}:input", layer, part, 4, 0, (name,)))


KINDS: tuple[tuple[Part, str], ...] = (("attention", "q_proj"), ("mlp", "up_proj"))
LINEARS = [linear(layer, part, kind) for layer in range(12) for part, kind in KINDS]


def shares(plan: SparsityPlan) -> set[tuple[str, int, str]]:
    return {(line.kind, line.layer, str(plan.sparsity(line))) for line in LINEARS if plan.sparsity(line) != 0}


@pytest.mark.parametrize("value", ["0.2", {"default": 0.2}, {"attention": "0.2", "mlp": 0.2}, {"layers.0-11": 0.2}])
def test_one_sparsity_for_all(value: float | str | Mapping[str, float | str]) -> None:
    plan = SparsityPlan.of(value)
    plan.check(LINEARS)
    assert {plan.sparsity(line) for line in LINEARS} == {Decimal("0.2")}
    assert SparsityPlan.of(plan) is plan


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("attention.layers.3", {("q_proj", 3)}),
        ("mlp.layers.10-11", {("up_proj", 10), ("up_proj", 11)}),
        ("q_proj.layers.1", {("q_proj", 1)}),  # layer 1 is not layers 10 and 11
        ("layers.4", {("q_proj", 4), ("up_proj", 4)}),
        ("up_proj", {("up_proj", layer) for layer in range(12)}),
    ],
)
def test_selectors(selector: str, expected: set[tuple[str, int]]) -> None:
    plan = SparsityPlan.of({selector: 0.3})
    plan.check(LINEARS)
    assert shares(plan) == {(kind, layer, "0.3") for kind, layer in expected}  # all others keep everything


def test_the_last_rule_that_fits_counts_and_default_is_always_first() -> None:
    plan = SparsityPlan.of({"mlp": 0.3, "layers.0": 0.1, "default": 0.2})
    assert [str(plan.sparsity(line)) for line in LINEARS[:4]] == ["0.1", "0.1", "0.2", "0.3"]
    plan = SparsityPlan.of({"layers.0": 0.1, "mlp": 0.3, "default": 0.2})
    assert [str(plan.sparsity(line)) for line in LINEARS[:4]] == ["0.1", "0.3", "0.2", "0.3"]


def test_a_plan_survives_json_and_reads_well() -> None:
    plan = SparsityPlan.of({"mlp.layers.0-9": "0.30", "default": 0.2})
    assert SparsityPlan.of(plan.as_json()) == plan
    assert (str(plan), str(SparsityPlan.of(0.25))) == ("default 0.2, mlp.layers.0-9 0.30", "0.25")


@pytest.mark.parametrize("selector", ["", "Attention", "mlp layers", "layers.-1", "layers.1-", "mlp.1", "layers.1.mlp"])
def test_unreadable_selectors(selector: str) -> None:
    with refused(f"sparsity selector {selector!r}", "use default, attention"):
        SparsityPlan.of({selector: 0.2})


@pytest.mark.parametrize("selector", ["k_proj", "layers.12", "layers.5-3", "mlp.layers.99", "default.layers.1"])
def test_selectors_that_fit_nothing(selector: str) -> None:
    plan = SparsityPlan.of({selector: 0.2})
    with refused(repr(selector), "q_proj, up_proj", "layers 0 to 11"):
        plan.check(LINEARS)


@pytest.mark.parametrize("value", [1, 1.5, -0.1, "1", "nan", "inf", float("nan")])
def test_sparsity_out_of_range(value: float | str) -> None:
    with refused(f"sparsity {value} is out of range", "from 0 up to"):
        SparsityPlan.of(value)


@pytest.mark.parametrize("value", ["", "half", "20%", "0,2"])
def test_sparsity_that_is_no_number(value: str) -> None:
    with refused(f"{value!r} is not a number", "such as 0.2"):
        SparsityPlan.of(value)
