"""Terminal tables of mask analyses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table

from temperament.analyze.hidden_states import Band
from temperament.analyze.masks import MaskAnalysis
from temperament.analyze.separating import BY, PersonaPair, separating
from temperament.report.tables import plain_table, shortened

#: Places shown in a ranking.
_SHOWN = 8


def mask_tables(analysis: MaskAnalysis) -> Iterator[Table]:
    """The personas and their keys, all pairs, the Jaccard matrix; then opposite poles one by one.

    For these hidden states by layer, and what tells them apart best.
    """
    keys = {name: _key(index) for index, name in enumerate(analysis.personas)}
    yield personas_table(analysis, keys)
    yield ratio_table(analysis, keys)
    if len(keys) > 2:
        yield jaccard_table(analysis, keys)
    for pair in analysis.opposites:
        if pair.apart:
            yield states_table(analysis, pair, keys)
        yield separating_table(analysis, pair, keys)


def personas_table(analysis: MaskAnalysis, keys: Mapping[str, str]) -> Table:
    """What each key stands for, and how many weights it edits."""
    table = plain_table("", "persona", "method", "edits, %", "strength", title=f"Personas of {analysis.model}")
    table.columns[1].justify = table.columns[2].justify = "left"
    for name, facts in analysis.personas.items():
        method = str(facts["method"] or facts["kind"])
        table.add_row(keys[name], shortened(name, 34), method, _percent(facts["share"]), f"{facts['strength']:g}")
    return table


def ratio_table(analysis: MaskAnalysis, keys: Mapping[str, str]) -> Table:
    """Differential ratio in % (PS Table 2) and Jaccard index (PS Table 13), beside the random pair and chance."""
    table = plain_table(
        "",
        "differ, %",
        "attention",
        "MLP",
        "random",
        "chance",
        "Jaccard",
        "random",
        "chance",
        title=f"Entries that differ (mean over Linears), and Jaccard index of {analysis.compared}",
    )
    for pair in analysis.pairs:
        ratios, chance = pair.overlap.ratios, pair.overlap.by_chance
        table.add_row(
            _name(pair, keys),
            *(_percent(ratios[part]) for part in ("all", "attention", "mlp")),
            _mean(_percent, [control.overlap.ratio() for control in pair.random]),
            _percent(chance.ratio()),
            f"{pair.overlap.jaccard(kept=analysis.kept):.3f}",
            _mean("{:.3f}".format, [control.overlap.jaccard(kept=analysis.kept) for control in pair.random]),
            f"{chance.jaccard(kept=analysis.kept):.3f}",
        )
    notes = ["random: opposite poles found without meaning; chance: independent edits of the same size"]
    notes += [f"no random pair: {why}" for why in sorted({pair.why for pair in analysis.pairs if pair.why})]
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def jaccard_table(analysis: MaskAnalysis, keys: Mapping[str, str]) -> Table:
    """The matrix of Jaccard indices (PS Table 13); below the diagonal what chance gives."""
    title = f"Jaccard index of {analysis.compared} (below the diagonal: chance)"
    table = plain_table("", *keys.values(), title=title)
    cells = {}
    for pair in analysis.pairs:
        first, second = sorted((pair.first, pair.second), key=list(keys).index)
        cells[first, second] = f"{pair.overlap.jaccard(kept=analysis.kept):.3f}"
        cells[second, first] = f"({pair.overlap.by_chance.jaccard(kept=analysis.kept):.3f})"
    for name in keys:
        table.add_row(keys[name], *(cells.get((name, other), "") for other in keys))
    return table


def states_table(analysis: MaskAnalysis, pair: PersonaPair, keys: Mapping[str, str]) -> Table:
    """Cosine of mean hidden states by layer (PS Table 3); the random control in brackets."""
    first, second = keys[pair.first], keys[pair.second]
    table = plain_table(
        "",
        f"{first}, base",
        f"{second}, base",
        f"{first}, {second}",
        "shifts",
        "apart",
        title=f"Cosine of mean hidden states by layer, {analysis.texts} texts: {_name(pair, keys)}",
    )
    if pair.apart is None:
        raise ValueError("nothing was run through the model")
    own, control = pair.apart, pair.random[0] if pair.random else None
    bands = [analysis.base[pair.first], analysis.base[pair.second], own.cosine, own.shifts, own.distance]
    others: list[Band | None] = [None] * len(bands)
    if control and control.apart and control.base:
        others = [*control.base, control.apart.cosine, control.apart.shifts, control.apart.distance]
    for layer in range(analysis.depth):
        cells = [
            f"{band.value[layer]:.3f}" + (f" ({other.value[layer]:.3f})" if other else "")
            for band, other in zip(bands, others, strict=True)
        ]
        table.add_row(str(layer), *cells)
    lines = [
        "base: the unworn model; shifts: cosine of the two differences to it",
        "apart: length of the difference between the two, relative to its states",
        *(["( ) the same of a random pair"] if control else []),
    ]
    table.caption, table.caption_justify = "\n".join(lines), "left"
    return table


def separating_table(analysis: MaskAnalysis, pair: PersonaPair, keys: Mapping[str, str]) -> Table:
    """Modules, and the layers and Linears that tell the pair apart best."""
    rule = "mean states or outputs apart" if pair.apart else "entries that differ"
    title = f"What tells {_name(pair, keys)} apart, ranked by {rule}"
    table = plain_table(
        "", "differ, %", "random", "chance", *(("apart, %", "random") if pair.apart else ()), title=title
    )
    for by in BY:
        table.add_row(f"[{by}]")
        for place in separating(pair, analysis.depth, by)[:_SHOWN]:
            cells = [place.share, place.random_share, place.chance]
            cells += [place.distance, place.random_distance] if pair.apart else []
            table.add_row(place.name, *("–" if value is None else _percent(value) for value in cells))
    return table


def _key(index: int) -> str:
    """A, B, …, Z, AA, …"""
    return (_key(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def _name(pair: PersonaPair, keys: Mapping[str, str]) -> str:
    return f"{keys[pair.first]} / {keys[pair.second]}"


def _mean(shown: Callable[[float], str], values: Sequence[float]) -> str:
    return shown(sum(values) / len(values)) if values else "–"


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
