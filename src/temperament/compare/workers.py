"""Processes that share the methods of a comparison: each loads the model and leaves its records in the folder."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue, SimpleQueue
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import psutil
import torch

from temperament.compare.entries import Entries
from temperament.compare.judge import comparison_judge
from temperament.compare.pace import Pace
from temperament.compare.settings import PROMPT, Settings, read_texts
from temperament.errors import TemperamentError
from temperament.evaluation.ledger import Progress
from temperament.methods import find_method
from temperament.models import LoadedModel, load_model

#: What a process needs beside the model: 2 GB of statistics and as much again of the interpreter and its libraries.
_BESIDE = 4 * 2**30
#: Kinds whose personas are texts: nothing is tuned, so that they are done soonest and fill the end.
_TEXTS = ("description", "few-shot")


def suggested_jobs(lm: LoadedModel, settings: Settings) -> int:
    """Processes worth having: one per core as long as the free memory holds a model in each; one beside a GPU."""
    if lm.device.type != "cpu":
        return 1
    size = sum(tensor.numel() * tensor.element_size() for tensor in lm.model.parameters())
    room = int(psutil.virtual_memory().available // (size + _BESIDE))
    return max(1, min(torch.get_num_threads(), room, len(_shares(settings))))


def spread(
    lm: LoadedModel, settings: Settings, folder: Path, jobs: int, progress: Progress | None, *, prompt: bool
) -> bool:
    """Let ``jobs`` processes bring the records of all methods into ``folder``, where the caller then finds them.

    ``prompt`` tells whether the prompt is among the controls. Methods with the same statistics stay together. What
    goes wrong with a method is left to the caller, who meets it again; False if a process died, so that some records
    may be missing. When the caller is interrupted or gone, the processes end too.
    """
    context = get_context("spawn")  # a forked process cannot use the threads of the one it was forked from
    shares: SimpleQueue[tuple[str, ...]] = context.SimpleQueue()
    steps: Queue[_Step | _Finished] = context.Queue()
    units = _shares(settings)
    jobs = min(jobs, len(units))
    for unit in (*units, *[()] * jobs):
        shares.put(unit)
    model = {"name": lm.name, "dtype": lm.dtype, "device": lm.device, "revision": lm.revision}
    threads = max(1, torch.get_num_threads() // max(1, jobs))
    workers = [
        context.Process(target=_work, args=(number, model, settings, folder, prompt, threads, shares, steps))
        for number in range(jobs)
    ]
    try:
        with _without_interrupts():
            for worker in workers:
                worker.start()
        _follow(workers, steps, Pace(sum(map(len, units)), jobs), progress)
    finally:
        started = [worker for worker in workers if worker.pid]  # an interruption may come before all have
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.join()
    return not any(worker.exitcode for worker in workers)


class _Step(NamedTuple):
    """What process ``number`` is doing, and how far it is."""

    number: int
    label: str
    done: int
    total: int


class _Finished(NamedTuple):
    """A process has done with a method."""

    seconds: float


def _follow(
    workers: Sequence[BaseProcess], steps: Queue[_Step | _Finished], pace: Pace, progress: Progress | None
) -> None:
    """Report what the processes are doing, as one step, until all have ended."""
    latest: dict[int, _Step] = {}
    while any(worker.is_alive() for worker in workers):
        try:
            step = steps.get(timeout=0.5)
        except Empty:
            continue
        if isinstance(step, _Finished):
            pace.finished(step.seconds)
            continue
        latest[step.number] = step
        if progress:
            _, labels, done, totals = zip(*(latest[number] for number in sorted(latest)), strict=True)
            progress(" | ".join((str(pace), *labels)), sum(done), sum(totals))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started inside are deaf to Ctrl-C, which a terminal sends to all: the caller ends them instead."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _shares(settings: Settings) -> list[tuple[str, ...]]:
    """Methods by the statistics they need, those first that take longest."""
    kinds: dict[str, tuple[str, ...]] = {}
    for name in settings.names:
        if name != PROMPT:
            kind = find_method(name).kind
            kinds[kind] = (*kinds.get(kind, ()), name)
    return [kinds[kind] for kind in sorted(kinds, key=lambda kind: (kind in _TEXTS, -len(kinds[kind])))]


def _work(
    number: int,
    model: dict[str, Any],
    settings: Settings,
    folder: Path,
    prompt: bool,
    threads: int,
    shares: SimpleQueue[tuple[str, ...]],
    steps: Queue[_Step | _Finished],
) -> None:
    """One process: share after share, until there is none."""
    _end_with_the_caller()
    steps.cancel_join_thread()  # nobody may be left to read what is being done
    torch.set_num_threads(threads)
    texts = read_texts(settings)
    entries = Entries(
        load_model(**model),
        settings,
        texts,
        comparison_judge(texts, _silent),
        folder,
        lambda *step: steps.put(_Step(number, *step)),
    )
    if prompt:
        entries.prompt_works()
    while share := shares.get():
        for name in share:
            start = time.perf_counter()
            with suppress(TemperamentError):  # the caller meets it too, and tells
                entries.entry(name, _silent)
            steps.put(_Finished(time.perf_counter() - start))


def _silent(_: str) -> None:
    """The caller says everything when it reads the records."""


def _end_with_the_caller() -> None:
    """End in an orderly way, so that no temporary file is left, when told to or when the caller is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    caller = parent_process()

    def watch() -> None:
        if caller:
            connection.wait([caller.sentinel])
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
