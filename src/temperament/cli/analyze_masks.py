"""``temperament analyze masks``: what masks and subnetworks share, and where they act."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Limit, Model, Revision, Seed, Strength
from temperament.cli.personas import open_labelled, with_statistics, worn_strength
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.calibration import Example
    from temperament.personas import Persona

#: Says that nothing is to be run through the model.
_NO_TEXTS = "none"


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Two or more masks or subnetworks of one model. Example: outgoing/*.persona"
        ),
    ],
    model: Model = "smollm2-135m",
    texts: Annotated[
        str | None,
        typer.Option(
            "--texts",
            "--contrast",
            help="Texts for hidden states: built-in name or file, of which the test split is taken, or none. Default: "
            "the built-in texts the personas were found in, if they were. Example: --texts extraversion",
        ),
    ] = None,
    strength: Strength = None,
    random: Annotated[
        int, typer.Option("--random", min=0, max=10, help="Random controls of every opposite pair. Example: --random 3")
    ] = 1,
    limit: Limit = None,
    seed: Seed = 0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Draw figures into this folder, PNG and SVG. Example: --out masks")
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """What masks share and what tells them apart.

    Differential ratio, Jaccard index, hidden states by layer, and which layers and modules tell personas apart.
    Every figure stands beside what chance gives, and for opposite poles beside a random pair of the same size.
    """
    from temperament.analyze.masks import analyze_masks
    from temperament.language_model import load
    from temperament.report.mask_tables import mask_tables

    if len(files) < 2:
        raise TemperamentError("one persona has nothing to be compared with", "give two or more files")
    personas = open_labelled(files)
    examples = _examples(personas, texts, limit, seed)
    strengths = {
        name: worn_strength(persona, path, strength)
        for (name, persona), path in zip(personas.items(), files, strict=True)
    }
    if folder:
        from temperament.report.figures import pyplot

        pyplot()  # a missing extra is told before anything is measured
        ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona in personas.values():
        persona.check_model(lm)
    if random:
        personas = {
            name: with_statistics(persona, path) for (name, persona), path in zip(personas.items(), files, strict=True)
        }
    with progress_steps() as progress:
        analysis = analyze_masks(lm, personas, examples, strengths=strengths, seeds=range(random), progress=progress)
    drawn = []
    if folder:
        from temperament.report.mask_figures import mask_figures

        drawn = mask_figures(analysis, folder)
    if json_output:
        print_json({**analysis.as_json(), "figures": [str(path) for path in drawn]})
        return
    for table in mask_tables(analysis):
        out.print(table)
        out.print()
    for path in drawn:
        out.print(f"figure: {path}", soft_wrap=True)


def _examples(personas: dict[str, Persona], texts: str | None, limit: int | None, seed: int) -> list[Example]:
    """The texts asked for, or those the personas were found in; a remark where there are none or they are not new."""
    from temperament.calibration import resolve_contrast
    from temperament.calibration.contrast import group_key
    from temperament.personas.origin import builtin_origin

    if texts == _NO_TEXTS:
        return []
    found = [texts] if texts else [builtin_origin(persona) for persona in personas.values()]
    names = list(dict.fromkeys(name for name in found if name))
    if not names:
        tell("no hidden states: the personas were not found in built-in texts; give --texts")
    contrasts = [resolve_contrast(name, split="test", limit=limit, seed=seed) for name in names]
    for contrast in contrasts:
        for note in contrast.notes:
            tell(note)
    examples = [example for contrast in contrasts for example in (*contrast.plus, *contrast.minus)]
    seen = frozenset().union(*(persona.groups for persona in personas.values()))
    known = sum(group_key(example.group) in seen for example in examples)
    if known:
        tell(f"{known} of {len(examples)} texts were used to calibrate or tune the personas: take another split")
    return examples
