"""``temperament roles``: role play as multiple choice and by reference answers, unworn and worn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import Device, Dtype, Json, Model, Revision, Seed
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.calibration.role_items import RoleChoice, RoleReference
    from temperament.evaluation.ledger import Ledger
    from temperament.personas import Plan


def command(
    items: Annotated[
        str,
        typer.Option(
            "--items",
            help="built-in for our six characters, or JSON lines: multiple choice {role, question, options, answer} or "
            "RoleBench {role, question, generated}. Example: --items rolebench.jsonl",
        ),
    ] = "built-in",
    role: Annotated[
        str | None,
        typer.Option("--role", help="The role that is worn; default: all items. Example: --role 'Orla Venn'"),
    ] = None,
    model: Model = "smollm2-135m",
    wear: Annotated[
        list[str] | None,
        typer.Option("--wear", help="Persona file and strength; repeatable. Example: --wear orla/plus.persona"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the record of every item, to go on from. Example: --out roles"),
    ] = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Test a role: who said this, which reply fits.

    Accuracy unworn and worn, beside option prior and chance.
    RoleBench files are measured by the likelihood of their reference answers, those of other roles beside. With --out
    an interrupted run goes on where it stopped when it is started again.
    """
    from temperament.calibration.builtin.characters import role_choices
    from temperament.calibration.role_items import RoleChoice, RoleReference, read_role_items
    from temperament.evaluation.ledger import Ledger
    from temperament.language_model import load
    from temperament.personas import Plan, read_plan

    found = role_choices() if items == "built-in" else read_role_items(Path(items).expanduser())
    roles = sorted({item.role for item in found})
    if role is not None and role not in roles:
        raise TemperamentError(f"no item is about {role!r}", f"use one of {', '.join(roles[:12])}")
    plan = Plan()
    for spec in wear or []:
        plan = plan + read_plan(spec, tell)
    if folder:
        ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    for persona, _ in plan.items:
        persona.check_model(lm)
    # first what may not fit: a prompt that is worn makes every item longer
    plans = ({"worn": plan} if plan.items else {}) | {"unworn": Plan()}
    choices = [item for item in found if isinstance(item, RoleChoice)]
    references = [item for item in found if isinstance(item, RoleReference)]
    with progress_steps() as progress:
        ledger = Ledger(lm, folder, progress)
        if choices:
            measured = _choices(ledger, [item for item in choices if role in (None, item.role)], plans, seed)
        else:
            measured = _references(ledger, references, role, plans, seed)
    kind = "choices" if choices else "references"
    if json_output:
        facts = {"name": lm.name, "revision": lm.revision, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype)}
        worn = [[persona.name, strength] for persona, strength in plan.items]
        print_json({"model": facts, "worn": worn, "role": role, "items": items, "seed": seed, kind: measured})
        return
    from temperament.report.role_tables import choice_table, reference_table

    title = f"{role or 'all roles'}, {lm.name}" + (f", worn: {plan}" if plan.items else "")
    out.print((choice_table if choices else reference_table)(measured, title))


def _choices(ledger: Ledger, items: Sequence[RoleChoice], plans: dict[str, Plan], seed: int) -> dict[str, Any]:
    from temperament.evaluation.role_choice import CONTEXTS, RoleChoices, role_summary

    forms = {context: RoleChoices(items, context) for context in CONTEXTS}
    sides = {
        side: dict(zip(CONTEXTS, ledger.run_all(list(forms.values()), plan, side), strict=True))
        for side, plan in plans.items()
    }
    return role_summary({side: sides[side] for side in reversed(sides)}, seed=seed)


def _references(
    ledger: Ledger, items: Sequence[RoleReference], role: str | None, plans: dict[str, Plan], seed: int
) -> dict[str, Any]:
    from temperament.evaluation.role_choice import RoleReferences, reference_change

    sides = {side: ledger.run(RoleReferences(items), plan, side) for side, plan in plans.items()}
    groups = {"all roles": None} if role is None else {role: True, "the other roles": False}
    found = {}
    for label, own in groups.items():
        kept = [index for index, item in enumerate(items) if own is None or (item.role == role) == own]
        if not kept:
            continue
        base, worn = ([sides[side][index] for index in kept] if side in sides else [] for side in ("unworn", "worn"))
        found[label] = {
            "n": len(kept),
            "unworn": sum(row["nats_per_token"] for row in base) / len(base),
            "change": reference_change(worn, base, seed=seed).as_json() if worn else None,
        }
    return found
