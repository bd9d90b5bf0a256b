"""Collecting neuron statistics: against one text at a time, from texts and from what the model writes itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from activations import activations, assert_counted, identical
from expect import counted_passes, refused
from judging import always_writing
from support import hooks, mixed_contrast, tokens
from tiny import DENSE, MAX_TOKENS, make_tiny
from torch import Tensor, nn

from temperament.calibration import Contrast, Example, Pole, RolePlay, Scene
from temperament.calibration.contrast import POLES
from temperament.container import read_container, write_container
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import prompt_ids
from temperament.models.generation import generate_ids
from temperament.personas import Persona, extract
from temperament.signatures import NeuronSignaturePair, Writing, collect_neurons, save_neuron_signatures
from temperament.signatures.collect import Tokens
from temperament.wear import wear

PARTIAL = "neurons-partial.safetensors"

PLAY = RolePlay(
    "loud",
    plus=("You are loud.", "You sing in every queue in which you stand."),
    minus=("You are quiet.", "You whisper, even when nobody else is in the house."),
    questions=("Who are you?", "What do you do at noon, and with whom?", "Hm?"),
)
SHORT, FEW = Writing(max_tokens=12, rows=2), Writing(max_tokens=5, rows=2)

Answers = dict[tuple[Pole, Scene], list[int]]


def even_contrast() -> Contrast:
    """All texts of a pole have one length, so no batch holds any padding."""

    def pole(texts: Sequence[str]) -> tuple[Example, ...]:
        return tuple(Example("Hm?", text, text) for text in texts)

    return Contrast("even", pole(("party", "crowd", "dance")), pole(("books", "alone", "quiet")))


def read_back(lm: LoadedModel, examples: Sequence[Example], tokens: Tokens) -> Tensor:
    """The values that count, one text at a time."""
    items = [lm.encode(example.prompt, example.response) for example in examples]
    return torch.cat([activations(lm, item.ids)[0 if tokens == "all" else item.start :] for item in items])


def penalised(scores: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Tokens that were seen lose: positive scores are divided by the penalty, negative ones multiplied."""
    scores, index = scores.clone(), torch.tensor(sorted(set(seen)))
    values = scores[index]
    scores[index] = torch.where(values > 0, values / penalty, values * penalty)
    return scores


@torch.no_grad()
def write_alone(lm: LoadedModel, prompt: Sequence[int], max_tokens: int, ends: Sequence[int]) -> list[int]:
    """Greedy generation of one answer, without batch or cache; the end token is no part of it."""
    answer: list[int] = []
    while len(answer) < max_tokens:
        ids = [*prompt, *answer]
        scores = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        token = int(penalised(scores, ids, 1.1).argmax())
        if token in ends:
            break
        answer.append(token)
    return answer


def prompt_of(lm: LoadedModel, scene: Scene) -> tuple[int, ...]:
    return prompt_ids(lm.tokenizer, scene.question, scene.description)


def written_alone(lm: LoadedModel, ends: Sequence[int], max_tokens: int = SHORT.max_tokens) -> Answers:
    return {
        (pole, scene): write_alone(lm, prompt_of(lm, scene), max_tokens, ends)
        for pole in POLES
        for scene in PLAY.scenes(pole)
    }


def read_answers(lm: LoadedModel, answers: Answers, pole: Pole, max_tokens: int = SHORT.max_tokens) -> Tensor:
    """Values at the tokens of the answers, prompts in front; the last token allowed is never read."""
    parts = []
    for (side, scene), answer in answers.items():
        if side == pole and answer:
            prompt = prompt_of(lm, scene)
            parts.append(activations(lm, [*prompt, *answer])[len(prompt) : len(prompt) + max_tokens - 1])
    return torch.cat(parts)


