"""What experts see: counted by the definition; experts that see too few tokens stay as they are and are named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from expect import counted_passes, refused
from routing import seen_by_experts, views
from support import mixed_contrast
from tiny import EXPERTS, make_tiny

from temperament.calibration import Contrast
from temperament.cli.main import run
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, MaskEdit, Persona, SubnetworkEdit, extract, open_persona
from temperament.personas.extract import rebuild
from temperament.personas.kinds import kind_of
from temperament.signatures import SaliencyPair, collect, collect_saliency
from temperament.wear import wear

NEUTRAL = ("The tide comes in twice a day.", "Bread needs flour, water, salt and time.", "Ice floats.")
#: Router's choices per token.
SPREAD = 2


@pytest.fixture(scope="module", autouse=True)
def short_passages() -> Iterator[None]:
    """Saliency statistics with three neutral passages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("temperament.personas.saliency_personas.neutral_texts", lambda: NEUTRAL)
        yield


@pytest.fixture
def lm(mixture: LoadedModel) -> LoadedModel:
    """Every mixture of experts; a model that every test must leave as it was found."""
    return mixture


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """So many experts that each batch leaves some without a token."""
    with pytest.MonkeyPatch.context() as patch:
        config = {**tiny._CONFIGS["mixtral"], "num_local_experts": 48, "intermediate_size": 8}
        patch.setitem(tiny._CONFIGS, "mixtral", config)
        folder = make_tiny(tmp_path_factory.mktemp("crowded"), "mixtral")
    found: LoadedModel = load_model(str(folder), dtype="float32", device="cpu")
    return found


def mask_of(persona: Persona) -> MaskEdit:
    assert isinstance(persona.edit, MaskEdit)
    return persona.edit


def by_expert(lm: LoadedModel, contrast: Contrast, pole: str, *, whole: bool) -> dict[str, int]:
    """Tokens of a pole that reach each expert, one text at a time, by the definition."""
    count: dict[str, int] = {}
    for example in contrast.pole("plus" if pole == "plus" else "minus"):
        item = lm.encode(example.prompt, example.response)
        for name, (positions, _) in seen_by_experts(lm, torch.tensor([item.ids])).items():
            if name.endswith(".gate_proj"):
                own = name.removesuffix(".gate_proj")
                count[own] = count.get(own, 0) + int((positions >= (0 if whole else item.start)).sum())
    return count


# What experts see


def test_counts_are_those_of_counted_tokens(lm: LoadedModel) -> None:
    """Padding and prompts never count, whatever is padded with; each counted token counts at two experts a block."""
    contrast = mixed_contrast()
    pair = collect(lm, contrast, batch_rows=5)
    first = next(site for site in lm.inputs if site.expert)
    own = [site for site in lm.inputs if site.expert and site.layer == first.layer][::2]
    assert len(own) == EXPERTS
    for pole in ("plus", "minus"):
        wanted = by_expert(lm, contrast, pole, whole=False)
        assert {site.expert: pair.seen_at(site.offset, pole) for site in lm.inputs if site.expert} == wanted
        assert sum(pair.seen_at(site.offset, pole) for site in own) == SPREAD * pair.tokens[pole]
        assert pair.seen_at(0, pole) == pair.tokens[pole]


