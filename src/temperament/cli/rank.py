"""``temperament rank``: blind ranking of answers by people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import out, print_json, tell
from temperament.cli.options import MAX_SEED, Json

app = typer.Typer(
    name="rank",
    help="Blind ranking of methods' answers by people.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("sheet")
def sheet(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS...",
            help="JSON lines {question, answer}, one file per method, or with a field method. Example: masks.jsonl",
        ),
    ],
    criterion: Annotated[
        str,
        typer.Option(
            "--criterion",
            help='What to rank by, as told to the judges. Example: --criterion "how outgoing the writer seems"',
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the sheet and its key. Example: --out ranking")],
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=MAX_SEED, help="Seed of the order; default: drawn, kept in the key. Example: --seed 1"
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a blind sheet of answers and its key.

    Answers stand under letters, with instructions; judges must not see the key.
    """
    from temperament.evaluation.answers import by_method
    from temperament.evaluation.ranking import write_sheet

    written = write_sheet(by_method(answers), criterion, ensure_folder(folder), seed=seed)
    for note in written.notes:
        tell(note)
    if json_output:
        print_json({name: str(value) if isinstance(value, Path) else value for name, value in asdict(written).items()})
        return
    out.print(f"{written.items} questions, {written.methods} answers each", soft_wrap=True)
    out.print(f"for judges: {written.sheet}, {written.instructions}", soft_wrap=True)
    out.print(f"key, not for judges: {written.key}", soft_wrap=True)


@app.command("score")
def score(
    sheets: Annotated[
        list[Path],
        typer.Argument(metavar="SHEETS...", help="Filled sheets, one file per judge. Example: anna.csv ben.csv"),
    ],
    key: Annotated[Path, typer.Option("--key", help="Key of these sheets. Example: --key ranking/key.json")],
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of intervals. Example: --seed 1")] = 0,
    json_output: Json = False,
) -> None:
    """Score filled sheets with their key.

    Mean ranks, first places, pairwise wins and agreement.
    """
    from temperament.evaluation.rank_scores import score_rankings
    from temperament.evaluation.ranking import read_rankings
    from temperament.report.judge_tables import rank_table

    scores = score_rankings(read_rankings(sheets, key), seed=seed)
    if json_output:
        print_json(scores.as_json())
        return
    out.print(rank_table(scores))
