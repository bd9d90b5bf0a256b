"""Saliency statistics: G is autograd's, F is summed position by position, and nothing disturbs either."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_passes, refused
from support import hooks, mixed_contrast, stored
from torch import Tensor, nn

from temperament.calibration import Contrast, Example, Pole
from temperament.calibration.contrast import POLES
from temperament.models import LoadedModel
from temperament.models.architecture import is_transposed
from temperament.models.dialogue import Encoded, encode
from temperament.signatures import SaliencyPair, collect_saliency, find_saliency, load_saliency
from temperament.signatures.collect_saliency import layer_groups, saliency_provenance
from temperament.signatures.saliency import PARTS, LinearSaliency
from temperament.signatures.saliency_store import INDEX
from temperament.signatures.token_weights import Weighting

COLLECTING = sys.modules["temperament.signatures.collect_saliency"]  # the package has a function of that name
NEUTRAL = ("The tide comes in twice a day.", "Bread needs flour, water, salt and time.", "Ice floats.")
#: Bytes of the statistics of one layer of a tiny Llama: two passes, one for each layer.
ONE_LAYER = 4 * len(PARTS) * 7680
#: Forward passes over the responses behind the prompt of their pole: two for each, as their lengths differ.
BEHIND_PROMPTS = 4
#: A value rounded to bf16 is off by at most this share of it.
BF16 = 2.0**-8


def token_log_probs(lm: LoadedModel, item: Encoded) -> Tensor:
    logits = lm.model(input_ids=torch.tensor([item.ids]), use_cache=False).logits[0, item.start - 1 : -1]
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(item.ids[item.start :]).unsqueeze(-1)).squeeze(-1)


def objective(lm: LoadedModel, item: Encoded, weighting: str = "prompt") -> Tensor:
    """Weighted mean log-probability of the tokens from ``start`` on."""
    found = token_log_probs(lm, item)
    own = found.detach()
    size = {"even": torch.ones_like(own), "surprisal": -own}.get(weighting)
    if size is None:
        size = own * (PROMPTED[item] - own)
    return (found * size.abs()).sum() / size.abs().sum()


#: Log-probabilities of the tokens of ``responses`` behind the system prompt of their pole.
PROMPTED: dict[Encoded, Tensor] = {}


def responses(
    lm: LoadedModel, contrast: Contrast, pole: Pole, examples: tuple[Example, ...] | None = None
) -> list[Encoded]:
    items = []
    prompt = contrast.pole_prompts()[pole == "minus"]
    for example in contrast.pole(pole) if examples is None else examples:
        items.append(lm.encode(example.prompt, example.response))
        twin = encode(lm.tokenizer, example.prompt, example.response, prompt, lm.max_tokens)
        PROMPTED[items[-1]] = token_log_probs(lm, twin).detach()
    return items


def passages(lm: LoadedModel) -> list[Encoded]:
    head = lm.tokenizer("").input_ids
    return [Encoded(tuple(lm.tokenizer(text).input_ids), len(head) + 1) for text in NEUTRAL]


def mean_gradient(lm: LoadedModel, items: list[Encoded], weighting: str = "prompt") -> dict[str, Tensor]:
    """Autograd's own gradient of the mean objective, item by item, (outputs, inputs) each."""
    total: dict[str, Tensor] = {site.name: torch.zeros(site.shape) for site in lm.linears}
    for item in items:
        objective(lm, item, weighting).backward()  # type: ignore[no-untyped-call]
        for name, sum_ in total.items():
            gradient = stored(lm.model, name, gradient=True)
            sum_ += (gradient.T if is_transposed(lm.module(name)) else gradient) / len(items)
        lm.model.zero_grad()
    return total


def fisher_by_position(lm: LoadedModel, items: list[Encoded], weighting: str = "prompt") -> dict[str, Tensor]:
    """Every position gets a weight of its own; the squares of their gradients are summed, then averaged over items."""
    total = {site.name: torch.zeros(site.shape) for site in lm.linears}
    for item in items:
        own: dict[str, Tensor] = {}
        with lm.opened_experts(), ExitStack() as stack:
            for site in lm.linears:

                def replace(
                    module: nn.Module, args: Any, output: Tensor, name: str = site.name, own: dict[str, Tensor] = own
                ) -> Tensor:
                    weight: Any = module.weight
                    weight = weight.detach().T if is_transposed(module) else weight.detach()
                    x = args[0].reshape(-1, weight.shape[1])  # one text: positions, or those that an expert sees
                    own[name] = weight.expand(len(x), *weight.shape).clone().requires_grad_()
                    found = torch.einsum("ti,toi->to", x, own[name]).view(output.shape)
                    return found if module.bias is None else found + module.bias  # type: ignore[operator]

                stack.callback(lm.module(site.name).register_forward_hook(replace).remove)
            gradients = torch.autograd.grad(objective(lm, item, weighting), list(own.values()))
        for name, gradient in zip(own, gradients, strict=True):
            total[name] += gradient.square().sum(0) / len(items)
    return total


