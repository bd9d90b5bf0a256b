"""Correctness and speed on CUDA at 7B size, with random weights: ``PYTHONPATH=tests python -m bench.gpu``.

Nothing is downloaded; the figures say how fast and how exact the mechanism is, not what a persona does.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tiny import byte_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from bench.table import Row, markdown
from bench.timing import alternate, median_seconds
from temperament.calibration import Contrast, Example
from temperament.methods import MASK_METHODS, SparsityPlan, kept
from temperament.methods.recipe import canonical
from temperament.models import LoadedModel
from temperament.personas import extract, open_persona
from temperament.personas.masks import build_masks
from temperament.signatures import Moments, collect
from temperament.signatures.collect import backbone, collecting, queue_batches
from temperament.wear import wear


def _model(layers: int, hidden: int, intermediate: int, device: str, dtype: torch.dtype) -> LoadedModel:
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 128,
        num_key_value_heads=hidden // 128,
        max_position_embeddings=4096,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.nn.Module.to(model, dtype=dtype)
    return LoadedModel(model, tokenizer, name=f"random Llama, {layers} x {hidden}")


def _contrast(count: int) -> Contrast:
    rng = random.Random(0)
    words = ("quiet", "evening", "people", "dance", "garden", "early", "letter", "music", "river", "small", "loud")

    def pole(mark: str) -> tuple[Example, ...]:
        texts = [f"{mark} {' '.join(rng.choices(words, k=8))}." for _ in range(count)]
        return tuple(Example("Tell me something.", text, text) for text in texts)

    return Contrast("random", pole("I like"), pole("We see"))


def _synchronised(function: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        function()
        torch.cuda.synchronize()

    return run


def exactness() -> list[Row]:
    """Masks on CPU and GPU, from fp32 and bf16 copies of the same weights, and restoration on the GPU."""
    rows = []
    cuda = _model(4, 1024, 2816, "cuda", torch.bfloat16)
    cpu = LoadedModel(type(cuda.model)(cuda.model.config), cuda.tokenizer, name=cuda.name, check=False)
    cpu.model.load_state_dict({key: value.float().cpu() for key, value in cuda.model.state_dict().items()})
    assert cpu.fingerprint == cuda.fingerprint, "fingerprints differ"
    pair = collect(cuda, _contrast(64))
    plans = [SparsityPlan.of("0.2"), SparsityPlan.of("0.6")]
    variants: list[tuple[str, dict[str, object]]] = [(method.name, {}) for method in MASK_METHODS]
    variants += [("contrastive-sparse", {"variant": "appendix-k"}), ("contrastive-sparse", {"variant": "released"})]
    variants += [("contrastive-wanda", {"link": "softplus"}), ("sparse", {"block": 128})]
    for name, settings in variants:
        method = next(method for method in MASK_METHODS if method.name == name)
        same = all(
            build_masks(cuda, recipe, plan).checksum == build_masks(cpu, recipe, plan).checksum
            for plan in plans
            for recipe in (method.recipe(pair, cuda.inputs, pole, method.read(settings)) for pole in ("plus", "minus"))
        )
        rows.append(
            Row(
                f"masks on GPU (bf16) = masks on CPU (fp32), {name} {settings or ''}",
                "identical" if same else "DIFFER",
                "identical",
                same,
            )
        )
    original = {key: value.clone() for key, value in cuda.model.state_dict().items()}
    found = extract(cuda, _contrast(64), signatures=pair)
    with tempfile.TemporaryDirectory() as folder:
        persona = open_persona(found.plus.save(Path(folder) / "plus.persona"))
        with wear(cpu, persona):
            pass
        with wear(cuda, persona), wear(cuda, found.minus, 0.5):
            ids = torch.arange(5, 60, device="cuda").unsqueeze(0)
            worn = cuda.model(input_ids=ids).logits.float()
            with wear(cpu, persona), wear(cpu, found.minus, 0.5):
                reference = cpu.model(input_ids=ids.cpu()).logits
    exact = all(torch.equal(value, original[key]) for key, value in cuda.model.state_dict().items())
    error = float((worn.cpu() - reference).norm() / reference.norm())
    rows.append(
        Row("weights on GPU after nested wearing", "bit-identical" if exact else "DIFFER", "bit-identical", exact)
    )
    rows.append(
        Row("worn logits, GPU bf16 against CPU fp32, relative error", f"{error:.4f}", "≤ .05 (bf16)", error <= 0.05)
    )
    return rows


@torch.inference_mode()
def speed(layers: int, hidden: int, intermediate: int) -> list[Row]:
    """Calibration, masks and wearing at 7B size."""
    lm = _model(layers, hidden, intermediate, "cuda", torch.bfloat16)
    parameters = sum(parameter.numel() for parameter in lm.model.parameters())
    contrast = _contrast(128)
    queue = [batch for _, batch in queue_batches(lm, contrast, "response", 42, 8192, 128)]
    tokens = sum(len(item.ids) for batch in queue for item in batch.items)
    model = backbone(lm)

    def plain() -> None:
        for batch in queue:
            model(input_ids=batch.ids.to(lm.device), use_cache=False)

    with collecting(lm) as collector:
        known = collector(queue[0], whole=False, so_far=Moments.zeros(lm.width, lm.device))

    def hooked() -> None:
        with collecting(lm) as collector:
            for batch in queue:
                collector(batch, whole=False, so_far=known)

    pairing = alternate(_synchronised(hooked), _synchronised(plain), 9)
    flops = 2 * sum(linear.shape[0] * linear.shape[1] for linear in lm.linears) * tokens / pairing.first
    rows = [
        Row(
            "model",
            f"{parameters / 1e9:.2f} B parameters on {torch.cuda.get_device_name()}",
        ),
        Row("calibration with hooks / without", f"{pairing.ratio:.3f} ×", "≤ 1.15", pairing.ratio <= 1.15),
        Row("calibration rate", f"{tokens / pairing.first:.0f} tokens/s, {flops / 1e12:.0f} TFLOP/s"),
    ]
    start = time.perf_counter()
    _ = lm.fingerprint
    rows.append(Row("fingerprint of the weights", f"{time.perf_counter() - start:.1f} s"))
    pair = collect(lm, contrast)
    found = extract(lm, contrast, signatures=pair)
    plan = SparsityPlan.of("0.2")
    for method in MASK_METHODS:
        recipe = method.recipe(pair, lm.inputs, "plus", method.read({}))
        spent = median_seconds(_synchronised(lambda recipe=recipe: build_masks(lm, recipe, plan)), 3)  # type: ignore[misc]
        rows.append(Row(f"masks of one persona, {method.name}", f"{spent:.2f} s"))

    def top_k() -> None:
        for linear in lm.linears:
            torch.topk(canonical(lm.weight(linear)), kept("0.2", linear.shape[1]), dim=1)

    rows.append(Row("one top-K per Linear", f"{median_seconds(_synchronised(top_k), 3):.2f} s"))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    with wear(lm, found.plus):
        torch.cuda.synchronize()
        entered = time.perf_counter() - start
        held = (torch.cuda.memory_allocated() - before) / 1e9
        start = time.perf_counter()
    torch.cuda.synchronize()
    rows.append(Row("put on / take off", f"{entered:.2f} s / {time.perf_counter() - start:.2f} s"))
    rows.append(
        Row(
            "memory held while worn, peak",
            f"{held:.2f} GB, {(torch.cuda.max_memory_allocated() - before) / 1e9:.2f} GB",
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        rows.append(Row("persona file", f"{found.plus.save(Path(folder) / 'p.persona').stat().st_size / 1e6:.2f} MB"))
    return rows


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("error: no CUDA device; this benchmark needs one")
    print(markdown(exactness() + speed(32, 4096, 11008)))