def transcripts(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "transcripts.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def texts_by_scene(folder: Path) -> dict[tuple[str, str, str], str]:
    rows = transcripts(folder)
    found = {(row["pole"], row["description"], row["question"]): row["answer"] for row in rows}
    assert len(found) == len(rows) == 12
    return found


def end_at(lm: LoadedModel, *tokens: int) -> tuple[int, ...]:
    """Make these tokens end an answer too."""
    ends = (int(lm.tokenizer.eos_token_id), *tokens)
    lm.model.generation_config.eos_token_id = list(ends)
    return ends


def usual_end(lm: LoadedModel) -> tuple[int, ...]:
    return (int(lm.tokenizer.eos_token_id),)


# --- given texts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["response", "all"])
@pytest.mark.parametrize("contrast", [mixed_contrast(), even_contrast()], ids=["mixed", "even"])
@pytest.mark.parametrize("tiny_model", DENSE, indirect=True)
def test_texts_equal_one_text_at_a_time(tiny_model: LoadedModel, contrast: Contrast, tokens: Tokens) -> None:
    pair = collect_neurons(tiny_model, contrast, tokens=tokens)
    for pole in POLES:
        assert_counted(pair.pole(pole), read_back(tiny_model, contrast.pole(pole), tokens))
    assert pair.groups == contrast.group_keys
    assert (pair.provenance["source"], pair.provenance["tokens"]) == ("texts", tokens)
    assert hooks(tiny_model.model) == 0


def test_halves_are_disjoint_complete_and_seeded(tiny_llama: LoadedModel) -> None:
    """Responses of 1, 2, 4, … tokens: the token count of a half says which texts are in it."""
    letters = {"plus": "a", "minus": "b"}
    poles = {
        pole: tuple(Example("Hm?", letter * 2**i, letter * 2**i) for i in range(6)) for pole, letter in letters.items()
    }
    contrast = Contrast("powers", poles["plus"], poles["minus"])
    divisions = set()
    for seed in range(4):
        pair = collect_neurons(tiny_llama, contrast, seed=seed)
        for pole in POLES:
            halves = pair.pole(pole).halves
            assert [half.tokens.bit_count() for half in halves] == [3, 3]
            assert halves[0].tokens + halves[1].tokens == 63
            for half in halves:
                inside = [example for example in contrast.pole(pole) if half.tokens & len(example.response)]
                assert torch.equal(half.active, (read_back(tiny_llama, inside, "response") > 0).sum(0))
            divisions.add(halves[0].tokens)
    assert len(divisions) > 2


def test_the_order_of_texts_is_no_matter(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    turned = replace(contrast, plus=contrast.plus[::-1], minus=contrast.minus[::-1])
    assert identical(collect_neurons(tiny_llama, contrast), collect_neurons(tiny_llama, turned))


def test_a_long_response_loses_its_end(tiny_llama: LoadedModel) -> None:
    long = Example("Hm?", "x" * 2 * MAX_TOKENS, "long")
    pair = collect_neurons(tiny_llama, replace(mixed_contrast(), plus=(long,)))
    assert pair.plus.counts.tokens == MAX_TOKENS - len(tiny_llama.prompt_ids("Hm?"))


# --- what the model writes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tiny_model", ["llama", "gemma2", "gemma3_text", "gpt2"], indirect=True)
def test_exactly_the_written_tokens_count(tiny_model: LoadedModel, tmp_path: Path) -> None:
    answers = written_alone(tiny_model, usual_end(tiny_model))
    pair = collect_neurons(tiny_model, PLAY, writing=SHORT, folder=tmp_path)
    for pole in POLES:
        assert_counted(pair.pole(pole), read_answers(tiny_model, answers, pole))
    expected = {
        (pole, scene.description, scene.question): tiny_model.tokenizer.decode(answer)
        for (pole, scene), answer in answers.items()
    }
    assert texts_by_scene(tmp_path) == expected
    assert pair.provenance["source"] == "generate"
    assert pair.groups == PLAY.group_keys
    assert hooks(tiny_model.model) == 0


@pytest.mark.parametrize("rows", [1, 4, 32])
def test_what_ends_an_answer_does_not_count(fresh_llama: LoadedModel, tmp_path: Path, rows: int) -> None:
    free = list(written_alone(fresh_llama, usual_end(fresh_llama)).values())
    ends = end_at(fresh_llama, free[0][3], free[1][0])  # within the first answer, and instead of the second
    answers = written_alone(fresh_llama, ends)
    lengths = [len(answer) for answer in answers.values()]
    assert {0, SHORT.max_tokens} < set(lengths)
    assert len(set(lengths)) > 2
    writing = replace(SHORT, rows=rows)
    pair = collect_neurons(fresh_llama, PLAY, writing=writing, folder=tmp_path)
    for pole in POLES:
        assert_counted(pair.pole(pole), read_answers(fresh_llama, answers, pole))
    found = {(row["pole"], Scene(row["description"], row["question"])): row["tokens"] for row in transcripts(tmp_path)}
    assert found == {key: len(answer) for key, answer in answers.items()}


def test_answers_that_fill_all_but_one_token_count_whole(fresh_llama: LoadedModel) -> None:
    """The longest answer that was ended has one token less than allowed, and all of it is read."""
    prompt = prompt_of(fresh_llama, PLAY.scenes("plus")[0])
    free = write_alone(fresh_llama, prompt, 12, usual_end(fresh_llama))
    last = next(index for index in range(2, 12) if free[index] not in free[:index])
    end_at(fresh_llama, free[last])
    one = replace(PLAY, plus=PLAY.plus[:1], minus=PLAY.minus[:1], questions=PLAY.questions[:1])
    for max_tokens, counted in ((last + 2, last), (last + 1, last), (last, last - 1)):
        pair = collect_neurons(fresh_llama, one, writing=Writing(max_tokens))
        assert pair.plus.counts.tokens == counted
        assert_counted(pair.plus, activations(fresh_llama, [*prompt, *free])[len(prompt) : len(prompt) + counted])


@pytest.mark.parametrize("rows", [1, 2])
def test_a_turn_that_a_base_model_invents_does_not_count(tmp_path: Path, rows: int) -> None:
    """Of its label, what stands before the last token was read already."""
    folder = make_tiny(tmp_path / "base", "llama", chat_template=False)
    base: LoadedModel = load_model(str(folder), dtype="float32")
    with always_writing(base, "I dance.\n\nQuestion: Why?\nAnswer: For fun."):
        pair = collect_neurons(base, PLAY, writing=Writing(max_tokens=40, rows=rows), folder=tmp_path)
    assert set(texts_by_scene(tmp_path).values()) == {"I dance."}
    counted = len("I dance.\n\nQuestion")
    assert {row["tokens"] for row in transcripts(tmp_path)} == {counted}
    assert pair.plus.counts.tokens == pair.minus.counts.tokens == 6 * counted


def test_a_model_that_writes_nothing_counts_nothing(fresh_llama: LoadedModel, tmp_path: Path) -> None:
    end_at(fresh_llama, *range(len(fresh_llama.tokenizer)))
    pair = collect_neurons(fresh_llama, PLAY, writing=SHORT, folder=tmp_path)
    assert pair.plus.counts.tokens == pair.minus.counts.tokens == 0
    assert not pair.plus.counts.active.any()
    assert not any(layer.any() for layer in pair.minus.histogram.dense())
    assert set(texts_by_scene(tmp_path).values()) == {""}
    with refused("no token was counted for the plus pole", "use texts instead of generating"):
        extract(fresh_llama, PLAY, method="neurons", writing=SHORT)


def test_every_neuron_and_transcript_agrees_on_how_much_was_counted(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    pair = collect_neurons(tiny_llama, PLAY, writing=SHORT, folder=tmp_path)
    rows = transcripts(tmp_path)
    assert [set(row) for row in rows] == [{"pole", "description", "question", "answer", "tokens"}] * 12
    for pole in POLES:
        written = sum(min(row["tokens"], SHORT.max_tokens - 1) for row in rows if row["pole"] == pole)
        assert pair.pole(pole).counts.tokens == written
        for layer in pair.pole(pole).histogram.dense():
            assert set(layer.sum(1).tolist()) == {written}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"transcripts.jsonl", "neurons-plus.safetensors", "neurons-minus.safetensors"}, "nothing partial"


def test_the_same_result_twice(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    first, second = (
        collect_neurons(tiny_llama, PLAY, writing=SHORT, folder=tmp_path / name) for name in ("first", "second")
    )
    assert identical(first, second)
    assert first.hash == second.hash
    files = [(tmp_path / name / "transcripts.jsonl").read_bytes() for name in ("first", "second")]
    assert files[0] == files[1]


def test_a_seed_divides_the_scenes_and_changes_no_answer(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    writing = replace(SHORT, rows=1)
    pairs = [
        collect_neurons(tiny_llama, PLAY, seed=seed, writing=writing, folder=tmp_path / str(seed)) for seed in (1, 2, 3)
    ]
    for pair in pairs[1:]:
        for pole in POLES:
            assert torch.equal(pair.pole(pole).counts.active, pairs[0].pole(pole).counts.active)
            layers = zip(pair.pole(pole).histogram.dense(), pairs[0].pole(pole).histogram.dense(), strict=True)
            assert all(torch.equal(one, other) for one, other in layers)
    texts = [texts_by_scene(tmp_path / str(seed)) for seed in (1, 2, 3)]
    assert texts[0] == texts[1] == texts[2]
    assert len({tuple(pair.plus.halves[0].active.tolist()) for pair in pairs}) > 1
    assert len({pair.hash for pair in pairs}) == 3


@pytest.mark.parametrize("tiny_model", ["llama", "gemma2", "gpt2"], indirect=True)
def test_the_size_of_a_batch_changes_no_answer(tiny_model: LoadedModel, tmp_path: Path) -> None:
    texts, counts = [], []
    for rows in (1, 3, 32):
        folder = tmp_path / str(rows)
        pair = collect_neurons(tiny_model, PLAY, writing=Writing(max_tokens=16, rows=rows), folder=folder)
        texts.append(texts_by_scene(folder))
        counts.append(torch.stack([pair.plus.counts.active, pair.minus.counts.active]))
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0].values())) > 3
    assert torch.equal(counts[0], counts[1])
    assert torch.equal(counts[0], counts[2])


def test_how_it_writes_is_part_of_where_numbers_come_from(tiny_llama: LoadedModel) -> None:
    found = [
        collect_neurons(tiny_llama, PLAY, writing=writing).provenance
        for writing in (FEW, Writing(6, rows=2), Writing(5, 1.3, 2), Writing(5, rows=3))
    ]
    assert len({tuple(sorted(provenance.items())) for provenance in found}) == 4


def test_the_repetition_penalty_is_used(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    for penalty in (1.0, 10.0):
        collect_neurons(tiny_llama, PLAY, writing=Writing(12, penalty), folder=tmp_path / str(penalty))
    assert texts_by_scene(tmp_path / "1.0") != texts_by_scene(tmp_path / "10.0")


def test_padding_shows_the_penalty_no_token_that_is_not_in_the_prompt(tiny_llama: LoadedModel) -> None:
    """The repetition penalty looks at whole rows, masked or not, and must find what it finds without a batch."""
    prompts = [tokens(length, seed=length)[0].tolist() for length in (3, 9, 5)]
    rows: list[list[int]] = []

    def look(_: nn.Module, __: tuple[Any, ...], given: dict[str, Tensor]) -> None:
        rows.extend(given["input_ids"].tolist())

    handle = tiny_llama.model.register_forward_pre_hook(look, with_kwargs=True)
    answers = generate_ids(tiny_llama, prompts, max_tokens=4)
    handle.remove()
    assert [set(row) for row in rows[:3]] == [set(prompt) for prompt in prompts]
    assert [row[-3:] for row in rows[:3]] == [prompt[-3:] for prompt in prompts]
    assert [len(answer) for answer in answers] == [4, 4, 4]


# --- interruption ----------------------------------------------------------------------------------------------------


def interrupt_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the work after every batch; batches of one text."""
    module = import_module("temperament.signatures.collect_neurons")  # the package exports a function of that name
    monkeypatch.setattr(module, "_SAVE_EVERY", -1.0)
    monkeypatch.setattr(module, "BATCH_ROWS", 1)


def run(lm: LoadedModel, data: Contrast | RolePlay, folder: Path, step: int | None = None) -> NeuronSignaturePair:
    """Collect; with ``step`` break off there."""
    if step is None:
        return collect_neurons(lm, data, writing=FEW, folder=folder)
    with pytest.raises(KeyboardInterrupt):
        collect_neurons(lm, data, writing=FEW, folder=folder, progress=interrupt_at(step))
    assert hooks(lm.model) == 0
    return collect_neurons(lm, data, writing=FEW)


def written(folder: Path) -> bytes | None:
    path = folder / "transcripts.jsonl"
    return path.read_bytes() if path.exists() else None


SOURCES = pytest.mark.parametrize("data", [mixed_contrast(), PLAY], ids=["texts", "generate"])


@SOURCES
@pytest.mark.parametrize("step", [2, 4, 5, 7])
@pytest.mark.usefixtures("save_always")
def test_an_interrupted_run_goes_on_with_identical_numbers(
    tiny_llama: LoadedModel, tmp_path: Path, data: Contrast | RolePlay, step: int
) -> None:
    whole = run(tiny_llama, data, tmp_path / "whole")
    run(tiny_llama, data, tmp_path / "cut", step)
    assert (tmp_path / "cut" / PARTIAL).is_file()
    steps: list[int] = []
    again = collect_neurons(
        tiny_llama, data, writing=FEW, folder=tmp_path / "cut", progress=lambda done, _: steps.append(done)
    )
    total = 10 if isinstance(data, Contrast) else 8
    assert steps == list(range(steps[0], total + 1))
    assert 1 < steps[0] <= step + 1
    assert identical(again, whole)
    assert again.hash == whole.hash
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert not (tmp_path / "cut" / PARTIAL).exists()


@SOURCES
@pytest.mark.usefixtures("save_always")
def test_a_run_may_be_interrupted_again_and_again(
    tiny_llama: LoadedModel, tmp_path: Path, data: Contrast | RolePlay
) -> None:
    whole = run(tiny_llama, data, tmp_path / "whole")
    for step in (2, 4, 7):
        run(tiny_llama, data, tmp_path / "cut", step)
    assert identical(run(tiny_llama, data, tmp_path / "cut"), whole)
    assert written(tmp_path / "cut") == written(tmp_path / "whole")


@pytest.mark.usefixtures("save_always")
def test_transcripts_of_an_interrupted_run_are_kept(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    run(tiny_llama, PLAY, tmp_path / "whole")
    run(tiny_llama, PLAY, tmp_path / "cut", 5)
    rows = transcripts(tmp_path / "cut")
    assert 6 <= len(rows) < 12
    assert rows == transcripts(tmp_path / "whole")[: len(rows)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 0x10
    path.write_bytes(data)


def rewrite(path: Path, edit: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> None:
    """An intact file with another content."""
    tensors, header = read_container(path, kind="file", remedy="none")
    edit(tensors, header)
    header.pop("sha256")
    write_container(path, tensors, header)


HARM: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "another run": lambda path: rewrite(path, lambda _, header: header.update(key="0")),
    "no key": lambda path: rewrite(path, lambda _, header: header.pop("key")),
    "no slots": lambda path: rewrite(path, lambda _, header: header.update(tokens=[])),
    "a strange transcript": lambda path: rewrite(path, lambda _, header: header.update(transcripts=[{"a": 1}])),
    "another model's layers": lambda path: rewrite(
        path, lambda _, header: header.update(parts=[[*part[:-2], part[-2] + part[-1]] for part in header["parts"]])
    ),
    "no histograms": lambda path: rewrite(
        path,
        lambda tensors, header: (header.update(parts=[]), tensors.update(histogram=torch.zeros(0, dtype=torch.uint8))),
    ),
    "histograms of noise": lambda path: rewrite(
        path, lambda tensors, _: tensors.update(histogram=tensors["histogram"].flip(0))
    ),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
@pytest.mark.usefixtures("save_always")
def test_a_damaged_partial_file_is_no_work_done(
    tiny_llama: LoadedModel, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    whole = run(tiny_llama, PLAY, tmp_path, 4)
    harm(tmp_path / PARTIAL)
    assert_starts_afresh(tiny_llama, PLAY, tmp_path, whole)


@pytest.mark.usefixtures("save_always")
def test_the_partial_file_of_other_settings_is_no_work_done(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    run(tiny_llama, replace(PLAY, plus=PLAY.minus, minus=PLAY.plus), tmp_path, 4)
    whole = run(tiny_llama, PLAY, tmp_path / "whole")
    assert_starts_afresh(tiny_llama, PLAY, tmp_path, whole)


@pytest.mark.usefixtures("save_always")
def test_another_kind_of_file_in_its_place_is_no_work_done(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    whole = run(tiny_llama, PLAY, tmp_path)
    save_neuron_signatures(tmp_path, whole)
    (tmp_path / "neurons-plus.safetensors").rename(tmp_path / PARTIAL)
    assert_starts_afresh(tiny_llama, PLAY, tmp_path, whole)


def assert_starts_afresh(lm: LoadedModel, data: Contrast | RolePlay, folder: Path, whole: NeuronSignaturePair) -> None:
    steps: list[int] = []
    found = collect_neurons(lm, data, writing=FEW, folder=folder, progress=lambda done, _: steps.append(done))
    assert steps[0] == 1
    assert identical(found, whole)


# --- what is saved is used -------------------------------------------------------------------------------------------


@SOURCES
def test_a_second_extraction_makes_no_forward_pass(
    tiny_llama: LoadedModel, tmp_path: Path, data: Contrast | RolePlay
) -> None:
    def neurons(gamma: float, writing: Writing = SHORT, seed: int = 42) -> NeuronSignaturePair:
        settings = {"count": 4, "gamma": gamma}
        found = extract(
            tiny_llama, data, method="neurons", writing=writing, folder=tmp_path, settings=settings, seed=seed
        )
        assert isinstance(found.signatures, NeuronSignaturePair)
        return found.signatures

    first = neurons(0.7)
    with counted_passes(tiny_llama) as passes:
        assert identical(neurons(1.4), first)
    assert passes == []
    assert not identical(neurons(0.7, seed=43), first)
    if isinstance(data, RolePlay):
        assert not identical(neurons(0.7, Writing(13)), first)


# --- refusals and leaving no trace -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_tokens", "rows"), [(1, 2), (0, 2), (8, 0)])
def test_writing_too_little_is_refused(max_tokens: int, rows: int) -> None:
    with refused(f"{max_tokens} tokens in {rows} rows", "allow 2 tokens or more"):
        Writing(max_tokens=max_tokens, rows=rows)


def test_prompts_that_leave_no_room_are_refused(tiny_llama: LoadedModel) -> None:
    """The last length that fits is written, one token more is refused before anything is."""
    room = MAX_TOKENS - len(prompt_of(tiny_llama, Scene("You are loud.", "Hm?")))
    for extra, fits in ((room - 2, True), (room - 1, False)):
        long = replace(PLAY, minus=("You are loud." + "x" * extra,), questions=("Hm?",))
        if fits:
            assert collect_neurons(tiny_llama, long, writing=Writing(2)).minus.counts.tokens == 1
        else:
            with (
                counted_passes(tiny_llama) as passes,
                refused("a prompt of 511 tokens and 2 new ones", "the 512 tokens of the model", "--max-tokens"),
            ):
                collect_neurons(tiny_llama, long, writing=Writing(2))
            assert passes == []


def test_a_text_without_room_for_a_response_is_refused(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    long = Example("x" * MAX_TOKENS, "Yes.", "Yes.")
    with refused("no response token is left", "shorten the prompt"):
        collect_neurons(tiny_llama, replace(contrast, minus=(*contrast.minus, long)))


@SOURCES
def test_a_worn_model_is_refused(tiny_llama: LoadedModel, data: Contrast | RolePlay) -> None:
    worn = extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 3}).plus
    for persona in (worn, Persona.from_prompt("Be shy.")):
        with wear(tiny_llama, persona), refused("a persona is worn", "leave lm.wear() first"):
            collect_neurons(tiny_llama, data, writing=SHORT)
    plain = collect_neurons(tiny_llama, data, writing=SHORT)
    with wear(tiny_llama, worn, strength=0):  # exactly the base
        assert identical(collect_neurons(tiny_llama, data, writing=SHORT), plain)


@SOURCES
def test_hooks_are_gone_after_an_error(fresh_llama: LoadedModel, tmp_path: Path, data: Contrast | RolePlay) -> None:
    passes: list[int] = []

    def fail(*_: object) -> None:
        passes.append(1)
        if len(passes) == 3:
            raise RuntimeError("out of memory")

    whole = collect_neurons(fresh_llama, data, writing=SHORT)
    handle = fresh_llama.module(fresh_llama.neurons[1].name).register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        collect_neurons(fresh_llama, data, writing=SHORT, folder=tmp_path)
    handle.remove()
    assert hooks(fresh_llama.model) == 0
    assert fresh_llama.worn == ()
    assert identical(collect_neurons(fresh_llama, data, writing=SHORT, folder=tmp_path), whole)


def test_collecting_leaves_the_model_as_it_was(tiny_llama: LoadedModel) -> None:
    item = tiny_llama.encode("Hm?", "People!")
    before = activations(tiny_llama, item.ids)
    settings = tiny_llama.model.generation_config.to_dict()
    collect_neurons(tiny_llama, PLAY, writing=SHORT)
    assert torch.equal(activations(tiny_llama, item.ids), before)
    assert tiny_llama.model.generation_config.to_dict() == settings
