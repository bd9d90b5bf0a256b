"""What a comparison is asked for, and the texts that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.builtin import TRAITS, builtin_judge_texts, find_trait, trait_of
from temperament.calibration.contrast import SPLITS, group_key
from temperament.calibration.questionnaire_items import transfer_contrast
from temperament.errors import TemperamentError
from temperament.evaluation.budget import check_budget
from temperament.evaluation.local_judge import can_be_judged
from temperament.evaluation.loops import trait_questions
from temperament.methods import METHODS, SparsityPlan, find_method

#: The baseline that is no method of its own: the system prompt of each pole.
PROMPT = "prompt"
#: The control in which that prompt is worn with the method.
BOTH = "prompt + method"
#: Statements per pole in a column of the specificity matrix.
MATRIX_ITEMS = 20
#: Budgets reported beside the one asked for.
BUDGETS = (1.05, 1.10, 1.25)


@dataclass(frozen=True)
class Settings:
    """A comparison: numbers are texts per pole; ``transfer`` is another instrument's contrast, '' for none.

    ``questionnaire`` is a file of items, whose sentences on the trait are one instrument more.

    ``full`` adds two-choice, questionnaire, capability, drift and specificity; that is measured on the five traits and
    on the test statements of ``others``, each a built-in name or a labelled file. ``options`` are settings of methods
    by their names, ``sparsity`` and ``sparsity.SELECTOR`` among them.
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
    others: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if min(self.calibration, self.validation, self.test) < 2 or self.questions < 1:
            raise TemperamentError("a comparison of fewer than two texts per pole, or no question", "give more")
        self.names  # noqa: B018 - an unknown method is told before anything is loaded
        if self.trait and not find_trait(self.trait):
            known = ", ".join(trait.name for trait in TRAITS)
            raise TemperamentError(f"unknown trait {self.trait!r}", f"use one of {known}")
        for name, values in self.options.items():
            if name not in self.names or name == PROMPT:
                raise TemperamentError(
                    f"a setting of {name!r}, which is not compared", "settings are METHOD.KEY=VALUE; see --methods"
                )
            method_options(name, values)

    @property
    def names(self) -> tuple[str, ...]:
        """Methods to compare, the prompt first; without it no verdict could be given."""
        known = [method.name for method in METHODS]
        named = [name for name in self.methods if name not in ("all", PROMPT)]
        for name in named:
            if name not in known:
                raise TemperamentError(
                    f"unknown method {name!r}", f"use all, or some of {', '.join([PROMPT, *known])}, joined by commas"
                )
        every = known if "all" in self.methods else []
        return (PROMPT, *dict.fromkeys([*every, *named]))

    @property
    def budgets(self) -> tuple[float, ...]:
        return tuple(sorted({*BUDGETS, self.budget}))


def method_options(name: str, values: Mapping[str, str]) -> tuple[dict[str, str], SparsityPlan | None]:
    """A method's own settings, and the sparsity of its masks (None: the method's).

    Raises:
        TemperamentError: for a setting or value that the method does not know.
    """
    method = find_method(name)
    shares = {key: value for key, value in values.items() if key.partition(".")[0] == "sparsity"}
    own = {key: value for key, value in values.items() if key not in shares}
    method.read(own)
    if not shares:
        return own, None
    if method.sparsity is None:
        raise TemperamentError(f"the method {name} has no sparsity", f"its settings: {method.settings}")
    named = {"default" if key == "sparsity" else key.removeprefix("sparsity."): value for key, value in shares.items()}
    if "" in named or len(named) < len(shares):
        raise TemperamentError(
            f"unclear settings {', '.join(shares)} of {name}", "give sparsity once, and sparsity.SELECTOR for others"
        )
    return own, SparsityPlan.of({"default": method.sparsity, **named})


@dataclass(frozen=True)
class Texts:
    """The disjoint parts of a contrast, other instruments (``items`` are a questionnaire's), and open questions.

    ``others`` are further columns of the specificity matrix, by name.
    ``questions`` are those asked once a strength is found; ``trait`` chooses those asked while it is sought.
    ``judge`` are texts for the local judge: those of a character, else taken from the calibration split; None for a
    built-in trait, which has its own, and where there are too few to take any. ``notes`` say what is left out, and why.
    """

    calibration: Contrast
    validation: Contrast
    test: Contrast
    judge: Contrast | None = None
    transfer: Contrast | None = None
    items: Contrast | None = None
    questions: tuple[str, ...] = ()
    trait: str | None = None
    notes: tuple[str, ...] = field(default=())
    others: Mapping[str, Contrast] = field(default_factory=dict)


