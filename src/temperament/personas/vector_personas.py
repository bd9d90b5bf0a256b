"""Vector personas: from mean hidden states to a pair of opposite personas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast, Example
from temperament.calibration.choices import two_choice_items
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods import Method, Shifts, VectorMethod
from temperament.methods.vectors import random_shifts
from temperament.models import LoadedModel
from temperament.personas.edits import VectorEdit
from temperament.personas.kind import MethodKind, Origin, Poles, Task, method_of, texts_of, with_edits, without_sparsity
from temperament.personas.persona import Persona
from temperament.signatures import Pair, StatePair, collect_states, load_states
from temperament.signatures.collect import Progress
from temperament.signatures.collect_states import state_provenance
from temperament.signatures.state_store import find_states
from temperament.signatures.text_means import Counted


class VectorKind(MethodKind[StatePair]):
    """Methods whose personas are vectors added to hidden states; one pass over the texts serves them all."""

    name = "vectors"
    statistics = StatePair

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        without_sparsity(task)
        task.parameters.check(lm.depth)
        texts = texts_of(task)
        return replace(task, data=answers(texts) if task.parameters.pairs else texts)

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return state_provenance(lm, texts_of(task), _counted(task), task.seed)

    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> StatePair:
        found = find_states(folder, self.provenance(lm, task)) if folder else None
        return found or collect_states(
            lm, texts_of(task), tokens=_counted(task), seed=task.seed, folder=folder, progress=progress
        )

    def load(self, folder: Path) -> StatePair:
        return load_states(folder)

    def pair(
        self, lm: LoadedModel, task: Task, pair: StatePair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        shifts, details = _method(task.method).find(pair, lm, task.parameters, task.seed)
        plus, minus = _personas(lm, shifts, pair, name, origin)
        return plus, minus, {"vectors": details}

    def rebuild(self, lm: LoadedModel, pair: StatePair, plus: Persona, minus: Persona) -> Poles:
        """With the length of the worn vectors, at each layer, or where heads are chosen of all together: what is found
        with shuffled labels is shorter, and a control of another size tells nothing."""
        method, parameters = method_of(plus)
        own = _edit(plus).shifts
        shifts, _ = _method(method).find(pair, lm, parameters, int(pair.provenance["seed"]))
        if own.place == "residual":
            shifts = shifts.resized(own.norms)
        else:
            shifts = replace(shifts, vectors=shifts.vectors * (own.vectors.norm() / shifts.vectors.norm()))
        return _personas(lm, shifts, pair, "rebuilt", {"plus": plus.provenance, "minus": minus.provenance})

    def randomised(
        self,
        lm: LoadedModel,  # noqa: ARG002 - the personas say enough
        plus: Persona,
        minus: Persona,
        seed: int,
        pair: Pair | None,  # noqa: ARG002
    ) -> Poles:
        """Random directions of the same lengths, per layer or per head."""
        edit = _edit(plus)
        drawn = replace(edit, shifts=random_shifts(edit.shifts, seed))
        return with_edits(plus, minus, f"random-{seed}", lambda _: drawn)


def answers(contrast: Contrast) -> Contrast:
    """The matching and the other answer to each two-choice question, as the texts of the poles (CAA)."""
    items = two_choice_items(contrast)

    def pole(other: bool) -> tuple[Example, ...]:
        return tuple(
            Example(item.prompt, item.options[item.matching ^ int(other)], item.group, item.split) for item in items
        )

    plus, minus = pole(False), pole(True)
    return replace(contrast, plus=plus, minus=minus, choices=(), prompts=contrast.pole_prompts())


def _counted(task: Task) -> Counted:
    return "last" if task.parameters.pairs else task.tokens


def _method(method: Method) -> VectorMethod:
    if not isinstance(method, VectorMethod):
        raise ValueError(f"{method.name} does not make vectors")
    return method


def _edit(persona: Persona) -> VectorEdit:
    if not isinstance(persona.edit, VectorEdit):
        raise ValueError("not a vector persona")
    return persona.edit


def _personas(lm: LoadedModel, shifts: Shifts, pair: StatePair, name: str, origin: Origin) -> Poles:
    """Both poles, which share their vectors."""
    if not bool(shifts.vectors.any()):
        raise TemperamentError("the states of both poles do not differ", "use texts that differ, or other layers")
    edit = VectorEdit(lm.depth, shifts)
    plus, minus = (Persona(f"{name}-{pole}", pole, edit, origin[pole], pair.groups, pair) for pole in POLES)
    return plus, minus
