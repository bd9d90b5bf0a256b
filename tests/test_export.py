"""Exported checkpoints: plain transformers reads them and computes the logits of the model that wears, or was cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from made import made
from safetensors import SafetensorError
from safetensors.torch import load_file
from support import bits, logits, mixed_contrast, same, tokens
from tiny import DENSE, HEADS, INTERMEDIATE, KV_HEADS, MIXTURES, make_tiny_gguf
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from wearing import agree, write

from temperament.atomic import new_folder
from temperament.calibration import resolve_contrast
from temperament.export import (
    Scores,
    Sizes,
    choose,
    export,
    importance,
    magnitude,
    plan_sizes,
    random_scores,
    removal,
)
from temperament.export.measure import variants
from temperament.models import LoadedModel, load_model
from temperament.personas import Persona, Plan, SubnetworkEdit, extract
from temperament.personas.edits.subnetwork import shapes_of
from temperament.wear import wear

GROUPED = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "phi3"]


def reloaded(folder: Path, ids: Tensor) -> Tensor:
    """Logits of plain transformers, with nothing of this project in between."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        result: Tensor = model(input_ids=ids, use_cache=False).logits
    return result


@contextmanager
def untouched(lm: LoadedModel) -> Iterator[None]:
    before = bits(lm.model)
    yield
    assert same(bits(lm.model), before)
    assert not lm.worn


def mask_persona(lm: LoadedModel) -> Persona:
    return extract(lm, mixed_contrast(), method="contrastive-tilt", sparsity=0.3).plus


def subnetwork(lm: LoadedModel) -> Persona:
    """Every seventh weight."""
    shapes = shapes_of(lm.linears)
    total = sum(rows * columns for _, rows, columns in shapes)
    origin = {"model": {"name": lm.name, "fingerprint": lm.fingerprint}}
    return Persona("sevenths", "plus", SubnetworkEdit(shapes, torch.arange(0, total, 7)), origin)


def gone(lm: LoadedModel, sizes: Sizes) -> int:
    """Weights and biases of a cut, by the shapes of the model."""
    share = {"mlp": 1 - sizes.channels / INTERMEDIATE, "attention": 1 - sizes.heads / lm.heads}
    count = 0.0
    for linear in lm.linears:
        last = linear.name.endswith(("down_proj", "o_proj", "c_proj"))  # biases of these stay
        bias = 0 if last or lm.module(linear.name).bias is None else linear.shape[0]
        count += share[linear.part] * (linear.shape[0] * linear.shape[1] + bias)
    return round(count)


# Merged


def test_a_merged_checkpoint_gives_the_logits_of_wearing(tiny_model: LoadedModel, tmp_path: Path) -> None:
    persona = mask_persona(tiny_model)
    plan = 0.6 * persona + 2.5 * subnetwork(tiny_model)
    with wear(tiny_model, plan):
        expected = logits(tiny_model)
    assert not torch.equal(expected, logits(tiny_model))
    with untouched(tiny_model):
        export(tiny_model, plan, tmp_path / "merged")
    assert torch.equal(reloaded(tmp_path / "merged", tokens(12)), expected)


@pytest.mark.parametrize("tiny_model", ["llama", "gpt2"], indirect=True)
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_any_strength_of_packed_masks(tiny_model: LoadedModel, strength: float, tmp_path: Path) -> None:
    persona = mask_persona(tiny_model).packed(tiny_model)
    with wear(tiny_model, strength * persona):
        expected = logits(tiny_model)
    export(tiny_model, strength * persona, tmp_path / "merged")
    assert torch.equal(reloaded(tmp_path / "merged", tokens(12)), expected)