def near(found: Tensor, expected: Tensor, slack: Tensor) -> None:
    """Equal up to the rounding of ``slack`` to bf16 and a little of fp32."""
    allowed = BF16 * slack.abs() + 1e-5 * expected.abs().max()
    assert found.shape == expected.shape
    assert bool(((found - expected).abs() <= allowed).all()), float(((found - expected).abs() / allowed).max())
    assert bool(expected.abs().max() > 0)


def equal(found: SaliencyPair, expected: SaliencyPair) -> bool:
    """Bit-identical statistics of the same Linears."""
    pairs = [(found.read(name), expected.read(name)) for name in expected.names]
    same = all(torch.equal(getattr(a, part), getattr(b, part)) for a, b in pairs for part in PARTS)
    return same and found.names == expected.names and found.hash == expected.hash


def close(found: SaliencyPair, expected: SaliencyPair) -> None:
    """Equal statistics but for the order of sums."""
    for name in expected.names:
        for part in PARTS:
            wanted = getattr(expected.read(name), part).float()
            near(getattr(found.read(name), part).float(), wanted, 2 * wanted)


@pytest.fixture(autouse=True)
def untouched(tiny_llama: LoadedModel) -> Iterator[None]:
    """No collection may leave hooks, gradients or frozen weights behind."""
    yield
    assert hooks(tiny_llama.model) == 0
    assert all(p.grad is None and p.requires_grad for p in tiny_llama.model.parameters())


@pytest.fixture(scope="module")
def collected(tiny_llama: LoadedModel) -> SaliencyPair:
    return collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL)


def statistics(pair: SaliencyPair, name: str) -> list[Tensor]:
    return [getattr(pair.read(name), part) for part in PARTS]


def magnitude(found: LinearSaliency) -> Tensor:
    """What rounding to bf16 is relative to: the sum of the sizes of all parts of G."""
    parts = (found.plus_first, found.plus_second, found.minus_first, found.minus_second)
    return torch.stack([part.float().abs() for part in parts]).sum(0)


# The numbers


def test_g_is_the_gradient_of_the_contrast(tiny_model: LoadedModel) -> None:
    contrast = mixed_contrast()
    pair = collect_saliency(tiny_model, contrast, NEUTRAL)
    plus, minus = (mean_gradient(tiny_model, responses(tiny_model, contrast, pole)) for pole in POLES)
    assert pair.names == tuple(site.name for site in tiny_model.linears)
    for site in tiny_model.linears:
        slack = magnitude(pair.read(site.name))
        for other in (1.0, 0.7, 0.0):
            near(pair.gradient(site.name, "plus", other), plus[site.name] - other * minus[site.name], slack)
            near(pair.gradient(site.name, "minus", other), minus[site.name] - other * plus[site.name], slack)
    assert pair.tokens == {
        pole: sum(len(item.ids) - item.start for item in responses(tiny_model, contrast, pole)) for pole in POLES
    }
    assert pair.groups == contrast.group_keys


@pytest.mark.parametrize("weighting", ["even", "surprisal"])
def test_tokens_weigh_as_asked(tiny_llama: LoadedModel, weighting: Weighting) -> None:
    contrast = mixed_contrast()
    pair = collect_saliency(tiny_llama, contrast, NEUTRAL, weighting=weighting)
    plus, minus = (mean_gradient(tiny_llama, responses(tiny_llama, contrast, pole), weighting) for pole in POLES)
    for site in tiny_llama.linears:
        expected = plus[site.name] - minus[site.name]
        near(pair.gradient(site.name, "plus", 1.0), expected, magnitude(pair.read(site.name)))
    assert pair.provenance["weighting"] == weighting


