"""Means of what modules read or give, over the counted tokens of each text: hooks on one batched forward pass."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from temperament.models import LoadedModel
from temperament.signatures.batches import Batch, counted_tokens
from temperament.signatures.collect import backbone

#: The tokens whose mean is a text's state; the last one of the response, as CAA takes it, or more of them.
Counted = Literal["response", "all", "last"]

#: A module by name, and whether its first input or its (first) output is meant.
Site = tuple[str, Literal["input", "output"]]

K = TypeVar("K", bound=Hashable)


class MeanReader(Generic[K]):
    """Turns what the hooks see of a batch into the mean of each text."""

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._begin = 0
        self._share = torch.empty(0)
        self._seen: dict[K, list[Tensor]] = {}

    def __call__(self, batch: Batch, tokens: Counted) -> tuple[dict[K, list[Tensor]], int]:
        """Means (texts, width) fp32 of every site of each group, in the order they ran, and how many tokens count."""
        self._begin, counted = counted_tokens(batch, whole=tokens == "all")
        if tokens == "last":
            last = torch.tensor([len(item.ids) - 1 for item in batch.items]).unsqueeze(1)
            counted = (torch.arange(self._begin, batch.ids.shape[1]) == last).float()
        self._share = (counted / counted.sum(1, keepdim=True)).unsqueeze(1).to(self._lm.device)
        self._seen = {}
        backbone(self._lm)(input_ids=batch.ids.to(self._lm.device), use_cache=False)
        return self._seen, int(counted.sum())

    def see(self, group: K, values: Tensor) -> None:
        """Called by the hooks with (texts, tokens, width)."""
        means = torch.bmm(self._share, values[:, self._begin :].float()).squeeze(1)
        self._seen.setdefault(group, []).append(means)


@contextmanager
def reading(lm: LoadedModel, groups: Mapping[K, Sequence[Site]]) -> Iterator[MeanReader[K]]:
    """Attach a hook to every site; all are removed on exit."""
    reader: MeanReader[K] = MeanReader(lm)
    with ExitStack() as stack:
        for group, sites in groups.items():

            def before(_: nn.Module, args: tuple[Any, ...], group: K = group) -> None:
                reader.see(group, args[0])

            def after(_: nn.Module, __: Any, output: Any, group: K = group) -> None:
                reader.see(group, output[0] if isinstance(output, tuple) else output)

            for name, side in sites:
                module = lm.module(name)
                handle = (
                    module.register_forward_pre_hook(before) if side == "input" else module.register_forward_hook(after)
                )
                stack.callback(handle.remove)
        yield reader
