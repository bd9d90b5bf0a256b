"""Neuron personas (NPTI): from activation statistics to a pair of opposite personas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods.neurons import Neurons, by_layer, choose, find_neurons, permuted, saturated
from temperament.methods.randomise import permutation
from temperament.methods.registry import NeuronParameters
from temperament.models import LoadedModel
from temperament.personas.edits import NeuronEdit
from temperament.personas.kind import MethodKind, Origin, Poles, Task, method_of, without_sparsity
from temperament.personas.persona import Persona
from temperament.signatures import NeuronSignaturePair, Pair, collect_neurons, load_neuron_signatures
from temperament.signatures.collect import Progress
from temperament.signatures.collect_neurons import neuron_provenance
from temperament.signatures.neuron_store import find_neuron_signatures


class NoNeuronsError(TemperamentError):
    """No neuron differs by as much as the threshold asks."""


class NeuronKind(MethodKind[NeuronSignaturePair]):
    """The method whose personas are neuron edits; its statistics come from texts or from acting a role."""

    name = "neurons"
    statistics = NeuronSignaturePair

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        without_sparsity(task)
        if not lm.neurons:
            raise TemperamentError(
                f"the method neurons does not support mixtures of experts such as {lm.family.name}: each neuron sees "
                "only the tokens routed to its expert, too few to tell by how often it is active",
                "use contrastive-saliency, a mask method, vector or heads",
            )
        return task

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return neuron_provenance(lm, task.data, task.tokens, task.seed, task.writing)

    def collect(
        self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None
    ) -> NeuronSignaturePair:
        try:
            found = find_neuron_signatures(folder, self.provenance(lm, task)) if folder else None
        except TemperamentError:
            found = None  # damaged, or half replaced when a run was interrupted: collected anew
        if found is None:
            found = collect_neurons(
                lm,
                task.data,
                tokens=task.tokens,
                seed=task.seed,
                writing=task.writing,
                folder=folder,
                progress=progress,
            )
        for pole, counted in found.tokens.items():
            if counted == 0:
                raise TemperamentError(
                    f"no token was counted for the {pole} pole: the model wrote nothing",
                    "use texts instead of generating, or another model",
                )
        return found

    def load(self, folder: Path) -> NeuronSignaturePair:
        return load_neuron_signatures(folder)

    def pair(
        self, lm: LoadedModel, task: Task, pair: NeuronSignaturePair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        return neuron_pair(lm, task.parameters, pair, name, origin, task.seed)

    def rebuild(self, lm: LoadedModel, pair: NeuronSignaturePair, plus: Persona, minus: Persona) -> Poles:
        edit = _edit(plus)
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        first, second, _ = neuron_pair(lm, method_of(plus)[1], pair, "rebuilt", origin, edit.seed, edit)
        return first, second

    def randomised(
        self,
        lm: LoadedModel,
        plus: Persona,
        minus: Persona,
        seed: int,
        pair: Pair | None,  # noqa: ARG002 - the personas say enough
    ) -> Poles:
        """As many neurons per layer and pole with the same values, chosen at random."""
        return (
            replace(plus, name=f"random-{seed}", edit=randomised(lm, _edit(plus), seed)),
            replace(minus, name=f"random-{seed}", edit=randomised(lm, _edit(minus), seed)),
        )


def _edit(persona: Persona) -> NeuronEdit:
    if not isinstance(persona.edit, NeuronEdit):
        raise ValueError("not a neuron persona")
    return persona.edit


def neuron_pair(
    lm: LoadedModel,
    parameters: NeuronParameters,
    pair: NeuronSignaturePair,
    name: str,
    origin: Origin,
    seed: int = 0,
    like: NeuronEdit | None = None,
) -> tuple[Persona, Persona, dict[str, Any]]:
    """Both poles, which share their neurons, and how many there are by pole and layer.

    With ``like`` as many neurons per pole are taken as that edit has, whatever the threshold says: with shuffled
    labels none would be left, and a control of another size tells nothing.
    """
    neurons = find_neurons(pair, lm.neurons, _chosen(pair, parameters, like))
    if len(neurons) == 0 and parameters.share is not None:
        raise NoNeuronsError(f"a share of {parameters.share} leaves no neuron", "take a larger share, or a count")
    if len(neurons) == 0:
        largest = float(pair.delta.abs().max())
        raise NoNeuronsError(
            f"no neuron's activation probability differs by that much: the largest |δ| is {largest:.3f}",
            "lower the threshold, or take a number of them, such as --set count=100",
        )
    plus, minus = neuron_personas(lm, neurons, parameters, name, origin, pair, seed)
    layers = by_layer(neurons, lm.neurons)
    counts = {pole: sum(layers[pole]) for pole in POLES}
    return plus, minus, {"neurons": {**counts, "by_layer": layers, "saturated": saturated(neurons)}}


def _chosen(pair: NeuronSignaturePair, parameters: NeuronParameters, like: NeuronEdit | None) -> Tensor:
    if like is None:
        return parameters.choose(pair.delta)
    return choose(pair.delta, count=(int(like.neurons.on(1).sum()), int(like.neurons.on(-1).sum())))


def neuron_personas(
    lm: LoadedModel,
    neurons: Neurons,
    parameters: NeuronParameters,
    name: str,
    origin: Origin,
    pair: NeuronSignaturePair | None = None,
    seed: int = 0,
) -> tuple[Persona, Persona]:
    """Chosen neurons as personas of either pole."""
    edit = NeuronEdit(
        tuple(site.width for site in lm.neurons),
        neurons,
        parameters.gamma,
        parameters.weighted,
        parameters.variant,
        seed,
    )
    groups = pair.groups if pair else frozenset()
    plus, minus = (Persona(f"{name}-{pole}", pole, edit, origin[pole], groups, pair) for pole in POLES)
    return plus, minus


def randomised(lm: LoadedModel, edit: NeuronEdit, seed: int) -> NeuronEdit:
    """As many neurons per layer and pole with the same values, but chosen at random."""
    moved = permuted(edit.neurons, lm.neurons, permutation(lm.neurons, seed))
    return replace(edit, neurons=moved)
