"""``temperament build-questions``: descriptions and situational questions of a trait, written by a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temperament.atomic import ensure_folder
from temperament.cli.console import err, out, print_json, progress_steps, tell
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
    trait: Annotated[
        str, typer.Option("--trait", help="A Big Five trait, or any name with --facets. Example: --trait extraversion")
    ],
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for the files and all answers. Example: --out questions")
    ],
    url: Url = "",
    writer: Annotated[
        str,
        typer.Option("--writer-model", help="Name of the writing model at the endpoint. Example: --writer-model qwen3"),
    ] = "",
    count: Annotated[int, typer.Option("--count", help="Questions to search with. Example: --count 480")] = 480,
    test: Annotated[int, typer.Option("--test", help="Questions to test with, apart. Example: --test 90")] = 90,
    descriptions: Annotated[
        int, typer.Option("--descriptions", help="Descriptions of each pole. Example: --descriptions 40")
    ] = 40,
    facets: Annotated[
        Path | None,
        typer.Option("--facets", help="JSON lines {facet, plus, minus}; default: ours. Example: --facets facets.jsonl"),
    ] = None,
    topics: Annotated[
        Path | None, typer.Option("--topics", help="Topics, one a line; default: ours. Example: --topics topics.txt")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Send nothing; print the number of requests and the first prompt. Example: --dry-run"
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of orders and of sampling. Example: --seed 1")
    ] = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="0 is the likeliest text. Example: --temperature 0.7")
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Longest reply, thoughts included. Example: --max-tokens 6000")
    ] = 2000,
    key_variable: KeyVariable = "OPENAI_API_KEY",
    timeout: Timeout = 300.0,
    retries: Retries = 4,
    concurrency: Concurrency = 4,
    prompt_price: PromptPrice = None,
    answer_price: AnswerPrice = None,
    own_sampling: Unset = False,
    json_output: Json = False,
) -> None:
    """Write pole descriptions and situational questions.

    They are made by facet and topic, in the PersonalityBench format.
    Questions are written, then checked and reworded, and repeated ones left out. An interrupted run goes on where it
    stopped when it is started again.
    """
    from temperament.calibration.build_questions import Blueprint, build_questions, summary
    from temperament.calibration.facets import FACETS, TOPICS, read_facets, read_topics

    name = trait.strip().lower()
    if facets is None and name not in FACETS:
        raise TemperamentError(f"there are no facets of {trait!r}", f"use one of {', '.join(FACETS)}, or give --facets")
    blueprint = Blueprint(
        name,
        read_facets(facets) if facets else FACETS[name],
        read_topics(topics) if topics else TOPICS,
        count,
        test,
        descriptions,
        seed,
    )
    if dry_run:
        prompt = blueprint.first_prompt()
        if json_output:
            print_json({"requests": blueprint.requests, "first_prompt": prompt})
            return
        out.print(f"{blueprint.requests} requests, more where replies must be asked for again; the first one:\n")
        for message in prompt:
            out.print(f"{message['role']}: {message['content']}\n", soft_wrap=True)
        return
    ensure_folder(folder)
    with (
        open_endpoint(
            url,
            writer,
            key_variable=key_variable,
            timeout=timeout,
            retries=retries,
            concurrency=concurrency,
            prices=(prompt_price, answer_price),
            own_sampling=own_sampling,
            max_tokens=max_tokens,
            cache=folder / "answers.jsonl",
            temperature=temperature,
            seed=seed,
        ) as endpoint,
        progress_steps() as progress,
    ):
        built = build_questions(endpoint, blueprint, folder, progress)
        usage, result = endpoint.usage, summary(built, blueprint, endpoint)
    lacking = [f"{len(getattr(built, part))} of {wanted} {part}" for part, wanted in result["wanted"].items()]
    if result["built"] != result["wanted"]:
        tell(f"fewer than asked for; why: {folder / 'build.json'}")
    if json_output:
        print_json(result)
        return
    out.print(f"{', '.join(lacking)} in {folder}", soft_wrap=True)
    for reason, number in result["dropped"].items():
        out.print(f"left out: {number} × {reason}", soft_wrap=True)
    out.print(f"replies of the wrong form: {built.malformed}; given up: {built.skipped}")
    err.print(f"{writer}: {usage}", soft_wrap=True)
