"""From what a user writes (built-in name, file, two files, with an optional #part) to a Contrast or a RolePlay."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from temperament.calibration.builtin import CONTRASTS, TRAITS, builtin_contrast, builtin_roleplay, find_trait
from temperament.calibration.contrast import SPLITS, Contrast, Split
from temperament.calibration.personality_bench import read_descriptions, read_questions
from temperament.calibration.public import FORMATS, read_contrast, read_pair
from temperament.calibration.roleplay import RolePlay
from temperament.errors import TemperamentError


def resolve_contrast(spec: str, *, split: Split = "calibration", limit: int | None = None, seed: int = 0) -> Contrast:
    """Read ``spec`` and return the ``split`` of it that a step works on.

    ``spec`` is a built-in name, a file, or ``PLUS,MINUS`` (two files), followed by ``#calibration``,
    ``#validation``, ``#test`` or ``#all`` to take another split. Items whose source does not name a split are
    divided 6 : 2 : 3 by a hash of their text. ``limit`` takes a seeded sample of that many items per pole.
    """
    source, mark, wanted = spec.rpartition("#")
    if not mark or os.path.isfile(_path(spec)):  # a file may have a # in its name
        source = spec
    elif wanted in SPLITS:
        split = wanted
    else:
        raise TemperamentError(f"unknown split {wanted!r} in {spec!r}", f"use one of {', '.join(SPLITS)} after the #")
    contrast = _read(source).select(split)
    if not contrast.plus or not contrast.minus:
        raise TemperamentError(
            f"the {split} split of {source!r} has {len(contrast.plus)} plus and {len(contrast.minus)} minus items",
            f"add texts, or take the whole file with '{source}#all' where one part is enough",
        )
    return contrast.limit(limit, seed)


#: Texts per pole below which chance decides what is found, or how the figures come out.
_FEW = 20


def few_texts(contrast: Contrast) -> str | None:
    """A warning about a contrast of a user's own with few texts; None with enough, and for built-in ones."""
    fewest = min(contrast.items.values())
    if fewest >= _FEW or contrast.name in CONTRASTS:
        return None
    means = "figures this uncertain say little" if contrast.split == "test" else "much of what is found is chance"
    part = "whole" if contrast.split == "all" else f"{contrast.split} part"
    return (
        f"{contrast.name}: the {part} has {fewest} texts of a pole, and below {_FEW} {means}; give at least some 40 "
        "lines a pole (a file is cut 6 : 2 : 3 into calibration, validation and test), 100 for figures to quote"
    )


def _read(source: str) -> Contrast:
    if source in CONTRASTS:
        return builtin_contrast(source)
    path = _path(source)
    if os.path.isfile(path):
        contrast = read_contrast(path)
        trait = find_trait(path.stem)  # a public file on a built-in trait: the written prompts fit its poles
        return replace(contrast, prompts=trait.prompts) if trait else contrast
    pair = [_path(part.strip()) for part in source.split(",")]
    if len(pair) == 2:
        for part in pair:
            if not os.path.isfile(part):
                raise TemperamentError(f"there is no contrast file {str(part)!r}", "check the path")
        return read_pair(pair[0], pair[1])
    if source and os.path.isdir(path):
        raise TemperamentError(f"{source!r} is a folder", f"give a file: {FORMATS}")
    names = ", ".join(CONTRASTS)
    raise TemperamentError(
        f"there is no built-in contrast and no file {source!r}", f"check the path, or use one of {names}"
    )


def resolve_roleplay(spec: str, *, limit: int | None = None, seed: int = 0) -> RolePlay:
    """Read descriptions and questions to act out.

    ``spec`` is a built-in trait, or ``DESCRIPTIONS,QUESTIONS`` (two files), followed by ``#TRAIT`` where they hold
    several. ``limit`` takes a seeded sample of that many scenes per pole.
    """
    if find_trait(spec):
        return builtin_roleplay(spec).limit(limit, seed)
    source, mark, trait = spec.rpartition("#")
    if not mark:
        source, trait = spec, ""
    files = [_path(part.strip()) for part in source.split(",")]
    if len(files) != 2:
        raise TemperamentError(
            f"{spec!r} is not something to act out",
            f"use one of {', '.join(trait.name for trait in TRAITS)}, or two files DESCRIPTIONS,QUESTIONS[#TRAIT]",
        )
    for path in files:
        if not path.is_file():
            raise TemperamentError(f"there is no file {str(path)!r}", "check the path")
    poles = read_descriptions(files[0], trait or None)
    asked = read_questions(files[1], trait or None)
    known = find_trait(trait.lower())
    name = trait.lower() or files[0].stem
    prompts = known.prompts if known else None
    return RolePlay(name, poles["plus"], poles["minus"], asked, prompts=prompts).limit(limit, seed)


def _path(text: str) -> Path:
    """``~`` expanded; unlike ``Path.expanduser``, an unknown user is no exception but a file that is not there."""
    return Path(os.path.expanduser(text))
