"""From a contrast to a pair of opposite personas: signatures, what the method finds in them, provenance."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temperament.calibration import Contrast, Pole, RolePlay
from temperament.calibration.contrast import POLES
from temperament.calibration.questionnaire_items import refuse_questionnaire
from temperament.errors import TemperamentError
from temperament.methods import MaskMethod, SparsityPlan, find_method
from temperament.models import LoadedModel
from temperament.personas.edits import MaskEdit, NeuronEdit
from temperament.personas.mask_personas import mask_pair, mask_signatures
from temperament.personas.neuron_personas import neuron_pair, neuron_signatures
from temperament.personas.persona import Persona
from temperament.personas.provenance import provenance
from temperament.signatures import NeuronSignaturePair, SignaturePair, Writing
from temperament.signatures.collect import Progress, Tokens, signature_provenance
from temperament.signatures.collect_neurons import neuron_provenance

Pair = SignaturePair | NeuronSignaturePair


@dataclass(frozen=True)
class Extraction:
    """Two opposite personas, the signatures they were computed from, seconds per stage, and what was found.

    ``details`` has one key, ``masks`` or ``neurons``, with statistics of the edit.
    """

    plus: Persona
    minus: Persona
    signatures: Pair
    seconds: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def extract(
    lm: LoadedModel,
    data: Contrast | RolePlay,
    *,
    method: str = "contrastive-tilt",
    sparsity: float | str | Mapping[str, float | str] | SparsityPlan | None = None,
    tokens: Tokens = "response",
    seed: int = 42,
    writing: Writing | None = None,
    signatures: Pair | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Extraction:
    """Find the two poles of ``data`` in ``lm``.

    ``sparsity`` (mask methods) is one share of inputs to prune per row, or a mapping from selectors to shares (see
    ``SparsityPlan``). A ``RolePlay`` (``neurons`` only) is acted out as ``writing`` says. ``settings`` are the
    method's own. With ``signatures`` no forward pass is made; with a ``folder`` signatures are saved there, reused
    if they fit, and resumed after an interruption.
    """
    refuse_questionnaire(data)
    if tokens not in ("response", "all"):
        raise TemperamentError(f"unknown token rule {tokens!r}", "use response or all")
    row = find_method(method)
    parameters = row.read(dict(settings or {}))
    masks = isinstance(row, MaskMethod)
    if masks and isinstance(data, RolePlay):
        raise TemperamentError(f"the method {method} needs texts, not a role to play", "use the source texts")
    if not masks and sparsity is not None:
        raise TemperamentError(f"the method {method} has no sparsity", "use its threshold, count or share")
    usual = row.sparsity if isinstance(row, MaskMethod) else 0
    plan = SparsityPlan.of(usual if sparsity is None else sparsity)
    plan.check(lm.linears)
    writing = writing or Writing()
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    pair = signatures
    if pair is not None:
        _check_signatures(pair, lm, data, tokens, seed, writing, masks=masks)
    elif masks and isinstance(data, Contrast):
        pair = mask_signatures(lm, data, tokens, seed, folder, progress)
    else:
        pair = neuron_signatures(lm, data, tokens, seed, writing, folder, progress)
    seconds["signatures"] = time.perf_counter() - start
    start = time.perf_counter()
    described = {"name": row.name, "parameters": parameters.model_dump(exclude_none=True)}
    shared = {**provenance(lm, data, pair), "method": described}
    prompts = dict(zip(POLES, data.pole_prompts(), strict=True))
    origin: dict[Pole, dict[str, Any]] = {pole: {**shared, "prompt": prompts[pole]} for pole in POLES}
    if isinstance(row, MaskMethod) and isinstance(pair, SignaturePair):
        plus, minus, details = mask_pair(lm, row, parameters, plan, pair, data.name, origin)
    elif isinstance(pair, NeuronSignaturePair):
        plus, minus, details = neuron_pair(lm, parameters, pair, data.name, origin, seed)
    seconds["masks" if masks else "neurons"] = time.perf_counter() - start
    return Extraction(plus, minus, pair, seconds, details)


def _check_signatures(
    signatures: Pair,
    lm: LoadedModel,
    data: Contrast | RolePlay,
    tokens: Tokens,
    seed: int,
    writing: Writing,
    *,
    masks: bool,
) -> None:
    if isinstance(signatures, SignaturePair) != masks:
        raise TemperamentError("the signatures given belong to another kind of method", "leave them out")
    if masks and isinstance(data, Contrast):
        expected = signature_provenance(lm, data, tokens, seed)
    else:
        expected = neuron_provenance(lm, data, tokens, seed, writing)
    for name in ("model", "data", "tokens", "seed", "max_tokens", "repetition_penalty", "rows"):
        if signatures.provenance.get(name) != expected.get(name):
            raise TemperamentError(
                f"the signatures given were collected with another {name}",
                "leave them out, and they are collected anew",
            )


def rebuild(lm: LoadedModel, pair: Pair, plus: Persona, minus: Persona) -> tuple[Persona, Persona]:
    """What the method of a pair of personas finds in other signatures, with the same settings."""
    row = find_method(plus.provenance["method"]["name"])
    parameters = row.read(dict(plus.provenance["method"]["parameters"]))
    origin: dict[Pole, Mapping[str, Any]] = {"plus": plus.provenance, "minus": minus.provenance}
    if isinstance(row, MaskMethod) and isinstance(pair, SignaturePair) and isinstance(plus.edit, MaskEdit):
        first, second, _ = mask_pair(lm, row, parameters, plus.edit.sparsity, pair, "rebuilt", origin)
    elif isinstance(pair, NeuronSignaturePair) and isinstance(plus.edit, NeuronEdit):
        first, second, _ = neuron_pair(lm, parameters, pair, "rebuilt", origin, plus.edit.seed, plus.edit)
    else:
        raise ValueError("the signatures do not belong to this kind of persona")
    return first, second
