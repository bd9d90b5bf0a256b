"""Damaged persona files: a thousand seeded corruptions, every one refused in one line that names the file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from made import KINDS, made
from torch import Tensor

from temperament.container import read_container, write_container
from temperament.errors import TemperamentError
from temperament.personas import open_persona
from temperament.personas.edits.compressed import deflated
from temperament.personas.edits.subnetwork import packed_gaps
from temperament.personas.file import FORMAT_VERSION

Header = dict[str, Any]
Tensors = dict[str, Tensor]
Edit = Callable[[Header, Tensors, random.Random], object]

#: 3 forms × (150 + 60 + 40 + 40) damaged files, and 3 × 50 well-formed ones with a forbidden content.
FLIPS, CUTS, EXTENSIONS, LENGTHS, EDITS = 150, 60, 40, 40, 50


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Path:
    """An intact file of every form in turn."""
    return made(kind).save(tmp_path / "worn.persona")


def expect_refusal(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with refused("worn.persona"):
        open_persona(path)


# --- damage to the bytes ---------------------------------------------------------------------------------------------


def test_any_flipped_byte(path: Path, kind: str) -> None:
    data, rng = path.read_bytes(), random.Random(f"flip {kind}")
    for position in rng.sample(range(len(data)), FLIPS):
        damaged = bytearray(data)
        damaged[position] ^= rng.randrange(1, 256)
        expect_refusal(path, bytes(damaged))


def test_a_flipped_bit_in_the_hash_itself(path: Path) -> None:
    data = path.read_bytes()
    begin = data.index(b"sha256") + len(b'sha256\\":\\"')
    for position in range(begin, begin + 64):
        for bit in (1, 32):  # the latter turns a letter into its upper case
            expect_refusal(path, data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])


def test_any_truncation(path: Path, kind: str) -> None:
    data, rng = path.read_bytes(), random.Random(f"cut {kind}")
    sizes = {0, 1, 7, 8, 9, len(data) - 1, *rng.sample(range(len(data)), CUTS)}
    for size in sizes:
        expect_refusal(path, data[:size])


def test_any_extension(path: Path, kind: str) -> None:
    data, rng = path.read_bytes(), random.Random(f"extend {kind}")
    for _ in range(EXTENSIONS):
        expect_refusal(path, data + rng.randbytes(rng.choice((1, 8, 64, 1000))))
        expect_refusal(path, data + bytes(rng.choice((1, 8, 64))))


def test_any_header_length(path: Path, kind: str) -> None:
    data, rng = path.read_bytes(), random.Random(f"length {kind}")
    intact = int.from_bytes(data[:8], "little")
    lengths = {0, 1, intact - 1, intact + 1, intact - 8, intact + 8, 2**63, 2**64 - 1}
    lengths |= {rng.getrandbits(rng.randrange(1, 65)) for _ in range(LENGTHS)} - {intact}
    for length in lengths:
        expect_refusal(path, length.to_bytes(8, "little") + data[8:])


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"{}", b"\x02\0\0\0\0\0\0\0{}", b"\x04\0\0\0\0\0\0\0null", b"GGUF" * 9]
)
def test_other_files(path: Path, data: bytes) -> None:
    expect_refusal(path, data)


# --- a valid hash over a wrong content -------------------------------------------------------------------------------


def put(*keys: str, value: object) -> Edit:
    """Set a field of the header, given by its path."""

    def edit(header: Header, _: Tensors, __: random.Random) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return edit


def drop(*keys: str) -> Edit:
    def edit(header: Header, _: Tensors, __: random.Random) -> None:
        for key in keys[:-1]:
            header = header[key]
        del header[keys[-1]]

    return edit


def tensor(name: str, change: Callable[[Tensor, random.Random], Tensor | None]) -> Edit:
    """Replace a tensor, or remove it."""

    def edit(_: Header, tensors: Tensors, rng: random.Random) -> None:
        changed = change(tensors.pop(name), rng)
        if changed is not None:
            tensors[name] = changed

    return edit


def somewhere(value: float) -> Callable[[Tensor, random.Random], Tensor]:
    def change(vectors: Tensor, rng: random.Random) -> Tensor:
        vectors = vectors.clone()
        vectors.view(-1)[rng.randrange(vectors.numel())] = value
        return vectors

    return change


def flip_bit(bits: Tensor, rng: random.Random) -> Tensor:
    bits = bits.clone()
    bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
    return bits


def surplus(_: Header, tensors: Tensors, __: random.Random) -> None:
    tensors["more"] = torch.zeros(1)


ANY: dict[str, Edit] = {
    "version 0": put("format_version", value=0),
    "version text": put("format_version", value="1"),
    "version real": put("format_version", value=1.0),
    "version true": put("format_version", value=True),
    "version none": drop("format_version"),
    "kind": put("kind", value="spell"),
    "kind none": drop("kind"),
    "extra key": put("comment", value="hello"),
    "name number": put("name", value=3),
    "name none": drop("name"),
    "pole": put("pole", value="middle"),
    "provenance list": put("provenance", value=[]),
    "provenance none": drop("provenance"),
    "mask and prompt": lambda header, *_: header.update(
        {"prompt": "x", "mask": {"sparsity": {}, "checksum": "c", "rule": "product"}}
    ),
    "groups none": tensor("groups", lambda *_: None),
    "groups type": tensor("groups", lambda groups, _: groups.int()),
    "groups shape": tensor("groups", lambda groups, _: groups.unsqueeze(0)),
    "surplus tensor": surplus,
}
MASK: dict[str, Edit] = {
    "mask none": drop("mask"),
    "mask extra": put("mask", "scale", value=1),
    "sparsity 1": put("mask", "sparsity", value={"default": "1"}),
    "sparsity negative": put("mask", "sparsity", value={"default": "-0.1"}),
    "sparsity nan": put("mask", "sparsity", value={"default": "NaN"}),
    "sparsity infinite": put("mask", "sparsity", value={"default": "Infinity"}),
    "sparsity word": put("mask", "sparsity", value={"default": "half"}),
    "sparsity number": put("mask", "sparsity", value={"default": 0.2}),
    "sparsity selector": put("mask", "sparsity", value={"no such module!": "0.2"}),
    "sparsity empty selector": put("mask", "sparsity", value={"": "0.2"}),
    "checksum none": drop("mask", "checksum"),
}
OWN: dict[str, dict[str, Edit]] = {
    "recipe": {
        **MASK,
        "rule unknown": put("mask", "rule", value="magic"),
        "rule none": drop("mask", "rule"),
        "rule of two vectors": put("mask", "rule", value="contested"),
        "rule and bits": put("mask", "linears", value=[["a", 1, 1]]),
        "block 0": put("mask", "block", value=0),
        "block negative": put("mask", "block", value=-8),
        "block real": put("mask", "block", value=8.5),
        "importance none": tensor("importance", lambda *_: None),
        "importance nan": tensor("importance", somewhere(math.nan)),
        "importance infinite": tensor("importance", somewhere(math.inf)),
        "importance negative": tensor("importance", somewhere(-1e-6)),
        "importance double": tensor("importance", lambda vectors, _: vectors.double()),
        "importance half": tensor("importance", lambda vectors, _: vectors.half()),
        "importance flat": tensor("importance", lambda vectors, _: vectors[0]),
        "importance twice": tensor("importance", lambda vectors, _: vectors.repeat(2, 1)),
        "importance empty": tensor("importance", lambda vectors, _: vectors[:0]),
    },
    "packed": {
        **MASK,
        "linears none": drop("mask", "linears"),
        "linears short": lambda header, *_: header["mask"]["linears"].pop(),
        "linears order": lambda header, *_: header["mask"]["linears"].reverse(),
        "linears name": lambda header, *_: header["mask"]["linears"][0].__setitem__(0, "other"),
        "linears turned": lambda header, *_: header["mask"]["linears"][0].__setitem__(slice(1, 3), [3, 4]),
        "linears negative": lambda header, *_: header["mask"]["linears"][0].__setitem__(slice(1, 3), [-4, -3]),
        "linears zero": lambda header, *_: header["mask"]["linears"].append(["empty", 0, 8]),
        "linears huge": lambda header, *_: header["mask"]["linears"].append(["huge", 2**40, 2**40]),
        "bits none": tensor("bits", lambda *_: None),
        "bits flipped": tensor("bits", flip_bit),
        "bits not compressed": tensor("bits", lambda bits, _: torch.zeros(22, dtype=torch.uint8)),
        "bits too many": tensor("bits", lambda *_: deflated(bytes(10**6), 1)),
        "bits too few": tensor("bits", lambda *_: deflated(bytes(21), 1)),
        "packing none": drop("mask", "packing"),
        "packing unknown": put("mask", "packing", value="lzma"),
        "bits short": tensor("bits", lambda bits, _: bits[:-1]),
        "bits type": tensor("bits", lambda bits, _: bits.view(torch.int8)),
        "bits shape": tensor("bits", lambda bits, _: bits.unsqueeze(0)),
        "checksum": put("mask", "checksum", value="0" * 64),
    },
    "neurons": {
        "neurons none": drop("neurons"),
        "neurons extra": put("neurons", "scale", value=1),
        "widths empty": put("neurons", "widths", value=[]),
        "widths zero": put("neurons", "widths", value=[16, 0]),
        "widths short": put("neurons", "widths", value=[8]),
        "widths real": put("neurons", "widths", value=[8.5, 8]),
        "gamma negative": put("neurons", "gamma", value=-0.1),
        "gamma word": put("neurons", "gamma", value="large"),
        "gamma infinite": put("neurons", "gamma", value=math.inf),
        "variant": put("neurons", "variant", value="mine"),
        "weighted number": put("neurons", "weighted", value=1),
        "index none": tensor("index", lambda *_: None),
        "index negative": tensor("index", lambda index, _: index - 1),
        "index beyond": tensor("index", lambda index, _: index + 1),
        "index turned": tensor("index", lambda index, _: index.flip(0)),
        "index twice": tensor("index", lambda index, _: index[[0, 0, 1, 2, 3]]),
        "index short": tensor("index", lambda index, _: index[:-1]),
        "index wide": tensor("index", lambda index, _: index.long()),
        "delta nan": tensor("delta", somewhere(math.nan)),
        "delta zero": tensor("delta", somewhere(0.0)),
        "delta large": tensor("delta", somewhere(1.001)),
        "delta double": tensor("delta", lambda delta, _: delta.double()),
        "a95 negative": tensor("a95", somewhere(-1e-6)),
        "a95 beyond": tensor("a95", somewhere(3.1)),
        "a95 infinite": tensor("a95", somewhere(math.inf)),
        "a95 short": tensor("a95", lambda a95, _: a95[:-1]),
        "no neuron": lambda _, tensors, __: tensors.update(
            {name: tensors[name][:0] for name in ("index", "delta", "a95")}
        ),
    },
    "vector": {
        "vector none": drop("vector"),
        "vector extra": put("vector", "scale", value=1),
        "place": put("vector", "place", value="mlp"),
        "residual in parts": put("vector", "place", value="residual"),
        "layers none": drop("vector", "layers"),
        "layers empty": put("vector", "layers", value=[]),
        "layers short": put("vector", "layers", value=[1]),
        "layers turned": put("vector", "layers", value=[3, 1]),
        "layers twice": put("vector", "layers", value=[1, 1]),
        "layers beyond": put("vector", "layers", value=[1, 4]),
        "layers negative": put("vector", "layers", value=[-1, 1]),
        "layers real": put("vector", "layers", value=[1.5, 3]),
        "depth 0": put("vector", "depth", value=0),
        "depth small": put("vector", "depth", value=3),
        "depth text": put("vector", "depth", value="4"),
        "parts 0": put("vector", "parts", value=0),
        "parts uneven": put("vector", "parts", value=4),
        "parts more": put("vector", "parts", value=12),
        "vectors none": tensor("vectors", lambda *_: None),
        "vectors nan": tensor("vectors", somewhere(math.nan)),
        "vectors infinite": tensor("vectors", somewhere(-math.inf)),
        "vectors double": tensor("vectors", lambda vectors, _: vectors.double()),
        "vectors flat": tensor("vectors", lambda vectors, _: vectors[0]),
        "vectors short": tensor("vectors", lambda vectors, _: vectors[:1]),
        "vectors narrow": tensor("vectors", lambda vectors, _: vectors[:, :5]),
        "vectors empty": tensor("vectors", lambda vectors, _: vectors[:, :0]),
        "vectors zero": tensor("vectors", lambda vectors, _: torch.zeros_like(vectors)),
    },
    "subnetwork": {
        "subnetwork none": drop("subnetwork"),
        "subnetwork extra": put("subnetwork", "scale", value=1),
        "linears none": drop("subnetwork", "linears"),
        "linears empty": put("subnetwork", "linears", value=[]),
        "linears short": lambda header, *_: header["subnetwork"]["linears"].pop(),
        "linears zero": lambda header, *_: header["subnetwork"]["linears"].append(["empty", 0, 8]),
        "linears negative": lambda header, *_: header["subnetwork"]["linears"][0].__setitem__(slice(1, 3), [-4, -3]),
        "linears real": lambda header, *_: header["subnetwork"]["linears"][0].__setitem__(1, 4.0),
        "linears narrow": lambda header, *_: header["subnetwork"]["linears"][1].__setitem__(2, 4),
        "count none": drop("subnetwork", "count"),
        "count 0": put("subnetwork", "count", value=0),
        "count small": put("subnetwork", "count", value=5),
        "count large": put("subnetwork", "count", value=7),
        "count beyond": put("subnetwork", "count", value=23),
        "count huge": lambda header, *_: header["subnetwork"].update(linears=[["huge", 2**40, 2**40]], count=2**63),
        "gaps none": tensor("gaps", lambda *_: None),
        "gaps short": tensor("gaps", lambda gaps, _: gaps[:-1]),
        "gaps empty": tensor("gaps", lambda gaps, _: gaps[:0]),
        "gaps long": tensor("gaps", lambda gaps, _: torch.cat([gaps, gaps])),
        "gaps type": tensor("gaps", lambda gaps, _: gaps.view(torch.int8)),
        "gaps shape": tensor("gaps", lambda gaps, _: gaps.unsqueeze(0)),
        "gaps flipped": tensor("gaps", flip_bit),
        "gaps beyond": tensor("gaps", lambda *_: packed_gaps(torch.tensor([0, 1, 2, 3, 4, 22]))),
        "gaps far beyond": tensor("gaps", lambda *_: packed_gaps(torch.tensor([0, 1, 2, 3, 4, 2**62]))),
        "gaps that wrap": tensor("gaps", lambda *_: packed_gaps(torch.tensor([0, 9, 2, 3, 4, 5]))),
        "gaps below 0": tensor("gaps", lambda *_: packed_gaps(torch.tensor([-3, 1, 2, 3, 4, 5]))),
        "gaps twice": tensor("gaps", lambda *_: packed_gaps(torch.tensor([0, 1, 1, 3, 4, 5]))),
    },
    "mixture": {
        "mixture none": drop("mixture"),
        "mixture extra": put("mixture", "scale", value=1),
        "parts empty": put("mixture", "parts", value=[]),
        "part short": lambda header, *_: header["mixture"]["parts"].pop(),
        "part extra": lambda header, *_: header["mixture"]["parts"][0].update(scale=1),
        "part of a kind that refers": lambda header, *_: header["mixture"]["parts"][0].update(kind="lora"),
        "part of another kind": lambda header, *_: header["mixture"]["parts"][0].update(kind="neurons"),
        "part too strong": lambda header, *_: header["mixture"]["parts"][0].update(strength=1.5),
        "part infinite": lambda header, *_: header["mixture"]["parts"][1].update(strength=math.inf),
        "part damaged": tensor("0.bits", flip_bit),
        "bits none": tensor("0.bits", lambda *_: None),
        "tensor of no part": lambda _, tensors, __: tensors.update({"2.bits": tensors["0.bits"].clone()}),
        "tensor of nothing": lambda _, tensors, __: tensors.update({"bits": tensors["0.bits"].clone()}),
    },
    "prompt": {
        "prompt none": drop("prompt"),
        "prompt null": put("prompt", value=None),
        "prompt number": put("prompt", value=7),
        "prompt as mask": put("kind", value="mask"),
    },
}


def rewrite(path: Path, change: Callable[[Header, Tensors], object]) -> None:
    """Change header and tensors and write them with a hash that fits."""
    tensors, header = read_container(path, kind="persona file", remedy="")
    del header["sha256"]
    change(header, tensors)
    write_container(path, tensors, header)


def test_a_forbidden_content_behind_a_valid_hash(path: Path, kind: str) -> None:
    intact, rng, edits = path.read_bytes(), random.Random(f"edit {kind}"), [*(ANY | OWN[kind]).items()]
    rewrite(path, lambda *_: None)
    assert path.read_bytes() == intact, "without an edit the file is what it was"
    for index in range(max(EDITS, len(edits))):
        name, edit = edits[index % len(edits)]
        path.write_bytes(intact)
        rewrite(path, lambda header, tensors, edit=edit: edit(header, tensors, rng))  # type: ignore[misc]
        try:
            with refused("worn.persona"):
                open_persona(path)
        except BaseException as error:
            error.add_note(f"after the edit {name!r}")
            raise


def test_a_newer_version_asks_for_an_upgrade(path: Path) -> None:
    rewrite(path, lambda header, _: header.update(format_version=FORMAT_VERSION + 1, form="of the future"))
    with refused("worn.persona", f"format version {FORMAT_VERSION + 1}", "upgrade temperament"):
        open_persona(path)
    rewrite(path, lambda header, _: header.update(format_version=0))
    with refused("worn.persona", "format version 0", "extract it again"):
        open_persona(path)


JUNK: tuple[object, ...] = (None, True, -1, 2**70, 1e308, "", "x", "\ud800", [], [[]], {}, {"": None}, [None] * 3)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*above, key), *places(inner, (*above, key)))]


def test_random_junk_in_the_header_raises_nothing_else(path: Path, kind: str) -> None:
    """Some of these files are acceptable (another name, other provenance); none may fail in another way."""
    intact, rng, messages = path.read_bytes(), random.Random(f"junk {kind}"), []
    for _ in range(100):
        path.write_bytes(intact)

        def junk(header: Header, _: Tensors) -> None:
            *above, last = rng.choice(places(header))
            inner: Any = header
            for key in above:
                inner = inner[key]
            inner[last] = json.loads(json.dumps(rng.choice(JUNK)))

        rewrite(path, junk)
        try:
            open_persona(path)
        except TemperamentError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all("worn.persona" in message and len(message.splitlines()) == 1 for message in messages)
