"""The four axes: their texts, the questionnaire of our own, and the arithmetic of types and of switching them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from answering import answering, options
from expect import refused
from test_builtin_texts import all_descriptions, all_questions, all_statements, is_first_person, plain, runs

import temperament as tp
from temperament.calibration import resolve_contrast, resolve_roleplay
from temperament.calibration.balance import balance, repeated_frames, repeated_runs
from temperament.calibration.builtin import AXES, CONTRASTS, builtin_contrast, find_axis
from temperament.calibration.items import axes_items, read_items, resolve_items
from temperament.calibration.questionnaire_items import transfer_contrast
from temperament.evaluation.axis_types import (
    CHANCE,
    NAMES,
    TYPES,
    Values,
    poles_of,
    questionnaire_values,
    statement_values,
    switch,
    type_of,
)
from temperament.evaluation.questionnaire import PRESENTATIONS, Questionnaire, acquiescence, domain_scores, effects
from temperament.evaluation.questionnaire.summary import questionnaire_summary
from temperament.evaluation.questionnaire.wording import WORDINGS

#: Names of the published inventory and of its ends, which our texts do without.
LABELS = re.compile(
    r"\b(?:mbti|myers|briggs|jung\w*|sens(?:ing|or)|intuit\w*|judging|judger|perceiv\w*|thinker|feeler)\b"
)


def axis_texts(name: str) -> list[str]:
    contrast = builtin_contrast(name)
    return [example.response for pole in (contrast.plus, contrast.minus) for example in pole]


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_contrasts_as_large_as_those_of_the_traits(name: str) -> None:
    assert name in CONTRASTS
    sizes = [len(tp.contrast(name, split=split).plus) for split in ("calibration", "validation", "test")]
    assert sizes == [84, 42, 42]
    assert resolve_contrast(f"{name}#validation").split == "validation"


@pytest.mark.parametrize("name", NAMES)
def test_negation_is_matched_within_each_pair_and_present_in_every_split(name: str) -> None:
    for split in ("calibration", "validation", "test"):
        part = tp.contrast(name, split=split)
        measured = balance([e.response for e in part.plus], [e.response for e in part.minus])
        assert measured.negation_auc == 0.5
        assert measured.negated_share[0] == pytest.approx(0.24, abs=0.02)


def test_texts_do_without_the_names_of_the_inventory() -> None:
    for text in (*(t for name in NAMES for t in axis_texts(name)), *(item.text for item in axes_items())):
        assert not LABELS.search(text.lower()), text
    assert LABELS.search("an intuitive type")


def test_axes_borrow_no_phrase_from_the_traits() -> None:
    """Eight words in a row are more than chance."""
    own = {run for name in NAMES for text in axis_texts(name) for run in runs(text, 8)}
    traits = set(all_statements()) - {text for name in NAMES for text in axis_texts(name)}
    others = {run for text in (*traits, *all_descriptions(), *all_questions()) for run in runs(text, 8)}
    assert len(own) > 2000
    assert own.isdisjoint(others)


def test_axes_are_nothing_to_act_out() -> None:
    with refused("not something to act out"):
        resolve_roleplay("mbti-ei")


def test_letters() -> None:
    assert [axis.letters for axis in AXES] == ["EI", "SN", "TF", "JP"]
    assert find_axis("mbti-tf") is AXES[2]
    assert find_axis("extraversion") is None


# --- the questionnaire -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_twenty_items_an_axis_keyed_both_ways_and_alike_in_form(name: str) -> None:
    sides = [[item.text for item in axes_items() if item.domain == name and item.key == key] for key in (1, -1)]
    assert list(map(len, sides)) == [10, 10]
    measured = balance(*sides)
    assert measured.negation_auc == 0.5
    assert measured.length_auc == pytest.approx(0.5, abs=0.15)
    assert measured.mean_words[0] == pytest.approx(measured.mean_words[1], abs=1)


def test_items_are_first_person_unrepeated_and_found_nowhere_else() -> None:
    items = [item.text for item in axes_items()]
    assert len({plain(text) for text in items}) == len(items) == 80
    assert all(text.startswith("I ") and text.endswith(".") and is_first_person(text) for text in items)
    assert repeated_frames(items, limit=3) == {}
    assert repeated_runs(items, length=6, limit=2) == {}
    calibrated = {run for text in (*all_statements(), *all_descriptions(), *all_questions()) for run in runs(text, 8)}
    assert {run for text in items for run in runs(text, 8)}.isdisjoint(calibrated)
    groups = Questionnaire(axes_items()).groups
    assert all(groups.isdisjoint(builtin_contrast(name).group_keys) for name in CONTRASTS)


def test_items_are_none_of_the_public_ones(data_dir: Path) -> None:
    public = {plain(item.text) for item in read_items(data_dir / "ipip_neo" / "ipip_neo_120.csv")}
    public |= {f"i {text}" for text in public}
    assert {plain(item.text) for item in axes_items()}.isdisjoint(public)
    assert {plain(text) for name in NAMES for text in axis_texts(name)}.isdisjoint(public)


def test_items_are_found_by_name_and_a_file_may_hold_axes(tmp_path: Path) -> None:
    assert resolve_items("mbti-axes") == axes_items()
    path = tmp_path / "own.csv"
    path.write_text("domain,key,text\nmbti-ei,1,I talk.\nMBTI-EI,-1,I muse.\n")
    assert [(item.domain, item.key) for item in read_items(path)] == [("mbti-ei", 1), ("mbti-ei", -1)]
    path.write_text("domain,key,text,facet_code\nmbti-ei,1,I talk.,E1\n")
    with refused("line 2", "mbti-ei has no facets"):
        read_items(path)
    path.write_text("domain,key,text\nmbti-xy,1,I talk.\n")
    with refused("line 2", "mbti-xy", "mbti-ei"):
        read_items(path)


def test_items_of_an_axis_serve_as_another_instrument() -> None:
    found = transfer_contrast("mbti-axes", "mbti-jp")
    assert (len(found.plus), len(found.minus)) == (10, 10)
    assert found.pole_prompts() == AXES[3].prompts


def test_the_machinery_scores_axes(yes_sayer: list[dict[str, object]]) -> None:
    """Always agreeing is acquiescence 5 and a score of 3 on every axis, which is no type."""
    scores = domain_scores(yes_sayer)
    assert list(scores) == list(NAMES)
    assert [score.value for score in scores.values()] == pytest.approx([3] * 4)
    assert acquiescence(yes_sayer).value == pytest.approx(5)
    assert questionnaire_summary({"unworn": yes_sayer})["sides"]["unworn"]["type"] == "––––"
    shifted = [{**row, "expected": 3 + int(str(row["key"]))} for row in yes_sayer]
    assert {name: change.value for name, change in effects(shifted, yes_sayer).items()} == dict.fromkeys(NAMES, 1.0)
    assert questionnaire_summary({"unworn": shifted})["sides"]["unworn"]["type"] == "ESTJ"


@pytest.fixture(scope="module")
def yes_sayer() -> list[dict[str, object]]:
    tops = {wording.scale[4] for wording in WORDINGS}
    lm = answering(lambda text: next(label for label, words_ in options(text) if words_ in tops))
    form = Questionnaire(axes_items(), PRESENTATIONS["quick"])
    found = dict(form.run(lm, range(len(form))))
    return [json.loads(json.dumps(found[index])) for index in range(len(form))]


# --- types -----------------------------------------------------------------------------------------------------------


def test_there_are_sixteen_types_and_each_is_its_poles() -> None:
    assert len(set(TYPES)) == 16
    assert TYPES[0] == "ESTJ"
    assert poles_of("INFP") == dict.fromkeys(NAMES, "minus")
    assert poles_of("ENTP") == {"mbti-ei": "plus", "mbti-sn": "minus", "mbti-tf": "plus", "mbti-jp": "minus"}
    for name in TYPES:
        assert type_of({axis: 1.0 if pole == "plus" else -0.1 for axis, pole in poles_of(name).items()}) == name
    assert type_of({**dict.fromkeys(NAMES, 1.0), "mbti-sn": 0.0, "mbti-jp": float("nan")}) == "E–T–"


def values(*means: float, items: int = 8) -> Values:
    """Items around a mean, with some spread."""
    return {axis: mean + 0.01 * np.linspace(-1, 1, items) for axis, mean in zip(NAMES, means, strict=True)}


def intended(name: str, size: float = 1.0) -> list[float]:
    return [size if pole == "plus" else -size for pole in poles_of(name).values()]


def test_types_that_are_measured_as_worn_succeed() -> None:
    found = switch({name: values(*intended(name)) for name in TYPES}, None, seed=0)
    assert (found.axes.value, found.types.value) == (100, 100)
    assert (found.types.low, found.types.high, found.types.n, found.axes.n) == (100, 100, 16, 64)
    assert {axis: effect.value for axis, effect in found.effect.items()} == pytest.approx(dict.fromkeys(NAMES, 2.0))
    assert all(found.measured_type(name) == name for name in TYPES)
    assert found.margin("INFP", "mbti-ei") == pytest.approx(1)


@pytest.mark.parametrize("fixed", ["ESTJ", "INFP", "ISFJ"])
def test_a_fixed_type_scores_chance(fixed: str) -> None:
    found = switch({name: values(*intended(fixed)) for name in TYPES}, None, seed=0)
    assert {"types": found.types.value, "axes": found.axes.value} == CHANCE == {"types": 6.25, "axes": 50.0}
    assert [effect.value for effect in found.effect.values()] == pytest.approx([0] * 4)
    changed = switch({name: values(*intended(fixed)) for name in TYPES}, values(*intended(fixed)), seed=0)
    assert changed.types.value == changed.axes.value == 0  # no change at all is no success


def test_one_axis_alone_is_three_quarters_lost() -> None:
    worn = {name: values(intended(name)[0], 1, 1, 1) for name in TYPES}
    found = switch(worn, None, seed=0)
    assert (found.types.value, found.axes.value) == (12.5, 62.5)
    assert {axis: share.value for axis, share in found.per_axis.items()} == {**dict.fromkeys(NAMES, 50), "mbti-ei": 100}


def test_scores_against_the_unworn_model_undo_its_own_type() -> None:
    base = values(0.5, 0.5, 0.5, 0.5)
    worn = {name: values(*(0.5 + shift for shift in intended(name, 0.2))) for name in TYPES}
    assert switch(worn, None, seed=0).types.value == 6.25
    assert switch(worn, base, seed=0).types.value == 100


def test_intervals_widen_when_items_disagree() -> None:
    noisy = {axis: np.array([4.0, -3.5, 4.0, -3.5]) for axis in NAMES}
    found = switch({"ESTJ": noisy}, None, seed=0)
    assert found.axes.value == 100
    assert found.axes.low < 60
    assert np.isnan(found.effect["mbti-ei"].value)  # one type has no opposite


def test_values_are_read_from_records() -> None:
    answers = [
        {"domain": name, "key": key, "expected": expected} for name in NAMES for key, expected in ((1, 4.0), (-1, 1.5))
    ]
    assert questionnaire_values(answers)["mbti-sn"].tolist() == [1.0, 1.5]
    answers[0]["expected"] = None
    assert np.isnan(questionnaire_values(answers)["mbti-ei"][0])
    rows = [{"pole": pole, "nats_per_token": value} for pole, value in (("plus", -2.0), ("minus", -3.5))]
    assert statement_values(dict.fromkeys(NAMES, rows))["mbti-tf"].tolist() == [1.5]
    with pytest.raises(ValueError, match="1 plus and 0 minus"):
        statement_values(dict.fromkeys(NAMES, rows[:1]))
