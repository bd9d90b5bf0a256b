"""Which table is made by what, and one call that makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from temperament.atomic import ensure_folder, write_json
from temperament.errors import TemperamentError
from temperament.evaluation.ledger import Progress
from temperament.models import LoadedModel
from temperament.reproduce.bench import Bench, Note
from temperament.reproduce.npti1 import LocalScores, PoleJudge, npti_1
from temperament.reproduce.npti3 import npti_3
from temperament.reproduce.ps4 import ps_4
from temperament.reproduce.ps6 import ps_6
from temperament.reproduce.ps8 import ps_8
from temperament.reproduce.settings import Settings
from temperament.reproduce.table import Reproduced

#: Tables by name, with what they show.
TABLES: dict[str, str] = {
    "ps-4": "two-choice accuracy of every method on power, wealth and hallucination",
    "ps-6": "HellaSwag, MMLU and perplexity before and after",
    "ps-8": "calibration size",
    "npti-1": "judge's means and variances of both poles of the five traits",
    "npti-3": "individual alignment error",
}
_MAKERS: dict[str, Callable[[Bench], Reproduced]] = {"ps-4": ps_4, "ps-6": ps_6, "ps-8": ps_8, "npti-3": npti_3}


def check_table(name: str) -> None:
    """Raise unless there is a table of that name."""
    if name not in TABLES:
        raise TemperamentError(f"unknown table {name!r}", f"use one of {', '.join(TABLES)}")


def reproduce(
    lm: LoadedModel,
    settings: Settings,
    folder: Path,
    *,
    judge: PoleJudge | None = None,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Reproduced:
    """Make a table of a paper for the model at hand and write it to ``folder/NAME.json``.

    Personas and the record of every item are kept in ``folder``, so that an interrupted run goes on where it stopped.
    A method that fails is named with its reason and the others go on. ``judge`` (``npti-1``) is the local one unless
    given.
    """
    check_table(settings.name)
    bench = Bench(lm, settings, ensure_folder(folder), progress, note)
    table = npti_1(bench, judge or LocalScores()) if settings.name == "npti-1" else _MAKERS[settings.name](bench)
    write_json(folder / f"{settings.name}.json", table.as_json())
    return table
