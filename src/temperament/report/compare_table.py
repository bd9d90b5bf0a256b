"""The terminal table of a comparison: every method beside its controls, its transfer, its answers and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.evaluation.bootstrap import Measured
from temperament.report.summary import Figure, Method, figure, mapping, number, read_methods
from temperament.report.tables import cost_text, interval, plain_table

#: Measures shown, with the value that means no effect.
_COLUMNS = {
    "separation": ("separation\n(nats/token)", 0.0),
    "auc": ("AUC", 0.5),
    "transfer_auc": ("trans-\nfer AUC", 0.5),
    "generation": ("answers", 0.0),
}


def compare_table(summary: Mapping[str, Any]) -> Table:
    """One row per method, strongest separation first, within 80 columns; columns that no method has are left out.

    Intervals other than that of separation are in the report. Raises TemperamentError for a summary of another format.
    """
    methods = sorted(read_methods(summary), key=_rank)
    shown = [name for name in _COLUMNS if any(name in method.measures for method in methods)]
    heads = [_COLUMNS[name][0] for name in shown]
    if "separation" in shown:
        heads.insert(1, "controls")
    table = plain_table("method", *heads, "ppl")
    table.padding = (0, 1, 0, 0)
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    table.title = Text(_title(summary), style="bold")
    winner = mapping(summary.get("verdict")).get("winner")
    for method in methods:
        cells: list[str] = []
        for name in shown:
            cells.append(_cell(method, name))
            if name == "separation":
                cells.append(_range(method.empty(name)))
        cost = method.perplexity
        over = "!" if method.within_budget is False else ""
        cells.append("–" if cost is None else cost_text(cost) + over)
        table.add_row(Text(method.name), *map(Text, cells), style="bold" if method.name == winner else None)
    table.caption, table.caption_justify = Text(_caption(summary, methods)), "left"
    return table


def _title(summary: Mapping[str, Any]) -> str:
    budget = number(summary.get("budget"))
    limit = "" if budget is None else f"; perplexity at most × {budget:.2f}"
    return f"{summary['contrast'].get('name')} in {summary['model'].get('name')}{limit}"


def _rank(method: Method) -> float:
    effect = method.measures.get("separation")
    return float("inf") if effect is None else -effect.value


def _cell(method: Method, measure: str) -> str:
    found = method.measures.get(measure)
    if found is None:
        return "–"
    mark = "~" if method.stands_out(measure, _COLUMNS[measure][1]) is False else ""
    return mark + (_with_interval(found) if measure == "separation" else _value(found))


def _with_interval(found: Figure) -> str:
    low, high = (float("nan") if end is None else end for end in (found.low, found.high))
    return interval(Measured(found.value, low, high, found.n or 0))


def _value(found: Figure | None) -> str:
    return "–" if found is None else interval(Measured(found.value, float("nan"), float("nan"), 0))


def _range(figures: list[Figure]) -> str:
    if not figures:
        return "–"
    ends = (min(figures, key=lambda f: f.value), max(figures, key=lambda f: f.value))
    return " … ".join(dict.fromkeys(_value(end) for end in ends))


def _caption(summary: Mapping[str, Any], methods: list[Method]) -> str:
    lines = [str(sentence)] if (sentence := mapping(summary.get("verdict")).get("sentence")) else []
    lines += [f"{method.name} failed: {method.error}" for method in methods if method.error]
    if any(method.within_budget is False for method in methods):
        lines.append("! outside the budget")
    judge = mapping(summary.get("judge"))
    quality = figure(judge.get("auc"))
    if quality:
        lines.append(f"answers: {judge.get('label') or 'judge'}, plus − minus; its own AUC {_with_interval(quality)}")
    lines.append("[ ] 95 % bootstrap interval over items; controls: range of random edits and shuffled labels")
    lines.append("~ not told apart from no effect or from those controls")
    return "\n".join(lines)
