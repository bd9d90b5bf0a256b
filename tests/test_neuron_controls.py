"""Controls and evaluation of neuron personas, their record files, and what the released variant leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from expect import counted_passes, refused
from support import logits, mixed_contrast, tokens
from torch import Tensor
from wearing import agree, bare, by_hand, edited, left_as_found, neurons, padded, write

from temperament.calibration import Contrast, Example, resolve_contrast
from temperament.evaluation import CONTROLS, Evaluation, evaluate
from temperament.evaluation.controls import RANDOM_SEEDS, control_conditions, random_pair, shuffled_pair
from temperament.evaluation.score import score_responses
from temperament.methods import Neurons
from temperament.methods.neurons import RELEASED_DROPOUT
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.personas import Extraction, NeuronEdit, Persona, extract, open_persona
from temperament.wear import wear

FREE = ("unworn", "swapped")  # controls that need no further personas


@pytest.fixture(scope="module")
def extraction(tiny_llama: LoadedModel) -> Extraction:
    """Both neuron personas of eight calibration texts per pole."""
    settings = {"count": 7, "gamma": 2.0}
    return extract(tiny_llama, resolve_contrast("extraversion", limit=8), method="neurons", settings=settings)


@pytest.fixture
def lm(tiny_llama: LoadedModel) -> Iterator[LoadedModel]:
    """A model that every test must leave as it was found."""
    with left_as_found(tiny_llama):
        yield tiny_llama


def held(found: Neurons, lm: LoadedModel) -> dict[tuple[int, bool], list[tuple[float, float]]]:
    """The values of each layer and pole, in order of size."""
    sides: dict[tuple[int, bool], list[tuple[float, float]]] = {}
    for index, delta, a95 in zip(found.index.tolist(), found.delta.tolist(), found.a95.tolist(), strict=True):
        layer = next(site.layer for site in lm.neurons if site.offset <= index < site.offset + site.width)
        sides.setdefault((layer, delta > 0), []).append((delta, a95))
    return {side: sorted(values) for side, values in sides.items()}


def values_at(found: Neurons) -> dict[int, tuple[float, float]]:
    return dict(zip(found.index.tolist(), zip(found.delta.tolist(), found.a95.tolist(), strict=True), strict=True))


# The random control


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_random_neurons_have_the_same_values_elsewhere(lm: LoadedModel, extraction: Extraction, seed: int) -> None:
    first, second = random_pair(lm, extraction.plus, extraction.minus, seed)
    own, other = neurons(extraction.plus), neurons(first)
    assert held(other.neurons, lm) == held(own.neurons, lm)
    assert len({layer for layer, _ in held(own.neurons, lm)}) == 2
    assert other.neurons.index.tolist() == sorted(set(other.neurons.index.tolist()))
    kept = set(own.neurons.index.tolist()) & set(other.neurons.index.tolist())
    assert len(kept) < len(own.neurons) / 2
    assert values_at(other.neurons) != values_at(own.neurons)
    assert replace(other, neurons=own.neurons) == own, "nothing but the neurons changes"
    assert first.name == second.name == f"random-{seed}"
    assert (first.pole, second.pole) == ("plus", "minus")


def test_both_poles_of_a_random_control_share_the_permutation(lm: LoadedModel, extraction: Extraction) -> None:
    first, second = random_pair(lm, extraction.plus, extraction.minus, 1)
    assert first.edit == second.edit
    with wear(lm, first + second):
        assert torch.equal(logits(lm), bare_logits(lm, extraction))
    assert neurons(first) != neurons(extraction.plus)


def bare_logits(lm: LoadedModel, extraction: Extraction) -> Tensor:
    """The base, as poles that cancel leave it."""
    with wear(lm, extraction.plus + extraction.minus):
        return logits(lm)


def test_random_neurons_depend_on_the_seed_alone(lm: LoadedModel, extraction: Extraction, tmp_path: Path) -> None:
    pairs = [random_pair(lm, extraction.plus, extraction.minus, seed)[0].edit for seed in (*RANDOM_SEEDS, 0)]
    assert pairs[3] == pairs[0]
    assert len({neurons_of.identity for neurons_of in pairs}) == 3
    plus, minus = (open_persona(p.save(tmp_path / p.pole)) for p in (extraction.plus, extraction.minus))
    assert random_pair(lm, plus, minus, 0)[0].edit == pairs[0]


# Shuffled labels


def test_shuffled_neurons_are_as_many_per_pole(lm: LoadedModel, extraction: Extraction) -> None:
    """Also where they were found by a threshold, and not equally many per pole."""
    by_threshold = extract(
        lm, resolve_contrast("extraversion", limit=8), method="neurons", settings={"threshold": 0.06, "gamma": 2.0}
    )
    for found in (extraction, by_threshold):
        own = neurons(found.plus).neurons
        pair = found.signatures
        plus, minus = shuffled_pair(lm, found.plus, found.minus, pair)
        other = neurons(plus).neurons
        assert plus.edit == minus.edit
        assert (plus.pole, minus.pole) == ("plus", "minus")
        counts = [(int(n.on(1).sum()), int(n.on(-1).sum())) for n in (own, other)]
        assert counts[0] == counts[1]
        assert other.index.tolist() != own.index.tolist()
        assert (neurons(plus).gamma, neurons(plus).seed) == (2.0, neurons(found.plus).seed)
    counted = neurons(by_threshold.plus).neurons
    assert int(counted.on(1).sum()) != int(counted.on(-1).sum())


def test_a_shuffled_control_needs_signatures(
    lm: LoadedModel, extraction: Extraction, few_texts: Contrast, tmp_path: Path
) -> None:
    plus, minus = (open_persona(p.save(tmp_path / p.pole)) for p in (extraction.plus, extraction.minus))
    with counted_passes(lm) as passes, refused("shuffled control needs the signatures", "--signatures"):
        evaluate(lm, plus, minus, few_texts, controls=("shuffled",))
    assert passes == []


# Evaluation


@pytest.fixture(scope="module")
def evaluated(
    tiny_llama: LoadedModel,
    extraction: Extraction,
    few_texts: Contrast,
    short_neutral: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Evaluation, Callable[[], Evaluation], Path]:
    """The one evaluation with every control, how to run it again, and its records."""
    folder = tmp_path_factory.mktemp("records")

    def run() -> Evaluation:
        e = extraction
        return evaluate(
            tiny_llama, e.plus, e.minus, few_texts, signatures=e.signatures, neutral=short_neutral, folder=folder
        )

    return run(), run, folder


def test_every_control_is_measured(evaluated: tuple[Evaluation, Callable[[], Evaluation], Path]) -> None:
    found = evaluated[0]
    random = [f"random-{seed}" for seed in RANDOM_SEEDS]
    assert set(found.controls) == {"unworn", *random, "shuffled", "swapped", "prompt"}
    figures = {name: measures["separation"].value for name, measures in found.controls.items()}
    worn = found.measures["separation"].value
    assert (figures.pop("unworn"), figures.pop("swapped")) == (0, -worn)
    assert len({worn, *figures.values()}) == 1 + len(figures)
    assert all(abs(value) > 1e-4 for value in (worn, *figures.values()))
    assert found.measures["perplexity"].value != 1
    described = found.provenance["personas"]["plus"]
    assert (described["kind"], described["sparsity"], described["method"]["name"]) == ("neurons", None, "neurons")
    json.dumps(found.as_json(), allow_nan=False)


def test_separation_follows_from_its_definition(
    lm: LoadedModel,
    extraction: Extraction,
    few_texts: Contrast,
    evaluated: tuple[Evaluation, Callable[[], Evaluation], Path],
) -> None:
    """From the logits of single passes, neurons edited from the last prompt position on."""

    def mean(persona: Persona, pole: tuple[Example, ...]) -> float:
        figures = []
        for example in pole:
            item = lm.encode(example.prompt, example.response)
            with wear(lm, persona), lm.responding(item.start - 1):
                chances = logits(lm, torch.tensor([item.ids]))[0].double().log_softmax(-1)
            own = [float(chances[at - 1, item.ids[at]]) for at in range(item.start, len(item.ids))]
            figures.append(float(np.mean(own)))
        return float(np.mean(figures))

    plus, minus = (mean(p, few_texts.plus) - mean(p, few_texts.minus) for p in (extraction.plus, extraction.minus))
    assert evaluated[0].measures["separation"].value == pytest.approx(plus - minus, abs=1e-5)


def test_records_are_reused(lm: LoadedModel, evaluated: tuple[Evaluation, Callable[[], Evaluation], Path]) -> None:
    first, run, folder = evaluated
    sides = {path.name.rpartition("-")[0] for path in folder.iterdir()}
    pairs = ("worn", "random-0", "random-1", "random-2", "shuffled", "prompt")
    labels = ("unworn", *(f"{name}-{pole}" for name in pairs for pole in ("plus", "minus")))
    assert sides == {f"{label}-{kind}" for label in labels for kind in ("statements", "choices", "passages")}
    with counted_passes(lm) as passes:
        assert run().as_json() == first.as_json()
    assert passes == []


def test_records_belong_to_one_edit_pole_and_strength(
    lm: LoadedModel, extraction: Extraction, few_texts: Contrast, short_neutral: Path, tmp_path: Path
) -> None:
    """Both poles share their edit, so the pole is part of the key; so are strength and every setting."""

    def files(strength: float = 1.0, **changes: object) -> int:
        edit = replace(neurons(extraction.plus), **changes)  # type: ignore[arg-type]
        plus, minus = (replace(p, edit=edit) for p in (extraction.plus, extraction.minus))
        evaluate(
            lm,
            plus,
            minus,
            few_texts,
            strength=strength,
            measures=("separation",),
            controls=FREE,
            neutral=short_neutral,
            folder=tmp_path,
        )
        return len([*tmp_path.iterdir()])

    assert files() == 3
    assert files() == 3
    assert files(strength=0.5) == 5
    assert files(strength=-1) == 7
    assert files(gamma=1.5) == 9
    assert files(weighted=False) == 11
    assert files(variant="released") == 13
    assert files(variant="released", seed=1) == 15
    assert files() == 15
    sides = {path.name.rpartition("-")[2] for path in tmp_path.glob("worn-*")}
    assert len(sides) == 14, "every file has a key of its own"


def test_a_negative_strength_swaps_the_poles(
    lm: LoadedModel, extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    found = [
        evaluate(lm, extraction.plus, extraction.minus, few_texts, strength=s, controls=(), neutral=short_neutral)
        for s in (0.7, -0.7)
    ]
    assert found[0].measures["separation"].value == -found[1].measures["separation"].value != 0


@pytest.mark.parametrize("tiny_model", ["gpt2", "gemma2"], indirect=True)
def test_other_families(tiny_model: LoadedModel, few_texts: Contrast, short_neutral: Path) -> None:
    e = extract(tiny_model, resolve_contrast("extraversion", limit=4), method="neurons", settings={"count": 6})
    found = evaluate(
        tiny_model, e.plus, e.minus, few_texts, signatures=e.signatures, neutral=short_neutral, controls=CONTROLS
    )
    assert found.controls["swapped"]["separation"].value == -found.measures["separation"].value != 0
    assert bare(tiny_model)


def test_conditions_wear_the_strength_they_are_given(lm: LoadedModel, extraction: Extraction) -> None:
    names = ("random-1", "shuffled")
    conditions = list(
        control_conditions(lm, extraction.plus, extraction.minus, (-0.5, -0.5), names, extraction.signatures)
    )
    assert [condition.name for condition in conditions] == list(names)
    for condition in conditions:
        ((plus, first),) = condition.plus.active
        ((minus, second),) = condition.minus.active
        assert (first, second) == (-0.5, -0.5)
        assert plus.edit == minus.edit != extraction.plus.edit


# The released variant


@pytest.fixture(scope="module")
def released(tiny_llama: LoadedModel) -> Persona:
    """Forty neurons a pole, so that a tenth of them is a number."""
    settings = {"count": 40, "gamma": 2.0, "variant": "released"}
    return extract(tiny_llama, mixed_contrast(), method="neurons", settings=settings).plus


def with_seed(persona: Persona, seed: int) -> Persona:
    return replace(persona, edit=replace(neurons(persona), seed=seed))


def raised(persona: Persona, raw: Tensor, found: Tensor) -> Tensor:
    """Which of the neurons of its own pole were raised, (rows, tokens, those neurons) bool; all values are checked."""
    edit: NeuronEdit = neurons(persona)
    whole = by_hand(edit, raw, 1)
    own = edit.neurons.index[edit.neurons.on(1)]
    moved = found != raw
    choice = torch.where(moved, whole, raw)
    torch.testing.assert_close(found[..., own], choice[..., own], rtol=1e-6, atol=1e-6)
    others = torch.ones(raw.shape[-1], dtype=torch.bool)
    others[own] = False
    assert torch.equal(found[..., others], whole[..., others]), "the other pole is lowered at every step"
    return moved[..., own]


def steps(lm: LoadedModel, persona: Persona, ids: Tensor, *, use_cache: bool = True, count: int = 12) -> Tensor:
    """Which neurons were raised while ``count`` tokens were written, (rows, steps, neurons); the prompt is bare."""
    prompt = ids.shape[1]
    passes = edited(lm, persona, lambda: write(lm, ids, count, use_cache=use_cache))
    assert len(passes) == count
    for raw, found in passes[:1]:
        assert torch.equal(raw, found), "the released code begins behind the last prompt position"
    if use_cache:
        return torch.cat([raised(persona, raw, found) for raw, found in passes[1:]], 1)
    for raw, found in passes:
        assert torch.equal(raw[:, :prompt], found[:, :prompt])
    seen = [raised(persona, raw[:, prompt:], found[:, prompt:]) for raw, found in passes[1:]]
    for earlier, later in pairwise(seen):
        assert torch.equal(earlier, later[:, :-1]), "a step leaves out the same neurons in every pass"
    return seen[-1]


def test_the_same_neurons_are_left_out_with_and_without_a_cache(lm: LoadedModel, released: Persona) -> None:
    ids = tokens(6, seed=1, rows=2)
    cached, uncached = (steps(lm, released, ids, use_cache=use) for use in (True, False))
    assert cached.shape[:2] == (2, 11)
    assert torch.equal(cached, uncached)
    assert torch.equal(cached[0], cached[1]), "the draw depends on the step, not on the row"


def test_a_tenth_is_left_out_at_every_step(lm: LoadedModel, released: Persona) -> None:
    """Another tenth at each; over 149 steps of 40 neurons the share lies within four standard errors of .1."""
    found = steps(lm, released, tokens(6, seed=1), count=150)[0]
    count = found.numel()
    assert float(found.logical_not().double().mean()) == pytest.approx(
        RELEASED_DROPOUT, abs=4 * (RELEASED_DROPOUT * (1 - RELEASED_DROPOUT) / count) ** 0.5
    )
    assert RELEASED_DROPOUT == 0.1
    assert len({tuple(step) for step in found.tolist()}) > 140, "steps differ, beyond the chunk in which they are drawn"
    by_neuron = found.logical_not().sum(0)
    assert int(by_neuron.min()) > 0
    assert int(by_neuron.max()) < 40


def test_the_draw_does_not_depend_on_the_prompt(lm: LoadedModel, released: Persona) -> None:
    first, second = (steps(lm, released, tokens(count, seed=count)) for count in (3, 17))
    assert torch.equal(first, second)


def test_the_draw_is_reproducible_for_a_seed(lm: LoadedModel, released: Persona, tmp_path: Path) -> None:
    ids = tokens(6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = steps(lm, released, ids)
        torch.manual_seed(1)
        assert torch.equal(steps(lm, with_seed(released, neurons(released).seed), ids), first)
        state = torch.get_rng_state()
        assert torch.equal(steps(lm, open_persona(released.save(tmp_path / "a.persona")), ids), first)
        assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers stay"
    others = [steps(lm, with_seed(released, seed), ids) for seed in (0, 1)]
    assert not torch.equal(others[0], others[1])
    assert not torch.equal(others[0], first)


def test_layers_draw_for_themselves(lm: LoadedModel, released: Persona) -> None:
    """With the same neurons of both layers raised, each leaves out its own."""
    index = torch.cat([torch.arange(40), 48 + torch.arange(40)])
    same_in_both = Neurons(index, torch.full((80,), 0.5), torch.full((80,), 1.0))
    found = steps(lm, replace(released, edit=replace(neurons(released), neurons=same_in_both)), tokens(6))
    assert not torch.equal(found[..., :40], found[..., 40:])


def test_scoring_leaves_out_what_writing_left_out(lm: LoadedModel, released: Persona) -> None:
    """In one pass, padded on the right beside others, or as a left-padded batch."""
    rows = [tokens(count, seed=count) for count in (4, 15)]
    with wear(lm, released):
        alone = [write(lm, row) for row in rows]
        ids, mask = padded(rows)
        together = write(lm, ids, mask=mask)
        items = [
            Encoded(tuple(torch.cat([row, found.tokens], 1)[0].tolist()), row.shape[1])
            for row, found in zip(rows, alone, strict=True)
        ]
        scores = score_responses(lm, items)
    for row, (found, score) in enumerate(zip(alone, scores, strict=True)):
        agree(together.logits[row], found.logits[0])
        chances = found.logits[0].log_softmax(-1).gather(1, found.tokens.T)
        assert score.total == pytest.approx(float(chances.sum()), abs=1e-4)


def test_the_released_rule_takes_at_least_two_thousand_neurons_per_pole(lm: LoadedModel) -> None:
    """All that differ at all, where a model has fewer; a number or share given is the number taken."""
    found = extract(lm, mixed_contrast(), method="neurons", settings={"variant": "released"})
    delta = found.signatures.delta  # type: ignore[attr-defined]
    assert len(neurons(found.plus).neurons) == int((delta != 0).sum()) > 50
    published = extract(lm, mixed_contrast(), method="neurons")
    assert len(neurons(published.plus).neurons) == int((delta.abs() > 0.1).sum())
    few = extract(lm, mixed_contrast(), method="neurons", settings={"variant": "released", "count": 3})
    assert len(neurons(few.plus).neurons) == 6