@pytest.mark.parametrize(("family", "tied"), [("llama", False), ("gemma3_text", True), ("gpt2", True)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_embeddings_and_the_type_of_the_weights(
    family: str, tied: bool, dtype: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    lm = load_model(str(tiny_folders[family]), dtype=dtype, device="cpu")
    persona = mask_persona(lm)
    with wear(lm, persona):
        expected = logits(lm)
    export(lm, 1.0 * persona, tmp_path / "merged")
    stored = load_file(tmp_path / "merged" / "model.safetensors")
    assert ("lm_head.weight" in stored) != tied
    assert {tensor.dtype for tensor in stored.values()} == {lm.dtype}
    assert torch.equal(reloaded(tmp_path / "merged", tokens(12)), expected)


def test_a_folder_is_an_ordinary_checkpoint(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    persona = mask_persona(tiny_llama)
    folder = tmp_path / "merged"
    folder.mkdir()  # an empty one will do
    facts = export(tiny_llama, 0.5 * persona, folder)
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "temperament.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {"0o644"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == tiny_llama.tokenizer.chat_template
    assert tokenizer("who are you?").input_ids == tiny_llama.tokenizer("who are you?").input_ids
    note = json.loads((folder / "temperament.json").read_text())
    assert note == json.loads(json.dumps(facts))
    assert note["model"]["fingerprint"] == tiny_llama.fingerprint
    assert note["worn"][0]["strength"] == 0.5
    assert note["worn"][0]["method"]["name"] == "contrastive-tilt"
    assert note["parameters"]["from"] == note["parameters"]["to"]
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    loaded = load_model(str(folder), dtype="float32", device="cpu")  # and this project reads it too
    with refused("whose weights are not those of"):
        persona.check_model(loaded)


def test_from_a_gguf_file(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    file = make_tiny_gguf(tmp_path / "model.gguf", tiny_folders["llama"])
    lm = load_model(str(file), dtype="float32", device="cpu")
    persona = mask_persona(lm)
    with wear(lm, persona):
        expected = logits(lm)
    export(lm, 1.0 * persona, tmp_path / "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    assert torch.equal(reloaded(tmp_path / "merged", tokens(12)), expected)


@pytest.mark.parametrize("kind", ["neurons", "vector", "prompt"])
def test_what_is_not_in_the_weights_is_refused(kind: str, tiny_llama: LoadedModel, tmp_path: Path) -> None:
    persona = replace(made(kind), name="other")
    with refused(f"'other' is a {kind} persona", "only masks and subnetworks"):
        export(tiny_llama, Plan.of(mask_persona(tiny_llama)) + persona, tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    persona = Plan.of(mask_persona(tiny_llama))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    for name in ("full", "file"):
        with refused("is there already"):
            export(tiny_llama, persona, tmp_path / name)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "more"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device"), ValueError("bad config")])
def test_an_interruption_leaves_nothing(
    error: Any, fresh_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    persona = Plan.of(mask_persona(fresh_llama))

    def stop(folder: Path) -> None:
        (Path(folder) / "tokenizer.json").write_text("{")
        raise error

    monkeypatch.setattr(fresh_llama.tokenizer, "save_pretrained", stop)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt), untouched(fresh_llama):
            export(fresh_llama, persona, tmp_path / "merged")
    else:
        with refused(str(error)):
            export(fresh_llama, persona, tmp_path / "merged")
    assert not list(tmp_path.iterdir())
    assert not fresh_llama.worn


# Smaller


@pytest.mark.parametrize("tiny_model", MIXTURES, indirect=True)
def test_a_mixture_of_experts_is_not_made_smaller(tiny_model: LoadedModel) -> None:
    with refused("do not have one MLP of one size each"):
        plan_sizes(tiny_model, 0.25)


@pytest.mark.parametrize("tiny_model", DENSE, indirect=True)
def test_a_smaller_checkpoint_computes_what_the_cut_leaves(tiny_model: LoadedModel, tmp_path: Path) -> None:
    lm = tiny_model
    heads = 0.5 if lm.family.heads else 0.0
    sizes = plan_sizes(lm, 0.25, heads)
    assert sizes == Sizes(36, HEADS // 2 if heads else HEADS, KV_HEADS // 2 if heads else lm.groups)
    plan = 0.7 * mask_persona(lm)
    with wear(lm, plan):
        cut = choose(importance(lm), Sizes.of(lm), sizes)
    masked = Plan.of(removal(lm, cut, "cut"))
    for merged in (False, True):
        with wear(lm, plan + masked if merged else masked):
            expected = logits(lm)
        with untouched(lm):
            facts = export(lm, plan, tmp_path / str(merged), merged=merged, cut=cut)
        found = reloaded(tmp_path / str(merged), tokens(12))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, logits(lm), atol=1e-2)
        config = AutoModelForCausalLM.from_pretrained(tmp_path / str(merged)).config
        assert getattr(config, str(lm.family.channels)) == 36
        before, after = facts["parameters"]["from"], facts["parameters"]["to"]
        assert before - after == gone(lm, sizes)
        stored = load_file(tmp_path / str(merged) / "model.safetensors")
        assert sum(tensor.numel() for tensor in stored.values()) == after  # tied embeddings once
        load_model(str(tmp_path / str(merged)), dtype="float32", device="cpu")  # probed like any other


def test_cached_generation_of_a_smaller_checkpoint(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    cut = choose(magnitude(tiny_llama), Sizes.of(tiny_llama), plan_sizes(tiny_llama, 0.25, 0.5))
    export(tiny_llama, Plan(), tmp_path / "small", merged=False, cut=cut)
    small = load_model(str(tmp_path / "small"), dtype="float32", device="cpu")
    cached, plain = (write(small, tokens(6), use_cache=use) for use in (True, False))
    assert torch.equal(cached.tokens, plain.tokens)
    agree(cached.logits, plain.logits)


@pytest.mark.parametrize("tiny_model", GROUPED, indirect=True)
def test_query_heads_go_evenly_where_no_whole_group_fits(tiny_model: LoadedModel, tmp_path: Path) -> None:
    """A quarter of the heads of two groups of two is no group: nothing; half is one head of each, or one group."""
    lm = tiny_model
    with refused("removes none", "0.5"):
        plan_sizes(lm, 0.25, 0.3)
    even = Sizes(INTERMEDIATE, KV_HEADS, KV_HEADS)
    cut = choose(random_scores(lm, 3), Sizes.of(lm), even)
    assert cut.groups.tolist() == [[0, 1]] * lm.depth
    assert all(row[0] in (0, 1) and row[1] in (2, 3) for row in cut.heads.tolist())
    with wear(lm, removal(lm, cut, "cut")):
        expected = logits(lm)
    export(lm, Plan(), tmp_path / "even", merged=False, cut=cut)
    torch.testing.assert_close(reloaded(tmp_path / "even", tokens(12)), expected, rtol=1e-4, atol=1e-4)


def test_the_largest_scores_stay() -> None:
    full, sizes = Sizes(4, 4, 2), Sizes(2, 2, 1)
    channels = torch.tensor([[3.0, 1.0, 2.0, 0.5], [0.0, 0.0, 5.0, 0.0]])
    heads = torch.tensor([[1.0, 1.0, 0.0, 3.0], [2.0, 3.0, 4.0, 0.0]])
    cut = choose(Scores(channels, heads), full, sizes)
    assert cut.channels.tolist() == [[0, 2], [0, 2]]  # of equal ones the first
    assert cut.groups.tolist() == [[1], [0]]
    assert cut.heads.tolist() == [[2, 3], [0, 1]]
    even = choose(Scores(channels, heads), full, Sizes(4, 2, 2))
    assert even.heads.tolist() == [[0, 3], [1, 2]]


def test_importance_is_the_energy_of_what_is_kept(tiny_llama: LoadedModel) -> None:
    """By hand, from the activations of one forward pass; a channel that a mask removes is worth nothing."""
    from temperament.calibration.builtin import neutral_texts
    from temperament.signatures.collect import encode_passage

    lm = tiny_llama
    down = lm.at_path("mlp.down_proj")[1]
    total, count = torch.zeros(INTERMEDIATE, dtype=torch.float64), 0
    for text in neutral_texts():
        item = encode_passage(lm, text)
        seen: list[Tensor] = []
        handle = lm.module(down.name).register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0][0]))
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([item.ids]))
        handle.remove()
        total += seen[0][item.start :].double().square().sum(0)
        count += len(item.ids) - item.start
    expected = lm.weight(down).double().square().sum(0) * total / count
    scores = importance(lm)
    torch.testing.assert_close(scores.channels[1].double(), expected, rtol=1e-3, atol=1e-6)
    assert scores.channels.shape == (lm.depth, INTERMEDIATE)
    assert scores.heads.shape == (lm.depth, HEADS)
    cut = choose(scores, Sizes.of(lm), plan_sizes(lm, 0.25, 0.5))
    with wear(lm, removal(lm, cut, "cut")):
        left = importance(lm)
    gone = torch.ones(lm.depth, INTERMEDIATE, dtype=torch.bool).scatter_(1, cut.channels, value=False)
    assert (left.channels[gone] == 0).all()
    assert (left.channels[~gone] > 0).all()
    assert ((left.heads == 0).sum(1) == HEADS // 2).all()


@pytest.mark.parametrize("tiny_model", DENSE, indirect=True)
def test_magnitude_counts_every_weight_of_a_channel_and_a_head_once(tiny_model: LoadedModel) -> None:
    scores, lm = magnitude(tiny_model), tiny_model
    for part, found in (("mlp", scores.channels), ("attention", scores.heads)):
        own = [linear for linear in lm.linears if linear.part == part]
        total = sum(float(lm.weight(linear).double().square().sum()) for linear in own)
        assert float(found.double().sum()) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("channels", "heads", "words"), [(1.0, 0.0, "share of 1"), (0.001, 0.0, "none"), (0, -1, "-1")]
)
def test_shares_that_make_no_sense(channels: float, heads: float, words: str, tiny_llama: LoadedModel) -> None:
    with refused(words):
        plan_sizes(tiny_llama, channels, heads)


@pytest.mark.parametrize("tiny_model", ["gpt2"], indirect=True)
def test_a_family_whose_config_cannot_say_fewer_heads(tiny_model: LoadedModel) -> None:
    with refused("GPT-2", "cannot say fewer heads"):
        plan_sizes(tiny_model, 0.25, 0.5)


def test_a_config_that_refuses_a_number_of_heads(tmp_path: Path, tiny_folders: dict[str, Path]) -> None:
    """A Llama's heads must divide its width: of 4 heads in 4 groups over a width of 32, 3 cannot stay."""
    shutil.copytree(tiny_folders["llama"], tmp_path / "source")
    lm = load_model(str(tmp_path / "source"), dtype="float32", device="cpu")
    lm.model.config.num_key_value_heads = 4
    assert plan_sizes(lm, 0, 0.5).heads == 2
    with refused("removes none", "0.5"):
        plan_sizes(lm, 0, 0.25)


def test_a_cut_has_seen_what_its_mask_has_seen(tiny_llama: LoadedModel) -> None:
    """So that a cut is not measured on texts that its mask was calibrated on, baked in or not."""
    persona = mask_persona(tiny_llama)
    _, rows = variants(tiny_llama, Plan.of(persona), None, plan_sizes(tiny_llama, 0.25), merged=False)
    groups = {row.name: [worn.groups for worn, _ in row.own.active] for row in rows}
    assert groups["exported"] == [persona.groups] != [frozenset()]
    assert groups["importance unworn"] == groups["magnitude"] == groups["channels at random"] == [frozenset()]


@pytest.mark.slow
def test_the_embedded_model(tmp_path: Path) -> None:
    """Baked in: equal logits, bit by bit. Cut: the logits of the same channels masked, as near as bf16 brings them."""
    lm: LoadedModel = load_model("smollm2-135m", dtype="bfloat16", device="cpu")
    persona = extract(lm, resolve_contrast("extraversion", limit=16), method="contrastive-tilt", sparsity=0.2).plus
    ids = torch.tensor([lm.prompt_ids("What do you enjoy most about your weekends?")])
    with wear(lm, 0.7 * persona):
        expected = logits(lm, ids)
    export(lm, 0.7 * persona, tmp_path / "merged")
    assert torch.equal(reloaded(tmp_path / "merged", ids), expected)
    cut = choose(importance(lm), Sizes.of(lm), plan_sizes(lm, 0.25, 0.34))
    assert cut.sizes == Sizes(1152, 6, 2)
    with wear(lm, removal(lm, cut, "cut")):
        masked = logits(lm, ids).float()
    export(lm, Plan(), tmp_path / "small", merged=False, cut=cut)
    found = reloaded(tmp_path / "small", ids).float()
    assert float((found - masked).norm() / masked.norm()) < 0.02
    assert float((masked - logits(lm, ids).float()).norm() / masked.norm()) > 0.1


def test_a_disk_that_fills_leaves_one_line_and_no_folder(tmp_path: Path) -> None:
    with refused("no space left", "free disk space"), new_folder(tmp_path / "small") as work:
        (work / "half").write_text("a")
        raise SafetensorError("no space left on device")
    assert list(tmp_path.iterdir()) == []
