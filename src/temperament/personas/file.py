"""The ``.persona`` file: safetensors layout, a validated JSON header, a SHA-256 over every byte, atomic writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from temperament.calibration import Pole
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.personas.dial import Dial
from temperament.personas.edits import KINDS, Content, Edit
from temperament.personas.edits.edit import Referring
from temperament.personas.mixture import MixtureEdit
from temperament.personas.persona import Persona

FORMAT_VERSION = 1
#: Kinds of edit that a file can hold.
_KINDS: dict[str, type[Edit]] = {**KINDS, MixtureEdit.kind: MixtureEdit}
_REMEDY = "copy it again from its source, or extract it again"


class Header(BaseModel):
    """The JSON header of a persona file, version 1; beside it stands one more field, named like the kind."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format_version: int
    kind: str
    name: str
    pole: Pole
    provenance: dict[str, Any]
    dial: Dial | None = None
    sha256: str = ""


def save_persona(persona: Persona, path: Path) -> Path:
    """Write a persona; the file is complete or not there at all. Returns the path."""
    content = (persona.edit.beside(path) if isinstance(persona.edit, Referring) else persona.edit).content()
    header = Header(
        format_version=FORMAT_VERSION,
        kind=persona.kind,
        name=persona.name,
        pole=persona.pole,
        provenance=dict(persona.provenance),
        dial=persona.dial,
    )
    groups = [int.from_bytes(bytes.fromhex(key), "big", signed=True) for key in sorted(persona.groups)]
    tensors = {**content.tensors, "groups": torch.tensor(groups, dtype=torch.int64)}
    left_out = {"sha256"} if persona.dial else {"sha256", "dial"}
    write_container(path, tensors, {**header.model_dump(exclude=left_out), persona.kind: content.header})
    return path


def open_persona(path: str | Path) -> Persona:
    """Read and verify a persona file; the mask itself is rebuilt and checked when it is first worn.

    Raises ``TemperamentError`` naming the file and the remedy for anything damaged, foreign or too new.
    """
    path = Path(path)
    tensors, raw = read_container(path, kind="persona file", remedy=_REMEDY)
    version = raw.get("format_version")
    if version != FORMAT_VERSION:
        raise TemperamentError(
            f"persona file {str(path)!r} has format version {version!r}, this version reads {FORMAT_VERSION}",
            "upgrade temperament" if isinstance(version, int) and version > FORMAT_VERSION else _REMEDY,
        )
    try:
        return _persona(raw, tensors, path.parent)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (TemperamentError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise TemperamentError(f"persona file {str(path)!r} is damaged ({reason})", _REMEDY)


def _persona(raw: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Persona:
    kind = raw.get("kind")
    edit = _KINDS.get(kind) if isinstance(kind, str) else None
    if edit is None or not isinstance(kind, str):
        raise ValueError(f"its kind is {kind!r}, this version knows {', '.join(_KINDS)}")
    if kind not in raw:
        raise ValueError(f"a {kind} persona holds a {kind} and nothing else")
    header = Header.model_validate_json(json.dumps({key: value for key, value in raw.items() if key != kind}))
    groups = checked_tensor(tensors, "groups", torch.int64, 1)
    keys = frozenset(value.to_bytes(8, "big", signed=True).hex() for value in groups.tolist())
    own = {name: tensor for name, tensor in tensors.items() if name != "groups"}
    worn = edit.read(Content(own, raw[kind], folder), header.pole)
    persona = Persona(header.name, header.pole, worn, header.provenance, keys, dial=header.dial)
    if "dial" in raw:
        _check_dial(persona)
    return persona


def _check_dial(persona: Persona) -> None:
    """ValueError unless the dial is one, and belongs to this persona."""
    if persona.dial is None:
        raise ValueError("the dial is empty")
    if persona.edit.strongest is None:
        raise ValueError(f"a {persona.kind} persona has no dial")
    persona.edit.check_strength(persona.name, persona.dial.strength)
    if not set(persona.dial.texts) <= persona.groups:
        raise ValueError("texts of the dial are not among those it was calibrated or tuned on")


def describe_persona(persona: Persona, path: Path) -> dict[str, Any]:
    """What a persona file holds, as plain JSON values."""
    description: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "format_version": FORMAT_VERSION}
    description |= {"name": persona.name, "kind": persona.kind, "pole": persona.pole, **persona.edit.describe()}
    if persona.dial:
        dial = persona.dial.model_dump(exclude={"texts"})
        description["dial"] = {**dial, "texts": len(persona.dial.texts)}
    return {**description, "calibration_texts": len(persona.without_dial().groups), **persona.provenance}
