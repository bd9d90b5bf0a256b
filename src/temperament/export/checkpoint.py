"""Write an ordinary checkpoint with what is worn baked in, cut smaller, or both, and a note of where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from temperament.atomic import finite, new_folder
from temperament.errors import TemperamentError
from temperament.export.cut import Cut
from temperament.export.sizes import Sizes
from temperament.export.smaller import smaller
from temperament.models import LoadedModel
from temperament.models.load import quiet
from temperament.personas import MaskEdit, Persona, Plan, SubnetworkEdit, package_versions, read_plan
from temperament.personas.spec import Note
from temperament.wear import wear

#: The note beside the weights.
NOTE = "temperament.json"
FORMAT_VERSION = 1


def read_worn(specs: Sequence[str], note: Note | None = None) -> Plan:
    """The plan of several ``FILE[:STRENGTH]``; an error unless all of it can be baked into weights."""
    plan = Plan()
    for spec in specs:
        plan = plan + read_plan(spec, note)
    check_exportable(plan)
    return plan


def check_exportable(plan: Plan) -> None:
    """Raise unless every persona of the plan is a change of weights that were there before."""
    for persona, _ in plan.active:
        if not isinstance(persona.edit, MaskEdit | SubnetworkEdit):
            raise TemperamentError(
                f"{persona.name!r} is a {persona.kind} persona: only masks and subnetworks can be exported",
                "merge the adapter with PEFT"
                if persona.kind == "lora"
                else "wear it at run time, with chat --wear or lm.wear()",
            )


def export(
    lm: LoadedModel,
    plan: Plan,
    folder: Path,
    *,
    merged: bool = True,
    cut: Cut | None = None,
    figures: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a checkpoint to ``folder``, which must not exist or be empty; returns the note that lies beside it.

    ``merged`` bakes the plan in; without it the plan only says what the ``cut`` was chosen by. The weights keep the
    type of ``lm``. ``figures`` go into the note. The folder is complete or not there at all.
    """
    check_exportable(plan)
    if not merged and cut is None:
        raise TemperamentError("neither a merged nor a smaller checkpoint was asked for", "ask for one of them")
    facts = _facts(lm, plan, merged)
    if cut:
        facts["structured"] = {"from": _sizes(Sizes.of(lm)), "to": _sizes(cut.sizes)}
    with wear(lm, plan if merged else None):
        model = smaller(lm, cut) if cut else lm.model
        facts["parameters"] = {"from": parameters(lm.model), "to": parameters(model)}
        _write(lm, model, folder, {**facts, **({"figures": figures} if figures else {})})
    return facts


def _write(lm: LoadedModel, model: PreTrainedModel, folder: Path, note: Mapping[str, Any]) -> None:
    with new_folder(folder) as work:
        try:
            with quiet():
                model.save_pretrained(work)
                lm.tokenizer.save_pretrained(work)
        except ValueError as error:  # a generation config that transformers loads and does not write
            reason = " ".join(str(error).split())[:200]
            raise TemperamentError(f"the model cannot be saved: {reason}", "correct its generation_config") from None
        text = json.dumps(finite(note), ensure_ascii=False, indent=2)
        (work / NOTE).write_text(text + "\n", encoding="utf-8")


def parameters(model: PreTrainedModel) -> int:
    """Number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _facts(lm: LoadedModel, plan: Plan, merged: bool) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "family": lm.family.name,
            "fingerprint": lm.fingerprint,
            "dtype": str(lm.dtype).removeprefix("torch."),
        },
        "merged": merged,
        "worn": [_described(persona, strength) for persona, strength in plan.active],
        "versions": package_versions(),
    }


def _described(persona: Persona, strength: float) -> dict[str, Any]:
    origin = {key: persona.provenance[key] for key in ("method", "data", "licence") if key in persona.provenance}
    return {
        "name": persona.name,
        "pole": persona.pole,
        "strength": strength,
        **persona.edit.describe(),
        **origin,
        "calibration_texts": len(persona.groups),
    }


def _sizes(sizes: Sizes) -> dict[str, int]:
    return {"channels": sizes.channels, "heads": sizes.heads, "key_value_heads": sizes.groups}
