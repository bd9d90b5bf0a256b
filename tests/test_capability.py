"""Capability on models whose answers are known: one letter, the shortest, the longest; and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expect import counted_passes, refused
from torch import Tensor

from temperament.calibration.contrast import group_key
from temperament.evaluation import scored_items
from temperament.evaluation.benchmarks import Benchmark, Question
from temperament.evaluation.capability import MultipleChoice, _encode_plain, capability, hits
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel
from temperament.models.dialogue import Encoded
from temperament.personas import Persona, Plan

ENDINGS = Benchmark(
    "hellaswag",
    "endings",
    (
        Question("The dog sees a cat. it", ("barks.", "reads a long book.", "flies over it."), 0),
        Question("A pot boils. the cook", ("sits.", "takes the pot off the fire.", "swims."), 1),
        Question("It rains. they", ("open umbrellas.", "sing.", "melt away in the rain."), 0),
        Question("Snow", ("falls.", "burns.", "speaks."), 0),
    ),
)
SUMS = tuple(
    Question(f"What is {number} and 1?", tuple(str(number + 1 + (option - number) % 4) for option in range(4)), number)
    for number in range(4)
)
LETTERED = Benchmark("mmlu", "letters", tuple(replace(item, subject="sums") for item in SUMS))


@contextmanager
def always(lm: LoadedModel, values: Callable[[LoadedModel], Tensor]) -> Iterator[None]:
    """The model gives the logits of ``values`` at every position."""

    def replaced(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        return values(lm).expand_as(output)

    hook = lm.module("lm_head").register_forward_hook(replaced)
    try:
        yield
    finally:
        hook.remove()


def preferring(lm: LoadedModel, text: str) -> Tensor:
    logits = torch.zeros(lm.model.config.vocab_size)
    if text:
        (token,) = lm.tokenizer(text, add_special_tokens=False).input_ids
        logits[token] = 5
    return logits


def run(lm: LoadedModel, benchmark: Benchmark, **settings: Any) -> list[Record]:
    return Ledger(lm).run(MultipleChoice(benchmark, **settings), Plan(), "unworn")


def test_a_model_that_knows_nothing_takes_the_shortest_ending_and_normalised_the_longest(
    tiny_llama: LoadedModel,
) -> None:
    """Every byte costs log V and each ending has a space before it: (n + 1) / n is smallest for the longest."""
    with always(tiny_llama, lambda lm: preferring(lm, "")):
        records = run(tiny_llama, ENDINGS)
    cost = -np.log(tiny_llama.model.config.vocab_size)
    lengths = [[len(option) for option in question.options] for question in ENDINGS.questions]
    for record, length in zip(records, lengths, strict=True):
        assert record["log_probability"] == pytest.approx([(n + 1) * cost for n in length], rel=1e-5)
    assert np.array_equal(hits(records, normalised=False), [1, 0, 0, 0.5])
    assert np.array_equal(hits(records, normalised=True), [0, 1, 0, 0])


def test_a_model_that_always_says_one_letter(tiny_llama: LoadedModel) -> None:
    for position, letter in enumerate("ABCD"):
        with always(tiny_llama, lambda lm, letter=letter: preferring(lm, letter)):  # type: ignore[misc]
            records = run(tiny_llama, LETTERED)
        assert np.array_equal(hits(records, normalised=False), np.eye(4)[position])
    with always(tiny_llama, lambda lm: preferring(lm, "")):
        records = run(tiny_llama, LETTERED)
    assert np.array_equal(hits(records, normalised=False), np.full(4, 0.25))
    assert records[0]["options"] == list(SUMS[0].options)
    assert records[0]["subject"] == "sums"


@pytest.mark.parametrize("system", [None, "You are brief."])
def test_endings_are_scored_as_plain_text_behind_what_is_worn(tiny_llama: LoadedModel, system: str | None) -> None:
    plan = Plan.of(Persona.from_prompt(system)) if system else Plan()
    records = Ledger(tiny_llama).run(MultipleChoice(ENDINGS), plan, "worn")
    ids = tiny_llama.tokenizer
    head = ids(f"{system}\n\n" if system else "").input_ids
    for record in records:
        context = head + ids(record["question"], add_special_tokens=False).input_ids
        for option, value in zip(record["options"], record["log_probability"], strict=True):
            ending = ids(f" {option}", add_special_tokens=False).input_ids
            with torch.no_grad():
                logits = tiny_llama.model(torch.tensor([context + ending])).logits[0].log_softmax(-1)
            naive = sum(float(logits[len(context) - 1 + at, token]) for at, token in enumerate(ending))
            assert value == pytest.approx(naive, abs=1e-3)


def test_chat_puts_the_option_behind_the_template(tiny_llama: LoadedModel) -> None:
    instrument = MultipleChoice(ENDINGS, chat=True)
    (record,) = (record for index, record in instrument.run(tiny_llama, [2]) if index == 2)
    scores = score_responses(
        tiny_llama, [tiny_llama.encode(record["question"], option) for option in record["options"]]
    )
    assert record["log_probability"] == pytest.approx([score.total for score in scores], abs=1e-3)
    assert instrument.name == "hellaswag-chat"


def seen(lm: LoadedModel, instrument: MultipleChoice) -> list[str]:
    """The text that the model reads for each item, up to the first option's letter."""
    texts: list[str] = []

    def note(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
        texts.extend(lm.tokenizer.batch_decode(options["input_ids"], skip_special_tokens=True))

    hook = lm.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scored_items, "_RESPONSES", 1)  # one item at a time
            for index in range(len(instrument)):
                list(instrument.run(lm, [index]))
    finally:
        hook.remove()
    return texts


