"""SparseGPT in mixtures of experts: masks from each expert's own Hessians, resumed, controlled, mixed and analysed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_streams
from masking import edit, interrupted_at, masks
from routing import seen_by_experts
from support import bits, logits, mixed_contrast, same
from torch import Tensor

from temperament.analyze.gated import Worn
from temperament.analyze.masks import analyze_masks
from temperament.analyze.restore import restore
from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.evaluation import evaluate
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.methods.sparsegpt import choose_masks, factorise
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, extract, mix, notes_of, open_persona
from temperament.personas.sparsegpt_report import notes
from temperament.signatures.texts import load_texts
from temperament.wear import wear

METHODS = ("sparsegpt", "contrastive-sparsegpt")


@pytest.fixture
def lm(mixture: LoadedModel) -> LoadedModel:
    """Every mixture of experts; a model that every test must leave as it was found."""
    return mixture


def found(lm: LoadedModel, method: str = "sparsegpt", least: int = 0, **more: Any) -> Extraction:
    return extract(lm, mixed_contrast(), method=method, sparsity=0.3, settings={"expert_tokens": least}, **more)


def between(lm: LoadedModel) -> int:
    """A threshold that leaves some experts alone, and others not."""
    tokens = sorted(min(seen.values()) for seen in seen_of(lm).values())
    assert tokens[0] < tokens[-1]
    return tokens[-1]


def seen_of(lm: LoadedModel) -> dict[str, dict[Pole, int]]:
    """Response tokens of either pole at each expert, one text at a time."""
    return {
        name.removesuffix(".down_proj"): {pole: len(x) for pole, x in inputs.items()}
        for name, inputs in inputs_of(lm).items()
        if name.endswith(".down_proj")
    }


def inputs_of(lm: LoadedModel) -> dict[str, dict[Pole, Tensor]]:
    """What every Linear of an expert reads at response tokens, by the router's choice, (tokens, inputs) float64."""
    parts: dict[str, dict[Pole, list[Tensor]]] = {}
    for pole in POLES:
        for example in mixed_contrast().pole(pole):
            item = lm.encode(example.prompt, example.response)
            for name, (positions, x) in seen_by_experts(lm, torch.tensor([item.ids])).items():
                own = parts.setdefault(name, {side: [] for side in POLES})
                own[pole].append(x[positions >= item.start].double())
    return {name: {pole: torch.cat(values) for pole, values in own.items()} for name, own in parts.items()}


@pytest.mark.parametrize("method", METHODS)
def test_masks_are_those_of_each_experts_own_tokens(lm: LoadedModel, method: str) -> None:
    """The kernel on Hessians that are made by hand: of the expert's tokens, divided by their own number."""
    plus, minus = (masks(lm, persona) for persona in _both(found(lm, method)))
    inputs = inputs_of(lm)
    assert {linear.name for linear in lm.linears if linear.input.expert} == set(inputs)
    agreed = total = 0
    for linear in (linear for linear in lm.linears if linear.input.expert):
        hessians = [(x.T @ x / max(len(x), 1)).float() for x in inputs[linear.name].values()]
        uppers = torch.stack([factorise(hessian, 0.01).upper for hessian in hessians])
        expected = choose_masks(
            lm.base_weight(linear), uppers, Decimal("0.3"), contrastive=method == "contrastive-sparsegpt"
        )
        same_there = torch.stack([plus[linear.name], minus[linear.name]]) == expected
        agreed, total = agreed + int(same_there.sum()), total + same_there.numel()
        if method == "contrastive-sparsegpt":
            assert bool((plus[linear.name] | minus[linear.name]).all())
    assert agreed > 0.999 * total, "rounding may exchange neighbours in the ranking, and nothing else"


def test_experts_of_all_tokens_and_of_none(lm: LoadedModel) -> None:
    everyone, nobody = found(lm, least=0), found(lm, least=10**6)
    assert edit(everyone.plus).unmasked == ()
    assert set(edit(nobody.plus).unmasked) == set(seen_of(lm))
    assert set(masks(lm, nobody.plus)) == {linear.name for linear in lm.linears if linear.input.expert is None}
    shared = masks(lm, everyone.plus)
    assert all(torch.equal(mask, shared[name]) for name, mask in masks(lm, nobody.plus).items())
    report = nobody.details["sparsegpt"]["hessians"]["plus"]
    assert report["count"] == len([site for site in lm.inputs if site.expert is None])


def test_nothing_but_rarely_seen_experts(lm: LoadedModel, tmp_path: Path) -> None:
    """A mask of nothing is a file like any other."""
    last = lm.depth - 1
    plan = {"default": 0, f"mlp.layers.{last}": 0.3}
    experts = [linear for linear in lm.linears if linear.layer == last and linear.part == "mlp"]
    if any(linear.input.expert is None for linear in experts):
        pytest.skip("its shared expert sees every token")
    pair = extract(lm, mixed_contrast(), method="sparsegpt", sparsity=plan, settings={"expert_tokens": 10**6})
    loaded = open_persona(pair.plus.save(tmp_path / "plus.persona"))
    before = bits(lm.model)
    with wear(lm, loaded):
        assert same(bits(lm.model), before)
    assert edit(loaded).unmasked == tuple(dict.fromkeys(str(linear.input.expert) for linear in experts))


