"""What a sweep can vary: one row per axis, from a value to the steps that are measured there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from temperament.calibration import Contrast, RolePlay
from temperament.errors import TemperamentError
from temperament.methods import Method, find_method
from temperament.methods.registry import MaskMethod
from temperament.signatures.collect import Tokens

Value: TypeAlias = float | str
Sparsity: TypeAlias = float | str | Mapping[str, float | str]


@dataclass(frozen=True)
class Step:
    """One point of a sweep: how the pair is extracted, how strongly it is worn, and on which texts it is measured.

    ``series`` names the line it belongs to. ``model`` and ``contrast`` name another one than those of the sweep.
    """

    series: str
    method: str
    data: Contrast | RolePlay
    test: Contrast
    settings: Mapping[str, Any] = field(default_factory=dict)
    sparsity: Sparsity | None = None
    tokens: Tokens = "response"
    strength: float = 1.0
    seed: int = 42
    value: Value = 0.0
    model: str | None = None

    def set(self, **settings: Any) -> Step:
        """The same step with further settings of the method; one that is set already is an error."""
        if twice := set(self.settings) & set(settings):
            raise TemperamentError(f"this sweep sets {', '.join(sorted(twice))} itself", "leave it out of --set")
        return replace(self, settings={**self.settings, **settings})


@dataclass(frozen=True)
class Around:
    """What steps may need beside their values: the depth of the model, and how texts are read.

    ``texts`` gives the calibration and the test texts that a user's spec names.
    """

    depth: int
    texts: Callable[[str], tuple[Contrast, Contrast]]


@dataclass(frozen=True)
class Axis:
    """A row of the table of axes. ``label`` is that of plots, ``kinds`` are those of the methods it applies to.

    ``steps`` makes of a step without a value those at a value. ``values`` are the usual ones, in their order; those of
    an axis of words are words, those of a ``log`` axis are drawn on a logarithmic scale.
    """

    name: str
    label: str
    summary: str
    kinds: tuple[str, ...]
    values: tuple[Value, ...]
    steps: Callable[[Step, Any, Around], Iterable[Step]]
    words: bool = False
    log: bool = False

    def read(self, text: str | None) -> tuple[Value, ...]:
        """Values joined by commas (by semicolons, if there are any), without repetition; numbers ascending."""
        if text is None:
            if not self.values:
                raise TemperamentError(f"a sweep over {self.name} has no usual values", "name some with --values")
            return self.values
        shown = ",".join(map(str, self.values or ("A", "B")))
        if not self.words:
            return tuple(read_numbers(text, shown))
        found = dict.fromkeys(part.strip() for part in text.split(";" if ";" in text else ",") if part.strip())
        if not found:
            raise TemperamentError(f"--values {text!r} holds no words", f"write for example --values {shown}")
        return tuple(found)

    def check(self, method: Method) -> None:
        """Raise if the axis does not apply to a method."""
        if method.kind not in self.kinds:
            raise TemperamentError(
                f"{method.name} has no {self.name} to vary", f"use methods that make {' or '.join(self.kinds)}"
            )


def read_numbers(text: str, example: str) -> list[float]:
    """Different numbers joined by commas, ascending."""
    try:
        found = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise TemperamentError(f"--values {text!r} holds no numbers", f"write for example --values {example}")
    return found


def find_axis(name: str) -> Axis:
    """The row of that name, or an error that lists the names."""
    for axis in AXES:
        if axis.name == name:
            return axis
    raise TemperamentError(f"--over {name}", f"use one of {', '.join(axis.name for axis in AXES)}")


def _with_and_without_f(name: str) -> Callable[[Step, float, Around], Iterable[Step]]:
    def steps(step: Step, value: float, _: Around) -> Iterable[Step]:
        if name == "threshold" and {"count", "share"} & set(step.settings):
            raise TemperamentError(
                "a sweep over threshold leaves no room for count or share", "leave them out of --set"
            )
        for weighted in (True, False):
            series = "with f" if weighted else "without f"
            yield replace(step.set(**{name: value, "weighted": weighted}), series=series)

    return steps


def _size(step: Step, value: float, _: Around) -> Iterable[Step]:
    """The first texts of one seeded order, so that each size holds all smaller ones."""
    if isinstance(step.data, RolePlay):
        raise TemperamentError("a sweep over size takes texts, not a role to play", "use the source texts")
    available = min(step.data.items.values())
    if value != int(value) or not 2 <= value <= available:
        raise TemperamentError(
            f"{value:g} calibration texts per pole", f"give whole numbers from 2 to {available}, the texts there are"
        )
    yield replace(step, data=step.data.first(int(value), step.seed))


def _tokens(step: Step, value: str, _: Around) -> Iterable[Step]:
    if value not in ("response", "all"):
        raise TemperamentError(f"unknown token rule {value!r}", "use response or all")
    yield replace(step, tokens="all" if value == "all" else "response")


#: Thirds of the depth.
BANDS = {"early": (0, 1), "middle": (1, 2), "late": (2, 3)}


def _modules(step: Step, value: str, around: Around) -> Iterable[Step]:
    """Edits restricted to a module kind or a third of the depth."""
    if value not in ("all", "attention", "mlp", *BANDS):
        raise TemperamentError(f"unknown part {value!r}", f"use all, attention, mlp, {', '.join(BANDS)}")
    band = None
    if value in BANDS:
        begin, end = (part * around.depth // 3 for part in BANDS[value])
        if begin == end:
            raise TemperamentError(f"a model of {around.depth} layers has no {value} third", "leave it out")
        band = f"{begin}-{end - 1}"
    method = find_method(step.method)
    if not isinstance(method, MaskMethod):
        yield step.set(layers=band or "all", modules="all" if band else value)
        return
    share = method.sparsity if step.sparsity is None else step.sparsity
    if isinstance(share, Mapping):
        raise TemperamentError("a sweep over modules sets them itself", "give one sparsity, without a selector")
    yield replace(step, sparsity={f"layers.{band}" if band else "default" if value == "all" else value: share})


def _contrast(step: Step, value: str, around: Around) -> Iterable[Step]:
    data, test = around.texts(value)
    yield replace(step, data=data, test=test)


_GRADED = ("masks", "neurons", "vectors", "subnetwork")
_ANY = (*_GRADED, "lora", "few-shot")

AXES: tuple[Axis, ...] = (
    Axis("gamma", "γ", "raise of own neurons, with and without f (NPTI Fig. 3)", ("neurons",),
         (0.0, 0.35, 0.7, 1.05, 1.4), _with_and_without_f("gamma")),
    Axis("threshold", "threshold on |δ|", "|δ| a neuron must pass, with and without f (NPTI Fig. 3)", ("neurons",),
         (0.05, 0.075, 0.1, 0.15, 0.2), _with_and_without_f("threshold")),
    Axis("sparsity", "sparsity ρ", "share of inputs pruned per row (PS Fig. 3 and 4)", ("masks",),
         (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), lambda step, value, _: [replace(step, sparsity=value)]),
    Axis("share", "share of all weights", "size of a subnetwork", ("subnetwork",),
         (0.0003, 0.001, 0.003, 0.005, 0.01), lambda step, value, _: [step.set(share=value)], log=True),
    Axis("strength", "strength", "how strongly a pair is worn (soft gates, PS Eq. 7)", _GRADED,
         (0.25, 0.5, 0.75, 1.0), lambda step, value, _: [replace(step, strength=value)]),
    Axis("size", "calibration texts per pole", "how many texts are calibrated on (PS Table 8)", _ANY,
         (5.0, 10.0, 20.0, 50.0, 100.0, 200.0), _size, log=True),
    Axis("tokens", "tokens counted", "statistics over responses, or over all tokens", ("masks",),
         ("response", "all"), _tokens, words=True),
    Axis("modules", "where", "attention or MLP alone, or a third of the depth (PS Table 12)", ("masks", "subnetwork"),
         ("all", "attention", "mlp", "early", "middle", "late"), _modules, words=True),
    Axis("model", "model", "checkpoints, such as base and instruct (PS Table 11)", _ANY,
         (), lambda step, value, _: [replace(step, model=value)], words=True),
    Axis("contrast", "contrast", "pairs of poles, such as similar and opposite ones (PS Table 14)", _ANY,
         (), _contrast, words=True),
)  # fmt: skip
