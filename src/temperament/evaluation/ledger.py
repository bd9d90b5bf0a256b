"""The ledger: which plan gave which record on which item, kept on disk line by line, so that no item runs twice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder, finite, write_bytes
from temperament.errors import TemperamentError, WriteError
from temperament.evaluation.instrument import Instrument, Record
from temperament.models import LoadedModel
from temperament.personas import Plan, package_versions
from temperament.wear import wear

Progress = Callable[[str, int, int], None]


class Ledger:
    """Runs instruments under plans and remembers every record, in memory and, with a folder, on disk.

    A file holds one JSON line per item, written as the item finishes; an interrupted run goes on with the items that
    have no undamaged line. A figure that is no finite number, as a broken model gives, is null. Texts that a plan was
    calibrated or tuned on are refused here, in the one place that every evaluation passes through. A folder is for one
    process at a time: of several, the last to begin a file keeps it.
    """

    def __init__(self, lm: LoadedModel, folder: Path | None = None, progress: Progress | None = None) -> None:
        self._lm, self._progress = lm, progress
        check_unworn(lm)
        self._folder = ensure_folder(folder) if folder else None
        self._known: dict[str, dict[int, Record]] = {}

    def run(self, instrument: Instrument, plan: Plan, label: str) -> list[Record]:
        """The records of every item under ``plan``, in item order; only items without one are put to the model."""
        return self._run([instrument], plan, label, f"{label}: {instrument.name}")[0]

    def run_all(self, instruments: Sequence[Instrument], plan: Plan, label: str) -> list[list[Record]]:
        """As ``run`` for several instruments: the plan is worn once, and progress counts the items of all."""
        return self._run(instruments, plan, label, label)

    def _run(self, instruments: Sequence[Instrument], plan: Plan, label: str, step: str) -> list[list[Record]]:
        check_unworn(self._lm)
        for instrument in instruments:
            check_leak(instrument, plan)
        sheets = [self._open(instrument, plan, label) for instrument in instruments]
        if any(sheet.todo for sheet in sheets):
            total = sum(len(instrument) for instrument in instruments)

            def tick() -> None:
                if self._progress:
                    self._progress(step, sum(len(sheet.records) for sheet in sheets), total)

            with wear(self._lm, plan):
                for sheet in sheets:
                    sheet.fill(self._lm, tick)
        return [sheet.complete() for sheet in sheets]

    def _open(self, instrument: Instrument, plan: Plan, label: str) -> _Sheet:
        key = self._key(instrument, plan)
        path = self._folder / _file_name(label, instrument.name, key) if self._folder else None
        if key not in self._known:
            self._known[key] = _read(path, key, len(instrument)) if path else {}
        return _Sheet(instrument, plan, label, key, path, self._known[key])

    def _key(self, instrument: Instrument, plan: Plan) -> str:
        """Identity of the numbers: model, dtype, items, and everything that is worn."""
        lm = self._lm
        edits = [[persona.edit.identity, persona.pole, strength] for persona, strength in plan.active]
        parts: list[Any] = [lm.fingerprint, lm.tokenizer_hash, lm.template_hash, str(lm.dtype), lm.device.type]
        parts += [lm.system_prompt, package_versions(), instrument.hash, edits]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_unworn(lm: LoadedModel) -> None:
    """Raise if anything is worn: what a plan is compared with would not be the model itself."""
    if lm.worn:
        raise TemperamentError(
            "an evaluation starts from the unworn model, but a persona is worn", "leave lm.wear() first"
        )


def check_leak(instrument: Instrument, plan: Plan) -> None:
    """Raise if any item's text was used to calibrate or to tune what is worn."""
    for persona, _ in plan.active:
        leaked = instrument.groups & persona.groups
        if leaked:
            raise TemperamentError(
                f"{len(leaked)} of {len(instrument.groups)} texts of {instrument.name} were used to calibrate or tune "
                f"{persona.name!r}",
                "evaluate on other texts, such as the test split of the same file (FILE#test), and extract from its "
                "calibration split",
            )


