"""Processes that share the methods of a comparison: the same figures, whoever finds them, and nobody left behind."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from comparing import asked, lasting, recorded

from temperament.compare import Settings, compare
from temperament.compare.workers import suggested_jobs
from temperament.models import LoadedModel


@pytest.fixture(scope="module")
def contrast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contrast file with enough texts for all splits, on no trait, so that no judge is loaded."""
    path = tmp_path_factory.mktemp("contrast") / "tea.jsonl"
    rows = []
    for number in range(30):
        for answer, text in ((" Yes", "I drink tea with my friend"), (" No", "I pour coffee for my cousin")):
            other = " No" if answer == " Yes" else " Yes"
            statement = f"{text} number {number}"
            rows.append(
                {
                    "question": f'Would you say this?\n"{statement}"',
                    "statement": statement,
                    "label_confidence": 0.9,
                    "answer_matching_behavior": answer,
                    "answer_not_matching_behavior": other,
                }
            )
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_two_processes_find_what_one_finds(tiny_llama: LoadedModel, contrast: Path, tmp_path: Path) -> None:
    alone = compare(tiny_llama, asked(contrast=str(contrast), questions=1), tmp_path / "one")
    steps: list[str] = []
    notes: list[str] = []
    with recorded() as items:
        shared = compare(
            tiny_llama,
            asked(contrast=str(contrast), questions=1),
            tmp_path / "two",
            jobs=2,
            progress=lambda label, *_: steps.append(label),
            note=notes.append,
        )
    assert lasting(shared) == lasting(alone)
    assert all(entry["seconds"]["tune"] > 0 for name, entry in shared["methods"].items() if name != "prompt")
    own = [path for path in (tmp_path / "two" / "records").iterdir() if path.name.startswith(("unworn", "prompt"))]
    assert len(items) == sum(len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in own)
    assert any("contrastive-tilt" in label for label in steps)
    counts = [label.partition(" of 2 methods")[0] for label in steps if " of 2 methods" in label]
    assert counts == sorted(counts)
    assert {"0", "1"} <= set(counts)
    assert not any("died" in text for text in notes)


def test_what_a_dead_process_leaves_is_done_alone(tiny_llama: LoadedModel, contrast: Path, tmp_path: Path) -> None:
    lost = copy.copy(tiny_llama)
    lost.name = str(tmp_path / "moved-away")  # no process can load it
    notes: list[str] = []
    summary = compare(
        lost, asked(contrast=str(contrast), questions=1, methods=("vector",)), tmp_path, jobs=2, note=notes.append
    )
    assert [text for text in notes if "has died" in text]
    assert "measures" in summary["methods"]["vector"]


def _begun(tiny_folders: dict[str, Path], contrast: Path, out: Path) -> tuple[subprocess.Popen[str], list[Any]]:
    """A command with two processes, and these, once both have records."""
    arguments = ["compare", "--contrast", str(contrast), "--model", str(tiny_folders["llama"]), "--out", str(out)]
    arguments += ["--methods", "wanda,vector,neurons", "--validation", "4", "--test", "4", "--jobs", "2"]
    started = subprocess.Popen(
        [sys.executable, "-m", "temperament", *arguments, "--calibration", "6"], stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if started.poll() is not None or {path.name for path in out.glob("personas/*")} >= {"wanda", "vector"}:
            break
        time.sleep(0.1)
    assert started.poll() is None, started.stderr and started.stderr.read()
    # the resource tracker of multiprocessing is a child too
    return started, [
        child for child in psutil.Process(started.pid).children() if "--multiprocessing-fork" in child.cmdline()
    ]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(
    how: signal.Signals, tiny_folders: dict[str, Path], contrast: Path, tmp_path: Path
) -> None:
    started, children = _begun(tiny_folders, contrast, tmp_path / "out")
    assert len(children) == 2
    for child in children:
        child.send_signal(signal.SIGINT)  # as a terminal does with Ctrl-C; they leave it to the command
    started.send_signal(how)
    _, told = started.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    if how is signal.SIGTERM:
        assert started.returncode == 130
        assert told.strip().splitlines()[-1].startswith("interrupted: ")
        assert "Traceback" not in told
    assert not list((tmp_path / "out").rglob(".*")), "temporary files"


def test_one_process_for_one_thread_one_share_or_a_model_as_large_as_memory(
    tiny_llama: LoadedModel, contrast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = Settings(str(contrast), ("wanda", "sparse", "vector", "neurons"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert suggested_jobs(tiny_llama, several) == 3, "wanda and sparse share their statistics"
    assert suggested_jobs(tiny_llama, Settings(str(contrast), ("wanda", "sparse"))) == 1
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=6 * 2**30))
    assert suggested_jobs(tiny_llama, several) == 1
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert suggested_jobs(tiny_llama, several) == 1
