"""The Persona: one edit of a model and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.methods import Recipe, SparsityPlan
from temperament.models import LoadedModel
from temperament.personas.masks import PackedMasks, build_masks
from temperament.signatures import SignaturePair

if TYPE_CHECKING:
    from temperament.personas.plan import Plan


@dataclass(frozen=True)
class MaskEdit:
    """A mask over the Linears of one model: a recipe from which it is rebuilt, or packed bits.

    ``checksum`` is the SHA-256 of the packed masks; rebuilding checks it.
    """

    sparsity: SparsityPlan
    checksum: str
    recipe: Recipe | None = None
    packed: PackedMasks | None = None
    _built: WeakKeyDictionary[LoadedModel, PackedMasks] = field(
        default_factory=WeakKeyDictionary, compare=False, repr=False
    )

    def masks(self, lm: LoadedModel) -> PackedMasks:
        """The masks for this model, built on first use; a checksum mismatch is an error."""
        built = self._built.get(lm)
        if built is None:
            built = self.packed or build_masks(lm, _required(self.recipe), self.sparsity)
            if built.checksum != self.checksum:
                raise TemperamentError(
                    "the mask rebuilt from this persona differs from the one that was saved",
                    "the model's weights are not those it was made from, or another version wrote it: extract again",
                )
            self._built[lm] = built
        return built

    def keep(self, lm: LoadedModel, built: PackedMasks) -> None:
        """Remember masks that were just built for ``lm``."""
        self._built[lm] = built


def _required(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        raise ValueError("a mask edit needs a recipe or packed bits")
    return recipe


@dataclass(frozen=True)
class PromptEdit:
    """A persona that is nothing but a system prompt."""

    text: str


@dataclass(frozen=True)
class Persona:
    """An edit (mask or prompt), the pole it stands for, and its provenance.

    ``provenance`` holds plain JSON values: base model, tokenizer and template hashes, method, parameters, data,
    versions, licence, and ``prompt``, the system prompt that serves as this pole's baseline. ``groups`` are the
    identities of the calibration texts. A persona that was just extracted also holds its ``signatures``; its file
    does not. ``0.7 * persona`` is a plan that wears it at strength .7.
    """

    name: str
    pole: Pole
    edit: MaskEdit | PromptEdit
    provenance: Mapping[str, Any] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    signatures: SignaturePair | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        return "mask" if isinstance(self.edit, MaskEdit) else "prompt"

    @staticmethod
    def from_prompt(text: str, name: str = "prompt", pole: Pole = "plus") -> Persona:
        """A prompt persona."""
        return Persona(name, pole, PromptEdit(text))

    def renamed(self, name: str) -> Persona:
        return replace(self, name=name)

    def packed(self, lm: LoadedModel) -> Persona:
        """The same mask persona with its mask as packed bits instead of a recipe."""
        if not isinstance(self.edit, MaskEdit):
            raise TemperamentError(f"{self.name!r} is a {self.kind} persona", "only masks can be packed")
        masks = self.edit.masks(lm)
        return replace(self, edit=MaskEdit(self.edit.sparsity, masks.checksum, packed=masks))

    def save(self, path: str | Path) -> Path:
        """Write the ``.persona`` file atomically."""
        from temperament.personas.file import save_persona

        return save_persona(self, Path(path))

    def check_model(self, lm: LoadedModel) -> None:
        """Raise unless this persona was made from the weights of ``lm``."""
        model = self.provenance.get("model")
        facts = model if isinstance(model, Mapping) else {}
        if isinstance(self.edit, MaskEdit) and facts.get("fingerprint") != lm.fingerprint:
            origin = facts.get("name", "another model")
            raise TemperamentError(
                f"the persona {self.name!r} was made from {origin}, whose weights are not those of {lm.name}",
                f"load {origin}, or extract the persona again on {lm.name}",
            )

    def __rmul__(self, strength: float) -> Plan:
        from temperament.personas.plan import Plan

        return Plan(((self, strength),))

    __mul__ = __rmul__

    def __add__(self, other: Persona | Plan) -> Plan:
        return 1.0 * self + other
