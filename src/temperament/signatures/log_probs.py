"""Log-probabilities of given responses, token by token: batched forward passes, logits only where they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.signatures.batches import Batch, length_buckets
from temperament.signatures.collect import padding_id

#: Logits computed at a time, in values: 256 MB in fp32.
_LOGITS = 2**26
#: Logits normalised at a time, in values: on a CPU their fp32 copy (2 MB) stays in the cache of a core.
_CACHED = 2**19
#: A prompt is computed once where at least this many items share it and it has at least this many tokens.
_SHARING, _LENGTH = 4, 8
#: Repeated tokens of such a prompt in a batch, in padded tokens of a forward pass.
_REPEATED = 4
#: What a forward pass costs whatever its size, in tokens: little on a CPU, where the tokens take the time; elsewhere.
_OVERHEAD, _OVERHEAD_OF_DEVICES = 32, 512


@dataclass(frozen=True)
class TokenLogProbs:
    """log p of the tokens of the response at a position of the list, (tokens,) fp64 on the CPU.

    ``greedy`` tells whether every token was the likeliest; None where it was not asked for.
    """

    index: int
    values: Tensor
    greedy: bool | None = None


@torch.inference_mode()
def log_prob_batches(
    lm: LoadedModel, items: Sequence[Encoded], *, tokens: int = 2048, rows: int = 64, greedy: bool = False
) -> Iterator[list[TokenLogProbs]]:
    """Batch by batch, longest first, the items just done under whatever ``lm`` wears.

    A forward pass takes at most ``tokens`` padded tokens and ``rows`` sequences. Padding stands on the right and
    attention is causal, so batch neighbours have no influence. A prompt that many items share goes through the model
    once; its keys and values serve all of them. Items that differ in their last token only (Yes and No behind one
    question) share one row: that token is never read.
    """
    sharing: dict[Encoded, list[int]] = {}
    for index, item in enumerate(items):
        sharing.setdefault(Encoded(item.ids[:-1], item.start), []).append(index)
    owners, inputs = list(sharing.values()), list(sharing)
    vocabulary = int(lm.model.config.get_text_config().vocab_size)
    positions = max(1, _LOGITS // vocabulary)
    overhead = _OVERHEAD if lm.device.type == "cpu" else _OVERHEAD_OF_DEVICES
    limits = {"padding": padding_id(lm), "tokens": tokens, "rows": rows, "positions": positions, "overhead": overhead}
    for members, prefix, batch in _batches(lm, inputs, limits):
        begin = prefix.length if prefix else 0
        first = min(item.start for item in batch.items) - 1
        keep = torch.arange(first, batch.ids.shape[1], device=lm.device)
        starts = torch.tensor([begin + item.start - 1 for item in batch.items], device=lm.device)
        past = {"past_key_values": prefix.repeated(len(batch.ids))} if prefix else {"use_cache": False}
        with lm.responding(starts):
            logits = lm.model(input_ids=batch.ids.to(lm.device), logits_to_keep=keep, **past).logits
        held = [(row, index) for row, owner in enumerate(batch.rows) for index in owners[members[owner]]]
        picks = [
            (row, items[index].start - begin - 1 - first + offset, token)
            for row, index in held
            for offset, token in enumerate(items[index].ids[items[index].start :])
        ]
        at, columns, chosen = torch.tensor(picks, device=lm.device).T
        values = (logits[at, columns, chosen].float() - normalisers(logits, at, columns)).double().cpu()
        counts = [len(items[index].ids) - items[index].start for _, index in held]
        best: list[bool | None] = [None] * len(held)
        if greedy:
            likeliest = logits.argmax(-1)[at, columns] == chosen
            best = [bool(part.all()) for part in likeliest.cpu().split(counts)]
        yield [
            TokenLogProbs(index, part, likely)
            for (_, index), part, likely in zip(held, values.split(counts), best, strict=True)
        ]


class _Prefix:
    """Keys and values of a prompt without its last token, computed once for all rows that begin with it."""

    def __init__(self, lm: LoadedModel, ids: Sequence[int]) -> None:
        self.length = len(ids)
        tokens = torch.tensor([ids], device=lm.device)
        with lm.responding(self.length):  # the response begins behind it
            self._cache = lm.model(input_ids=tokens, use_cache=True, logits_to_keep=1).past_key_values

    def repeated(self, rows: int) -> Any:
        """A copy for that many rows, to be written to."""
        cache = deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache


def _batches(
    lm: LoadedModel, inputs: Sequence[Encoded], limits: dict[str, int]
) -> Iterator[tuple[list[int], _Prefix | None, Batch]]:
    """Batches of inputs: what positions in a batch stand for, what its sequences begin behind, and the batch itself."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(inputs):
        groups.setdefault(item.ids[: item.start - 1], []).append(index)
    shared = {ids: own for ids, own in groups.items() if len(own) >= _SHARING and len(ids) >= _LENGTH}
    alone = [index for ids, own in groups.items() if ids not in shared for index in own]
    for batch in length_buckets([inputs[index] for index in alone], **limits):
        yield alone, None, batch
    for ids, own in shared.items():
        prefix = _Prefix(lm, ids)
        rest = [Encoded(inputs[index].ids[len(ids) :], inputs[index].start - len(ids)) for index in own]
        # keys and values of a long prompt take room in every row
        rows = max(1, min(limits["rows"], _REPEATED * limits["tokens"] // len(ids)))
        for batch in length_buckets(rest, **{**limits, "rows": rows}):
            yield own, prefix, batch


def normalisers(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """log Σ exp in fp32 at (row, column) pairs, (pairs,); ``logits`` (rows, columns, vocabulary) of any type.

    A few positions at a time, only those asked for. The loss of any token plus its logit is log Σ exp, and its kernel
    reads a row once where ``logsumexp`` takes four passes.
    """
    flat = logits.flatten(0, 1)
    where, inverse = torch.unique(rows * logits.shape[1] + columns, return_inverse=True)
    values = _CACHED if logits.device.type == "cpu" else _LOGITS
    found = []
    for chunk in where.split(max(1, values // logits.shape[-1])):
        part = flat[chunk].float()
        loss = cross_entropy(part, chunk.new_zeros(len(part)), reduction="none")
        found.append(loss + part[:, 0])
    return torch.cat(found)[inverse]
