"""Baselines: the same texts described to the model, shown to it as samples, or trained into a low-rank adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from temperament.methods.method import Method, Parameters


class DescriptionParameters(Parameters):
    count: int = Field(3, ge=1, le=100, description="how many descriptions (or statements) the prompt holds")


@dataclass(frozen=True)
class DescriptionMethod(Method):
    """The method whose personas are system prompts that describe a person."""

    kind: ClassVar[str] = "description"


DESCRIPTION = DescriptionMethod(
    "description",
    "system prompt ← descriptions of the pole (P²; NPTI baseline)",
    "a system prompt made of descriptions of the pole; no statistics, weights untouched",
    DescriptionParameters,
)

BASELINES: tuple[Method, ...] = (DESCRIPTION,)
