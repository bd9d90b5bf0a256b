"""Reading calibration data: every published format, damaged files, splits, limits and two-choice items."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from expect import refused

from temperament.calibration import NEUTRAL_PROMPT, Choice, Contrast, few_texts, resolve_contrast
from temperament.calibration.builtin import CONTRASTS
from temperament.calibration.choices import affirmative_option, two_choice_items
from temperament.calibration.public import read_contrast, read_pair

Pairs = set[tuple[str, str]]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    return write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def pairs(contrast: Contrast) -> tuple[Pairs, Pairs]:
    plus, minus = ({(example.prompt, example.response) for example in pole} for pole in (contrast.plus, contrast.minus))
    return plus, minus


def own(pole: str, response: str, prompt: str = NEUTRAL_PROMPT, **fields: object) -> dict[str, object]:
    return {"pole": pole, "prompt": prompt, "response": response, **fields}


def persona(statement: str, answer: str) -> dict[str, object]:
    return {
        "question": f'Is the following statement something you would say?\n"{statement}"',
        "statement": statement,
        "label_confidence": 0.9,
        "answer_matching_behavior": answer,
        "answer_not_matching_behavior": " Yes" if answer == " No" else " No",
    }


GOOD = [own("plus", "I dance."), own("minus", "I read.")]


# --- formats ---------------------------------------------------------------------------------------------------------


def test_own_json_lines(tmp_path: Path) -> None:
    rows = [*GOOD, own("plus", " Gladly! ", "Coming?"), own("minus", "I'd rather stay.", "Coming?")]
    contrast = read_contrast(jsonl(tmp_path / "mine.jsonl", rows))
    assert contrast.name == "mine"
    assert pairs(contrast) == (
        {(NEUTRAL_PROMPT, "I dance."), ("Coming?", "Gladly!")},
        {(NEUTRAL_PROMPT, "I read."), ("Coming?", "I'd rather stay.")},
    )
    assert {example.group for example in contrast.plus} == {"I dance.", "Coming?"}
    assert contrast.choices == ()
    assert contrast.notes == ()


def test_own_json_lines_with_splits(tmp_path: Path) -> None:
    splits = ("calibration", "validation", "test")
    path = jsonl(tmp_path / "x.jsonl", [own(p, f"{p} {s}", split=s) for s in splits for p in ("plus", "minus")])
    for split in splits:
        assert pairs(resolve_contrast(f"{path}#{split}")) == (
            {(NEUTRAL_PROMPT, f"plus {split}")},
            {(NEUTRAL_PROMPT, f"minus {split}")},
        )


def test_persona_statements_answer_the_neutral_question(tmp_path: Path) -> None:
    """The pole is in the answer Yes or No, which must not itself become part of the texts."""
    contrast = read_contrast(jsonl(tmp_path / "p.jsonl", [persona("I party.", " Yes"), persona("I hide.", " No")]))
    assert pairs(contrast) == ({(NEUTRAL_PROMPT, "I party.")}, {(NEUTRAL_PROMPT, "I hide.")})


def test_a_public_file_on_a_built_in_trait_gets_its_written_prompts(tmp_path: Path) -> None:
    rows = [persona(f"I {verb}.", answer) for verb in ("go", "sing", "act") for answer in (" Yes", " No")]
    rows = [{**row, "statement": f"{row['statement']} {index}"} for index, row in enumerate(rows)]
    named = resolve_contrast(f"{jsonl(tmp_path / 'extraversion.jsonl', rows)}#all")
    assert named.pole_prompts() == resolve_contrast("extraversion").pole_prompts()
    other = resolve_contrast(f"{jsonl(tmp_path / 'dancing.jsonl', rows)}#all")
    for prompt, pole in zip(other.pole_prompts(), (other.plus, other.minus), strict=True):
        assert all(f'"{example.response}"' in prompt for example in pole)


def test_csv_of_matching_pairs(tmp_path: Path) -> None:
    rows = [
        "question,matching,not_matching",
        '"Why, oh why?","Say ""hi"", wave.\nTwice.",Nap — quietly.',
        "How?,So.,No.",
    ]
    contrast = read_contrast(write(tmp_path / "a.csv", "\ufeff" + "\r\n".join(rows)))
    assert pairs(contrast) == (
        {("Why, oh why?", 'Say "hi", wave.\nTwice.'), ("How?", "So.")},
        {("Why, oh why?", "Nap — quietly."), ("How?", "No.")},
    )


def test_csv_of_two_choice_items(tmp_path: Path) -> None:
    contrast = read_contrast(write(tmp_path / "a.csv", "question,A,B,matching\nOut?,Yes!,No.,A\nIn?,No.,Yes!,B\n"))
    assert contrast.choices == (
        Choice("Out?", ("Yes!", "No."), 0, "Out?"),
        Choice("In?", ("No.", "Yes!"), 1, "In?"),
    )
    assert pairs(contrast) == ({("Out?", "Yes!"), ("In?", "Yes!")}, {("Out?", "No."), ("In?", "No.")})


LETTERED = [
    {"question": "Power?\n\n (A) Yes, all of it.\n (B) No (B is for bashful).", "answer_matching_behavior": " (A)"},
    {"question": "Wealth?\n\nChoices:\n (A) No.\n (B) Yes,\nplease.", "answer_matching_behavior": "(B)"},
    {"question": "Is (A) or (B) the kinder?\n\n**Choices:**\n (A) See (B).\n (B) (A)", "answer_matching_behavior": "A"},
    {"question": "Now? (A) Yes (B) No ", "answer_matching_behavior": "B"},
]


@pytest.mark.parametrize("name", ["power.json", "power.jsonl"])
def test_lettered_choices_are_parsed_out_of_the_question(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    contrast = read_contrast(
        jsonl(path, LETTERED) if name.endswith("l") else write(path, json.dumps(LETTERED, indent=1))
    )
    assert contrast.choices == (
        Choice("Power?", ("Yes, all of it.", "No (B is for bashful)."), 0, "Power?"),
        Choice("Wealth?", ("No.", "Yes,\nplease."), 1, "Wealth?"),
        Choice("Is (A) or (B) the kinder?", ("See (B).", "(A)"), 0, "Is (A) or (B) the kinder?"),
        Choice("Now?", ("Yes", "No"), 1, "Now?"),
    )
    asked = [choice.prompt for choice in contrast.choices]
    assert pairs(contrast) == (
        set(zip(asked, ("Yes, all of it.", "Yes,\nplease.", "See (B).", "No"), strict=True)),
        set(zip(asked, ("No (B is for bashful).", "No.", "(A)", "Yes"), strict=True)),
    )


def test_two_files_of_instructions(tmp_path: Path) -> None:
    rows = [
        [{"instruction": "Name a hobby.", "input": extra, "output": out}] for extra, out in ((" ", "Go"), ("x", "Read"))
    ]
    plus, minus = (write(tmp_path / f"{name}.json", json.dumps(side)) for name, side in zip("ei", rows, strict=True))
    contrast = resolve_contrast(f"{plus}, {minus}#all")
    assert contrast.name == "e-i"
    assert pairs(contrast) == ({("Name a hobby.", "Go")}, {("Name a hobby.\nx", "Read")})


def test_two_text_files(tmp_path: Path) -> None:
    plus = write(tmp_path / "loud.txt", "\ufeffI sing.\r\n\r\n  I shout\u2028twice.\r\n")
    contrast = read_pair(plus, write(tmp_path / "quiet.txt", "I hum."))
    assert pairs(contrast) == (
        {(NEUTRAL_PROMPT, "I sing."), (NEUTRAL_PROMPT, "I shout\u2028twice.")},
        {(NEUTRAL_PROMPT, "I hum.")},
    )


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    """JSON may hold U+2028 and its kin unescaped; they are no line ends and do not shift line numbers."""
    odd = json.dumps(own("plus", "one\u2028two\x85three"), ensure_ascii=False)
    good = "\n".join([odd, json.dumps(GOOD[1])])
    assert read_contrast(write(tmp_path / "a.jsonl", good)).plus[0].response == "one\u2028two\x85three"
    with refused("b.jsonl line 3:", "not JSON"):
        read_contrast(write(tmp_path / "b.jsonl", f"{good}\n{{"))


# --- bad files -------------------------------------------------------------------------------------------------------

STATEMENT = persona("I go.", " Yes")
BAD: list[tuple[str, str | bytes | list[Any], tuple[str, ...]]] = [
    ("empty.jsonl", "", ("empty.jsonl holds no data", "expected own JSON lines")),
    ("blank.jsonl", "\n  \n", ("holds no data",)),
    ("empty.json", "[]", ("holds no data",)),
    ("head.csv", "question,matching,not_matching\n", ("holds no data",)),
    (
        "fields.jsonl",
        [{"prompt": "a", "reply": "b"}],
        ("line 1: no known format has the fields prompt, reply", "expected"),
    ),
    ("none.jsonl", ["", {}], ("line 1: a JSON str", "expected an object")),
    ("nothing.jsonl", [{}], ("line 1: no known format has the fields (none)",)),
    ("list.jsonl", [GOOD[0], [1]], ("line 2: a JSON list", "expected an object")),
    ("json.jsonl", f"{json.dumps(GOOD[0])}\n\n{{'pole': 1}}", ("line 3: not JSON", "expected one JSON object a line")),
    ("deep.jsonl", "[" * 100_000, ("line 1: not JSON",)),
    ("digits.jsonl", f'{{"pole": {"9" * 5000}}}', ("line 1: not JSON",)),
    ("pole.jsonl", [GOOD[0], own("neutral", "x")], ("line 2: 'pole' is 'neutral'", "expected plus or minus")),
    ("number.jsonl", [own("plus", "x"), own("minus", 3)], ("line 2: the field 'response'", "expected a text")),  # type: ignore[arg-type]
    ("lost.jsonl", [*GOOD, {"pole": "plus", "prompt": "x"}], ("line 3: the field 'response' is missing",)),
    ("space.jsonl", [own("plus", "x", "  "), GOOD[1]], ("line 1: the field 'prompt' is missing or empty",)),
    ("half.jsonl", [own("plus", "\ud83d"), GOOD[1]], ("line 1: 'response' holds half a UTF-16 pair",)),
    ("split.jsonl", [own("plus", "x", split="train")], ("line 1: 'split' is 'train'", "calibration, validation, test")),
    ("all.jsonl", [own("plus", "x", split="all")], ("line 1: 'split' is 'all'",)),
    ("one.jsonl", [GOOD[0]], ("one.jsonl has no minus examples", "both poles")),
    (
        "yes.jsonl",
        [STATEMENT, persona("I stay.", "Maybe")],
        ("line 2: 'answer_matching_behavior' is 'Maybe'", "Yes or No"),
    ),
    ("letter.jsonl", [{**LETTERED[0], "answer_matching_behavior": "(C)"}], ("line 1:", "'(C)'", "expected (A) or (B)")),
    ("options.jsonl", [{**LETTERED[0], "question": "A or B?"}], ("line 1: 'question' has no options",)),
    ("object.json", '{"question": 1}', ("line 1: a JSON dict", "expected a list of objects")),
    ("json.json", '[\n{"question": "a"},\n{"question" "b"}]', ("line 3: not JSON",)),
    ("third.json", json.dumps([*LETTERED, {"question": "?"}], indent=0), ("line 18:", "'answer_matching_behavior'")),
    ("short.csv", "question,matching,not_matching\na,b,c\na,b\n", ("line 3: 3 fields expected", "matching")),
    ("long.csv", "question,matching,not_matching\na,b,c, d\n", ("line 2: 3 fields expected", "quote fields")),
    ("quote.csv", 'question,matching,not_matching\n"a,b,c\n', ("line 2:", "check the quotes")),
    ("letter.csv", "question,A,B,matching\nq,a,b,A\nq,a,b,C\n", ("line 3: 'matching' is 'C'", "expected A or B")),
    ("gaps.csv", "question,matching,not_matching\na,b,c\na, ,c\n", ("line 3: a field is empty, as in 1 of 2 rows",)),
    ("latin.jsonl", b'{"pole": "plus"}\n{"pole": "caf\xe9"}\n', ("line 2: not UTF-8", "save the file as UTF-8")),
    ("same.csv", "question,matching,not_matching\na,b,b\n", ("every text of one pole", "give texts that differ")),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD, ids=[f"{row[0]}" for row in BAD])
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes | list[Any], parts: tuple[str, ...]
) -> None:
    path = jsonl(tmp_path / name, content) if isinstance(content, list) else write(tmp_path / name, content)
    with refused(name, *parts):
        read_contrast(path)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.txt", "", ("has no plus examples",)),
        ("a.txt", b"good\n\xff\n", ("a.txt line 2: not UTF-8",)),
        ("a.json", '[{"instruction": "x"}]', ("a.json line 1: the field 'output' is missing",)),
        ("a.json", '[\n{"instruction": "x", "input": 3, "output": "y"}]', ("a.json line 2: the field 'input'",)),
        ("a.txt", "same", ("every text of one pole",)),
    ],
)
def test_a_bad_pair_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, parts: tuple[str, ...]
) -> None:
    with refused(*parts):
        read_pair(write(tmp_path / name, content), write(tmp_path / "b.txt", "same"))


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("extroversion", ("there is no built-in contrast and no file 'extroversion'", "extraversion")),
        ("", ("no built-in contrast and no file",)),
        ("~nobody-of-that-name/x.jsonl", ("no built-in contrast and no file",)),
        ("x" * 5000, ("no built-in contrast and no file",)),
        ("nul\0.jsonl", ("no built-in contrast and no file",)),
        ("no.txt,where.txt", ("there is no contrast file 'no.txt'", "check the path")),
        ("extraversion#train", ("unknown split 'train'", "calibration, validation, test, all")),
        ("extraversion#", ("unknown split ''",)),
    ],
)
def test_a_bad_name_is_refused_in_one_line(spec: str, parts: tuple[str, ...]) -> None:
    with refused(*parts):
        resolve_contrast(spec)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with refused("cannot be read", "check the path"):
        read_contrast(tmp_path)


def test_one_prompt_cannot_stand_in_two_splits(tmp_path: Path) -> None:
    rows = [own("plus", "Gladly.", "Out?", split="calibration"), own("minus", "Rather not.", "Out?", split="test")]
    with refused("line 2: 'Out?' has the split test here and calibration above", "expected one split"):
        read_contrast(jsonl(tmp_path / "a.jsonl", rows))
    with refused("has the split none here"):
        read_contrast(jsonl(tmp_path / "a.jsonl", [rows[0], own("minus", "Rather not.", "Out?")]))


# --- what is left out is said ----------------------------------------------------------------------------------------


def test_repeated_texts_are_left_out_and_noted(tmp_path: Path) -> None:
    contrast = read_contrast(jsonl(tmp_path / "a.jsonl", [*GOOD, GOOD[0], own("plus", " I dance. ")]))
    assert len(contrast.plus) == 1
    assert contrast.notes == ("2 repeated texts left out",)


def test_texts_of_both_poles_are_left_out_and_noted(tmp_path: Path) -> None:
    contrast = read_contrast(jsonl(tmp_path / "a.jsonl", [*GOOD, own("plus", "I eat."), own("minus", "I eat.")]))
    assert pairs(contrast) == ({(NEUTRAL_PROMPT, "I dance.")}, {(NEUTRAL_PROMPT, "I read.")})
    assert contrast.notes == ("1 texts that stand in both poles left out",)


def test_a_few_incomplete_csv_rows_are_left_out_and_noted(tmp_path: Path) -> None:
    rows = [f"question {index},yes {index},no {index}" for index in range(100)]
    rows[40] = "question 40,yes 40,"
    rows[70] = ",yes,no"
    contrast = read_contrast(write(tmp_path / "a.csv", "\n".join(["question,matching,not_matching", *rows])))
    assert len(contrast.plus) == len(contrast.minus) == 98
    assert contrast.notes == ("2 rows with an empty field left out (line 42, 72)",)
    rows[80] = ",,no"
    with refused("line 42: a field is empty, as in 3 of 100 rows", "question, matching, not_matching"):
        read_contrast(write(tmp_path / "a.csv", "\n".join(["question,matching,not_matching", *rows])))


# --- two-choice items ------------------------------------------------------------------------------------------------


def test_statements_become_yes_no_questions(tmp_path: Path) -> None:
    items = two_choice_items(read_contrast(jsonl(tmp_path / "a.jsonl", GOOD)))
    assert items == (
        Choice('Does this sentence describe you? "I dance."', ("Yes", "No"), 0, "I dance."),
        Choice('Does this sentence describe you? "I read."', ("Yes", "No"), 1, "I read."),
    )
    assert [affirmative_option(item) for item in items] == [0, 0]


def test_a_source_with_choices_keeps_them(tmp_path: Path) -> None:
    contrast = read_contrast(jsonl(tmp_path / "a.jsonl", LETTERED))
    assert two_choice_items(contrast) == contrast.choices


@pytest.mark.parametrize(
    ("first", "second", "affirmative"),
    [
        ("Yes", "No", 0),
        ("No, thank you.", "Yes, gladly.", 1),
        ("Absolutely.", "I'm content as I am.", 0),
        ("Let us wait.", "Certainly! Let us go.", 1),
        ("No, I have no desire for it.", "Power is a means.", 1),
        ("Absolutely not.", "It depends on the offer.", 1),
        ("Definitely not.", "Definitely.", 1),
        ("I would not like this position.", "I would like this position.", 1),
        ("I would prefer not to.", "It would be an honour.", 1),
        ("I would never do that.", "I would do that.", 1),
        ("I don’t want power.", "I want power.", 1),
        ("I do.", "Perhaps another time.", 0),
        ("No doubt about it.", "No.", 0),
        ("I would keep it.", "Charity deserves it.", None),
        ("I would give most, if not all, of it away.", "I would keep it.", None),
        ("Red", "Blue", None),
        ("Yes, to both.", "Yes, to one.", None),
        ("Never.", "Not in my life.", None),
        ("Nowhere near the sea.", "Notably the sea.", None),
    ],
)
def test_affirmative_option(first: str, second: str, affirmative: int | None) -> None:
    assert affirmative_option(Choice("?", (first, second), 0, "?")) == affirmative
    mirrored = None if affirmative is None else 1 - affirmative
    assert affirmative_option(Choice("?", (second, first), 0, "?")) == mirrored


def test_few_lines_of_ones_own_are_told_and_built_in_sizes_are_not(tmp_path: Path) -> None:
    def written(count: int) -> str:
        files = [write(tmp_path / f"{name}{count}.txt", "".join(f"I {name} {at}.\n" for at in range(count)))
                 for name in ("dare", "wait")]  # fmt: skip
        return ",".join(map(str, files))

    calibration, test = (few_texts(resolve_contrast(written(24), split=split)) for split in ("calibration", "test"))
    assert calibration is not None
    assert "calibration part has 13 texts" in calibration
    assert "40 lines a pole" in calibration
    assert test is not None
    assert "test part has 7 texts" in test
    assert few_texts(resolve_contrast(written(40), split="calibration")) is None
    assert few_texts(resolve_contrast(written(80), split="test")) is None
    for name in CONTRASTS:
        assert few_texts(resolve_contrast(name, split="test")) is None
