"""What every kind of method must provide to get from a contrast to a pair of personas and its controls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from temperament.calibration import Contrast, Pole, RolePlay
from temperament.errors import TemperamentError
from temperament.methods import Method, SparsityPlan, find_method
from temperament.models import LoadedModel
from temperament.personas.edits import Edit
from temperament.personas.persona import Persona
from temperament.signatures import Pair, Writing
from temperament.signatures.collect import Progress, Tokens

P = TypeVar("P", bound=Pair)
Poles = tuple[Persona, Persona]
Origin = Mapping[Pole, Mapping[str, Any]]


@dataclass(frozen=True)
class Task:
    """What an extraction was asked for: data, method with its checked parameters, and how tokens are counted.

    ``sparsity`` is as the caller gave it, or None; ``writing`` says how a ``RolePlay`` is acted out.
    """

    data: Contrast | RolePlay
    method: Method
    parameters: Any
    sparsity: float | str | Mapping[str, float | str] | SparsityPlan | None = None
    tokens: Tokens = "response"
    seed: int = 42
    writing: Writing = field(default_factory=Writing)


class MethodKind(ABC, Generic[P]):
    """The steps of all methods whose personas are made of the same thing, such as masks.

    An extraction calls ``prepare``, then ``collect`` (or compares ``provenance`` with statistics it was given), then
    ``pair``. Controls call ``rebuild`` on shuffled statistics, and ``randomised``.
    """

    #: Names the statistics in ``Extraction.details`` and the time they took; ``Method.kind`` refers to it.
    name: ClassVar[str]
    #: The type of the statistics, P.
    statistics: ClassVar[type[Any]]

    @abstractmethod
    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        """The task with its defaults filled in; ``TemperamentError``, before any forward pass, if it cannot be done."""

    @abstractmethod
    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        """What the statistics of a prepared task depend on."""

    def coverage(self, lm: LoadedModel, task: Task) -> str:  # noqa: ARG002 - some kinds look at it
        """Which part of the model the statistics of a prepared task describe; '' is all of it."""
        return ""

    @abstractmethod
    def collect(self, lm: LoadedModel, task: Task, folder: Path | None, progress: Progress | None) -> P:
        """Statistics from the folder if they fit the task, else collected (and kept there)."""

    @abstractmethod
    def load(self, folder: Path) -> P:
        """Statistics that ``collect`` kept in a folder."""

    @abstractmethod
    def pair(
        self, lm: LoadedModel, task: Task, pair: P, name: str, origin: Origin
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        """Both poles, and figures that describe them; ``origin`` is the provenance of each."""

    @abstractmethod
    def rebuild(self, lm: LoadedModel, pair: P, plus: Persona, minus: Persona) -> Poles:
        """What the method of these personas finds in other statistics, with the same settings and of the same size."""

    @abstractmethod
    def randomised(self, lm: LoadedModel, plus: Persona, minus: Persona, seed: int, pair: Pair | None) -> Poles:
        """The random control: edits of the same size without meaning; needs ``pair`` if ``random_needs`` says so."""

    def random_needs(self, persona: Persona) -> str | None:  # noqa: ARG002 - some kinds look at it
        """Which random control needs the statistics, in words, or None: it can be made from the personas alone."""
        return None


def with_edits(plus: Persona, minus: Persona, name: str, change: Callable[[Persona], Edit]) -> Poles:
    """Both personas under another name, each with the edit that ``change`` makes of it."""
    first, second = (replace(persona, name=name, edit=change(persona)) for persona in (plus, minus))
    return first, second


def method_of(persona: Persona) -> tuple[Method, Any]:
    """The method a persona was found by and its parameters."""
    stated = persona.provenance["method"]
    method = find_method(stated["name"])
    return method, method.read(dict(stated["parameters"]))


def without_sparsity(task: Task) -> None:
    """Raise if a sparsity was given to a method that has none."""
    if task.sparsity is not None:
        raise TemperamentError(
            f"the method {task.method.name} has no sparsity", f"its settings are {task.method.settings}"
        )


def with_sparsity(lm: LoadedModel, task: Task) -> Task:
    """The task with its sparsity as a plan that fits the model; default: the method's."""
    plan = SparsityPlan.of((task.method.sparsity or "0") if task.sparsity is None else task.sparsity)
    plan.check(lm.linears)
    return replace(task, sparsity=plan)


def plan_of(task: Task) -> SparsityPlan:
    """The sparsity of a prepared task."""
    if not isinstance(task.sparsity, SparsityPlan):
        raise ValueError("the task was not prepared")
    return task.sparsity


def texts_of(task: Task) -> Contrast:
    """The texts of a task; an error if its data are a role to play."""
    if isinstance(task.data, RolePlay):
        raise TemperamentError(f"the method {task.method.name} needs texts, not a role to play", "use the source texts")
    return task.data
