"""Few-shot edits: samples of a pole that stand before a question as earlier turns of the dialogue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.models.dialogue import Turns
from temperament.personas.edits.edit import Content, expect_tensors
from temperament.retrieval import Engine, Index, check_engine


class FewShotHeader(BaseModel):
    """Samples as (prompt, response), how many are shown, and what finds them."""

    model_config = ConfigDict(extra="forbid", strict=True)
    samples: list[tuple[str, str]] = Field(min_length=1)
    k: int = Field(ge=1)
    retrieval: Engine


@dataclass(frozen=True)
class FewShotEdit:
    """For every question the ``k`` most relevant samples are put before it.

    ``samples`` are (prompt, response). A sample is found by its response, with its prompt before it unless all samples
    answer the same one. The most relevant stands last, next to the question.
    """

    kind: ClassVar[str] = "few-shot"
    bound: ClassVar[bool] = False
    strongest: ClassVar[float | None] = None
    samples: tuple[tuple[str, str], ...]
    k: int
    retrieval: Engine

    def turns(self, question: str) -> Turns:
        """The samples for a question as turns of user and assistant."""
        return _turns(self, question)

    @cached_property
    def index(self) -> Index:
        """What finds the samples; built once."""
        shared = len({prompt for prompt, _ in self.samples}) == 1
        texts = [response if shared else f"{prompt}\n{response}" for prompt, response in self.samples]
        return Index(texts, self.retrieval)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over samples, their number and what finds them."""
        return hashlib.sha256(self.content().json.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.identity)

    def check(self, lm: LoadedModel) -> None:  # noqa: ARG002 - samples fit every model
        """Raise unless what finds the samples is installed."""
        check_engine(self.retrieval)

    def check_strength(self, name: str, strength: float) -> None:
        if strength not in (0, 1):
            raise TemperamentError(f"strength {strength} of the few-shot persona {name!r}", "use 0 or 1")

    def describe(self) -> dict[str, Any]:
        return {"few-shot": {"samples": len(self.samples), "k": self.k, "retrieval": self.retrieval}}

    def content(self) -> Content:
        header = FewShotHeader(samples=list(self.samples), k=self.k, retrieval=self.retrieval)
        return Content({}, header.model_dump(mode="json"))

    @staticmethod
    def read(content: Content, pole: Pole) -> FewShotEdit:  # noqa: ARG004 - the samples are those of one pole
        """From a file's content; ValueError for anything but samples."""
        expect_tensors(content)
        header = FewShotHeader.model_validate_json(content.json)
        if not all(prompt.strip() and response.strip() for prompt, response in header.samples):
            raise ValueError("a sample is empty")
        return FewShotEdit(tuple(header.samples), header.k, header.retrieval)


@lru_cache(maxsize=4096)  # an evaluation asks one question many times
def _turns(edit: FewShotEdit, question: str) -> Turns:
    found = [edit.samples[at] for at in reversed(edit.index.top(question, edit.k))]
    return tuple(turn for prompt, response in found for turn in (("user", prompt), ("assistant", response)))
