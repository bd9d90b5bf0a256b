"""Causal restoration: where in a model the effect of a persona sits (PS §4.4, Table 7).

Each place (a layer or a Linear) is restored while the persona is worn everywhere else, and the trait score is compared
with that of the persona worn whole, item by item. The reverse wears it at one place only, against the unworn model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from temperament.analyze.gated import Worn, check_gated, control_pair, gates, random_fault
from temperament.analyze.trial import Difference, Spot, Trial
from temperament.calibration import Contrast, Pole
from temperament.evaluation.bootstrap import Measured, simultaneous
from temperament.evaluation.ledger import Progress
from temperament.evaluation.run import check_pair
from temperament.models import LoadedModel
from temperament.personas import package_versions
from temperament.personas.overlap import edited_weights

Level = Literal["layers", "linears"]
LEVELS: tuple[Level, ...] = ("layers", "linears")

#: Statements per pole below which an interval for all places at once cannot be had.
LEAST = 10


@dataclass(frozen=True)
class Effect:
    """What one place carries of the effect, in nats per token; positive values speak for it.

    ``measured`` is the separation lost when the place is restored, or gained when the persona is worn there only, with
    its own 95 % interval over items; ``corrected`` holds for all places of the level at once (None below ``LEAST``
    statements). ``poles`` is what either persona contributes, ``share`` the place's share of the edited weights,
    ``random`` the same figure of the random control.
    """

    spot: Spot
    measured: Measured
    corrected: tuple[float, float] | None
    poles: Mapping[Pole, float]
    share: float
    random: Measured | None = None

    @property
    def excludes_zero(self) -> bool:
        return self.measured.low > 0 or self.measured.high < 0

    @property
    def survives(self) -> bool:
        """Whether the corrected interval excludes 0 too."""
        return self.corrected is not None and (self.corrected[0] > 0 or self.corrected[1] < 0)

    def as_json(self) -> dict[str, Any]:
        return {
            "place": self.spot.name,
            "layer": self.spot.layer,
            "module": self.spot.kind,
            "share_of_edits": self.share,
            **self.measured.as_json(),
            "corrected": self.corrected
            and {"low": self.corrected[0], "high": self.corrected[1], "excludes_zero": self.survives},
            "poles": dict(self.poles),
            "random": self.random.as_json() if self.random else None,
        }


@dataclass(frozen=True)
class Restoration:
    """Every place of every level in model order; ``only`` tells the direction.

    ``worn`` is the separation of the whole persona on these items, ``random`` that of the random control; ``why`` says
    why there is none.
    """

    only: bool
    worn: Measured
    levels: Mapping[Level, tuple[Effect, ...]]
    provenance: Mapping[str, Any]
    random: Measured | None = None
    why: str | None = None

    def ranked(self, level: Level) -> list[Effect]:
        """Places that carry most of the effect first."""
        return sorted(self.levels[level], key=lambda effect: -effect.measured.value)

    def counts(self, level: Level) -> dict[str, float]:
        """How many intervals exclude 0, how many would by chance, and how many corrected ones do."""
        effects = self.levels[level]
        return {
            "places": len(effects),
            "exclude_zero": sum(effect.excludes_zero for effect in effects),
            "by_chance": 0.05 * sum(effect.measured.high > effect.measured.low for effect in effects),
            "exclude_zero_corrected": sum(effect.survives for effect in effects),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "direction": "only" if self.only else "restore",
            "worn": self.worn.as_json(),
            "random": self.random.as_json() if self.random else None,
            "no_random_control": self.why,
            "levels": {
                level: {
                    "intervals": self.counts(level),
                    "sum": sum(effect.measured.value for effect in effects),
                    "ranked": [effect.as_json() for effect in self.ranked(level)],
                }
                for level, effects in self.levels.items()
            },
            "provenance": dict(self.provenance),
        }


def spots(lm: LoadedModel, level: Level) -> tuple[Spot, ...]:
    """All places of a level in model order."""
    if level == "layers":
        own = (frozenset(site.name for site in lm.linears if site.layer == layer) for layer in range(lm.depth))
        return tuple(Spot(layer, "layer", linears) for layer, linears in enumerate(own))
    return tuple(Spot(linear.layer, linear.kind, frozenset((linear.name,))) for linear in lm.linears)


def restore(
    lm: LoadedModel,
    worn: Worn,
    contrast: Contrast,
    *,
    levels: Sequence[Level] = LEVELS,
    only: bool = False,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
    expect: Callable[[int, float], None] | None = None,
) -> Restoration:
    """Restore every place of ``levels``, or with ``only`` wear the persona at that place alone.

    One persona is compared with the unworn model, two are the poles of one extraction. Layers of a pair are put to the
    same test under its random control, where that can be made. With a ``folder`` every record is kept there, and no
    item is scored twice. ``expect`` is told, before the first place, how many conditions there are, and the seconds
    that one of them took.
    """
    for persona, _ in worn.values():
        check_gated(lm, persona)
    if len(worn) == 2:
        check_pair(worn["plus"][0], worn["minus"][0])
    places = {level: spots(lm, level) for level in LEVELS if level in levels}
    why = _no_control(worn, places)
    control = 0 if why else 1 + len(places["layers"])
    conditions = len(worn) * (control + sum(len(found) for found in places.values()))
    trial = Trial(
        lm, contrast, only=only, seed=seed, folder=folder, progress=progress, conditions=conditions + len(worn) + 1
    )
    whole = trial.whole(worn, "worn")
    if expect:
        expect(conditions, trial.seconds(worn))
    effects: dict[Level, tuple[Effect, ...]] = {}
    random: Measured | None = None
    for level, found in places.items():
        beside: list[Measured] = []
        if level == "layers" and not why:
            poles = control_pair(lm, worn)
            base = trial.whole(poles, "random")
            random = trial.separation(base)
            beside = [own.measured() for own in trial.differences(poles, base, found, "random")]
        effects[level] = _effects(lm, worn, list(trial.differences(worn, whole, found, "worn")), beside, found, seed)
    return Restoration(
        only, trial.separation(whole), effects, _provenance(lm, worn, contrast, trial, seed), random, why
    )


def _effects(
    lm: LoadedModel,
    worn: Worn,
    differences: Sequence[Difference],
    beside: Sequence[Measured],
    places: Sequence[Spot],
    seed: int,
) -> tuple[Effect, ...]:
    items = [np.stack(parts) for parts in zip(*(own.items for own in differences), strict=True)]
    corrected: Sequence[tuple[float, float] | None] = [None] * len(places)
    if min(part.shape[1] for part in items) >= LEAST:
        low, high = simultaneous(*items, seed=seed)
        corrected = list(zip(low.tolist(), high.tolist(), strict=True))
    shares = _shares(lm, worn, places)
    return tuple(
        Effect(spot, own.measured(), corrected[i], own.poles, shares[i], beside[i] if beside else None)
        for i, (spot, own) in enumerate(zip(places, differences, strict=True))
    )


def _shares(lm: LoadedModel, worn: Worn, places: Sequence[Spot]) -> list[float]:
    """The share of all edited weights that lies in each place."""
    edited = sum(
        (edited_weights(lm, gates(persona).kept(lm)) for persona, _ in worn.values()), np.zeros(len(lm.linears))
    )
    own = dict(zip((linear.name for linear in lm.linears), (edited / max(edited.sum(), 1)).tolist(), strict=True))
    return [sum(own[name] for name in spot.linears) for spot in places]


def _no_control(worn: Worn, places: Mapping[Level, Any]) -> str | None:
    """Why there is no random control, or None."""
    if "layers" not in places:
        return "it is made for layers"
    return random_fault(worn["plus"][0]) if len(worn) == 2 else "it needs both poles"


def _provenance(lm: LoadedModel, worn: Worn, contrast: Contrast, trial: Trial, seed: int) -> dict[str, Any]:
    return {
        "model": {"name": lm.name, "revision": lm.revision, "fingerprint": lm.fingerprint, "dtype": str(lm.dtype)},
        "personas": {
            pole: {
                "name": persona.name,
                "kind": persona.kind,
                "method": persona.provenance.get("method"),
                "checksum": persona.edit.identity,
                "strength": strength,
            }
            for pole, (persona, strength) in worn.items()
        },
        "data": {"name": contrast.name, "split": contrast.split, "hash": trial.hash, "items": contrast.items},
        "seed": seed,
        "versions": package_versions(),
    }
