"""The dial: the strength at which a persona reaches a target, what it measured there, and on which texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DialData(BaseModel):
    """The validation texts a strength was found on: ``items`` per pole, and the ``neutral`` text's hash."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: str
    split: str
    hash: _Hash
    plus: int = Field(ge=2)
    minus: int = Field(ge=2)
    neutral: _Hash


class Dial(BaseModel):
    """A persona's own strength, as its file holds it.

    Scores are in nats per token, positive towards the persona's pole, as ``evaluation.dial`` defines them: ``unworn``
    and its ``sd``, the ``goal`` that the ``target`` ("+1sd" or a score) stands for, and the ``score`` measured at
    ``strength``. ``perplexity`` is the ratio there, ``budget`` the largest one allowed; ``repeat`` is how much more
    of a free answer is repetition there than in the unworn model (None where nobody asked). ``reached`` is false where
    the goal lies beyond the budget and the closest strength was taken. ``texts`` are the identities of the validation
    texts and of the questions asked, all among the persona's ``groups``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    strength: float = Field(gt=0)
    target: str
    goal: float
    score: float
    unworn: float
    sd: float = Field(gt=0)
    budget: float = Field(gt=1)
    perplexity: float = Field(gt=0)
    repeat: float | None = Field(default=None, ge=-1, le=1)
    reached: bool
    measure: Literal["statements"] = "statements"
    data: DialData
    texts: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")], ...] = Field(min_length=1)
