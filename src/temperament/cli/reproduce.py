"""``temperament reproduce``: the papers' tables for the model at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, progress_steps, tell, working
from temperament.cli.endpoints import KeyVariable, open_endpoint
from temperament.cli.options import Device, Dtype, Json, Model, Revision, Seed
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.evaluation.people import Scored
    from temperament.reproduce.npti1 import PoleJudge


def command(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="ps-4, ps-6, ps-8, npti-1 or npti-3. Example: ps-4")],
    model: Model = "smollm2-135m",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of public files; default: $TEMPERAMENT_DATA. Example: --data public"),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for records, personas and tables. Example: --out reproduced")
    ] = Path("reproduced"),
    methods: Annotated[
        str,
        typer.Option("--methods", help="all, or names joined by commas. Example: --methods prompt,contrastive-wanda"),
    ] = "all",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=2, help="Take that many items of each kind, for a quick run. Example: --limit 12"),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option("--contrast", help="Texts for ps-6 and ps-8: built-in name or file. Example: openness"),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(
            "--roles",
            help="For ps-8: two roles' lines, as a contrast file or A,B. Example: --roles hero.json,rogue.json",
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option("--people", help="For npti-3: people's answers; default: a synthetic group. Example: answers.csv"),
    ] = None,
    scored: Annotated[
        str | None,
        typer.Option("--scored", help="Whether − keyed answers are raw or reversed. Example: --scored raw"),
    ] = None,
    questionnaire: Annotated[
        Path | None,
        typer.Option("--questionnaire", help="For npti-3: items; default: those in DATA. Example: ipip_neo_120.csv"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="For npti-1: OpenAI-compatible endpoint of the judge. Example: --endpoint http://localhost:8000/v1",
        ),
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option("--judge-model", help="Name of the judging model at the endpoint. Example: --judge-model qwen3"),
    ] = None,
    key_variable: KeyVariable = "OPENAI_API_KEY",
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="For npti-1: longest answer. Example: --max-tokens 400")
    ] = 60,
    seed: Seed = 42,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Make one of the papers' tables for a model.

    The same rows and columns, the paper's figures apart, controls beside.
    Writes OUT/TABLE.md and OUT/TABLE.json. An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.language_model import load
    from temperament.report.reproduce_table import remarks, reproduce_tables, write_markdown
    from temperament.reproduce import Settings, reproduce
    from temperament.reproduce.run import check_table

    check_table(name)
    if (url is None) != (judge_model is None):
        raise TemperamentError("--endpoint and --judge-model belong together", "give both, or neither: local judge")
    if url and name != "npti-1":
        raise TemperamentError(f"{name} has no judge", "leave out --endpoint, or make npti-1")
    given = os.environ.get("TEMPERAMENT_DATA")
    chosen = tuple(part.strip() for part in methods.split(",") if part.strip())
    settings = Settings(
        name,
        data or (Path(given) if given else None),
        () if "all" in chosen else chosen,
        limit,
        seed,
        contrast,
        roles,
        people,
        _scored(scored),
        questionnaire,
        max_tokens,
    )
    ensure_folder(folder)
    told: list[str] = []

    def note(text: str) -> None:
        told.append(text)
        tell(text)

    with ExitStack() as stack:
        judge = stack.enter_context(_judge(url, judge_model, key_variable, folder, seed)) if url else None
        with working(f"loading {model}"):
            lm = load(model, dtype=dtype, device=device, revision=revision)
        progress = stack.enter_context(progress_steps())
        table = reproduce(
            lm,
            settings,
            folder,
            judge=judge,
            progress=progress,
            note=note,
        )
    page = write_markdown(table, folder / f"{name}.md")
    if json_output:
        print_json(table.as_json())
        return
    out.print(f"{table.title}; {table.source}", soft_wrap=True)
    for part in reproduce_tables(table):
        out.print(part)
        out.print()
    for text in remarks(table, told):
        out.print(f"- {text}", soft_wrap=True)
    out.print(f"page: {page}", soft_wrap=True)


def _scored(given: str | None) -> Scored | None:
    if given is None:
        return None
    if given == "raw":
        return "raw"
    if given == "reversed":
        return "reversed"
    raise TemperamentError(f"--scored {given}", "use raw or reversed")


@contextmanager
def _judge(url: str, model: str | None, key_variable: str, folder: Path, seed: int) -> Iterator[PoleJudge]:
    from temperament.reproduce.npti1 import EndpointScores

    with open_endpoint(
        url,
        model or "",
        key_variable=key_variable,
        timeout=120.0,
        retries=4,
        concurrency=4,
        prices=(None, None),
        own_sampling=False,
        max_tokens=256,
        cache=folder / "verdicts.jsonl",
    ) as endpoint:
        yield EndpointScores(endpoint, model or "", seed)