def test_f_is_the_sum_of_squares_position_by_position(tiny_model: LoadedModel) -> None:
    contrast = mixed_contrast()
    pair = collect_saliency(tiny_model, contrast, NEUTRAL)
    plus, minus = (fisher_by_position(tiny_model, responses(tiny_model, contrast, pole)) for pole in POLES)
    neutral = fisher_by_position(tiny_model, passages(tiny_model), "even")
    for site in tiny_model.linears:
        found, poles = pair.read(site.name), (plus[site.name] + minus[site.name]) / 2
        near(found.poles.float(), poles, poles)
        near(found.neutral.float(), neutral[site.name], neutral[site.name])
        for share in (0.0, 1 / 3, 1.0):
            expected = (1 - share) * found.poles.float() + share * found.neutral.float()
            torch.testing.assert_close(found.fisher(share), expected)


def test_double_precision_and_half_precision(fresh_llama: LoadedModel, collected: SaliencyPair) -> None:
    fresh_llama.model.double()
    double = collect_saliency(fresh_llama, mixed_contrast(), NEUTRAL)
    close(double, collected)
    fresh_llama.model.bfloat16()
    half = collect_saliency(fresh_llama, mixed_contrast(), NEUTRAL)
    for name in collected.names:
        for part in ("poles", "neutral"):
            a, b = getattr(half.read(name), part).float(), getattr(collected.read(name), part).float()
            assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.99


def test_shuffled_labels_are_halves_of_both_poles(tiny_llama: LoadedModel, collected: SaliencyPair) -> None:
    contrast, halves = mixed_contrast(), {}
    for pole in POLES:
        examples = sorted(contrast.pole(pole), key=lambda example: example.text)
        random.Random(f"42 {pole}").shuffle(examples)
        middle = 3 if pole == "plus" else 2  # of five: as many texts in either new pole
        halves[pole] = tuple(examples[:middle]), tuple(examples[middle:])
    plus, minus = (
        mean_gradient(
            tiny_llama, [item for pole in POLES for item in responses(tiny_llama, contrast, pole, halves[pole][half])]
        )
        for half in (0, 1)
    )
    shuffled = collected.shuffled()
    for name in collected.names:
        found = collected.read(name)
        near(shuffled.gradient(name, "plus"), plus[name] - minus[name], magnitude(found))
        near(shuffled.gradient(name, "minus", 0.5), minus[name] - plus[name] / 2, magnitude(found))
        assert torch.equal(shuffled.read(name).fisher(), found.fisher())
    assert shuffled.hash != collected.hash
    assert shuffled.provenance["labels"] == "shuffled"


def test_neither_padding_nor_batches_change_anything(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = collect_saliency(tiny_model, mixed_contrast(), NEUTRAL)
    monkeypatch.setattr(COLLECTING, "BATCH_ROWS", 1)
    close(collect_saliency(tiny_model, mixed_contrast(), NEUTRAL), together)


def test_the_token_that_pads_does_not_matter(
    tiny_llama: LoadedModel, collected: SaliencyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(COLLECTING, "padding_id", lambda _: 65)
    close(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL), collected)


def test_layer_by_layer_gives_the_same_numbers(tiny_llama: LoadedModel, collected: SaliencyPair) -> None:
    for memory in (1, ONE_LAYER):
        assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, memory=memory), collected)


def test_groups_are_as_many_layers_as_fit(tiny_llama: LoadedModel) -> None:
    """A layer that does not fit is divided by inputs."""
    sites, inputs = tiny_llama.linears, [3, 1, 2, 1]
    less = ONE_LAYER - 1
    for memory, expected in (
        (1, [*inputs, *inputs]),
        (less, [6, 5, 3]),
        (ONE_LAYER, [7, 7]),
        (2 * ONE_LAYER - 1, [7, 7]),
        (2 * ONE_LAYER, [14]),
    ):
        groups = layer_groups(sites, memory)
        assert [len(group) for group in groups] == expected
        assert [site for group in groups for site in group] == list(sites)


# The model and its surroundings


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(
    tiny_llama: LoadedModel, collected: SaliencyPair, mode: Callable[[], Any]
) -> None:
    with mode():
        enabled = torch.is_grad_enabled()
        assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL), collected)
        assert torch.is_grad_enabled() == enabled


def test_weights_that_were_frozen_stay_so(fresh_llama: LoadedModel, collected: SaliencyPair) -> None:
    parameters = list(fresh_llama.model.parameters())
    for index, parameter in enumerate(parameters):
        parameter.requires_grad_(index % 2 == 0)
        if index % 3 == 0:
            parameter.grad = torch.ones_like(parameter)
    assert equal(collect_saliency(fresh_llama, mixed_contrast(), NEUTRAL), collected)
    assert [p.requires_grad for p in parameters] == [index % 2 == 0 for index in range(len(parameters))]
    grads = [p.grad is not None and bool((p.grad == 1).all()) for p in parameters]
    assert grads == [index % 3 == 0 for index in range(len(parameters))]


