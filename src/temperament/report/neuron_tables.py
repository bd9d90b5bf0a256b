"""Terminal tables of neuron analyses."""

from __future__ import annotations

from rich.table import Table

from temperament.analyze.neurons import NeuronAnalysis
from temperament.report.tables import plain_table, shortened


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
    table = plain_table("layer", *analysis.by_layer, title="Neurons per layer (plus / minus)")
    for layer in range(len(analysis.widths)):
        cells = [f"{counts['plus'][layer]} / {counts['minus'][layer]}" for counts in analysis.by_layer.values()]
        table.add_row(str(layer), *cells)
    return table


def overlap_table(analysis: NeuronAnalysis) -> Table:
    """Jaccard index of the neuron sets, and the share of the common ones that keep their sign."""
    heads = [shortened(name, 8) for name in analysis.overlap]
    table = plain_table("", *heads, title="Overlap: Jaccard index, and share of the common ones with the same sign")
    for a, row in analysis.overlap.items():
        cells = []
        for b, cell in row.items():
            same = cell["same_sign"]
            shown = f"{cell['jaccard']:.2f}"
            cells.append("" if a == b else shown if same is None else f"{shown} {100 * same:.0f}%")
        table.add_row(a, *cells)
    return table
