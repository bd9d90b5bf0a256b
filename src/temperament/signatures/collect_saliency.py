"""Collect saliency statistics: one forward and one backward pass over the texts of both poles and neutral text."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from temperament.calibration import Contrast, Example, Pole
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.models import LinearSite, LoadedModel
from temperament.models.dialogue import Encoded
from temperament.models.experts import Routed
from temperament.signatures.batches import Batch, length_buckets
from temperament.signatures.collect import (
    MAX_TOKENS,
    Progress,
    encode_all,
    encode_passage,
    padding_id,
    run_provenance,
)
from temperament.signatures.saliency import HALVES, PARTS, LinearSaliency, SaliencyPair, products, squares
from temperament.signatures.saliency_store import SaliencyFolder, Seen, Unfinished
from temperament.signatures.token_weights import (
    Weighting,
    prompted_log_probs,
    scored_normalisers,
    targets,
    token_weights,
)

#: Padded tokens and rows of a batch; its activations are kept for the backward pass.
BATCH_TOKENS, BATCH_ROWS = 2048, 64
#: Logits of a batch, in values; and the positions whose gradient is written at a time.
_LOGITS, _POSITIONS = 2**26, 8
#: Bytes of fp32 statistics held at a time; larger models take several passes, some layers in each.
MEMORY = 6 * 2**30


@dataclass(frozen=True)
class _Work:
    """One batch: where its products go (``gradient`` part or None, ``fisher`` part), and what an item weighs there.

    ``examples`` are its items as texts; ``prompted`` the log-probabilities of their tokens behind their pole's prompt.
    """

    batch: Batch
    pole: Pole | None
    gradient: str | None
    fisher: str
    item: float
    item_fisher: float
    examples: Sequence[Example] = ()
    prompted: Sequence[Tensor] = ()


@dataclass
class _Group:
    """Some Linears in work: the sums of each, (parts, outputs, inputs) fp32, and how many batches they cover.

    An interrupt in the middle of a backward pass leaves some Linears a batch ahead of the others; ``covered`` tells
    them apart, so that the work done is kept and no batch is counted twice. ``torn`` names the Linear that is being
    added to at the moment. Linears that read the same input come one after the other and share its squares. ``seen``
    counts the tokens that reach the Linears of experts.
    """

    linears: Sequence[LinearSite]
    sums: dict[str, Tensor]
    covered: dict[str, int] = field(default_factory=dict)
    seen: Seen = field(default_factory=dict)
    torn: str | None = None
    last: Tensor | None = None
    squares: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        for site in self.linears:
            self.covered.setdefault(site.name, 0)
            if site.input.expert is not None:
                self.seen.setdefault(site.name, [0] * len(HALVES))

    @property
    def done(self) -> int:
        """Batches that every Linear has."""
        return min(self.covered.values())

    def add(
        self, index: int, work: _Work, site: LinearSite, delta: Tensor, x: Tensor, routed: Routed | None = None
    ) -> None:
        """Add the products of batch ``index``; ``x`` and ``delta`` (rows, tokens, width), experts (tokens, width)."""
        if self.covered[site.name] > index:
            return
        flat = x.reshape(-1, x.shape[-1])
        if self.last is not x:
            self.last, self.squares = x, squares(flat)
        # padding stands behind all that is scored: its δ is exactly 0
        gradient, fisher = products(flat, delta.reshape(-1, delta.shape[-1]), self.squares, work.gradient is not None)
        total = self.sums[site.name]
        self.torn = site.name
        if routed is not None and work.gradient:
            self.seen[site.name][HALVES.index(work.gradient)] += _reached(routed, work.batch)
        if work.gradient and gradient is not None:
            total[PARTS.index(work.gradient)].add_(gradient, alpha=work.item)
        total[PARTS.index(work.fisher)].add_(fisher, alpha=work.item_fisher)
        self.covered[site.name] = index + 1
        self.torn = None

    def end(self, index: int) -> None:
        """Batch ``index`` is complete: it has nothing for experts that no token reached."""
        for name, covered in self.covered.items():
            self.covered[name] = max(covered, index + 1)


def _reached(routed: Routed, batch: Batch) -> int:
    """How many positions of an expert are not padding."""
    ends = torch.tensor([len(item.ids) for item in batch.items], device=routed.positions.device)
    columns = routed.total // len(ends)
    return int((routed.positions % columns < ends[routed.positions // columns]).sum())


def saliency_provenance(
    lm: LoadedModel, contrast: Contrast, neutral: Sequence[str], seed: int, weighting: Weighting = "prompt"
) -> dict[str, str]:
    """Everything the numbers depend on."""
    shared = run_provenance(lm, contrast.hash, "response", seed)

    def digest(texts: Sequence[str]) -> str:
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    return {
        **shared,
        "max_tokens": str(min(MAX_TOKENS, lm.max_tokens)),
        "weighting": weighting,
        "prompts": digest(contrast.pole_prompts()) if weighting == "prompt" else "",
        "neutral": digest(neutral),
    }


@torch.inference_mode(False)  # a caller's inference mode or no_grad must not keep gradients from being computed
@torch.enable_grad()
def collect_saliency(
    lm: LoadedModel,
    contrast: Contrast,
    neutral: Sequence[str],
    *,
    linears: Sequence[LinearSite] | None = None,
    weighting: Weighting = "prompt",
    seed: int = 42,
    folder: Path | None = None,
    progress: Progress | None = None,
    memory: int = MEMORY,
) -> SaliencyPair:
    """Statistics of the weights of ``linears`` (None: all) for the contrast, with F also on ``neutral`` passages.

    Layers below the lowest of them are run forwards only. δ is the gradient of the per-item weighted mean
    log-probability of the response (see ``token_weights``; evenly of all tokens of a passage); all positions that are
    not padding count. Each text set is averaged over its items. Statistics that exceed ``memory`` bytes are collected
    in several passes, some layers in each. With a ``folder`` finished layers are kept there, and the layers in work
    after an interruption.
    """
    if lm.worn:
        raise TemperamentError("signatures describe the unedited model, but a persona is worn", "leave lm.wear() first")
    provenance = saliency_provenance(lm, contrast, neutral, seed, weighting)
    queue = _queue(lm, contrast, neutral, seed)
    groups = layer_groups(lm.linears if linears is None else linears, memory)
    names = [[site.name for site in linears] for linears in groups]
    settings = [provenance, PARTS, BATCH_TOKENS, BATCH_ROWS, len(queue), names]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    store = SaliencyFolder(folder, key) if folder else None
    held: dict[str, LinearSaliency] = {}
    seen: Seen = {}
    prompted = False
    for index, sites in enumerate(groups):
        finished = store.finished(index) if store else None
        if finished is not None:
            seen |= finished
            continue
        if weighting == "prompt" and not prompted:
            queue, prompted = _with_prompts(lm, contrast, queue), True
        group = _group(lm, sites, store.unfinished(index) if store else None)
        try:
            with _plain_attention(lm):
                for number in range(group.done, len(queue)):
                    _add(lm, group, number, queue[number], weighting)
                    if progress:
                        progress(index * len(queue) + number + 1, len(groups) * len(queue))
        except BaseException:
            if store and group.torn is None and any(group.covered.values()):
                store.keep(index, Unfinished(group.sums, group.covered, group.seen))
            raise
        parts = {name: LinearSaliency(*value.bfloat16().cpu().unbind()) for name, value in group.sums.items()}
        seen |= group.seen
        if store:
            store.save(index, parts, group.seen)
        else:
            held |= parts
    scored = [(work.pole, len(item.ids) - item.start) for work in queue for item in work.batch.items]
    tokens = {pole: sum(count for own, count in scored if own == pole) for pole in POLES}
    if store:
        return store.finish(names, provenance, contrast.group_keys, tokens, seen)
    return SaliencyPair(tuple(held), held.__getitem__, provenance, contrast.group_keys, tokens, seen)


def _group(lm: LoadedModel, linears: Sequence[LinearSite], unfinished: Unfinished | None) -> _Group:
    """Linears to work on, from the beginning or from where an interruption left them."""
    if unfinished is None:
        return _Group(linears, {s.name: torch.zeros(len(PARTS), *s.shape, device=lm.device) for s in linears})
    sums = {name: value.to(lm.device) for name, value in unfinished.sums.items()}
    return _Group(linears, sums, unfinished.covered, unfinished.seen)


def layer_groups(linears: Sequence[LinearSite], memory: int) -> list[list[LinearSite]]:
    """Consecutive layers whose statistics fit into ``memory`` bytes together.

    A layer that does not fit by itself, as with many experts, is divided by inputs; at least one input each.
    """
    groups: list[list[LinearSite]] = []
    used = memory + 1
    for _, layer in groupby(linears, lambda site: site.layer):
        parts = [list(layer)]
        if _size(parts[0]) > memory:
            parts = [list(part) for _, part in groupby(parts[0], lambda site: site.input)]
        for part in parts:
            if used + _size(part) > memory:
                groups.append([])
                used = 0
            groups[-1] += part
            used += _size(part)
    return groups


def _size(linears: Sequence[LinearSite]) -> int:
    """Bytes of the statistics."""
    return sum(4 * len(PARTS) * site.size for site in linears)


def _queue(lm: LoadedModel, contrast: Contrast, neutral: Sequence[str], seed: int) -> list[_Work]:
    """All batches. Each pole's texts are drawn into two halves.

    Of an odd number of texts the larger half is the first of plus and the second of minus: the poles that ``shuffled``
    makes of one half of either have as many.
    """
    queue: list[_Work] = []
    for pole in POLES:
        examples = sorted(contrast.pole(pole), key=lambda example: example.text)
        random.Random(f"{seed} {pole}").shuffle(examples)
        middle = (len(examples) + (pole == "plus")) // 2
        one = 1 / len(examples)
        for half, part in (("first", examples[:middle]), ("second", examples[middle:])):
            queue += [
                _Work(batch, pole, f"{pole}_{half}", "poles", one, one / 2, [part[row] for row in batch.rows])
                for batch in _batches(lm, encode_all(lm, part, "response"))
            ]
    passages = [encode_passage(lm, text) for text in neutral]
    one = 1 / len(passages)
    return queue + [_Work(batch, None, None, "neutral", one, one) for batch in _batches(lm, passages)]


def _with_prompts(lm: LoadedModel, contrast: Contrast, queue: Sequence[_Work]) -> list[_Work]:
    """The same batches with the log-probabilities of their tokens behind the prompt of their pole."""
    found: dict[Pole | None, Iterator[Tensor]] = {}
    for pole, prompt in zip(POLES, contrast.pole_prompts(), strict=True):
        examples = [example for work in queue if work.pole == pole for example in work.examples]
        found[pole] = iter(prompted_log_probs(lm, examples, prompt))
    return [replace(work, prompted=[next(found[work.pole]) for _ in work.examples]) for work in queue]


def saliency_batches(lm: LoadedModel, contrast: Contrast, neutral: Sequence[str], seed: int = 42) -> list[Batch]:
    """The token batches that ``collect_saliency`` runs, for comparisons of speed."""
    return [work.batch for work in _queue(lm, contrast, neutral, seed)]


def _batches(lm: LoadedModel, items: Sequence[Encoded]) -> list[Batch]:
    positions = max(1, _LOGITS // int(lm.model.config.get_text_config().vocab_size))
    return length_buckets(items, padding=padding_id(lm), tokens=BATCH_TOKENS, rows=BATCH_ROWS, positions=positions)


def _add(lm: LoadedModel, group: _Group, index: int, work: _Work, weighting: Weighting) -> None:
    """Run batch ``index`` forwards and backwards and add its products to the sums."""
    batch = work.batch

    def see(site: LinearSite, delta: Tensor, *args: Any) -> None:
        group.add(index, work, site, delta, *args)

    with _watching(lm, group.linears, see):
        first = min(item.start for item in batch.items) - 1
        keep = torch.arange(first, batch.ids.shape[1], device=lm.device)
        logits = lm.model(input_ids=batch.ids.to(lm.device), use_cache=False, logits_to_keep=keep).logits
        tokens, scored = targets(batch, first, logits)
        every = scored_normalisers(logits.detach(), scored)
        surprisal = every - logits.detach().gather(-1, tokens.unsqueeze(-1)).squeeze(-1).float()
        weights = token_weights(surprisal, scored, weighting if work.pole else "even", work.prompted)
        logits.backward(_gradient(logits.detach(), every, tokens, weights))
    group.end(index)


def _gradient(logits: Tensor, every: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Gradient of the sum over items of the weighted mean log-probability of their response tokens, at the logits.

    Logits (items, positions, vocabulary); ``every`` their ``scored_normalisers`` and the others (items, positions). The
    gradient, weight · (one-hot − softmax), is written in closed form a few positions at a time: values of a whole batch
    in fp32 would lie outside every cache.
    """
    result = torch.empty_like(logits)
    parts = (torch.split(value.flatten(0, 1), _POSITIONS) for value in (logits, result, every, tokens, weights))
    for logit, part, norm, token, weight in zip(*parts, strict=True):
        token, weight = token.unsqueeze(1), weight.unsqueeze(1)
        chances = logit.float().sub_(norm.unsqueeze(1)).exp_()  # 0 where nothing is scored
        own = (1 - chances.gather(1, token)) * weight
        torch.mul(chances, -weight, out=part).scatter_(1, token, own.to(part.dtype))
    return result


