"""Collect neuron statistics from given texts (teacher-forced) or from what the model writes when it acts a pole."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from temperament.calibration import Contrast, RolePlay, Scene
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.models import LoadedModel, NeuronSite
from temperament.models.dialogue import prompt_ids
from temperament.models.generation import NextTurn, end_tokens, generate_ids, without_next_turn
from temperament.signatures.batches import Batch, counted_tokens
from temperament.signatures.collect import (
    BATCH_ROWS,
    BATCH_TOKENS,
    Progress,
    Tokens,
    backbone,
    queue_batches,
    run_provenance,
)
from temperament.signatures.collect import signature_provenance as text_provenance
from temperament.signatures.neuron_store import (
    Transcript,
    discard_partial_neurons,
    load_partial_neurons,
    save_neuron_signatures,
    save_partial_neurons,
    save_transcripts,
)
from temperament.signatures.neurons import NeuronSignaturePair, statistics_settings
from temperament.signatures.tally import Tally

#: One scene to act out: pole, scene, prompt tokens.
Row = tuple[str, Scene, tuple[int, ...]]

#: Seconds between two saved partial results.
_SAVE_EVERY = 30.0


@dataclass(frozen=True)
class Writing:
    """How the model writes when statistics come from its own text: greedily, NPTI's repetition penalty."""

    max_tokens: int = 100
    repetition_penalty: float = 1.1
    rows: int = 32

    def __post_init__(self) -> None:
        if self.max_tokens < 2 or self.rows < 1:
            raise TemperamentError(
                f"{self.max_tokens} tokens in {self.rows} rows",
                "allow 2 tokens or more (--max-tokens), in 1 row or more",
            )


def neuron_provenance(
    lm: LoadedModel, data: Contrast | RolePlay, tokens: Tokens, seed: int, writing: Writing
) -> dict[str, str]:
    """Everything the numbers depend on; two runs with equal provenance give identical statistics."""
    if isinstance(data, Contrast):
        return {**text_provenance(lm, data, tokens, seed), "source": "texts", **statistics_settings()}
    shared = {
        **run_provenance(lm, data.hash, "generated", seed),
        "source": "generate",
        "max_tokens": str(writing.max_tokens),
        "repetition_penalty": str(writing.repetition_penalty),
        "rows": str(writing.rows),
    }
    return {**shared, **statistics_settings()}


