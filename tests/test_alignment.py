"""Individual alignment on a linear toy model whose strengths are known, and readers of people's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering import made_items
from expect import refused

from temperament.calibration.items import LETTERS, Item
from temperament.evaluation.alignment import Search, align, level_prompt, split_items
from temperament.evaluation.alignment_model import ModelScore
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.people import (
    Person,
    key_correlation,
    read_people,
    reverse_scored,
    synthetic_people,
    trait_means,
)
from temperament.evaluation.questionnaire import PRESENTATIONS
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan

ITEMS = made_items(4)
SEARCHES: tuple[Search, ...] = ("additive", "coordinate")


class Linear:
    """answer = 3 + key · 2 · strength of the item's trait, and extraversion takes ``side`` from neuroticism."""

    def __init__(self, side: float = 0.0) -> None:
        self.side = side
        self.asked: list[tuple[dict[str, float], tuple[int, ...]]] = []

    def __call__(self, strengths: Mapping[str, float], items: Sequence[Item], /) -> dict[int, float]:
        self.asked.append((dict(strengths), tuple(item.number for item in items)))
        level = {trait: 2 * strengths.get(trait, 0.0) for trait in LETTERS}
        level["neuroticism"] -= self.side * strengths.get("extraversion", 0.0)
        return {item.number: 3 + item.key * level[item.domain] for item in items}


def person(levels: Mapping[str, int], items: Sequence[Item] = ITEMS, name: str = "ada") -> Person:
    """Somebody whose every answer says the same of a trait: ``level`` above or below the middle."""
    return Person(name, {item.number: 3 + item.key * levels.get(item.domain, 0) for item in items})


ADA = {"openness": 2, "conscientiousness": -1, "extraversion": 1, "agreeableness": 0, "neuroticism": -2}
BEN = {"openness": -2, "conscientiousness": 0, "extraversion": 1, "agreeableness": 1, "neuroticism": 0}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("side", [0.0, 1.0])
def test_known_strengths_are_recovered(search: Search, side: float) -> None:
    found = align([person(ADA)], ITEMS, Linear(side), search=search)
    wanted = {trait: ADA[trait] / 2 for trait in LETTERS}
    wanted["neuroticism"] += side * wanted["extraversion"] / 2
    if side:  # −.75 lies between two strengths of the grid; the weaker of equals is taken
        wanted["neuroticism"] = -0.5
    (one,) = found.people
    assert one.strengths == wanted
    assert one.total() == one.total(on="all") == pytest.approx(0.5 * side)
    assert one.total("unworn") == pytest.approx(6)
    assert one.errors["unworn"]["held_out"] == {trait: abs(ADA[trait]) for trait in LETTERS}


@pytest.mark.parametrize("search", SEARCHES)
def test_the_error_is_measured_on_items_not_used_for_choosing(search: Search) -> None:
    choosing, held_out = split_items(ITEMS)
    turned = person({trait: -level for trait, level in ADA.items()}, held_out)
    torn = replace(person(ADA, choosing), answers={**person(ADA, choosing).answers, **turned.answers})
    model = Linear()
    found = align([torn], ITEMS, model, search=search)
    (one,) = found.people
    assert one.strengths == {trait: ADA[trait] / 2 for trait in LETTERS}
    assert one.errors["aligned"]["held_out"] == {trait: 2 * abs(ADA[trait]) for trait in LETTERS}
    assert one.errors["aligned"]["all"] == {trait: abs(ADA[trait]) for trait in LETTERS}
    assert set(found.choosing).isdisjoint(found.held_out)
    assert {*found.choosing, *found.held_out} == {item.number for item in ITEMS}
    tried = {tuple(sorted(strengths.items())) for strengths, numbers in model.asked if numbers == found.choosing}
    measured = {tuple(sorted(strengths.items())) for strengths, numbers in model.asked if numbers == found.held_out}
    assert len(tried) > len(measured)
    assert all(numbers in (found.choosing, found.held_out) for _, numbers in model.asked)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("seed", [0, 1])
