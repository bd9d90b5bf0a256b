"""Where each model family keeps its blocks, Linears and MLP activations: one table row per family."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from temperament.errors import TemperamentError

Part = Literal["attention", "mlp"]


@dataclass(frozen=True)
class Family:
    """One row of the table.

    ``attention`` and ``mlp`` list groups of Linears, as paths inside a block; the Linears of a group read the
    same input. ``activation`` is the module whose output is the neuron value a_i of NPTI Eq. 1. ``channels`` and
    ``heads`` name the sizes in the config that a smaller checkpoint can have: neurons of an MLP, query heads and
    key-value heads; None where the config cannot say fewer of them.
    """

    name: str
    model_type: str
    blocks: str
    attention: tuple[tuple[str, ...], ...]
    mlp: tuple[tuple[str, ...], ...]
    activation: str
    channels: str | None = "intermediate_size"
    heads: tuple[str, str] | None = ("num_attention_heads", "num_key_value_heads")


_ATTENTION = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("self_attn.o_proj",))
_MLP = (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))

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
)


@dataclass(frozen=True)
class InputSite:
    """The input of one or more Linears of a block: ``width`` values at ``offset`` of a model-long vector."""

    name: str
    layer: int
    part: Part
    width: int
    offset: int
    linears: tuple[str, ...]

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


def find_sites(
    model: nn.Module, family: Family
) -> tuple[tuple[InputSite, ...], tuple[LinearSite, ...], tuple[NeuronSite, ...]]:
    """Resolve a table row against a model: its inputs, Linears and neurons, in block order."""
    blocks = submodule(model, family.blocks)
    if not isinstance(blocks, nn.ModuleList) or len(blocks) == 0:
        raise TemperamentError(
            f"this {family.name} model has no list of blocks at {family.blocks!r}",
            "use the causal language model variant of the checkpoint",
        )
    inputs: list[InputSite] = []
    linears: list[LinearSite] = []
    neurons: list[NeuronSite] = []
    missing: list[str] = []
    offset = 0
    for layer in range(len(blocks)):
        prefix = f"{family.blocks}.{layer}"
        for part, group in _groups(family):
            names = tuple(f"{prefix}.{path}" for path in group)
            modules = [submodule(model, name) for name in names]
            absent = [name for name, module in zip(names, modules, strict=True) if not _is_linear(module)]
            if absent:
                missing += absent
                continue
            shapes = [linear_shape(module) for module in modules if module is not None]
            site = InputSite(f"{prefix}.{group[0]}:input", layer, part, shapes[0][1], offset, names)
            offset += site.width
            inputs.append(site)
            linears += [
                LinearSite(name, path.rpartition(".")[2], layer, part, shape, site)
                for name, path, shape in zip(names, group, shapes, strict=True)
            ]
        activation = f"{prefix}.{family.activation}"
        # the last Linear of the MLP reads one value per neuron
        width, before = inputs[-1].width if inputs else 0, sum(site.width for site in neurons)
        neurons.append(NeuronSite(activation, layer, width, before))
        if submodule(model, activation) is None:
            missing.append(activation)
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise TemperamentError(
            f"this {family.name} model has no floating-point Linear or activation at {shown}",
            "its layout differs from the family's or it is quantised; use an unquantised checkpoint of the family",
        )
    return tuple(inputs), tuple(linears), tuple(neurons)


def _is_linear(module: nn.Module | None) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point()


def _groups(family: Family) -> Iterator[tuple[Part, tuple[str, ...]]]:
    for group in family.attention:
        yield "attention", group
    for group in family.mlp:
        yield "mlp", group
