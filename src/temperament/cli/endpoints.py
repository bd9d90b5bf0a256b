"""Options of the commands that ask an endpoint, and the endpoint they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from temperament.endpoint import Endpoint

Url = Annotated[
    str,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="Base URL of an OpenAI-compatible endpoint. Example: --endpoint http://localhost:8000/v1",
    ),
]
KeyVariable = Annotated[
    str,
    typer.Option(
        "--key-variable",
        help="Environment variable that holds the key; local servers need none. Example: --key-variable MY_KEY",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for one answer. Example: --timeout 300")]
Retries = Annotated[
    int, typer.Option("--retries", help="Times that a failed request is sent again. Example: --retries 2")
]
Concurrency = Annotated[int, typer.Option("--concurrency", help="Requests at a time. Example: --concurrency 8")]
PromptPrice = Annotated[
    float | None,
    typer.Option(
        "--prompt-price", min=0, help="Price per million prompt tokens; default: unknown. Example: --prompt-price 0.5"
    ),
]
AnswerPrice = Annotated[
    float | None,
    typer.Option(
        "--answer-price", min=0, help="Price per million answer tokens; default: unknown. Example: --answer-price 1.5"
    ),
]
Unset = Annotated[
    bool,
    typer.Option(
        "--own-sampling",
        help="Send neither temperature nor seed, for models that refuse them; answers may then vary. "
        "Example: --own-sampling",
    ),
]


def open_endpoint(
    url: str,
    model: str,
    *,
    key_variable: str,
    timeout: float,
    retries: int,
    concurrency: int,
    prices: tuple[float | None, float | None],
    own_sampling: bool,
    max_tokens: int,
    cache: Path,
    temperature: float = 0.0,
    seed: int = 0,
) -> Endpoint:
    """The endpoint that the options describe, its answers kept in ``cache``."""
    from temperament.endpoint import Endpoint, Prices, Settings

    settings = Settings(max_tokens, None if own_sampling else temperature, None if own_sampling else seed)
    return Endpoint(
        url,
        model,
        key_variable=key_variable,
        settings=settings,
        prices=Prices(*prices),
        cache=cache,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
    )
