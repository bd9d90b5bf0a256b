"""Controls: the same measurement on nothing, random edits of the same size, shuffled labels, a plain prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods import METHODS, find_method
from temperament.methods.randomise import input_permutation, permute_ratio
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, Plan
from temperament.personas.extract import mask_persona, rebuild
from temperament.signatures import SignaturePair

CONTROLS = ("unworn", "random", "shuffled", "swapped", "prompt")
RANDOM_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Condition:
    """A named pair of plans to score: what stands for plus and what stands for minus."""

    name: str
    plus: Plan
    minus: Plan


def check_conditions(plus: Persona, minus: Persona, names: tuple[str, ...], signatures: SignaturePair | None) -> None:
    """Raise, before anything is scored, if one of the named controls cannot be built for this pair."""
    for persona in (plus, minus):
        if any(name.startswith("random") for name in names) and _mask_edit(persona).recipe is None:
            _given(signatures, "random control of packed masks")
        if "shuffled" in names and _mask_edit(persona):
            _given(signatures, "shuffled control")
        if "prompt" in names:
            _prompt(persona)


def control_conditions(
    lm: LoadedModel,
    plus: Persona,
    minus: Persona,
    strength: float,
    names: tuple[str, ...],
    signatures: SignaturePair | None,
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
    lm: LoadedModel, plus: Persona, minus: Persona, seed: int, signatures: SignaturePair | None = None
) -> tuple[Persona, Persona]:
    """Masks whose contrast term is permuted across the inputs of each Linear; same number pruned per row.

    Needs nothing but the two recipes. Packed masks have none; for them the log-ratio of the two poles'
    activations is permuted, which needs the signatures.
    """
    first, second = _mask_edit(plus), _mask_edit(minus)
    order = input_permutation(lm.inputs, seed)
    if first.recipe is not None and second.recipe is not None:
        recipes = find_method(plus.provenance["method"]["name"]).randomise(first.recipe, second.recipe, order)
    else:
        pair, wanda = _given(signatures, "random control of packed masks"), METHODS[0]
        plain = [wanda.recipe(pair, lm.inputs, pole, wanda.read({})) for pole in POLES]
        recipes = permute_ratio(plain[0], plain[1], order)
    built = [
        mask_persona(lm, recipe, edit.sparsity, name=f"random-{seed}", provenance=persona.provenance)
        for recipe, edit, persona in zip(recipes, (first, second), (plus, minus), strict=True)
    ]
    return built[0], built[1]


def shuffled_pair(
    lm: LoadedModel, plus: Persona, minus: Persona, signatures: SignaturePair | None
) -> tuple[Persona, Persona]:
    """The same method and settings on the same texts with shuffled labels."""
    method = find_method(plus.provenance["method"]["name"])
    mixed = _given(signatures, "shuffled control").shuffled()
    return rebuild(lm, method, mixed, plus, "plus"), rebuild(lm, method, mixed, minus, "minus")


def _given(signatures: SignaturePair | None, control: str) -> SignaturePair:
    if signatures is None:
        raise TemperamentError(
            f"the {control} needs the signatures the personas were computed from",
            "give --signatures DIR, or name the controls you want, such as --controls unworn,swapped,prompt",
        )
    return signatures


def _mask_edit(persona: Persona) -> MaskEdit:
    if not isinstance(persona.edit, MaskEdit):
        raise TemperamentError(
            f"{persona.name!r} is a {persona.kind} persona, which has no random or shuffled control",
            "choose others with --controls unworn,swapped",
        )
    return persona.edit


def _prompt(persona: Persona) -> Persona:
    text = persona.provenance.get("prompt")
    if not isinstance(text, str):
        raise TemperamentError(
            f"the persona {persona.name!r} names no system prompt for the prompt control",
            "leave it out with --controls",
        )
    return Persona.from_prompt(text, f"prompt-{persona.pole}", persona.pole)
