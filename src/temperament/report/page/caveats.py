"""What the figures do not say: general limits, and those that this comparison's own figures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from temperament.evaluation.loops import goes_round
from temperament.report.page.numbers import plain
from temperament.report.summary import Method, figure, mapping, sequence


def caveats(summary: Mapping[str, Any], methods: Sequence[Method]) -> list[str]:
    """One sentence or two each, the contrast's own notes last."""
    measured = [method for method in methods if method.measures]
    notes = [
        "Effects on log-probabilities need not carry over to what a model writes freely; where generated answers were "
        "judged, both figures are given.",
        "Intervals are 95 % bootstrap intervals over items, with one model and one split. They do not cover other "
        "seeds, models or wordings, and with many methods some will look good by chance.",
    ]
    found = (_judge(summary), _repeating(measured), _few(measured), _lost(measured), _not_apart(measured))
    notes += [note for note in found if note]
    uncontrolled = [m.name for m in measured if "separation" in m.measures and not m.empty("separation")]
    if uncontrolled:
        notes.append(f"Without random or shuffled controls, held against no effect alone: {', '.join(uncontrolled)}.")
    over = [method.name for method in measured if method.within_budget is False]
    if over:
        notes.append(
            f"Outside the perplexity budget on the test split, not comparable with the rest: {', '.join(over)}."
        )
    failed = [method.name for method in methods if method.error]
    if failed:
        notes.append(f"Failed, no or partial figures: {', '.join(failed)}.")
    licence = mapping(summary.get("contrast")).get("licence")
    if licence:
        notes.append(f"Licence of the contrast's texts: {licence}.")
    return [*notes, *(str(note) for note in sequence(mapping(summary.get("contrast")).get("notes")))]


#: Items below which an interval over them says little.
_FEW = 20


def _repeating(methods: Sequence[Method]) -> str:
    """Which methods' test answers go round in circles, whatever the tuning answers did."""
    worse = [
        method.name for method in methods if goes_round(mapping(mapping(method.raw.get("measures")).get("fluency")))
    ]
    named = ", ".join(worse)
    return f"Test answers repeat themselves much more than those of the unworn model: {named}." if worse else ""


def _few(methods: Sequence[Method]) -> str:
    """Measures over so few items that even their intervals say little."""
    few: dict[str, int] = {}
    for method in methods:
        few |= {name: found.n for name, found in method.measures.items() if found.n and found.n < _FEW}
    named = ", ".join(f"{name} ({count})" for name, count in sorted(few.items()))
    return f"Few items, so that intervals are no sound guide either: {named}." if named else ""


def judge_label(summary: Mapping[str, Any]) -> str:
    """``local judge, AUC 0.93 [0.90, 0.96]``; empty without a judge."""
    judge = mapping(summary.get("judge"))
    if not judge:
        return ""
    label, found = str(judge.get("label") or "judge"), figure(judge.get("auc"))
    if found is None:
        return f"{label}, AUC not measured"
    inside = "" if found.low is None else f" [{plain(found.low)}, {plain(found.high)}]"
    return f"{label}, AUC {plain(found.value)}{inside}"


def _judge(summary: Mapping[str, Any]) -> str:
    label = judge_label(summary)
    if not label:
        return ""
    return f"Generated answers were scored by the {label} on held-out texts. It reads single answers, not a person."


def _lost(methods: Sequence[Method]) -> str:
    """Methods whose separation stands out while their judged answers do not."""
    lost = [m.name for m in methods if m.stands_out("separation") and m.stands_out("generation") is False]
    if not lost:
        return ""
    return f"Separation stands out from its controls but the generated answers do not: {', '.join(lost)}."


def _not_apart(methods: Sequence[Method]) -> str:
    same = [m.name for m in methods if m.empty("separation") and m.stands_out("separation") is False]
    if not same:
        return ""
    return f"Effect not told apart from random edits or shuffled labels (drawn hollow): {', '.join(same)}."