def test_worked_examples_are_of_the_subject_and_never_the_question_itself(tiny_llama: LoadedModel) -> None:
    spaced = replace(SUMS[0], text=f" {SUMS[0].text.upper()}", options=SUMS[0].options[::-1], answer=3)
    shown = replace(LETTERED, questions=LETTERED.questions[:2], examples={"sums": (spaced, *SUMS[1:]), "art": SUMS})
    plain, worked = seen(tiny_llama, MultipleChoice(shown)), seen(tiny_llama, MultipleChoice(shown, shots=2))
    assert [text.count("Answer:") for text in plain] == [1, 1]
    assert all("about sums" in text and text.rstrip(" ").endswith("Answer:") for text in (*plain, *worked))
    for own, (text, others) in zip(shown.questions, zip(worked, ((1, 2), (0, 2)), strict=True), strict=True):
        assert text.count("Answer:") == 3
        assert text.casefold().count(own.text.casefold()) == 1
        at = [text.casefold().index(SUMS[other].text.casefold()) for other in others]
        assert at == sorted(at)
        assert all(f"Answer: {'DBC'[other]}\n" in text for other in others)
    with refused("4 worked examples", "3 other ones on 'sums'"):
        MultipleChoice(shown, shots=4)
    with refused("1 worked examples", "0 other ones"):
        MultipleChoice(LETTERED, shots=1)
    with refused("1 worked examples for hellaswag"):
        MultipleChoice(ENDINGS, shots=1)
    with refused("-1 worked examples"):
        MultipleChoice(LETTERED, shots=-1)


def test_what_makes_other_records_makes_another_hash() -> None:
    shown = replace(LETTERED, examples={"sums": SUMS})
    first = LETTERED.questions[0]
    variants = [
        MultipleChoice(shown),
        MultipleChoice(shown, shots=1),
        MultipleChoice(shown, chat=True),
        MultipleChoice(ENDINGS),
        MultipleChoice(replace(shown, questions=shown.questions[::-1])),
        MultipleChoice(replace(shown, questions=(replace(first, answer=2), *shown.questions[1:]))),
    ]
    assert len({variant.hash for variant in variants}) == len(variants)
    assert {variant.name for variant in variants} == {"mmlu", "mmlu-1-shot", "mmlu-chat", "hellaswag"}
    assert group_key(first.text) in variants[0].groups


def test_a_question_that_does_not_fit_is_refused_before_the_first_pass(tiny_llama: LoadedModel) -> None:
    long = replace(ENDINGS, questions=(*ENDINGS.questions, Question("rain " * 110, ("falls.", "stops."), 0)))
    with counted_passes(tiny_llama) as passes, refused("512", "fewer shots"):
        run(tiny_llama, long)
    assert not passes


