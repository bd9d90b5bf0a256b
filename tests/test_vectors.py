"""Vector personas: states by hand, wearing as plain addition, rows, generation, files, controls."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_passes, refused
from support import hooks, logits, mixed_contrast, tokens
from torch import Tensor, nn
from wearing import Worn, agree, alike, left_as_found, padded, write

from temperament.calibration import Contrast, RolePlay, resolve_roleplay
from temperament.calibration.choices import two_choice_items
from temperament.cli.main import run
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.evaluation.score import score_responses
from temperament.language_model import LanguageModel
from temperament.methods import Shifts
from temperament.methods.layers import chosen_layers, valid_layers
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import Encoded
from temperament.personas import Extraction, Persona, VectorEdit, extract, open_persona
from temperament.personas.vector_personas import answers
from temperament.signatures import StatePair, collect_states, load_states
from temperament.signatures.states import PLACES
from temperament.wear import wear

COLLECTING = sys.modules["temperament.signatures.collect_states"]  # the package has a function of that name


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> LanguageModel:
    loaded: LanguageModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu", factory=LanguageModel)
    return loaded


@pytest.fixture
def lm(model: LanguageModel) -> Iterator[LanguageModel]:
    """A model that every test must leave as it was found."""
    with left_as_found(model):
        yield model


def made(
    lm: LoadedModel, place: str = "residual", *, size: float = 1.0, seed: int = 0, layers: Sequence[int] = (0,)
) -> Persona:
    """A persona of random vectors."""
    outputs, inputs = lm.projections[0].shape
    width, parts = (outputs, 1) if place == "residual" else (inputs, lm.heads)
    vectors = size * torch.randn(len(layers), width, generator=torch.Generator().manual_seed(seed))
    edit = VectorEdit(lm.depth, Shifts(place, tuple(layers), vectors, parts))  # type: ignore[arg-type]
    origin = {"model": {"name": lm.name, "fingerprint": lm.fingerprint}}
    return Persona(f"{place}-{seed}", "plus", edit, origin)


def shifts(persona: Persona) -> Shifts:
    assert isinstance(persona.edit, VectorEdit)
    return persona.edit.shifts


def states(found: Extraction) -> StatePair:
    assert isinstance(found.signatures, StatePair)
    return found.signatures


# Statistics


def by_hand(lm: LoadedModel, contrast: Contrast, last: bool = False) -> dict[str, dict[str, Tensor]]:
    """Mean over texts of each text's state, one text at a time: place → pole → (layers, width)."""
    sums: dict[str, dict[str, list[Tensor]]] = {place: {"plus": [], "minus": []} for place in PLACES}
    for pole in ("plus", "minus"):
        for example in contrast.pole(pole):
            item = lm.encode(example.prompt, example.response)
            seen: dict[str, list[Tensor]] = {place: [] for place in PLACES}
            with ExitStack() as stack, torch.no_grad():
                for site in lm.projections:

                    def before(_: nn.Module, args: Any, seen: Any = seen) -> None:
                        seen["heads"].append(args[0][0].clone())

                    def after(_: nn.Module, __: Any, output: Any, seen: Any = seen) -> None:
                        seen["residual"].append((output[0] if isinstance(output, tuple) else output)[0].clone())

                    stack.callback(lm.module(site.name).register_forward_pre_hook(before).remove)
                    stack.callback(lm.module(lm.block(site.layer)).register_forward_hook(after).remove)
                lm.model(input_ids=torch.tensor([item.ids]), use_cache=False)
            begin = len(item.ids) - 1 if last else item.start
            for place in PLACES:
                sums[place][pole].append(torch.stack([layer[begin:].mean(0) for layer in seen[place]]))
    return {place: {pole: torch.stack(found).mean(0) for pole, found in poles.items()} for place, poles in sums.items()}