# Folders


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_goes_on(
    lm: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    least = between(lm)
    expected = found(lm, method, least)
    asked, broken = interrupted_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        found(lm, method, least, folder=tmp_path)
    broken.clear()
    again = found(lm, method, least, folder=tmp_path)
    assert asked == [0, 1, 1]
    with counted_streams(lm) as passes:
        third = found(lm, method, least, folder=tmp_path)
    assert passes == []
    for other in (again, third):
        assert (other.plus.edit, other.minus.edit) == (expected.plus.edit, expected.minus.edit)
        assert edit(other.plus).unmasked == edit(expected.plus).unmasked
        for key in ("experts", "hessians"):
            assert other.plus.provenance[key] == expected.plus.provenance[key]


def test_a_higher_threshold_reads_what_is_there(lm: LoadedModel, tmp_path: Path) -> None:
    """A mask does not depend on which other experts have one; one that is missing is found again."""
    least = between(lm)
    alone = found(lm, least=least)
    found(lm, folder=tmp_path)
    with counted_streams(lm) as passes:
        fewer = found(lm, least=least, folder=tmp_path)
    assert passes == []
    assert fewer.plus.edit == alone.plus.edit
    assert fewer.details["sparsegpt"]["hessians"] == alone.details["sparsegpt"]["hessians"]
    found(lm, least=10**6, folder=tmp_path / "other")
    more = found(lm, folder=tmp_path / "other")
    assert more.plus.edit == found(lm).plus.edit


# Controls


@pytest.mark.parametrize("method", METHODS)
def test_random_control(lm: LoadedModel, method: str, tmp_path: Path) -> None:
    pair = found(lm, method, between(lm), folder=tmp_path)
    plus, minus = (open_persona(p.save(tmp_path / f"{p.pole}.persona")) for p in (pair.plus, pair.minus))
    with counted_streams(lm) as passes:
        controls = [random_pair(lm, plus, minus, seed, load_texts(tmp_path)) for seed in (0, 0, 1)]
    assert passes == []
    for control in controls:
        for real, drawn in zip((plus, minus), control, strict=True):
            assert edit(drawn).unmasked == edit(real).unmasked != ()
            assert drawn.edit != real.edit
            counts = [{name: mask.sum(1).tolist() for name, mask in masks(lm, one).items()} for one in (real, drawn)]
            assert counts[0] == counts[1], "as many pruned in each row"
    assert controls[0][0].edit == controls[1][0].edit != controls[2][0].edit


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_control(lm: LoadedModel, method: str) -> None:
    """The experts of the real pair are left alone, whatever the shuffled poles show them."""
    pair = found(lm, method, between(lm))
    control = shuffled_pair(lm, pair.plus, pair.minus, pair.signatures)
    for real, drawn in zip(_both(pair), control, strict=True):
        assert edit(drawn).unmasked == edit(real).unmasked
        assert set(masks(lm, drawn)) == set(masks(lm, real))
        assert drawn.edit != real.edit


def test_evaluate_with_all_controls(lm: LoadedModel, few_texts: Contrast) -> None:
    pair = found(lm, least=between(lm))
    result = evaluate(
        lm, pair.plus, pair.minus, few_texts.limit(2, 0), measures=("separation",), signatures=pair.signatures
    )
    values = [measures["separation"].value for measures in result.controls.values()]
    assert {"unworn", "random-0", "shuffled"} <= set(result.controls)
    assert len({result.measures["separation"].value, *values}) == len(values) + 1


# What else takes masks


def test_mixing(lm: LoadedModel) -> None:
    """An expert that both parts leave alone has no mask; one that either part masks has one."""
    pair, other = found(lm, least=between(lm)), found(lm, "contrastive-sparsegpt")
    both = mix(lm, 0.5 * pair.plus + 0.5 * pair.minus, "rank")
    assert set(masks(lm, both)) == set(masks(lm, pair.plus))
    whole = mix(lm, 0.5 * pair.plus + 0.5 * other.plus, "rank")
    assert set(masks(lm, whole)) == {linear.name for linear in lm.linears}
    before = logits(lm)
    with wear(lm, both):
        assert not torch.equal(logits(lm), before)


def test_analysis(lm: LoadedModel, few_texts: Contrast) -> None:
    pair = found(lm, "contrastive-sparsegpt", between(lm))
    (overlap,) = (one.overlap for one in analyze_masks(lm, {"a": pair.plus, "b": pair.minus}).pairs)
    left = set(edit(pair.plus).unmasked)
    for linear, share in zip(lm.linears, overlap.shares.tolist(), strict=True):
        assert (share == 0) == (linear.input.expert in left)
    worn: Worn = {"plus": (pair.plus, 1.0), "minus": (pair.minus, 1.0)}
    result = restore(lm, worn, few_texts.limit(2, 0), levels=["layers"])
    assert len(result.levels["layers"]) == lm.depth
    assert result.random is not None


# Reports


def test_each_singular_hessian_is_counted(lm: LoadedModel) -> None:
    pair = found(lm)
    report = pair.details["sparsegpt"]["hessians"]["plus"]
    assert report["count"] == len(lm.inputs)
    few = [expert for expert, seen in seen_of(lm).items() if seen["plus"] < lm.linears[0].shape[1]]
    singular = report["singular"]["experts' gate_proj, up_proj"]
    assert len(singular) >= len(few) > 0
    assert singular == sorted(singular)
    assert any("experts' gate_proj, up_proj of layers" in text for text in notes_of(pair.details))


def test_wording() -> None:
    """A layer once, however many of its experts; of a thousand Linears the first ones."""
    raised = {f"expert {number}": 0.1 for number in range(1000)}
    report = {"count": 9, "damping": 0.01, "singular": {"experts' down_proj": [0, 0, 1, 1, 3]}, "raised": raised}
    told = notes({"plus": report})
    assert "5 of 9" in told[0]
    assert told[0].endswith("experts' down_proj of layers 0-1, 3")
    assert told[1].endswith("expert 31 0.1 and 968 more")


def _both(pair: Extraction) -> tuple[Persona, Persona]:
    return pair.plus, pair.minus