def test_a_worn_model_is_refused(tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_llama, "worn", ("1*somebody",))
    with counted_passes(tiny_llama) as passes, refused("a persona is worn", "leave lm.wear()"):
        collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL)
    assert passes == []


def test_a_text_without_response_is_refused(tiny_llama: LoadedModel) -> None:
    long = Contrast("long", (Example("x" * 600, "y", "z"),), (Example("a", "b", "c"),))
    with refused("no response token", "shorten the prompt"):
        collect_saliency(tiny_llama, long, NEUTRAL)


# Interruptions


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int, error: type[BaseException]) -> None:
    """Let ``products`` raise once, after so many calls: in the middle of a backward pass."""
    seen: list[int] = []
    products = COLLECTING.products

    def failing(*factors: Any) -> tuple[Tensor | None, Tensor]:
        seen.append(1)
        if len(seen) == calls + 1:
            raise error
        found: tuple[Tensor | None, Tensor] = products(*factors)
        return found

    monkeypatch.setattr(COLLECTING, "products", failing)


@pytest.mark.parametrize(
    ("memory", "calls"), [(2**30, 0), (2**30, 5), (2**30, 14), (2**30, 40), (ONE_LAYER, 38), (ONE_LAYER, 50)]
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_collection_goes_on_where_it_was(
    tiny_llama: LoadedModel,
    collected: SaliencyPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: int,
    calls: int,
    error: type[BaseException],
) -> None:
    """Five batches of 14 Linears; an interrupt inside a batch counts no Linear twice and loses none."""
    steps: list[tuple[int, int]] = []

    def collect() -> SaliencyPair:
        return collect_saliency(
            tiny_llama,
            mixed_contrast(),
            NEUTRAL,
            folder=tmp_path,
            memory=memory,
            progress=lambda done, total: steps.append((done, total)),
        )

    with monkeypatch.context() as patch:
        interrupt_after(patch, calls, error)
        with pytest.raises(error):
            collect()
    assert hooks(tiny_llama.model) == 0
    assert (tmp_path / "saliency-partial.safetensors").is_file() == (calls > 0)
    finished = calls // (14 if memory > ONE_LAYER else 7)
    assert len(steps) == finished
    with counted_passes(tiny_llama) as passes:
        assert equal(collect(), collected)
    total = 5 if memory > ONE_LAYER else 10
    assert len(passes) == BEHIND_PROMPTS + total - finished
    assert steps == [(number + 1, total) for number in range(total)]
    assert not (tmp_path / "saliency-partial.safetensors").exists()


def test_sums_that_may_be_torn_are_not_kept(
    tiny_llama: LoadedModel, collected: SaliencyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error between the two sums of a Linear: nobody knows what was added."""
    seen: list[int] = []
    products = COLLECTING.products

    def half(*factors: Any) -> tuple[Tensor | None, Tensor]:
        seen.append(1)
        gradient, fisher = products(*factors)
        return gradient, fisher if len(seen) < 20 else fisher[:, :3]

    with monkeypatch.context() as patch:
        patch.setattr(COLLECTING, "products", half)
        with pytest.raises(RuntimeError):
            collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path), collected)


def test_an_interrupt_between_batches_keeps_the_model_whole(tiny_llama: LoadedModel) -> None:
    def stop(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, progress=stop)


# Files


@pytest.fixture
def kept(tiny_llama: LoadedModel, tmp_path: Path) -> Path:
    collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path, memory=ONE_LAYER)
    return tmp_path


def test_files_hold_the_same(tiny_llama: LoadedModel, collected: SaliencyPair, kept: Path) -> None:
    assert sorted(path.name for path in kept.iterdir()) == [
        "saliency-000.safetensors",
        "saliency-001.safetensors",
        "saliency.safetensors",
    ]
    provenance = saliency_provenance(tiny_llama, mixed_contrast(), NEUTRAL, 42)
    for pair in (load_saliency(kept), find_saliency(kept, provenance, collected.names)):
        assert pair is not None
        assert equal(pair, collected)
        assert (pair.provenance, pair.groups, pair.tokens) == (provenance, collected.groups, collected.tokens)
    assert isinstance(load_saliency(kept).read(collected.names[3]), LinearSaliency)
    for other in (
        saliency_provenance(tiny_llama, mixed_contrast(), NEUTRAL, 43),
        saliency_provenance(tiny_llama, mixed_contrast(), NEUTRAL[:2], 42),
    ):
        assert find_saliency(kept, other, collected.names) is None
    with counted_passes(tiny_llama) as passes:
        collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=kept, memory=ONE_LAYER)
    assert passes == []


def test_some_linears_alone_have_the_same_statistics(
    tiny_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the lowest of them nothing is run backwards."""
    together = collect_saliency(tiny_model, mixed_contrast(), NEUTRAL)
    upper = [site for site in tiny_model.linears if site.layer == 1 and site.part == "mlp"]
    begun: list[bool] = []
    real = COLLECTING._begin

    def begin(*args: Any) -> None:
        output = args[2][0] if isinstance(args[2], tuple) else args[2]
        begun.append(bool(output.requires_grad))
        real(*args)

    monkeypatch.setattr(COLLECTING, "_begin", begin)
    part = collect_saliency(tiny_model, mixed_contrast(), NEUTRAL, linears=upper, folder=tmp_path)
    assert begun
    assert not any(begun), "the first block was run without a graph"
    assert part.names == tuple(site.name for site in upper)
    for name in part.names:
        for found, expected in zip(statistics(part, name), statistics(together, name), strict=True):
            assert torch.equal(found, expected)
    assert find_saliency(tmp_path, part.provenance, part.names[:1]) is not None
    assert find_saliency(tmp_path, part.provenance, together.names) is None, "less than is asked for"
    assert equal(collect_saliency(tiny_model, mixed_contrast(), NEUTRAL, folder=tmp_path), together)


@pytest.mark.parametrize("name", ["saliency-000.safetensors", "saliency-001.safetensors", INDEX])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damaged_files_are_collected_anew(
    tiny_llama: LoadedModel, collected: SaliencyPair, kept: Path, name: str, damage: str
) -> None:
    path = kept / name
    data = bytearray(path.read_bytes())
    data[-100 if name != INDEX else 100] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    with refused(name):
        _ = load_saliency(kept).hash
    assert find_saliency(kept, saliency_provenance(tiny_llama, mixed_contrast(), NEUTRAL, 42), ()) is None
    with counted_passes(tiny_llama) as passes:
        found = collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=kept, memory=ONE_LAYER)
    assert len(passes) == (0 if name == INDEX else BEHIND_PROMPTS + 5)
    assert equal(found, collected)


def test_a_damaged_partial_file_is_no_work_done(
    tiny_llama: LoadedModel, collected: SaliencyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 40, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path)
    path = tmp_path / "saliency-partial.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with counted_passes(tiny_llama) as passes:
        assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path), collected)
    assert len(passes) == BEHIND_PROMPTS + 5


