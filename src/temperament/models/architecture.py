"""Where each model family keeps its blocks, Linears and MLP activations: one table row per family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.models.experts import ExpertBlock, ExpertLinear

Part = Literal["attention", "mlp"]


@dataclass(frozen=True)
class Sparse:
    """A mixture of experts in place of the MLP, as paths inside a block; the router is no edit target.

    The module ``experts`` computes all routed experts from fused tensors (experts, outputs, inputs). ``fused`` names
    each of these and the Linears that lie in it one below the other; they read the same input. ``shared`` lists groups
    of ordinary Linears that every token passes through.
    """

    experts: str = "mlp.experts"
    fused: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("gate_up_proj", ("gate_proj", "up_proj")),
        ("down_proj", ("down_proj",)),
    )
    shared: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Family:
    """One row of the table.

    ``attention`` and ``mlp`` list groups of Linears, as paths inside a block; the Linears of a group read the
    same input. ``activation`` is the module whose output is the neuron value a_i of NPTI Eq. 1. Blocks that have the
    experts of ``sparse`` have these instead of ``mlp``. ``channels`` and ``heads`` name the sizes in the config that a
    smaller checkpoint can have: neurons of an MLP, query heads and key-value heads; None where the config cannot say
    fewer of them.
    """

    name: str
    model_type: str
    blocks: str
    attention: tuple[tuple[str, ...], ...]
    mlp: tuple[tuple[str, ...], ...]
    activation: str
    sparse: Sparse | None = None
    channels: str | None = "intermediate_size"
    heads: tuple[str, str] | None = ("num_attention_heads", "num_key_value_heads")


_ATTENTION = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",))
_MLP = (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
_SHARED = (("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"), ("mlp.shared_expert.down_proj",))

FAMILIES: tuple[Family, ...] = (
    Family("Llama", "llama", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family("Qwen2", "qwen2", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family("Qwen3", "qwen3", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family("Mistral", "mistral", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family("Gemma 2", "gemma2", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family("Gemma 3 (text)", "gemma3_text", "model.layers", _ATTENTION, _MLP, "mlp.act_fn"),
    Family(
        "Phi-3",
        "phi3",
        "model.layers",
        (("self_attn.qkv_proj",), ("self_attn.o_proj",)),
        (("mlp.gate_up_proj",), ("mlp.down_proj",)),
        "mlp.activation_fn",
    ),
    Family(
        "GPT-2",
        "gpt2",
        "transformer.h",
        (("attn.c_attn",), ("attn.c_proj",)),
        (("mlp.c_fc",), ("mlp.c_proj",)),
        "mlp.act",
        channels="n_inner",
        heads=None,  # the width of a head is the model's width by the number of heads
    ),
    Family("Mixtral", "mixtral", "model.layers", _ATTENTION, (), "", Sparse()),
    Family("Qwen2-MoE", "qwen2_moe", "model.layers", _ATTENTION, _MLP, "mlp.act_fn", Sparse(shared=_SHARED)),
    Family("Qwen3-MoE", "qwen3_moe", "model.layers", _ATTENTION, _MLP, "mlp.act_fn", Sparse()),
)


@dataclass(frozen=True)
class InputSite:
    """The input of one or more Linears of a block: ``width`` values at ``offset`` of a model-long vector.

    ``expert`` names the expert that they belong to, which sees some tokens only; None: every token comes here.
    """

    name: str
    layer: int
    part: Part
    width: int
    offset: int
    linears: tuple[str, ...]
    expert: str | None = None

    @property
    def slice(self) -> slice:
        return slice(self.offset, self.offset + self.width)


@dataclass(frozen=True)
class LinearSite:
    """One targeted Linear; ``shape`` is (outputs, inputs) whatever way the family stores it."""

    name: str
    kind: str
    layer: int
    part: Part
    shape: tuple[int, int]
    input: InputSite

    @property
    def size(self) -> int:
        """How many weights it has."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class NeuronSite:
    """The MLP activation of one block: ``width`` neurons at ``offset`` of a model-long vector (NPTI Eq. 1)."""

    name: str
    layer: int
    width: int
    offset: int

    @property
    def slice(self) -> slice:
        return slice(self.offset, self.offset + self.width)


def find_family(model_type: str) -> Family:
    """The table row for a transformers ``model_type``, or an error that lists the supported ones."""
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    supported = ", ".join(f"{family.name} ({family.model_type})" for family in FAMILIES)
    raise TemperamentError(
        f"model type {model_type!r} is not supported: no table row says where its blocks, Linears and MLP "
        f"activations are",
        f"use one of {supported}, or add a row to temperament/models/architecture.py",
    )


