"""The Persona: one edit of a model and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temperament.calibration import Pole
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.personas.dial import Dial
from temperament.personas.edits import Edit, MaskEdit, PromptEdit
from temperament.signatures import Pair

if TYPE_CHECKING:
    from temperament.personas.plan import Plan


@dataclass(frozen=True)
class Persona:
    """An edit (mask, neurons or prompt), the pole it stands for, and its provenance.

    ``provenance`` holds plain JSON values: base model, tokenizer and template hashes, method, parameters, data,
    versions, licence, and ``prompt``, the system prompt that serves as this pole's baseline. ``groups`` are the
    identities of the texts it was calibrated or tuned on. ``dial`` is the strength found for a target, None where none
    was looked for. A persona that was just extracted also holds its ``signatures``; its file does not.
    ``0.7 * persona`` is a plan that wears it at strength .7, ``persona.dialled`` one at its dial's.
    """

    name: str
    pole: Pole
    edit: Edit
    provenance: Mapping[str, Any] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    signatures: Pair | None = field(default=None, compare=False, repr=False)
    dial: Dial | None = None

    def __repr__(self) -> str:
        worn = f", dialled to {self.dial.strength:.3g}" if self.dial else ""
        return f"<Persona {self.name!r}: {self.kind}, {self.pole} pole{worn}>"

    @property
    def kind(self) -> str:
        return self.edit.kind

    @property
    def dialled(self) -> Plan:
        """This persona at the strength of its dial."""
        if self.dial is None:
            raise TemperamentError(
                f"no strength was dialled for the persona {self.name!r}", "run temperament dial, or give a strength"
            )
        return self.dial.strength * self

    def with_dial(self, dial: Dial) -> Persona:
        """The same persona with this dial instead of its own; the dial's texts join the ``groups``."""
        undialled = self.without_dial()
        if undialled.groups & set(dial.texts):
            raise TemperamentError(
                f"the persona {self.name!r} was calibrated on texts of its dial", "dial on the validation split"
            )
        return replace(undialled, dial=dial, groups=undialled.groups | set(dial.texts))

    def without_dial(self) -> Persona:
        """The same persona as it was before it was tuned: no dial, and ``groups`` without the dial's texts."""
        return replace(self, dial=None, groups=self.groups - set(self.dial.texts)) if self.dial else self

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
        edit = MaskEdit(self.edit.sparsity, masks.checksum, packed=masks, unmasked=self.edit.unmasked)
        return replace(self, edit=edit)

    def save(self, path: str | Path) -> Path:
        """Write the ``.persona`` file atomically."""
        from temperament.personas.file import save_persona

        return save_persona(self, Path(path))

    def check_model(self, lm: LoadedModel) -> None:
        """Raise unless an edit that belongs to certain weights was made from those of ``lm``."""
        model = self.provenance.get("model")
        facts = model if isinstance(model, Mapping) else {}
        if self.edit.bound and facts.get("fingerprint") != lm.fingerprint:
            origin = facts.get("name", "another model")
            if origin == lm.name and str(lm.dtype) == "torch.float16":
                raise TemperamentError(
                    f"{lm.name} loaded in float16 has other weights than the persona {self.name!r} was made from",
                    "load it in float32 or bfloat16 (--dtype), or extract the persona again in float16",
                )
            raise TemperamentError(
                f"the persona {self.name!r} was made from {origin}, whose weights are not those of {lm.name}",
                f"load {origin}, or extract the persona again on {lm.name}",
            )

    def __rmul__(self, strength: float) -> Plan:
        from temperament.personas.plan import Plan

        return Plan(((self, strength),))

    __mul__ = __rmul__

    def __neg__(self) -> Plan:
        return -1.0 * self

    def __add__(self, other: Persona | Plan) -> Plan:
        return 1.0 * self + other

    def __sub__(self, other: Persona | Plan) -> Plan:
        return 1.0 * self - other
