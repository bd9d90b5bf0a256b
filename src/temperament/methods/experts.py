"""Which experts of a mixture the methods that choose weights leave alone."""

from __future__ import annotations

from pydantic import Field

from temperament.methods.method import Parameters

#: Tokens of either pole below which an expert counts as rarely seen (docs/experiments.md).
EXPERT_TOKENS = 128


class ExpertParameters(Parameters):
    """What methods that choose weights have in common: which experts they leave alone."""

    expert_tokens: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="experts that fewer tokens of either pole reach stay unmasked; default 128",
    )

    @property
    def least(self) -> int:
        """Tokens of either pole that an expert must see to be masked."""
        return EXPERT_TOKENS if self.expert_tokens is None else self.expert_tokens
