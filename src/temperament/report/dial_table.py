"""The terminal table of a dial: what each pole is worn at, what that gains and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from temperament.evaluation.dial import Dialled
from temperament.report.tables import cost_text, interval, plain_table, signed


def dial_table(found: Sequence[Dialled]) -> Table:
    """One row per pole; scores in nats per token towards that pole."""
    first = found[0].dial
    title = f"{first.target} within × {first.budget:.2f} perplexity; {first.data.name}, {first.data.split} split"
    table = plain_table(
        "", "strength", "unworn", "goal", "score", "gain\n(nats)", "gain\n(SD)", "ppl\nratio", title=title
    )
    table.padding = (0, 1, 0, 0)
    for one in found:
        dial = one.dial
        cells = [f"{dial.strength:.3g}", *(f"{value:.2f}" for value in (dial.unworn, dial.goal, dial.score))]
        cells += [interval(one.gain), signed(one.gain.value / dial.sd), cost_text(dial.perplexity)]
        table.add_row(one.persona.pole + ("" if dial.reached else " !"), *cells)
    lines = [
        f"score: mean of the pole's statements − mean of the other's, nats/token; SD within poles {first.sd:.2f}",
        f"These {first.data.plus} + {first.data.minus} texts are the ones it was tuned on, so this proves nothing:",
        "run 'temperament evaluate' on test texts.",
    ]
    if not all(one.dial.reached for one in found):
        lines.append("! the goal lies beyond the budget; the closest strength was kept")
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table
