"""What every method has: a name, an explanation, and parameters that are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from temperament.errors import TemperamentError


class Parameters(BaseModel):
    """Parameters of a method; an unknown name or a value out of range is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Method:
    """One row of the table of methods: how it is named, explained and parametrised.

    ``kind`` names what its personas are made of and so the way to them (see ``personas.kinds``). ``sparsity`` is the
    default share of weights that are pruned, None for a method that has no such share.
    """

    kind: ClassVar[str]
    name: str
    equation: str
    summary: str
    parameters: type[Parameters]
    sparsity: str | None = field(default=None, kw_only=True)

    @property
    def settings(self) -> str:
        """Names and defaults of the parameters; those without one by name only."""
        values = self.parameters().model_dump()
        return ", ".join(key if value is None else f"{key}={value}" for key, value in values.items())

    def read(self, settings: dict[str, Any]) -> Any:
        """Validate settings; the error names the first wrong one and what was expected."""
        try:
            return self.parameters(**settings)
        except ValidationError as error:
            fault = error.errors()[0]
            name = ".".join(map(str, fault["loc"]))
            message = "no such setting" if fault["type"] == "extra_forbidden" else fault["msg"]
            message = message.removeprefix("Value error, ")
            where = f"setting {name!r}: " if name else ""
            raise TemperamentError(
                f"{self.name}: {where}{message}", f"settings and defaults: {self.settings or 'none'}"
            ) from None
