"""What several subcommands do with the persona files they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from temperament.cli.console import tell

if TYPE_CHECKING:
    from temperament.personas import Persona


def worn_strength(persona: Persona, path: Path, given: float | None) -> float:
    """What was asked for, if the persona takes it, else what was dialled, else 1."""
    from temperament.personas import Plan
    from temperament.personas.spec import usual_plan

    plan = usual_plan(persona, str(path), tell) if given is None else Plan.of(persona, given)
    return plan.items[0][1]


def open_labelled(paths: Sequence[Path]) -> dict[str, Persona]:
    """Personas by name; where two have the same one, by folder and file, or else by path."""
    from temperament.personas import open_persona

    personas = [open_persona(path) for path in paths]
    labels: list[list[str]] = [
        [persona.name for persona in personas],
        [f"{path.resolve().parent.name}/{path.stem}" for path in paths],
        [str(path) for path in paths],
        [f"{path} ({number})" for number, path in enumerate(paths, 1)],
    ]
    unique = next(names for names in labels if len(set(names)) == len(names))
    return dict(zip(unique, personas, strict=True))


def signature_folder(persona: Persona, path: Path) -> Path:
    """Where the statistics of a persona's extraction lie, as every command keeps them: beside its file, or by kind.

    ``demo`` and ``compare`` share statistics between methods: in DIR/signatures/KIND, with personas in DIR/NAME or
    DIR/personas/NAME. Where there are none: the folder beside the file.
    """
    from temperament.personas.kinds import kind_of

    beside, kind = path.parent / "signatures", kind_of(persona)
    above = [folder / "signatures" / kind.name for folder in path.resolve().parents[:3]] if kind else []
    for place in (beside, *above):
        # a folder that holds folders by kind is none of statistics
        if place.is_dir() and any(entry.is_file() for entry in place.iterdir()):
            return place
    return beside


def with_statistics(persona: Persona, path: Path) -> Persona:
    """The persona with its statistics, where its random control needs them and they are there."""
    from temperament.personas.kinds import kind_of

    kind, folder = kind_of(persona), signature_folder(persona, path)
    if kind is None or not kind.random_needs(persona):
        return persona
    if not folder.is_dir():
        tell(f"{path} has no random control: there is no folder {folder} with the statistics of its extraction")
        return persona
    pair = kind.load(folder)
    if persona.provenance.get("signatures") != pair.hash:
        tell(f"{path} has no random control: {folder} holds the statistics of another extraction")
        return persona
    return replace(persona, signatures=pair)
