"""``temperament analyze restore``: which layers and Linears carry a persona's effect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder, write_json
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Model, Revision, Seed, Strength
from temperament.cli.personas import with_statistics, worn_strength
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.personas import Persona


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE [FILE]",
            help="The two poles of one extraction, or one persona against the unworn model; masks or subnetworks. "
            "Example: outgoing/plus.persona outgoing/minus.persona",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Statements to score: built-in name or file, of which the validation split is taken. Default: the "
            "built-in texts the persona was found in. Example: --data extraversion#test",
        ),
    ] = None,
    model: Model = "smollm2-135m",
    level: Annotated[
        str, typer.Option("--level", help="layers, linears, or both joined by a comma. Example: --level layers")
    ] = "layers,linears",
    only: Annotated[
        bool, typer.Option("--only", help="The reverse: wear the persona at one place only. Example: --only")
    ] = False,
    strength: Strength = None,
    limit: Annotated[
        int, typer.Option("--limit", min=2, help="A seeded sample of N statements per pole. Example: --limit 40")
    ] = 20,
    every: Annotated[bool, typer.Option("--all", help="All statements of the split. Example: --all")] = False,
    seed: Seed = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for records, figures, JSON; default: restore/ beside the first file. Example: --out restore",
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Which layer or Linear carries the effect.

    One at a time is restored; measured is how far the trait score goes back to the unworn model's.
    Every difference is taken statement by statement, with a 95 % interval of its own and one that is corrected for the
    number of places. An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.analyze.restore import LEVELS, restore
    from temperament.calibration import resolve_contrast
    from temperament.language_model import load
    from temperament.personas import open_persona
    from temperament.report.figures import pyplot
    from temperament.report.restore_report import restore_figure, restore_tables

    pyplot()  # a missing extra is told before anything is measured
    wanted = {part.strip() for part in level.split(",")}
    levels = [name for name in LEVELS if name in wanted]
    if wanted - set(LEVELS) or not levels:
        raise TemperamentError(f"--level {level}", f"use {' or '.join(LEVELS)}, or both joined by a comma")
    if len(files) > 2:
        raise TemperamentError(f"{len(files)} files were given", "give one persona, or the two poles of one extraction")
    opened = [(open_persona(path), path) for path in files]
    worn = {persona.pole: (persona, worn_strength(persona, path, strength)) for persona, path in opened}
    if len(worn) < len(files):
        raise TemperamentError(
            f"both files hold the {opened[0][0].pole} pole", "give the two poles of one extraction, or one file"
        )
    spec = data or _origin(opened[0][0])
    texts = resolve_contrast(spec, split="validation", limit=None if every else limit, seed=seed)
    for note in texts.notes:
        tell(note)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona, _ in worn.values():
        persona.check_model(lm)
    if len(files) == 2 and "layers" in levels:
        worn = {persona.pole: (with_statistics(persona, path), worn[persona.pole][1]) for persona, path in opened}
    place = ensure_folder(folder or files[0].parent / "restore")
    records = ensure_folder(place / "records")

    def expect(conditions: int, seconds: float) -> None:
        minutes = conditions * seconds / 60
        items = len(texts.plus) + len(texts.minus)
        tell(
            f"{conditions} conditions of {items} statements at {seconds:.1f} s: about {minutes:.0f} minutes, less "
            f"where records are kept in {records}"
        )

    with progress_steps() as progress:
        found = restore(
            lm, worn, texts, levels=levels, only=only, seed=seed, folder=records, progress=progress, expect=expect
        )
    name = "only" if only else "restore"
    figure, written = restore_figure(found, place / name), place / f"{name}.json"
    result = found.as_json()
    write_json(written, result)
    if json_output:
        print_json({**result, "figure": str(figure)})
        return
    for table in restore_tables(found):
        out.print(table)
        out.print()
    out.print(f"written: {figure}, {written}", soft_wrap=True)


def _origin(persona: Persona) -> str:
    from temperament.personas.origin import builtin_origin

    found = builtin_origin(persona)
    if found is None:
        raise TemperamentError(
            f"{persona.name!r} was not found in built-in texts, so what to score is not known", "give --data"
        )
    return found
