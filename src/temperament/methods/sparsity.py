"""How many inputs each Linear loses: one sparsity, with exceptions by module kind and layer range (PS Table 12)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from temperament.errors import TemperamentError
from temperament.models import LinearSite

_SELECTOR = re.compile(r"(?:(?P<kind>[a-z_0-9]+?))?(?:(?:^|\.)layers\.(?P<first>\d+)(?:-(?P<last>\d+))?)?\Z")


@dataclass(frozen=True)
class SparsityPlan:
    """ρ per Linear. ``rules`` maps selectors to ρ in order; the last one that fits a Linear counts.

    Selectors: ``default``; ``attention`` or ``mlp``; a module kind such as ``q_proj``; ``layers.0-9`` or
    ``layers.4``; or a kind and a range, ``mlp.layers.10-19``.
    """

    rules: tuple[tuple[str, Decimal], ...]

    @staticmethod
    def of(value: float | str | Mapping[str, float | str] | SparsityPlan) -> SparsityPlan:
        """Read one number, or a mapping from selectors to numbers."""
        if isinstance(value, SparsityPlan):
            return value
        mapping = value if isinstance(value, Mapping) else {"default": value}
        rules = []
        for selector, number in mapping.items():
            match = _SELECTOR.match(selector)
            if match is None or not selector:
                raise TemperamentError(
                    f"unknown sparsity selector {selector!r}",
                    "use default, attention, mlp, a module kind such as q_proj, layers.0-9 or mlp.layers.0-9",
                )
            rules.append((selector, _ratio(number)))
        rules.sort(key=lambda rule: rule[0] != "default")
        return SparsityPlan(tuple(rules))

    def check(self, linears: Sequence[LinearSite]) -> None:
        """Raise unless every selector fits some Linear."""
        for selector, _ in self.rules:
            if not any(_fits(selector, linear) for linear in linears):
                kinds = ", ".join(dict.fromkeys(linear.kind for linear in linears))
                raise TemperamentError(
                    f"the sparsity selector {selector!r} fits no Linear of this model",
                    f"its kinds are attention, mlp, {kinds}; its layers 0 to {linears[-1].layer}",
                )

    def sparsity(self, linear: LinearSite) -> Decimal:
        """ρ of one Linear; 0 where no rule fits."""
        return next((ratio for selector, ratio in reversed(self.rules) if _fits(selector, linear)), Decimal(0))

    def as_json(self) -> dict[str, str]:
        return {selector: str(ratio) for selector, ratio in self.rules}

    def __str__(self) -> str:
        if len(self.rules) == 1 and self.rules[0][0] == "default":
            return str(self.rules[0][1])
        return ", ".join(f"{selector} {ratio}" for selector, ratio in self.rules)


def _ratio(value: float | str) -> Decimal:
    try:
        ratio = Decimal(str(value))
    except InvalidOperation:
        raise TemperamentError(
            f"the sparsity {value!r} is not a number", "give a share of inputs to prune, such as 0.2"
        ) from None
    if not (ratio.is_finite() and 0 <= ratio < 1):
        raise TemperamentError(
            f"the sparsity {value} is out of range", "give a share of inputs to prune from 0 up to, not including, 1"
        )
    return ratio


def _fits(selector: str, linear: LinearSite) -> bool:
    if selector == "default":
        return True
    match = _SELECTOR.match(selector)
    if match is None:
        return False
    kind, first, last = match["kind"], match["first"], match["last"]
    if first is not None and not int(first) <= linear.layer <= int(last or first):
        return False
    return kind in (None, linear.part, linear.kind)
