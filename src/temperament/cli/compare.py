"""``temperament compare``: every method and baseline on one contrast, at one budget, with controls and one page."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Model, Revision
from temperament.errors import TemperamentError


def command(
    contrast: Annotated[
        str, typer.Option("--contrast", help="Built-in name or file; all its splits are used. Example: extraversion")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for records and the report. Example: --out compare")],
    model: Model = "smollm2-135m",
    methods: Annotated[
        str, typer.Option("--methods", help="all, or names joined by commas. Example: --methods prompt,neurons")
    ] = "all",
    budget: Annotated[
        float, typer.Option("--budget", help="Largest perplexity ratio on neutral text. Example: --budget 1.05")
    ] = 1.10,
    calibration: Annotated[
        int, typer.Option("--calibration", min=2, help="Calibration texts per pole. Example: --calibration 60")
    ] = 120,
    validation: Annotated[
        int, typer.Option("--validation", min=2, help="Texts per pole to tune on. Example: --validation 20")
    ] = 40,
    test: Annotated[int, typer.Option("--test", min=2, help="Test texts per pole. Example: --test 30")] = 60,
    questions: Annotated[
        int, typer.Option("--questions", min=1, help="Questions to answer freely. Example: --questions 5")
    ] = 10,
    transfer: Annotated[
        str | None,
        typer.Option(
            "--transfer",
            help="Another instrument's texts, '' for none; default: built-in texts of the trait. "
            "Example: --transfer openness-scenes",
        ),
    ] = None,
    trait: Annotated[
        str | None,
        typer.Option(
            "--trait",
            help="Built-in trait that the contrast is about, if its name does not say. Example: --trait openness",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also two-choice, drift, specificity, and what the files below allow. Example: --full"
        ),
    ] = False,
    questionnaire: Annotated[
        Path | None, typer.Option("--questionnaire", help="IPIP-NEO items for --full. Example: ipip_neo_120.csv")
    ] = None,
    hellaswag: Annotated[
        Path | None, typer.Option("--hellaswag", help="HellaSwag items for --full. Example: hellaswag_val.jsonl")
    ] = None,
    mmlu: Annotated[Path | None, typer.Option("--mmlu", help="MMLU csv files for --full. Example: mmlu/test")] = None,
    specificity: Annotated[
        str,
        typer.Option(
            "--specificity",
            help="Labelled sets measured beside the five traits for --full, joined by commas. "
            "Example: --specificity power.jsonl,mbti-ei",
        ),
    ] = "",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of one method, METHOD.KEY=VALUE; repeatable. Example: --set contrastive-tilt.sparsity=0.1",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of samples, halves and intervals. Example: --seed 1"),
    ] = 42,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Processes that share the methods; default: one per core, as far as memory goes, and 1 on a GPU. "
            "Example: --jobs 1",
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Compare methods and a prompt on one contrast.

    Which works, at what cost, and whether it beats a prompt.
    Writes DIR/report.html, DIR/summary.json and the record of every item. An interrupted run goes on where it stopped
    when it is started again.
    """
    from temperament.compare import Settings, compare
    from temperament.compare.settings import read_texts
    from temperament.compare.workers import suggested_jobs
    from temperament.language_model import load
    from temperament.report.compare_table import compare_table
    from temperament.report.page import write_report

    for option, given in (("--hellaswag", hellaswag), ("--mmlu", mmlu), ("--specificity", specificity)):
        if given and not full:
            raise TemperamentError(f"{option} is measured with --full only", f"add --full, or leave out {option}")
    data = os.environ.get("TEMPERAMENT_DATA")
    names = tuple(name.strip() for name in methods.split(",") if name.strip())
    if not names:
        raise TemperamentError(f"--methods {methods!r} names none", "use all, or some names joined by commas")
    settings = Settings(
        contrast,
        names,
        budget,
        calibration,
        validation,
        test,
        questions,
        transfer,
        trait,
        full,
        seed,
        questionnaire or _given(data, "ipip_neo/ipip_neo_120.csv"),
        hellaswag or _given(data, "capability/hellaswag_val_400.jsonl"),
        mmlu or _given(data, "capability/mmlu_dev"),
        others=tuple(name.strip() for name in specificity.split(",") if name.strip()),
        options=_by_method(options or []),
    )
    for note in read_texts(settings).notes:  # wrong texts are told before a model is loaded
        tell(note)
    ensure_folder(folder)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    with progress_steps() as progress:
        summary = compare(
            lm,
            settings,
            folder,
            jobs=jobs or suggested_jobs(lm, settings),
            command=shlex.join(["temperament", *sys.argv[1:]]),
            progress=progress,
            note=tell,
        )
    page = write_report(summary, folder / "report.html")
    if json_output:
        print_json(summary)
        return
    out.print(compare_table(summary))
    out.print(f"report: {page}", soft_wrap=True)


def _by_method(pairs: list[str]) -> dict[str, dict[str, str]]:
    """``METHOD.KEY=VALUE`` pairs, by method."""
    found: dict[str, dict[str, str]] = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        method, dot, key = name.strip().partition(".")
        if not (mark and dot and method and key and value.strip()):
            raise TemperamentError(f"--set {pair!r} is not METHOD.KEY=VALUE", "write for example --set lora.epochs=10")
        if key in found.setdefault(method, {}):
            raise TemperamentError(f"--set {method}.{key} is given twice", "give it once")
        found[method][key] = value.strip()
    return found


def _given(data: str | None, name: str) -> Path | None:
    """A public file where ``TEMPERAMENT_DATA`` points to it."""
    path = Path(data) / name if data else None
    return path if path and path.exists() else None