def test_the_vector_is_the_difference_of_the_means_over_texts(tiny_model: LoadedModel) -> None:
    """On every family; texts count equally, however long they are, and prompts and padding do not count."""
    expected = by_hand(tiny_model, mixed_contrast())
    found = extract(tiny_model, mixed_contrast(), method="vector", settings={"layers": "all"})
    for place in PLACES:
        wanted = expected[place]["plus"] - expected[place]["minus"]
        torch.testing.assert_close(states(found).difference(place).float(), wanted, rtol=1e-4, atol=1e-4)
    assert shifts(found.plus).layers == (0, 1)
    assert torch.equal(shifts(found.plus).vectors, states(found).difference("residual").float())
    assert found.minus.edit == found.plus.edit
    assert (found.plus.pole, found.minus.pole) == ("plus", "minus")
    norms = shifts(found.plus).vectors.norm(dim=1).tolist()
    assert found.details["vectors"]["norms"] == pytest.approx(norms)


def test_the_first_layer_is_the_second_hidden_state_of_transformers(fresh_llama: LoadedModel) -> None:
    """hidden_states[0] is the embedding."""
    lm = fresh_llama  # transformers leaves hooks behind when it is asked for hidden states
    example = mixed_contrast().plus[0]
    one = replace(mixed_contrast(), plus=(example,), minus=mixed_contrast().minus[:1])
    item = lm.encode(example.prompt, example.response)
    with torch.no_grad():
        out = lm.model(input_ids=torch.tensor([item.ids]), use_cache=False, output_hidden_states=True)
    pair = collect_states(lm, one)
    expected = out.hidden_states[1][0, item.start :].mean(0)
    torch.testing.assert_close(pair.plus.states.residual[0, 0], expected, rtol=1e-4, atol=1e-4)


def test_pairs_take_the_last_token_of_either_answer(lm: LanguageModel) -> None:
    texts = answers(mixed_contrast())
    items = two_choice_items(mixed_contrast())
    assert [(e.prompt, e.response) for e in texts.plus] == [(i.prompt, i.options[i.matching]) for i in items]
    assert [e.response for e in texts.minus] == [i.options[1 - i.matching] for i in items]
    expected = by_hand(lm, texts, last=True)["residual"]
    found = extract(lm, mixed_contrast(), method="vector", settings={"pairs": True, "layers": "all"})
    torch.testing.assert_close(shifts(found.plus).vectors, expected["plus"] - expected["minus"], rtol=1e-4, atol=1e-4)
    origin = found.plus.provenance
    assert (origin["data"]["counted"], origin["data"]["items"]) == ("last", {"plus": 10, "minus": 10})
    assert origin["data"]["tokens"] == {"plus": 10, "minus": 10}
    assert found.plus.groups == mixed_contrast().group_keys


def test_all_tokens_can_count(lm: LanguageModel) -> None:
    contrast = mixed_contrast()
    ids = [len(lm.encode(e.prompt, e.response).ids) for e in contrast.plus]
    assert collect_states(lm, contrast, tokens="all").tokens["plus"] == sum(ids)
    assert collect_states(lm, contrast).tokens["plus"] == sum(len(e.response) for e in contrast.plus)


def test_batches_do_not_change_the_states(lm: LanguageModel) -> None:
    first, second = collect_states(lm, mixed_contrast()), collect_states(lm, mixed_contrast(), batch_rows=1)
    for place in PLACES:
        for own, other in zip((first.plus, first.minus), (second.plus, second.minus), strict=True):
            torch.testing.assert_close(own.states.at(place), other.states.at(place), rtol=1e-4, atol=1e-4)


def test_shuffled_poles_are_halves_of_both(lm: LanguageModel) -> None:
    pair = collect_states(lm, mixed_contrast())
    mixed = pair.shuffled()
    assert mixed.hash != pair.hash
    assert [len(half.residual) for half in pair.plus.halves] == [3, 2]
    for index, side in enumerate((mixed.plus, mixed.minus)):
        own = torch.cat([pair.plus.halves[index].residual, pair.minus.halves[index].residual])
        assert torch.equal(side.states.residual, own)


