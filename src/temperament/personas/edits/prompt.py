"""Prompt edits: a persona that is nothing but a system prompt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.personas.edits.edit import Content, expect_tensors


@dataclass(frozen=True)
class PromptEdit:
    """A persona that is nothing but a system prompt."""

    kind: ClassVar[str] = "prompt"
    bound: ClassVar[bool] = False
    strongest: ClassVar[float | None] = None
    text: str

    @property
    def identity(self) -> str:
        return self.text

    def check(self, lm: LoadedModel) -> None:
        """A prompt fits every model."""

    def check_strength(self, name: str, strength: float) -> None:
        if strength not in (0, 1):
            raise TemperamentError(f"strength {strength} of the prompt persona {name!r}", "use 0 or 1")

    def describe(self) -> dict[str, Any]:
        return {"text": self.text}

    def content(self) -> Content:
        return Content({}, self.text)

    @staticmethod
    def read(content: Content, pole: Pole) -> PromptEdit:  # noqa: ARG004 - a text has no pole of its own
        """From a file's content; ValueError for anything but a text."""
        expect_tensors(content)
        text = json.loads(content.json)
        if not isinstance(text, str):
            raise ValueError("a prompt persona holds a text")
        return PromptEdit(text)
