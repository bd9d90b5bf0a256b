"""Peak memory of an extraction beyond the loaded model, measured in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from bench.table import Row


def memory_rows(name: str, method: str = "contrastive-tilt", limit: float = 1.5) -> list[Row]:
    """Run ``python -m bench.memory`` and read its two figures; ``limit`` is the aim, in GB."""
    command = [sys.executable, "-m", "bench.memory", name, method]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded, peak = (int(part) / 1e6 for part in run.stdout.split())
    extra = peak - loaded
    value = f"model {loaded:.2f} GB, peak {peak:.2f} GB"
    return [
        Row(
            f"peak memory of extract, save, open and wear, beyond the model, {method}",
            f"{extra:.2f} GB ({value})",
            f"≤ {limit:g} GB",
            extra <= limit,
        )
    ]


def _resident() -> int:
    """Resident memory in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS in /proc/self/status")


def _main(name: str, method: str) -> None:
    import tempfile

    from temperament.calibration import resolve_contrast
    from temperament.language_model import load
    from temperament.personas import extract, open_persona

    load(name)  # a first load may convert the model, which takes memory of its own
    lm = load(name)
    loaded = _resident()
    with tempfile.TemporaryDirectory() as folder:
        found = extract(lm, resolve_contrast("extraversion"), method=method, folder=Path(folder))
        path = found.plus.save(Path(folder) / "plus.persona")
        with lm.wear(open_persona(path)), lm.wear(found.minus):
            pass
    print(loaded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    _main(*sys.argv[1:])
