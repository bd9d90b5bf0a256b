"""PS Table 8: how many calibration texts a persona needs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from temperament.calibration import Contrast, resolve_contrast
from temperament.evaluation.auc import auc
from temperament.evaluation.bootstrap import Array
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.personas import Persona
from temperament.reproduce.bench import Bench, control
from temperament.reproduce.paper import PS, PS_8, PS_8_SIZES
from temperament.reproduce.table import Column, Reproduced, Row

#: Our method beside the paper's two, the sizes beyond the paper's, test texts per pole.
TILT = "contrastive-tilt"
SIZES = (*PS_8_SIZES, 200)
TEST = 60

COLUMNS = (
    Column("separation", "separation", "ours", "nats/token", 2, overview=True),
    Column("auc", "AUC", "ours", "0–1", 2, overview=True, interval=False),
    Column("random_separation", "random sep.", "control", "nats/token", 2),
    Column("random_auc", "random AUC", "control", "0–1", 2),
    Column("cost", "ppl", "control", "×", 2),
)
NOTES = (
    "rows are calibration texts per pole, each size holding all smaller ones; measured on the test split of the same "
    "texts, which is the same for every size: separation 0 and AUC .5 are no effect",
    "the paper's measure is accuracy on role dialogues; here it is which role's lines become likelier when its persona "
    "is worn.",
    "random: a random edit of the same size (seed 0); ppl: perplexity on neutral text, worn to unworn, the worse pole",
)


def ps_8(bench: Bench) -> Reproduced:
    """Rows of sizes, a group of columns per method."""
    settings = bench.settings
    spec = settings.roles or settings.contrast or "extraversion"
    texts = resolve_contrast(spec, split="calibration")
    test = resolve_contrast(spec, split="test", limit=min(TEST, settings.limit or TEST), seed=settings.seed)
    available = min(texts.items.values())
    sizes = [size for size in SIZES if size <= available]
    if len(sizes) < len(SIZES) and available > (sizes[-1] if sizes else 0):
        sizes.append(available)
    if settings.limit:
        sizes = [size for size in sizes if size <= settings.limit] or [min(settings.limit, available)]
    what = "a file of two roles' lines" if settings.roles else "a contrast, not role dialogues as in the paper"
    bench.note(f"the texts, {texts.name}, are {what}; {available} per pole to calibrate on")
    samples = {size: texts.first(size, settings.seed) for size in sizes}
    bench.data[texts.name] = {
        "calibration": {str(size): sample.hash for size, sample in samples.items()},
        "test": {"hash": test.hash, "items": test.items},
        "notes": [*texts.notes],
    }
    statements = Statements(replace(test, choices=()), "test")
    methods = bench.rows(PS_8, (TILT,))
    table = [Row(str(size), str(size), "printed") for size in sizes]
    unworn = control("0", "0 (unworn)")
    for method in methods:
        for row, (size, sample) in zip(table, samples.items(), strict=True):
            bench.attempt(row, method.label, partial(_method, bench, size, sample, statements, method, row))
        unworn.add(method.label, separation=0.0, auc=0.5, cost=1.0)
    bench.notes.extend(NOTES)
    groups = {method.label: COLUMNS for method in methods}
    title = f"Calibration size, on {texts.name}"
    return bench.finish(title, f"{PS}, Table 8", "", groups, [unworn, *table], "texts per pole", methods)


def _method(bench: Bench, size: int, sample: Contrast, statements: Statements, method: Row, row: Row) -> None:
    candidate = bench.candidate(f"{sample.name}-{size}", sample, method)
    label, poles = f"{method.name}-{size}", (candidate.plus, candidate.minus)
    change = _change(bench, statements, poles, label)
    row.add(
        method.label,
        separation=separation(*change, seed=bench.seed),
        auc=auc(*change, seed=bench.seed),
        cost=bench.cost(poles, label),
    )
    without = bench.random(candidate)
    if without:
        change = _change(bench, statements, without, f"{label}-random")
        row.add(
            method.label,
            random_separation=separation(*change, seed=bench.seed),
            random_auc=auc(*change, seed=bench.seed),
        )


def _change(bench: Bench, statements: Statements, poles: tuple[Persona, Persona], label: str) -> tuple[Array, Array]:
    sides = bench.sides(statements, poles, label)
    return statement_changes(sides.plus, sides.minus)
