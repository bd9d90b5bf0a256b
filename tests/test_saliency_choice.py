"""Which weights a saliency persona takes: the largest of the whole model, by hand and on planted statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_passes, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from support import mixed_contrast
from torch import Tensor

import temperament.methods.saliency as scoring
import temperament.personas.saliency_personas as personas
from temperament.calibration import Pole, RolePlay, resolve_roleplay
from temperament.calibration.contrast import POLES
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.evaluation.score import score_responses
from temperament.methods.registry import SaliencyParameters
from temperament.methods.saliency import largest, median_cost, usefulness
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, SubnetworkEdit, extract
from temperament.personas.kind import Origin
from temperament.personas.saliency_personas import subnetwork_pair
from temperament.signatures import SaliencyPair
from temperament.signatures.saliency import PARTS, LinearSaliency
from temperament.wear import wear

NEUTRAL = ("The tide comes in twice a day.", "Ice floats.")


def by_hand(parts: list[Tensor], count: int) -> tuple[list[int], list[float]]:
    """Sort everything: larger first, of equal ones the lower position first."""
    flat = torch.cat([part.flatten() for part in parts]).tolist()
    best = sorted((i for i in range(len(flat)) if flat[i] > 0), key=lambda i: (-flat[i], i))[:count]
    return sorted(best), [flat[i] for i in sorted(best)]


VALUES = st.sampled_from([0.0, -1.0, 1e-45, 3e-45, 1e-38, 0.5, 1.0, 1.0 + 2**-23, 1.0 - 2**-24, 2.0, 3e38])


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.lists(VALUES, min_size=0, max_size=12), min_size=1, max_size=8),
    count=st.integers(min_value=1, max_value=20),
)
def test_largest_is_a_sort(parts: list[list[float]], count: int) -> None:
    tensors = [torch.tensor(part) for part in parts]
    positions, values = largest(tensors, count)
    assert (positions.tolist(), values.tolist()) == by_hand(tensors, count)
    assert positions.dtype == torch.int64


def test_largest_counts_through_all_tensors_row_by_row() -> None:
    parts = [torch.tensor([[1.0, 5.0], [2.0, 0.0]]), torch.zeros(3, 2), torch.tensor([[4.0], [3.0]])]
    assert largest(parts, 3)[0].tolist() == [1, 10, 11]
    assert largest(iter(parts), 9)[0].tolist() == [0, 1, 2, 10, 11]
    assert largest([part.T for part in parts], 2)[0].tolist() == [2, 10]


def test_of_thousands_of_equal_values_the_first_are_taken() -> None:
    """Ties over several tensors, some of them larger than what is held and some far smaller."""
    sizes = (3000, 7, 4000, 1, 5000)
    for value in (1.0, 1e-45):
        parts = [torch.full((size,), value) for size in sizes]
        for count in (1, 999, 3000, 3005, 7500, 12007):
            assert largest(parts, count)[0].tolist() == list(range(count))
    parts[-1][4321] = 2.0
    assert largest(parts, 5)[0].tolist() == [0, 1, 2, 3, 7008 + 4321]


def test_largest_holds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    top = scoring._top

    def counting(values: Tensor, count: int) -> Tensor:
        held.append(len(values))
        return top(values, count)

    monkeypatch.setattr(scoring, "_top", counting)
    largest([torch.rand(1000, generator=torch.Generator().manual_seed(i)) for i in range(50)], 100)
    assert max(held) <= 1200
    held.clear()
    largest([torch.ones(1000)] * 50, 100)
    assert held == [1000, 100], "equal values that come later are not gathered"


def test_usefulness_is_the_equation() -> None:
    weight = torch.tensor([[2.0, -1.0, 3.0, 0.0]])
    gradient = torch.tensor([[-0.5, 4.0, 1.0, 9.0]])
    fisher = torch.tensor([[0.25, 1.0, 1.0, 1.0]])
    found = usefulness(weight, gradient, fisher, damping=1.0)
    assert found.tolist() == [[1 / 2, 4 / 2, 0, 0]]
    assert usefulness(weight, gradient, fisher, 1.0, 2.0).tolist() == [[1 / 2, 16 / 2, 0, 0]]
    assert usefulness(weight, -gradient, fisher, 1.0).tolist() == [[0, 0, pytest.approx(0.3), 0]]
    assert [float(part[0, 0]) for part in (weight, gradient, fisher)] == [2, -0.5, 0.25], "left as they were"


def test_the_median_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [torch.arange(10.0).view(2, 5), torch.arange(100.0, 109.0)]
    assert median_cost(costs, 19) == 9
    monkeypatch.setattr(scoring, "_SAMPLE", 6)
    assert median_cost(costs, 19) == 9  # 0 3 6 9 and 100 103 106


# On a model


@pytest.fixture(scope="module")
def found(tiny_llama: LoadedModel) -> Extraction:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personas, "neutral_texts", lambda: NEUTRAL)
        return extract(tiny_llama, mixed_contrast(), method="contrastive-saliency", settings={"share": 0.01})


def positions(persona: Persona) -> Tensor:
    assert isinstance(persona.edit, SubnetworkEdit)
    return persona.edit.positions


def statistics(found: Extraction) -> SaliencyPair:
    assert isinstance(found.signatures, SaliencyPair)
    return found.signatures


def chosen(lm: LoadedModel, pair: SaliencyPair, **parameters: Any) -> tuple[Tensor, Tensor]:
    origin: Origin = {"plus": {}, "minus": {}}
    plus, minus = subnetwork_pair(lm, SaliencyParameters(**parameters), pair, "x", origin)
    return positions(plus), positions(minus)


def scores(lm: LoadedModel, pair: SaliencyPair, pole: Pole, p: SaliencyParameters) -> list[Tensor]:
    """By hand: max(0, −w·G)^e / (w²F + damping · median(w²F)) of all targeted weights; G of own − β·other."""
    rows = []
    for site in lm.linears:
        s = pair.read(site.name)
        plus, minus = s.plus_first.double() + s.plus_second.double(), s.minus_first.double() + s.minus_second.double()
        weight, gradient = (
            lm.weight(site).double(),
            plus - p.other * minus if pole == "plus" else minus - p.other * plus,
        )
        cost = weight**2 * ((1 - p.neutral) * s.poles.double() + p.neutral * s.neutral.double())
        rows.append(((-weight * gradient).clamp_min(0) ** p.exponent, cost, site in p.targets(lm.linears, lm.depth)))
    median = torch.cat([cost.flatten() for _, cost, wanted in rows if wanted]).median()
    return [(gain / (cost + p.damping * median) * wanted).float() for gain, cost, wanted in rows]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"share": 0.05},
        {"share": 0.0001, "other": 1.0},
        {"share": 0.05, "other": 1.0},
        {"other": 0.0},
        {"modules": "attention"},
        {"modules": "mlp", "exponent": 2.0},
        {"layers": "1-1", "damping": 10.0},
        {"neutral": 0.0},
        {"neutral": 1.0, "exponent": 0.5},
        {"scope": "per-linear", "share": 0.01},
        {"scope": "per-linear", "modules": "mlp", "layers": "0-0"},
    ],
    ids=str,
)
def test_the_weights_of_largest_score_are_taken(
    tiny_llama: LoadedModel, found: Extraction, parameters: dict[str, Any]
) -> None:
    p, total = SaliencyParameters(**parameters), 15360
    sizes = [site.shape[0] * site.shape[1] for site in tiny_llama.linears]
    targets = p.targets(tiny_llama.linears, tiny_llama.depth)
    targeted = sum(site.shape[0] * site.shape[1] for site in targets)
    assert sum(sizes) == total
    results = chosen(tiny_llama, statistics(found), **parameters)
    for pole, taken in zip(POLES, results, strict=True):
        parts = scores(tiny_llama, statistics(found), pole, p)
        flat = torch.cat([part.flatten() for part in parts])
        if p.scope == "global":
            counts = {range(total): max(1, round(p.share * total))}
        else:
            ends = torch.tensor(sizes).cumsum(0).tolist()
            counts = {
                range(end - size, end): max(1, round(p.share * total / targeted * size)) if site in targets else 0
                for end, size, site in zip(ends, sizes, tiny_llama.linears, strict=True)
            }
        for where, count in counts.items():
            own = taken[(taken >= where.start) & (taken < where.stop)]
            assert len(own) == count
            if count:
                rest = torch.ones(total, dtype=torch.bool)
                rest[own] = False
                inside = torch.arange(total)[rest & (torch.arange(total) >= where.start)]
                inside = inside[inside < where.stop]
                assert float(flat[own].min()) >= float(flat[inside].max()) * (1 - 1e-5)
                assert bool((flat[own] > 0).all())
    if p.other == 1:
        assert not bool(torch.isin(*results).any()), "no weight serves both poles"


def planted(found: Extraction, name: str, row: int, column: int, value: float) -> SaliencyPair:
    """The same statistics with one gradient of another size."""
    pair = statistics(found)

    def read(own: str) -> LinearSaliency:
        saliency = pair.read(own)
        if own != name:
            return saliency
        parts = {part: getattr(saliency, part).clone() for part in PARTS[:4]}
        for part, planted in zip(parts.values(), (value, 0, -value, 0), strict=True):
            part[row, column] = planted
        return replace(saliency, **parts)

    return replace(pair, read=read)


def test_a_planted_weight_is_found_first(tiny_llama: LoadedModel, found: Extraction) -> None:
    site = tiny_llama.linears[9]
    offset = sum(linear.shape[0] * linear.shape[1] for linear in tiny_llama.linears[:9])
    position, weight = offset + 3 * site.shape[1] + 5, float(tiny_llama.weight(site)[3, 5])
    for sign in (1, -1):
        pair = planted(found, site.name, 3, 5, -sign * 1e6 * (1 if weight > 0 else -1))
        plus, minus = chosen(tiny_llama, pair, share=1e-6)
        assert [int(plus[0]) == position, int(minus[0]) == position] == [sign > 0, sign < 0]
        assert len(plus) == len(minus) == 1


def test_extraction_says_what_it_took(tiny_llama: LoadedModel, found: Extraction) -> None:
    details = found.details["subnetwork"]
    assert (details["plus"], details["minus"], details["of"]) == (154, 154, 15360)
    for persona in (found.plus, found.minus):
        edit = persona.edit
        assert isinstance(edit, SubnetworkEdit)
        layers, kinds = [0, 0], dict.fromkeys(details["by_module"][persona.pole], 0)
        for name, own in edit.parts():
            site = next(site for site in tiny_llama.linears if site.name == name)
            layers[site.layer] += len(own)
            kinds[site.kind] += len(own)
        assert details["by_layer"][persona.pole] == layers
        assert details["by_module"][persona.pole] == kinds
        assert sum(layers) == sum(kinds.values()) == 154
        assert persona.provenance["method"]["parameters"]["share"] == 0.01
        assert persona.provenance["signatures"] == statistics(found).hash
    assert set(found.seconds) == {"signatures", "subnetwork"}


def test_wearing_moves_the_contrast_towards_the_pole(tiny_llama: LoadedModel, found: Extraction) -> None:
    """A small strength, where the first order that the method reckons with holds."""

    def contrast() -> float:
        means = []
        for pole in ("plus", "minus"):
            items = [tiny_llama.encode(e.prompt, e.response) for e in mixed_contrast().pole(pole)]
            means.append(sum(score.total / score.tokens for score in score_responses(tiny_llama, items)) / len(items))
        return means[0] - means[1]

    base = contrast()
    for persona, sign in ((found.plus, 1), (found.minus, -1)):
        with wear(tiny_llama, persona, 0.05):
            assert sign * (contrast() - base) > 1e-4


def test_the_random_control_is_as_large_and_elsewhere(tiny_llama: LoadedModel, found: Extraction) -> None:
    pairs = [random_pair(tiny_llama, found.plus, found.minus, seed, found.signatures) for seed in (0, 0, 1)]
    assert pairs[0][0].edit == pairs[1][0].edit
    assert pairs[0][0].edit != pairs[2][0].edit
    for plus, minus in pairs:
        assert (plus.pole, minus.pole) == ("plus", "minus")
        assert len(positions(plus)) == len(positions(minus)) == 154
        for control, worn in ((plus, found.plus), (minus, found.minus)):
            assert float(torch.isin(positions(control), positions(worn)).float().mean()) < 0.5
    name = tiny_llama.linears[2].name
    poles = [statistics(found).gradient(name, pole) for pole in POLES]
    permuted = [personas._permuted(gradient, name, 0) for gradient in poles]
    assert torch.equal(permuted[0].flatten().sort().values, poles[0].flatten().sort().values)
    assert torch.equal(permuted[0], -permuted[1]), "in the same order for both poles"
    with refused("random control of a subnetwork needs the signatures"):
        random_pair(tiny_llama, found.plus, found.minus, 0)


def test_the_shuffled_control_ranks_by_shuffled_gradients(tiny_llama: LoadedModel, found: Extraction) -> None:
    plus, minus = shuffled_pair(tiny_llama, found.plus, found.minus, found.signatures)
    expected = chosen(tiny_llama, statistics(found).shuffled(), share=0.01)
    assert torch.equal(positions(plus), expected[0])
    assert torch.equal(positions(minus), expected[1])
    assert len(expected[0]) == 154
    assert plus.edit != found.plus.edit


def test_given_statistics_need_no_pass(
    tiny_llama: LoadedModel, found: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"method": "contrastive-saliency", "settings": {"share": 0.01}}
    with refused("another neutral", "collected anew"):  # the built-in passages are not those of the fixture
        extract(tiny_llama, mixed_contrast(), signatures=found.signatures, **options)
    monkeypatch.setattr(personas, "neutral_texts", lambda: NEUTRAL)
    again = extract(tiny_llama, mixed_contrast(), signatures=found.signatures, **options)
    assert again.plus.edit == found.plus.edit


def test_statistics_of_some_layers_serve_those_and_no_others(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    def find(layers: str, **options: Any) -> Extraction:
        settings = {"layers": layers, "share": 0.01}
        return extract(
            tiny_llama, mixed_contrast(), method="contrastive-saliency", settings=settings, folder=tmp_path, **options
        )

    upper = find("1-1")
    assert {name.split(".")[2] for name in statistics(upper).names} == {"1"}
    with refused("leave out some of the layers"):
        find("all", signatures=upper.signatures)
    everywhere = find("all")
    assert statistics(everywhere).covers(statistics(upper).names)
    with counted_passes(tiny_llama) as passes:
        again = find("1-1")
    assert passes == []
    assert again.plus.edit == upper.plus.edit != everywhere.plus.edit


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"sparsity": 0.2}, ("has no sparsity", "share=0.005")),
        ({"tokens": "all"}, ("scores responses only", "--tokens response")),
        ({"settings": {"layers": "5-9"}}, ("layers 5-9", "0-1", "2 layers")),
        ({"settings": {"layers": "1-0"}}, ("layers 1-0", "2 layers")),
        ({"settings": {"layers": "low"}}, ("layers",)),
        ({"settings": {"share": 0.2}}, ("share",)),
        ({"settings": {"share": 0}}, ("share",)),
        ({"settings": {"damping": 0}}, ("damping",)),
    ],
)
def test_mistakes(tiny_llama: LoadedModel, options: dict[str, Any], parts: tuple[str, ...]) -> None:
    with refused(*parts):
        extract(tiny_llama, mixed_contrast(), method="contrastive-saliency", **options)


def test_a_role_to_play_is_refused(tiny_llama: LoadedModel) -> None:
    role: RolePlay = resolve_roleplay("extraversion", limit=2)
    with refused("needs texts, not a role"):
        extract(tiny_llama, role, method="contrastive-saliency")


def test_statistics_of_nothing_are_refused(tiny_llama: LoadedModel, found: Extraction) -> None:
    pair = statistics(found)

    def flat(name: str, gradient: float, fisher: float) -> LinearSaliency:
        one = torch.ones_like(pair.read(name).poles)
        return LinearSaliency(gradient * one, 0 * one, 0 * one, 0 * one, fisher * one, fisher * one)

    with refused("no weight serves either pole"):
        chosen(tiny_llama, replace(pair, read=lambda name: flat(name, 0, 1)))
    with refused("no effect on most weights"):
        chosen(tiny_llama, replace(pair, read=lambda name: flat(name, 1, 0)))
