"""Controls: the same measurement on nothing, random edits of the same size, shuffled labels, a plain prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods import MASK_METHODS, MaskMethod, find_method
from temperament.methods.randomise import permutation, permute_ratio
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, NeuronEdit, Persona, Plan, PromptEdit
from temperament.personas.extract import Pair, rebuild
from temperament.personas.mask_personas import mask_persona
from temperament.personas.neuron_personas import randomised
from temperament.signatures import SignaturePair

CONTROLS = ("unworn", "random", "shuffled", "swapped", "prompt")
RANDOM_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Condition:
    """A named pair of plans to score: what stands for plus and what stands for minus."""

    name: str
    plus: Plan
    minus: Plan


def check_conditions(plus: Persona, minus: Persona, names: tuple[str, ...], signatures: Pair | None) -> None:
    """Raise, before anything is scored, if one of the named controls cannot be built for this pair."""
    for persona in (plus, minus):
        edit, random = persona.edit, any(name.startswith("random") for name in names)
        if isinstance(edit, PromptEdit) and (random or "shuffled" in names):
            raise _without_controls(persona)
        if random and isinstance(edit, MaskEdit) and edit.recipe is None:
            _given(signatures, "random control of packed masks")
        if "shuffled" in names:
            _given(signatures, "shuffled control")
        if "prompt" in names:
            _prompt(persona)


def control_conditions(
    lm: LoadedModel,
    plus: Persona,
    minus: Persona,
    strength: float,
    names: tuple[str, ...],
    signatures: Pair | None,
) -> Iterator[Condition]:
    """The conditions of the named controls, each built when it is asked for.

    ``swapped`` is the worn pair exchanged; the caller has its scores already.
    """
    if "unworn" in names:
        yield Condition("unworn", Plan(), Plan())
    for seed in RANDOM_SEEDS:
        if "random" in names or f"random-{seed}" in names:
            first, second = random_pair(lm, plus, minus, seed, signatures)
            yield Condition(f"random-{seed}", Plan.of(first, strength), Plan.of(second, strength))
    if "shuffled" in names:
        first, second = shuffled_pair(lm, plus, minus, signatures)
        yield Condition("shuffled", Plan.of(first, strength), Plan.of(second, strength))
    if "prompt" in names:
        yield Condition("prompt", Plan.of(_prompt(plus)), Plan.of(_prompt(minus)))


def random_pair(
    lm: LoadedModel, plus: Persona, minus: Persona, seed: int, signatures: Pair | None = None
) -> tuple[Persona, Persona]:
    """The same edit without its meaning.

    Masks: the contrast term is permuted across the inputs of each Linear, the same number pruned per row. This needs
    nothing but the two recipes; packed masks have none, for them the log-ratio of the two poles' activations is
    permuted, which needs the signatures. Neurons: as many per layer and pole with the same values, chosen at random.
    """
    first, second = plus.edit, minus.edit
    if isinstance(first, NeuronEdit) and isinstance(second, NeuronEdit):
        return (
            replace(plus, name=f"random-{seed}", edit=randomised(lm, first, seed)),
            replace(minus, name=f"random-{seed}", edit=randomised(lm, second, seed)),
        )
    if not isinstance(first, MaskEdit) or not isinstance(second, MaskEdit):
        raise _without_controls(plus)
    order = permutation(lm.inputs, seed)
    method = find_method(plus.provenance["method"]["name"])
    if first.recipe is not None and second.recipe is not None and isinstance(method, MaskMethod):
        recipes = method.randomise(first.recipe, second.recipe, order)
    else:
        pair, wanda = _given(signatures, "random control of packed masks"), MASK_METHODS[0]
        if not isinstance(pair, SignaturePair):
            raise ValueError("packed masks need the signatures of masks")
        plain = [wanda.recipe(pair, lm.inputs, pole, wanda.read({})) for pole in POLES]
        recipes = permute_ratio(plain[0], plain[1], order)
    built = [
        mask_persona(lm, recipe, edit.sparsity, name=f"random-{seed}", provenance=persona.provenance)
        for recipe, edit, persona in zip(recipes, (first, second), (plus, minus), strict=True)
    ]
    return built[0], built[1]


def shuffled_pair(lm: LoadedModel, plus: Persona, minus: Persona, signatures: Pair | None) -> tuple[Persona, Persona]:
    """The same method and settings on the same texts with shuffled labels."""
    return rebuild(lm, _given(signatures, "shuffled control").shuffled(), plus, minus)


def _given(signatures: Pair | None, control: str) -> Pair:
    if signatures is None:
        raise TemperamentError(
            f"the {control} needs the signatures the personas were computed from",
            "give --signatures DIR, or name the controls you want, such as --controls unworn,swapped,prompt",
        )
    return signatures


def _without_controls(persona: Persona) -> TemperamentError:
    return TemperamentError(
        f"{persona.name!r} is a {persona.kind} persona, which has no random or shuffled control",
        "choose others with --controls unworn,swapped",
    )


def _prompt(persona: Persona) -> Persona:
    text = persona.provenance.get("prompt")
    if not isinstance(text, str):
        raise TemperamentError(
            f"the persona {persona.name!r} names no system prompt for the prompt control",
            "leave it out with --controls",
        )
    return Persona.from_prompt(text, f"prompt-{persona.pole}", persona.pole)
