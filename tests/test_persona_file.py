"""The persona file: exact round trips, atomic writes, and no damage that opens or raises anything but our error."""

from __future__ import annotations

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from expect import refused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made import KINDS, made, prompt_persona, recipe_persona

from temperament.calibration import NEUTRAL_PROMPT, Contrast, Example
from temperament.container import read_container, write_container
from temperament.methods import Recipe, SparsityPlan
from temperament.methods.recipe import RULES
from temperament.models import LoadedModel
from temperament.personas import (
    MaskEdit,
    PackedMasks,
    Persona,
    PromptEdit,
    extract,
    open_persona,
    save_persona,
)


def same(first: Persona, second: Persona) -> bool:
    """Equal in everything a file holds, tensors bit by bit."""
    if (first.name, first.pole, first.kind) != (second.name, second.pole, second.kind):
        return False
    if first.provenance != second.provenance or first.groups != second.groups:
        return False
    a, b = first.edit, second.edit
    if not isinstance(a, MaskEdit) or not isinstance(b, MaskEdit):
        return a == b  # a neuron edit is compared by all it holds
    if (a.sparsity, a.checksum) != (b.sparsity, b.checksum) or (a.recipe is None) != (b.recipe is None):
        return False
    if a.recipe is not None and b.recipe is not None:
        return (a.recipe.rule, a.recipe.pole, a.recipe.block, a.recipe.vectors.numpy().tobytes()) == (
            b.recipe.rule,
            b.recipe.pole,
            b.recipe.block,
            b.recipe.vectors.numpy().tobytes(),
        )
    assert a.packed is not None
    assert b.packed is not None
    return [*a.packed.bits] == [*b.packed.bits] and all(
        map(torch.equal, a.packed.bits.values(), b.packed.bits.values())
    )


# --- round trips -----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
COMMON: dict[str, Any] = {
    "name": st.text(max_size=40),
    "pole": st.sampled_from(["plus", "minus"]),
    "provenance": st.dictionaries(st.text(max_size=12), VALUES, max_size=4),
    "groups": st.frozensets(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=5),
}
SPARSITY = st.dictionaries(
    st.sampled_from(["default", "attention", "mlp", "q_proj", "layers.0-9", "mlp.layers.10-19"]),
    st.decimals(0, 1, allow_nan=False, places=3).filter(lambda ratio: ratio < 1).map(str),
    max_size=3,
).map(SparsityPlan.of)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    rule = draw(st.sampled_from(list(RULES)))
    shape = (RULES[rule], draw(st.integers(1, 40)))
    least = None if rule == "tiered" else 0.0
    values = arrays.arrays(
        np.float32, shape, elements=st.floats(least, allow_nan=False, allow_infinity=False, width=32)
    )
    block = draw(st.none() | st.integers(2, 64)) if rule == "product" else None
    return Recipe(rule, draw(COMMON["pole"]), torch.from_numpy(draw(values)), block)


@st.composite
def packed_masks(draw: st.DrawFn) -> PackedMasks:
    shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))
    bits = shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape)).map(torch.from_numpy)
    return PackedMasks(draw(st.dictionaries(st.text(max_size=12), bits, max_size=4)))


@st.composite
def personas(draw: st.DrawFn) -> Persona:
    common = {name: draw(strategy) for name, strategy in COMMON.items()}
    match draw(st.sampled_from(KINDS)):
        case "recipe":
            recipe = draw(recipes())
            return Persona(**{**common, "pole": recipe.pole}, edit=MaskEdit(draw(SPARSITY), "c" * 64, recipe=recipe))
        case "packed":
            packed = draw(packed_masks())
            return Persona(**common, edit=MaskEdit(draw(SPARSITY), packed.checksum, packed=packed))
    return Persona(**common, edit=PromptEdit(draw(st.text(max_size=60))))


@given(personas())
@example(Persona.from_prompt("0" * 64, name="0" * 64))
@example(replace(recipe_persona(), name="0" * 64, provenance={"sha256": "0" * 64}))
@settings(max_examples=150, deadline=None)
def test_what_is_opened_is_what_was_saved(tmp_path_factory: pytest.TempPathFactory, persona: Persona) -> None:
    folder = tmp_path_factory.getbasetemp()
    opened = open_persona(persona.save(folder / "first.persona"))
    assert same(opened, persona)
    opened.save(folder / "second.persona")
    assert (folder / "second.persona").read_bytes() == (folder / "first.persona").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_saving_twice_gives_the_same_file(tmp_path: Path, kind: str) -> None:
    first, second = (made(kind).save(tmp_path / name).read_bytes() for name in ("a.persona", "b.persona"))
    assert first == second


