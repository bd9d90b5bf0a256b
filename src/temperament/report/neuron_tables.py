"""Terminal tables of neuron analyses."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from temperament.analyze.neurons import NeuronAnalysis
from temperament.report.tables import plain_table, shortened

#: Columns of a terminal that tables must fit.
_WIDTH = 80


def neurons_table(analysis: NeuronAnalysis) -> Table:
    """Neurons per persona and pole: how many, in which part of the depth, and how different their activity is."""
    total, layers = sum(analysis.widths), len(analysis.widths)
    table = plain_table(
        "", "plus", "minus", "share", "by third of the depth", title=f"Personality neurons in {analysis.model}"
    )
    for name, counts in analysis.by_layer.items():
        both = [a + b for a, b in zip(counts["plus"], counts["minus"], strict=True)]
        thirds = [sum(both[layers * k // 3 : layers * (k + 1) // 3]) for k in range(3)]
        share = sum(both) / total
        depth = " ".join(f"{100 * part / max(sum(both), 1):.0f} %" for part in thirds)
        table.add_row(name, str(sum(counts["plus"])), str(sum(counts["minus"])), f"{100 * share:.1f} %", depth)
    return table


def layers_table(analysis: NeuronAnalysis) -> Table:
    """Neurons per layer, plus / minus, one column per persona."""
    table = plain_table("layer", *_heads(analysis, len("layer") + 1), title="Neurons per layer (plus / minus)")
    table.padding = (0, 1, 0, 0)
    for layer in range(len(analysis.widths)):
        cells = [f"{counts['plus'][layer]} / {counts['minus'][layer]}" for counts in analysis.by_layer.values()]
        table.add_row(str(layer), *cells)
    return table


def overlap_table(analysis: NeuronAnalysis) -> Table:
    """Jaccard index of the neuron sets and the share of the common ones that keep their sign; below it chance."""
    names = list(analysis.overlap)
    heads = _heads(analysis, max(map(len, names)), len("1.000 100 %"))
    table = plain_table("", *heads, title="Overlap: Jaccard index, and share of the common ones with the same sign")
    table.padding = (0, 1, 0, 0)
    for at, (a, row) in enumerate(analysis.overlap.items()):
        below = [f"({row[b]['chance']:.3f})" for b in names[:at]]
        table.add_row(a, *below, "", *(_common(row[b]) for b in names[at + 1 :]))
    table.caption = "( ) the Jaccard index that independent sets of these sizes give"
    table.caption_justify = "left"
    return table


def _common(cell: Mapping[str, float | None]) -> str:
    same = cell["same_sign"]
    return f"{cell['jaccard']:.3f}" + ("" if same is None else f" {100 * same:.0f} %")


def _heads(analysis: NeuronAnalysis, first: int, cell: int = 0) -> list[str]:
    """Names of the personas, cut only where they would not fit: a first column and cells have such a width."""
    names = list(analysis.by_layer)

    def fits(most: int) -> bool:
        return first + sum(1 + max(cell, min(len(name), most)) for name in names) <= _WIDTH

    return [shortened(name, max(filter(fits, range(8, _WIDTH)), default=8)) for name in names]