def test_an_interrupted_run_goes_on(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    whole = Ledger(tiny_llama, tmp_path).run(MultipleChoice(ENDINGS), Plan(), "unworn")
    (file,) = tmp_path.iterdir()
    kept = file.read_text().splitlines(keepends=True)
    file.write_text("".join(kept[:3]) + kept[3][:20])
    with counted_passes(tiny_llama) as passes:
        again = Ledger(tiny_llama, tmp_path).run(MultipleChoice(ENDINGS), Plan(), "unworn")
    assert passes
    for record, other in zip(whole, again, strict=True):
        assert record["log_probability"] == pytest.approx(other["log_probability"], abs=1e-3)
        assert record["question"] == other["question"]


def test_a_tokenizer_that_joins_context_and_answer_still_scores_the_answer() -> None:
    """'x y' becomes one token of its own here, so that no cut of it is the context."""

    class Joining:
        def __call__(self, text: str, **_: Any) -> Any:
            ids = [99] if text == "x y" else [ord(letter) for letter in text]
            return type("Batch", (), {"input_ids": ids})

    fake: Any = type("Model", (), {"tokenizer": Joining(), "head_ids": lambda *_: ()})()
    assert _encode_plain(fake, "x", "y") == Encoded((ord("x"), ord(" "), ord("y")), 1)
    assert _encode_plain(fake, "x", "z") == Encoded((ord("x"), ord(" "), ord("z")), 1)


def answered(*right: bool, scoring: str = "letters") -> list[Record]:
    return [
        {
            "subject": "",
            "question": f"q{number}",
            "options": ["1", "2", "3", "4"],
            "answer": number % 2,
            "scoring": scoring,
            "log_probability": [-1.0 if option == (number % 2 if hit else 3) else -2.0 for option in range(4)],
        }
        for number, hit in enumerate(right)
    ]


def test_the_value_is_the_worse_change_in_percentage_points() -> None:
    base, plus, minus = [True] * 6 + [False] * 4, [True] * 3 + [False] * 7, [True] * 7 + [False] * 3
    found = capability(answered(*plus), answered(*minus), answered(*base), seed=0)
    assert found.value == pytest.approx(-30)
    assert found.low < -30 < found.high <= 0
    extra = found.extra
    assert [extra[name] for name in ("plus", "minus", "unworn")] == pytest.approx([30, 70, 60])
    assert [extra["plus_change"], extra["minus_change"]] == pytest.approx([-30, 10])
    assert (extra["chance"], extra["fixed"], extra["above_chance"], found.n) == (25, 50, True, 10)
    assert capability(answered(*minus), answered(*plus), answered(*base), seed=0).value == pytest.approx(-30)
    nothing = capability(answered(*base), answered(*base), answered(*base), seed=0)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_change_is_paired_by_question() -> None:
    """Half right each way: identical answers change nothing for certain, opposite ones do so by chance."""
    half = [True, False] * 10
    same = capability(answered(*half), answered(*half), answered(*half), seed=0)
    other = capability(answered(*half), answered(*half), answered(*half[::-1]), seed=0)
    assert (same.low, same.high) == (0, 0)
    assert other.value == 0
    assert other.low < -10
    with pytest.raises(ValueError, match="different questions"):
        capability(answered(*half), answered(*half)[::-1], answered(*half), seed=0)


def test_a_model_at_chance_cannot_show_a_loss() -> None:
    guesses = answered(*[True, False, False, False] * 5)
    assert capability(guesses, guesses, guesses, seed=0).extra["above_chance"] is False


def test_endings_are_judged_by_the_normalised_figure() -> None:
    record = {**answered(True, scoring="endings")[0], "options": ["ab", "abcdefgh"], "log_probability": [-2.0, -4.0]}
    found = capability([record], [record], [record], seed=0)
    assert found.extra["unworn"] == 0
    assert found.extra["raw_unworn"] == 100
    assert found.extra["chance"] == 50
