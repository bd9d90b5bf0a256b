"""Run a comparison: every method's entry, then what came out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from temperament.atomic import encode_text, write_bytes
from temperament.compare.entries import Entries, Tell
from temperament.compare.findings import Findings
from temperament.compare.judge import comparison_judge
from temperament.compare.measuring import Worn
from temperament.compare.pace import Pace
from temperament.compare.settings import PROMPT, Settings, method_options, read_texts
from temperament.compare.workers import spread
from temperament.errors import TemperamentError, WriteError
from temperament.evaluation.ledger import Progress
from temperament.models import LoadedModel


def compare(
    lm: LoadedModel,
    settings: Settings,
    folder: Path,
    *,
    command: str = "",
    jobs: int = 1,
    progress: Progress | None = None,
    note: Tell | None = None,
) -> dict[str, Any]:
    """Compare methods on one contrast and return the summary (``summary.json``), plain JSON values.

    Every method is tuned on validation items to the largest strength within the budget, then measured once on test
    items, beside its controls. Personas, signatures and the record of every item are kept in ``folder``, so that an
    interrupted comparison goes on where it stopped. A method that fails is named with its reason; the others go on.
    With several ``jobs``, processes that load the model anew share the methods (``workers``); a script that asks for
    them needs the usual ``if __name__ == "__main__"``.
    """
    for name, values in settings.options.items():  # a part of no model is told before anything is measured
        if plan := method_options(name, values)[1]:
            plan.check(lm.linears)
    texts, tell = read_texts(settings), note or (lambda _: None)
    judge = comparison_judge(texts, tell)
    pace = Pace(len(settings.names) - 1)  # the prompt, tuned in nothing, is soon done
    entries = Entries(lm, settings, texts, judge, folder, pace.before(progress))
    measuring = entries.measuring
    findings = Findings(lm, settings, texts, judge, command, measuring.base_perplexity(), measuring.unworn_answers())
    pairs: dict[str, Worn] = {}
    for name in settings.names:
        start = time.perf_counter()
        try:
            entry = entries.entry(name, tell)
        except WriteError:
            raise
        except TemperamentError as error:
            tell(f"{name}: {error}")
            findings.methods[name] = {"kind": "", "error": str(error)}
        else:
            if name == PROMPT:
                entries.prompt_works()
            pairs[name], findings.methods[name], findings.answers[name] = entry.worn, entry.summary, entry.answers
        findings.methods[name]["seconds"] = entries.clock.of(name)
        _write(folder, findings.as_json(entries.clock.total(settings.names)))
        if name != PROMPT:
            pace.finished(time.perf_counter() - start)
        elif jobs > 1:  # what all methods are compared with is on record: they can be shared out
            measuring.unworn_tuning()
            if not spread(lm, settings, folder, jobs, progress, prompt=name in pairs):
                tell("a process that shared the methods has died: what it left is done here, alone")
    if entries.further:
        try:
            findings.specificity = entries.further.specificity(pairs)
        except WriteError:
            raise
        except TemperamentError as error:
            tell(f"specificity: {error}")
    return _write(folder, findings.as_json(entries.clock.total(settings.names)))


def _write(folder: Path, summary: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(summary, ensure_ascii=False, indent=1, allow_nan=False)
    write_bytes(folder / "summary.json", encode_text(text))
    return summary
