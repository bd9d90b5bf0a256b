"""What finding a saliency subnetwork costs, beside a plain forward pass over the same texts."""

from __future__ import annotations

import torch

from bench.table import Row
from bench.timing import alternate, median_seconds
from temperament.calibration import Contrast
from temperament.calibration.builtin import neutral_texts
from temperament.language_model import LanguageModel
from temperament.methods import find_method
from temperament.personas import extract
from temperament.signatures import SaliencyPair, collect_saliency
from temperament.signatures.collect_saliency import saliency_batches


def saliency_rows(lm: LanguageModel, contrast: Contrast, rounds: int) -> list[Row]:
    """Statistics for the default settings against the forward pass over the same batches, and the choice of weights."""
    targets = find_method("contrastive-saliency").read({}).targets(lm.linears, lm.depth)
    batches = saliency_batches(lm, contrast, neutral_texts())

    @torch.inference_mode()
    def forward() -> None:
        for batch in batches:
            lm.model(input_ids=batch.ids.to(lm.device), use_cache=False)

    def collect() -> SaliencyPair:
        return collect_saliency(lm, contrast, neutral_texts(), linears=targets)

    pair = collect()
    timing = alternate(collect, forward, rounds)
    chosen = median_seconds(
        lambda: extract(lm, contrast, method="contrastive-saliency", signatures=pair), max(1, rounds // 3)
    )
    return [
        Row(
            "contrastive-saliency: statistics / plain forward pass over the same texts",
            f"{timing.ratio:.2f} × ({timing.first:.1f} s / {timing.second:.1f} s)",
            "≤ 5",
            timing.ratio <= 5,
        ),
        Row("contrastive-saliency: choosing both poles' weights", f"{chosen:.1f} s"),
    ]