def read_texts(settings: Settings) -> Texts:
    """Read and split what the settings name."""
    seed = settings.seed
    source = _whole(settings.contrast)
    calibration = resolve_contrast(source, split="calibration", limit=settings.calibration, seed=seed)
    validation = resolve_contrast(source, split="validation", limit=settings.validation, seed=seed)
    test = resolve_contrast(source, split="test", limit=settings.test, seed=seed)
    trait = settings.trait or trait_of(calibration.name)
    calibration, judge, notes = (calibration, None, ()) if trait else _of_no_trait(source, calibration)
    transfer = _transfer(settings, source, trait)
    if transfer is None and settings.transfer is None:
        notes += (f"transfer is left out: no other instrument is about {calibration.name} (--transfer names one)",)
    items = transfer_contrast(settings.questionnaire, trait) if settings.questionnaire and trait else None
    for other in filter(None, (transfer, items)):
        known = (contrast for contrast in (calibration, validation, test, judge) if contrast)
        _check_apart("transfer", other, *known, remedy="name another instrument with --transfer, or '' for none")
    chosen = trait_questions(trait, "test", settings.questions)
    if len(chosen) < settings.questions:
        notes += (f"{len(chosen)} questions are asked: there are no {settings.questions}",)
    if settings.questionnaire and not trait:
        notes += (f"the questionnaire is left out: {calibration.name} is about no built-in trait (--trait names one)",)
    others = _others(settings)
    for other in others.values():
        _check_apart("specificity", other, calibration, validation, remedy="name other texts with --specificity")
    notes = (*calibration.notes, *notes)
    return Texts(calibration, validation, test, judge, transfer, items, chosen, trait, notes, others)


def _others(settings: Settings) -> dict[str, Contrast]:
    """Test statements of the labelled sets by name; a file named like a trait or another set keeps its ending."""
    found: dict[str, Contrast] = {}
    for spec in settings.others:
        source = _whole(spec)
        contrast = resolve_contrast(source, split="test", limit=MATRIX_ITEMS, seed=settings.seed)
        taken = contrast.name in found or find_trait(contrast.name)
        found[Path(source).name if taken else contrast.name] = contrast
    return found


def _of_no_trait(source: str, calibration: Contrast) -> tuple[Contrast, Contrast | None, tuple[str, ...]]:
    """What to calibrate on, what a local judge learns from (None: too few texts), and notes in plain words."""
    asked = (f"questions of the five traits are asked: there are none about {calibration.name}",)
    if judge := builtin_judge_texts(source):
        return calibration, judge, (*asked, "the local judge learned from quotes and replies of all six characters")
    rest, apart = set_aside(calibration)
    if can_be_judged(apart):
        return rest, apart, asked
    few = f"free answers are not judged: {min(calibration.items.values())} texts per pole leave none to train a judge"
    return calibration, None, (*asked, few)


def _whole(spec: str) -> str:
    """A contrast without the split that may be named behind it: a comparison uses all splits."""
    source, mark, split = spec.rpartition("#")
    return source if mark and split in SPLITS and not Path(spec).expanduser().is_file() else spec


def set_aside(calibration: Contrast) -> tuple[Contrast, Contrast]:
    """The rest to calibrate on; and a quarter of the texts of each pole, by the hash of their groups, for the judge."""
    plus, minus = ({group_key(item.group) for item in pole} for pole in (calibration.plus, calibration.minus))
    chosen = {key for keys in (plus - minus, minus - plus, plus & minus) for key in sorted(keys)[3::4]}

    def part(inside: bool) -> Contrast:
        plus, minus = (
            tuple(item for item in pole if (group_key(item.group) in chosen) == inside)
            for pole in (calibration.plus, calibration.minus)
        )
        return replace(calibration, plus=plus, minus=minus, choices=())

    return part(False), part(True)


def _transfer(settings: Settings, source: str, trait: str | None) -> Contrast | None:
    """Another instrument: as asked for, else the built-in texts of the trait: scenes where plain ones are ``source``.

    A file may bear the name of a trait; it is another source all the same.
    """
    name = settings.transfer
    if name is None and trait:
        name = f"{trait}-scenes" if source == trait else trait
    if not name:
        return None
    found = resolve_contrast(name, split="test", limit=settings.test, seed=settings.seed)
    return replace(found, choices=())


def _check_apart(what: str, texts: Contrast, *others: Contrast, remedy: str) -> None:
    """Raise if texts to measure on are among those of the contrast that are ``others``."""
    for other in others:
        if texts.group_keys & other.group_keys:
            raise TemperamentError(
                f"the {what} texts {texts.name!r} contain {other.split} texts of the contrast", remedy
            )
