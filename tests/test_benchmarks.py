"""Readers of HellaSwag and MMLU files: what they read, what they leave out, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from expect import refused

from temperament.evaluation.benchmarks import Question, read_hellaswag, read_mmlu

ROW: dict[str, Any] = {"ctx": "Tea: A woman fills a kettle. she", "label": 1, "endings": ["sings.", "lights the gas."]}


def hellaswag(folder: Path, *rows: Any) -> Path:
    file = folder / "hellaswag.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_hellaswag_rows(tmp_path: Path) -> None:
    whole = {
        "activity_label": "Baking",
        "ctx_a": "A man kneads dough. [step] He rests.",
        "ctx_b": "then the man",
        "ctx": "not used",
        "label": "0",
        "endings": ["[header] How to bake [title] Bakes it.", "eats  it."],
    }
    found = read_hellaswag(hellaswag(tmp_path, ROW, whole, ROW))
    assert found.scoring == "endings"
    assert found.questions == (
        Question(ROW["ctx"], ("sings.", "lights the gas."), 1),
        Question("Baking: A man kneads dough. He rests. Then the man", ("How to bake. Bakes it.", "eats it."), 0),
    )
    assert found.notes == ("1 repeated questions left out",)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"ctx": " "}, ["line 2", "'ctx'"]),
        ({"ctx": 3}, ["line 2", "'ctx'"]),
        ({"endings": "one"}, ["line 2", "'endings'"]),
        ({"endings": ["one"]}, ["line 2", "'endings'"]),
        ({"endings": ["one", ""]}, ["line 2", "'endings'"]),
        ({"endings": ["one", "[title]"]}, ["line 2", "empty"]),
        ({"endings": ["one", None]}, ["line 2", "'endings'"]),
        ({"label": 2}, ["line 2", "'label' is 2"]),
        ({"label": -1}, ["line 2", "'label' is -1"]),
        ({"label": ""}, ["line 2", "'label' is ''", "use val"]),
        ({"label": True}, ["line 2", "'label' is True"]),
        ({"label": 0.0}, ["line 2", "'label' is 0.0"]),
    ],
)
def test_damaged_hellaswag_rows_are_refused(tmp_path: Path, change: dict[str, Any], parts: list[str]) -> None:
    with refused(*parts):
        read_hellaswag(hellaswag(tmp_path, ROW, {**ROW, **change}))


def test_damaged_hellaswag_files_are_refused(tmp_path: Path) -> None:
    with refused("holds no questions"):
        read_hellaswag(hellaswag(tmp_path))
    with refused("line 1", "list"):
        read_hellaswag(hellaswag(tmp_path, [ROW]))
    cut = hellaswag(tmp_path, ROW, ROW)
    cut.write_text(cut.read_text()[:-20])
    with refused("line 2", "not JSON"):
        read_hellaswag(cut)
    with refused("cannot be read"):
        read_hellaswag(tmp_path / "absent.jsonl")


PLAIN = 'Two and two?,1,2,3,4,D\n"Red, or\nblue?",a,b,c,"d, e",A\n'
NAMED = "question,choice0,choice1,choice2,choice3,answer\nTwo and one?,0,1,2,3,3\n"


def mmlu(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def test_mmlu_rows_with_and_without_names(tmp_path: Path) -> None:
    found = read_mmlu(
        mmlu(tmp_path, {"dev/plain_sums_dev.csv": NAMED, "test/plain_sums_test.csv": PLAIN, "test/art_test.csv": NAMED})
    )
    assert found.scoring == "letters"
    assert found.questions == (
        Question("Two and one?", ("0", "1", "2", "3"), 3, "art"),
        Question("Two and two?", ("1", "2", "3", "4"), 3, "plain sums"),
        Question("Red, or\nblue?", ("a", "b", "c", "d, e"), 0, "plain sums"),
    )
    assert found.examples == {"plain sums": (Question("Two and one?", ("0", "1", "2", "3"), 3, "plain sums"),)}


def test_dev_files_alone_are_asked_and_are_no_examples(tmp_path: Path) -> None:
    found = read_mmlu(mmlu(tmp_path, {"art_dev.csv": PLAIN}))
    assert [question.subject for question in found.questions] == ["art", "art"]
    assert found.examples == {}
    assert read_mmlu(tmp_path / "art_dev.csv").questions == found.questions


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (PLAIN + "Why?,1,2,3,A\n", ["line 4", "5 fields"]),
        (PLAIN + "Why, so?,1,2,3,4,A\n", ["line 4", "7 fields"]),
        (PLAIN + "Why?,1,2,3,4,E\n", ["line 4", "'E'"]),
        (PLAIN + "Why?,1,2,3,4,4\n", ["line 4", "'4'"]),
        (PLAIN + "Why?,1,2,3,4,AB\n", ["line 4", "'AB'"]),
        (PLAIN + "Why?,1,2,3,4,\n", ["line 4", "''"]),
        (PLAIN + NAMED, ["line 4", "'answer'"]),
        (PLAIN + "Why?,1,,3,4,A\n", ["line 4", "empty"]),
        (PLAIN + '"Why?,1,2,3,4,A\n', ["line 4"]),
        (NAMED.splitlines()[0] + "\n", ["holds no questions"]),
        ("", ["holds no questions"]),
    ],
)
def test_damaged_mmlu_files_are_refused(tmp_path: Path, text: str, parts: list[str]) -> None:
    with refused(*parts):
        read_mmlu(mmlu(tmp_path, {"art_test.csv": text}))


def test_a_folder_without_mmlu_files_is_refused(tmp_path: Path) -> None:
    with refused("holds no MMLU files", "SUBJECT_test.csv"):
        read_mmlu(mmlu(tmp_path, {"art.csv": PLAIN}))
    with refused("holds no MMLU files"):
        read_mmlu(tmp_path / "absent")


def test_few_rows_with_an_empty_field_are_left_out_and_noted(tmp_path: Path) -> None:
    rows = "".join(f"What is {number}?,1,2,3,4,B\n" for number in range(60))
    found = read_mmlu(mmlu(tmp_path, {"sums_test.csv": rows + "Why?,1, ,3,4,A\n"}))
    assert len(found.questions) == 60
    (note,) = found.notes
    assert "1 rows with an empty field" in note
    assert "line 61" in note


def test_the_limit_is_a_seeded_sample_in_order(tmp_path: Path) -> None:
    rows = [f"What is {number}?,1,2,3,4,B\n" for number in range(40)]
    whole = read_mmlu(mmlu(tmp_path, {"sums_test.csv": "".join(rows)}))
    some = whole.limit(10, 1)
    assert len(some.questions) == 10
    assert some.questions == tuple(question for question in whole.questions if question in some.questions)
    assert some.questions != whole.limit(10, 2).questions != whole.questions[:10]
    backwards = read_mmlu(mmlu(tmp_path, {"sums_test.csv": "".join(reversed(rows))}), limit=10, seed=1)
    assert set(backwards.questions) == set(some.questions)
    assert whole.limit(99, 0).questions == whole.questions
    with refused("0 questions"):
        whole.limit(0)


def test_public_benchmarks_are_read(data_dir: Path) -> None:
    found = read_hellaswag(data_dir / "capability" / "hellaswag_val_400.jsonl")
    assert len(found.questions) == 400
    assert {len(question.options) for question in found.questions} == {4}
    found = read_mmlu(data_dir / "capability" / "mmlu_dev")
    assert len(found.questions) == 57 * 5 - 1  # one stands there twice
    assert found.notes == ("1 repeated questions left out",)
    assert len({question.subject for question in found.questions}) == 57
