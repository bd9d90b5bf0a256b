"""``python -m bench``: run every benchmark on the embedded model and print one Markdown table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.effect import effect_rows, public_file
from bench.experts import expert_rows
from bench.memory import memory_rows
from bench.neurons import neuron_effect_rows, neuron_rows
from bench.saliency import saliency_rows
from bench.sparsegpt import sparsegpt_rows
from bench.speed import calibration_rows, extraction_rows, mask_rows
from bench.structured import cost_rows, speed_rows
from bench.table import Row, markdown, save
from temperament.calibration import Contrast, resolve_contrast
from temperament.language_model import load

MODEL = "smollm2-135m"


def _contrast() -> Contrast:
    """128 + 128 (prompt, response) pairs: public statements if they are there, else built-in texts."""
    path = public_file()
    return resolve_contrast(f"{path}#all" if path else "extraversion#all", limit=128, seed=42)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds per timing")
    parser.add_argument(
        "--only",
        choices=[
            "speed",
            "memory",
            "neurons",
            "saliency",
            "sparsegpt",
            "experts",
            "structured-export",
            "effect",
            "neuron-effect",
        ],
        help="run one part",
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/bench.json"))
    options = parser.parse_args()
    rows: list[Row] = []
    contrast = _contrast()
    if options.only in (None, "speed"):
        for dtype in ("float32", "bfloat16"):
            _say(f"calibration, {dtype}")
            rounds = options.rounds if dtype == "bfloat16" else 3  # fp32 is several times slower
            rows += calibration_rows(load(MODEL, dtype=dtype), contrast, rounds)
        lm = load(MODEL)
        _say("masks")
        rows += mask_rows(lm, contrast, options.rounds)
        _say("whole extraction")
        rows += extraction_rows(lm, contrast, max(3, options.rounds // 2))
    if options.only in (None, "memory"):
        _say("memory")
        rows += memory_rows(MODEL)
    if options.only in (None, "neurons"):
        _say("neurons")
        rows += neuron_rows(load(MODEL), contrast, options.rounds)
    if options.only in (None, "saliency"):
        _say("saliency")
        rows += saliency_rows(load(MODEL), contrast, max(3, options.rounds // 2))
    if options.only in (None, "structured-export"):
        _say("structured export")
        for dtype in ("bfloat16", "float32"):
            rows += speed_rows(load(MODEL, dtype=dtype), options.rounds)
        rows += cost_rows(load(MODEL))
    if options.only in (None, "sparsegpt"):
        _say("sparsegpt")
        rows += sparsegpt_rows(load(MODEL), contrast, max(3, options.rounds // 2))
    if options.only in (None, "experts"):
        _say("experts")
        rows += expert_rows(contrast, max(3, options.rounds // 2))
    if options.only in (None, "effect"):
        _say("effect")
        rows += effect_rows(load(MODEL))
    if options.only in (None, "neuron-effect"):
        rows += neuron_effect_rows(_say)
    save(rows, options.out)
    print(markdown(rows))


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
