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
from temperament.methods import SparsityPlan, find_method
from temperament.models import LoadedModel
from temperament.personas.kind import MethodKind, Task
from temperament.personas.kinds import METHOD_KINDS, kind_of
from temperament.personas.persona import Persona
from temperament.personas.provenance import provenance
from temperament.signatures import Pair, Writing
from temperament.signatures.collect import Progress, Tokens


@dataclass(frozen=True)
class Extraction:
    """Two opposite personas, the signatures they were computed from, seconds per stage, and what was found.

    ``details`` has one key, the kind of the method (such as ``masks``), with statistics of the edit; what a user must
    be told are its ``notes`` (see ``notes_of``).
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
    kind = METHOD_KINDS[row.kind]
    parameters = row.read(dict(settings or {}))
    task = kind.prepare(lm, Task(data, row, parameters, sparsity, tokens, seed, writing or Writing()))
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    if signatures is None:
        signatures = kind.collect(lm, task, folder, progress)
    else:
        _check_signatures(signatures, kind, kind.provenance(lm, task))
    seconds["signatures"] = time.perf_counter() - start
    start = time.perf_counter()
    described = {"name": row.name, "parameters": parameters.model_dump(exclude_none=True)}
    shared = {**provenance(lm, task.data, signatures), "method": described}
    prompts = dict(zip(POLES, task.data.pole_prompts(), strict=True))
    origin: dict[Pole, dict[str, Any]] = {pole: {**shared, "prompt": prompts[pole]} for pole in POLES}
    plus, minus, details = kind.pair(lm, task, signatures, data.name, origin)
    seconds[kind.name] = time.perf_counter() - start
    return Extraction(plus, minus, signatures, seconds, details)


def notes_of(details: Mapping[str, Any]) -> list[str]:
    """What of the details of an extraction its user must be told."""
    return [text for facts in details.values() for text in facts.get("notes", ())]


def _check_signatures(signatures: Pair, kind: MethodKind[Any], expected: Mapping[str, str]) -> None:
    if not isinstance(signatures, kind.statistics):
        raise TemperamentError("the signatures given belong to another kind of method", "leave them out")
    for name in ("model", "data", "tokens", "seed", "max_tokens", "neutral", "weighting", "repetition_penalty", "rows"):
        if signatures.provenance.get(name) != expected.get(name):
            raise TemperamentError(
                f"the signatures given were collected with another {name}",
                "leave them out, and they are collected anew",
            )


def rebuild(lm: LoadedModel, pair: Pair, plus: Persona, minus: Persona) -> tuple[Persona, Persona]:
    """What the method of a pair of personas finds in other signatures, with the same settings."""
    kind = kind_of(plus)
    if kind is None or not isinstance(pair, kind.statistics):
        raise ValueError("the signatures do not belong to this kind of persona")
    return kind.rebuild(lm, pair, plus, minus)
