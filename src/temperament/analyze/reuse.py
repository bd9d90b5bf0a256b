"""Statistics for many extractions: each is collected once, and sums grow by the texts that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from temperament.analyze.axes import Step
from temperament.calibration import Contrast, RolePlay
from temperament.methods import find_method
from temperament.models import LoadedModel
from temperament.personas.kind import Task
from temperament.personas.kinds import METHOD_KINDS
from temperament.signatures import Pair, SignaturePair, Writing, union


@dataclass(frozen=True)
class _Held:
    """Statistics of a kind, the run they come from, and their texts."""

    run: str
    data: Contrast | RolePlay
    pair: Pair


class Statistics:
    """The statistics of steps that follow each other; the last of each kind is held, all are kept in ``folder``."""

    def __init__(self, folder: Path, writing: Writing) -> None:
        self._folder, self.writing = folder, writing
        self._held: dict[str, _Held] = {}

    def of(self, lm: LoadedModel, step: Step, progress: Callable[[int, int], None] | None) -> Pair:
        """Statistics that fit the step."""
        method = find_method(step.method)
        kind = METHOD_KINDS[method.kind]
        parameters = method.read(dict(step.settings))
        task = kind.prepare(
            lm, Task(step.data, method, parameters, step.sparsity, step.tokens, step.seed, self.writing)
        )
        held = self._held.get(kind.name)
        run = f"{lm.fingerprint} {step.tokens} {step.seed} {kind.coverage(lm, task)}"
        if held and (held.run, held.data.hash) == (run, step.data.hash):
            return held.pair
        sums = held is not None and held.run == run and isinstance(held.pair, SignaturePair)
        rest = _remainder(held.data, step.data) if held and sums else None
        data = rest or step.data
        place = self._folder / hashlib.sha256(f"{kind.name} {step.tokens} {data.hash}".encode()).hexdigest()[:12]
        pair: Pair = kind.collect(lm, replace(task, data=data), place, progress)
        if held and rest and isinstance(held.pair, SignaturePair) and isinstance(pair, SignaturePair):
            pair = union(held.pair, pair, kind.provenance(lm, task))
        self._held[kind.name] = _Held(run, step.data, pair)
        return pair


def _remainder(before: Contrast | RolePlay, now: Contrast | RolePlay) -> Contrast | None:
    """What ``now`` has beyond ``before``, if it holds all of it and more of either pole."""
    if isinstance(before, RolePlay) or isinstance(now, RolePlay):
        return None
    if not (set(before.plus) <= set(now.plus) and set(before.minus) <= set(now.minus)):
        return None
    plus, minus = (
        tuple(item for item in after if item not in set(earlier))
        for after, earlier in ((now.plus, before.plus), (now.minus, before.minus))
    )
    return replace(now, plus=plus, minus=minus) if plus and minus else None