def test_packed_bits_of_files_that_do_not_compress_them(tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    persona = made("packed")
    path = persona.save(tmp_path / "packed.persona")
    tensors, header = read_container(path, kind="file", remedy="none")
    assert isinstance(persona.edit, MaskEdit)
    assert persona.edit.packed is not None
    del header["mask"]["packing"], header["sha256"]
    flat = torch.cat([bits.flatten() for bits in persona.edit.packed.bits.values()])
    write_container(path, {**tensors, "bits": flat}, header)
    assert same(open_persona(path), persona)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with refused("there is no persona file", "none.persona", "check the path"):
        open_persona(tmp_path / "none.persona")
    with refused(str(tmp_path), "cannot be read"):
        open_persona(tmp_path)


# --- on a model ------------------------------------------------------------------------------------------------------


def small_contrast() -> Contrast:
    def pole(*texts: str) -> tuple[Example, ...]:
        return tuple(Example(NEUTRAL_PROMPT, text, text) for text in texts)

    return Contrast(
        "small", pole("I dance.", "We sing!", "Come in, all of you."), pole("I read.", "Hush now.", "Alone.")
    )


@pytest.mark.parametrize("method", ["contrastive-tilt", "contrastive-wanda", "contrastive-sparse"])
def test_masks_of_an_opened_persona_are_the_extracted_ones(
    tmp_path: Path, tiny_llama: LoadedModel, method: str
) -> None:
    done = extract(tiny_llama, small_contrast(), method=method, sparsity=0.3)
    for persona in (done.plus, done.minus):
        assert isinstance(persona.edit, MaskEdit)
        expected = persona.edit.masks(tiny_llama)
        for form in (persona, persona.packed(tiny_llama)):
            opened = open_persona(form.save(tmp_path / "x.persona"))
            assert same(opened, form)
            assert isinstance(opened.edit, MaskEdit)
            opened.check_model(tiny_llama)
            assert opened.edit.masks(tiny_llama).checksum == expected.checksum


def test_a_recipe_whose_mask_comes_out_differently_is_refused(tmp_path: Path, tiny_llama: LoadedModel) -> None:
    persona = extract(tiny_llama, small_contrast()).plus
    assert isinstance(persona.edit, MaskEdit)
    assert persona.edit.recipe is not None
    altered = replace(persona.edit.recipe, vectors=persona.edit.recipe.vectors.flip(1))
    edit = MaskEdit(persona.edit.sparsity, persona.edit.checksum, recipe=altered)
    opened = open_persona(replace(persona, edit=edit).save(tmp_path / "x.persona"))
    assert isinstance(opened.edit, MaskEdit)
    with refused("the mask rebuilt from this persona differs", "extract again"):
        opened.edit.masks(tiny_llama)


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_files_are_small(tmp_path: Path) -> None:
    """A 7B Llama has 32 · (3 · 4096 + 11008) Linear inputs: 3 MB as a recipe, where bools would take 6.5 GB."""
    inputs = 32 * (3 * 4096 + 11008)
    large = recipe_persona(inputs=inputs, groups=240)
    assert large.save(tmp_path / "7b.persona").stat().st_size < 4 * inputs + 240 * 8 + 2048 < 3_100_000
    assert prompt_persona().save(tmp_path / "prompt.persona").stat().st_size < 1024
    packed = PackedMasks({"a": torch.zeros(1000, 125, dtype=torch.uint8), "b": torch.ones(1000, 1, dtype=torch.uint8)})
    wide = Persona("wide", "plus", MaskEdit(SparsityPlan.of(0.5), packed.checksum, packed=packed))
    assert wide.save(tmp_path / "packed.persona").stat().st_size < 126_000 + 1024


# --- atomic writes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("before", [None, b"an older file"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: bytes | None
) -> None:
    path = tmp_path / "x.persona"
    if before is not None:
        path.write_bytes(before)

    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with refused(str(path), "cannot be written: No space left on device", "free disk space"):
        prompt_persona().save(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.persona"
    path.write_bytes(b"an older file")

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prompt_persona().save(path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"an older file"]


def test_an_impossible_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.persona").mkdir()
    for path in (tmp_path / "file" / "x.persona", tmp_path / "folder.persona", tmp_path / f"{'x' * 300}.persona"):
        with refused(str(path), "cannot be written"):
            prompt_persona().save(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.persona"]


def test_a_new_file_replaces_an_old_one_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.persona"
    for persona in (recipe_persona(), prompt_persona()):
        assert save_persona(persona, path) == path
        assert same(open_persona(path), persona)
        assert [file.name for file in path.parent.iterdir()] == ["x.persona"]


# --- no pickles ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(torch, "load", forbidden)


@pytest.mark.usefixtures("no_pickles")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_unpickled(tmp_path: Path, kind: str) -> None:
    assert same(open_persona(made(kind).save(tmp_path / "x.persona")), made(kind))


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.flag),)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, form: str) -> None:
    path, flag = tmp_path / "x.persona", tmp_path / "exploded"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Bomb(flag)))
    else:
        torch.save({"importance": Bomb(flag)}, path)
    with refused(str(path), "is not a persona file"):
        open_persona(path)
    assert not flag.exists()
