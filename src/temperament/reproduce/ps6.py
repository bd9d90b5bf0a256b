"""PS Table 6: what wearing a persona costs in HellaSwag, MMLU and perplexity, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from temperament.calibration import Contrast, resolve_contrast
from temperament.evaluation.benchmarks import read_hellaswag, read_mmlu
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.capability import MultipleChoice, capability
from temperament.evaluation.passages import passage_array
from temperament.evaluation.perplexity import perplexity
from temperament.personas import Persona
from temperament.reproduce.bench import Bench
from temperament.reproduce.paper import PS, PS_6
from temperament.reproduce.public_files import read_personas
from temperament.reproduce.table import Column, Reproduced, Row

#: Questions of a benchmark.
QUESTIONS = 100
#: Texts to calibrate on where neither files nor --contrast are given.
FALLBACK = "extraversion"

ACCURACY = (
    Column("before", "before", "ours", "%", interval=False),
    Column("plus", "after, +", "ours", "%", interval=False),
    Column("minus", "after, −", "ours", "%", interval=False),
    Column("change", "worse change", "ours", "points", overview=True),
    Column("random", "random", "control", "points"),
    Column("fixed", "fixed", "control", "%"),
)
PERPLEXITY = (
    Column("before", "before", "ours", "", interval=False),
    Column("plus", "after, +", "ours", "", interval=False),
    Column("minus", "after, −", "ours", "", interval=False),
    Column("change", "worse ratio", "ours", "×", 2, overview=True),
    Column("random", "random", "control", "×", 2),
)
NOTES = (
    "before: nothing worn; after: wearing the persona (+) and its opposite (−) at strength 1; worse change: of both, "
    "in percentage points of accuracy or as a ratio of perplexities, paired over items",
    "random: the same for a random edit of the same size (seed 0); fixed: the best score of always taking the same "
    "position. Where “before” does not clear it, no loss can show",
    "HellaSwag by normalised accuracy, MMLU by the lettered option with no worked examples, in our own words: "
    "figures compare among themselves only",
)


def ps_6(bench: Bench) -> Reproduced:
    """Rows of methods; for every persona a group of columns per benchmark."""
    benchmarks = _benchmarks(bench)
    personas = _calibration(bench)
    groups: dict[str, tuple[Column, ...]] = {}
    rows = bench.rows(PS_6)
    for name, calibration in personas.items():
        groups |= {f"{name}: {title}": ACCURACY for title in benchmarks}
        groups[f"{name}: perplexity"] = PERPLEXITY
        for row in rows:
            bench.attempt(row, name, partial(_method, bench, name, calibration, benchmarks, row))
            if name in row.errors:
                reason = row.errors.pop(name)
                row.errors |= {group: reason for group in groups if group.startswith(f"{name}: ")}
    bench.notes.extend(NOTES)
    return bench.finish("Capability before and after", f"{PS}, Table 6", "", groups, rows)


def _benchmarks(bench: Bench) -> dict[str, MultipleChoice]:
    limit, seed = min(QUESTIONS, bench.settings.limit or QUESTIONS), bench.seed
    folder = bench.settings.file("capability")
    hellaswag = _first(folder, "hellaswag*.jsonl")
    mmlu = _first(folder, "mmlu*")
    found = {}
    for title, path, read in (("HellaSwag", hellaswag, read_hellaswag), ("MMLU", mmlu, read_mmlu)):
        if path is None:
            bench.note(f"{title} is left out: there is no such file in DATA/capability")
            continue
        benchmark = read(path, limit=limit, seed=seed)
        found[title] = MultipleChoice(benchmark)
        bench.data[title] = {"file": path.name, "hash": found[title].hash, "items": len(found[title])}
    return found


def _first(folder: Path | None, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None) if folder else None


def _calibration(bench: Bench) -> dict[str, Contrast]:
    settings = bench.settings
    if not settings.contrast:
        found = {name: persona.calibration for name, persona in read_personas(bench).items()}
        if found:
            return found
        bench.note(f"no public persona file is there: the persona is the built-in contrast {FALLBACK}")
    spec = settings.contrast or FALLBACK
    contrast = resolve_contrast(spec, split="calibration", limit=settings.calibration, seed=settings.seed)
    bench.data[contrast.name] = {"calibration": {"hash": contrast.hash, "items": contrast.items}}
    return {contrast.name: contrast}


def _method(bench: Bench, name: str, calibration: Contrast, benchmarks: dict[str, MultipleChoice], row: Row) -> None:
    candidate = bench.candidate(name, calibration, row)
    poles, without = (candidate.plus, candidate.minus), bench.random(candidate)
    label = f"{name}-{row.name}"
    for title, items in benchmarks.items():
        found = _accuracy(bench, items, poles, label)
        control = _accuracy(bench, items, without, f"{label}-random") if without else None
        sides = {
            key: _with_ends(found.extra[side], found.extra[f"{side}_interval"], found.n)
            for key, side in (("before", "unworn"), ("plus", "plus"), ("minus", "minus"))
        }
        row.add(f"{name}: {title}", **sides, change=found, random=control, fixed=float(found.extra["fixed"]))
    found = _perplexity(bench, poles, label)
    base = float(found.extra["base"])
    after = {
        pole: _with_ends(base * found.extra[pole], [base * end for end in found.extra[f"{pole}_interval"]], found.n)
        for pole in ("plus", "minus")
    }
    control = _perplexity(bench, without, f"{label}-random") if without else None
    row.add(f"{name}: perplexity", before=base, **after, change=found, random=control)


def _accuracy(bench: Bench, items: MultipleChoice, poles: tuple[Persona, Persona], label: str) -> Measured:
    sides = bench.sides(items, poles, label)
    return capability(sides.plus, sides.minus, sides.base, seed=bench.seed)


def _perplexity(bench: Bench, poles: tuple[Persona, Persona], label: str) -> Measured:
    sides = bench.sides(bench.neutral, poles, label)
    arrays = [passage_array(side) for side in (sides.plus, sides.minus, sides.base)]
    return perplexity(arrays[0], arrays[1], arrays[2], seed=bench.seed)


def _with_ends(value: float, ends: Sequence[float], n: int) -> Measured:
    return Measured(float(value), float(ends[0]), float(ends[1]), n)
