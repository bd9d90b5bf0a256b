"""Collect the mean hidden states of calibration texts: one batched forward pass, hooks on blocks and projections."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from temperament.calibration import Contrast
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.signatures.collect import (
    BATCH_ROWS,
    BATCH_TOKENS,
    Progress,
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
from temperament.signatures.states import Place, StatePair, StateSignature
from temperament.signatures.text_means import Counted, MeanReader, Site, reading

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
            seen, counted = reader(batch, tokens)
            means = {place: torch.stack(layers, 1).cpu() for place, layers in seen.items()}
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


@contextmanager
def _reading(lm: LoadedModel) -> Iterator[MeanReader[Place]]:
    """Hooks on every block and every output projection."""
    sites: dict[Place, list[Site]] = {
        "residual": [(lm.block(site.layer), "output") for site in lm.projections],
        "heads": [(site.name, "input") for site in lm.projections],
    }
    with reading(lm, sites) as reader:
        yield reader
