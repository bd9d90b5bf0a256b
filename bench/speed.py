"""Speed of calibration, masks and the whole extraction, each as a ratio to a named baseline."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.baseline import extract_baseline
from bench.table import Row
from bench.timing import alternate, median_seconds
from temperament.calibration import Contrast
from temperament.methods import MASK_METHODS, SparsityPlan, kept
from temperament.methods.recipe import canonical
from temperament.models import LoadedModel
from temperament.personas import extract, open_persona
from temperament.personas.masks import build_masks
from temperament.signatures import Moments, collect
from temperament.signatures.collect import BATCH_ROWS, BATCH_TOKENS, backbone, collecting, queue_batches
from temperament.wear import wear


@torch.inference_mode()
def calibration_rows(lm: LoadedModel, contrast: Contrast, rounds: int) -> list[Row]:
    """The calibration forward pass with hooks against the same pass without."""
    queue = [batch for _, batch in queue_batches(lm, contrast, "response", 42, BATCH_TOKENS, BATCH_ROWS)]
    tokens = sum(len(item.ids) for batch in queue for item in batch.items)
    model = backbone(lm)

    def plain() -> None:
        for batch in queue:
            model(input_ids=batch.ids.to(lm.device), use_cache=False)

    with collecting(lm) as collector:
        start = Moments.zeros(lm.width, lm.device)
        known = collector(queue[0], whole=False, so_far=start)

    def hooked(*, whole: bool) -> None:
        with collecting(lm) as collector:
            for batch in queue:
                collector(batch, whole=whole, so_far=known)

    pairing = alternate(lambda: hooked(whole=False), plain, rounds)
    rate = tokens / pairing.first
    gemm = gemm_rate(lm)
    flops = 2 * sum(linear.shape[0] * linear.shape[1] for linear in lm.linears)
    everything = alternate(lambda: hooked(whole=True), plain, max(3, rounds // 2))
    label = str(lm.dtype).removeprefix("torch.")
    return [
        Row(f"calibration with hooks / without, {label}", f"{pairing.ratio:.3f} ×", "≤ 1.15", pairing.ratio <= 1.15),
        Row(f"the same, statistics over all tokens, {label}", f"{everything.ratio:.3f} ×"),
        Row(
            f"calibration rate, {label}",
            f"{rate:.0f} tokens/s, {100 * rate * flops / gemm:.0f} % of GEMM rate ({gemm / 1e9:.0f} GFLOP/s)",
        ),
    ]


@torch.inference_mode()
def gemm_rate(lm: LoadedModel) -> float:
    """Measured FLOP/s of a matrix product of the model's own largest shape at calibration batch size."""
    rows, columns = max((linear.shape for linear in lm.linears), key=lambda shape: shape[0] * shape[1])
    x = torch.randn(BATCH_TOKENS, columns, dtype=lm.dtype, device=lm.device)
    weight = torch.randn(rows, columns, dtype=lm.dtype, device=lm.device)

    def run() -> None:
        for _ in range(20):
            torch.nn.functional.linear(x, weight)
        if lm.device.type == "cuda":
            torch.cuda.synchronize()

    return 20 * 2 * BATCH_TOKENS * rows * columns / median_seconds(run, 9)


def mask_rows(lm: LoadedModel, contrast: Contrast, rounds: int) -> list[Row]:
    """One persona's masks over all Linears against one ``torch.topk`` per Linear of the same shape and K."""
    pair = collect(lm, contrast)
    plan = SparsityPlan.of("0.2")
    scores = [canonical(lm.weight(linear)) for linear in lm.linears]
    counts = [kept("0.2", linear.shape[1]) for linear in lm.linears]

    def top_k() -> None:
        for score, count in zip(scores, counts, strict=True):
            torch.topk(score, count, dim=1)

    rows = []
    for method in MASK_METHODS:
        recipe = method.recipe(pair, lm.inputs, "plus", method.read({}))
        pairing = alternate(lambda recipe=recipe: build_masks(lm, recipe, plan), top_k, rounds)  # type: ignore[misc]
        target = f"≤ 1.5 (topk {pairing.second:.2f} s)"
        rows.append(
            Row(
                f"masks / top-K, {method.name}",
                f"{pairing.ratio:.2f} × ({pairing.first:.2f} s)",
                target,
                pairing.ratio <= 1.5,
            )
        )
    return rows


def extraction_rows(lm: LoadedModel, contrast: Contrast, rounds: int) -> list[Row]:
    """The whole extraction against the straightforward baseline; file sizes; loading and wearing."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = 0

        def ours() -> None:
            nonlocal run
            run += 1
            found = extract(lm, contrast, folder=folder / f"signatures-{run}")
            for persona in (found.plus, found.minus):
                persona.save(folder / f"{persona.pole}.persona")

        pairing = alternate(lambda: extract_baseline(lm, contrast, 0.2, 8.0, folder / "baseline"), ours, rounds)
        rows.append(
            Row(
                "straightforward baseline / whole extraction",
                f"{pairing.ratio:.1f} × ({pairing.first:.1f} s / {pairing.second:.1f} s)",
                "≥ 5",
                pairing.ratio >= 5,
            )
        )
        pair = extract(lm, contrast, folder=folder / "signatures").signatures
        for method in MASK_METHODS:
            found = extract(lm, contrast, method=method.name, sparsity="0.2", signatures=pair)
            paths = [
                persona.save(folder / f"{method.name}-{persona.pole}.persona") for persona in (found.plus, found.minus)
            ]
            size = sum(path.stat().st_size for path in paths) / 1e6
            limit = 1.7 if method.name == "contrastive-sparse" else 0.8
            rows.append(Row(f"persona pair on disk, {method.name}", f"{size:.3f} MB", f"≤ {limit}", size <= limit))

            spent = [load_and_wear(lm, paths[0]) for _ in range(6)][1:]
            value = statistics.median(spent)
            rows.append(Row(f"load and wear, {method.name}", f"{value:.2f} s", "≤ 1", value <= 1))

        def switch() -> None:
            with wear(lm, found.plus):
                pass

        rows.append(Row("put on and take off a persona worn before", f"{median_seconds(switch, 5):.2f} s"))
    return rows


def load_and_wear(lm: LoadedModel, path: Path) -> float:
    """Seconds from the file to the worn model; taking it off again is not counted."""
    start = time.perf_counter()
    with wear(lm, open_persona(path)):
        return time.perf_counter() - start
