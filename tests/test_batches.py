"""Batches of similar length: every item once, within the limits, and cut where that costs least."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temperament.models.dialogue import Encoded
from temperament.signatures.batches import AS_FEW_AS_FIT, length_buckets

TOKENS, ROWS, POSITIONS = 24, 4, 12

items = st.lists(
    st.integers(1, 9).flatmap(lambda n: st.builds(lambda start: Encoded(tuple(range(n)), start), st.integers(0, n))),
    max_size=8,
)


def costs(lengths: list[int], starts: list[int], overhead: int) -> list[int]:
    """What every way to cut the sorted items within the limits costs; an item alone always fits."""
    found = []
    count = len(lengths)
    for cuts in (cut for r in range(count) for cut in combinations(range(1, count), r)):
        edges = [0, *cuts, count]
        parts = list(pairwise(edges))
        if all(end - begin == 1 or fits(lengths[begin:end], starts[begin:end]) for begin, end in parts):
            found.append(sum((end - begin) * lengths[begin] + overhead for begin, end in parts))
    return found


def fits(lengths: list[int], starts: list[int]) -> bool:
    count, longest = len(lengths), max(lengths)
    return count <= ROWS and count * longest <= TOKENS and count * (longest - min(starts)) <= POSITIONS


@given(items, st.sampled_from([0, 3, AS_FEW_AS_FIT]))
def test_no_other_cut_costs_less(found: list[Encoded], overhead: int) -> None:
    batches = length_buckets(found, padding=0, tokens=TOKENS, rows=ROWS, positions=POSITIONS, overhead=overhead)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(found)))
    assert [item for batch in batches for item in batch.items] == [
        found[row] for batch in batches for row in batch.rows
    ]
    order = [found[row] for batch in batches for row in batch.rows]
    lengths, starts = [len(item.ids) for item in order], [item.start for item in order]
    assert lengths == sorted(lengths, reverse=True)
    for batch in batches:
        assert batch.ids.shape == (len(batch.rows), max(len(item.ids) for item in batch.items))
    if found:
        spent = sum(batch.ids.numel() + overhead for batch in batches)
        assert spent == min(costs(lengths, starts, overhead))


@pytest.mark.parametrize(("overhead", "shapes"), [(1, [(1, 9), (3, 2)]), (AS_FEW_AS_FIT, [(4, 9)])])
def test_a_long_item_shares_a_batch_only_where_one_more_is_dear(overhead: int, shapes: list[tuple[int, int]]) -> None:
    found = [Encoded(tuple(range(n)), 0) for n in (2, 9, 2, 2)]
    batches = length_buckets(found, padding=0, tokens=100, rows=8, overhead=overhead)
    assert [tuple(batch.ids.shape) for batch in batches] == shapes