def test_parts_never_overlap_and_hold_every_trait_and_key(share: float, seed: int) -> None:
    choosing, held_out = split_items(ITEMS, share, seed)
    assert not {item.text for item in choosing} & {item.text for item in held_out}
    assert {*choosing, *held_out} == set(ITEMS)
    for trait in LETTERS:
        for key in (1, -1):
            own = [item for item in choosing if (item.domain, item.key) == (trait, key)]
            assert len(own) == round(4 * share)
            if share == 0.5:
                assert {item.facet for item in own} == {f"{LETTERS[trait]}1", f"{LETTERS[trait]}2"}
    assert split_items(ITEMS, share, seed) == (choosing, held_out)
    assert split_items(ITEMS, share, seed + 5) != (choosing, held_out)


def test_parts_that_cannot_be_cut_are_refused() -> None:
    with refused("one item with the key"):
        split_items(made_items(1))
    with refused("share of 1.0"):
        split_items(ITEMS, 1.0)
    with refused("no items"):
        split_items(())


def test_baselines_of_a_group() -> None:
    shown: list[tuple[str, int]] = []

    def prompt(text: str, items: Sequence[Item]) -> dict[int, float]:
        shown.append((text, len(items)))
        return {item.number: 3 + item.key * 1 for item in items}

    found = align([person(ADA), person(BEN, name="ben")], ITEMS, Linear(), prompt=prompt)
    assert found.conditions == ("aligned", "unworn", "random", "other", "prompt")
    assert found.total("aligned").value == 0
    assert found.total("unworn").value == pytest.approx((6 + 4) / 2)
    apart = sum(abs(ADA[trait] - BEN[trait]) for trait in LETTERS)
    assert found.total("other").value == pytest.approx(apart)
    assert found.total("prompt").value == pytest.approx(
        sum(abs(1 - level) for who in (ADA, BEN) for level in who.values()) / 2
    )
    assert found.total("unworn").extra["traits"]["openness"] == pytest.approx(2)
    assert found.gain("unworn").value == pytest.approx(5)
    assert found.total("random").value > 0
    assert [length for _, length in shown] == [20, 20] * 2
    assert "very open, rather unconscientious, rather extraverted, neither agreeable nor disagreeable" in shown[0][0]
    result = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert result["people"]["ben"]["openness"] == -1
    assert result["held_out"]["other"]["value"] == pytest.approx(apart)
    assert result["synthetic"] is False


def test_the_prompt_is_made_from_choosing_items_alone() -> None:
    choosing, held_out = split_items(ITEMS)
    torn = Person("torn", {**person(ADA, choosing).answers, **person({}, held_out).answers})
    texts: list[str] = []

    def prompt(text: str, items: Sequence[Item]) -> dict[int, float]:
        texts.append(text)
        return {item.number: 3.0 for item in items}

    align([torn], ITEMS, Linear(), prompt=prompt)
    assert set(texts) == {level_prompt({trait: 3 + ADA[trait] for trait in LETTERS})}


def test_levels_in_words() -> None:
    words = level_prompt({"openness": 4.3, "extraversion": 2.2, "neuroticism": 2.7, "agreeableness": 3.25})
    assert "very open, rather introverted, a little calm, neither agreeable nor disagreeable" in words


def test_one_measurement_serves_all_people() -> None:
    model = Linear()
    people = [
        person({trait: int(rng.integers(-2, 3)) for trait in LETTERS}) for rng in map(np.random.default_rng, range(9))
    ]
    found = align(people, ITEMS, model, random_seeds=())
    asked = [tuple(sorted(strengths.items())) for strengths, numbers in model.asked if numbers == found.choosing]
    assert len(asked) == len(set(asked)) <= 1 + 5 * 4 + 9
    assert found.evaluations == len(set(asked))
    assert "random" not in found.conditions


def test_missing_answers_are_left_out_on_both_sides() -> None:
    whole = person(ADA)
    # the model errs on the items that are missing, so they would show
    gaps = {item.number for item in ITEMS if item.text.endswith(" 0.")}
    partial = replace(whole, answers={n: a for n, a in whole.answers.items() if n not in gaps})

    def model(strengths: Mapping[str, float], items: Sequence[Item], /) -> dict[int, float]:
        answers = Linear()(strengths, items)
        return {n: 3 - (a - 3) if n in gaps else a for n, a in answers.items()}

    (one,) = align([partial], ITEMS, model).people
    assert one.total(on="all") == 0
    none_held = {item.number for item in split_items(ITEMS)[1] if item.domain == "openness"}
    with refused("ada answered no item of openness"):
        align([replace(whole, answers={n: a for n, a in whole.answers.items() if n not in none_held})], ITEMS, model)


