"""Two-choice items and neutral passages as instruments: their records against direct scores, identity, arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from expect import counted_passes, refused
from support import mixed_contrast

from temperament.calibration import Choice, Contrast
from temperament.calibration.choices import two_choice_items
from temperament.calibration.contrast import group_key
from temperament.evaluation.choices import TwoChoice, choice_array, choice_items
from temperament.evaluation.instrument import Instrument
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import encode_passages
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan
from temperament.wear import wear

ITEMS = (
    Choice("Out or in?", ("Out, always.", "In"), 0, "a"),
    Choice("And on a Sunday, when the weather is fine?", ("I sleep.", "I dance, “all” day"), 1, "b"),
    Choice("Loud?", ("Yes", "No"), 0, "c"),
)
TEXTS = ("The tide comes in twice a day. " * 20, "A lens bends light.", "Bread rises by yeast, which feeds on sugar.")


def asked() -> Contrast:
    return replace(mixed_contrast(), choices=ITEMS)


def test_every_option_gets_its_own_log_probability(tiny_llama: LoadedModel) -> None:
    records = Ledger(tiny_llama).run(TwoChoice.of(asked()), Plan(), "unworn")
    for record, item in zip(records, ITEMS, strict=True):
        scores = [score_responses(tiny_llama, [tiny_llama.encode(item.prompt, text)])[0] for text in item.options]
        assert record["log_probability"] == pytest.approx([score.total for score in scores], abs=1e-3)
        assert record["nats_per_token"] == pytest.approx([score.per_token for score in scores], abs=1e-4)
        assert (record["prompt"], record["options"], record["matching"]) == (
            item.prompt,
            list(item.options),
            item.matching,
        )
    assert [(item.text, item.matching) for item in choice_items(records)] == [(i.text, i.matching) for i in ITEMS]
    array = choice_array(records)
    assert array.shape == (3, 2, 2)
    assert array[1].tolist() == [[records[1][k][i] for k in ("log_probability", "nats_per_token")] for i in (0, 1)]
    assert choice_array([]).shape == (0, 2, 2)


def test_statements_serve_as_questions_where_there_are_no_choices(tiny_llama: LoadedModel) -> None:
    contrast = mixed_contrast()
    with counted_passes(tiny_llama) as passes:
        records = Ledger(tiny_llama).run(TwoChoice.of(contrast), Plan(), "unworn")
    assert len(records) == len(TwoChoice.of(contrast)) == 10
    assert [row["matching"] for row in records] == [0] * 5 + [1] * 5
    assert {tuple(row["options"]) for row in records} == {("Yes", "No")}
    assert contrast.plus[0].response in records[0]["prompt"]
    assert [row["prompt"] for row in records] == [item.prompt for item in two_choice_items(contrast)]
    assert passes


def test_the_hash_and_the_groups_of_choices() -> None:
    variants = [
        ITEMS,
        ITEMS[::-1],
        ITEMS[:2],
        (replace(ITEMS[0], matching=1), *ITEMS[1:]),
        (replace(ITEMS[0], prompt="In or out?"), *ITEMS[1:]),
        (replace(ITEMS[0], options=ITEMS[0].options[::-1]), *ITEMS[1:]),
    ]
    hashes = {TwoChoice.of(replace(asked(), choices=items)).hash for items in variants}
    assert len(hashes) == 6
    assert TwoChoice(asked().choices, "another").hash == TwoChoice.of(asked()).hash
    assert TwoChoice.of(asked()).groups == asked().group_keys > mixed_contrast().group_keys


def test_a_question_that_leaves_no_room_is_refused(tiny_llama: LoadedModel) -> None:
    long = Choice("word " * 200, ("Yes", "No"), 0, "g")
    with refused("the test prompt 'word word", "fills all 512 tokens", "shorten"):
        list(TwoChoice((long,)).run(tiny_llama, [0]))


def test_a_passage_is_the_sum_of_its_windows(tiny_llama: LoadedModel) -> None:
    """Worn or not, the same tokens are scored."""
    instrument = Passages(TEXTS)
    for plan in (Plan(), Plan.of(Persona.from_prompt("Be calm."))):
        found = passage_array(Ledger(tiny_llama).run(instrument, plan, "side"))
        with wear(tiny_llama, plan):
            windows = [encode_passages(tiny_llama, [text]) for text in TEXTS]
            scores = [score_responses(tiny_llama, own) for own in windows]
        assert [len(own) for own in windows] == [3, 1, 1]
        assert found[:, 0] == pytest.approx([sum(score.total for score in own) for own in scores], abs=1e-2)
        assert found[:, 1].tolist() == [len(TEXTS[0]) - 3, len(TEXTS[1]) - 1, len(TEXTS[2]) - 1]
    assert passage_array([]).shape == (0, 2)


def test_the_hash_of_passages_and_a_passage_without_a_scored_token(tiny_llama: LoadedModel) -> None:
    assert len({Passages(texts).hash for texts in (TEXTS, TEXTS[::-1], TEXTS[1:], ())}) == 4
    assert Passages(TEXTS).groups == {group_key(text) for text in TEXTS}
    records = Ledger(tiny_llama).run(Passages(("x", TEXTS[1])), Plan(), "unworn")
    assert passage_array(records)[0].tolist() == [0, 0]
    assert passage_array(records)[1, 0] < 0


@pytest.mark.parametrize(
    ("instrument", "array"), [(TwoChoice.of(asked()), choice_array), (Passages(TEXTS), passage_array)]
)
def test_an_interrupted_run_puts_only_the_rest_to_the_model(
    tiny_llama: LoadedModel,
    tmp_path: Path,
    instrument: Instrument,
    array: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("temperament.evaluation.scored_items._RESPONSES", 1)  # each item by itself
    with counted_passes(tiny_llama) as every:
        whole = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    (file,) = tmp_path.iterdir()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:-1]), encoding="utf-8")
    with counted_passes(tiny_llama) as passes:
        again = Ledger(tiny_llama, tmp_path).run(instrument, Plan(), "unworn")
    missing = json.loads(lines[-1])["item"]
    with counted_passes(tiny_llama) as alone:
        list(instrument.run(tiny_llama, [missing]))
    assert 0 < len(passes) == len(alone) < len(every)
    np.testing.assert_allclose(np.asarray(array(again)), np.asarray(array(whole)), rtol=1e-5)
