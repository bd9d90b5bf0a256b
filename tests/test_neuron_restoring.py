"""Neuron edits come off whatever happens: errors while attaching, interrupts anywhere, blocks out of order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from expect import refused
from support import bits, hooks, logits, mixed_contrast, same
from torch import nn
from torch.utils.hooks import RemovableHandle
from wearing import bare, neurons, strip

import temperament.wear.neurons as neuron_module
import temperament.wear.positions as position_module
import temperament.wear.rows as row_module
import temperament.wear.vectors as vector_module
from temperament.models import LoadedModel, load_model
from temperament.personas import Persona, extract
from temperament.wear import wear
from temperament.wear.masks import GatedLinear

#: More handles than any test here removes.
CALLS = range(1, 8)


class UnforeseenError(Exception):
    """An error that nothing in the library expects."""


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> LoadedModel:
    loaded: LoadedModel = load_model(str(tiny_folders["llama"]), dtype="float32", device="cpu")
    return loaded


@pytest.fixture(scope="module")
def poles(model: LoadedModel) -> tuple[Persona, Persona]:
    found = extract(model, mixed_contrast(), method="neurons", settings={"count": 5})
    layers = {index >= 48 for index in neurons(found.plus).neurons.index.tolist()}
    assert len(layers) == 2, "neurons in both layers, so that two hooks are attached beside that of the backbone"
    return found.plus, found.minus


@pytest.fixture(scope="module")
def mask(model: LoadedModel) -> Persona:
    return extract(model, mixed_contrast()).plus


@pytest.fixture
def lm(model: LoadedModel) -> Iterator[LoadedModel]:
    """A model that every test must leave as it was found."""
    state = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    before, base = bits(model.model), logits(model)
    assert bare(model)
    yield model
    clean = bare(model) and torch.equal(logits(model), base) and same(bits(model.model), before)
    strip(model)
    model.model.load_state_dict(state)
    assert clean


def interrupting(monkeypatch: pytest.MonkeyPatch, call: int, half_done: bool) -> list[bool]:
    """Once an item is in the list returned, removing a hook for the ``call``-th time is interrupted, once."""
    armed: list[bool] = []
    calls, remove = 0, RemovableHandle.remove

    def interrupted(self: RemovableHandle) -> None:
        nonlocal calls
        calls += bool(armed)
        now = bool(armed) and calls == call
        if half_done or not now:
            remove(self)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr(RemovableHandle, "remove", interrupted)
    return armed


# Putting on


@pytest.mark.parametrize("error", [UnforeseenError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_nothing_stays_after_an_error_while_attaching(
    lm: LoadedModel,
    poles: tuple[Persona, Persona],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    call: int,
) -> None:
    """The third call is that which declares generations; all hooks are on by then."""
    calls = 0
    attach, declare = nn.Module.register_forward_hook, position_module.declare_generation

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            result = function(*args, **options) if calls != call or function is declare else None
            if calls == call:
                raise error
            return result

        return fail

    with wear(lm, poles[1], 0.5):
        outer = logits(lm)
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "register_forward_hook", failing(attach))
            patch.setattr(row_module, "declare_generation", failing(declare))
            with pytest.raises(error), wear(lm, poles[0]):
                pytest.fail("the block must not run")
        assert torch.equal(logits(lm), outer)
        assert lm.worn == ("0.5*mixed-minus",)


def test_plans_that_cannot_be_worn_together_change_no_weight(
    lm: LoadedModel, poles: tuple[Persona, Persona], mask: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is checked before the first edit, neurons too."""

    def forbidden(*_: object) -> None:
        raise AssertionError("an edit was made")

    released = replace(poles[0], edit=replace(neurons(poles[0]), variant="released"))
    monkeypatch.setattr(GatedLinear, "__init__", forbidden)
    with refused("published and the released variant"), wear(lm, mask + poles[0] + released):
        pass


