"""Personas: what a method found, as small frozen objects, their files, and the plans they are worn in."""

from temperament.personas.dial import Dial, DialData
from temperament.personas.edits import (
    Edit,
    FewShotEdit,
    LoraEdit,
    MaskEdit,
    NeuronEdit,
    PromptEdit,
    SubnetworkEdit,
    VectorEdit,
)
from temperament.personas.extract import Extraction, extract, notes_of
from temperament.personas.file import open_persona, save_persona
from temperament.personas.masks import PackedMasks
from temperament.personas.mix import mix
from temperament.personas.mixture import MixtureEdit
from temperament.personas.overlap import mask_statistics
from temperament.personas.persona import Persona
from temperament.personas.plan import Plan
from temperament.personas.provenance import package_versions
from temperament.personas.spec import read_plan

__all__ = [
    "Dial",
    "DialData",
    "Edit",
    "Extraction",
    "FewShotEdit",
    "LoraEdit",
    "MaskEdit",
    "MixtureEdit",
    "NeuronEdit",
    "PackedMasks",
    "Persona",
    "Plan",
    "PromptEdit",
    "SubnetworkEdit",
    "VectorEdit",
    "extract",
    "mask_statistics",
    "mix",
    "notes_of",
    "open_persona",
    "package_versions",
    "read_plan",
    "save_persona",
]
