"""Peak memory of an extraction, and of the analyses of its masks, beyond the loaded model; each in its own process."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.table import Row

if TYPE_CHECKING:
    from temperament.language_model import LanguageModel


def memory_rows(name: str, method: str = "contrastive-tilt", limit: float = 1.5) -> list[Row]:
    """Run ``python -m bench.memory`` and read its two figures, for extraction and for analysis; ``limit`` in GB."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            _row(name, "extract", folder, method, "extract, save, open and wear", limit),
            _row(name, "analyse", folder, method, "analyze masks and analyze restore", 2.0),
        ]


def _row(name: str, task: str, folder: str, method: str, what: str, most: float) -> Row:
    command = [sys.executable, "-m", "bench.memory", name, task, folder, method]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded, peak = (int(part) / 1e6 for part in run.stdout.split())
    extra = peak - loaded
    value = f"{extra:.2f} GB (model {loaded:.2f} GB, peak {peak:.2f} GB)"
    return Row(f"peak memory of {what}, beyond the model, {method}", value, f"≤ {most:g} GB", extra <= most)


def _resident() -> int:
    """Resident memory in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS in /proc/self/status")


def _extract(lm: LanguageModel, folder: Path, method: str) -> None:
    from temperament.calibration import resolve_contrast
    from temperament.personas import extract, open_persona

    found = extract(lm, resolve_contrast("extraversion"), method=method, folder=folder)
    path = found.plus.save(folder / "plus.persona")
    found.minus.save(folder / "minus.persona")
    with lm.wear(open_persona(path)), lm.wear(found.minus):
        pass


def _analyse(lm: LanguageModel, folder: Path, method: str) -> None:  # noqa: ARG001 - one signature for all tasks
    from temperament.analyze.masks import analyze_masks
    from temperament.analyze.restore import restore
    from temperament.calibration import resolve_contrast
    from temperament.personas import open_persona

    plus, minus = (open_persona(folder / f"{pole}.persona") for pole in ("plus", "minus"))
    texts = resolve_contrast("extraversion", split="test")
    analyze_masks(lm, {"plus": plus, "minus": minus}, [*texts.plus, *texts.minus])
    restore(lm, {"plus": (plus, 1.0)}, texts.limit(20, 0), levels=["layers"])


_TASKS: dict[str, Callable[[LanguageModel, Path, str], None]] = {"extract": _extract, "analyse": _analyse}


def _main(name: str, task: str, folder: str, method: str) -> None:
    from temperament.language_model import load

    load(name)  # a first load may convert the model, which takes memory of its own
    lm = load(name)
    loaded = _resident()
    _TASKS[task](lm, Path(folder), method)
    print(loaded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    _main(*sys.argv[1:])