def test_what_cannot_be_aligned_is_refused() -> None:
    with refused("nobody"):
        align([], ITEMS, Linear())
    with refused("unknown search"):
        align([person(ADA)], ITEMS, Linear(), search="guess")  # type: ignore[arg-type]
    with refused("coarser grid"):
        align([person(ADA)], ITEMS, Linear(), grid=[n / 10 for n in range(-10, 11)])


def test_personas_are_worn_by_sign_and_strength(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    loud, quiet = Persona.from_prompt("You are loud.", "loud"), Persona.from_prompt("You are quiet.", "quiet", "minus")
    score = ModelScore(Ledger(tiny_llama, tmp_path), {"extraversion": (loud, quiet)}, PRESENTATIONS["quick"])
    assert score.plan({"extraversion": -1.0}).items == ((quiet, 1.0),)
    assert score.plan({"extraversion": 0.0}) == Plan()
    with refused("no persona for openness"):
        score.plan({"openness": 1.0})
    items = [item for item in ITEMS if item.domain == "extraversion"]
    found = align([person(ADA)], items, score, grid=(-1, 0, 1), prompt=score.prompt, search="coordinate")
    (one,) = found.people
    assert set(one.strengths) == {"extraversion"}
    choosing, _ = split_items(items)
    wanted = trait_means(person(ADA).answers, choosing)["extraversion"]
    found_at = {v: trait_means(score({"extraversion": v}, choosing), choosing) for v in (-1.0, 0.0, 1.0)}
    errors = {value: abs(means["extraversion"] - wanted) for value, means in found_at.items()}
    assert len(set(errors.values())) == 3
    assert one.strengths["extraversion"] == min(errors, key=lambda value: errors[value])
    prompted = trait_means(score.prompt(level_prompt({"extraversion": wanted}), items), items)["extraversion"]
    own = trait_means(person(ADA).answers, items)["extraversion"]
    assert one.errors["prompt"]["all"]["extraversion"] == pytest.approx(abs(prompted - own))
    assert not tiny_llama.worn


def test_a_synthetic_group_is_seeded_labelled_and_like_people() -> None:
    items = made_items(12, facets=6)
    found = synthetic_people(items, 60, seed=3)
    assert found.people == synthetic_people(items, 60, seed=3).people
    assert found.people[:5] == synthetic_people(items, 5, seed=3).people
    assert found.people != synthetic_people(items, 60, seed=4).people
    assert all(one.synthetic and set(one.answers.values()) <= {1, 2, 3, 4, 5} for one in found.people)
    assert "no real people" in found.notes[0]
    means = np.array([list(trait_means(one.answers, items).values()) for one in found.people])
    assert means.std(0) == pytest.approx([0.75] * 5, abs=0.25)
    assert abs(np.corrcoef(means.T)[np.triu_indices(5, 1)]).max() < 0.45
    raw = np.mean([list(one.answers.values()) for one in found.people])
    assert 3.05 < raw < 3.25  # the habit of agreeing
    correlation = key_correlation(found.people, items)
    assert correlation is not None
    assert correlation < -0.5
    turned = key_correlation([reverse_scored(one, items) for one in found.people], items)
    assert turned is not None
    assert turned > 0.5
    assert key_correlation(found.people[:9], items) is None
    with refused("0 people"):
        synthetic_people(items, 0)


FORM = made_items(12, facets=6)  # 120 items


def write_people(path: Path, people: Sequence[Person], prefix: str = "i") -> Path:
    head = ["id", "age", *(f"{prefix}{item.number}" for item in FORM)]
    rows = [[one.name, "40", *(str(one.answers.get(item.number, "")) for item in FORM)] for one in people]
    path.write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n")
    return path


def test_people_are_read_raw_or_turned_back(tmp_path: Path) -> None:
    group = synthetic_people(FORM, 20).people
    raw = read_people(write_people(tmp_path / "raw.csv", group), FORM, scored="raw")
    assert raw.notes == ()
    assert [(one.name, one.answers) for one in raw.people] == [(one.name, one.answers) for one in group]
    assert not any(one.synthetic for one in raw.people)
    turned = [reverse_scored(one, FORM) for one in group]
    assert turned[0].answers != group[0].answers
    path = write_people(tmp_path / "turned.csv", turned, prefix="")
    assert [one.answers for one in read_people(path, FORM, scored="reversed").people] == [one.answers for one in group]
    assert read_people(path, FORM, scored="reversed").notes == ()
    (warning,) = read_people(path, FORM, scored="raw").notes
    assert "look reversed" in warning
    (warning,) = read_people(tmp_path / "raw.csv", FORM, scored="reversed").notes
    assert "look raw" in warning


def test_missing_answers_are_missing(tmp_path: Path) -> None:
    whole = synthetic_people(FORM, 3).people
    gaps: list[dict[int, Any]] = [{1: ""}, {1: "0", 2: "NA", 13: 4.0}, dict.fromkeys(range(1, 14), "")]
    edited = [replace(one, answers={**one.answers, **gap}) for one, gap in zip(whole, gaps, strict=True)]
    found = read_people(write_people(tmp_path / "people.csv", edited), FORM, scored="raw")
    assert [one.name for one in found.people] == ["synthetic-1", "synthetic-2"]
    assert "1 people left out" in found.notes[0]
    assert "too few people to check" in found.notes[1]
    assert 1 not in found.people[0].answers
    assert {1, 2}.isdisjoint(found.people[1].answers)
    assert found.people[1].answers[13] == 4


@pytest.mark.parametrize("shape", ["list", "object", "whole"])
def test_one_person_in_json(tmp_path: Path, shape: str) -> None:
    (one,) = synthetic_people(FORM, 1).people
    forms: dict[str, Any] = {
        "list": [one.answers[item.number] for item in FORM],
        "object": {"answers": {str(n): answer for n, answer in one.answers.items()}},
        "whole": {"name": "ada", "answers": [one.answers[item.number] for item in FORM]},
    }
    path = tmp_path / "someone.json"
    path.write_text(json.dumps(forms[shape]))
    (found,) = read_people(path, FORM, scored="raw").people
    assert found == Person("ada" if shape == "whole" else "someone", one.answers)


def test_answers_to_the_long_form_go_by_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text(json.dumps([place % 5 + 1 for place in range(1, 301)]))
    (found,) = read_people(path, FORM, scored="raw").people
    assert found.answers == {item.number: (2 * item.number) % 5 + 1 for item in FORM}
    with refused("300 items", "both numbers"):
        read_people(path, [replace(item, full_number=None) for item in FORM], scored="raw")
    path.write_text(json.dumps([3] * 120))
    with refused("120 items"):
        read_people(path, [replace(item, number=item.number + 100) for item in FORM], scored="raw")


DAMAGE: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "empty": (lambda text: "", ("holds no people",)),
    "head only": (lambda text: text.split("\n", 1)[0] + "\n", ("holds no people",)),
    "column lost": (lambda text: text.replace("i120", "note"), ("119 columns",)),
    "column twice": (lambda text: text.replace("i120", "q119"), ("120 columns",)),
    "a word": (lambda text: text.replace("synthetic-2,40,", "synthetic-2,40,often", 1), ("line 3", "item 1", "'often")),
    "six": (lambda text: text.replace("synthetic-2,40,", "synthetic-2,40,6", 1), ("line 3", "item 1", "'6")),
    "cut": (lambda text: text[: text.rindex(",")], ("line 4", "122 fields")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_answers_are_named(tmp_path: Path, damage: str) -> None:
    path = write_people(tmp_path / "people.csv", synthetic_people(FORM, 3).people)
    change, parts = DAMAGE[damage]
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with refused(*parts):
        read_people(path, FORM, scored="raw")


@pytest.mark.parametrize("text", ["{", '"3"', '{"answers": 3}', "[1, 2, 3]", '{"answers": {"a": 1}}'])
def test_damaged_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "someone.json"
    path.write_text(text)
    with refused(str(path), "expected answers 1–5"):
        read_people(path, FORM, scored="raw")
    path.write_text(json.dumps([True] * 120))
    with refused("item 1", "True"):
        read_people(path, FORM, scored="raw")
    with refused("unknown scoring"):
        read_people(path, FORM, scored="both")  # type: ignore[arg-type]
