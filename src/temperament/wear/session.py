"""The context manager that wears a plan on a model and owns everything it attaches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from temperament.models import LoadedModel
from temperament.models.load import WearSession
from temperament.personas import MaskEdit, Persona, Plan
from temperament.wear.masks import wear_masks


@contextmanager
def wear(lm: LoadedModel, worn: Persona | Plan | None, strength: float = 1.0) -> Iterator[LoadedModel]:
    """Wear ``worn`` while the block runs; afterwards every weight is bit-identical and no hook remains.

    Blocks nest: an inner plan is worn on top of the outer one. Strength 0 is exactly the base. Everything is
    checked and every mask is rebuilt and verified before the first weight changes.
    """
    plan = Plan.of(worn, strength)
    active = [(persona, share) for persona, share in plan.items if share > 0]
    for persona, _ in active:
        persona.check_model(lm)
        if isinstance(persona.edit, MaskEdit):
            persona.edit.masks(lm)
    session = WearSession()
    lm.sessions.append(session)
    try:
        for persona, share in active:
            if isinstance(persona.edit, MaskEdit):
                wear_masks(lm, persona.edit.masks(lm), share, session.stack)
            else:
                session.stack.callback(setattr, lm, "system_prompt", lm.system_prompt)
                lm.system_prompt = "\n\n".join(filter(None, (lm.system_prompt, persona.edit.text)))
        session.stack.callback(setattr, lm, "worn", lm.worn)
        lm.worn = (*lm.worn, *(f"{share:g}*{persona.name}" for persona, share in active))
        yield lm
    finally:
        # Edits come off in reverse order only: a block that ends before an inner one waits for it.
        session.ended = True
        while lm.sessions and lm.sessions[-1].ended:
            lm.sessions[-1].stack.close()
            lm.sessions.pop()
