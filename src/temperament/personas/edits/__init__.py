"""The kinds of edit that a persona can be, one file each, and the table of them."""

from __future__ import annotations

from temperament.personas.edits.edit import Content, Edit
from temperament.personas.edits.few_shot import FewShotEdit
from temperament.personas.edits.lora import LoraEdit
from temperament.personas.edits.mask import MaskEdit
from temperament.personas.edits.neurons import NeuronEdit
from temperament.personas.edits.prompt import PromptEdit
from temperament.personas.edits.subnetwork import SubnetworkEdit
from temperament.personas.edits.vector import VectorEdit

#: Kinds of edit by the name that stands in persona files.
KINDS: dict[str, type[Edit]] = {
    edit.kind: edit for edit in (MaskEdit, SubnetworkEdit, NeuronEdit, VectorEdit, PromptEdit, FewShotEdit, LoraEdit)
}

__all__ = [
    "KINDS",
    "Content",
    "Edit",
    "FewShotEdit",
    "LoraEdit",
    "MaskEdit",
    "NeuronEdit",
    "PromptEdit",
    "SubnetworkEdit",
    "VectorEdit",
]
