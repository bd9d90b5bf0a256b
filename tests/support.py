"""What several test files need: a mixed little contrast, and bit-exact views of a model."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from temperament.calibration import Contrast, Example
from temperament.methods import MaskMethod, find_method
from temperament.models import LoadedModel

PROMPTS = ("Who are you?", "What do you do on a Friday night, and with whom?", "Hm?")
OUTGOING = ("I throw a party.", "People!", "I call every friend and go dancing.", "Crowds give me life.", "Yes.")
RESERVED = ("I read at home.", "Alone with a book and tea.", "Silence.", "No", "I would rather stay in than go out.")


def mask_method(name: str) -> MaskMethod:
    """The row of a mask method."""
    method = find_method(name)
    assert isinstance(method, MaskMethod)
    return method


def mixed_contrast() -> Contrast:
    """Five texts per pole, of different lengths, behind three different prompts."""

    def pole(responses: tuple[str, ...]) -> tuple[Example, ...]:
        return tuple(Example(PROMPTS[i % len(PROMPTS)], text, text) for i, text in enumerate(responses))

    return Contrast("mixed", pole(OUTGOING), pole(RESERVED))


def stored(model: nn.Module, name: str, *, gradient: bool = False) -> Tensor:
    """The weight of a Linear (or its gradient) as the model stores it, found without the table of architectures.

    Experts are rows of fused tensors: the gate lies above the up projection.
    """

    def read(parameter: str) -> Tensor:
        value = model.get_parameter(parameter)
        if not gradient:
            return value
        assert value.grad is not None
        return value.grad

    found = re.fullmatch(r"(.+\.experts)\.(\d+)\.(gate|up|down)_proj", name)
    if found is None:
        return read(f"{name}.weight")
    if found[3] == "down":
        return read(f"{found[1]}.down_proj")[int(found[2])]
    return read(f"{found[1]}.gate_up_proj")[int(found[2])].chunk(2)[found[3] == "up"]


def tokens(count: int, *, seed: int = 0, rows: int = 1) -> Tensor:
    """Random bytes as token ids, (rows, count)."""
    return torch.randint(0, 256, (rows, count), generator=torch.Generator().manual_seed(seed))


def logits(lm: LoadedModel, ids: Tensor | None = None) -> Tensor:
    """Logits of a batch without padding, (rows, tokens, vocabulary)."""
    with torch.no_grad():
        result: Tensor = lm.model(input_ids=tokens(12) if ids is None else ids, use_cache=False).logits
    return result


def bits(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer as integers, so that −0 and 0 differ."""
    kinds = {4: torch.int32, 2: torch.int16}
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    floating = {name: tensor.detach() for name, tensor in state.items() if tensor.is_floating_point()}
    return {name: tensor.clone().view(kinds[tensor.element_size()]) for name, tensor in floating.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
