"""The ``.persona`` file: safetensors layout, a validated JSON header, a SHA-256 over every byte, atomic writes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from temperament.calibration import Pole
from temperament.container import checked_tensor, read_container, write_container
from temperament.errors import TemperamentError
from temperament.methods import Neurons, Recipe, SparsityPlan
from temperament.methods.recipe import RULES, Rule
from temperament.personas.edits import Edit, MaskEdit, NeuronEdit, PromptEdit
from temperament.personas.masks import PackedMasks
from temperament.personas.persona import Persona
from temperament.signatures.neurons import TOP

FORMAT_VERSION = 1
_REMEDY = "copy it again from its source, or extract it again"


class MaskHeader(BaseModel):
    """How the mask is stored: ``rule`` (and ``block``) of a recipe, or ``linears`` of packed bits."""

    model_config = ConfigDict(extra="forbid", strict=True)
    sparsity: dict[str, str]
    checksum: str
    rule: str | None = None
    block: int | None = Field(default=None, ge=2)
    linears: list[tuple[str, int, int]] | None = None


class NeuronHeader(BaseModel):
    """How neurons are edited: ``widths`` are the neurons per layer, the rest as in ``NeuronEdit``."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    widths: list[Annotated[int, Field(ge=1, le=2**24)]] = Field(min_length=1, max_length=2**12)
    gamma: float = Field(ge=0, le=100)
    weighted: bool
    variant: Literal["published", "released"]
    seed: int = Field(ge=0, lt=2**63)


