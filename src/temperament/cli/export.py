"""``temperament export``: an ordinary checkpoint with a persona baked in, made smaller by its mask, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from temperament.atomic import check_new_folder, ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Limit, Model, Revision, Seed
from temperament.cli.personas import with_statistics
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.calibration import Contrast
    from temperament.personas import Plan


def command(
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder of the checkpoint; it must not exist or be empty. Example: --out outgoing"),
    ],
    model: Model = "smollm2-135m",
    wear: Annotated[
        list[str] | None,
        typer.Option(
            "--wear",
            help="Mask or subnetwork persona and strength (default: its dial's, else 1); repeatable. "
            "Example: --wear outgoing/plus.persona:0.8",
        ),
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Bake what is worn into the weights. Example: --merged")
    ] = False,
    structured: Annotated[
        float,
        typer.Option(
            "--structured",
            help="Share of the MLP channels of every block to remove: those that matter least in what is worn. "
            "Example: --structured 0.25",
        ),
    ] = 0.0,
    heads: Annotated[
        float,
        typer.Option(
            "--heads",
            help="Share of the attention heads of every block to remove, at most; as the family's config allows. "
            "Example: --heads 0.34",
        ),
    ] = 0.0,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="The other pole, cut by its own mask, for the separation. Example: --against outgoing/minus.persona",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="With --against: test texts; default: the built-in texts the pair was found in. "
            "Example: --data extraversion",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also time generation, dense and smaller in turn. Example: --measure")
    ] = False,
    limit: Limit = None,
    seed: Seed = 0,
    records: Annotated[
        Path | None,
        typer.Option(
            "--records", help="Folder for per-item records; default: OUT-records. Example: --records outgoing-records"
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Write a checkpoint that plain transformers loads.

    Its weights are of the type the model was loaded in.
    --merged bakes masks and subnetworks in. --structured removes MLP channels by what the worn masks keep of them, and
    prints what that does and costs beside other ways to remove as many. An interrupted run leaves no folder; it goes on
    with its figures when it is started again.
    """
    from temperament.evaluation.ledger import Ledger
    from temperament.export import export, plan_sizes, read_worn, smaller
    from temperament.export.measure import measure as measure_rows
    from temperament.export.measure import speed, speed_figures, variants
    from temperament.language_model import load

    cutting = bool(structured or heads)
    if not (merged or cutting):
        raise TemperamentError("nothing says what to export", "give --merged, --structured 0.25, or both")
    if merged and not wear:
        raise TemperamentError("--merged without a persona", "give one with --wear FILE")
    if not cutting and (against or measure):
        raise TemperamentError(
            "a merged checkpoint does what wearing does", "give --against and --measure to --structured"
        )
    if not against and (data or limit is not None):
        raise TemperamentError("test texts without a pair to measure on them", "give the other pole with --against")
    if records and not cutting:
        raise TemperamentError("--records without figures", "leave it out: a merged checkpoint is not measured")
    check_new_folder(folder)
    plan = read_worn(wear or [], tell)
    if merged and not any(strength for _, strength in plan.items):
        tell("all is worn at strength 0: the weights stay as they are")
    other = read_worn([against], tell) if against else None
    test = _texts(plan, other, data, limit, seed) if other else None
    if other:
        plan = _with_statistics(plan, wear or [])
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona, _ in (*plan.items, *(other.items if other else ())):
        persona.check_model(lm)
    if not cutting:
        with working(f"writing {folder}"):
            facts = export(lm, plan, folder)
        _print(folder, facts, None, json_output)
        return
    sizes = plan_sizes(lm, structured, heads)
    with progress_steps() as progress:
        cut, rows = variants(lm, plan, other, sizes, merged=merged, seed=seed, progress=progress)
        ledger = Ledger(lm, ensure_folder(records or folder.parent / f"{folder.name}-records"), progress)
        minus = bool(plan.items) and plan.items[0][0].pole == "minus"
        found = measure_rows(ledger, rows, test, minus=minus, seed=seed)
    timed = None
    if measure:
        with working("timing generation"):
            rounds = 7
            timed = speed_figures(speed(lm.model, smaller(lm, cut), rounds), rounds)
    figures: dict[str, Any] = {name: row.as_json() for name, row in found.items()}
    if timed:
        figures["tokens_per_second"] = timed
    with working(f"writing {folder}"):
        facts = export(lm, plan, folder, merged=merged, cut=cut, figures=figures)
    from temperament.report.export_table import export_table

    _print(folder, {**facts, "figures": figures}, export_table(facts, found, timed), json_output)


def _with_statistics(plan: Plan, specs: list[str]) -> Plan:
    """A plan of one file with the statistics that its random control needs, where they are kept."""
    from temperament.personas import Plan
    from temperament.personas.spec import split_strength

    (persona, strength), (spec,) = plan.items[0], specs
    return Plan.of(with_statistics(persona, Path(split_strength(spec)[0])), strength)


def _texts(plan: Plan, other: Plan, data: str | None, limit: int | None, seed: int) -> Contrast:
    """Test statements of the pair; an error unless both plans are its poles."""
    from temperament.calibration import resolve_contrast
    from temperament.export.measure import pair_of
    from temperament.personas.origin import builtin_origin

    plus, _ = pair_of(plan, other)
    spec = data or builtin_origin(plus.items[0][0])
    if spec is None:
        raise TemperamentError(
            "the pair was not found in built-in texts, so what to measure it on is not known", "give --data"
        )
    test = resolve_contrast(spec, split="test", limit=limit, seed=seed)
    for note in test.notes:
        tell(note)
    return test


def _print(folder: Path, facts: dict[str, Any], table: Any, json_output: bool) -> None:
    size = sum(file.stat().st_size for file in folder.iterdir())
    if json_output:
        print_json({"folder": str(folder), "bytes": size, **facts})
        return
    if table is not None:
        out.print(table)
    count = facts["parameters"]["to"]
    out.print(
        f"{folder}: {count / 1e6:.1f} M parameters in {facts['model']['dtype']}, {size / 1e6:.1f} MB; "
        "AutoModelForCausalLM.from_pretrained reads it",
        soft_wrap=True,
    )
