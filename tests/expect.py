"""What tests expect: how a user's mistake is reported, and how much work is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn

from temperament.errors import TemperamentError
from temperament.models import LoadedModel


@contextmanager
def refused(*parts: str) -> Iterator[None]:
    """The block must raise a ``TemperamentError`` on one line that holds every one of ``parts`` and a remedy."""
    with pytest.raises(TemperamentError) as caught:
        yield
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in {message!r}"
    assert len(message.splitlines()) == 1, message
    assert "; " in message, f"no remedy in {message!r}"


@contextmanager
def counted_passes(lm: LoadedModel) -> Iterator[list[int]]:
    """A list that grows by one with every forward pass inside the block."""
    with _counted(lm.model) as passes:
        yield passes


@contextmanager
def counted_streams(lm: LoadedModel) -> Iterator[list[int]]:
    """A list that grows by one with every batch for which any block runs, the model around it or not."""
    with _counted(lm.module(lm.block(0))) as passes:
        yield passes


@contextmanager
def _counted(module: nn.Module) -> Iterator[list[int]]:
    passes: list[int] = []
    hook = module.register_forward_hook(lambda *_: passes.append(1))
    try:
        yield passes
    finally:
        hook.remove()


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON object on stdout, and nothing else there."""
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that a mistake gets; nothing on stdout."""
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [line.startswith("error: ") for line in lines] == [True], lines
    return lines[0]