def test_the_work_of_another_run_is_not_taken_for_its_own(
    tiny_llama: LoadedModel, collected: SaliencyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 40, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, seed=1, folder=tmp_path)
    assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=tmp_path), collected)


def test_files_of_two_runs_never_mix(
    tiny_llama: LoadedModel, kept: Path, collected: SaliencyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run that overwrote the first group and was interrupted in the second."""
    old = load_saliency(kept)
    index = (kept / INDEX).read_bytes()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 38, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, seed=1, folder=kept, memory=ONE_LAYER)
    with refused(INDEX):
        load_saliency(kept)
    with refused("saliency-000", "belongs to another collection"):
        old.read(old.names[0])
    (kept / INDEX).write_bytes(index)
    assert find_saliency(kept, collected.provenance, ()) is None
    found = collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=kept, memory=ONE_LAYER)
    assert equal(found, collected)


def test_other_groups_replace_the_files_of_earlier_ones(
    tiny_llama: LoadedModel, kept: Path, collected: SaliencyPair
) -> None:
    assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=kept), collected)
    assert sorted(path.name for path in kept.iterdir()) == ["saliency-000.safetensors", "saliency.safetensors"]


def test_as_many_groups_of_other_linears_are_other_files(
    tiny_llama: LoadedModel, kept: Path, collected: SaliencyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(COLLECTING, "layer_groups", lambda sites, _: [sites[:3], sites[3:]])
    assert equal(collect_saliency(tiny_llama, mixed_contrast(), NEUTRAL, folder=kept), collected)
