"""Baselines: the same texts described to the model, shown to it as samples, or trained into a low-rank adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from temperament.methods.method import Method, Parameters


class DescriptionParameters(Parameters):
    count: int = Field(3, ge=1, le=100, description="how many descriptions (or statements) the prompt holds")


@dataclass(frozen=True)
class DescriptionMethod(Method):
    """The method whose personas are system prompts that describe a person."""

    kind: ClassVar[str] = "description"


class FewShotParameters(Parameters):
    k: int = Field(5, ge=1, le=100, description="how many samples are shown before a question")
    retrieval: Literal["embeddings", "bm25"] | None = Field(
        None, description="what finds the samples; default: embeddings where installed, else bm25"
    )


@dataclass(frozen=True)
class FewShotMethod(Method):
    """The method whose personas are samples shown before a question."""

    kind: ClassVar[str] = "few-shot"


class LoraParameters(Parameters):
    rank: int = Field(8, ge=1, le=1024, description="rank of the change of every Linear")
    alpha: int = Field(16, ge=1, le=10000, description="ΔW = (alpha / rank) · B · A")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="falls to 0 along a cosine")
    batch: int = Field(8, ge=1, le=4096, description="texts per step")
    epochs: int = Field(3, ge=1, le=1000, description="passes over the texts")


@dataclass(frozen=True)
class LoraMethod(Method):
    """The method whose personas are adapters trained on the texts."""

    kind: ClassVar[str] = "lora"


DESCRIPTION = DescriptionMethod(
    "description",
    "system prompt ← descriptions of the pole (P²; NPTI baseline)",
    "a system prompt made of descriptions of the pole; no statistics, weights untouched",
    DescriptionParameters,
)

FEW_SHOT = FewShotMethod(
    "few-shot",
    "earlier turns ← the k samples of the pole most similar to the question (NPTI baseline)",
    "relevant samples of the pole are shown before every question; weights untouched",
    FewShotParameters,
)

LORA = LoraMethod(
    "lora",
    "W ← W + s · (alpha / rank) · B · A, B and A trained on the pole's texts (SFT; NPTI baseline)",
    "supervised fine-tuning with PEFT, an upper bound: every Linear changes",
    LoraParameters,
)

BASELINES: tuple[Method, ...] = (DESCRIPTION, FEW_SHOT, LORA)
