"""What tests of neuron edits look at: values before and after the edit, generation with logits, Eq. 4 by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from support import bits, hooks, same
from torch import Tensor, nn

from temperament.models import LoadedModel
from temperament.personas import NeuronEdit, Persona, Plan
from temperament.wear import wear

Worn = Persona | Plan | None

#: How closely two ways to run a model must agree.
_TOLERANCE = 1e-4


def agree(found: Tensor, expected: Tensor) -> None:
    """Two ways to run a model must give the same values."""
    torch.testing.assert_close(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)


def alike(found: Tensor, expected: Tensor) -> bool:
    """Whether they do."""
    return torch.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)


def neurons(persona: Persona) -> NeuronEdit:
    """The edit of a neuron persona."""
    assert isinstance(persona.edit, NeuronEdit)
    return persona.edit


def by_hand(edit: NeuronEdit, values: Tensor, sign: int, strength: float = 1.0) -> Tensor:
    """NPTI Eq. 4 neuron by neuron on (..., neurons) values: the pole of ``sign`` is raised, the other one lowered."""
    expected = values.clone()
    found = edit.neurons
    for index, delta, a95 in zip(found.index.tolist(), found.delta.tolist(), found.a95.tolist(), strict=True):
        if delta * sign > 0:
            expected[..., index] += strength * edit.gamma * a95 / (1 + math.exp(-10 * (abs(delta) - 0.15)))
        elif strength >= 1:
            expected[..., index] = values[..., index].clamp_max(0)
        else:
            expected[..., index] -= strength * values[..., index].clamp_min(0)
    return expected


def edited(
    lm: LoadedModel, worn: Worn | Sequence[Worn], run: Callable[[], object], strength: float = 1.0
) -> list[tuple[Tensor, Tensor]]:
    """Of every forward pass in ``run``, the neuron values before and after the edit, (rows, tokens, neurons) each."""
    seen: tuple[list[list[Tensor]], list[list[Tensor]]] = ([[] for _ in lm.neurons], [[] for _ in lm.neurons])

    def note(values: list[list[Tensor]], stack: ExitStack) -> None:
        for site in lm.neurons:

            def see(_: nn.Module, __: Any, output: Tensor, layer: int = site.layer) -> None:
                values[layer].append(output.detach().clone())

            stack.callback(lm.module(site.name).register_forward_hook(see).remove)

    with ExitStack() as first, torch.no_grad():
        note(seen[0], first)
        with wear(lm, worn, strength), ExitStack() as last:
            note(seen[1], last)
            run()
    before, after = ([torch.cat(layers, -1) for layers in zip(*side, strict=True)] for side in seen)
    return list(zip(before, after, strict=True))


@dataclass(frozen=True)
class Written:
    """New tokens (rows, new) and the logits that chose them, (rows, new, vocabulary)."""

    tokens: Tensor
    logits: Tensor


def write(lm: LoadedModel, ids: Tensor, count: int = 8, mask: Tensor | None = None, **options: Any) -> Written:
    """Greedy generation of exactly ``count`` tokens with the plain ``generate``; no token ends an answer."""
    out = lm.model.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        do_sample=False,
        min_new_tokens=count,
        max_new_tokens=count,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
        **options,
    )
    return Written(out.sequences[:, ids.shape[1] :], torch.stack(out.logits, 1))


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Token rows (1, tokens) padded on the left to one batch, and its attention mask."""
    longest = max(row.shape[1] for row in rows)
    pads = [longest - row.shape[1] for row in rows]
    ids = torch.cat([nn.functional.pad(row, (pad, 0), value=7) for row, pad in zip(rows, pads, strict=True)])
    return ids, (torch.arange(longest) >= torch.tensor(pads).unsqueeze(1)).long()


def bare(lm: LoadedModel) -> bool:
    """Whether nothing that wears a persona is left on a model."""
    left = (lm.worn, lm.system_prompt, lm.sessions, lm.restorers, lm.response_start, lm.rows_worn, hooks(lm.model))
    return left == ((), None, [], [], None, 0, 0) and "generate" not in vars(lm.model)


def strip(lm: LoadedModel) -> None:
    """Take off what a failed test left on a model, so that the next one does not suffer."""
    lm.sessions.clear()
    lm.restorers.clear()
    lm.worn, lm.system_prompt, lm.response_start = (), None, None
    for module in lm.model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    vars(lm.model).pop("generate", None)


@contextmanager
def left_as_found(lm: LoadedModel) -> Iterator[None]:
    """The block must leave a model as it was found; what it left behind is taken off, then the test fails."""
    before = bits(lm.model)
    assert bare(lm)
    yield
    clean = bare(lm) and same(bits(lm.model), before)
    strip(lm)
    assert clean
