"""Causal restoration: everything restored is the base, nothing restored the persona, every place as it is by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expect import counted_passes, refused
from support import bits, logits, mixed_contrast, same
from wearing import left_as_found

from temperament.analyze.gated import Worn, within
from temperament.analyze.restore import LEAST, LEVELS, Restoration, restore, spots
from temperament.calibration import Contrast, resolve_contrast
from temperament.evaluation.bootstrap import simultaneous
from temperament.evaluation.score import score_responses
from temperament.evaluation.separation import separation
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, SubnetworkEdit, extract
from temperament.personas.edits.subnetwork import shapes_of
from temperament.report.restore_report import restore_figure, restore_tables
from temperament.wear import wear

METHODS = {"contrastive-tilt": {"sparsity": 0.3}, "contrastive-saliency": {"settings": {"share": 0.02}}}


@pytest.fixture(scope="module", params=METHODS)
def found(request: pytest.FixtureRequest, tiny_llama: LoadedModel) -> Extraction:
    return extract(tiny_llama, mixed_contrast(), method=request.param, **METHODS[request.param])  # type: ignore[arg-type]


@pytest.fixture
def lm(tiny_llama: LoadedModel) -> Iterator[LoadedModel]:
    with left_as_found(tiny_llama):
        yield tiny_llama


@pytest.fixture(scope="module")
def texts(few_texts: Contrast) -> Contrast:
    return few_texts.limit(3, 0)


def pair(found: Extraction) -> Worn:
    return {"plus": (found.plus, 1.0), "minus": (found.minus, 1.0)}


def names(lm: LoadedModel) -> frozenset[str]:
    return frozenset(linear.name for linear in lm.linears)


# An edit in part


def test_everything_restored_is_the_base_and_nothing_restored_the_persona(lm: LoadedModel, found: Extraction) -> None:
    base, before = logits(lm), bits(lm.model)
    with wear(lm, found.plus):
        whole, worn = logits(lm), bits(lm.model)
    assert not torch.equal(whole, base)
    none, every = (within(lm, found.plus, inside, "part") for inside in (frozenset[str](), names(lm)))
    assert every.edit.identity == found.plus.edit.identity, "its records are those of the persona"
    with wear(lm, none):
        assert same(bits(lm.model), before)
        assert torch.equal(logits(lm), base)
    with wear(lm, every):
        assert same(bits(lm.model), worn)
        assert torch.equal(logits(lm), whole)


@pytest.mark.parametrize("tiny_model", ["llama", "gpt2", "phi3"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_one_place_is_restored_and_no_other(tiny_model: LoadedModel, method: str) -> None:
    lm = tiny_model
    persona = extract(lm, mixed_contrast(), method=method, **METHODS[method]).plus  # type: ignore[arg-type]
    before = {linear.name: lm.weight(linear).clone() for linear in lm.linears}
    with wear(lm, persona, 0.7):
        worn = {linear.name: lm.weight(linear).clone() for linear in lm.linears}
    for spot in (*spots(lm, "layers"), *spots(lm, "linears")):
        for only, inside in ((False, names(lm) - spot.linears), (True, spot.linears)):
            with wear(lm, within(lm, persona, inside, "part"), 0.7):
                for linear in lm.linears:
                    edited = (linear.name in spot.linears) is only
                    assert torch.equal(lm.weight(linear), (worn if edited else before)[linear.name]), spot.name


def test_places_are_all_layers_and_all_linears(lm: LoadedModel) -> None:
    layers, linears = spots(lm, "layers"), spots(lm, "linears")
    assert [spot.name for spot in layers] == ["layer 0", "layer 1"]
    assert len(linears) == 14
    assert linears[7].name == "layer 1 q_proj"
    for places in (layers, linears):
        assert sorted(name for spot in places for name in spot.linears) == sorted(names(lm))


# What a place carries


def changes(lm: LoadedModel, plus: Persona | None, minus: Persona | None, texts: Contrast) -> tuple[Any, Any]:
    """x(plus) − x(minus) of both poles' statements, straight from the scores."""
    sides = []
    for persona in (plus, minus):
        with wear(lm, persona):
            sides.append(
                [
                    np.array(
                        [
                            score.per_token
                            for score in score_responses(lm, [lm.encode(e.prompt, e.response) for e in pole])
                        ]
                    )
                    for pole in (texts.plus, texts.minus)
                ]
            )
    return sides[0][0] - sides[1][0], sides[0][1] - sides[1][1]


