"""What all tables share: rows of methods, their pairs, records through one ledger, controls, provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder
from temperament.calibration import Contrast
from temperament.compare.candidates import Candidate, Workshop
from temperament.compare.settings import PROMPT, Texts
from temperament.errors import TemperamentError, WriteError
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.instrument import Instrument, Record
from temperament.evaluation.ledger import Ledger, Progress
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity
from temperament.methods import METHODS
from temperament.models import LoadedModel
from temperament.personas import MaskEdit, Persona, Plan, package_versions
from temperament.reproduce.paper import Printed
from temperament.reproduce.settings import Settings
from temperament.reproduce.table import Column, Reproduced, Role, Row

Note = Callable[[str], None]
Poles = tuple[Persona, Persona]

#: Methods of this project that stand below the printed ones.
OURS = ("contrastive-tilt", "contrastive-saliency", "neurons", "vector")
#: Seed of the random edit that stands beside every edit.
RANDOM = 0


@dataclass(frozen=True)
class Sides:
    """Records of one instrument wearing plus, wearing minus and unworn."""

    plus: list[Record]
    minus: list[Record]
    base: list[Record]


class Bench:
    """Runs the methods of a table and collects its rows, notes and provenance; all records are kept in ``folder``."""

    def __init__(
        self,
        lm: LoadedModel,
        settings: Settings,
        folder: Path,
        progress: Progress | None = None,
        note: Note | None = None,
    ) -> None:
        self.lm, self.settings, self.progress = lm, settings, progress
        self.ledger = Ledger(lm, ensure_folder(folder / "records"), progress)
        self._folder, self._tell = folder, note or (lambda _: None)
        self._workshops: dict[str, Workshop] = {}
        self.notes: list[str] = []
        self.data: dict[str, Any] = {}
        self.neutral = Passages(neutral_passages()[: settings.limit], "neutral")

    @property
    def seed(self) -> int:
        return self.settings.seed

    def note(self, text: str) -> None:
        """A remark that stands under the table, and is told at once."""
        if text not in self.notes:
            self.notes.append(text)
            self._tell(text)

    def rows(self, printed: Sequence[Printed], ours: Sequence[str] = OURS) -> list[Row]:
        """A row for every method asked for, the paper's rows first, with their figures still to come."""
        labels = {row.method: row.label for row in printed}
        own = tuple(name for name in ours if name not in labels)
        chosen = tuple(dict.fromkeys(self.settings.methods)) or (*labels, *own)
        known = {PROMPT, *labels, *(method.name for method in METHODS)}
        for name in chosen:
            if name not in known:
                raise TemperamentError(f"unknown method {name!r}", f"use some of {', '.join(sorted(known))}")
        ordered = [name for name in labels if name in chosen] + [name for name in chosen if name not in labels]
        return [Row(name, labels.get(name, name), "printed" if name in labels else "ours") for name in ordered]

    def candidate(self, group: str, calibration: Contrast, row: Row) -> Candidate:
        """The pair that a row's method finds in the calibration texts of a group of columns."""
        installed(row.name)
        if group not in self._workshops:
            texts = Texts(calibration, calibration, calibration)
            place = self._folder / "found" / group
            self._workshops[group] = Workshop(self.lm, texts, self.seed, place, self.progress)
        found = self._workshops[group].candidate(row.name)
        row.settings |= described(found.plus)
        return found

    def attempt(self, row: Row, group: str, work: Callable[[], None]) -> None:
        """Run one method for one group of columns; what goes wrong becomes the reason in its row."""
        try:
            work()
        except WriteError:
            raise
        except (TemperamentError, ValueError, RuntimeError) as error:
            reason = str(error) if isinstance(error, TemperamentError) else f"{type(error).__name__}: {error}"
            row.errors[group] = " ".join(reason.split())
            self._tell(f"{row.label}, {group}: {row.errors[group]}")

    def sides(self, instrument: Instrument, poles: Poles, label: str) -> Sides:
        """Records under both personas at strength 1 and under nothing."""
        plus, minus = (Plan.of(persona) for persona in poles)
        return Sides(
            self.ledger.run(instrument, plus, f"{label}-plus"),
            self.ledger.run(instrument, minus, f"{label}-minus"),
            self.ledger.run(instrument, Plan(), "unworn"),
        )

    def random(self, candidate: Candidate) -> Poles | None:
        """The same edit without its meaning; None for what edits nothing, such as a prompt."""
        if candidate.random is None:
            return None
        try:
            return candidate.random(RANDOM)
        except TemperamentError as error:
            self.note(f"{candidate.name}: no random control ({error})")
            return None

    def cost(self, poles: Poles, label: str) -> Measured:
        """Perplexity on neutral text, worn to unworn, the worse pole."""
        found = self.sides(self.neutral, poles, label)
        arrays = [passage_array(side) for side in (found.plus, found.minus, found.base)]
        return perplexity(arrays[0], arrays[1], arrays[2], seed=self.seed)

    def finish(
        self,
        title: str,
        source: str,
        printed: str,
        groups: Mapping[str, tuple[Column, ...]],
        rows: Sequence[Row],
        first: str = "method",
        methods: Sequence[Row] = (),
    ) -> Reproduced:
        """The table; an error if no method gave any figure. ``methods`` is for tables whose rows are none."""
        lm = self.lm
        self.notes += settings_notes(methods or rows)
        provenance = {
            "model": {
                "name": lm.name,
                "revision": lm.revision,
                "fingerprint": lm.fingerprint,
                "dtype": str(lm.dtype).removeprefix("torch."),
                "device": lm.device.type,
            },
            "data": self.data,
            "methods": {row.name: row.settings for row in methods or rows if row.settings},
            "seed": self.seed,
            "limit": self.settings.limit,
            "versions": package_versions(),
        }
        table = Reproduced(
            self.settings.name, title, source, printed, groups, tuple(rows), tuple(self.notes), provenance, first
        )
        if not table.measured_rows:
            reason = next((reason for row in rows for reason in row.errors.values()), "no method was asked for")
            raise TemperamentError(
                f"no method of {self.settings.name} gave a figure: {reason.split('; ')[0]}",
                "choose other methods with --methods, or see what was said above",
            )
        return table


def installed(name: str) -> None:
    """Raise unless the method is there to be used."""
    if name != PROMPT and name not in {method.name for method in METHODS}:
        raise TemperamentError("not installed", f"this version has no method {name!r}")


def described(persona: Persona) -> dict[str, Any]:
    """Method settings of a persona worn at strength 1, as plain JSON values."""
    method = persona.provenance.get("method") or {}
    found: dict[str, Any] = {"strength": 1.0, **dict(method.get("parameters") or {})}
    if isinstance(persona.edit, MaskEdit):
        found["sparsity"] = str(persona.edit.sparsity)
    return found


def settings_notes(rows: Sequence[Row]) -> list[str]:
    """What every method was run with, in one line."""
    named = [(row.label, row.settings) for row in rows if row.settings and row.role != "control"]
    shown = "; ".join(
        f"{label}: {', '.join(f'{key} {_short(value)}' for key, value in settings.items())}"
        for label, settings in named
    )
    return [f"settings, the project's defaults and not tuned: {shown}"] if shown else []


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def control(name: str, label: str) -> Row:
    """A row that shows what nothing, or a fixed habit, scores."""
    role: Role = "control"
    return Row(name, label, role)