@contextmanager
def _plain_attention(lm: LoadedModel) -> Iterator[None]:
    """Attention as matrix products on a CPU, where the backward pass of the fused one is slow."""
    used = lm.model.config._attn_implementation
    if lm.device.type != "cpu" or used == "eager":
        yield
        return
    lm.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(used)


def _below(lm: LoadedModel, linears: Sequence[LinearSite]) -> nn.Module:
    """What the lowest layer of ``linears`` reads: no gradient is needed below it."""
    lowest = min(site.layer for site in linears)
    return lm.module(lm.block(lowest - 1)) if lowest else lm.model.get_input_embeddings()


def _begin(_: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
    """Begin the graph at an output, which is the residual stream or a tuple that begins with it."""
    (output[0] if isinstance(output, tuple) else output).requires_grad_()


@contextmanager
def _watching(lm: LoadedModel, linears: Sequence[LinearSite], see: Callable[..., None]) -> Iterator[None]:
    """Call ``see(site, δ, x)`` for each Linear during a backward pass that computes no weight gradients.

    For one of an expert the positions of x follow.
    """
    with lm.opened_experts(), ExitStack() as stack:
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                stack.callback(parameter.requires_grad_, True)
                parameter.requires_grad_(False)
        stack.callback(_below(lm, linears).register_forward_hook(_begin).remove)
        for site in linears:

            def watch(_: nn.Module, args: tuple[Any, ...], output: Tensor, site: LinearSite = site) -> None:
                output.register_hook(lambda delta: see(site, delta, *args))  # type: ignore[no-untyped-call]

            stack.callback(lm.module(site.name).register_forward_hook(watch).remove)
        yield