@pytest.mark.parametrize("only", [False, True])
def test_effects_by_hand(lm: LoadedModel, found: Extraction, texts: Contrast, only: bool) -> None:
    result = restore(lm, pair(found), texts, only=only)
    whole = changes(lm, found.plus, found.minus, texts)
    assert result.worn.value == pytest.approx(separation(*whole, seed=0).value, abs=1e-6)
    for level in LEVELS:
        for effect in result.levels[level]:
            inside = effect.spot.linears if only else names(lm) - effect.spot.linears
            plus, minus = (within(lm, persona, inside, "part") for persona in (found.plus, found.minus))
            part = changes(lm, plus, minus, texts)
            items = part if only else (whole[0] - part[0], whole[1] - part[1])
            expected = separation(*items, seed=0)
            assert effect.measured.value == pytest.approx(expected.value, abs=1e-5), effect.spot.name
            assert (effect.measured.low, effect.measured.high) == pytest.approx((expected.low, expected.high), abs=1e-5)
            assert sum(effect.poles.values()) == pytest.approx(effect.measured.value, abs=1e-5)
        assert sum(effect.share for effect in result.levels[level]) == pytest.approx(1)
        values = [effect.measured.value for effect in result.ranked(level)]
        assert values == sorted(values, reverse=True)
    assert len({round(effect.measured.value, 9) for effect in result.levels["layers"]}) == 2
    assert result.random is not None
    assert all(effect.random for effect in result.levels["layers"])
    assert not any(effect.random for effect in result.levels["linears"])


def test_one_persona_against_the_unworn_model(lm: LoadedModel, found: Extraction, texts: Contrast) -> None:
    """A minus persona pulls towards its own pole: its separation is that of unworn less worn."""
    result = restore(lm, {"minus": (found.minus, 1.0)}, texts, levels=["layers"])
    assert result.worn.value == pytest.approx(
        separation(*changes(lm, None, found.minus, texts), seed=0).value, abs=1e-6
    )
    assert list(result.levels) == ["layers"]
    assert "both poles" in str(result.why)
    for effect in result.levels["layers"]:
        assert effect.poles == pytest.approx({"minus": effect.measured.value}, abs=1e-9)


def test_a_place_without_edits_carries_nothing(lm: LoadedModel, texts: Contrast) -> None:
    """All positions lie in the first Linear: it carries everything, in either direction, and is the layer's effect."""
    edit = SubnetworkEdit(shapes_of(lm.linears), torch.arange(0, 900, 3))
    persona = Persona("one", "plus", edit, {"model": {"name": lm.name, "fingerprint": lm.fingerprint}})
    for only in (False, True):
        result = restore(lm, {"plus": (persona, 1.0)}, texts, only=only)
        first, *rest = result.levels["linears"]
        assert first.measured.value == pytest.approx(result.worn.value)
        assert first.share == 1
        assert [(effect.measured.value, effect.share, effect.survives) for effect in rest] == [(0.0, 0.0, False)] * 13
        assert result.counts("linears")["by_chance"] == pytest.approx(0.05)


def test_a_pair_that_is_none_and_other_kinds_are_refused(lm: LoadedModel, found: Extraction, texts: Contrast) -> None:
    other = replace(found.minus, provenance={**found.minus.provenance, "signatures": "0"})
    with refused("are not a pair"):
        restore(lm, {"plus": (found.plus, 1.0), "minus": (other, 1.0)}, texts)
    with refused("is a prompt persona"):
        restore(lm, {"plus": (Persona.from_prompt("Be calm."), 1.0)}, texts)
    with refused("texts of statements were used to calibrate"):
        restore(lm, pair(found), mixed_contrast())


