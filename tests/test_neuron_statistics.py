"""Neuron statistics: activation probability, histograms of values and their quantiles, the files that keep them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activations import PROVENANCE, SITES, histogram_of, identical, made_pair, pole
from expect import refused
from torch import Tensor

from temperament.container import read_container, write_container
from temperament.signatures import NeuronSignaturePair, load_neuron_signatures, save_neuron_signatures
from temperament.signatures.neuron_store import find_neuron_signatures
from temperament.signatures.neurons import BINS, Counts, Histogram, add_values, quantile
from temperament.signatures.tally import Tally

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
FILES = ("neurons-plus.safetensors", "neurons-minus.safetensors")


def bins(*values: float, dtype: torch.dtype = torch.float32) -> list[int]:
    """The bin of each value."""
    return [int(row.argmax()) for row in histogram_of(torch.tensor([values], dtype=dtype))]


def row(counts: dict[int, int]) -> Tensor:
    """A histogram of one neuron."""
    histogram = torch.zeros(1, BINS, dtype=torch.int32)
    for index, count in counts.items():
        histogram[0, index] = count
    return histogram


def random_values(count: int = 40, neurons: int = 5, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(count, neurons, generator=torch.Generator().manual_seed(seed))


def some_pair() -> NeuronSignaturePair:
    plus = pole([[1, 2, 3, 4, 0], [5, 6, 7, 8, 0]], (10, 12), random_values(22))
    minus = pole([[9, 8, 7, 6, 0], [1, 1, 1, 1, 2]], (9, 2), random_values(11, seed=1))
    return made_pair(plus, minus)


# --- Eq. 2 and Eq. 3 -------------------------------------------------------------------------------------------------


def test_activation_probability_by_hand() -> None:
    counts = Counts(8, torch.tensor([0, 1, 6, 8]))
    assert counts.probability.tolist() == [0, 0.125, 0.75, 1]
    assert counts.probability.dtype == torch.float64
    assert Counts.zeros(3).probability.tolist() == [0, 0, 0]


def test_halves_add_up_by_tokens_not_by_mean() -> None:
    whole = pole([[3, 0], [1, 1]], (4, 12), sites=()).counts
    assert (whole.tokens, whole.active.tolist()) == (16, [4, 1])
    assert whole.probability.tolist() == [0.25, 0.0625]


def test_delta_by_hand() -> None:
    # 5 of 20 against 8 of 10 and so on: the poles differ in how many tokens they have
    plus = pole([[2, 10, 0, 4, 0], [3, 10, 0, 6, 0]], (8, 12))
    minus = pole([[4, 0, 5, 3, 0], [4, 0, 5, 2, 0]], (5, 5))
    assert made_pair(plus, minus).delta.tolist() == pytest.approx([0.25 - 0.8, 1, -1, 0, 0], abs=1e-15)
    assert made_pair(minus, plus).delta.tolist() == pytest.approx([0.55, -1, 1, 0, 0], abs=1e-15)


# --- histograms ------------------------------------------------------------------------------------------------------


def test_bins_by_hand() -> None:
    # each bin holds its lower edge; what lies outside counts in the end bins
    assert bins(0.001, 0.0099, 0.0101, 0.25, 0.2499, 1.505, 2.985, 2.995) == [0, 0, 1, 25, 24, 150, 298, 299]
    assert bins(0.0, -0.0, -1e-30, -0.17, -80.0, -float("inf")) == [0] * 6
    assert bins(2.9999, 3.0, 3.0001, 80.0, 1e30, float("inf")) == [299] * 6


@pytest.mark.parametrize("dtype", FLOATS)
def test_edges_that_a_float_holds_exactly_belong_to_the_bin_above(dtype: torch.dtype) -> None:
    quarters = [quarter / 4 for quarter in range(12)]
    assert bins(*quarters, dtype=dtype) == [25 * quarter for quarter in range(12)]


def test_multiples_of_a_hundredth_fall_beside_their_edge() -> None:
    # 0.53 is no binary number: in float32 it is a little less, and may count as what it is or as what it means
    found = histogram_of((torch.arange(BINS).double() / 100).float().unsqueeze(0)).argmax(1)
    assert all(index - 1 <= int(bin_) <= index for index, bin_ in enumerate(found))
    assert (found == torch.arange(BINS)).sum() > 0.9 * BINS


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_are_counted_by_their_own_value(dtype: torch.dtype) -> None:
    values = (torch.arange(-50, 350).double() / 100).to(dtype)
    expected = (values.double() * 100).floor().clamp(0, BINS - 1)
    assert histogram_of(values.unsqueeze(0)).argmax(1).tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_values_are_left_as_they_are(dtype: torch.dtype) -> None:
    """They are the activations of the model, which the next module reads."""
    values = random_values().to(dtype)
    before = values.clone()
    add_values(torch.zeros(5, BINS, dtype=torch.int32), values.T)
    assert torch.equal(values, before)


@pytest.mark.parametrize("dtype", FLOATS)
def test_histograms_equal_a_count_one_by_one(dtype: torch.dtype) -> None:
    values = random_values(200, 7).to(dtype)
    expected = torch.zeros(7, BINS, dtype=torch.int32)
    for token in values.double().tolist():
        for neuron, value in enumerate(token):
            expected[neuron, min(max(int(value * 100), 0), BINS - 1)] += 1
    assert torch.equal(histogram_of(values), expected)


def test_neither_order_nor_batches_of_tokens_matter() -> None:
    values = random_values(100)
    whole = histogram_of(values)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(histogram_of(values[order]), whole)
    grown = torch.zeros_like(whole)
    for part in torch.split(values, 7):
        add_values(grown, part.T)
    assert torch.equal(grown, whole)
    assert whole.sum(1).tolist() == [100] * 5


def test_a_tally_counts_what_is_above_zero() -> None:
    """0 itself is not active, nor is −0; and every slot and layer keeps its own."""
    tally = Tally.zeros(SITES)
    first, second = torch.tensor([[0.0, -0.0, 1e-30], [0.0, 0.5, 0.5]]), torch.tensor([[-1.0, 0.0], [2.0, 7.0]])
    for slot in (0, 0, 2, 3):
        tally.begin(slot)
        tally.add(SITES[0], first.clone())
        tally.add(SITES[1], second.clone())
        tally.count(2)
        tally.end()
    assert tally.done == 4
    plus, minus = tally.signatures()
    found = [half for signature in (plus, minus) for half in signature.halves]
    assert [half.tokens for half in found] == [4, 0, 2, 2]
    assert [half.active.tolist() for half in found] == [[0, 2, 4, 2, 2], [0] * 5, [0, 1, 2, 1, 1], [0, 1, 2, 1, 1]]
    for signature in (plus, minus):
        assert torch.equal(signature.histogram.layer(0), 2 * histogram_of(first))
        assert torch.equal(signature.histogram.layer(1), 2 * histogram_of(second))


def test_nothing_to_count_changes_nothing() -> None:
    histogram = histogram_of(random_values())
    before = histogram.clone()
    add_values(histogram, torch.zeros(5, 0))
    assert torch.equal(histogram, before)


def test_compressed_histograms_come_back() -> None:
    dense = [histogram_of(random_values(30, 3)), histogram_of(random_values(30, 2, seed=1))]
    dense[0][1, 7] = 2**31 - 1
    kept = Histogram.of(dense)
    assert all(torch.equal(layer, kept.layer(index)) for index, layer in enumerate(dense))
    assert [layer.dtype for layer in kept.dense()] == [torch.int32] * 2
    assert all(torch.equal(one, other) for one, other in zip(dense, kept.dense(), strict=True))
    assert sum(map(len, kept.parts)) < 0.2 * sum(layer.numel() * 4 for layer in dense)
    kept.layer(0).zero_()  # a copy: what is kept stays
    assert torch.equal(kept.layer(0), dense[0])


# --- quantiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.05, 0.25, 0.5, 0.95])
def test_quantiles_of_a_uniform_distribution(q: float) -> None:
    uniform = torch.full((1, BINS), 4, dtype=torch.int32)
    assert quantile(uniform, q).tolist() == pytest.approx([3 * q])


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ({150: 20}, 0.5, 1.505),  # half way through the only bin
        ({150: 20}, 0.95, 1.5095),
        ({0: 95, 200: 5}, 0.95, 0.01),  # exactly the first 95 of 100
        ({0: 94, 200: 6}, 0.95, 2.0 + 0.01 / 6),  # the first of the six
        ({0: 90, 10: 2, 20: 8}, 0.95, 0.2 + 0.01 * 3 / 8),
        ({100: 1, 102: 1}, 0.75, 1.025),
        ({100: 1, 101: 1, 102: 1, 103: 1}, 0.5, 1.02),
        ({250: 1000000, 251: 1000000}, 0.75, 2.515),
    ],
)
def test_quantiles_by_hand(counts: dict[int, int], q: float, expected: float) -> None:
    assert quantile(row(counts), q).tolist() == pytest.approx([expected])


def test_every_neuron_has_a_quantile_of_its_own() -> None:
    both = torch.cat([row({10: 3}), row({20: 5, 21: 5}), row({})])
    assert quantile(both, 0.5).tolist() == pytest.approx([0.105, 0.21, 0])


def test_quantiles_of_the_ends() -> None:
    assert 0 <= float(quantile(histogram_of(torch.full((20, 1), -4.0)), 0.95)) <= 0.01
    assert 2.99 <= float(quantile(histogram_of(torch.full((20, 1), 40.0)), 0.95)) <= 3


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_agree_with_numpy_within_one_bin(q: float) -> None:
    values = torch.rand(5000, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7) / 2
    expected = np.quantile(values.numpy(), q, axis=0)
    assert np.abs(quantile(histogram_of(values), q).numpy() - expected).max() <= 0.01


# --- the pair --------------------------------------------------------------------------------------------------------


def test_shuffled_takes_one_half_of_either_pole() -> None:
    pair = some_pair()
    mixed = pair.shuffled()
    assert mixed.plus.halves == (pair.plus.halves[0], pair.minus.halves[0])
    assert mixed.minus.halves == (pair.plus.halves[1], pair.minus.halves[1])
    assert mixed.delta.tolist() == pytest.approx(
        [10 / 19 - 6 / 14, 10 / 19 - 7 / 14, 10 / 19 - 8 / 14, 10 / 19 - 9 / 14, -2 / 14]
    )
    assert mixed.provenance == {**PROVENANCE, "labels": "shuffled"}
    assert mixed.groups == pair.groups
    assert pair.provenance == PROVENANCE


def test_shuffled_poles_share_the_pooled_histogram() -> None:
    pair = some_pair()
    mixed = pair.shuffled()
    for site in SITES:
        pooled = pair.plus.histogram.layer(site.layer) + pair.minus.histogram.layer(site.layer)
        for name in ("plus", "minus"):
            assert torch.equal(mixed.histogram(name, site.layer), pooled)
        assert torch.equal(pair.histogram("plus", site.layer), pair.plus.histogram.layer(site.layer))
        assert torch.equal(pair.histogram("minus", site.layer), pair.minus.histogram.layer(site.layer))
    assert int(mixed.histogram("plus", 0).sum()) == 3 * 33


def changed(pair: NeuronSignaturePair, half: int, tokens: int, active: int) -> NeuronSignaturePair:
    halves = list(pair.minus.halves)
    old = halves[half]
    halves[half] = Counts(old.tokens + tokens, old.active + active * torch.eye(5, dtype=torch.int64)[4])
    return replace(pair, minus=replace(pair.minus, halves=(halves[0], halves[1])))


def test_the_hash_changes_with_every_ingredient() -> None:
    pair = some_pair()
    histogram = pair.minus.histogram.dense()
    histogram[1][1, 299] += 1
    others = [
        replace(pair, provenance={**PROVENANCE, "seed": "43"}),
        replace(pair, provenance={**PROVENANCE, "tokens": "all"}),
        replace(pair, plus=pair.minus, minus=pair.plus),
        replace(pair, minus=replace(pair.minus, halves=pair.minus.halves[::-1])),
        changed(pair, 0, 1, 0),
        changed(pair, 1, 0, 1),
        replace(pair, minus=replace(pair.minus, histogram=Histogram.of(histogram))),
        pair.shuffled(),
    ]
    assert len({pair.hash, *(other.hash for other in others)}) == 1 + len(others)
    assert some_pair().hash == pair.hash
    turned = dict(reversed(PROVENANCE.items()))
    assert replace(pair, provenance=turned).hash == pair.hash  # the order of keys is no ingredient


# --- files -----------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    pair = some_pair()
    save_neuron_signatures(tmp_path, pair)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    loaded = load_neuron_signatures(tmp_path)
    assert identical(loaded, pair)
    assert loaded.hash == pair.hash
    assert loaded.delta.tolist() == pair.delta.tolist()
    assert not loaded.pooled


def test_statistics_are_found_by_all_they_depend_on(tmp_path: Path) -> None:
    assert find_neuron_signatures(tmp_path / "missing", PROVENANCE) is None
    save_neuron_signatures(tmp_path, some_pair())
    found = find_neuron_signatures(tmp_path, PROVENANCE)
    assert found is not None
    assert identical(found, some_pair())
    assert find_neuron_signatures(tmp_path) is not None
    for key in PROVENANCE:
        assert find_neuron_signatures(tmp_path, {**PROVENANCE, key: "other"}) is None
    assert find_neuron_signatures(tmp_path, {**PROVENANCE, "more": "yes"}) is None
    (tmp_path / FILES[1]).unlink()
    assert find_neuron_signatures(tmp_path, PROVENANCE) is None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    save_neuron_signatures(tmp_path, some_pair())
    (tmp_path / name).unlink()
    with refused(name, "there is no neuron signature file"):
        load_neuron_signatures(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_are_refused(tmp_path: Path, name: str) -> None:
    save_neuron_signatures(tmp_path, some_pair())
    path = tmp_path / name
    data, rng = path.read_bytes(), random.Random(name)
    broken = [data[:size] for size in (0, 7, 100, len(data) - 1)] + [data + b"\0"]
    for position in rng.sample(range(len(data)), 40):
        flipped = bytearray(data)
        flipped[position] ^= rng.randrange(1, 256)
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        with refused(name, "delete it and run the extraction again"):
            load_neuron_signatures(tmp_path)


Edit = Callable[[dict[str, Tensor], dict[str, Any]], object]

BAD: dict[str, Edit] = {
    "another version": lambda _, header: header.update(format_version=99),
    "another kind": lambda _, header: header.update(kind="signature"),
    "no tokens": lambda _, header: header.pop("tokens"),
    "no groups": lambda _, header: header.pop("groups"),
    "no model": lambda _, header: header["provenance"].pop("model"),
    "three halves": lambda _, header: header["tokens"].append(4),
    "no number of tokens": lambda _, header: header.update(tokens=["x", "y"]),
    "no histogram": lambda tensors, _: tensors.pop("histogram"),
    "histogram too long": lambda tensors, _: tensors.update(histogram=tensors["histogram"].repeat(2)),
    "histogram of noise": lambda tensors, _: tensors.update(histogram=tensors["histogram"].flip(0)),
    "one layer less": lambda _, header: header.update(parts=[sum(header["parts"])]),
    "parts of no length": lambda _, header: header.update(parts=[0, sum(header["parts"])]),
    "short counts": lambda tensors, _: tensors.update(active=tensors["active"].int()),
    "counts in a row": lambda tensors, _: tensors.update(active=tensors["active"].view(-1)),
}


@pytest.mark.parametrize("edit", BAD.values(), ids=BAD)
def test_an_intact_file_with_a_wrong_content_is_refused(tmp_path: Path, edit: Edit) -> None:
    save_neuron_signatures(tmp_path, some_pair())
    path = tmp_path / FILES[0]
    tensors, header = read_container(path, kind="file", remedy="none")
    edit(tensors, header)
    header.pop("sha256")
    write_container(path, tensors, header)
    with refused(FILES[0], "delete it and run the extraction again"):
        load_neuron_signatures(tmp_path)


def test_another_kind_of_file_in_its_place_is_refused(tmp_path: Path) -> None:
    save_neuron_signatures(tmp_path, some_pair())
    write_container(tmp_path / FILES[1], {"x": torch.zeros(1)}, {"kind": "partial"})
    with refused(FILES[1], "is no neuron signature"):
        load_neuron_signatures(tmp_path)


def test_files_of_two_runs_are_refused(tmp_path: Path) -> None:
    pair = some_pair()
    save_neuron_signatures(tmp_path / "a", pair)
    save_neuron_signatures(tmp_path / "b", replace(pair, provenance={**PROVENANCE, "seed": "43"}))
    (tmp_path / "a" / FILES[0]).replace(tmp_path / "b" / FILES[0])
    with refused("different runs", "delete it and run the extraction again"):
        load_neuron_signatures(tmp_path / "b")


def test_the_poles_cannot_be_exchanged_on_disk(tmp_path: Path) -> None:
    """A persona of the opposite pole is the worst that a mixed-up file could give."""
    save_neuron_signatures(tmp_path, some_pair())
    plus, minus = (tmp_path / name for name in FILES)
    data = plus.read_bytes()
    plus.write_bytes(minus.read_bytes())
    minus.write_bytes(data)
    with refused("delete it and run the extraction again"):
        load_neuron_signatures(tmp_path)
