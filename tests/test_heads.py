"""Attention heads chosen by linear probes: a planted signal is found, its direction and spread too."""

from __future__ import annotations

import pytest
import torch
from expect import refused
from support import mixed_contrast
from torch import Tensor

from temperament.calibration import resolve_contrast
from temperament.methods.vectors import probe_heads
from temperament.models import LoadedModel
from temperament.personas import VectorEdit, extract
from temperament.signatures import StatePair, States, StateSignature

LAYERS, HEADS, WIDTH, TEXTS = 3, 4, 6, 40
PLANTED = (1, 2)


def planted(shift: float = 3.0, texts: int = TEXTS) -> tuple[StatePair, Tensor]:
    """Noise, but for one head, whose states of the plus pole are shifted along a direction; that direction."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(WIDTH, generator=generator), dim=0)
    poles = []
    for sign in (1, -1):
        heads = 0.1 * torch.randn(texts, LAYERS, HEADS, WIDTH, generator=generator)
        heads[:, PLANTED[0], PLANTED[1]] += sign * 0.05 * shift * direction
        parts = [States(torch.zeros(len(half), LAYERS, 2), half, 9) for half in heads.flatten(2).tensor_split(2)]
        poles.append(StateSignature((parts[0], parts[1])))
    return StatePair(poles[0], poles[1], {"seed": "0"}, frozenset()), direction


def found(pair: StatePair, count: int | None = 1, share: float | None = None) -> tuple[Tensor, list[tuple[int, int]]]:
    shifts, heads = probe_heads(pair, HEADS, count=count, share=share, folds=5, c=1.0, seed=0)
    assert shifts.parts == HEADS
    whole = torch.zeros(LAYERS, HEADS, WIDTH)
    whole[list(shifts.layers)] = shifts.split
    return whole, [(head.layer, head.head) for head in heads]


def test_the_head_with_the_signal_is_found() -> None:
    pair, direction = planted()
    shifts, heads = probe_heads(pair, HEADS, count=1, share=None, folds=5, c=1.0, seed=0)
    (head,) = heads
    assert (head.layer, head.head) == PLANTED
    assert head.accuracy > 0.85
    vector = shifts.split[0, PLANTED[1]]
    normal = vector / vector.norm()
    assert float(normal @ direction) > 0.9, "towards the plus pole"
    states = torch.cat([pair.plus.states.heads, pair.minus.states.heads]).view(-1, LAYERS, HEADS, WIDTH)
    spread = (states[:, PLANTED[0], PLANTED[1]] @ normal).std(correction=0)
    assert float(vector.norm()) == pytest.approx(float(spread), rel=1e-5)
    assert head.spread == pytest.approx(float(spread), rel=1e-5)
    assert not bool(shifts.split[0, [0, 1, 3]].any()), "no other head is touched"


def test_the_sign_follows_the_poles() -> None:
    pair, _ = planted()
    turned = StatePair(pair.minus, pair.plus, pair.provenance, pair.groups)
    assert torch.allclose(found(turned)[0], -found(pair)[0], atol=1e-4)


def test_shuffled_labels_tell_nothing() -> None:
    pair, direction = planted()
    _, heads = probe_heads(pair.shuffled(), HEADS, count=12, share=None, folds=5, c=1.0, seed=0)
    own = next(head for head in heads if (head.layer, head.head) == PLANTED)
    assert own.accuracy < 0.7
    assert len(heads) == 12
    difference = pair.difference("heads").view(LAYERS, HEADS, WIDTH)[PLANTED].float()
    shuffled = pair.shuffled().difference("heads").view(LAYERS, HEADS, WIDTH)[PLANTED].float()
    assert abs(float(shuffled @ direction)) < 0.3 * float(difference @ direction)


def test_counts_and_shares() -> None:
    pair, _ = planted()
    whole, heads = found(pair, count=None, share=0.25)
    assert len(heads) == 3
    assert PLANTED in heads
    assert {(int(l), int(h)) for l, h in whole.norm(dim=2).nonzero()} == set(heads)  # noqa: E741
    assert len(found(pair, count=99)[1]) == LAYERS * HEADS
    with refused("a share of 0.01 leaves no head"):
        found(pair, count=None, share=0.01)
    with refused("a single text"):
        found(planted(texts=1)[0])


def test_the_scale_of_a_head_does_not_change_its_rank() -> None:
    """A penalty on raw states would: small ones could not be told apart."""
    pair, direction = planted()
    plus, minus = (
        StateSignature(tuple(States(h.residual, 1e-4 * h.heads, h.tokens) for h in side.halves))  # type: ignore[arg-type]
        for side in (pair.plus, pair.minus)
    )
    small = StatePair(plus, minus, pair.provenance, pair.groups)
    assert found(small)[1] == [PLANTED]
    torch.testing.assert_close(found(small)[0] * 1e4, found(pair)[0], rtol=1e-3, atol=1e-4)
    assert float(found(small)[0][PLANTED] @ direction) > 0


def test_heads_of_a_model(tiny_model: LoadedModel) -> None:
    """On every family the vectors fit the model; the same run twice gives the same edit."""
    settings = {"count": 3, "folds": 2}
    first = extract(tiny_model, mixed_contrast(), method="heads", settings=settings)
    again = extract(tiny_model, mixed_contrast(), method="heads", settings=settings, signatures=first.signatures)
    assert first.plus.edit == again.plus.edit == first.minus.edit
    assert isinstance(first.plus.edit, VectorEdit)
    first.plus.edit.check(tiny_model)
    assert int((first.plus.edit.shifts.norms > 0).sum()) == 3
    assert first.details["vectors"]["of"] == tiny_model.heads * 2
    assert first.plus.edit.describe()["vector"]["heads"] == 3


def test_settings(tiny_llama: LoadedModel) -> None:
    for settings, part in (
        ({"count": 2, "share": 0.5}, "count or share"),
        ({"share": 1.5}, "'share'"),
        ({"folds": 1}, "'folds'"),
    ):
        with refused(part):
            extract(tiny_llama, mixed_contrast(), method="heads", settings=settings)
    done = extract(tiny_llama, resolve_contrast("extraversion", limit=4), method="heads")
    assert done.plus.provenance["method"]["parameters"] == {"pairs": False, "count": 24, "folds": 5, "c": 1.0}
    assert len(done.details["vectors"]["heads"]) == 8, "no more than there are"
