"""What a reproduction is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from temperament.errors import TemperamentError
from temperament.evaluation.people import Scored

#: Calibration texts per pole and their seed (PS App. K).
CALIBRATION, SEED = 128, 42


@dataclass(frozen=True)
class Settings:
    """``name`` is a table; ``data`` the folder of public files; ``methods`` () for the table's own choice.

    ``limit`` takes a seeded sample of that many items, for quick runs. ``contrast`` names the texts of ``ps-6`` and
    ``ps-8`` (``roles``: a file of two roles' lines, for ``ps-8``); ``people`` (their answers being ``scored`` raw or
    reversed) and ``questionnaire`` belong to ``npti-3``, ``max_tokens`` (of an answer) to ``npti-1``.
    """

    name: str
    data: Path | None = None
    methods: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = SEED
    contrast: str | None = None
    roles: str | None = None
    people: Path | None = None
    scored: Scored | None = None
    questionnaire: Path | None = None
    max_tokens: int = 60

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 2:
            raise TemperamentError(f"a limit of {self.limit} items", "give 2 or more")
        if self.data is not None and not self.data.is_dir():
            raise TemperamentError(f"there is no folder {str(self.data)!r}", "give the folder of the public files")
        if self.people and self.scored is None:
            raise TemperamentError(
                "a file of answers does not say whether − keyed items were reversed", "add --scored raw or reversed"
            )

    @property
    def calibration(self) -> int:
        """Calibration texts per pole."""
        return CALIBRATION if self.limit is None else min(CALIBRATION, self.limit)

    def file(self, name: str) -> Path | None:
        """A file or folder below ``data``, None where there is none."""
        path = self.data / name if self.data else None
        return path if path and path.exists() else None
