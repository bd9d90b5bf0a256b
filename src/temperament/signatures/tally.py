"""Neuron statistics while they grow: four slots of counts, and one dense histogram at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from temperament.models import NeuronSite
from temperament.signatures.neurons import BINS, Counts, Histogram, NeuronSignature, add_values

#: Tokens gathered before they are counted.
_GATHER = 512


class Tally:
    """Counts of the four halves (slots 0 and 1 of plus, 2 and 3 of minus) and the histogram of each pole.

    Slots are filled in order. Only the pole at hand has a dense histogram, (neurons × bins) int32 in all; that of
    a finished pole is compressed. ``done`` is the number of finished batches.
    """

    def __init__(self, done: int, slots: list[Counts], finished: list[Histogram], dense: list[Tensor]) -> None:
        self.done = done
        self.slots = slots
        self.finished = finished
        self.dense = dense
        self._slot = 0
        self._waiting: dict[int, tuple[NeuronSite, list[Tensor]]] = {}

    @staticmethod
    def zeros(sites: Sequence[NeuronSite]) -> Tally:
        width = sum(site.width for site in sites)
        return Tally(0, [Counts.zeros(width) for _ in range(4)], [], empty_histogram(sites))

    def to(self, device: torch.device) -> None:
        self.slots = [Counts(slot.tokens, slot.active.to(device)) for slot in self.slots]
        self.dense = [layer.to(device) for layer in self.dense]

    def begin(self, slot: int) -> None:
        """The next batch belongs to ``slot``."""
        if slot != self._slot:
            self.flush()
        self._slot = slot
        while len(self.finished) < slot // 2:
            self._close()

    def _close(self) -> None:
        self.finished.append(Histogram.of(self.dense))
        for layer in self.dense:
            layer.zero_()

    def add(self, site: NeuronSite, values: Tensor) -> None:
        """Count the values (tokens, neurons) of one layer, when enough have gathered.

        A histogram of a whole model lies outside every cache: each visit to it should be worth the way.
        """
        waiting = self._waiting.setdefault(site.layer, (site, []))[1]
        waiting.append(values)
        if site.layer == len(self.dense) - 1 and sum(map(len, waiting)) >= _GATHER:
            self.flush()

    def flush(self) -> None:
        """Count what is waiting; layers are independent of each other, so the CPU takes several at a time."""
        waiting, self._waiting = list(self._waiting.values()), {}
        if self.dense[0].device.type != "cpu" or torch.get_num_threads() == 1:
            for site, parts in waiting:
                self._count(site, parts)
            return
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(lambda item: self._count(*item), waiting))

    @torch.inference_mode()  # the mode belongs to a thread
    def _count(self, site: NeuronSite, parts: list[Tensor]) -> None:
        by_neuron = torch.cat(parts).T.contiguous()
        # the sign of a float is that of its bits as an integer, and integers compare several times faster than bf16
        bits = by_neuron.view(torch.int16 if by_neuron.element_size() == 2 else torch.int32)
        positive = (bits > 0).view(torch.uint8).sum(1, dtype=torch.int32)
        self.slots[self._slot].active[site.slice] += positive
        add_values(self.dense[site.layer], by_neuron)

    def count(self, tokens: int) -> None:
        """So many tokens were counted in this batch."""
        slot = self.slots[self._slot]
        self.slots[self._slot] = Counts(slot.tokens + tokens, slot.active)

    def end(self) -> None:
        """The batch is complete."""
        self.done += 1

    def histograms(self) -> list[Histogram]:
        """Of the poles begun so far."""
        self.flush()
        return [*self.finished, Histogram.of(self.dense)]

    def signatures(self) -> tuple[NeuronSignature, NeuronSignature]:
        """Both poles; nothing may be added afterwards."""
        self.flush()
        while len(self.finished) < 2:
            self._close()
        first, second, third, fourth = (Counts(slot.tokens, slot.active.cpu()) for slot in self.slots)
        return NeuronSignature((first, second), self.finished[0]), NeuronSignature((third, fourth), self.finished[1])


def empty_histogram(sites: Sequence[NeuronSite]) -> list[Tensor]:
    """One (neurons, bins) int32 tensor of zeros per layer."""
    return [torch.zeros(site.width, BINS, dtype=torch.int32) for site in sites]