@torch.inference_mode()
def collect_neurons(
    lm: LoadedModel,
    data: Contrast | RolePlay,
    *,
    tokens: Tokens = "response",
    seed: int = 42,
    writing: Writing | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> NeuronSignaturePair:
    """Activation probabilities and value histograms of every neuron under both poles (NPTI Eq. 2).

    A ``Contrast`` is run through the model once, its response tokens count. A ``RolePlay`` is acted out: the model
    answers every question as every description, greedily, and the tokens it wrote count. With a ``folder`` the
    work is kept there every half minute, with the transcripts, and the result in the end; a call after an interruption
    goes on from what was kept and ends with identical numbers.
    """
    if lm.worn:
        raise TemperamentError("signatures describe the unedited model, but a persona is worn", "leave lm.wear() first")
    writing = writing or Writing()
    provenance = neuron_provenance(lm, data, tokens, seed, writing)
    work: list[tuple[int, Callable[[Watcher], list[Transcript]]]]
    if isinstance(data, Contrast):
        queue = queue_batches(lm, data, tokens, seed, BATCH_TOKENS, BATCH_ROWS)
        work = [(slot, partial(Watcher.read, batch=batch, whole=tokens == "all")) for slot, batch in queue]
    else:
        scenes = queue_scenes(lm, data, seed, writing)
        work = [(slot, partial(Watcher.write, rows=rows, writing=writing)) for slot, rows in scenes]
    key = hashlib.sha256(json.dumps(provenance).encode()).hexdigest()
    kept = load_partial_neurons(folder, key, lm.neurons) if folder else None
    tally, transcripts = kept or (Tally.zeros(lm.neurons), [])
    tally.to(lm.device)
    saved = time.monotonic()
    with watching(lm, tally) as watcher:
        for slot, batch in work[tally.done :]:
            tally.begin(slot)
            transcripts += batch(watcher)
            tally.end()
            if progress:
                progress(tally.done, len(work))
            if folder and tally.done < len(work) and time.monotonic() - saved > _SAVE_EVERY:
                save_partial_neurons(folder, key, tally, transcripts)
                saved = time.monotonic()
    plus, minus = tally.signatures()
    pair = NeuronSignaturePair(plus, minus, provenance, data.group_keys)
    if folder:
        save_transcripts(folder, transcripts)
        save_neuron_signatures(folder, pair)
        discard_partial_neurons(folder)  # not before the result is there
    return pair


def queue_scenes(lm: LoadedModel, data: RolePlay, seed: int, writing: Writing) -> list[tuple[int, list[Row]]]:
    """Batches of prompts of similar length for all four halves: slots 0 and 1 of plus, 2 and 3 of minus."""
    queue: list[tuple[int, list[Row]]] = []
    for index, pole in enumerate(POLES):
        scenes = list(data.scenes(pole))
        random.Random(f"{seed} {pole}").shuffle(scenes)
        middle = (len(scenes) + 1) // 2
        for half, part in enumerate((scenes[:middle], scenes[middle:])):
            rows: list[Row] = [
                (pole, scene, prompt_ids(lm.tokenizer, scene.question, scene.description)) for scene in part
            ]
            rows.sort(key=lambda row: -len(row[2]))
            if rows and len(rows[0][2]) + writing.max_tokens > lm.max_tokens:
                raise TemperamentError(
                    f"a prompt of {len(rows[0][2])} tokens and {writing.max_tokens} new ones do not fit the "
                    f"{lm.max_tokens} tokens of the model",
                    "generate fewer with --max-tokens, or shorten the descriptions",
                )
            queue += [
                (2 * index + half, rows[begin : begin + writing.rows]) for begin in range(0, len(rows), writing.rows)
            ]
    return queue


@dataclass
class Watcher:
    """What the hooks on the activations count at the moment.

    ``counted`` are the positions that count, as numbers row · columns + column of the batch; None: nothing does.
    """

    lm: LoadedModel
    tally: Tally
    counted: Tensor | None = None
    seen: int = field(default=0, init=False)

    def see(self, site: NeuronSite, values: Tensor) -> None:
        """Called by the hook with the values of a layer, (rows, tokens, neurons)."""
        if self.counted is None:
            return
        if site.layer == 0:
            self.seen += len(self.counted)
        self.tally.add(site, values.flatten(0, 1).index_select(0, self.counted))

    # the streamer protocol of transformers: ``generate`` puts the prompt, then the new tokens of every step

    def put(self, tokens: Tensor) -> None:
        """Rows that just wrote a token that does not end them count in the pass that reads it."""
        if tokens.dim() > 1:
            self.alive = torch.ones(len(tokens), dtype=torch.bool)
            self.answers = tokens[:, :0]
            return
        self.answers = torch.cat([self.answers, tokens.unsqueeze(1)], 1)
        self.alive = self.alive & ~torch.isin(tokens, self.ends)
        if self.label:
            self.alive = self.alive & ~self.label(self.answers)
        self.counted = self.alive.nonzero().squeeze(1).to(self.lm.device)

    def end(self) -> None:
        self.counted = None

    def read(self, batch: Batch, *, whole: bool) -> list[Transcript]:
        """One forward pass over given texts; response tokens count, or with ``whole`` every token."""
        begin, counted = counted_tokens(batch, whole=whole)
        rows, columns = counted.nonzero(as_tuple=True)
        self.counted = (rows * batch.ids.shape[1] + begin + columns).to(self.lm.device)
        backbone(self.lm)(input_ids=batch.ids.to(self.lm.device), use_cache=False)
        self.end()
        self.tally.count(int(counted.sum()))
        return []

    def write(self, rows: Sequence[Row], writing: Writing) -> list[Transcript]:
        """Let the model answer one batch of scenes; the passes that read its own tokens count."""
        self.seen = 0
        answers = generate_ids(
            self.lm,
            [ids for _, _, ids in rows],
            max_tokens=writing.max_tokens,
            repetition_penalty=writing.repetition_penalty,
            streamer=self,
            whole=True,  # tokens are counted as they come, those of a label before it is complete
        )
        # a token that ends an answer or a label, or is the last one allowed, is never read
        label, tokenizer = self.label, self.lm.tokenizer
        lengths = [len(ids) - bool(label and ids and label(torch.tensor([ids]))) for ids in answers]
        written = sum(min(length, writing.max_tokens - 1) for length in lengths)
        if self.seen != written:
            raise TemperamentError(
                f"{written} tokens were written, but {self.seen} counted: generation on {self.lm.device.type} does not "
                "report its tokens step by step",
                "use --device cpu, or the source texts",
            )
        self.tally.count(written)
        own = [without_next_turn(tokenizer, ids) if label else ids for ids in answers]
        return [
            Transcript(pole, scene.description, scene.question, str(tokenizer.decode(ids)), length)
            for (pole, scene, _), ids, length in zip(rows, own, lengths, strict=True)
        ]

    def __post_init__(self) -> None:
        self.alive, self.answers = torch.empty(0, dtype=torch.bool), torch.empty(0, dtype=torch.int64)
        self.label = NextTurn.of(self.lm, 0)
        self.ends = torch.tensor(sorted(end_tokens(self.lm)), dtype=torch.int64)


@contextmanager
def watching(lm: LoadedModel, tally: Tally) -> Iterator[Watcher]:
    """Attach one hook per activation; all are removed on exit."""
    watcher = Watcher(lm, tally)
    with ExitStack() as stack:
        for site in lm.neurons:

            def see(_: nn.Module, __: Any, output: Tensor, site: NeuronSite = site) -> None:
                watcher.see(site, output)

            stack.callback(lm.module(site.name).register_forward_hook(see).remove)
        yield watcher
