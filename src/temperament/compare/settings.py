"""What a comparison is asked for, and the texts that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.builtin import CONTRASTS, TRAITS, find_trait, questions
from temperament.calibration.contrast import group_key
from temperament.errors import TemperamentError
from temperament.methods import METHODS, find_method

#: The baseline that is no method of its own: the system prompt of each pole.
PROMPT = "prompt"
#: Budgets reported beside the one asked for.
BUDGETS = (1.05, 1.10, 1.25)


@dataclass(frozen=True)
class Settings:
    """A comparison: numbers are texts per pole; ``transfer`` is another instrument's contrast, '' for none.

    ``full`` adds questionnaire, capability, drift and specificity.
    """

    contrast: str
    methods: tuple[str, ...] = ("all",)
    budget: float = 1.10
    calibration: int = 120
    validation: int = 40
    test: int = 60
    questions: int = 10
    transfer: str | None = None
    trait: str | None = None
    full: bool = False
    seed: int = 42
    questionnaire: Path | None = None
    hellaswag: Path | None = None
    mmlu: Path | None = None

    def __post_init__(self) -> None:
        if not 1 < self.budget <= 10:
            raise TemperamentError(
                f"the budget is a perplexity ratio of {self.budget:g}", "give one above 1, such as 1.10"
            )
        if min(self.calibration, self.validation, self.test) < 2 or self.questions < 1:
            raise TemperamentError("a comparison of fewer than two texts per pole, or no question", "give more")
        self.names  # noqa: B018 - an unknown method is told before anything is loaded
        if self.trait and not find_trait(self.trait):
            known = ", ".join(trait.name for trait in TRAITS)
            raise TemperamentError(f"unknown trait {self.trait!r}", f"use one of {known}")

    @property
    def names(self) -> tuple[str, ...]:
        """Methods to compare, the prompt first; without it no verdict could be given."""
        known = tuple(method.name for method in METHODS)
        chosen = known if "all" in self.methods else self.methods
        for name in chosen:
            if name != PROMPT:
                find_method(name)
        return (PROMPT, *dict.fromkeys(name for name in chosen if name != PROMPT))

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted({*BUDGETS, self.budget}))


@dataclass(frozen=True)
class Texts:
    """The disjoint parts of a contrast, another instrument, and open questions.

    ``judge`` are texts for the local judge, taken from the calibration split; None for a built-in trait, which has its
    own.
    """

    calibration: Contrast
    validation: Contrast
    test: Contrast
    judge: Contrast | None
    transfer: Contrast | None
    questions: tuple[str, ...]
    trait: str | None
    notes: tuple[str, ...] = field(default=())


def read_texts(settings: Settings) -> Texts:
    """Read and split what the settings name."""
    seed = settings.seed
    source = settings.contrast.rpartition("#")[0] or settings.contrast
    calibration = resolve_contrast(source, split="calibration", limit=settings.calibration, seed=seed)
    validation = resolve_contrast(source, split="validation", limit=settings.validation, seed=seed)
    test = resolve_contrast(source, split="test", limit=settings.test, seed=seed)
    trait = settings.trait or trait_of(calibration.name)
    judge = None
    if trait is None:
        calibration, judge = set_aside(calibration)
    transfer = _transfer(settings, calibration, trait)
    asked = [text for name in ([trait] if trait else [t.name for t in TRAITS]) for text in questions(name, use="test")]
    step = max(1, len(asked) // settings.questions)
    return Texts(
        calibration,
        validation,
        test,
        judge,
        transfer,
        tuple(asked[::step][: settings.questions]),
        trait,
        calibration.notes,
    )


def set_aside(calibration: Contrast) -> tuple[Contrast, Contrast]:
    """A quarter of the texts, by the hash of their groups, for the local judge; and the rest to calibrate on."""
    keys = sorted(group_key(item.group) for item in (*calibration.plus, *calibration.minus))
    chosen = frozenset(keys[::4])

    def part(inside: bool) -> Contrast:
        plus, minus = (
            tuple(item for item in pole if (group_key(item.group) in chosen) == inside)
            for pole in (calibration.plus, calibration.minus)
        )
        return replace(calibration, plus=plus, minus=minus, choices=())

    return part(False), part(True)


def trait_of(name: str) -> str | None:
    """The built-in trait a contrast is named after, such as a file extraversion.jsonl."""
    stem = Path(name).stem.removesuffix("-scenes")
    return stem if find_trait(stem) else None


def _transfer(settings: Settings, calibration: Contrast, trait: str | None) -> Contrast | None:
    """Another instrument: as asked for, else the built-in texts of the trait that were not calibrated on."""
    if settings.transfer == "":
        return None
    if settings.transfer:
        found = resolve_contrast(settings.transfer, split="test", limit=settings.test, seed=settings.seed)
    elif trait:
        name = f"{trait}-scenes" if calibration.name == trait else trait
        if name not in CONTRASTS:
            return None
        found = resolve_contrast(name, split="test", limit=settings.test, seed=settings.seed)
    else:
        return None
    if found.group_keys & calibration.group_keys:
        raise TemperamentError(
            f"the transfer texts {found.name!r} contain calibration texts", "name another instrument with --transfer"
        )
    return replace(found, choices=())
