"""Options that several subcommands share; every help text ends with an example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Largest seed that every random generator in use takes.
MAX_SEED = 2**63 - 1

Model = Annotated[
    str,
    typer.Option("--model", help="Hub id, local folder, .gguf file or bundled name. Example: --model smollm2-135m"),
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="float32, bfloat16 or float16; default: what is fast. Example: --dtype float32"),
]
Device = Annotated[str | None, typer.Option("--device", help="Default: CUDA, MPS or CPU. Example: --device cuda:0")]
Revision = Annotated[str | None, typer.Option("--revision", help="Hub branch, tag or commit. Example: --revision main")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else. Example: --json")]
Limit = Annotated[
    int | None, typer.Option("--limit", help="Take a seeded sample of N items per pole. Example: --limit 120")
]
Source = Annotated[
    str,
    typer.Option(
        "--source",
        help="For neurons: texts, or generate (the model acts the poles of --contrast, a built-in trait or "
        "DESCRIPTIONS,QUESTIONS[#TRAIT]). Example: --source generate",
    ),
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", help="With --source generate: longest answer. Example: --max-tokens 60")
]
Items = Annotated[
    str,
    typer.Option(
        "--items",
        "--instrument",
        help="Questionnaire items: a csv or JSON file with the fields domain, key and text, mbti-axes for our own on "
        "the four axes, or ffm for those of the installed package. Example: --items mbti-axes",
    ),
]
Presentations = Annotated[
    str,
    typer.Option(
        "--presentations",
        help="Ways to put each item: quick (2), standard (6) or full (12). Example: --presentations quick",
    ),
]
Plus = Annotated[Path, typer.Option("--plus", help="Persona of the plus pole. Example: --plus outgoing/plus.persona")]
Minus = Annotated[
    Path, typer.Option("--minus", help="Persona of the minus pole. Example: --minus outgoing/minus.persona")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of samples and intervals. Example: --seed 1")
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        help="Strength of all; masks take 0 to 1, others any. Default: the one dialled for each pole, else 1. "
        "Example: --strength 0.7",
    ),
]