def test_the_token_that_pads_does_not_matter(lm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, statistics = collect(lm, mixed_contrast()), collect_saliency(lm, mixed_contrast(), NEUTRAL)
    for module in ("collect", "collect_saliency"):
        monkeypatch.setattr(sys.modules[f"temperament.signatures.{module}"], "padding_id", lambda _: 97)
    other = collect(lm, mixed_contrast())
    assert other.pole("plus").seen is not None
    for pole in ("plus", "minus"):
        torch.testing.assert_close(other.pole(pole).mean_square, pair.pole(pole).mean_square, rtol=1e-5, atol=1e-6)
        assert torch.equal(torch.as_tensor(other.pole(pole).seen), torch.as_tensor(pair.pole(pole).seen))
    assert collect_saliency(lm, mixed_contrast(), NEUTRAL).seen == statistics.seen


def test_saliency_counts_every_token_that_is_not_padding(lm: LoadedModel) -> None:
    contrast = mixed_contrast()
    pair = collect_saliency(lm, contrast, NEUTRAL)
    assert set(pair.seen) == set(views(lm))
    for pole in ("plus", "minus"):
        for own, count in by_expert(lm, contrast, pole, whole=True).items():
            assert [pair.seen_in(f"{own}.{kind}_proj", pole) for kind in ("gate", "up", "down")] == [count] * 3
    halves = {name: tuple(counts) for name, counts in pair.seen.items()}
    mixed = pair.shuffled()
    for name, (a, b, c, d) in halves.items():
        assert (mixed.seen_in(name, "plus"), mixed.seen_in(name, "minus")) == (a + c, b + d)


@pytest.mark.parametrize("memory", [200_000, 2**30])  # less than a layer, and all
def test_interrupted_saliency_counts_no_token_twice(crowded: LoadedModel, tmp_path: Path, memory: int) -> None:
    """Experts that see no token of a batch are done with it all the same."""
    whole = collect_saliency(crowded, mixed_contrast(), NEUTRAL, memory=memory, weighting="even")
    halves = list(zip(*whole.seen.values(), strict=True))
    assert all(0 in half and max(half) > 0 for half in halves)
    step = batches = 0

    def stop(done: int, total: int) -> None:
        nonlocal step, batches
        batches = total
        if done > step and done < total:
            step = done
            raise KeyboardInterrupt

    found: SaliencyPair | None = None
    with counted_passes(crowded) as passes:
        while found is None:
            with suppress(KeyboardInterrupt):
                found = collect_saliency(
                    crowded,
                    mixed_contrast(),
                    NEUTRAL,
                    weighting="even",  # prompts would take two more passes after each interruption
                    memory=memory,
                    folder=tmp_path,
                    progress=stop,
                )
    assert step > 3
    assert len(passes) == batches, "each batch once"
    assert found.seen == whole.seen
    assert found.hash == whole.hash


def test_experts_without_any_token(crowded: LoadedModel, tmp_path: Path) -> None:
    """Their statistics are zeros; masked all the same where no threshold says otherwise, they keep the first inputs."""
    pair = collect(crowded, mixed_contrast())
    moments = pair.pole("plus")
    empty = [site for site in crowded.inputs if site.expert and pair.seen_at(site.offset, "plus") == 0]
    assert empty
    for site in empty:
        for value in (moments.mean_abs, moments.rms, moments.variance, moments.sentence_l2):
            assert not value[site.slice].any()
    for method in ("wanda", "sparse", "contrastive-wanda", "contrastive-sparse", "contrastive-tilt"):
        for least in (0, 1):
            settings = {"expert_tokens": least}
            found = extract(crowded, mixed_contrast(), method=method, signatures=pair, settings=settings)
            assert (len(mask_of(found.plus).unmasked) > 0) == (least > 0)
            loaded = open_persona(found.plus.save(tmp_path / "plus.persona"))
            assert mask_of(loaded).masks(crowded).checksum == mask_of(found.plus).checksum


def test_a_signature_file_keeps_what_experts_saw(lm: LoadedModel, tmp_path: Path) -> None:
    contrast = mixed_contrast()
    contrast = replace(contrast, plus=contrast.plus[:1])  # its second half is empty
    first = extract(lm, contrast, method="wanda", folder=tmp_path)
    again = extract(lm, contrast, method="wanda", folder=tmp_path)
    assert again.signatures is not first.signatures
    assert again.signatures.hash == first.signatures.hash
    assert again.plus.edit.identity == first.plus.edit.identity
    assert again.plus.provenance["experts"] == first.plus.provenance["experts"]


# Rarely seen experts


def threshold(lm: LoadedModel, method: str) -> int:
    """One that leaves some experts alone, and others not."""
    whole = method == "contrastive-saliency"
    counts = [by_expert(lm, mixed_contrast(), pole, whole=whole) for pole in ("plus", "minus")]
    least = sorted(min(counts[0][name], counts[1][name]) for name in counts[0])
    assert least[0] < least[-1]
    return least[len(least) // 2] + (least[0] == least[len(least) // 2])


METHODS = (
    "wanda",
    "contrastive-tilt",
    "contrastive-sparse",
    "contrastive-saliency",
    "sparsegpt",
    "contrastive-sparsegpt",
)


@pytest.fixture(scope="module", params=METHODS)
def found(request: pytest.FixtureRequest, loaded_mixture: LoadedModel) -> Extraction:
    settings: dict[str, Any] = {"expert_tokens": threshold(loaded_mixture, request.param)}
    if request.param == "contrastive-saliency":
        settings["share"] = 0.05
    return extract(loaded_mixture, mixed_contrast(), method=request.param, settings=settings)


def rare(lm: LoadedModel, found: Extraction) -> list[str]:
    """Experts that fewer tokens of a pole reach than the setting says, counted by the definition."""
    method = found.plus.provenance["method"]
    whole = method["name"] == "contrastive-saliency"
    counts = [by_expert(lm, mixed_contrast(), pole, whole=whole) for pole in ("plus", "minus")]
    least = method["parameters"]["expert_tokens"]
    return [name for name in counts[0] if min(counts[0][name], counts[1][name]) < least]


def edited(lm: LoadedModel, persona: Persona) -> set[str]:
    """Experts whose weights change while a persona is worn."""
    before = {name: view.weight.detach().clone() for name, view in views(lm).items()}
    with wear(lm, persona):
        return {
            name.rpartition(".")[0] for name, view in views(lm).items() if not torch.equal(view.weight, before[name])
        }


def test_rarely_seen_experts_stay_as_they_are_in_both_poles(lm: LoadedModel, found: Extraction) -> None:
    left = rare(lm, found)
    every = {name.rpartition(".")[0] for name in views(lm)}
    assert 0 < len(left) < len(every)
    for persona in (found.plus, found.minus):
        assert edited(lm, persona) == every - set(left)


def test_they_are_named_in_details_and_provenance(lm: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    (details,) = found.details.values()
    experts = details["experts"]
    assert experts["unmasked"] == rare(lm, found)
    assert experts["of"] == len(views(lm)) / 3
    assert experts["least_tokens"] == found.plus.provenance["method"]["parameters"]["expert_tokens"]
    for persona in (found.plus, found.minus):
        assert persona.provenance["experts"] == experts
        loaded = open_persona(persona.save(tmp_path / "saved.persona"))
        assert loaded.provenance["experts"] == experts
        assert loaded.edit.identity == persona.edit.identity


def test_the_saved_mask_is_rebuilt_without_them(lm: LoadedModel, found: Extraction, tmp_path: Path) -> None:
    if isinstance(found.plus.edit, SubnetworkEdit):
        pytest.skip("a subnetwork is not rebuilt")
    left = rare(lm, found)
    for persona in (found.plus, found.plus.packed(lm), found.minus):
        loaded = open_persona(persona.save(tmp_path / "saved.persona"))
        edit = mask_of(loaded)
        assert edit.unmasked == tuple(left)
        assert edit.masks(lm).checksum == mask_of(persona).checksum
        assert not any(name.rpartition(".")[0] in left for name in edit.masks(lm).bits)
        assert edit.describe()["mask"]["unmasked experts"] == len(left)
        if edit.recipe is not None:
            with refused("differs from the one that was saved"):
                MaskEdit(edit.sparsity, edit.checksum, recipe=edit.recipe).masks(lm)


def test_an_expert_the_model_does_not_have_is_refused(fresh_mixtral: LoadedModel) -> None:
    edit = mask_of(extract(fresh_mixtral, mixed_contrast(), method="wanda").plus)
    with refused("model.layers.0.mlp.experts.99", "made from"):
        MaskEdit(edit.sparsity, "", recipe=edit.recipe, unmasked=("model.layers.0.mlp.experts.99",)).masks(
            fresh_mixtral
        )


def test_controls_leave_the_same_experts_alone(lm: LoadedModel, found: Extraction) -> None:
    kind = kind_of(found.plus)
    assert kind is not None
    for pair in (
        kind.randomised(lm, found.plus, found.minus, 0, found.signatures),
        *(
            []
            if isinstance(found.plus.edit, SubnetworkEdit)
            else [rebuild(lm, found.signatures.shuffled(), found.plus, found.minus)]
        ),
    ):
        for persona in pair:
            assert persona.edit.identity not in (found.plus.edit.identity, found.minus.edit.identity)
            assert not edited(lm, persona) & set(rare(lm, found))


def test_the_default_threshold_and_none(lm: LoadedModel) -> None:
    found = extract(lm, mixed_contrast(), method="wanda")
    assert found.details["masks"]["experts"]["least_tokens"] == 128
    assert "expert_tokens" not in found.plus.provenance["method"]["parameters"]
    none = extract(lm, mixed_contrast(), method="wanda", signatures=found.signatures, settings={"expert_tokens": 0})
    assert none.details["masks"]["experts"]["unmasked"] == []
    assert mask_of(none.plus).unmasked == ()
    assert edited(lm, none.plus) == {name.rpartition(".")[0] for name in views(lm)}


def test_models_without_experts_say_nothing_of_them(tiny_llama: LoadedModel) -> None:
    found = extract(tiny_llama, mixed_contrast(), method="wanda")
    assert "experts" not in found.details["masks"]
    assert "experts" not in found.plus.provenance


def test_no_weight_left_to_choose_from(fresh_mixtral: LoadedModel) -> None:
    settings = {"expert_tokens": 10**6, "modules": "mlp"}
    with refused("all 8 experts are rarely seen", "more texts"):
        extract(fresh_mixtral, mixed_contrast(), method="contrastive-saliency", settings=settings)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("contrastive-tilt", "masks"), ("contrastive-saliency", "subnetwork"), ("sparsegpt", "sparsegpt")],
)
def test_the_command_names_them(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, kind: str
) -> None:
    command = ["extract", "--model", str(tiny_folders["mixtral"]), "--contrast", "extraversion", "--limit", "4"]
    command += ["--method", method, "--set", "expert_tokens=100000", "--out", str(tmp_path)]
    if method == "contrastive-saliency":
        command += ["--set", "share=0.01"]
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    experts = result[kind]["experts"]
    names = [f"model.layers.{layer}.mlp.experts.{number}" for layer in range(2) for number in range(EXPERTS)]
    assert experts["unmasked"] == names
    assert experts == open_persona(tmp_path / "plus.persona").provenance["experts"]
    assert run(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "8 of 8, seen by fewer than 100000 tokens of a pole" in text
    assert "model.layers.0.mlp.experts.0-3, model.layers.1.mlp.experts.0-3" in text
