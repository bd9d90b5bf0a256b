"""What SparseGPT masks cost, beside the whole extraction of ``wanda`` on the same texts."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from bench.memory import memory_rows
from bench.speed import load_and_wear
from bench.table import Row
from bench.timing import alternate
from temperament.calibration import Contrast
from temperament.language_model import LanguageModel
from temperament.methods import SPARSEGPT
from temperament.personas import extract

SPARSITY = "0.2"


def sparsegpt_rows(lm: LanguageModel, contrast: Contrast, rounds: int) -> list[Row]:
    """Hessians and masks of both poles against the statistics and masks of ``wanda``; files, wearing, memory."""
    rows = []
    for method in SPARSEGPT:

        def ours(name: str = method.name) -> None:
            extract(lm, contrast, method=name, sparsity=SPARSITY)

        timing = alternate(ours, lambda: extract(lm, contrast, method="wanda", sparsity=SPARSITY), rounds)
        rows.append(
            Row(
                f"whole extraction, {method.name} / wanda",
                f"{timing.ratio:.2f} × ({timing.first:.1f} s / {timing.second:.1f} s)",
                "≤ 4",
                timing.ratio <= 4,
            )
        )
    found = extract(lm, contrast, method=SPARSEGPT[0].name, sparsity=SPARSITY)
    with tempfile.TemporaryDirectory() as name:
        paths = [persona.save(Path(name) / f"{persona.pole}.persona") for persona in (found.plus, found.minus)]
        size = sum(path.stat().st_size for path in paths) / 1e6
        rows.append(Row("persona pair on disk, sparsegpt", f"{size:.1f} MB"))
        value = statistics.median([load_and_wear(lm, paths[0]) for _ in range(6)][1:])
        rows.append(Row("load and wear, sparsegpt", f"{value:.2f} s", "≤ 1", value <= 1))
    return rows + memory_rows(lm.name, SPARSEGPT[0].name, 2.0)
