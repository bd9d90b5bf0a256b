"""The ledger: which plan gave which record on which item, kept on disk line by line, so that no item runs twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from temperament.atomic import ensure_folder, finite, write_bytes
from temperament.errors import TemperamentError
from temperament.evaluation.instrument import Instrument, Record
from temperament.models import LoadedModel
from temperament.personas import Plan, package_versions
from temperament.wear import wear

Progress = Callable[[str, int, int], None]


class Ledger:
    """Runs instruments under plans and remembers every record, in memory and, with a folder, on disk.

    A file holds one JSON line per item, written as the item finishes; an interrupted run goes on behind the last
    complete line. A figure that is no finite number, as a broken model gives, is null. Texts that a plan was calibrated
    or tuned on are refused here, in the one place that every evaluation passes through.
    """

    def __init__(self, lm: LoadedModel, folder: Path | None = None, progress: Progress | None = None) -> None:
        if lm.worn:
            raise TemperamentError(
                "an evaluation starts from the unworn model, but a persona is worn", "leave lm.wear() first"
            )
        self._lm, self._progress = lm, progress
        self._folder = ensure_folder(folder) if folder else None
        self._known: dict[str, list[Record]] = {}

    def run(self, instrument: Instrument, plan: Plan, label: str) -> list[Record]:
        """The records of every item under ``plan``, in item order; only items without one are put to the model."""
        check_leak(instrument, plan)
        key = self._key(instrument, plan)
        if key not in self._known:
            path = self._folder / f"{label}-{instrument.name}-{key[:12]}.jsonl" if self._folder else None
            self._known[key] = self._fill(instrument, plan, label, path, key)
        return self._known[key]

    def _fill(self, instrument: Instrument, plan: Plan, label: str, path: Path | None, key: str) -> list[Record]:
        total = len(instrument)
        records = _read(path, key, total) if path else {}
        todo = [index for index in range(total) if index not in records]
        if todo:
            head = {"key": key, "instrument": instrument.name, "worn": str(plan), "side": label}
            with _Lines(path, head, records) as lines, wear(self._lm, plan):
                for index, record in instrument.run(self._lm, todo):
                    records[index] = json.loads(lines.add(index, record))["record"]
                    if self._progress:
                        self._progress(f"{label}: {instrument.name}", len(records), total)
        missing = total - len(records)
        if missing:
            raise RuntimeError(f"{instrument.name} left {missing} of {total} items without a record")
        return [records[index] for index in range(total)]

    def _key(self, instrument: Instrument, plan: Plan) -> str:
        """Identity of the numbers: model, dtype, items, and everything that is worn."""
        lm = self._lm
        edits = [[persona.edit.identity, persona.pole, strength] for persona, strength in plan.active]
        parts: list[Any] = [lm.fingerprint, lm.tokenizer_hash, lm.template_hash, str(lm.dtype), lm.device.type]
        parts += [package_versions(), instrument.hash, edits]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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


class _Lines:
    """A record file that grows by one flushed line per item; without a path nothing is written."""

    def __init__(self, path: Path | None, head: Record, records: dict[int, Record]) -> None:
        self._path = path
        if path:  # what was read is written anew, so that a damaged tail is gone
            lines = [json.dumps(head, ensure_ascii=False), *(_line(*item) for item in sorted(records.items()))]
            write_bytes(path, ("\n".join(lines) + "\n").encode())

    def __enter__(self) -> _Lines:
        try:
            self._stream = self._path.open("a", encoding="utf-8") if self._path else None
        except OSError as error:
            raise TemperamentError(
                f"{self._path} cannot be written: {error.strerror}", "choose another folder"
            ) from None
        return self

    def add(self, index: int, record: Record) -> str:
        """Append one record and return its line."""
        line = _line(index, record)
        if self._stream:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except OSError as error:
                raise TemperamentError(
                    f"{self._path} cannot be written: {error.strerror}", "free disk space or choose another folder"
                ) from None
        return line

    def __exit__(self, *_: object) -> None:
        if self._stream:
            with self._stream:
                os.fsync(self._stream.fileno())


def _line(index: int, record: Record) -> str:
    return json.dumps({"item": index, "record": finite(record)}, ensure_ascii=False, allow_nan=False)


def _read(path: Path, key: str, total: int) -> dict[int, Record]:
    """The complete records of a file that belongs to ``key``; anything behind the first damage is no record."""
    records: dict[int, Record] = {}
    try:
        head, *lines = path.read_bytes().split(b"\n")
        if json.loads(head).get("key") != key:
            return {}
        for line in lines[:-1]:  # a line without its end is not complete
            row = json.loads(line)
            if not isinstance(row["record"], dict) or row["item"] not in range(total):
                break
            records[row["item"]] = row["record"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return records
