"""LoRA personas: training, the adapter as PEFT reads it, wearing and leaving, controls, files and damage."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from safetensors.torch import load_file, save_file
from support import bits, hooks, logits, mixed_contrast, same, tokens
from tiny import make_tiny

from temperament.calibration import resolve_contrast
from temperament.container import read_container, write_container
from temperament.evaluation import evaluate
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.evaluation.score import score_responses
from temperament.methods.baselines import LoraParameters
from temperament.methods.low_rank import Factors, factors_of, random_factors
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, LoraEdit, Persona, extract, open_persona
from temperament.personas.kinds import METHOD_KINDS
from temperament.personas.lora_personas import lora_adapters
from temperament.personas.train_adapter import train_adapter
from temperament.signatures.texts import TextPair
from temperament.wear import wear

SETTINGS: dict[str, Any] = {"rank": 4, "alpha": 8, "epochs": 4, "learning_rate": 0.01, "batch": 2}


def parameters(**given: Any) -> LoraParameters:
    return LoraParameters.model_validate(given)


def edit(persona: Persona) -> LoraEdit:
    assert isinstance(persona.edit, LoraEdit)
    return persona.edit


def trained(lm: LoadedModel, folder: Path | None = None, **more: Any) -> Extraction:
    return extract(lm, mixed_contrast(), method="lora", settings=SETTINGS, folder=folder, **more)


@pytest.fixture(scope="module", params=["llama", "gpt2", "phi3", "mixtral", "qwen2_moe"])
def case(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]) -> tuple[LoadedModel, Extraction, Path]:
    """A model of a family with its adapters; GPT-2 stores weights transposed, Phi-3 fuses them, others have experts."""
    lm: LoadedModel = load_model(str(tiny_folders[request.param]), dtype="float32", device="cpu")
    return lm, trained(lm), tiny_folders[request.param]


@pytest.fixture(scope="module")
def llama(tiny_folders: dict[str, Path]) -> LoadedModel:
    lm: LoadedModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu")
    return lm


@pytest.fixture(scope="module")
def found(llama: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    return trained(llama, tmp_path_factory.mktemp("found") / "signatures")


@pytest.fixture(autouse=True)
def untouched(llama: LoadedModel) -> Iterator[None]:
    """Every test must leave the model as it was found: values, modules, flags."""
    before, modules = bits(llama.model), [type(module) for module in llama.model.modules()]
    yield
    assert same(bits(llama.model), before)
    assert [type(module) for module in llama.model.modules()] == modules
    assert (llama.worn, llama.restorers, hooks(llama.model)) == ((), [], 0)
    assert not hasattr(llama.model, "peft_config")


# Training


def test_the_loss_falls_and_the_texts_become_likelier(case: tuple[LoadedModel, Extraction, Path]) -> None:
    lm, found, _ = case
    for persona in (found.plus, found.minus):
        losses = found.details["lora"][persona.pole]["loss_by_epoch"]
        assert len(losses) == 4
        assert losses[-1] < losses[0] - 0.1
        items = [lm.encode(e.prompt, e.response) for e in mixed_contrast().pole(persona.pole)]
        base = sum(score.per_token for score in score_responses(lm, items))
        with wear(lm, persona):
            assert sum(score.per_token for score in score_responses(lm, items)) > base + 0.5
    assert found.details["lora"]["plus"]["steps"] == 4 * 3


def test_only_responses_are_learnt(llama: LoadedModel) -> None:
    """The first loss is that of the responses of the first batch, as scoring finds it on the unworn model."""
    texts = mixed_contrast().plus
    chosen = parameters(batch=len(texts), epochs=1)
    first = train_adapter(llama, texts, chosen, 0, lambda: None).losses[0]
    scores = score_responses(llama, [llama.encode(e.prompt, e.response) for e in texts])
    expected = -sum(score.total for score in scores) / sum(score.tokens for score in scores)
    assert first == pytest.approx(expected, rel=1e-5)


def test_training_is_reproducible_and_leaves_the_random_state_alone(llama: LoadedModel) -> None:
    texts, state = mixed_contrast().plus, torch.get_rng_state()
    chosen = parameters(epochs=1)
    one, two = (train_adapter(llama, order, chosen, 3, lambda: None) for order in (texts, texts[::-1]))
    assert one == two
    assert torch.equal(torch.get_rng_state(), state)
    assert train_adapter(llama, texts, chosen, 4, lambda: None).weights != one.weights


def test_flags_and_modules_are_as_before(fresh_llama: LoadedModel) -> None:
    frozen = next(fresh_llama.model.parameters())
    frozen.requires_grad_(False)
    modules = dict(fresh_llama.model.named_modules())
    flags = [parameter.requires_grad for parameter in fresh_llama.model.parameters()]
    before = fresh_llama.fingerprint
    trained(fresh_llama)
    after = dict(fresh_llama.model.named_modules())
    assert list(after) == list(modules)
    assert all(after[name] is module for name, module in modules.items())
    assert [parameter.requires_grad for parameter in fresh_llama.model.parameters()] == flags
    assert all(parameter.grad is None for parameter in fresh_llama.model.parameters())
    del fresh_llama.fingerprint
    assert fresh_llama.fingerprint == before


def test_an_interrupt_leaves_nothing_half_done(llama: LoadedModel, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 14:  # the second step of the minus pole
            raise KeyboardInterrupt

    before = bits(llama.model)
    with pytest.raises(KeyboardInterrupt):
        trained(llama, tmp_path, progress=stop)
    assert same(bits(llama.model), before)
    assert seen == [(done, 24) for done in range(1, 15)]
    (kept,) = (tmp_path / "lora").iterdir()
    assert kept.name.startswith("plus-")
    stamp = (kept / "adapter_model.safetensors").stat().st_mtime_ns
    seen.clear()
    done = trained(llama, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 24) for done in range(13, 25)]
    assert (kept / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert [edit(p).sha256 for p in (done.plus, done.minus)] == [
        edit(p).sha256 for p in (trained(llama).plus, trained(llama).minus)
    ]
    assert all(not path.name.startswith(".") for path in (tmp_path / "lora").iterdir())


def test_a_damaged_adapter_is_trained_again_and_other_settings_beside_it(llama: LoadedModel, tmp_path: Path) -> None:
    pair = trained(llama, tmp_path).signatures
    assert isinstance(pair, TextPair)
    chosen = parameters(**SETTINGS)
    path, record = lora_adapters(llama, pair, chosen)["plus"]
    file = path / "adapter_model.safetensors"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert lora_adapters(llama, pair, chosen)["plus"][1]["sha256"] == record["sha256"]
    assert file.read_bytes() == good
    lora_adapters(llama, pair, parameters(epochs=1))
    assert len(list((tmp_path / "lora").iterdir())) == 4


# Wearing


def test_worn_logits_are_those_of_peft(case: tuple[LoadedModel, Extraction, Path]) -> None:
    from peft import PeftModel

    lm, found, folder = case
    plain: Any = load_model(str(folder), dtype="float32", device="cpu").model
    ids, base = tokens(12), logits(lm)
    for persona in (found.plus, found.minus):
        wrapped = PeftModel.from_pretrained(plain, str(edit(persona).path)).eval()
        with torch.no_grad():
            expected = wrapped(input_ids=ids, use_cache=False).logits
        plain = wrapped.unload()
        with wear(lm, persona):
            assert lm.worn == (f"1*mixed-{persona.pole}",)
            torch.testing.assert_close(logits(lm), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(expected, base, atol=0.01)
        assert torch.equal(logits(lm), base)
    # experts are no modules: they get no adapter
    assert set(edit(found.plus).factors) == {linear.name for linear in lm.linears if linear.input.expert is None}


def test_strengths_scale_the_change(llama: LoadedModel, found: Extraction) -> None:
    linear = llama.linears[3]
    base = llama.weight(linear).clone()
    factors = edit(found.plus).factors[linear.name]
    for strength in (0.5, 1.0, 2.0):
        with wear(llama, found.plus, strength):
            expected = base + strength * 2.0 * factors.b @ factors.a
            torch.testing.assert_close(llama.weight(linear), expected)
            assert torch.equal(llama.base_weight(linear), base)
    before = bits(llama.model)
    with wear(llama, found.plus, 0):
        assert same(bits(llama.model), before)
        assert llama.worn == ()
    for strength in (-0.1, 2.1, float("nan")):
        with refused(f"strength {strength} of the lora persona 'mixed-plus'", "opposite pole"):
            strength * found.plus


def test_adapters_and_masks_nest_and_come_off_exactly(llama: LoadedModel, found: Extraction) -> None:
    mask = extract(llama, mixed_contrast(), sparsity=0.3).plus
    before, base = bits(llama.model), [llama.weight(linear).clone() for linear in llama.linears]
    with wear(llama, found.plus):
        alone = bits(llama.model)
        with wear(llama, mask), wear(llama, 0.5 * found.minus):
            for linear, weight in zip(llama.linears, base, strict=True):
                assert torch.equal(llama.base_weight(linear), weight)
        assert same(bits(llama.model), alone)
        with suppress(RuntimeError), wear(llama, found.minus + found.plus):
            raise RuntimeError
        assert same(bits(llama.model), alone)
    assert same(bits(llama.model), before)


def test_half_precision_is_restored_exactly(tiny_folders: dict[str, Path]) -> None:
    lm: LoadedModel = load_model(str(tiny_folders["llama"]), dtype="bfloat16", device="cpu")
    found, before = trained(lm), bits(lm.model)
    stored = load_file(edit(found.plus).path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    losses = found.details["lora"]["plus"]["loss_by_epoch"]
    assert losses[-1] < losses[0] - 0.1
    with wear(lm, found.plus):
        assert not same(bits(lm.model), before)
    assert same(bits(lm.model), before)


def test_rows_and_other_models_are_refused(llama: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    with refused("a lora persona", "can differ by row"):
        wear(llama, [found.plus, None]).__enter__()
    other: LoadedModel = load_model(str(make_tiny(tmp_path, "llama", seed=5)), dtype="float32", device="cpu")
    with refused("was made from"):
        wear(other, found.plus).__enter__()
    with refused("unworn model"), wear(llama, found.plus):
        trained(llama)


# Controls


def test_random_changes_have_the_same_norm_and_another_direction(llama: LoadedModel, found: Extraction) -> None:
    pairs = [random_pair(llama, found.plus, found.minus, seed) for seed in (0, 1)]
    assert len({edit(p).identity for pair in pairs for p in pair} | {edit(found.plus).identity}) == 5
    drawn, own = edit(pairs[0][0]).factors, edit(found.plus).factors
    for name in own:
        first, second = own[name].b @ own[name].a, drawn[name].b @ drawn[name].a
        assert second.norm() == pytest.approx(float(first.norm()), rel=1e-4)
        assert abs(float((first * second).sum() / first.norm() ** 2)) < 0.5
        assert torch.linalg.matrix_rank(second) <= 4
    again = random_pair(llama, found.plus, found.minus, 0)[0]
    assert all(torch.equal(edit(again).factors[name].b, drawn[name].b) for name in drawn)
    with wear(llama, pairs[0][0]):
        assert llama.worn == ("1*random-0",)


def test_shuffled_adapters_are_trained_on_shuffled_texts(llama: LoadedModel, found: Extraction) -> None:
    plus, minus = shuffled_pair(llama, found.plus, found.minus, found.signatures)
    assert edit(plus).path.parent == edit(found.plus).path.parent
    assert len({edit(p).sha256 for p in (plus, minus, found.plus, found.minus)}) == 4
    pair = found.signatures.shuffled()
    assert isinstance(pair, TextPair)
    expected = train_adapter(llama, pair.plus, parameters(**SETTINGS), 42, lambda: None)
    assert hashlib.sha256(expected.weights).hexdigest() == edit(plus).sha256


def test_a_pair_is_evaluated_with_all_controls(llama: LoadedModel, found: Extraction) -> None:
    edits = (edit(found.plus), edit(found.minus))
    home = edits[0].path.parent.parent.parent
    plus, minus = (open_persona(p.save(home / f"{p.pole}.persona")) for p in (found.plus, found.minus))
    pair = METHOD_KINDS["lora"].load(home / "signatures")
    test = resolve_contrast("extraversion#test", limit=3)
    result = evaluate(llama, plus, minus, test, measures=("separation",), signatures=pair)
    assert result.measures["separation"].value != 0
    assert {"unworn", "random-0", "random-2", "shuffled", "swapped", "prompt"} <= set(result.controls)
    with refused("were used to calibrate"):
        evaluate(llama, plus, minus, replace(mixed_contrast(), name="other"), measures=("separation",))


def test_random_factors_of_a_change_that_is_nothing() -> None:
    nothing = {"q": Factors(torch.randn(2, 5), torch.zeros(3, 2))}
    assert torch.equal(random_factors(nothing, 0)["q"].b, torch.zeros(3, 2))
    known = Factors(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0], [0.0]]))
    assert (known.norm, known.shape) == (10.0, (2, 2))


# Files


def test_files_refer_to_adapters(llama: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    home = edit(found.plus).path.parent.parent.parent
    inside, outside = found.plus.save(home / "plus.persona"), found.plus.save(tmp_path / "plus.persona")
    references = [read_container(path, kind="", remedy="")[1]["lora"]["adapter"] for path in (inside, outside)]
    assert references == [f"signatures/lora/{edit(found.plus).path.name}", str(edit(found.plus).path.resolve())]
    with wear(llama, found.plus):
        expected = logits(llama)
    shutil.copytree(home, tmp_path / "moved")
    for path in (inside, outside, tmp_path / "moved" / "plus.persona"):
        loaded = open_persona(path)
        assert loaded == found.plus
        with wear(llama, loaded):
            assert torch.equal(logits(llama), expected)
    assert edit(open_persona(tmp_path / "moved" / "plus.persona")).path.is_relative_to(tmp_path / "moved")
    drawn = random_pair(llama, found.plus, found.minus, 0)[0]
    assert open_persona(drawn.save(tmp_path / "random.persona")) == drawn


def test_a_temporary_adapter_lasts_as_long_as_its_persona_and_is_copied(llama: LoadedModel, tmp_path: Path) -> None:
    persona = trained(llama).plus  # the other pole and the extraction are gone
    temporary = edit(persona).path
    with wear(llama, replace(persona, signatures=None)):
        expected = logits(llama)
    path = persona.save(tmp_path / "shy.persona")
    del persona
    assert not temporary.exists()
    assert sorted(file.name for file in (tmp_path / "shy.adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    with wear(llama, open_persona(path)):
        assert torch.equal(logits(llama), expected)


def test_a_wrong_or_missing_adapter(llama: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    path = replace(found.plus, edit=replace(edit(found.plus), path=tmp_path / "a")).save(tmp_path / "plus.persona")
    with refused("cannot be read", "adapter_model.safetensors", "extract the persona again"):
        wear(llama, open_persona(path)).__enter__()
    shutil.copytree(edit(found.minus).path, tmp_path / "a")
    with refused("is not the adapter of this persona", "SHA-256"):
        wear(llama, open_persona(path)).__enter__()
    shutil.rmtree(tmp_path / "a")
    shutil.copytree(edit(found.plus).path, tmp_path / "a")
    with wear(llama, open_persona(path)):
        pass


def test_adapters_that_are_no_lora(llama: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    stored = load_file(edit(found.plus).path / "adapter_model.safetensors")
    first, *_ = stored
    wrong: list[tuple[dict[str, torch.Tensor], str]] = [
        ({**stored, "lm_head.weight": torch.zeros(2)}, "is not a factor"),
        ({name: tensor for name, tensor in stored.items() if name != first}, "one factor only"),
        ({**stored, first: stored[first].T.contiguous()}, "factors of shapes"),
        ({**stored, first: stored[first] * float("nan")}, "not finite"),
        ({name.replace("layers.0", "layers.9"): tensor for name, tensor in stored.items()}, "does not have"),
    ]
    for tensors, words in wrong:
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        digest = hashlib.sha256((tmp_path / "adapter_model.safetensors").read_bytes()).hexdigest()
        damaged = replace(edit(found.plus), path=tmp_path, sha256=digest)
        with refused(words):
            wear(llama, replace(found.plus, edit=damaged)).__enter__()
    assert set(factors_of(stored)) == {linear.name for linear in llama.linears}


def test_damaged_headers(found: Extraction, tmp_path: Path) -> None:
    path = found.plus.save(tmp_path / "plus.persona")
    content, header = read_container(path, kind="persona file", remedy="")
    del header["sha256"]
    good = header["lora"]
    for key, value in (("adapter", ""), ("adapter", "../a"), ("sha256", "12"), ("scaling", 0), ("noise", "x")):
        write_container(path, content, {**header, "lora": {**good, key: value}})
        with refused("plus.persona", "is damaged"):
            open_persona(path)


def test_the_configuration_is_plain_json(found: Extraction) -> None:
    config = json.loads((edit(found.plus).path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"], config["task_type"]) == (4, 8, "LORA", "CAUSAL_LM")


def test_without_peft(monkeypatch: pytest.MonkeyPatch, llama: LoadedModel, found: Extraction) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with refused("needs peft", "pip install 'temperament[lora]'"):
        trained(llama)
    with wear(llama, found.plus):  # wearing needs no PEFT
        pass
