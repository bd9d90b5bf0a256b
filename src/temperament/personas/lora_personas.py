"""LoRA personas (SFT, the upper bound of NPTI): one adapter per pole, trained on that pole's texts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from temperament.atomic import ensure_folder
from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.methods.baselines import LoraParameters
from temperament.models import LoadedModel
from temperament.personas.edits import LoraEdit
from temperament.personas.edits.lora import CONFIG, WEIGHTS
from temperament.personas.kind import Origin, Poles, Task, method_of, with_edits
from temperament.personas.persona import Persona
from temperament.personas.text_kind import TextKind, with_folder
from temperament.personas.train_adapter import check_peft, steps_of, train_adapter, write_adapter
from temperament.signatures import Pair
from temperament.signatures.collect import Progress
from temperament.signatures.texts import TextPair

_TRAINING = "training.json"


class LoraKind(TextKind):
    """The method whose personas are adapters, trained when the texts are collected."""

    name = "lora"

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        check_peft()
        return super().prepare(lm, task)

    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> TextPair:
        pair = with_folder(super().collect(lm, task, folder, None))
        lora_adapters(lm, pair, task.parameters, progress)
        return pair

    def pair(
        self, lm: LoadedModel, task: Task, pair: TextPair, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        return lora_pair(lm, task.parameters, pair, name, origin)

    def rebuild(self, lm: LoadedModel, pair: TextPair, plus: Persona, minus: Persona) -> Poles:
        origin: Origin = {"plus": plus.provenance, "minus": minus.provenance}
        first, second, _ = lora_pair(lm, method_of(plus)[1], pair, "rebuilt", origin)
        return first, second

    def randomised(
        self,
        lm: LoadedModel,  # noqa: ARG002 - the personas say enough
        plus: Persona,
        minus: Persona,
        seed: int,
        pair: Pair | None,  # noqa: ARG002 - the personas say enough
    ) -> Poles:
        """Changes of the same rank and norm in every Linear, in random directions."""

        def noisy(persona: Persona) -> LoraEdit:
            return replace(_edit(persona), noise=2 * seed + POLES.index(persona.pole))

        return with_edits(plus, minus, f"random-{seed}", noisy)


def lora_pair(
    lm: LoadedModel, parameters: LoraParameters, pair: TextPair, name: str, origin: Origin
) -> tuple[Persona, Persona, dict[str, Any]]:
    """Adapters of both poles as personas, and how their training went; finished ones are taken from the folder."""
    pair = with_folder(pair)
    found = lora_adapters(lm, pair, parameters)
    scaling = parameters.alpha / parameters.rank
    plus, minus = (
        Persona(
            f"{name}-{pole}",
            pole,
            LoraEdit(found[pole][0], found[pole][1]["sha256"], scaling, temporary=pair.temporary),
            origin[pole],
            pair.groups,
            pair,
        )
        for pole in POLES
    )
    return plus, minus, {"lora": {str(pole): _figures(found[pole][1], parameters.epochs) for pole in POLES}}


def lora_adapters(
    lm: LoadedModel, pair: TextPair, parameters: LoraParameters, progress: Progress | None = None
) -> dict[Pole, tuple[Path, dict[str, Any]]]:
    """Folder and training record of each pole's adapter; what is not finished in the pair's folder is trained."""
    steps = {pole: steps_of(len(pair.pole(pole)), parameters) for pole in POLES}
    total, done = sum(steps.values()), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    found: dict[Pole, tuple[Path, dict[str, Any]]] = {}
    for pole in POLES:
        path, record = _adapter(lm, pair, pole, parameters, step)
        found[pole] = path, record
        done = sum(steps[known] for known in found)
    return found


def _adapter(
    lm: LoadedModel, pair: TextPair, pole: Pole, parameters: LoraParameters, step: Callable[[], None]
) -> tuple[Path, dict[str, Any]]:
    if pair.folder is None:
        raise ValueError("an adapter needs a folder")
    key = hashlib.sha256(json.dumps([pair.hash, pole, parameters.model_dump()]).encode()).hexdigest()
    home = ensure_folder(pair.folder / "lora")
    path = home / f"{pole}-{key[:12]}"
    record = _finished(path, key)
    if record is None:
        start = time.perf_counter()
        adapter = train_adapter(lm, pair.pole(pole), parameters, int(pair.provenance["seed"]), step)
        record = {
            "key": key,
            "sha256": hashlib.sha256(adapter.weights).hexdigest(),
            "losses": list(adapter.losses),
            "seconds": time.perf_counter() - start,
        }
        with TemporaryDirectory(dir=home, prefix=".") as unfinished:
            whole = Path(unfinished) / "adapter"
            whole.mkdir()
            write_adapter(adapter, whole, (CONFIG, WEIGHTS))
            (whole / _TRAINING).write_text(json.dumps(record), encoding="utf-8")
            if path.exists():  # damaged
                shutil.rmtree(path)
            os.replace(whole, path)
    return path, record


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    """The record of a finished adapter, or None if there is none or it is damaged."""
    try:
        record: dict[str, Any] = json.loads((path / _TRAINING).read_text(encoding="utf-8"))
        digest = hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()
        whole = record["key"] == key and record["sha256"] == digest and (path / CONFIG).is_file()
        return record if whole and record["losses"] and record["seconds"] >= 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _figures(record: dict[str, Any], epochs: int) -> dict[str, Any]:
    losses = record["losses"]
    each = len(losses) // epochs
    means = [sum(losses[begin : begin + each]) / each for begin in range(0, len(losses), each)]
    return {"steps": len(losses), "seconds": record["seconds"], "loss_by_epoch": means}


def _edit(persona: Persona) -> LoraEdit:
    if not isinstance(persona.edit, LoraEdit):
        raise ValueError("not a lora persona")
    return persona.edit
