"""Collect the mean hidden states of calibration texts: one batched forward pass, hooks on blocks and projections."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.signatures.batches import Batch, counted_tokens
from temperament.signatures.collect import (
    BATCH_ROWS,
    BATCH_TOKENS,
    Progress,
    backbone,
    queue_batches,
    signature_provenance,
)
from temperament.signatures.state_store import (
    PartialStates,
    discard_partial_states,
    load_partial_states,
    save_partial_states,
    save_states,
)
from temperament.signatures.states import PLACES, Place, StatePair, StateSignature

#: The tokens whose mean is a text's state; the last one of the response, as CAA takes it, or more of them.
Counted = Literal["response", "all", "last"]

#: Seconds between two saved partial results.
_SAVE_EVERY = 20.0


def state_provenance(lm: LoadedModel, contrast: Contrast, tokens: Counted, seed: int) -> dict[str, str]:
    """Everything the states depend on; two runs with equal provenance give identical ones."""
    shared = signature_provenance(lm, contrast, "all" if tokens == "all" else "response", seed)
    return {**shared, "tokens": tokens}


@torch.inference_mode()
def collect_states(
    lm: LoadedModel,
    contrast: Contrast,
    *,
    tokens: Counted = "response",
    seed: int = 42,
    folder: Path | None = None,
    progress: Progress | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
) -> StatePair:
    """Run the contrast through the model once and return the states of every text.

    Each pole is divided into two seeded halves. With a ``folder`` the work done so far is kept there every 20
    seconds and after an interruption, and the result in the end; the next call goes on from it.
    """
    if lm.worn:
        raise TemperamentError("signatures describe the unedited model, but a persona is worn", "leave lm.wear() first")
    provenance = state_provenance(lm, contrast, tokens, seed)
    queue = queue_batches(lm, contrast, "all" if tokens == "all" else "response", seed, batch_tokens, batch_rows)
    counts = [sum(len(batch.rows) for slot, batch in queue if slot == index) for index in range(4)]
    if min(counts[0] + counts[1], counts[2] + counts[3]) == 0:
        raise TemperamentError(f"the contrast {contrast.name} has no texts of one pole", "give texts of both poles")
    partial = PartialStates.zeros(counts, lm.depth, *lm.projections[0].shape)
    key = hashlib.sha256(json.dumps([provenance, batch_tokens, batch_rows]).encode()).hexdigest()
    partial = (load_partial_states(folder, key, partial) if folder else None) or partial
    saved = time.monotonic()
    with ExitStack() as stack:
        reader = stack.enter_context(_reading(lm))
        if folder:
            stack.callback(_keep_unfinished, folder, key, len(queue), lambda: partial)
        for slot, batch in queue[partial.done :]:
            means, counted = reader(batch, tokens)
            # one assignment, so that an interrupt finds either the old state or the new one
            partial = partial.after(slot, torch.tensor(batch.rows), means, counted)
            if progress:
                progress(partial.done, len(queue))
            if folder and time.monotonic() - saved > _SAVE_EVERY:
                save_partial_states(folder, key, partial)
                saved = time.monotonic()
    first, second, third, fourth = partial.slots
    pair = StatePair(StateSignature((first, second)), StateSignature((third, fourth)), provenance, contrast.group_keys)
    if folder:
        save_states(folder, pair)
        discard_partial_states(folder)  # not before the result is there
    return pair


def _keep_unfinished(folder: Path, key: str, total: int, partial: Callable[[], PartialStates]) -> None:
    """Save the work done so far, unless all of it is done."""
    if partial().done < total:
        save_partial_states(folder, key, partial())


class _Reader:
    """Turns what the hooks see of a batch into the mean of each text."""

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._begin = 0
        self._share = torch.empty(0)
        self._seen: dict[Place, list[Tensor]] = {}

    def __call__(self, batch: Batch, tokens: Counted) -> tuple[dict[Place, Tensor], int]:
        """(texts, layers, width) fp32 on the CPU at each place, and the number of tokens counted."""
        self._begin, counted = counted_tokens(batch, whole=tokens == "all")
        if tokens == "last":
            last = torch.tensor([len(item.ids) - 1 for item in batch.items]).unsqueeze(1)
            counted = (torch.arange(self._begin, batch.ids.shape[1]) == last).float()
        self._share = (counted / counted.sum(1, keepdim=True)).unsqueeze(1).to(self._lm.device)
        self._seen = {place: [] for place in PLACES}
        backbone(self._lm)(input_ids=batch.ids.to(self._lm.device), use_cache=False)
        means = {place: torch.stack(layers, 1).cpu() for place, layers in self._seen.items()}
        return means, int(counted.sum())

    def see(self, place: Place, values: Tensor) -> None:
        """Called layer by layer with (texts, tokens, width)."""
        self._seen[place].append(torch.bmm(self._share, values[:, self._begin :].float()).squeeze(1))


@contextmanager
def _reading(lm: LoadedModel) -> Iterator[_Reader]:
    """Attach hooks to every block and every output projection; all are removed on exit."""
    reader = _Reader(lm)
    with ExitStack() as stack:

        def after(_: nn.Module, __: Any, output: Any) -> None:
            reader.see("residual", output[0] if isinstance(output, tuple) else output)

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            reader.see("heads", args[0])

        for site in lm.projections:
            stack.callback(lm.module(lm.block(site.layer)).register_forward_hook(after).remove)
            stack.callback(lm.module(site.name).register_forward_pre_hook(before).remove)
        yield reader