def submodule(root: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path, or None."""
    try:
        return root.get_submodule(path)
    except AttributeError:
        return None


def is_transposed(module: nn.Module) -> bool:
    """Whether a Linear keeps its weight as (in, out), as GPT-2's Conv1D does."""
    return type(module).__name__ == "Conv1D"


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a Linear or Conv1D."""
    weight = module.weight
    rows, columns = weight.shape  # type: ignore[misc]
    return (int(columns), int(rows)) if is_transposed(module) else (int(rows), int(columns))


@dataclass(frozen=True)
class Sites:
    """Where a model can be read and edited, in block order; ``experts`` are its mixtures of experts.

    ``neurons`` are none in a model with experts, whose neurons see some tokens only.
    """

    depth: int
    inputs: tuple[InputSite, ...]
    linears: tuple[LinearSite, ...]
    neurons: tuple[NeuronSite, ...]
    experts: tuple[ExpertBlock, ...]

    @cached_property
    def _views(self) -> dict[str, ExpertLinear]:
        return {name: view for block in self.experts for name, view in block.linears.items()}

    def module(self, model: nn.Module, name: str) -> nn.Module:
        """The module of that name; a Linear of an expert is a view of the fused tensors."""
        return self._views.get(name) or model.get_submodule(name)


def find_sites(model: nn.Module, family: Family) -> Sites:
    """Resolve a table row against a model; ``TemperamentError`` naming the sites that are missing."""
    blocks = submodule(model, family.blocks)
    if not isinstance(blocks, nn.ModuleList) or len(blocks) == 0:
        raise TemperamentError(
            f"this {family.name} model has no list of blocks at {family.blocks!r}",
            "use the causal language model variant of the checkpoint",
        )
    finder = _Finder(model, family)
    for layer in range(len(blocks)):
        finder.block(layer, f"{family.blocks}.{layer}")
    missing = finder.missing
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise TemperamentError(
            f"this {family.name} model has no floating-point Linear or activation at {shown}",
            "its layout differs from the family's or it is quantised; use an unquantised checkpoint of the family",
        )
    neurons = () if finder.experts else tuple(finder.neurons)
    return Sites(len(blocks), tuple(finder.inputs), tuple(finder.linears), neurons, tuple(finder.experts))


class _Finder:
    """The sites found so far, and the names of those that are missing."""

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model, self._family = model, family
        self.inputs: list[InputSite] = []
        self.linears: list[LinearSite] = []
        self.neurons: list[NeuronSite] = []
        self.experts: list[ExpertBlock] = []
        self.missing: list[str] = []

    def block(self, layer: int, prefix: str) -> None:
        """Add the sites of one block."""
        family, sparse = self._family, self._family.sparse
        for group in family.attention:
            self._named(layer, "attention", prefix, group)
        if sparse and not (family.mlp and submodule(self._model, f"{prefix}.{sparse.experts}") is None):
            self._mixture(layer, prefix, sparse)
            return
        for group in family.mlp:
            self._named(layer, "mlp", prefix, group)
        activation = f"{prefix}.{family.activation}"
        # the last Linear of the MLP reads one value per neuron
        width, before = self.inputs[-1].width if self.inputs else 0, sum(site.width for site in self.neurons)
        self.neurons.append(NeuronSite(activation, layer, width, before))
        if submodule(self._model, activation) is None:
            self.missing.append(activation)

    def _mixture(self, layer: int, prefix: str, sparse: Sparse) -> None:
        for group in sparse.shared:
            self._named(layer, "mlp", prefix, group)
        name = f"{prefix}.{sparse.experts}"
        module = submodule(self._model, name)
        absent = [f"{name}.{tensor}" for tensor, _ in sparse.fused if not _is_floating(module, tensor, 3)]
        if module is None or absent:
            self.missing += absent
            return
        block = ExpertBlock(name, module, sparse.fused)
        self.experts.append(block)
        for expert in range(len(block.experts)):
            own = f"{name}.{expert}"
            for _, kinds in sparse.fused:
                self._add(layer, "mlp", {f"{own}.{kind}": block.linears[f"{own}.{kind}"] for kind in kinds}, own)

    def _named(self, layer: int, part: Part, prefix: str, group: tuple[str, ...]) -> None:
        modules = {f"{prefix}.{path}": submodule(self._model, f"{prefix}.{path}") for path in group}
        found = {
            name: module for name, module in modules.items() if module is not None and _is_floating(module, "weight", 2)
        }
        if len(found) == len(modules):
            self._add(layer, part, found)
        self.missing += [name for name in modules if name not in found]

    def _add(self, layer: int, part: Part, group: Mapping[str, nn.Module], expert: str | None = None) -> None:
        """One input and the Linears that read it."""
        shapes = {name: linear_shape(module) for name, module in group.items()}
        first = next(iter(shapes))
        offset = self.inputs[-1].slice.stop if self.inputs else 0
        site = InputSite(f"{first}:input", layer, part, shapes[first][1], offset, tuple(group), expert)
        self.inputs.append(site)
        self.linears += [
            LinearSite(name, name.rpartition(".")[2], layer, part, shape, site) for name, shape in shapes.items()
        ]


def _is_floating(module: nn.Module | None, name: str, dimensions: int) -> bool:
    value = getattr(module, name, None)
    return isinstance(value, Tensor) and value.ndim == dimensions and value.is_floating_point()
