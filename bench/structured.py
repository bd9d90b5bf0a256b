"""What removing a quarter of the MLP channels buys and costs: generation on the CPU, perplexity, separation."""

from __future__ import annotations

from bench.table import Row
from temperament.calibration import resolve_contrast
from temperament.evaluation.ledger import Ledger
from temperament.export import choose, importance, plan_sizes, smaller
from temperament.export.measure import measure, speed, variants
from temperament.export.sizes import Sizes
from temperament.language_model import LanguageModel
from temperament.personas import Plan, extract
from temperament.report.tables import interval

SHARE = 0.25


def speed_rows(lm: LanguageModel, rounds: int) -> list[Row]:
    """Generation of the dense and the smaller model, in turn, for one request and for eight."""
    full = Sizes.of(lm)
    sizes = plan_sizes(lm, SHARE)
    small = smaller(lm, choose(importance(lm), full, sizes))
    label = str(lm.dtype).removeprefix("torch.")
    rows = []
    for requests in (1, 8):
        timing = speed(lm.model, small, rounds, requests)
        name = "one request" if requests == 1 else f"a batch of {requests}"
        rows.append(
            Row(
                f"generation, dense / {full.channels} → {sizes.channels} channels, {label}, {name}",
                f"{timing.ratio:.3f} × ({timing.first:.2f} s / {timing.second:.2f} s)",
                "≥ 1.15" if requests == 1 else "",
                timing.ratio >= 1.15 if requests == 1 else None,
            )
        )
    return rows


def cost_rows(lm: LanguageModel) -> list[Row]:
    """Perplexity and separation of a pair of masks, baked in and cut, beside the dense model and other cuts."""
    found = extract(lm, resolve_contrast("extraversion"))
    poles = Plan.of(found.plus), Plan.of(found.minus)
    _, rows = variants(lm, *poles, plan_sizes(lm, SHARE), merged=True)
    figures = measure(Ledger(lm), rows, resolve_contrast("extraversion", split="test"))
    return [
        Row(
            f"{name}, contrastive-tilt on built-in extraversion",
            f"perplexity × {row.perplexity.value:.2f}, separation {interval(row.separation)}",
        )
        for name, row in figures.items()
        if row.separation
    ]
