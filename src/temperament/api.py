"""The functions behind ``import temperament as tp``: strings and files in, personas and evidence out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from temperament.calibration import Contrast, RolePlay, Split, resolve_contrast, resolve_roleplay
from temperament.errors import TemperamentError
from temperament.evaluation import CONTROLS, Evaluation
from temperament.evaluation import evaluate as run_evaluation
from temperament.models import LoadedModel
from temperament.personas import Persona
from temperament.personas import extract as run_extraction
from temperament.personas.file import open_persona
from temperament.signatures import Pair, Writing


def contrast(spec: str, *, split: Split = "calibration", limit: int | None = None, seed: int = 42) -> Contrast:
    """Calibration texts of a built-in trait or a file; see ``temperament list contrasts`` for names and formats.

    ``split`` is calibration, validation, test or all; ``limit`` takes a seeded sample of that many per pole.
    """
    return resolve_contrast(str(spec), split=split, limit=limit, seed=seed)


def extract(
    lm: LoadedModel,
    contrast: Contrast | RolePlay | str,
    *,
    method: str = "contrastive-tilt",
    sparsity: float | str | Mapping[str, float | str] | None = None,
    tokens: Literal["response", "all"] = "response",
    seed: int = 42,
    source: Literal["texts", "generate"] = "texts",
    max_tokens: int = 100,
    signatures: Pair | None = None,
    folder: str | Path | None = None,
    **settings: Any,
) -> tuple[Persona, Persona]:
    """The personas of both poles, plus first.

    ``sparsity`` is the share of inputs pruned per row (default: the method's), or a mapping such as
    ``{"default": 0.2, "mlp.layers.0-9": 0.1}``; ``settings`` are the method's own (``t=8``). The
    method ``neurons`` can take its statistics from texts or, with the source ``generate``, from what the model writes
    (at most ``max_tokens`` an answer) when it acts a built-in trait's poles. With a ``folder`` the signatures are kept
    there, so that other methods and settings need no forward pass.
    """
    if source not in ("texts", "generate"):
        raise TemperamentError(f"unknown source {source!r}", "use texts or generate")
    if isinstance(contrast, str):
        resolve = resolve_roleplay if source == "generate" else resolve_contrast
        contrast = resolve(contrast, seed=seed)
    done = run_extraction(
        lm,
        contrast,
        method=method,
        sparsity=sparsity,
        tokens=tokens,
        seed=seed,
        writing=Writing(max_tokens=max_tokens),
        signatures=signatures,
        folder=Path(folder) if folder else None,
        settings=settings,
    )
    return done.plus, done.minus


def open(path: str | Path) -> Persona:
    """Read and verify a ``.persona`` file."""
    return open_persona(path)


def evaluate(
    lm: LoadedModel,
    plus: Persona,
    minus: Persona,
    data: Contrast | str | None = None,
    *,
    measures: tuple[str, ...] = ("separation", "auc", "two_choice", "perplexity"),
    controls: tuple[str, ...] | None = None,
    signatures: Pair | None = None,
    strength: float | tuple[float, float] = 1.0,
    limit: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Measure a pair of opposite personas on test texts, beside its controls.

    ``strength`` is that of both poles, or a pair of them, such as ``(plus.dial.strength, minus.dial.strength)``.
    ``data`` defaults to the test split of the contrast the personas were made from, if that is a built-in one.
    ``signatures`` defaults to those the persona was extracted with in this process; a persona from a file has
    none, and then the ``shuffled`` control is left out unless it is asked for by name.
    """
    if data is None:
        data = str(plus.provenance.get("data", {}).get("name", ""))
    if isinstance(data, Contrast):
        data = data.limit(limit, seed)
    else:
        data = resolve_contrast(str(data), split="test", limit=limit, seed=seed)
    if isinstance(measures, str):
        measures = (measures,)
    signatures = signatures or plus.signatures
    if controls is None:
        controls = CONTROLS if signatures else tuple(name for name in CONTROLS if name != "shuffled")
    return run_evaluation(
        lm,
        plus,
        minus,
        data,
        measures=measures,
        controls=controls,
        signatures=signatures,
        strength=strength,
        seed=seed,
        folder=Path(folder) if folder else None,
        progress=progress,
    )
