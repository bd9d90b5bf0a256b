"""Statements scored with a persona worn in part: everywhere but at one place, or at that place only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from temperament.analyze.gated import Worn, within
from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.evaluation.bootstrap import Array, Measured
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger, Progress, check_finite
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.models import LoadedModel
from temperament.personas import Plan
from temperament.wear import wear

#: Records of the statements by side; both sides have the same statements.
Sides = Mapping[Pole, Sequence[Record]]


@dataclass(frozen=True)
class Spot:
    """One layer, or one Linear of it: ``kind`` is that of the Linear, or "layer"."""

    layer: int
    kind: str
    linears: frozenset[str]

    @property
    def name(self) -> str:
        return f"layer {self.layer}" if self.kind == "layer" else f"layer {self.layer} {self.kind}"


@dataclass(frozen=True)
class Difference:
    """How far a place changes the score of every statement: (plus statements,) and (minus statements,).

    ``poles`` is the separation that either persona contributes to the difference.
    """

    items: tuple[Array, Array]
    poles: Mapping[Pole, float]
    seed: int

    def measured(self) -> Measured:
        """The difference in separation with its interval over statements."""
        return separation(*self.items, seed=self.seed)


class Trial:
    """Runs the conditions of one restoration; ``conditions`` says how many there will be, for progress."""

    def __init__(
        self,
        lm: LoadedModel,
        contrast: Contrast,
        *,
        only: bool,
        seed: int,
        folder: Path | None,
        progress: Progress | None,
        conditions: int,
    ) -> None:
        self._lm, self._only, self._seed, self._progress = lm, only, seed, progress
        self._statements = Statements(contrast)
        self._done, self._total = 0, conditions * len(self._statements)
        self._ledger = Ledger(lm, folder, self._step)
        self._base = self._run(Plan(), "unworn")

    @property
    def hash(self) -> str:
        """Identity of the statements."""
        return self._statements.hash

    def seconds(self, worn: Worn) -> float:
        """How long one condition takes: a persona put on, all statements scored, the persona taken off; not kept."""
        persona, strength = next(iter(worn.values()))
        start = time.perf_counter()
        with wear(self._lm, persona, strength):
            for _ in self._statements.run(self._lm, range(len(self._statements))):
                pass
        return time.perf_counter() - start

    def whole(self, worn: Worn, label: str) -> Sides:
        """Records of the personas worn whole; a missing pole is unworn."""
        return self._sides(worn, label, None)

    def separation(self, sides: Sides) -> Measured:
        return separation(*statement_changes(sides["plus"], sides["minus"]), seed=self._seed)

    def differences(self, worn: Worn, whole: Sides, places: Sequence[Spot], label: str) -> Iterator[Difference]:
        """What each place carries: whole less restored, or worn there only less unworn."""
        linears = frozenset(linear.name for linear in self._lm.linears)
        for spot in places:
            inside = spot.linears if self._only else linears - spot.linears
            step = f"{label} {'only' if self._only else 'without'} {spot.name}"
            sides = self._sides(worn, step, inside)
            before = dict.fromkeys(POLES, self._base) if self._only else whole
            alone = {pole: self._lost(before, {**before, pole: sides[pole]}) for pole in worn}
            poles = {pole: float(high.mean() - low.mean()) for pole, (high, low) in alone.items()}
            yield Difference(self._lost(before, sides), poles, self._seed)

    def _lost(self, before: Sides, after: Sides) -> tuple[Array, Array]:
        """Change of every statement's score, counted so that it is positive where a place serves the persona."""
        earlier, later = (statement_changes(sides["plus"], sides["minus"]) for sides in (before, after))
        sign = -1 if self._only else 1
        return sign * (earlier[0] - later[0]), sign * (earlier[1] - later[1])

    def _sides(self, worn: Worn, label: str, inside: frozenset[str] | None) -> Sides:
        """Records of the personas, in the Linears ``inside`` alone unless that is None."""
        sides: dict[Pole, Sequence[Record]] = dict.fromkeys(POLES, self._base)
        for pole, (persona, strength) in worn.items():
            part = persona if inside is None else within(self._lm, persona, inside, f"{persona.name} ({label})")
            sides[pole] = self._run(Plan.of(part, strength), f"{label}-{pole}")
        return sides

    def _run(self, plan: Plan, label: str) -> Sequence[Record]:
        records = self._ledger.run(self._statements, plan, label)
        check_finite(records, plan, self._statements.name)
        self._done += len(records)
        self._step(label, 0, 0)
        return records

    def _step(self, label: str, done: int, _: int) -> None:
        """Progress over all conditions, ``done`` being that of the one at hand."""
        if self._progress:
            self._progress(label, self._done + done, self._total)
