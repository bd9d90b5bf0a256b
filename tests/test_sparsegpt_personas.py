"""SparseGPT personas: every family from end to end, controls, files, singular Hessians, interruptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_streams, refused
from masking import interrupted_at, masks
from support import bits, hooks, logits, mixed_contrast, same

from temperament.calibration import Contrast, Pole, resolve_contrast
from temperament.evaluation import evaluate
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.methods import kept
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, extract, notes_of, open_persona
from temperament.personas.sparsegpt_report import notes
from temperament.signatures.texts import TextPair, load_texts
from temperament.wear import wear

METHODS = ("sparsegpt", "contrastive-sparsegpt")


def found(lm: LoadedModel, method: str = "sparsegpt", sparsity: Any = 0.3, **more: Any) -> Extraction:
    return extract(lm, mixed_contrast(), method=method, sparsity=sparsity, **more)


def sums(lm: LoadedModel, persona: Persona) -> dict[str, list[int]]:
    return {name: mask.sum(1).tolist() for name, mask in masks(lm, persona).items()}


# From end to end


@pytest.mark.parametrize("method", METHODS)
def test_every_family_from_end_to_end(tiny_model: LoadedModel, method: str, tmp_path: Path) -> None:
    lm, before, base = tiny_model, bits(tiny_model.model), logits(tiny_model)
    pair = found(lm, method, settings={"expert_tokens": 0})
    plus, minus = masks(lm, pair.plus), masks(lm, pair.minus)
    for linear in lm.linears:
        rows, columns = linear.shape
        expected = kept("0.3", rows * columns)
        assert [int(own[linear.name].sum()) for own in (plus, minus)] == [expected, expected]
        assert not torch.equal(plus[linear.name], minus[linear.name])
        if method == "contrastive-sparsegpt":
            assert bool((plus[linear.name] | minus[linear.name]).all())
    assert same(bits(lm.model), before)
    assert hooks(lm.model) == 0
    loaded = open_persona(pair.plus.save(tmp_path / "plus.persona"))
    assert (loaded.groups, loaded.provenance) == (pair.plus.groups, pair.plus.provenance)
    with wear(lm, loaded, 0.5):
        for linear in lm.linears:
            original = lm.base_weight(linear)
            gated = torch.where(plus[linear.name], original, 0.5 * original)
            assert torch.equal(lm.weight(linear), gated)
        assert not torch.equal(logits(lm), base)
    assert same(bits(lm.model), before)
    assert torch.equal(logits(lm), base)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_masks_on_repeat(tiny_llama: LoadedModel, method: str) -> None:
    first, second = found(tiny_llama, method), found(tiny_llama, method)
    for one, two in ((first.plus, second.plus), (first.minus, second.minus)):
        assert one.edit == two.edit
        assert one.provenance == two.provenance


def test_which_tokens_count_matters(tiny_llama: LoadedModel) -> None:
    response, everything = (found(tiny_llama, tokens=tokens) for tokens in ("response", "all"))
    assert response.plus.edit != everything.plus.edit
    assert everything.plus.provenance["data"]["counted"] == "all"
    counted = {
        name: one.plus.provenance["data"]["tokens"]["plus"] for name, one in (("r", response), ("a", everything))
    }
    items = [tiny_llama.encode(e.prompt, e.response) for e in mixed_contrast().plus]
    assert counted == {"r": sum(len(i.ids) - i.start for i in items), "a": sum(len(i.ids) for i in items)}


def test_settings_matter(tiny_llama: LoadedModel) -> None:
    base = found(tiny_llama).plus.edit
    for settings in ({"damping": 1}, {"block": 4}, {"scope": "row"}):
        assert found(tiny_llama, settings=settings).plus.edit != base
    for wrong, word in (({"damping": -1}, "damping"), ({"block": 0}, "block"), ({"scope": "all"}, "scope")):
        with refused("sparsegpt", word):
            found(tiny_llama, settings=wrong)
    with refused("block"):
        found(tiny_llama, "contrastive-sparsegpt", settings={"block": 1})


def test_a_sparsity_of_its_own_for_some_linears(tiny_llama: LoadedModel) -> None:
    pair = found(tiny_llama, sparsity={"default": 0, "mlp.layers.1": 0.25})
    assert set(masks(tiny_llama, pair.plus)) == {
        linear.name for linear in tiny_llama.linears if linear.part == "mlp" and linear.layer == 1
    }
    with counted_streams(tiny_llama) as passes:
        assert pair.signatures is not None
        found(tiny_llama, sparsity={"default": 0, "mlp.layers.1": 0.25}, signatures=pair.signatures)
    assert passes == [], "what loses nothing is not asked for again"
    report = pair.plus.provenance["hessians"]
    assert report["count"] == 2, "one for gate and up, one for down"
    assert pair.details["sparsegpt"]["by_layer"]["plus"][0] == 0


def test_a_worn_model_is_refused(tiny_llama: LoadedModel) -> None:
    other = found(tiny_llama)
    with wear(tiny_llama, other.plus), refused("a persona is worn", "leave lm.wear()"):
        found(tiny_llama)


# Controls


@pytest.mark.parametrize("method", METHODS)
def test_random_control(tiny_llama: LoadedModel, method: str) -> None:
    pair = found(tiny_llama, method)
    controls = [random_pair(tiny_llama, pair.plus, pair.minus, seed, pair.signatures) for seed in (0, 0, 1)]
    for control in controls:
        for real, drawn in zip((pair.plus, pair.minus), control, strict=True):
            assert sums(tiny_llama, drawn) == sums(tiny_llama, real), "as many pruned in each row"
            assert drawn.edit != real.edit
        both = [masks(tiny_llama, drawn) for drawn in control]
        disjoint = all(bool((a | b).all()) for a, b in zip(both[0].values(), both[1].values(), strict=True))
        assert disjoint == (method == "contrastive-sparsegpt")
    assert controls[0][0].edit == controls[1][0].edit
    assert controls[0][0].edit != controls[2][0].edit
    assert controls[0][0].name == "random-0"


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_control_is_the_method_on_shuffled_texts(tiny_llama: LoadedModel, method: str) -> None:
    pair = found(tiny_llama, method)
    assert isinstance(pair.signatures, TextPair)
    texts = pair.signatures.shuffled()
    control = shuffled_pair(tiny_llama, pair.plus, pair.minus, pair.signatures)
    direct = extract(tiny_llama, Contrast("mixed", texts.plus, texts.minus), method=method, sparsity=0.3)
    assert (control[0].edit, control[1].edit) == (direct.plus.edit, direct.minus.edit)
    assert control[0].edit not in (pair.plus.edit, pair.minus.edit)


def test_controls_of_personas_from_files(tiny_llama: LoadedModel, few_texts: Contrast, tmp_path: Path) -> None:
    """From the texts kept beside them, without a further pass for the random control."""
    texts = resolve_contrast("extraversion", limit=4)
    pair = extract(tiny_llama, texts, method="sparsegpt", sparsity=0.3, folder=tmp_path / "signatures")
    plus, minus = (open_persona(p.save(tmp_path / f"{p.pole}.persona")) for p in (pair.plus, pair.minus))
    with refused("random control of SparseGPT masks", "--signatures"):
        evaluate(tiny_llama, plus, minus, few_texts, measures=("separation",), controls=("random",))
    kept_texts = load_texts(tmp_path / "signatures")
    with counted_streams(tiny_llama) as passes:
        control = random_pair(tiny_llama, plus, minus, 0, kept_texts)
    assert passes == []
    assert control[0].edit == random_pair(tiny_llama, pair.plus, pair.minus, 0, pair.signatures)[0].edit
    result = evaluate(
        tiny_llama, plus, minus, few_texts, measures=("separation",), controls=("random-0", "shuffled"),
        signatures=kept_texts,
    )  # fmt: skip
    assert set(result.controls) == {"random-0", "shuffled"}


# Singular Hessians


def test_singular_hessians_are_reported(tiny_llama: LoadedModel) -> None:
    """Two words a pole: fewer tokens than any Linear has inputs."""
    contrast = mixed_contrast()
    few = Contrast("few", contrast.plus[1:2], contrast.minus[3:4])
    pair = extract(tiny_llama, few, method="sparsegpt", sparsity=0.3)
    for persona in (pair.plus, pair.minus):
        report = persona.provenance["hessians"]
        assert report["singular"] == {
            "q_proj, k_proj, v_proj": [0, 1], "o_proj": [0, 1], "gate_proj, up_proj": [0, 1], "down_proj": [0, 1]
        }  # fmt: skip
        assert (report["count"], report["damping"], report["raised"]) == (8, 0.01, {})
    told = notes_of(pair.details)
    assert len(told) == 2
    assert told[0].startswith("plus: 8 of 8 Hessians are singular")
    assert "down_proj of layers 0-1" in told[0]


def test_raised_damping_is_reported(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    few = Contrast("few", contrast.plus[1:2], contrast.minus)
    pair = extract(tiny_llama, few, method="sparsegpt", sparsity=0.3, settings={"damping": 0})
    raised = pair.plus.provenance["hessians"]["raised"]
    assert set(raised) == {linear.name for linear in tiny_llama.linears}
    assert all(share >= 1e-6 for share in raised.values())
    assert any("was raised" in text and "layers.1.mlp.down_proj" in text for text in notes_of(pair.details))
    repeated = {linear.name for linear in tiny_llama.linears if linear.kind in ("q_proj", "k_proj", "v_proj")}
    later = {linear.name for linear in tiny_llama.linears if linear.layer == 1}
    # the inputs of the first Linears are those of bytes, and the texts have fewer different ones than 32
    assert set(pair.minus.provenance["hessians"]["raised"]) == repeated - later


def test_nothing_to_report(tiny_llama: LoadedModel) -> None:
    pair = extract(tiny_llama, resolve_contrast("extraversion", limit=8), method="sparsegpt", sparsity=0.3)
    assert notes_of(pair.details) == []
    assert pair.plus.provenance["hessians"] == {"count": 8, "damping": 0.01, "singular": {}, "raised": {}}


def test_wording() -> None:
    report = {"count": 9, "damping": 0.01, "singular": {"o_proj": [0, 1, 2, 5]}, "raised": {"a": 0.1, "b": 1.0}}
    sound: dict[str, Any] = {"count": 9, "damping": 0.01, "singular": {}, "raised": {}}
    told = notes({"plus": report, "minus": sound})
    assert len(told) == 2
    assert "4 of 9" in told[0]
    assert "o_proj of layers 0-2, 5" in told[0]
    assert told[1].endswith("raised: a 0.1, b 1")


# Folders


def test_finished_layers_are_not_done_again(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = found(tiny_llama)
    asked, broken = interrupted_at(monkeypatch, 1)
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))

    with pytest.raises(KeyboardInterrupt):
        found(tiny_llama, folder=tmp_path, progress=progress)
    assert hooks(tiny_llama.model) == 0
    assert (asked, steps) == ([0, 1], [(1, 2)])
    broken.clear()
    again = found(tiny_llama, folder=tmp_path, progress=progress)
    assert (asked, steps) == ([0, 1, 1], [(1, 2), (2, 2)])
    assert (again.plus.edit, again.minus.edit) == (expected.plus.edit, expected.minus.edit)
    assert again.plus.provenance["hessians"] == expected.plus.provenance["hessians"]
    third = found(tiny_llama, folder=tmp_path)
    assert asked == [0, 1, 1]
    assert third.plus.edit == expected.plus.edit


@pytest.mark.parametrize("damage", ["rubbish", "missing", "cut"])
def test_damaged_layers_are_done_again(tiny_llama: LoadedModel, tmp_path: Path, damage: str) -> None:
    expected = found(tiny_llama, folder=tmp_path)
    first = sorted((tmp_path / "sparsegpt").iterdir())[0]
    if damage == "missing":
        first.unlink()
    else:
        first.write_bytes(b"rubbish" if damage == "rubbish" else first.read_bytes()[:-5])
    assert found(tiny_llama, folder=tmp_path).plus.edit == expected.plus.edit
    assert len(list((tmp_path / "sparsegpt").iterdir())) == 2


def test_other_settings_do_not_share_layers(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    for changed in ({}, {"sparsity": 0.2}, {"method": "contrastive-sparsegpt"}, {"settings": {"damping": 0.1}}):
        alone = found(tiny_llama, **changed)
        kept_there = found(tiny_llama, folder=tmp_path, **changed)
        assert kept_there.plus.edit == alone.plus.edit
    assert len(list((tmp_path / "sparsegpt").iterdir())) == 8


def test_a_pair_is_no_pair_with_another(tiny_llama: LoadedModel, few_texts: Contrast) -> None:
    one, other = (
        extract(tiny_llama, resolve_contrast("extraversion", limit=4), method=method, sparsity=0.3)
        for method in METHODS
    )
    with refused("are not a pair", "method"):
        evaluate(tiny_llama, one.plus, other.minus, few_texts)


def test_packed_bits_are_refused_on_another_model(tiny_llama: LoadedModel, fresh_llama: LoadedModel) -> None:
    pair = found(tiny_llama)
    fresh_llama.weight(fresh_llama.linears[0])[0, 0] += 1
    with refused("weights are not those of"), wear(fresh_llama, pair.plus):
        pass


def test_poles(tiny_llama: LoadedModel) -> None:
    """Exchanged poles give exchanged masks."""
    contrast = mixed_contrast()
    turned = replace(contrast, plus=contrast.minus, minus=contrast.plus)
    for method in METHODS:
        one = extract(tiny_llama, contrast, method=method, sparsity=0.3)
        two = extract(tiny_llama, turned, method=method, sparsity=0.3)
        sides: tuple[Pole, ...] = ("plus", "minus")
        assert (one.plus.pole, one.minus.pole) == sides
        if method == "sparsegpt":
            assert (one.plus.edit, one.minus.edit) == (two.minus.edit, two.plus.edit)