# Taking off


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("half_done", [False, True])
def test_off_although_interrupted_while_taking_off(
    lm: LoadedModel, poles: tuple[Persona, Persona], monkeypatch: pytest.MonkeyPatch, call: int, half_done: bool
) -> None:
    base = logits(lm)
    armed = interrupting(monkeypatch, call, half_done)
    armed.append(True)
    with suppress(KeyboardInterrupt), wear(lm, poles[0]):
        assert not torch.equal(logits(lm), base)
    assert hooks(lm.model) == 0
    assert lm.worn == ()
    assert torch.equal(logits(lm), base)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("half_done", [False, True])
def test_an_interrupt_while_taking_off_leaves_the_outer_persona_on(
    lm: LoadedModel, poles: tuple[Persona, Persona], monkeypatch: pytest.MonkeyPatch, call: int, half_done: bool
) -> None:
    armed = interrupting(monkeypatch, call, half_done)
    with wear(lm, poles[1], 0.5):
        outer = logits(lm)
        with suppress(KeyboardInterrupt), wear(lm, poles[0]):
            assert not torch.equal(logits(lm), outer)
            armed.append(True)
        armed.clear()
        assert torch.equal(logits(lm), outer)
        assert lm.worn == ("0.5*mixed-minus",)


def test_an_interrupt_does_not_keep_an_outer_block_on_that_has_ended(
    lm: LoadedModel, poles: tuple[Persona, Persona], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outer block that ended first waits for the inner one, whose end is interrupted."""
    base = logits(lm)
    armed = interrupting(monkeypatch, 1, half_done=True)
    outer, inner = wear(lm, poles[0]), wear(lm, poles[1], 0.5)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    armed.append(True)
    with pytest.raises(KeyboardInterrupt):
        inner.__exit__(None, None, None)
    assert torch.equal(logits(lm), base)
    assert lm.sessions == []


def test_the_same_for_masks(lm: LoadedModel, mask: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    before, restore = bits(lm.model), GatedLinear.restore
    outer, inner = wear(lm, mask), wear(lm, mask, 0.5)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    armed = [True]

    def interrupted(self: GatedLinear, weight: torch.Tensor | None = None) -> None:
        restore(self, weight)
        if armed:
            armed.pop()
            raise KeyboardInterrupt

    monkeypatch.setattr(GatedLinear, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inner.__exit__(None, None, None)
    assert same(bits(lm.model), before)
    assert lm.sessions == []


def test_an_inner_block_that_outlives_its_outer_one_goes_on(lm: LoadedModel, poles: tuple[Persona, Persona]) -> None:
    """What ended stays on until the inner block ends; three blocks come off in one go."""
    base = logits(lm)
    blocks = [wear(lm, poles[0]), wear(lm, poles[1], 0.5), wear(lm, [None, poles[0], poles[1]])]
    for block in blocks:
        block.__enter__()
    for block in blocks[:2]:
        block.__exit__(None, None, None)
    assert lm.rows_worn == 3
    blocks[2].__exit__(None, None, None)
    assert bare(lm)
    assert torch.equal(logits(lm), base)


#: The files that attach and remove hooks.
ATTACHING = {module.__file__ for module in (neuron_module, position_module, row_module, vector_module)}


def lines(run: Callable[[], object], at: int) -> int:
    """Run with a KeyboardInterrupt before the ``at``-th line of the modules under test; how many lines there were."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in ATTACHING:
            return None
        if event == "line":
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", ["neurons", "vector"])
def test_an_interrupt_at_any_line_of_putting_on_and_taking_off(
    lm: LoadedModel, poles: tuple[Persona, Persona], kind: str
) -> None:
    """As Ctrl-C may come: before every line that attaches or removes edits, inside an outer block of neurons."""
    inner = poles[0] if kind == "neurons" else extract(lm, mixed_contrast(), method="vector").plus

    def run() -> None:
        with wear(lm, inner):
            pass

    total = lines(run, 0)
    assert total > 60
    left = []
    for at in range(1, total + 1):
        with wear(lm, poles[1], 0.5):
            outer = logits(lm)
            lines(run, at)
            on = torch.equal(logits(lm), outer)
        if not on or not bare(lm):
            left.append(at)
            strip(lm)
    assert left == []