def check_finite(records: Sequence[Record], plan: Plan, name: str) -> None:
    """Raise if any record lacks a figure because the model gave none that is a finite number."""
    if any(None in _leaves(record) for record in records):
        worn = f"wearing {plan}" if plan.active else "unworn"
        raise TemperamentError(
            f"the model, {worn}, gives figures on {name} that are no finite numbers",
            "use a smaller strength" if plan.active else "load it with another dtype, such as float32",
        )


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


class _Sheet:
    """The records of one instrument under one plan; ``records`` is shared with the ledger and grows in place."""

    def __init__(
        self, instrument: Instrument, plan: Plan, label: str, key: str, path: Path | None, records: dict[int, Record]
    ) -> None:
        self._instrument, self._path, self.records = instrument, path, records
        self._head = {"key": key, "instrument": instrument.name, "worn": str(plan), "side": label}

    @property
    def todo(self) -> list[int]:
        return [index for index in range(len(self._instrument)) if index not in self.records]

    def fill(self, lm: LoadedModel, tick: Callable[[], None]) -> None:
        """Put the items without a record to ``lm``; ``tick`` is called behind each."""
        waiting = set(self.todo)
        if not waiting:
            return
        with _Lines(self._path, self._head, self.records) as lines:
            for index, record in self._instrument.run(lm, sorted(waiting)):
                if index not in waiting:
                    raise RuntimeError(f"{self._instrument.name} gave a record of item {index}, which was not to do")
                waiting.remove(index)
                line = _line(index, record)
                lines.add(line)
                self.records[index] = json.loads(line)["record"]
                tick()
        if waiting:
            raise RuntimeError(
                f"{self._instrument.name} left {len(waiting)} of {len(self._instrument)} items without a record"
            )

    def complete(self) -> list[Record]:
        return [self.records[index] for index in range(len(self._instrument))]


class _Lines:
    """A record file that grows by one flushed line per item; without a path nothing is written."""

    def __init__(self, path: Path | None, head: Mapping[str, str], records: Mapping[int, Record]) -> None:
        self._path = path
        if path:  # what was read is written anew, so that damaged lines are gone
            lines = [_dump(head), *(_line(*item) for item in sorted(records.items()))]
            write_bytes(path, b"\n".join(lines) + b"\n")

    def __enter__(self) -> _Lines:
        try:
            self._stream = self._path.open("ab") if self._path else None
        except OSError as error:
            raise WriteError(self._path, error.strerror) from None
        return self

    def add(self, line: bytes) -> None:
        if self._stream:
            try:
                self._stream.write(line + b"\n")
                self._stream.flush()
            except OSError as error:
                raise WriteError(self._path, error.strerror) from None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._stream:
            try:
                with self._stream:
                    os.fsync(self._stream.fileno())
            except OSError as error:  # closing writes what a full disk refused before: one report is enough
                if kind is None:
                    raise WriteError(self._path, error.strerror) from None


def _file_name(label: str, instrument: str, key: str) -> str:
    """A plain file name, whatever stands in the labels."""
    words = (re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:80].strip("._-") or "_" for text in (label, instrument))
    return "-".join((*words, f"{key[:12]}.jsonl"))


def _line(index: int, record: Record) -> bytes:
    """One line with its own checksum, by which a damaged one is known."""
    row = {"item": index, "record": finite(record)}
    return _dump({**row, "crc32": zlib.crc32(_dump(row))})


def _dump(value: Mapping[str, Any]) -> bytes:
    # json.loads reads bytes with the same error handler
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def _read(path: Path, key: str, total: int) -> dict[int, Record]:
    """The undamaged records of a file that belongs to ``key``; of two of one item, the first."""
    try:
        head, *lines = path.read_bytes().split(b"\n")
        if json.loads(head)["key"] != key:
            return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    records: dict[int, Record] = {}
    for line in lines:
        try:
            row = json.loads(line)
            index, record = row["item"], row["record"]
            whole = _line(index, record) == line
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if whole and index in range(total):
            records.setdefault(index, record)
    return records
