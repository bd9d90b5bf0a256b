"""Description personas: what the prompts say, their controls, folders and files, and the evaluation of a pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from expect import refused
from support import OUTGOING, RESERVED, mixed_contrast

from temperament.calibration import resolve_contrast, resolve_roleplay
from temperament.calibration.builtin import descriptions, neutral_texts
from temperament.calibration.contrast import group_key
from temperament.evaluation import evaluate
from temperament.evaluation.controls import random_pair, shuffled_pair
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, PromptEdit, extract, open_persona
from temperament.personas.kinds import METHOD_KINDS
from temperament.signatures.texts import TextPair, load_texts, save_texts


def text(persona: Persona) -> str:
    assert isinstance(persona.edit, PromptEdit)
    return persona.edit.text


def body(persona: Persona) -> list[str]:
    """What stands between the opening and the closing sentence."""
    return text(persona).split("\n\n")[1:-1]


def described(lm: LoadedModel, count: int = 2, folder: Path | None = None) -> Extraction:
    return extract(lm, mixed_contrast(), method="description", settings={"count": count}, folder=folder)


def test_a_trait_is_described_by_matched_descriptions(tiny_llama: LoadedModel) -> None:
    found = extract(tiny_llama, resolve_contrast("extraversion-scenes", limit=4), method="description")
    plus, minus = descriptions("extraversion")
    chosen = [plus.index(part) for part in body(found.plus)]
    assert len(chosen) == 3
    assert body(found.minus) == [minus[index] for index in chosen]
    assert found.details["description"]["from"] == "descriptions"
    assert found.plus.groups == {group_key(line) for line in (*plus, *minus)}
    other = extract(tiny_llama, resolve_contrast("extraversion", limit=4), method="description", seed=7)
    assert body(other.plus) != body(found.plus)


def test_other_texts_are_quoted(tiny_llama: LoadedModel) -> None:
    found = described(tiny_llama, count=2)
    assert len(body(found.plus)) == len(body(found.minus)) == 2
    assert set(body(found.plus)) < set(OUTGOING)
    assert set(body(found.minus)) < set(RESERVED)
    assert text(found.plus).split("\n\n")[0] != text(extract_trait(tiny_llama)).split("\n\n")[0]
    assert found.plus.groups == mixed_contrast().group_keys
    assert len(body(described(tiny_llama, count=50).plus)) == 5


def extract_trait(lm: LoadedModel) -> Persona:
    return extract(lm, resolve_contrast("extraversion", limit=4), method="description").plus


def test_a_file_named_like_a_trait_is_described_by_its_own_texts(tiny_llama: LoadedModel) -> None:
    found = extract(tiny_llama, replace(mixed_contrast(), name="extraversion"), method="description")
    assert set(body(found.plus)) < set(OUTGOING)


def test_a_role_to_play_is_described_by_its_descriptions(tiny_llama: LoadedModel) -> None:
    found = extract(tiny_llama, resolve_roleplay("openness"), method="description", settings={"count": 1})
    assert body(found.plus)[0] in descriptions("openness")[0]


def test_shuffled_prompts_mix_the_poles(tiny_llama: LoadedModel) -> None:
    found = described(tiny_llama, count=5)
    pair = found.signatures.shuffled()
    assert isinstance(pair, TextPair)
    plus, minus = shuffled_pair(tiny_llama, found.plus, found.minus, found.signatures)
    for persona in (plus, minus):
        assert set(body(persona)) & set(OUTGOING)
        assert set(body(persona)) & set(RESERVED)
    assert sorted(e.response for e in (*pair.plus, *pair.minus)) == sorted(OUTGOING + RESERVED)
    assert {len(pair.plus), len(pair.minus)} == {6, 4}
    assert pair.hash != found.signatures.hash


def test_random_prompts_are_neutral_and_as_long(tiny_llama: LoadedModel) -> None:
    found = described(tiny_llama)
    plus, minus = random_pair(tiny_llama, found.plus, found.minus, 0)
    words = " ".join(neutral_texts())
    for made, given in ((plus, found.plus), (minus, found.minus)):
        assert len(text(made).split()) == len(text(given).split())
        assert body(made)[0][:20] in words
        assert text(made).split("\n\n")[0] == text(given).split("\n\n")[0]
    assert text(plus) == text(random_pair(tiny_llama, found.plus, found.minus, 0)[0])
    assert len({text(plus), text(minus), text(random_pair(tiny_llama, found.plus, found.minus, 1)[0])}) == 3


def test_a_pair_is_evaluated_with_all_controls(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    found = described(tiny_llama, count=1, folder=tmp_path)
    test = replace(mixed_contrast(), name="other")
    with refused("texts of statements were used to calibrate"):
        evaluate(tiny_llama, found.plus, found.minus, test, measures=("separation",))
    plus, minus = (open_persona(p.save(tmp_path / f"{p.pole}.persona")) for p in (found.plus, found.minus))
    assert (plus, minus) == (found.plus, found.minus)
    test = resolve_contrast("extraversion#test", limit=2)
    pair = METHOD_KINDS["description"].load(tmp_path)
    result = evaluate(tiny_llama, plus, minus, test, measures=("separation",), signatures=pair)
    worn = result.measures["separation"].value
    assert worn != 0
    assert result.controls["unworn"]["separation"].value == 0
    assert result.controls["swapped"]["separation"].value == pytest.approx(-worn)
    assert {"random-0", "random-1", "random-2", "shuffled", "prompt"} < set(result.controls)
    assert tiny_llama.system_prompt is None


def test_texts_are_kept_and_reused(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    found = described(tiny_llama, folder=tmp_path)
    stamp = (tmp_path / "texts.safetensors").stat().st_mtime_ns
    again = described(tiny_llama, folder=tmp_path)
    assert (tmp_path / "texts.safetensors").stat().st_mtime_ns == stamp
    assert (again.plus, again.signatures) == (found.plus, found.signatures)
    assert again.signatures.hash == load_texts(tmp_path).hash == described(tiny_llama).signatures.hash
    other = extract(tiny_llama, mixed_contrast(), method="description", seed=1, folder=tmp_path)
    assert other.signatures.hash != found.signatures.hash
    assert load_texts(tmp_path).hash == other.signatures.hash


def test_damaged_texts_are_collected_anew(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    found = described(tiny_llama, folder=tmp_path)
    file = tmp_path / "texts.safetensors"
    file.write_bytes(file.read_bytes().replace(b"party", b"Party"))
    with refused("texts file", "damaged"):
        load_texts(tmp_path)
    assert described(tiny_llama, folder=tmp_path).signatures == found.signatures
    pair = found.signatures
    assert isinstance(pair, TextPair)
    wrong = {"plus": "many"}
    save_texts(replace(pair, tokens=wrong), tmp_path)  # type: ignore[arg-type]
    with refused("tokens.plus", "delete it"):
        load_texts(tmp_path)


def test_refusals(tiny_llama: LoadedModel, tiny_extraction: Extraction) -> None:
    with refused("no sparsity"):
        extract(tiny_llama, mixed_contrast(), method="description", sparsity=0.1)
    with refused("whole responses", "--tokens response"):
        extract(tiny_llama, mixed_contrast(), method="description", tokens="all")
    with refused("setting 'count'"):
        described(tiny_llama, count=0)
    with refused("another kind of method"):
        extract(tiny_llama, mixed_contrast(), method="description", signatures=tiny_extraction.signatures)
    found = described(tiny_llama)
    with refused("another data"):
        extract(tiny_llama, resolve_contrast("openness"), method="description", signatures=found.signatures)
