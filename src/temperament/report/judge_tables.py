"""Terminal tables of a judge's scores and of rankings by people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.endpoint_judge import Judgement
from temperament.evaluation.rank_scores import RankScores
from temperament.report.tables import interval, plain_table


def judge_table(judgements: Sequence[Judgement]) -> Table:
    """One row per method and pole, and one for the sum of both poles."""
    table = plain_table("", "pole", "trait (1–5)", "variance", "fluency (1–5)", "answers", "no score")
    for own in judgements:
        for pole, trait in own.trait.items():
            fluency = own.fluency.get(pole)
            missing = int(trait.extra["n_missing"])
            variance = trait.extra["variance"]
            cells = [_cell(trait), "–" if variance != variance else f"{variance:.2f}", _cell(fluency), str(trait.n)]
            table.add_row(own.method or "answers", pole, *cells, str(missing))
        if own.total:
            missing = int(own.total.extra["n_missing"])
            table.add_row(
                own.method or "answers", "sum of 10", _cell(own.total), "", "", str(own.total.n), str(missing)
            )
    return table


def rank_table(scores: RankScores) -> Table:
    """Methods from the best mean rank to the worst; agreement, chance levels and missing rows beneath."""
    table = plain_table("", "mean rank", "first (%)", "wins (%)", title=f"Ranked by people: {scores.criterion}")
    for name in sorted(scores.mean_rank, key=lambda name: scores.mean_rank[name].value):
        won = [
            figure.value if a == name else 100 - figure.value
            for (a, b), figure in scores.wins.items()
            if name in (a, b)
        ]
        cells = [_cell(scores.mean_rank[name]), _cell(scores.first[name], 0), f"{sum(won) / len(won):.0f}"]
        table.add_row(name, *cells)
    rank, first = (next(iter(part.values())).extra["chance"] for part in (scores.mean_rank, scores.first))
    table.add_row("chance", f"{rank:.2f}", f"{first:.0f}", "50")
    lines = [f"{scores.items} questions, {len(scores.missing)} judges, {sum(scores.missing.values())} rows missing"]
    lines.append(f"Kendall's W of the questions {_w(scores.concordance, 'on every question all methods tie')}")
    none = "all answers tie wherever two judges ranked" if len(scores.missing) > 1 else "it takes two judges"
    lines.append(f"Kendall's W of the judges {_w(scores.agreement, none)}")
    table.caption, table.caption_justify = "\n".join(lines), "left"
    return table


def _w(figure: Measured | None, none: str) -> str:
    """A coefficient beside what chance gives; a dash and why where there is none."""
    if figure is None or figure.value != figure.value:
        return f"– ({none})"
    return f"{_cell(figure)} (chance {figure.extra['chance']:.2f})"


def _cell(figure: Measured | None, places: int = 2) -> str:
    return interval(figure, places) if figure and figure.n else "–"