def test_an_interrupted_collection_goes_on(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect_states(lm, mixed_contrast(), batch_rows=1)

    def stop(done: int, total: int) -> None:
        assert total == 10
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_states(lm, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["states-partial.safetensors"]
    steps: list[int] = []
    with counted_passes_of_blocks(lm) as passes:
        again = collect_states(
            lm, mixed_contrast(), batch_rows=1, folder=tmp_path, progress=lambda done, _: steps.append(done)
        )
    assert (steps, len(passes)) == ([7, 8, 9, 10], 4)
    assert again.hash == whole.hash == load_states(tmp_path).hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["states-minus.safetensors", "states-plus.safetensors"]
    monkeypatch.setattr(COLLECTING, "_reading", None)  # would fail: both methods take what is there
    kept = extract(lm, mixed_contrast(), method="vector", signatures=load_states(tmp_path))
    assert extract(lm, mixed_contrast(), method="vector", signatures=again).plus.edit == kept.plus.edit


def counted_passes_of_blocks(lm: LoadedModel) -> Any:
    """Forward passes that leave the LM head out count too."""
    root = lm.model.get_submodule(lm.family.blocks.partition(".")[0])
    return counted_passes(type("Inner", (), {"model": root})())


def test_a_folder_serves_both_methods(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = extract(lm, mixed_contrast(), method="vector", folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(COLLECTING, "_reading", None)
        second = extract(lm, mixed_contrast(), method="heads", folder=tmp_path, settings={"count": 2, "folds": 2})
        assert second.plus.provenance["signatures"] == first.plus.provenance["signatures"]
    path = tmp_path / "states-plus.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with refused("states-plus.safetensors"):
        load_states(tmp_path)
    assert extract(lm, mixed_contrast(), method="vector", folder=tmp_path).plus.edit == first.plus.edit
    assert path.read_bytes() == data, "damaged states are collected anew"


# Layers


def test_layers_are_named_in_many_ways() -> None:
    assert [chosen_layers(spec, 30) for spec in ("middle", "3,5-7", "29", "5,5,0")] == [
        (15,),
        (3, 5, 6, 7),
        (29,),
        (0, 5),
    ]
    assert chosen_layers("all", 3) == (0, 1, 2)
    assert [chosen_layers("upper", depth) for depth in (1, 3, 18)] == [(0,), (1, 2), tuple(range(6, 18))]
    assert valid_layers(" 8 - 20, 3 ") == "8-20,3"
    for spec in ("", "top", "3-", "-1", "1.5", "1;2"):
        with pytest.raises(ValueError):
            valid_layers(spec)
    for spec in ("30", "8-30", "9-8"):
        with refused(f"layers {spec}", "0-29"):
            chosen_layers(spec, 30)


def test_what_a_vector_cannot_use_is_refused(lm: LanguageModel) -> None:
    play: RolePlay = resolve_roleplay("extraversion", limit=2)
    cases: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"data": play}, ("needs texts", "vector")),
        ({"sparsity": 0.2}, ("the method vector has no sparsity", "layers=middle")),
        ({"settings": {"layers": "0-2"}}, ("layers 0-2", "0-1")),
        ({"settings": {"layers": "top"}}, ("'layers'", "middle, upper, all, 8-20")),
        ({"settings": {"count": 3}}, ("'count'", "no such setting")),
        ({"data": replace(mixed_contrast(), minus=())}, ("no texts of one pole",)),
        ({"data": replace(mixed_contrast(), minus=mixed_contrast().plus)}, ("do not differ",)),
    ]
    for options, parts in cases:
        with refused(*parts):
            extract(lm, **{"data": mixed_contrast(), "method": "vector", **options})
    listed = extract(lm, mixed_contrast(), method="vector", settings={"layers": [0, 1]})
    assert listed.plus.provenance["method"]["parameters"] == {"pairs": False, "layers": "0,1"}


# Wearing


def added(lm: LoadedModel, edits: Sequence[tuple[Persona, float]], inside: Tensor, run: Callable[[], Tensor]) -> Tensor:
    """``run`` with the vectors added by hand where ``inside`` (rows, tokens) is true."""
    with ExitStack() as stack:
        for persona, weight in edits:
            found = shifts(persona)
            for layer, vector in zip(found.layers, found.vectors, strict=True):
                more = weight * vector * inside.unsqueeze(-1)

                def after(_: nn.Module, __: Any, output: Any, more: Tensor = more) -> Any:
                    return (output[0] + more, *output[1:]) if isinstance(output, tuple) else output + more

                def before(_: nn.Module, args: Any, more: Tensor = more) -> Any:
                    return (args[0] + more, *args[1:])

                if found.place == "residual":
                    stack.callback(lm.module(lm.block(layer)).register_forward_hook(after).remove)
                else:
                    stack.callback(lm.module(lm.projections[layer].name).register_forward_pre_hook(before).remove)
        return run()


@pytest.mark.parametrize("place", PLACES)
def test_wearing_is_adding(tiny_model: LoadedModel, place: str) -> None:
    """On every family, at every layer, from any column on, at any strength; afterwards nothing is left."""
    persona = made(tiny_model, place, layers=(0, 1))
    opposite = replace(persona, pole="minus")
    ids = tokens(9, rows=2)
    with left_as_found(tiny_model):
        base = logits(tiny_model, ids)
        starts: tuple[int | Tensor | None, ...] = (None, 0, 4, 8, torch.tensor([3, 6]))
        for start in starts:

            def run(start: int | Tensor | None = start) -> Tensor:
                if start is None:
                    return logits(tiny_model, ids)
                with tiny_model.responding(start):
                    return logits(tiny_model, ids)

            inside = torch.arange(9) >= torch.as_tensor(0 if start is None else start).reshape(-1, 1)
            for worn, weight in ((1.0 * persona, 1.0), (-2.5 * persona, -2.5), (0.5 * opposite, -0.5)):
                expected = added(tiny_model, [(persona, weight)], inside, run)
                with wear(tiny_model, worn):
                    agree(run(), expected)
                assert not alike(expected, base)
        assert torch.equal(logits(tiny_model, ids), base)


def test_columns_before_the_response_keep_their_values(lm: LanguageModel) -> None:
    ids = tokens(9)
    base = logits(lm, ids)
    with wear(lm, made(lm) + made(lm, "heads")), lm.responding(5):
        found = logits(lm, ids)
    assert torch.equal(found[:, :5], base[:, :5])
    assert not any(alike(found[:, column], base[:, column]) for column in range(5, 9))


def test_strength_0_and_poles_that_cancel_are_the_base(lm: LanguageModel) -> None:
    ids, persona = tokens(9, rows=2), made(lm)
    base = logits(lm, ids)
    for worn in (0 * persona, persona - persona, persona + replace(persona, pole="minus")):
        with wear(lm, worn):
            assert torch.equal(logits(lm, ids), base)
    with wear(lm, 0 * persona):
        assert (lm.worn, hooks(lm.model)) == ((), 0)
    with wear(lm, replace(persona, pole="minus")):
        expected = logits(lm, ids)
    with wear(lm, -1 * persona):
        assert torch.equal(logits(lm, ids), expected)
    assert not alike(expected, base)


def test_vectors_add_up_and_nest(lm: LanguageModel) -> None:
    a, b, c = made(lm), made(lm, seed=1, layers=(0, 1)), made(lm, "heads", seed=2)
    ids, inside = tokens(9, rows=2), torch.ones(2, 9)
    expected = added(lm, [(a, 0.7), (b, -1.0), (c, 2.0)], inside, lambda: logits(lm, ids))
    with wear(lm, 0.7 * a - b + 2 * c):
        agree(logits(lm, ids), expected)
    with wear(lm, 0.7 * a):
        outer = logits(lm, ids)
        with wear(lm, -b), wear(lm, 2.0 * c):
            agree(logits(lm, ids), expected)
        assert torch.equal(logits(lm, ids), outer)


def test_vectors_beside_neurons_and_masks(lm: LanguageModel) -> None:
    """Each acts as it does alone: vectors added by hand under a neuron edit and a mask."""
    others = [
        extract(lm, mixed_contrast(), method="neurons", settings={"count": 6, "gamma": 2.0, "variant": variant}).plus
        for variant in ("published", "released")
    ]
    mask, a, ids = extract(lm, mixed_contrast()).plus, made(lm), tokens(9, rows=2)
    inside = torch.arange(9).expand(2, 9) >= 4
    for neurons in others:

        def run() -> Tensor:
            with lm.responding(4):
                return logits(lm, ids)

        with wear(lm, mask + neurons):
            without = run()
            expected = added(lm, [(a, 1.0)], inside, run)
            with wear(lm, a):
                agree(run(), expected)
            assert torch.equal(run(), without)
        with wear(lm, mask + neurons + a):
            agree(run(), expected)
        assert not alike(expected, without)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_rows_generation_and_scoring_agree(tiny_folders: dict[str, Path], kind: str) -> None:
    """A batch of plans, padded on the left, cached or not, is what each row is alone; scoring agrees."""
    lm: LoadedModel = load_model(str(tiny_folders[kind]), dtype="float32", device="cpu")
    neurons = extract(lm, mixed_contrast(), method="neurons", settings={"count": 6, "gamma": 2.0}).plus
    a, b = made(lm, layers=(0, 1)), made(lm, "heads", seed=1)
    plans: list[Worn] = [a, None, -0.5 * a + b, neurons, neurons + a]
    prompts = [tokens(count, seed=count) for count in (9, 20, 5, 14, 11)]
    ids, mask = padded(prompts)
    with left_as_found(lm):
        with wear(lm, plans):
            together = [write(lm, ids, mask=mask, use_cache=cached) for cached in (True, False)]
            assert lm.rows_worn == 5
        for row, plan in enumerate(plans):
            base = write(lm, prompts[row])
            with wear(lm, plan):
                alone = write(lm, prompts[row])
                answer = alone.tokens[0].tolist()
                item = Encoded((*prompts[row][0].tolist(), *answer), prompts[row].shape[1])
                (score,) = score_responses(lm, [item])
            chosen = alone.logits[0].log_softmax(-1)[torch.arange(len(answer)), alone.tokens[0]]
            assert score.total == pytest.approx(float(chosen.sum()), abs=1e-3)
            for found in together:
                assert torch.equal(found.tokens[row], alone.tokens[0])
                agree(found.logits[row], alone.logits[0])
            assert alike(alone.logits, base.logits) == (plan is None)


def test_a_row_without_a_plan_keeps_its_values_bit_by_bit(lm: LanguageModel) -> None:
    """−0 too, to which adding 0 would give 0."""
    seen: list[Tensor] = []
    zero = torch.full((2, 3, lm.projections[0].shape[0]), -0.0)
    with ExitStack() as stack:
        block = lm.module(lm.block(0))
        stack.callback(block.register_forward_hook(lambda *_: zero.clone()).remove)
        with wear(lm, [None, made(lm)]):
            stack.callback(block.register_forward_hook(lambda _, __, out: seen.append(out.clone())).remove)
            logits(lm, tokens(3, rows=2))
    assert bool(torch.signbit(seen[0][0]).all())
    assert bool((seen[0][1] != 0).any())


def test_refusals(lm: LanguageModel, tiny_folders: dict[str, Path]) -> None:
    persona = made(lm)
    for strength in (float("nan"), float("inf")):
        with refused("strength", "vector persona"), wear(lm, strength * persona):
            pass
    other = load_model(str(tiny_folders["qwen3"]), dtype="float32", device="cpu")
    wide = replace(made(other, "heads"), provenance=persona.provenance)
    with refused("2 layers of width 64 in 4 parts", "2 of width 32 in 4"), wear(lm, wide):
        pass
    with refused("adds more than", "smaller strengths"), wear(lm, 1e38 * 10 * persona):
        pass


# Controls


def test_random_vectors_are_as_long_and_elsewhere(lm: LanguageModel) -> None:
    for method, settings in (("vector", {"layers": "all"}), ("heads", {"count": 3, "folds": 2})):
        found = extract(lm, mixed_contrast(), method=method, settings=settings)
        drawn = [random_pair(lm, found.plus, found.minus, seed) for seed in (0, 1, 0)]
        own = shifts(found.plus)
        for first, second in drawn:
            assert first.edit == second.edit
            torch.testing.assert_close(shifts(first).norms, own.norms, rtol=1e-5, atol=1e-6)
            cosine = torch.cosine_similarity(shifts(first).vectors, own.vectors, dim=1)
            assert bool((cosine.abs() < 0.8).all())
        assert drawn[0][0].edit == drawn[2][0].edit != drawn[1][0].edit


def test_the_shuffled_vector_is_as_long_as_the_worn_one(lm: LanguageModel) -> None:
    found = extract(lm, mixed_contrast(), method="vector", settings={"layers": "all"})
    plus, minus = shuffled_pair(lm, found.plus, found.minus, found.signatures)
    direction = states(found).shuffled().difference("residual").float()
    torch.testing.assert_close(shifts(plus).norms, shifts(found.plus).norms)
    cosine = torch.cosine_similarity(shifts(plus).vectors, direction, dim=1)
    torch.testing.assert_close(cosine, torch.ones(2))
    assert plus.edit == minus.edit != found.plus.edit


def test_shuffled_heads_are_as_many_and_as_long_together(lm: LanguageModel) -> None:
    found = extract(lm, mixed_contrast(), method="heads", settings={"count": 3, "folds": 2})
    plus, _ = shuffled_pair(lm, found.plus, found.minus, found.signatures)
    own, other = shifts(found.plus), shifts(plus)
    assert int((other.norms > 0).sum()) == 3
    assert float(other.vectors.norm()) == pytest.approx(float(own.vectors.norm()))
    assert plus.edit != found.plus.edit


def test_evaluation_with_all_controls(lm: LanguageModel, few_texts: Contrast, short_neutral: Path) -> None:
    from temperament.calibration import resolve_contrast
    from temperament.evaluation import evaluate

    found = extract(lm, resolve_contrast("extraversion", limit=8), method="vector")
    result = evaluate(
        lm, found.plus, found.minus, few_texts, signatures=found.signatures, neutral=short_neutral, strength=2.0
    )
    assert set(result.controls) == {"unworn", "random-0", "random-1", "random-2", "shuffled", "swapped", "prompt"}
    assert result.controls["swapped"]["separation"].value == pytest.approx(-result.measures["separation"].value)
    assert result.measures["separation"].value != 0


# Files and the command


@pytest.mark.parametrize("method", ["vector", "heads"])
def test_extract_inspect_evaluate_chat(
    method: str, tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_folders["llama"])]
    command = ["extract", *model, "--contrast", "extraversion", "--method", method, "--limit", "8"]
    own = ["--set", "layers=0-1"] if method == "vector" else ["--set", "count=2"]
    assert run([*command, *own, "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["seconds"]) == {"load", "signatures", "vectors", "write"}
    assert result["vectors"]["place"] == ("residual" if method == "vector" else "heads")
    assert "source" not in result["parameters"]
    assert run([*command, *own, "--out", str(tmp_path)]) == 0
    assert ("length by layer" if method == "vector" else "2 of 8") in capsys.readouterr().out
    plus = tmp_path / "plus.persona"
    assert run(["inspect", str(plus), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["vector"]["of"]) == ("vector", 2)
    assert open_persona(plus).edit == open_persona(tmp_path / "minus.persona").edit
    pair = ["--plus", str(plus), "--minus", str(tmp_path / "minus.persona"), "--data", "extraversion", "--limit", "3"]
    options = ["--measure", "separation", "--controls", "random-0,shuffled", "--strength", "-1.5", "--json"]
    assert run(["evaluate", *model, *pair, *options]) == 0
    assert set(json.loads(capsys.readouterr().out)["controls"]) == {"random-0", "shuffled"}
    assert run(["chat", *model, "--wear", f"{plus}:-2", "--prompt", "Hm?", "--max-tokens", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worn"] == [["extraversion-plus", -2.0]]
    assert run([*command, "--sparsity", "0.2", "--out", str(tmp_path)]) == 2
    assert "no sparsity" in capsys.readouterr().err
    assert run([*command, "--source", "generate", "--out", str(tmp_path)]) == 2
    assert "--source generate" in capsys.readouterr().err
