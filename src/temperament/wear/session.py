"""The context manager that wears a plan on a model and owns everything it attaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.load import WearSession
from temperament.personas import FewShotEdit, LoraEdit, MaskEdit, Persona, Plan, PromptEdit, SubnetworkEdit
from temperament.wear.adapters import wear_lora
from temperament.wear.masks import wear_masks, wear_subnetwork
from temperament.wear.rows import ROW_KINDS, combined_rows, row_kind, row_of, wear_rows

Worn = Persona | Plan | None


@contextmanager
def wear(lm: LoadedModel, worn: Worn | Sequence[Worn], strength: float = 1.0) -> Iterator[LoadedModel]:
    """Wear ``worn`` while the block runs; afterwards every weight is bit-identical and no hook remains.

    A list is one plan per row of the batches that run inside (kinds of edit that can differ by row, and None). Blocks
    nest: an inner plan is worn on top of the outer one. Strength 0 is exactly the base. Everything is checked and
    every mask is rebuilt and verified before the first weight changes.
    """
    rows: list[Worn]
    if worn is None or isinstance(worn, Persona | Plan):
        rows, by_row = [worn], False
    else:
        rows, by_row = list(worn), True
    plans = [Plan.of(row, strength) for row in rows]
    for persona, _ in (item for plan in plans for item in plan.active):
        persona.check_model(lm)
        persona.edit.check(lm)
    if by_row:
        _check_rows(plans)
    edits = tuple(row_of(plan, by_row=by_row) for plan in plans)
    per_row = len(rows) if by_row and any(edits) else 0
    combined_rows(lm, edits, per_row)  # a conflict shows before the first weight changes
    session = WearSession(rows=per_row)
    try:
        lm.sessions.append(session)
        for persona, share in () if by_row else plans[0].active:
            if isinstance(persona.edit, MaskEdit):
                wear_masks(lm, persona.edit.masks(lm), share, session.stack)
            elif isinstance(persona.edit, SubnetworkEdit):
                wear_subnetwork(lm, persona.edit, share, session.stack)
            elif isinstance(persona.edit, LoraEdit):
                wear_lora(lm, persona.edit, share, session.stack)
            elif isinstance(persona.edit, PromptEdit):
                session.stack.callback(setattr, lm, "system_prompt", lm.system_prompt)
                lm.system_prompt = "\n\n".join(filter(None, (lm.system_prompt, persona.edit.text)))
            elif isinstance(persona.edit, FewShotEdit):
                session.stack.callback(setattr, lm, "examples", lm.examples)
                lm.examples = (*lm.examples, persona.edit.turns)
        if any(edits):
            wear_rows(lm, session, edits)
        session.stack.callback(setattr, lm, "worn", lm.worn)
        lm.worn = (*lm.worn, *_labels(plans))
        yield lm
    finally:
        # Edits come off in reverse order only: a block that ends before an inner one waits for it.
        session.ended = True
        _take_off(lm)


def _take_off(lm: LoadedModel) -> None:
    """Undo every ended block that no running one lies inside of, innermost first, whatever one of them raises."""
    if lm.sessions and lm.sessions[-1].ended:
        try:
            lm.sessions[-1].stack.close()
        finally:
            lm.sessions.pop()
            _take_off(lm)


def _labels(plans: Sequence[Plan]) -> list[str]:
    labels = [[f"{share:g}*{persona.name}" for persona, share in plan.active] for plan in plans]
    if len(plans) == 1:
        return labels[0]
    return [f"row {row}: {' + '.join(parts)}" for row, parts in enumerate(labels) if parts]


def _check_rows(plans: Sequence[Plan]) -> None:
    if not plans:
        raise TemperamentError("a list of no plans is to be worn", "give one plan, or None, per row of the batch")
    for row, plan in enumerate(plans):
        for persona, _ in plan.active:
            if row_kind(persona.edit) is None:
                kinds = ", ".join(kind.edit.kind for kind in ROW_KINDS)
                raise TemperamentError(
                    f"row {row} wears {persona.name!r}, a {persona.kind} persona, but only {kinds} personas can "
                    "differ by row",
                    "wear it for the whole batch, outside the list",
                )