class Header(BaseModel):
    """The JSON header of a persona file, version 1."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format_version: int
    kind: Literal["mask", "neurons", "prompt"]
    name: str
    pole: Pole
    provenance: dict[str, Any]
    mask: MaskHeader | None = None
    neurons: NeuronHeader | None = None
    prompt: str | None = None
    sha256: str = ""


@dataclass(frozen=True)
class _Content:
    tensors: dict[str, Tensor]
    mask: MaskHeader | None = None
    neurons: NeuronHeader | None = None
    prompt: str | None = None


def save_persona(persona: Persona, path: Path) -> Path:
    """Write a persona; the file is complete or not there at all. Returns the path."""
    content = _content(persona.edit)
    header = Header(
        format_version=FORMAT_VERSION,
        kind=persona.kind,  # type: ignore[arg-type]
        name=persona.name,
        pole=persona.pole,
        provenance=dict(persona.provenance),
        mask=content.mask,
        neurons=content.neurons,
        prompt=content.prompt,
    )
    groups = [int.from_bytes(bytes.fromhex(key), "big", signed=True) for key in sorted(persona.groups)]
    tensors = {**content.tensors, "groups": torch.tensor(groups, dtype=torch.int64)}
    write_container(path, tensors, header.model_dump(exclude_none=True, exclude={"sha256"}))
    return path


def _content(edit: Edit) -> _Content:
    if isinstance(edit, MaskEdit):
        return _mask_content(edit)
    return _neuron_content(edit) if isinstance(edit, NeuronEdit) else _Content({}, prompt=edit.text)


def _neuron_content(edit: NeuronEdit) -> _Content:
    header = NeuronHeader(
        widths=list(edit.widths), gamma=edit.gamma, weighted=edit.weighted, variant=edit.variant, seed=edit.seed
    )
    found = edit.neurons
    return _Content({"index": found.index.int(), "delta": found.delta, "a95": found.a95}, neurons=header)


def _mask_content(edit: MaskEdit) -> _Content:
    sparsity = edit.sparsity.as_json()
    if edit.recipe is not None:
        header = MaskHeader(sparsity=sparsity, checksum=edit.checksum, rule=edit.recipe.rule, block=edit.recipe.block)
        return _Content({"importance": edit.recipe.vectors}, header)
    if edit.packed is None:
        raise ValueError("a mask edit needs a recipe or packed bits")
    shapes = [(name, *bits.shape) for name, bits in edit.packed.bits.items()]
    flat = [bits.flatten() for bits in edit.packed.bits.values()]
    bits = torch.cat(flat) if flat else torch.empty(0, dtype=torch.uint8)
    return _Content({"bits": bits}, MaskHeader(sparsity=sparsity, checksum=edit.checksum, linears=shapes))


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
        header = Header.model_validate_json(json.dumps(raw))
        groups = checked_tensor(tensors, "groups", torch.int64, 1)
        keys = frozenset(value.to_bytes(8, "big", signed=True).hex() for value in groups.tolist())
        return Persona(header.name, header.pole, _edit(header, tensors), header.provenance, keys)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    except (TemperamentError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise TemperamentError(f"persona file {str(path)!r} is damaged ({reason})", _REMEDY)


def describe_persona(persona: Persona, path: Path) -> dict[str, Any]:
    """What a persona file holds, as plain JSON values."""
    description: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "format_version": FORMAT_VERSION}
    description |= {"name": persona.name, "kind": persona.kind, "pole": persona.pole}
    return {**description, **persona.edit.describe(), "calibration_texts": len(persona.groups), **persona.provenance}


def _edit(header: Header, tensors: dict[str, Tensor]) -> Edit:
    mask, parts = header.mask, {"mask": header.mask, "neurons": header.neurons, "prompt": header.prompt}
    if [kind for kind, part in parts.items() if part is not None] != [header.kind]:
        raise ValueError(f"a {header.kind} persona holds a {header.kind} and nothing else")
    expected = {"groups"}
    if mask is not None:
        expected |= {"bits" if mask.rule is None else "importance"}
    elif header.neurons is not None:
        expected |= {"index", "delta", "a95"}
    if set(tensors) != expected:
        raise ValueError(f"tensors {', '.join(sorted(tensors))} found, {', '.join(sorted(expected))} expected")
    if header.neurons is not None:
        return _neuron_edit(header.neurons, tensors)
    if mask is None:
        return PromptEdit(header.prompt or "")
    sparsity = SparsityPlan.of(mask.sparsity)
    if (mask.rule is None) == (mask.linears is None):
        raise ValueError("a mask is either a rule or a list of Linears")
    if mask.rule is not None:
        if mask.rule not in RULES:
            raise ValueError(f"unknown mask rule {mask.rule!r}")
        rule: Rule = mask.rule
        vectors = checked_tensor(tensors, "importance", torch.float32, 2)
        return MaskEdit(sparsity, mask.checksum, recipe=Recipe(rule, header.pole, vectors, mask.block))
    return MaskEdit(sparsity, mask.checksum, packed=_unpacked(mask, checked_tensor(tensors, "bits", torch.uint8, 1)))


def _neuron_edit(header: NeuronHeader, tensors: dict[str, Tensor]) -> NeuronEdit:
    index = checked_tensor(tensors, "index", torch.int32, 1).long()
    delta, a95 = (checked_tensor(tensors, name, torch.float32, 1) for name in ("delta", "a95"))
    if not 0 < len(index) == len(delta) == len(a95):
        raise ValueError(f"{len(index)} neurons with {len(delta)} differences and {len(a95)} values")
    if int(index.min()) < 0 or int(index.max()) >= sum(header.widths):
        raise ValueError(f"a neuron lies outside the {sum(header.widths)} of the model")
    if bool((index.diff() <= 0).any()):
        raise ValueError("the neurons are not in ascending order")
    if bool((delta == 0).any()) or bool((delta.abs() > 1).any()) or bool((a95 < 0).any()) or bool((a95 > TOP).any()):
        raise ValueError("a difference lies outside −1 to 1 or a value outside the histogram")
    neurons = Neurons(index, delta, a95)
    return NeuronEdit(tuple(header.widths), neurons, header.gamma, header.weighted, header.variant, header.seed)


def _unpacked(mask: MaskHeader, bits: Tensor) -> PackedMasks:
    shapes = mask.linears or []
    sizes = [math.prod(shape) for _, *shape in shapes]
    if any(min(shape) < 1 for _, *shape in shapes) or sum(sizes) != len(bits):
        raise ValueError("the packed bits do not fit the listed Linears")
    parts = torch.split(bits, sizes) if sizes else ()
    packed = PackedMasks(
        {name: part.view(rows, columns) for (name, rows, columns), part in zip(shapes, parts, strict=True)}
    )
    if packed.checksum != mask.checksum:
        raise ValueError("the packed mask does not match its checksum")
    return packed
