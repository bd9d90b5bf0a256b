"""The analysis of masks and subnetworks whose overlap is known, and of what the model computes under them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from expect import counted_passes, refused
from support import mixed_contrast
from torch import Tensor
from wearing import left_as_found

from temperament.analyze.gated import gates
from temperament.analyze.hidden_states import Hidden, against_base, apart, hidden_states
from temperament.analyze.masks import analyze_masks
from temperament.analyze.separating import separating
from temperament.calibration import Example
from temperament.methods import SparsityPlan
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, PackedMasks, Persona, SubnetworkEdit, extract
from temperament.personas.edits.subnetwork import shapes_of
from temperament.personas.masks import pack
from temperament.personas.origin import builtin_origin
from temperament.personas.overlap import Overlap, edited_weights, overlaps
from temperament.report.mask_figures import mask_figures
from temperament.wear import wear

EXAMPLES = [*mixed_contrast().plus, *mixed_contrast().minus]


@pytest.fixture
def lm(tiny_llama: LoadedModel) -> Iterator[LoadedModel]:
    with left_as_found(tiny_llama):
        yield tiny_llama


def origin(lm: LoadedModel) -> dict[str, object]:
    return {"model": {"name": lm.name, "fingerprint": lm.fingerprint}}


def mask(lm: LoadedModel, **columns: range) -> Persona:
    """A mask that prunes some columns of every Linear of a kind."""
    bits = {}
    for linear in lm.linears:
        if linear.kind in columns:
            kept = torch.ones(linear.shape, dtype=torch.bool)
            kept[:, columns[linear.kind]] = False
            bits[linear.name] = pack(kept)
    packed = PackedMasks(bits)
    return Persona("mask", "plus", MaskEdit(SparsityPlan.of(0.2), packed.checksum, packed=packed), origin(lm))


def subnetwork(lm: LoadedModel, *positions: int, name: str = "sub") -> Persona:
    """A subnetwork of positions that count through all Linears."""
    edit = SubnetworkEdit(shapes_of(lm.linears), torch.tensor(sorted(positions)))
    return Persona(name, "plus", edit, origin(lm))


# Known overlap


def test_masks_of_known_overlap(lm: LoadedModel) -> None:
    """Of 32 inputs of q 8 are pruned by either mask, 4 of them by both; up is pruned by the first only."""
    first, second = mask(lm, q_proj=range(8), up_proj=range(2)), mask(lm, q_proj=range(4, 12))
    found = analyze_masks(lm, {"a": first, "b": second})
    (pair,) = found.pairs
    overlap = pair.overlap
    assert found.kept
    assert (overlap.ratio(kind="q_proj"), overlap.ratio(kind="up_proj")) == (8 / 32, 2 / 32)
    assert overlap.ratio(kind="k_proj") == 0
    assert overlap.ratios == pytest.approx({"all": (8 + 2) / 32 / 7, "attention": 8 / 32 / 4, "mlp": 2 / 32 / 3})
    assert [overlap.ratio(part="attention", layer=layer) for layer in (0, 1)] == [8 / 32 / 4] * 2
    q, up = (sum(site.shape[0] for site in lm.linears if site.kind == kind) for kind in ("q_proj", "up_proj"))
    total = sum(rows * columns for rows, columns in (site.shape for site in lm.linears))
    assert overlap.edited == (8 * q + 2 * up, 8 * q)
    assert overlap.jaccard() == pytest.approx((total - 12 * q - 2 * up) / (total - 4 * q))
    assert overlap.jaccard(kept=False) == pytest.approx(4 * q / (12 * q + 2 * up))
    assert separating(pair, lm.depth, "modules")[0].name == "q_proj"
    assert {place.share for place in separating(pair, lm.depth, "linears")[2:4]} == {2 / 32}
    assert found.as_json()["pairs"][0]["by_linear"][lm.linears[0].name] == 8 / 32
    assert found.base == {}


def test_chance_is_what_independent_masks_give(lm: LoadedModel) -> None:
    """Over many shuffles of the columns the mean of both figures is the expected one."""
    generator = torch.Generator().manual_seed(0)
    ratios, shared, fixed = [], [], list(gates(mask(lm, q_proj=range(8))).kept(lm))
    for _ in range(300):
        order = torch.randperm(32, generator=generator)
        moved = torch.zeros(32, dtype=torch.bool)
        moved[order[:8]] = True
        kept = {site.name: pack(~moved.expand(site.shape)) for site in lm.linears if site.kind == "q_proj"}
        other = PackedMasks(kept)
        (overlap,) = overlaps(lm, [fixed, [other.bits.get(site.name) for site in lm.linears]], [(0, 1)])
        ratios.append(overlap.ratio(kind="q_proj"))
        shared.append(overlap.both.sum())
    chance = overlap.by_chance
    assert chance.ratio(kind="q_proj") == pytest.approx(2 * 8 * 24 / 32**2)
    assert np.mean(ratios) == pytest.approx(chance.ratio(kind="q_proj"), rel=0.05)
    assert np.mean(shared) == pytest.approx(chance.both.sum(), rel=0.05)


def test_the_same_persona_twice_and_nothing_in_common(lm: LoadedModel) -> None:
    one, other = mask(lm, q_proj=range(8)), mask(lm, q_proj=range(8, 16))
    same, apart_ = (analyze_masks(lm, {"a": one, "b": second}).pairs[0].overlap for second in (one, other))
    assert (same.ratio(), same.jaccard(), same.jaccard(kept=False)) == (0, 1, 1)
    assert (apart_.ratio(kind="q_proj"), apart_.jaccard(kept=False)) == (0.5, 0)


def test_subnetworks_are_compared_by_what_they_edit(lm: LoadedModel) -> None:
    size = lm.linears[0].shape[0] * lm.linears[0].shape[1]
    first = subnetwork(lm, 0, 5, size - 1, size, size + 3)
    second = subnetwork(lm, 5, 6, size, name="other")
    found = analyze_masks(lm, {"a": first, "b": second})
    overlap = found.pairs[0].overlap
    assert not found.kept
    assert overlap.jaccard(kept=False) == 2 / 6
    assert overlap.jaccard() > 0.99
    assert overlap.different[:2].tolist() == [3, 1]
    assert overlap.ratio(layer=0) == pytest.approx((3 / size + 1 / (lm.linears[1].shape[0] * 32)) / 7)
    assert edited_weights(lm, gates(first).kept(lm))[:3].tolist() == [3, 2, 0]
    mixed = analyze_masks(lm, {"mask": mask(lm, q_proj=range(1)), "sub": first})
    assert not mixed.kept
    assert mixed.pairs[0].overlap.edited == (32 * 32 * 2 // 32, 5)


def test_a_recipe_is_read_linear_by_linear_and_verified(lm: LoadedModel) -> None:
    """What is read from a recipe is the mask that is worn; a wrong checksum shows at the end."""
    found = extract(lm, mixed_contrast()).plus
    assert isinstance(found.edit, MaskEdit)
    edit = MaskEdit(found.edit.sparsity, found.edit.checksum, recipe=found.edit.recipe)
    read = list(edit.kept(lm))
    assert not edit._built, "nothing is held"
    whole = found.edit.masks(lm).bits
    for linear, bits in zip(lm.linears, read, strict=True):
        assert (bits is None) == (linear.name not in whole)
        assert bits is None or torch.equal(bits, whole[linear.name])
    wrong = replace(found, edit=MaskEdit(edit.sparsity, "0" * 64, recipe=edit.recipe))
    with refused("differs from the one that was saved"):
        analyze_masks(lm, {"a": found, "b": wrong})


# Hidden states


def by_hand(lm: LoadedModel, example: Example) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean residual after every block (layers, width), and mean output of every Linear, over the response tokens."""
    item = lm.encode(example.prompt, example.response)
    outputs: dict[str, Tensor] = {}
    handles = [
        lm.module(site.name).register_forward_hook(
            lambda _, __, output, name=site.name: outputs.__setitem__(name, output[0, item.start :].mean(0))
        )
        for site in lm.linears
    ]
    blocks: list[Tensor] = []
    handles += [
        lm.module(lm.block(layer)).register_forward_hook(
            lambda _, __, output: blocks.append((output[0] if isinstance(output, tuple) else output)[0])
        )
        for layer in range(lm.depth)
    ]
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([item.ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([block[item.start :].mean(0) for block in blocks]), outputs


def test_hidden_states_by_hand(lm: LoadedModel) -> None:
    found = hidden_states(lm, EXAMPLES)
    expected = [by_hand(lm, example) for example in EXAMPLES]
    torch.testing.assert_close(found.states, torch.stack([states for states, _ in expected]), rtol=1e-4, atol=1e-5)
    for name, mean in found.outputs.items():
        own = torch.stack([outputs[name] for _, outputs in expected]).double()
        torch.testing.assert_close(mean, own.mean(0), rtol=1e-4, atol=1e-5)
        assert found.sizes[name] == pytest.approx(float(own.norm(dim=1).square().mean().sqrt()), rel=1e-4)


def made(*rows: list[float]) -> Hidden:
    """Two layers of the same states; one Linear."""
    states = torch.tensor(rows)
    return Hidden(torch.stack([states, states], 1), {"q": states.double().mean(0)}, {"q": 2.0})


def test_cosine_and_distance_by_hand() -> None:
    base, first, second = made([2.0, 0.0], [2.0, 0.0]), made([2.0, 1.0], [2.0, 3.0]), made([2.0, -2.0], [2.0, -2.0])
    cosine = against_base(first, base)
    assert cosine.value == pytest.approx((2**-0.5,) * 2)
    assert cosine.low[0] == pytest.approx(2 / 13**0.5)
    assert cosine.high[0] == pytest.approx(2 / 5**0.5)
    found = apart(first, second, base)
    assert found.cosine.value[0] == pytest.approx(0, abs=1e-12)
    assert found.shifts.value[0] == pytest.approx(-1)
    assert found.distance.value[0] == pytest.approx(4 / 2)
    assert (found.distance.low[0], found.distance.high[0]) == pytest.approx((3 / 2, 5 / 2))
    assert found.outputs == {"q": 4 / 2}
    none = apart(base, base, base)
    assert (none.cosine.value[0], none.shifts.value[0], none.distance.value[0]) == (1, 0, 0)


def test_states_are_those_of_the_worn_persona_beside_a_random_pair(lm: LoadedModel) -> None:
    poles = extract(lm, mixed_contrast(), sparsity=0.3)
    given = {"minus": poles.minus, "plus": poles.plus, "other": subnetwork(lm, 1, 2)}
    steps: list[str] = []
    found = analyze_masks(lm, given, EXAMPLES, seeds=(0, 1), progress=lambda label, done, total: steps.append(label))
    opposite, *rest = sorted(found.pairs, key=lambda pair: not pair.opposite)
    assert (opposite.first, opposite.second, len(opposite.random)) == ("plus", "minus", 2)
    assert [(pair.opposite, pair.random) for pair in rest] == [(False, ())] * 2
    with wear(lm, poles.plus):
        plus = hidden_states(lm, EXAMPLES)
    assert found.base["plus"] == against_base(plus, hidden_states(lm, EXAMPLES))
    assert max(found.base["plus"].value) < 0.9999 < min(found.base["other"].value)
    for control in opposite.random:
        assert control.overlap.edited == opposite.overlap.edited
        assert control.apart is not None
        assert control.apart.cosine != opposite.apart.cosine  # type: ignore[union-attr]
    assert opposite.random[0].overlap.ratio() != opposite.random[1].overlap.ratio()
    assert steps[0] == "hidden states, unworn"
    with counted_passes(lm) as passes:
        assert analyze_masks(lm, given).pairs[0].apart is None
    assert passes == []


def test_strengths_are_worn(lm: LoadedModel) -> None:
    found = {"a": mask(lm, q_proj=range(8)), "b": mask(lm, up_proj=range(9))}
    bands = analyze_masks(lm, found, EXAMPLES, strengths={"a": 0.0}).base
    assert bands["a"].value == pytest.approx((1.0, 1.0), abs=1e-12)
    assert bands["b"].value[0] < 0.9999


def test_a_subnetwork_without_its_statistics_says_why_it_has_no_control(lm: LoadedModel, tmp_path: Path) -> None:
    poles = extract(lm, mixed_contrast(), method="contrastive-saliency", folder=tmp_path / "signatures")
    bare = {name: replace(one, signatures=None) for name, one in (("plus", poles.plus), ("minus", poles.minus))}
    (pair,) = analyze_masks(lm, bare).pairs
    assert pair.opposite
    assert pair.random == ()
    assert "needs the statistics" in str(pair.why)
    (pair,) = analyze_masks(lm, {"plus": poles.plus, "minus": poles.minus}).pairs
    assert pair.why is None
    assert pair.random[0].overlap.edited == pair.overlap.edited


# What is refused, drawn, known


def test_what_cannot_be_compared_is_refused(lm: LoadedModel) -> None:
    one = mask(lm, q_proj=range(8))
    with refused("nothing to be compared with"):
        analyze_masks(lm, {"a": one})
    with refused("is a prompt persona", "masks or subnetworks"):
        analyze_masks(lm, {"a": one, "b": Persona.from_prompt("Be calm.")})
    foreign = replace(one, provenance={"model": {"name": "another", "fingerprint": "0"}})
    with refused("was made from another"):
        analyze_masks(lm, {"a": one, "b": foreign})


def test_figures_are_drawn_as_png_and_svg(lm: LoadedModel, tmp_path: Path) -> None:
    poles = extract(lm, mixed_contrast())
    found = analyze_masks(lm, {"$a$ b": poles.plus, "b": poles.minus}, EXAMPLES)
    files = mask_figures(found, tmp_path)
    assert [path.name for path in files] == [
        "differential-ratio.png",
        "jaccard.png",
        "hidden-states.png",
        "separating.png",
    ]
    for path in files:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in path.with_suffix(".svg").read_text(encoding="utf-8")


def test_a_file_with_the_name_of_a_built_in_contrast_is_not_one(lm: LoadedModel) -> None:
    from temperament.calibration import resolve_contrast

    own = extract(lm, resolve_contrast("extraversion", limit=4)).plus
    assert builtin_origin(own) == "extraversion"
    foreign = extract(lm, replace(mixed_contrast(), name="extraversion")).plus
    assert builtin_origin(foreign) is None
    assert builtin_origin(Persona.from_prompt("Be calm.")) is None


def test_overlap_of_no_linears_is_whole() -> None:
    empty = np.zeros(0)
    assert Overlap((), empty, empty, empty).jaccard() == 1
