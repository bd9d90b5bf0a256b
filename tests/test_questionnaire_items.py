"""Questionnaire items: what is read, what is refused, and that nothing can be calibrated on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from answering import made_items, write_items
from expect import refused

from temperament.calibration import NEUTRAL_PROMPT, resolve_contrast
from temperament.calibration.items import LETTERS, Item, read_items, resolve_items
from temperament.calibration.questionnaire_items import first_person, transfer_contrast
from temperament.models import LoadedModel
from temperament.personas import extract


@pytest.fixture
def items_file(tmp_path: Path) -> Path:
    path = tmp_path / "form.csv"
    path.write_text(write_items(made_items()))
    return path


def test_items_are_read_in_the_order_of_their_numbers(tmp_path: Path, items_file: Path) -> None:
    head, *rows = items_file.read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([head, *reversed(rows)]))
    found = read_items(tmp_path / "turned.csv")
    assert [(i.number, i.full_number, i.domain, i.key, i.facet) for i in found[:9:4]] == [
        (1, 2, "openness", 1, "O1"),
        (5, 10, "openness", -1, "O1"),
        (9, 18, "conscientiousness", 1, "C1"),
    ]
    assert found == read_items(items_file)
    assert found[0].text == "Enjoy openness task 0."


DAMAGE: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "empty": (lambda text: "", ("holds no items",)),
    "no field": (lambda text: text.replace("key", "sort"), ("there is no field key",)),
    "key 2": (lambda text: text.replace(",1,Enjoy openness task 1", ",2,Enjoy openness task 1"), ("line 3", "'2'")),
    "no key": (lambda text: text.replace(",1,Enjoy openness task 1", ",,Enjoy openness task 1"), ("line 3", "'key'")),
    "domain": (lambda text: text.replace("2,1,O,", "2,1,X,"), ("line 2", "'X'")),
    "facet of another": (lambda text: text.replace("2,1,O,O1", "2,1,O,E1"), ("line 2", "'E1'", "openness")),
    "no text": (lambda text: text.replace("Enjoy openness task 2.", " "), ("line 4", "'text'")),
    "same text": (lambda text: text.replace("task 2.", "task 1."), ("line 4", "line 3")),
    "same number": (lambda text: text.replace("4,2,O", "4,1,O"), ("line 3", "number 1")),
    "a number lost": (
        lambda text: text.replace("6,3,O", ",,O"),
        ("line 4", "no number"),
    ),
    "not a number": (lambda text: text.replace("4,2,O", "4,two,O"), ("line 3", "'two'")),
    "cut row": (lambda text: text[: text.rindex(",")], ("line 41", "7 fields")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_items_are_named_by_line(items_file: Path, damage: str) -> None:
    change, parts = DAMAGE[damage]
    text = items_file.read_text()
    assert change(text) != text
    items_file.write_text(change(text))
    with refused(*parts):
        read_items(items_file)


def test_other_field_names_and_numbered_facets(tmp_path: Path) -> None:
    rows = [
        {"text": "Sing loudly", "keyed": "plus", "domain": "E", "facet": 3, "num": 2},
        {"question": "Stay quiet", "keyed": "minus", "domain": "Extraversion", "facet": 1, "num": 1},
    ]
    (tmp_path / "form.json").write_text(json.dumps(rows))
    assert read_items(tmp_path / "form.json") == (
        Item(1, "Stay quiet", "extraversion", -1, "E1"),
        Item(2, "Sing loudly", "extraversion", 1, "E3"),
    )


def test_items_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ffm", None)
    with refused("ffm is not installed"):
        resolve_items("ffm")
    monkeypatch.delitem(sys.modules, "ffm")
    data = tmp_path / "ffm" / "data"
    data.mkdir(parents=True)
    (tmp_path / "ffm" / "__init__.py").write_text("")
    (data / "about.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    with refused("no data file"):
        resolve_items("ffm")
    rows = [{"text": i.text, "key": i.key, "domain": LETTERS[i.domain]} for i in made_items(12)]
    (data / "form.json").write_text(json.dumps(rows))
    found = resolve_items("ffm")
    assert len(found) == 120
    assert {item.facet for item in found} == {""}


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("Worry about tides.", "I worry about tides."),
        ("Am never late", "I am never late."),
        ("Have a loud voice.", "I have a loud voice."),
        ("Don't mind rain.", "I don't mind rain."),
        ("Can't stand noise.", "I can't stand noise."),
        ("Do not trust maps.", "I do not trust maps."),
        ("Rarely sleep in my own bed.", "I rarely sleep in my own bed."),
        ("Think that I'm lucky.", "I think that I'm lucky."),
        ("I like my work.", "I like my work."),
        ("I'm often cold.", "I'm often cold."),
        ("My desk is tidy.", "My desk is tidy."),
        ("Itch to travel.", "I itch to travel."),
        ("Shout with joy!", "I shout with joy!"),
        ("  Walk   fast. ", "I walk fast."),
    ],
)
def test_items_become_first_person_sentences(item: str, sentence: str) -> None:
    assert first_person(item) == sentence


def test_transfer_has_both_poles_by_key(items_file: Path) -> None:
    found = transfer_contrast(items_file, "E")
    assert [example.response for example in found.plus] == [f"I enjoy extraversion task {i}." for i in range(4)]
    assert [example.response for example in found.minus] == [f"I dislike extraversion task {i}." for i in range(4)]
    assert {example.prompt for example in found.plus} == {NEUTRAL_PROMPT}
    assert found.select("test").plus == found.plus
    assert found.pole_prompts()[0].startswith("You are an extraverted person")


def test_transfer_needs_both_keys_and_a_known_domain() -> None:
    with refused("0 − keyed"):
        transfer_contrast([item for item in made_items() if item.key > 0], "N")
    with refused("'humour'", "openness"):
        transfer_contrast(made_items(), "humour")


def test_nothing_is_calibrated_on_questionnaire_items(items_file: Path, tiny_llama: LoadedModel) -> None:
    found = transfer_contrast(items_file, "E")
    for split in ("calibration", "validation"):
        with refused("form-extraversion", split, "questionnaire items are test data"):
            found.select(split)
    for part in (found, found.select("all"), found.limit(2, 0)):
        for method in ("contrastive-tilt", "neurons"):
            with refused("questionnaire items are test data"):
                extract(tiny_llama, part, method=method)
    with refused("is a questionnaire", "test data"):
        resolve_contrast(str(items_file))
