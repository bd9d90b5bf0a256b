"""Collect signatures: one batched forward pass per calibration text, hooks on the Linear inputs only."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from temperament.calibration import Contrast, Example
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.models import InputSite, LoadedModel
from temperament.models.dialogue import Encoded
from temperament.models.experts import Routed
from temperament.signatures.batches import Batch, counted_routed, counted_tokens, length_buckets
from temperament.signatures.signature import Signature, SignaturePair
from temperament.signatures.statistics import Moments, batch_moments, input_sums, merge, routed_sums
from temperament.signatures.store import Partial, discard_partial, load_partial, save_partial

Tokens = Literal["response", "all"]
Progress = Callable[[int, int], None]

#: Longest calibration sequence (PS App. K).
MAX_TOKENS = 512
#: Padded tokens and sentences per batch.
BATCH_TOKENS, BATCH_ROWS = 2048, 64
#: Seconds between two saved partial results.
_SAVE_EVERY = 20.0


def run_provenance(lm: LoadedModel, data: str, tokens: str, seed: int) -> dict[str, str]:
    """What the numbers of any collection depend on; ``data`` is the hash of the texts."""
    return {
        "model": lm.fingerprint,
        "tokenizer": lm.tokenizer_hash,
        "template": lm.template_hash,
        "data": data,
        "tokens": tokens,
        "seed": str(seed),
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": lm.device.type,
    }


def signature_provenance(lm: LoadedModel, contrast: Contrast, tokens: Tokens, seed: int) -> dict[str, str]:
    """Everything the numbers depend on; two runs with equal provenance give bit-identical signatures."""
    shared = run_provenance(lm, contrast.hash, tokens, seed)
    return {**shared, "max_tokens": str(min(MAX_TOKENS, lm.max_tokens))}


@torch.inference_mode()
def collect(
    lm: LoadedModel,
    contrast: Contrast,
    *,
    tokens: Tokens = "response",
    seed: int = 42,
    folder: Path | None = None,
    progress: Progress | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
) -> SignaturePair:
    """Run the contrast through the model once and return the statistics of every Linear input.

    Each pole is divided into two seeded halves. With a ``folder`` the work done so far is kept there every
    20 seconds and after an interruption; the next call goes on from it and ends with identical numbers.
    """
    if lm.worn:
        raise TemperamentError("signatures describe the unedited model, but a persona is worn", "leave lm.wear() first")
    provenance = signature_provenance(lm, contrast, tokens, seed)
    queue = queue_batches(lm, contrast, tokens, seed, batch_tokens, batch_rows)
    key = hashlib.sha256(json.dumps([provenance, batch_tokens, batch_rows]).encode()).hexdigest()
    kept = load_partial(folder, key) if folder else None
    state: Partial = (kept or Partial(0, tuple(Moments.zeros(lm.width) for _ in range(4)))).to(lm.device)
    saved = time.monotonic()
    with ExitStack() as stack:
        collector = stack.enter_context(collecting(lm))
        if folder:
            stack.callback(_keep_unfinished, folder, key, len(queue), lambda: state)
        for slot, batch in queue[state.done :]:
            # one assignment, so that an interrupt finds either the old state or the new one
            state = state.after(slot, collector(batch, whole=tokens == "all", so_far=state.parts[slot]))
            if progress:
                progress(state.done, len(queue))
            if folder and time.monotonic() - saved > _SAVE_EVERY:
                save_partial(folder, key, state)
                saved = time.monotonic()
    if folder:
        discard_partial(folder)
    first, second, third, fourth = state.to("cpu").parts
    return SignaturePair(Signature((first, second)), Signature((third, fourth)), provenance, contrast.group_keys)


def _keep_unfinished(folder: Path, key: str, total: int, state: Callable[[], Partial]) -> None:
    """Save the work done so far, unless all of it is done."""
    if state().done < total:
        save_partial(folder, key, state())


def queue_batches(
    lm: LoadedModel, contrast: Contrast, tokens: Tokens, seed: int, batch_tokens: int, batch_rows: int
) -> list[tuple[int, Batch]]:
    """Batches of all four halves: slots 0 and 1 of the plus pole, 2 and 3 of the minus pole."""
    queue: list[tuple[int, Batch]] = []
    for index, pole in enumerate(POLES):
        examples = sorted(contrast.pole(pole), key=lambda example: example.text)
        random.Random(f"{seed} {pole}").shuffle(examples)
        middle = (len(examples) + 1) // 2
        for half, part in enumerate((examples[:middle], examples[middle:])):
            encoded = encode_all(lm, part, tokens)
            queue += [
                (2 * index + half, batch)
                for batch in length_buckets(encoded, padding=padding_id(lm), tokens=batch_tokens, rows=batch_rows)
            ]
    return queue


def padding_id(lm: LoadedModel) -> int:
    """Any valid token id; padding is never attended to or counted."""
    value = lm.tokenizer.pad_token_id
    return int(value) if isinstance(value, int) else 0


def encode_all(lm: LoadedModel, examples: Sequence[Example], tokens: Tokens) -> list[Encoded]:
    """Encode calibration examples; one that leaves no response token within the limit is an error."""
    encoded = [lm.encode(example.prompt, example.response, MAX_TOKENS) for example in examples]
    for example, item in zip(examples, encoded, strict=True):
        if tokens == "response" and len(item.ids) <= item.start:
            raise TemperamentError(
                f"no response token is left behind the prompt {example.prompt[:50]!r} within "
                f"{min(MAX_TOKENS, lm.max_tokens)} tokens",
                "shorten the prompt, or give a response that is not empty",
            )
    return encoded


def encode_passage(lm: LoadedModel, text: str) -> Encoded:
    """A plain passage without a prompt; its first token, which nothing predicts, does not count as response."""
    head = tuple(lm.tokenizer("").input_ids)
    ids = tuple(lm.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    return Encoded((head + ids)[: min(MAX_TOKENS, lm.max_tokens)], len(head) + 1)


@torch.inference_mode()
def passage_moments(lm: LoadedModel, passages: Sequence[str], progress: Progress | None = None) -> Moments:
    """Statistics of every Linear input over plain passages, in whatever ``lm`` wears."""
    encoded = [encode_passage(lm, text) for text in passages]
    batches = length_buckets(encoded, padding=padding_id(lm), tokens=BATCH_TOKENS, rows=BATCH_ROWS)
    total = Moments.zeros(lm.width, lm.device)
    with collecting(lm) as collector:
        for done, batch in enumerate(batches):
            total = merge(total, collector(batch, whole=False, so_far=total))
            if progress:
                progress(done + 1, len(batches))
    return total.to("cpu")


class _Collector:
    """Holds the batch at hand for the hooks and turns what they see into Moments."""

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._begin = 0
        self._counted = torch.empty(0)
        self._shift: Tensor | None = None
        self._sums = self._shifts = torch.empty(0)
        self._seen: Tensor | None = None
        self._everywhere = _seen_by_all(lm) if lm.sites.experts else None

    def __call__(self, batch: Batch, *, whole: bool, so_far: Moments) -> Moments:
        """Statistics of one batch; the means ``so_far`` serve as the shift."""
        lm = self._lm
        self._begin, counted = counted_tokens(batch, whole=whole)
        self._counted = counted.to(lm.device)
        self._shift = so_far.mean.float() if so_far.count else None
        # an expert that no token reaches is not seen: zeros remain
        self._sums, self._shifts = (torch.zeros(3, lm.width, device=lm.device), torch.zeros(lm.width, device=lm.device))
        count = int(counted.sum())
        self._seen = None if self._everywhere is None else count * self._everywhere
        backbone(lm)(input_ids=batch.ids.to(lm.device), use_cache=False)
        return batch_moments(self._sums, self._shifts, count, len(counted), self._seen)

    def see(self, site: InputSite, x: Tensor) -> None:
        """Called by the hook on a Linear input ``x``: (sentences, tokens, inputs), or the first two flattened."""
        counted = x.reshape(len(self._counted), -1, site.width)[:, self._begin :]
        if self._shift is None:  # the first sentence is near enough to the mean
            shift = counted[0][self._counted[0].bool()].abs().float().mean(0)
        else:
            shift = self._shift[site.slice]
        self._sums[:, site.slice], self._shifts[site.slice] = input_sums(counted, self._counted, shift), shift

    def see_routed(self, site: InputSite, x: Tensor, routed: Routed) -> None:
        """Called by the hook on an expert's Linear with the values ``x`` (tokens, inputs) at its positions."""
        counts, sentence = counted_routed(routed, self._begin, self._counted)
        sums, shift = routed_sums(x[counts], sentence[counts], len(self._counted))
        self._sums[:, site.slice], self._shifts[site.slice] = sums, shift
        if self._seen is not None:
            self._seen[site.slice] = counts.sum()


def _seen_by_all(lm: LoadedModel) -> Tensor:
    """1 for inputs that every token reaches, 0 for those of experts: (inputs,) float64."""
    parts = [torch.full((site.width,), float(site.expert is None), dtype=torch.float64) for site in lm.inputs]
    return torch.cat(parts).to(lm.device)


def backbone(lm: LoadedModel) -> nn.Module:
    """The model without its LM head: logits are not needed for statistics."""
    return lm.model.get_submodule(lm.family.blocks.partition(".")[0])


@contextmanager
def collecting(lm: LoadedModel) -> Iterator[_Collector]:
    """Attach one hook per distinct Linear input; all are removed on exit."""
    collector = _Collector(lm)
    with lm.opened_experts(), ExitStack() as stack:
        for site in lm.inputs:

            def see(_: nn.Module, args: tuple[Any, ...], site: InputSite = site) -> None:
                if site.expert is None:
                    collector.see(site, args[0])
                else:
                    collector.see_routed(site, *args)

            stack.callback(lm.module(site.linears[0]).register_forward_pre_hook(see).remove)
        yield collector
