"""Personality neurons: which are chosen, how far each is raised, their control, and the settings of the method."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from activations import SITES, made_pair, pole
from expect import refused
from support import mixed_contrast
from torch import Tensor

from temperament.calibration import RolePlay
from temperament.methods import Neurons, find_method
from temperament.methods.neurons import RELEASED_LEAST, by_layer, choose, find_neurons, permuted, saturated, weight
from temperament.methods.randomise import permutation
from temperament.methods.registry import NeuronParameters
from temperament.models import LoadedModel, NeuronSite
from temperament.personas import Extraction, NeuronEdit, extract
from temperament.personas.extract import rebuild
from temperament.personas.neuron_personas import randomised
from temperament.signatures import NeuronSignaturePair

PLAY = RolePlay("loud", ("You are loud.",), ("You are quiet.",), ("Who are you?",))

#: Two layers that are wide enough to permute.
WIDE = (NeuronSite("blocks.0.act", 0, 40, 0), NeuronSite("blocks.1.act", 1, 30, 40))


def chosen(values: list[float], **rule: Any) -> list[int]:
    return choose(torch.tensor(values, dtype=torch.float64), **rule).tolist()


def neurons(index: list[int], delta: list[float], a95: list[float] | None = None) -> Neurons:
    found = a95 or [1.0] * len(index)
    return Neurons(torch.tensor(index), torch.tensor(delta), torch.tensor(found))


def read(**settings: Any) -> NeuronParameters:
    parameters = find_method("neurons").read(settings)
    assert isinstance(parameters, NeuronParameters)
    return parameters


# --- which neurons ---------------------------------------------------------------------------------------------------

DELTA = [0.5, -0.25, 0.25, 0.0, -0.75, 0.125, -0.125, 0.375]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.1, [0, 1, 2, 4, 5, 6, 7]),
        (0.125, [0, 1, 2, 4, 7]),  # more than the threshold: ±.125 is not enough
        (0.25, [0, 4, 7]),
        (0.5, [4]),
        (0.75, []),
        (0.0, [0, 1, 2, 4, 5, 6, 7]),  # δ = 0 belongs to neither pole
    ],
)
def test_choice_by_threshold(threshold: float, expected: list[int]) -> None:
    assert chosen(DELTA, threshold=threshold) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [0, 4]),
        (2, [0, 1, 4, 7]),
        (3, [0, 1, 2, 4, 6, 7]),
        (100, [0, 1, 2, 4, 5, 6, 7]),
        ((2, 0), [0, 7]),
        ((0, 2), [1, 4]),
        ((1, 3), [0, 1, 4, 6]),
        ((0, 0), []),
    ],
)
def test_choice_by_count(count: int | tuple[int, int], expected: list[int]) -> None:
    """As many of either pole, however the signs are divided; a pole never gets neurons of the other sign."""
    assert chosen(DELTA, count=count) == expected


def test_choice_by_share() -> None:
    """Of all neurons, per pole, rounded down."""
    assert chosen(DELTA, share=0.125) == [0, 4]
    assert chosen(DELTA, share=0.25) == [0, 1, 4, 7]
    assert chosen(DELTA, share=0.24) == [0, 4]
    assert chosen(DELTA, share=0.1) == []
    assert chosen(DELTA, share=0.5) == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize(("share", "count"), [(0.29, 29), (0.28, 28), (0.07, 7), (0.01, 1), (0.145, 14)])
def test_a_share_is_taken_in_exact_decimal_arithmetic(share: float, count: int) -> None:
    """As with masks: .29 of 100 neurons are 29, though .29 · 100 is 28.999… in binary."""
    assert len(chosen([1 - index / 1000 for index in range(100)], share=share)) == count


def test_the_least_number_is_taken_below_the_threshold_too() -> None:
    assert chosen(DELTA, threshold=0.4, least=2) == [0, 1, 4, 7]
    assert chosen(DELTA, threshold=0.1, least=2) == [0, 1, 2, 4, 5, 6, 7]  # never fewer than the threshold gives
    assert chosen(DELTA, threshold=0.4, least=100) == [0, 1, 2, 4, 5, 6, 7]  # never of the other sign
    assert chosen(DELTA, count=1, least=2) == [0, 4]


def test_of_equal_neurons_the_lower_position_goes_first() -> None:
    equal = [0.5, -0.5] * 40
    assert chosen(equal, count=3) == [0, 1, 2, 3, 4, 5]
    assert chosen([0.25, *equal[2:], 0.75], count=2) == [1, 2, 4, 79]


def test_a_pole_without_neurons_stays_empty() -> None:
    assert chosen([0.5, 0.25, 0.0], count=2) == [0, 1]
    assert chosen([-0.5, -0.25, 0.0], threshold=0.3, least=5) == [0, 1]
    assert chosen([0.0, 0.0], count=2) == []


# --- how far they are raised -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        (0.15, 0.5),
        (0.0, 1 / (1 + math.exp(1.5))),  # .1824
        (0.25, 1 / (1 + math.exp(-1))),  # .7311
        (0.05, 1 / (1 + math.e)),  # .2689
        (1.0, 1 / (1 + math.exp(-8.5))),  # .9998
    ],
)
def test_the_weight_by_hand(delta: float, expected: float) -> None:
    both = torch.tensor([delta, -delta], dtype=torch.float64)
    assert weight(both).tolist() == pytest.approx([expected] * 2, rel=1e-12)


def test_raises_by_hand() -> None:
    found = neurons([0, 3], [0.25, -0.15], [2.0, 0.5])
    assert NeuronEdit((3, 2), found, 1.4).raises.tolist() == pytest.approx([2.8 / (1 + math.exp(-1)), 0.35])
    assert NeuronEdit((3, 2), found, 1.4, weighted=False).raises.tolist() == pytest.approx([2.8, 0.7])
    assert NeuronEdit((3, 2), found, 0.0).raises.tolist() == [0, 0]


def constant(*values: float, tokens: int = 20) -> Tensor:
    """The same values at every token."""
    return torch.tensor([values]).repeat(tokens, 1)


def two_sided() -> NeuronSignaturePair:
    """δ = .5, −.5, 0 | −.25, .25; every neuron has another value under each pole."""
    plus = pole([[8, 1, 5, 2, 5], [7, 4, 5, 3, 5]], values=constant(0.505, 1.005, 1.505, 2.005, 2.505))
    minus = pole([[1, 8, 5, 5, 2], [4, 7, 5, 5, 3]], values=constant(0.105, 0.205, 0.305, 0.405, 0.45))
    return made_pair(plus, minus)


def test_a95_comes_from_the_pole_that_raises_the_neuron() -> None:
    found = find_neurons(two_sided(), SITES, torch.tensor([0, 1, 3, 4]))
    assert found.index.tolist() == [0, 1, 3, 4]
    assert found.delta.tolist() == [0.5, -0.5, -0.25, 0.25]
    assert found.a95.tolist() == pytest.approx([0.5095, 0.2095, 0.4095, 2.5095], abs=1e-6)
    assert found.on(1).tolist() == [True, False, False, True]
    assert found.on(-1).tolist() == [False, True, True, False]
    assert (found.delta.dtype, found.a95.dtype, found.index.dtype) == (torch.float32, torch.float32, torch.int64)


def test_a95_is_the_95th_percentile() -> None:
    values = torch.arange(100).unsqueeze(1).repeat(1, 5) / 100 + 0.005  # .005 … .995
    pair = made_pair(pole([[9] * 5] * 2, values=values), pole([[1] * 5] * 2, values=values / 2))
    assert find_neurons(pair, SITES, torch.arange(5)).a95.tolist() == pytest.approx([0.95] * 5)
    turned = NeuronSignaturePair(pair.minus, pair.plus, pair.provenance, pair.groups)
    assert find_neurons(turned, SITES, torch.arange(5)).a95.tolist() == pytest.approx([0.95] * 5)


def test_only_some_neurons_of_some_layers() -> None:
    for index in ([], [4], [0], [1, 2, 3]):
        whole = find_neurons(two_sided(), SITES, torch.arange(5))
        found = find_neurons(two_sided(), SITES, torch.tensor(index, dtype=torch.int64))
        assert len(found) == len(index)
        assert found.a95.tolist() == whole.a95[index].tolist()
        assert found.delta.tolist() == whole.delta[index].tolist()


def test_shuffled_labels_take_a95_from_both_poles() -> None:
    high, low = constant(*[1.505] * 5, tokens=18), constant(*[0.505] * 5, tokens=2)
    pair = made_pair(pole([[8] * 5, [1] * 5], values=low), pole([[3] * 5, [9] * 5], values=high)).shuffled()
    found = find_neurons(pair, SITES, torch.arange(5))
    assert found.delta.tolist() == pytest.approx([11 / 20 - 10 / 20] * 5)
    assert found.a95.tolist() == pytest.approx([1.5 + 0.01 * 17 / 18] * 5)  # the 19th of 2 + 18


def test_values_beyond_the_histogram_are_reported() -> None:
    """The true percentile of the second and fourth may be larger than what the histogram can tell."""
    plus = pole([[9] * 5] * 2, values=constant(2.5, 5.0, 2.98, 3.0, -1.0))
    minus = pole([[1] * 5] * 2, values=constant(*[0.0] * 5))
    found = find_neurons(made_pair(plus, minus), SITES, torch.arange(5))
    assert found.a95.tolist() == pytest.approx([2.505, 3.0, 2.985, 3.0, 0.005], abs=0.005)
    assert saturated(found) == 2
    assert saturated(neurons([0, 1], [0.5, 0.5], [2.5, 0.0])) == 0


# --- their division over layers, and the control ---------------------------------------------------------------------


def test_neurons_by_layer() -> None:
    found = neurons([0, 2, 3, 4], [0.5, -0.5, -0.25, -0.5])
    assert by_layer(found, SITES) == {"plus": [1, 0], "minus": [1, 2]}
    assert by_layer(neurons([4], [0.5]), SITES) == {"plus": [0, 1], "minus": [0, 0]}
    assert by_layer(neurons([], []), SITES) == {"plus": [0, 0], "minus": [0, 0]}


def some_neurons() -> Neurons:
    index = [1, 2, 3, 5, 8, 13, 21, 34, 41, 42, 43, 55, 69]
    delta = [0.1 + 0.01 * i if i % 3 else -0.2 - 0.01 * i for i in range(len(index))]
    return neurons(index, delta, [0.1 * i for i in range(len(index))])


def by_values(found: Neurons) -> list[Counter[tuple[float, float]]]:
    """The values of either layer, as they are however they are ordered."""
    layers = [(found.index < WIDE[1].offset), (found.index >= WIDE[1].offset)]
    return [Counter(zip(found.delta[here].tolist(), found.a95[here].tolist(), strict=True)) for here in layers]


def test_the_control_moves_the_same_values_within_each_layer() -> None:
    found = some_neurons()
    moved = permuted(found, WIDE, permutation(WIDE, 0))
    assert by_values(moved) == by_values(found)
    assert moved.index.tolist() == sorted(set(moved.index.tolist()))
    assert len(moved) == len(found)
    assert moved.index.tolist() != found.index.tolist()
    assert by_layer(moved, WIDE) == by_layer(found, WIDE)


def test_the_control_follows_its_order_exactly() -> None:
    found = neurons([0, 1, 3], [0.5, -0.5, 0.25], [1.0, 2.0, 3.0])
    moved = permuted(found, SITES, torch.tensor([2, 0, 1, 4, 3]))
    assert moved.index.tolist() == [0, 2, 4]
    assert moved.delta.tolist() == [-0.5, 0.5, 0.25]
    assert moved.a95.tolist() == [2, 1, 3]


def test_the_control_is_a_function_of_its_seed() -> None:
    first, again, other = (permuted(some_neurons(), WIDE, permutation(WIDE, seed)) for seed in (0, 0, 1))
    assert torch.equal(first.index, again.index)
    assert torch.equal(first.delta, again.delta)
    assert torch.equal(first.a95, again.a95)
    assert not torch.equal(first.index, other.index)


def test_an_order_of_another_model_is_refused() -> None:
    with refused("does not fit the model"):
        permuted(some_neurons(), WIDE, permutation(SITES, 0))


# --- settings --------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    found = read()
    assert found.model_dump() == {
        "variant": "published",
        "threshold": 0.1,
        "count": None,
        "share": None,
        "gamma": 0.7,
        "weighted": True,
    }


@pytest.mark.parametrize(("name", "value"), [("threshold", 0.2), ("threshold", 0.0), ("count", 3), ("share", 0.25)])
def test_one_rule_replaces_the_default(name: str, value: float) -> None:
    found = read(**{name: value}).model_dump()
    rules = {"threshold", "count", "share"}
    assert {rule: found[rule] for rule in rules} == {**dict.fromkeys(rules), name: value}


def test_settings_choose() -> None:
    delta = torch.tensor(DELTA, dtype=torch.float64)
    assert read(threshold=0.3).choose(delta).tolist() == [0, 4, 7]
    assert read(count=1).choose(delta).tolist() == [0, 4]
    assert read(share=0.25).choose(delta).tolist() == [0, 1, 4, 7]
    assert read().choose(torch.tensor([0.0999, -0.1001, 0.1001], dtype=torch.float64)).tolist() == [1, 2]


def test_the_released_variant_takes_thousands() -> None:
    delta = torch.linspace(-0.05, 0.05, 10_001, dtype=torch.float64)
    assert len(read().choose(delta)) == 0
    found = read(variant="released").choose(delta)
    assert RELEASED_LEAST == 2000
    assert found.tolist() == [*range(2000), *range(8001, 10_001)]
    assert len(read(variant="released", count=5).choose(delta)) == 10


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"threshold": 0.1, "count": 5}, ("give one of threshold, count and share",)),
        ({"count": 5, "share": 0.1}, ("give one of threshold, count and share",)),
        ({"threshold": 0, "share": 0.1}, ("give one of threshold, count and share",)),
        ({"cout": 5}, ("setting 'cout'", "no such setting")),
        ({"t": 8.0}, ("setting 't'", "no such setting")),
        ({"threshold": 1.0}, ("setting 'threshold'", "less than 1")),
        ({"threshold": -0.1}, ("setting 'threshold'", "greater than or equal to 0")),
        ({"threshold": math.nan}, ("setting 'threshold'", "finite")),
        ({"count": 0}, ("setting 'count'", "greater than or equal to 1")),
        ({"count": 2.5}, ("setting 'count'", "integer")),
        ({"share": 0}, ("setting 'share'", "greater than 0")),
        ({"share": 0.51}, ("setting 'share'", "less than or equal to 0.5")),
        ({"gamma": -1}, ("setting 'gamma'", "greater than or equal to 0")),
        ({"gamma": math.inf}, ("setting 'gamma'", "finite")),
        ({"weighted": "perhaps"}, ("setting 'weighted'",)),
        ({"variant": "appendix-k"}, ("setting 'variant'", "'published' or 'released'")),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], parts: tuple[str, ...]) -> None:
    with refused("neurons: ", *parts, "settings and defaults: variant=published", "gamma=0.7"):
        read(**settings)


# --- extraction ------------------------------------------------------------------------------------------------------


def extracted(lm: LoadedModel, **settings: Any) -> Extraction:
    return extract(lm, mixed_contrast(), method="neurons", settings=settings)


def edits(found: Extraction) -> tuple[NeuronEdit, NeuronEdit]:
    assert isinstance(found.plus.edit, NeuronEdit)
    assert isinstance(found.minus.edit, NeuronEdit)
    return found.plus.edit, found.minus.edit


@pytest.mark.parametrize("tiny_model", ["llama", "gpt2"], indirect=True)
def test_extraction(tiny_model: LoadedModel) -> None:
    found = extracted(tiny_model, count=6, gamma=1.4, weighted=False)
    pair = found.signatures
    assert isinstance(pair, NeuronSignaturePair)
    first, second = edits(found)
    assert first == second  # both poles know all neurons; which are raised is a matter of the pole
    assert (found.plus.pole, found.minus.pole) == ("plus", "minus")
    expected = choose(pair.delta, count=6)
    assert first.neurons.index.tolist() == expected.tolist()
    assert first.neurons.delta.tolist() == pair.delta[expected].float().tolist()
    assert first.neurons.a95.tolist() == find_neurons(pair, tiny_model.neurons, expected).a95.tolist()
    assert (first.gamma, first.weighted, first.variant) == (1.4, False, "published")
    assert first.widths == tuple(site.width for site in tiny_model.neurons)
    assert found.plus.groups == mixed_contrast().group_keys
    facts: Mapping[str, Any] = found.details["neurons"]
    assert (facts["plus"], facts["minus"]) == (6, 6)
    assert facts["by_layer"] == by_layer(first.neurons, tiny_model.neurons)
    assert facts["saturated"] == saturated(first.neurons)


def test_the_default_threshold_is_used(tiny_llama: LoadedModel) -> None:
    found = extracted(tiny_llama)
    pair = found.signatures
    assert isinstance(pair, NeuronSignaturePair)
    index = edits(found)[0].neurons.index
    assert index.tolist() == (pair.delta.abs() > 0.1).nonzero().flatten().tolist()
    assert len(index) > 10


def test_poles_exchanged_give_the_opposite_persona(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    turned = type(contrast)("turned", contrast.minus, contrast.plus)
    first = edits(extracted(tiny_llama, count=9))[0].neurons
    second = edits(extract(tiny_llama, turned, method="neurons", settings={"count": 9}))[0].neurons
    assert second.index.tolist() == first.index.tolist()
    assert second.delta.tolist() == (-first.delta).tolist()
    assert second.a95.tolist() == first.a95.tolist()


@pytest.mark.parametrize("rule", [{"threshold": 0.15}, {"count": 7}])
def test_a_rebuilt_pair_has_as_many_neurons(tiny_llama: LoadedModel, rule: dict[str, Any]) -> None:
    """A control of another size would tell nothing, and with shuffled labels no threshold would be reached."""
    found = extracted(tiny_llama, **rule, gamma=1.1)
    pair = found.signatures
    assert isinstance(pair, NeuronSignaturePair)
    same, _ = rebuild(tiny_llama, pair, found.plus, found.minus)
    assert same.edit == found.plus.edit
    shuffled, _ = rebuild(tiny_llama, pair.shuffled(), found.plus, found.minus)
    assert isinstance(shuffled.edit, NeuronEdit)
    assert shuffled.edit != found.plus.edit
    assert shuffled.edit.gamma == 1.1
    for sign in (1, -1):
        wanted = int(edits(found)[0].neurons.on(sign).sum())
        available = int((pair.shuffled().delta * sign > 0).sum())
        assert int(shuffled.edit.neurons.on(sign).sum()) == min(wanted, available) > 0


def test_the_random_control_keeps_all_but_the_positions(tiny_llama: LoadedModel) -> None:
    edit = edits(extracted(tiny_llama, count=8, gamma=1.1, weighted=False, variant="released"))[0]
    moved = randomised(tiny_llama, edit, 5)
    assert moved.neurons.index.tolist() != edit.neurons.index.tolist()
    assert sorted(moved.raises.tolist()) == sorted(edit.raises.tolist())
    assert by_layer(moved.neurons, tiny_llama.neurons) == by_layer(edit.neurons, tiny_llama.neurons)
    assert (moved.gamma, moved.weighted, moved.variant, moved.widths) == (1.1, False, "released", edit.widths)
    assert randomised(tiny_llama, edit, 5) == moved
    assert randomised(tiny_llama, edit, 6) != moved


def test_a_threshold_that_leaves_no_neuron_is_refused(tiny_llama: LoadedModel) -> None:
    pair = extracted(tiny_llama, count=1).signatures
    assert isinstance(pair, NeuronSignaturePair)
    largest = float(pair.delta.abs().max())
    assert 0.1 < largest < 0.999
    with refused(f"the largest |δ| is {largest:.3f}", "lower the threshold", "--set count=100"):
        extracted(tiny_llama, threshold=0.999)


def test_what_a_method_cannot_use_is_refused(tiny_llama: LoadedModel) -> None:
    with refused("the method neurons has no sparsity", "threshold=0.1, count, share"):
        extract(tiny_llama, mixed_contrast(), method="neurons", sparsity=0.2)
    with refused("the method neurons has no sparsity"):
        extract(tiny_llama, mixed_contrast(), method="neurons", sparsity=0.0)
    for method in ("wanda", "contrastive-tilt"):
        with refused(f"the method {method} needs texts, not a role to play", "use the source texts"):
            extract(tiny_llama, PLAY, method=method)
    with refused("unknown token rule 'some'", "use response or all"):
        extract(tiny_llama, mixed_contrast(), method="neurons", tokens="some")  # type: ignore[arg-type]


def test_signatures_that_do_not_belong_are_refused(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    masks = extract(tiny_llama, contrast, method="wanda").signatures
    found = extracted(tiny_llama, count=2).signatures
    assert isinstance(found, NeuronSignaturePair)
    with refused("belong to another kind of method", "leave them out"):
        extract(tiny_llama, contrast, method="neurons", signatures=masks)
    with refused("belong to another kind of method", "leave them out"):
        extract(tiny_llama, contrast, method="wanda", signatures=found)
    short = type(contrast)("short", contrast.plus[1:], contrast.minus)
    with refused("collected with another data", "leave them out"):
        extract(tiny_llama, short, method="neurons", signatures=found)
    with refused("collected with another seed"):
        extract(tiny_llama, contrast, method="neurons", signatures=found, seed=7)
    again = extract(tiny_llama, contrast, method="neurons", signatures=found, settings={"count": 2})
    assert again.plus.edit == extracted(tiny_llama, count=2).plus.edit
