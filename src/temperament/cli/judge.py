"""``temperament judge``: scores of generated answers by a model behind an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import encode_text, ensure_folder, write_bytes
from temperament.cli.console import err, out, print_json, progress_bar, tell
from temperament.cli.endpoints import (
    AnswerPrice,
    Concurrency,
    KeyVariable,
    PromptPrice,
    Retries,
    Timeout,
    Unset,
    Url,
    open_endpoint,
)
from temperament.cli.options import MAX_SEED, Json
from temperament.errors import TemperamentError


def command(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS...",
            help="JSON lines {question, answer}, with pole (plus or minus) and method where they vary. "
            "Example: answers.jsonl",
        ),
    ],
    url: Url,
    judge_model: Annotated[
        str,
        typer.Option("--judge-model", help="Name of the judging model at the endpoint. Example: --judge-model qwen3"),
    ],
    trait: Annotated[
        str,
        typer.Option("--trait", help="Built-in trait, or a contrast as for 'extract'. Example: --trait extraversion"),
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the verdicts and the score of every answer. Example: --out judged")
    ],
    pole: Annotated[
        str | None,
        typer.Option("--pole", help="Pole the answers should show, where rows name none. Example: --pole plus"),
    ] = None,
    one_scale: Annotated[
        bool,
        typer.Option(
            "--one-scale",
            help="Put all answers on the plus pole's scale and turn it round for the minus pole, so that the scale "
            "does not tell which pole was meant. Example: --one-scale",
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of the order and of intervals. Example: --seed 1")
    ] = 0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Longest verdict, thoughts included. Example: --max-tokens 2000")
    ] = 256,
    key_variable: KeyVariable = "OPENAI_API_KEY",
    timeout: Timeout = 120.0,
    retries: Retries = 4,
    concurrency: Concurrency = 4,
    prompt_price: PromptPrice = None,
    answer_price: AnswerPrice = None,
    own_sampling: Unset = False,
    json_output: Json = False,
) -> None:
    """Let a model score answers for trait and fluency.

    Scores are 1 to 5; it sees no method and nothing worn.
    An interrupted run goes on where it stopped when it is started again.
    """
    from temperament.calibration import resolve_contrast
    from temperament.calibration.contrast import POLES
    from temperament.evaluation.answers import read_answered
    from temperament.evaluation.endpoint_judge import judge_answers, judgements, unscored
    from temperament.evaluation.rubrics import rubric_of
    from temperament.report.judge_tables import judge_table

    given = next((name for name in POLES if name == pole), None)
    if pole is not None and given is None:
        raise TemperamentError(f"--pole {pole}", "use plus or minus")
    items = [item for path in answers for item in read_answered(path, given, "")]
    contrast = resolve_contrast(trait, split="all")
    ensure_folder(folder)
    with (
        open_endpoint(
            url,
            judge_model,
            key_variable=key_variable,
            timeout=timeout,
            retries=retries,
            concurrency=concurrency,
            prices=(prompt_price, answer_price),
            own_sampling=own_sampling,
            max_tokens=max_tokens,
            cache=folder / "verdicts.jsonl",
        ) as endpoint,
        progress_bar("judging") as progress,
    ):
        records = judge_answers(
            endpoint,
            items,
            lambda pole: rubric_of(contrast, pole),
            one_scale=one_scale,
            seed=seed,
            progress=progress,
        )
        usage = endpoint.usage
    reasons = unscored(records)
    if reasons and not any(record[kind] for record in records for kind in ("trait", "fluency")):
        raise TemperamentError(
            f"{judge_model} gave no score for any of {len(records)} answers (the first: {reasons[0]})",
            "mend the server, choose another --judge-model or allow more --max-tokens; the same command asks again",
        )
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_bytes(folder / "scores.jsonl", encode_text("".join(lines)))
    figures = judgements(records, seed=seed)
    result = {
        "judge": judge_model,
        "trait": contrast.name,
        "scale": "plus pole's, turned round for minus" if one_scale else "each pole's own",
        "methods": [figure.as_json() for figure in figures],
        "usage": usage.as_json(),
        "scores": str(folder / "scores.jsonl"),
    }
    if reasons:
        tell(f"{len(reasons)} verdicts hold no score (the first: {reasons[0]}); the same command asks for them again")
    if json_output:
        print_json(result)
        return
    out.print(judge_table(figures))
    err.print(f"{judge_model}: {usage}", soft_wrap=True)