def test_too_few_statements_star_nothing_and_the_caption_says_so(lm: LoadedModel, found: Extraction) -> None:
    for count in (LEAST - 1, LEAST):
        result = restore(lm, pair(found), resolve_contrast("extraversion#test", limit=count), levels=["layers"])
        table = next(iter(restore_tables(result)))
        corrected = [effect.corrected for effect in result.levels["layers"]]
        if count < LEAST:
            assert corrected == [None, None]
            assert not any(effect.survives for effect in result.levels["layers"])
            assert f"no ★: to correct all together takes {LEAST} statements per pole, here are {count}" in str(
                table.caption
            )
            assert result.as_json()["levels"]["layers"]["ranked"][0]["corrected"] is None
        else:
            assert None not in corrected
            assert "no ★" not in str(table.caption)


# Records, progress, expectation


def test_an_interrupted_run_goes_on_and_repeats_nothing(
    lm: LoadedModel, found: Extraction, texts: Contrast, tmp_path: Path
) -> None:
    whole = restore(lm, pair(found), texts, levels=["layers"])
    seen: list[tuple[int, int]] = []

    def stop(_: str, done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(lm, pair(found), texts, levels=["layers"], folder=tmp_path, progress=stop)
    assert not lm.worn
    kept = sum(path.read_bytes().count(b"\n") - 1 for path in tmp_path.glob("*.jsonl"))
    assert kept > 6
    expected: list[tuple[int, float]] = []
    later: list[tuple[int, int]] = []
    again = restore(
        lm,
        pair(found),
        texts,
        levels=["layers"],
        folder=tmp_path,
        progress=lambda _, done, total: later.append((done, total)),
        expect=lambda *told: expected.append(told),
    )
    for one, other in zip(again.levels["layers"], whole.levels["layers"], strict=True):
        assert one.measured.value == pytest.approx(other.measured.value, abs=1e-5)  # batches were cut elsewhere
    assert expected[0][0] == 10, "two layers for two personas, and the random pair whole and in two layers"
    assert [done for done, _ in later] == sorted(done for done, _ in later)
    assert later[-1] == (13 * 6, 13 * 6)
    with counted_passes(lm) as passes:
        third = restore(lm, pair(found), texts, levels=["layers"], folder=tmp_path)
    assert passes == [], "all is on record"
    assert third.as_json() == again.as_json()


# Intervals


def test_corrected_intervals_hold_together() -> None:
    """Of 100 quantities without effect single 95 % intervals miss several; the corrected ones miss none, mostly."""
    rng = np.random.default_rng(0)
    wrong, single = 0, 0
    for seed in range(40):
        high, low = rng.normal(size=(100, 30)), rng.normal(size=(100, 30))
        lower, upper = simultaneous(high, low, seed=seed)
        wrong += bool(((lower > 0) | (upper < 0)).any())
        error = np.sqrt(high.var(1, ddof=1) / 30 + low.var(1, ddof=1) / 30)
        single += int((np.abs(high.mean(1) - low.mean(1)) > 1.96 * error).sum())
    assert single > 100
    assert wrong <= 6


def test_corrected_intervals_find_what_is_there_and_leave_what_does_not_vary() -> None:
    rng = np.random.default_rng(1)
    high, low = rng.normal(size=(50, 20)), rng.normal(size=(50, 20))
    high[7] += 3
    high[9] = low[9] = 0
    lower, upper = simultaneous(high, low, seed=0)
    assert (lower > 0).nonzero()[0].tolist() == [7]
    assert (lower[9], upper[9]) == (0, 0)
    assert lower[7] < high[7].mean() - low[7].mean() < upper[7]
    nothing = np.zeros((3, 4))
    assert simultaneous(nothing, nothing, seed=0)[1].tolist() == [0, 0, 0]


def test_the_figure_is_drawn_for_every_choice_of_levels(
    lm: LoadedModel, found: Extraction, texts: Contrast, tmp_path: Path
) -> None:
    result = restore(lm, pair(found), texts)
    for name, levels in (("both", LEVELS), ("layers", ("layers",)), ("linears", ("linears",))):
        part = Restoration(
            result.only,
            result.worn,
            {level: result.levels[level] for level in levels},
            result.provenance,
            result.random,
        )
        path = restore_figure(part, tmp_path / name)
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".svg").is_file()
