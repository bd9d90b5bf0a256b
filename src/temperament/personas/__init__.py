"""Personas: what a method found, as small frozen objects, their files, and the plans they are worn in."""

from temperament.personas.extract import Extraction, extract
from temperament.personas.file import open_persona, save_persona
from temperament.personas.masks import PackedMasks, mask_statistics
from temperament.personas.persona import MaskEdit, Persona, PromptEdit
from temperament.personas.plan import Plan

__all__ = [
    "Extraction",
    "MaskEdit",
    "PackedMasks",
    "Persona",
    "Plan",
    "PromptEdit",
    "extract",
    "mask_statistics",
    "open_persona",
    "save_persona",
]
