"""SparseGPT personas: from calibration texts, by streamed Hessians, to a pair of masks stored as packed bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods import SparseGptMethod, SparsityPlan
from temperament.methods.randomise import permutation
from temperament.models import LoadedModel
from temperament.personas.edits import MaskEdit
from temperament.personas.experts import with_experts
from temperament.personas.kind import Origin, Poles, Task, method_of, plan_of, texts_of, with_edits, with_sparsity
from temperament.personas.masks import PackedMasks
from temperament.personas.overlap import mask_statistics
from temperament.personas.persona import Persona
from temperament.personas.sparsegpt_masks import Choosing, choose_all, random_masks
from temperament.personas.sparsegpt_report import notes, report_of
from temperament.personas.text_kind import TextKind, with_folder
from temperament.signatures import Pair
from temperament.signatures.collect import Progress, signature_provenance
from temperament.signatures.texts import TextPair


class SparseGptKind(TextKind):
    """Methods that prune by the full input Hessian.

    Hessians are too large to keep, so what is kept are the texts, from which they are streamed again where a control
    needs others, and the masks of every finished layer.
    """

    name = "sparsegpt"

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        texts_of(task)
        return with_sparsity(lm, task)

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return {**signature_provenance(lm, texts_of(task), task.tokens, task.seed), "texts": "responses"}

    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> TextPair:
        pair = with_folder(super().collect(lm, task, folder, None))
        choose_all(lm, pair, _choosing(task), progress)
        return pair

    def pair(
        self, lm: LoadedModel, task: Task, pair: TextPair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        pair = with_folder(pair)
        choosing = _choosing(task)
        chosen = choose_all(lm, pair, choosing)
        reports = {pole: report_of(lm, chosen, pole, choosing.parameters.damping) for pole in POLES}
        origin = with_experts(origin, chosen.experts)
        told = {pole: {**origin[pole], "hessians": reports[pole]} for pole in POLES}
        masks = chosen.masks(lm)
        plus, minus = _poles(choosing.sparsity, masks, chosen.unmasked, pair, name, told)
        found = mask_statistics(lm, masks["plus"], masks["minus"])
        if chosen.experts:
            found["experts"] = chosen.experts.as_json()
        return plus, minus, {self.name: {**found, "hessians": reports, "notes": notes(reports)}}

    def rebuild(self, lm: LoadedModel, pair: TextPair, plus: Persona, minus: Persona) -> Poles:
        pair = with_folder(pair)
        choosing = _chosen_by(plus)
        chosen = choose_all(lm, pair, choosing)
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        return _poles(choosing.sparsity, chosen.masks(lm), chosen.unmasked, pair, "rebuilt", origin)

    def randomised(self, lm: LoadedModel, plus: Persona, minus: Persona, seed: int, pair: Pair | None) -> Poles:
        """The log-ratio of the poles' 1 / U_jj² permuted across the inputs of each Linear, as many pruned in each row.

        Nothing is carried from column to column: permuted values belong to no Hessian.
        """
        if not isinstance(pair, TextPair):
            raise ValueError("the random control of SparseGPT masks needs their texts")
        choosing = _chosen_by(plus)
        costs = choose_all(lm, with_folder(pair), choosing).costs
        real = {persona.pole: _edit(persona).masks(lm) for persona in (plus, minus)}
        found = random_masks(lm, choosing, costs, real, permutation(lm.inputs, seed))
        return with_edits(
            plus,
            minus,
            f"random-{seed}",
            lambda persona: _packed(choosing.sparsity, found[persona.pole], _edit(persona).unmasked),
        )

    def random_needs(self, persona: Persona) -> str | None:  # noqa: ARG002 - the same for all of them
        return "random control of SparseGPT masks"


def _choosing(task: Task) -> Choosing:
    if not isinstance(task.method, SparseGptMethod):
        raise ValueError(f"{task.method.name} does not choose by Hessians")
    return Choosing(task.method, task.parameters, plan_of(task))


def _chosen_by(persona: Persona) -> Choosing:
    """What the masks of a persona were chosen by; the experts that it leaves alone stay so."""
    method, parameters = method_of(persona)
    if not isinstance(method, SparseGptMethod):
        raise ValueError(f"{method.name} does not choose by Hessians")
    edit = _edit(persona)
    return Choosing(method, parameters, edit.sparsity, edit.unmasked)


def _poles(
    sparsity: SparsityPlan,
    masks: Mapping[Pole, PackedMasks],
    unmasked: tuple[str, ...],
    pair: TextPair,
    name: str,
    origin: Origin,
) -> Poles:
    plus, minus = (
        Persona(f"{name}-{pole}", pole, _packed(sparsity, masks[pole], unmasked), origin[pole], pair.groups, pair)
        for pole in POLES
    )
    return plus, minus


def _packed(sparsity: SparsityPlan, masks: PackedMasks, unmasked: tuple[str, ...]) -> MaskEdit:
    return MaskEdit(sparsity, masks.checksum, packed=masks, unmasked=unmasked)


def _edit(persona: Persona) -> MaskEdit:
    if not isinstance(persona.edit, MaskEdit):
        raise ValueError("not a mask persona")
    return persona.edit
