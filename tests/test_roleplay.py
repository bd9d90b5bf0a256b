"""Role play: scenes to act out, the built-in descriptions and questions, and readers of published files of both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from expect import refused
from test_builtin_texts import FIRST_PERSON, TRAIT_WORDS

from temperament.calibration import Contrast, Example, RolePlay, Scene, resolve_contrast, resolve_roleplay
from temperament.calibration.balance import balance, is_negated, repeated_frames, words
from temperament.calibration.builtin import TRAITS, builtin_roleplay, descriptions, questions
from temperament.calibration.contrast import POLES
from temperament.calibration.personality_bench import read_descriptions, read_questions

NAMES = [trait.name for trait in TRAITS]
BENCH = ("Openness", "Conscientiousness", "Extraversion", "Agreeableness", "Neuroticism")


def play(plus: int = 3, minus: int = 3, asked: int = 4) -> RolePlay:
    return RolePlay(
        "made",
        tuple(f"plus {index}" for index in range(plus)),
        tuple(f"minus {index}" for index in range(minus)),
        tuple(f"question {index}" for index in range(asked)),
    )


def positions(scenes: Sequence[Scene]) -> list[tuple[str, str]]:
    """Which description and which question, without the pole."""
    return [(scene.description.split()[-1], scene.question) for scene in scenes]


# --- scenes ----------------------------------------------------------------------------------------------------------


def test_every_description_answers_every_question() -> None:
    made = play(2, 2, 2)
    assert made.scenes("plus") == (
        Scene("plus 0", "question 0"),
        Scene("plus 0", "question 1"),
        Scene("plus 1", "question 0"),
        Scene("plus 1", "question 1"),
    )
    assert positions(made.scenes("minus")) == positions(made.scenes("plus"))
    assert {scene.description for scene in made.scenes("minus")} == set(made.minus)
    assert made.items == {"plus": 4, "minus": 4}


def test_poles_may_have_different_numbers_of_descriptions() -> None:
    made = play(3, 1, 2)
    assert made.items == {"plus": 6, "minus": 2}
    assert set(made.scenes("minus")) == {Scene("minus 0", "question 0"), Scene("minus 0", "question 1")}
    few = made.limit(4, 0)
    assert few.items == {"plus": 4, "minus": 2}
    assert {scene.question for scene in few.scenes("minus")} <= set(made.questions)


def test_a_limit_takes_the_same_scenes_of_both_poles() -> None:
    made = play(8, 8, 9)
    few = made.limit(10, 0)
    assert few.items == {"plus": 10, "minus": 10}
    assert positions(few.scenes("plus")) == positions(few.scenes("minus"))
    assert len(set(few.scenes("plus"))) == 10
    assert set(few.scenes("plus")) < set(made.scenes("plus"))
    descriptions_used = {scene.description for scene in few.scenes("plus")}
    questions_used = {scene.question for scene in few.scenes("plus")}
    assert len(descriptions_used) > 3  # not the first ones only
    assert len(questions_used) > 3


def test_a_limit_is_a_function_of_its_seed() -> None:
    made = play(8, 8, 9)
    assert made.limit(10, 3) == made.limit(10, 3)
    assert len({made.limit(10, seed).scenes("plus") for seed in range(5)}) == 5


def test_a_limit_that_is_no_limit() -> None:
    made = play()
    assert made.limit(None, 0) is made
    for count in (12, 13, 10_000):
        assert made.limit(count, 5).scenes("plus") == made.scenes("plus")
        assert made.limit(count, 5).hash == made.hash
    assert made.limit(1, 0).items == {"plus": 1, "minus": 1}


@pytest.mark.parametrize("count", [0, -3])
def test_no_scenes_are_refused(count: int) -> None:
    with refused(f"the limit is {count} scenes per pole", "give 1 or more"):
        play().limit(count, 0)


def test_the_hash_is_that_of_the_scenes() -> None:
    made = play()
    others = [
        replace(made, plus=("plus 9", *made.plus[1:])),
        replace(made, minus=("minus 9", *made.minus[1:])),
        replace(made, plus=made.minus, minus=made.plus),
        replace(made, plus=made.plus[::-1]),
        replace(made, questions=made.questions[1:]),
        replace(made, questions=(*made.questions[:-1], "question 9")),
        made.limit(5, 0),
        made.limit(5, 1),
    ]
    assert len({made.hash, *(other.hash for other in others)}) == 1 + len(others)
    for same in (replace(made, name="other"), replace(made, licence="MIT"), replace(made, prompts=("a", "b")), play()):
        assert same.hash == made.hash


def test_texts_that_run_together_differ() -> None:
    first = RolePlay("x", ("a b",), ("c",), ("d",))
    second = RolePlay("x", ("a",), ("b c",), ("d",))
    assert first.hash != second.hash


def test_questions_are_what_must_not_be_tested_on() -> None:
    """Their identities are those of the same questions in a contrast."""
    made = play()
    examples = tuple(Example(question, "So.", question) for question in made.questions)
    assert made.group_keys == Contrast("asked", examples, ()).group_keys
    assert len(made.group_keys) == 4
    assert made.group_keys.isdisjoint(replace(made, questions=("Another?",)).group_keys)
    assert made.limit(2, 0).group_keys <= made.group_keys
    asked = {scene.question for scene in made.limit(2, 0).scenes("plus")}
    assert replace(made, questions=tuple(asked)).group_keys <= made.limit(2, 0).group_keys


def test_prompts_are_written_or_the_first_descriptions() -> None:
    assert play().pole_prompts() == ("plus 0", "minus 0")
    assert replace(play(), prompts=("Be loud.", "Be quiet.")).pole_prompts() == ("Be loud.", "Be quiet.")


# --- the built-in descriptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_address_a_person_and_do_not_name_the_trait(name: str) -> None:
    plus, minus = descriptions(name)
    assert len(plus) == len(minus) >= 12
    assert len(set(plus + minus)) == 2 * len(plus)
    for text in plus + minus:
        assert text == text.strip()
        assert text[-1] in ".!?", text
        assert 30 <= len(words(text)) <= 70, text
        assert not TRAIT_WORDS.search(text.lower()), text
        addressed = [word for word in words(text) if re.fullmatch(r"you(?:r|rs|rself|'\w+)?", word)]
        assert len(addressed) >= 2, text
        outside = re.sub(r"“[^”]*”|\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)", "", text.replace("’", "'"))
        spoken = {word.split("'")[0] for word in words(outside)} & FIRST_PERSON
        assert not spoken, f"{spoken} in {text}"


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_are_pairs_of_matched_length_and_negation(name: str) -> None:
    plus, minus = descriptions(name)
    for high, low in zip(plus, minus, strict=True):
        assert 0.9 <= len(words(high)) / len(words(low)) <= 1 / 0.9, (high, low)
        assert is_negated(high) == is_negated(low), (high, low)
    measured = balance(plus, minus)
    assert measured.length_auc == pytest.approx(0.5, abs=0.05)
    assert measured.negation_auc == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_do_not_all_begin_alike(name: str) -> None:
    for pole in descriptions(name):
        assert repeated_frames(pole, length=2, limit=3) == {}


# --- the built-in questions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_questions_of_identification_and_test_are_disjoint(name: str) -> None:
    identification, test = questions(name, "identification"), questions(name)
    assert len(identification) >= 40
    assert len(test) == 20
    plain = [" ".join(words(question)) for question in identification + test]
    assert len(set(plain)) == len(plain)


def test_no_question_is_asked_of_two_traits() -> None:
    plain = [
        " ".join(words(question))
        for name in NAMES
        for question in questions(name, "identification") + questions(name, "test")
    ]
    assert len(plain) >= 5 * 60
    assert len(set(plain)) == len(plain)


@pytest.mark.parametrize("name", NAMES)
def test_identification_questions_leave_the_answer_open(name: str) -> None:
    for question in questions(name, "identification"):
        assert question == question.strip()
        assert question[-1] in "?.", question
        assert 10 <= len(words(question)) <= 40, question
        assert not TRAIT_WORDS.search(question.lower()), question
        last = re.split(r"(?<=[.!?])\s+", question)[-1].lower()
        assert not re.match(r"(?:do|does|did|are|is|would|will|can|have) you\b", last), question


@pytest.mark.parametrize("name", NAMES)
def test_the_built_in_role_play(name: str) -> None:
    built = builtin_roleplay(name)
    assert (built.plus, built.minus) == descriptions(name)
    assert built.questions == questions(name, "identification")
    assert built.items == dict.fromkeys(POLES, len(built.plus) * len(built.questions))
    assert (built.name, built.licence, built.split) == (name, "MIT", "identification")
    assert built.pole_prompts() == resolve_contrast(name).pole_prompts()
    assert built == resolve_roleplay(name)
    assert resolve_roleplay(name, limit=7, seed=3) == built.limit(7, 3)


# --- published files -------------------------------------------------------------------------------------------------


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def described(index: int) -> dict[str, str]:
    """A row of ``description.json``: ten poles."""
    high = {trait: f"High {trait.lower()}, {index}." for trait in BENCH}
    return high | {f"{trait}_reversed": f"Low {trait.lower()}, {index}." for trait in BENCH}


def search(question: str, trait: str = "Extraversion") -> dict[str, str]:
    return {"BFI": trait, "tag": "Warmth", "facet": "Greet.", "topic": "Travel", "sign": "+", "question": question}


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Files in the published format; ``description.json`` holds JSON lines, whatever its name says."""
    jsonl(tmp_path / "description.json", [described(0), described(1)])
    asked = [search("Whom do you greet?"), search("Where to?", "Openness"), search("Whom\u2028else?")]
    jsonl(tmp_path / "search.jsonl", asked)
    (tmp_path / "test").mkdir()
    jsonl(tmp_path / "test" / "Extraversion.json", [{"question": "What next?"}, {"question": "And then?"}])
    return tmp_path


@pytest.mark.parametrize("trait", ["extraversion", "Extraversion", "EXTRAVERSION"])
def test_descriptions_of_one_of_several_traits(bench: Path, trait: str) -> None:
    assert read_descriptions(bench / "description.json", trait) == {
        "plus": ("High extraversion, 0.", "High extraversion, 1."),
        "minus": ("Low extraversion, 0.", "Low extraversion, 1."),
    }


def test_search_questions_of_one_of_several_traits(bench: Path) -> None:
    assert read_questions(bench / "search.jsonl", "extraversion") == ("Whom do you greet?", "Whom\u2028else?")
    assert read_questions(bench / "search.jsonl", "OPENNESS") == ("Where to?",)


def test_test_questions(bench: Path) -> None:
    """Their trait is in the name of the file, so that any may be asked for."""
    for trait in (None, "extraversion", "openness"):
        assert read_questions(bench / "test" / "Extraversion.json", trait) == ("What next?", "And then?")


def test_published_files_as_role_play(bench: Path) -> None:
    found = resolve_roleplay(f"{bench / 'description.json'}, {bench / 'search.jsonl'}#Extraversion")
    assert found.name == "extraversion"
    assert found.scenes("minus")[:2] == (
        Scene("Low extraversion, 0.", "Whom do you greet?"),
        Scene("Low extraversion, 0.", "Whom\u2028else?"),
    )
    assert found.items == {"plus": 4, "minus": 4}
    assert found.licence == "unknown"
    assert found.pole_prompts() == builtin_roleplay("extraversion").pole_prompts()
    limited = resolve_roleplay(f"{bench / 'description.json'},{bench / 'search.jsonl'}#extraversion", limit=3, seed=1)
    assert limited == found.limit(3, 1)


def test_a_json_list_may_be_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"question": "What?"}, {"question": "Who?"}], indent=1), encoding="utf-8")
    assert read_questions(path) == ("What?", "Who?")


def test_our_own_form(tmp_path: Path) -> None:
    poles = jsonl(tmp_path / "bold.jsonl", [{"plus": " You dare. ", "minus": "You wait."}])
    asked = tmp_path / "asked.txt"
    asked.write_text("\ufeffWhat now?\r\n\r\n  And then?\r\nWhat now?\r\n", encoding="utf-8")
    found = resolve_roleplay(f"{poles},{asked}")
    assert found == RolePlay("bold", ("You dare.",), ("You wait.",), ("What now?", "And then?"))
    assert found.pole_prompts() == ("You dare.", "You wait.")


def test_repeated_questions_are_asked_once(tmp_path: Path) -> None:
    asked = jsonl(tmp_path / "a.jsonl", [{"question": text} for text in ("What?", "Who?", " What? ", "Who?", "Why?")])
    assert read_questions(asked) == ("What?", "Who?", "Why?")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("extroversion", ("'extroversion' is not something to act out", "extraversion", "DESCRIPTIONS,QUESTIONS")),
        ("", ("is not something to act out",)),
        ("extraversion#test", ("is not something to act out",)),
        ("description.json", ("'description.json' is not something to act out", "two files")),
        ("a,b,c", ("'a,b,c' is not something to act out",)),
        ("no.json,search.jsonl#Openness", ("there is no file 'no.json'", "check the path")),
        ("description.json,no.jsonl#Openness", ("there is no file 'no.jsonl'", "check the path")),
        ("description.json,test#Openness", ("there is no file 'test'",)),
        ("~nobody-of-that-name/a,search.jsonl", ("there is no file",)),
        ("description.json,search.jsonl", ("description.json describes Openness,", "no trait was chosen", "#Openness")),
        ("description.json,search.jsonl#", ("no trait was chosen",)),
        ("description.json,search.jsonl#wit", ("Neuroticism, not 'wit'", "put the trait after a #")),
        ("own.jsonl,search.jsonl", ("search.jsonl holds questions on Extraversion, Openness, and no trait", "#Extra")),
        ("own.jsonl,search.jsonl#Neuroticism", ("Extraversion, Openness, not on 'Neuroticism'",)),
    ],
)
def test_what_cannot_be_acted_out_is_refused(
    bench: Path, monkeypatch: pytest.MonkeyPatch, spec: str, parts: tuple[str, ...]
) -> None:
    monkeypatch.chdir(bench)
    jsonl(bench / "own.jsonl", [{"plus": "You dare.", "minus": "You wait."}])
    with refused(*parts):
        resolve_roleplay(spec)


GOOD = json.dumps({"plus": "You dare.", "minus": "You wait."})
BAD_DESCRIPTIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("empty.jsonl", "", ("holds no descriptions", '{"plus"')),
    ("blank.jsonl", "\n \n", ("holds no descriptions",)),
    ("empty.json", "", ("empty.json",)),
    ("list.jsonl", "[1]\n", ("line 1: a JSON list",)),
    ("broken.jsonl", f"{GOOD}\n\n{{'plus': 1}}\n", ("line 3: not JSON",)),
    ("broken.json", f"{GOOD}\n{GOOD}\n{GOOD[:-3]}\n", ("line 3: not JSON",)),
    ("one.jsonl", '{"plus": "You dare."}\n', ("line 1: no descriptions of two poles", "Openness_reversed")),
    ("one pole.jsonl", '{"Openness": "You dare."}\n', ("line 1: no descriptions of two poles",)),
    ("short.jsonl", f'{GOOD}\n{{"plus": "You dare."}}\n', ("line 2: the field 'minus' is missing",)),
    ("blank pole.jsonl", f'{GOOD}\n{{"plus": " ", "minus": "x"}}\n', ("line 2: the field 'plus' is missing",)),
    ("number.jsonl", f'{GOOD}\n{{"plus": 3, "minus": "x"}}\n', ("line 2: the field 'plus'",)),
    ("half.jsonl", '{"plus": "\\ud83d", "minus": "x"}\n', ("line 1: 'plus' holds half a UTF-16 pair",)),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_DESCRIPTIONS, ids=[row[0] for row in BAD_DESCRIPTIONS])
def test_bad_descriptions_are_refused(tmp_path: Path, name: str, content: str, parts: tuple[str, ...]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with refused(name, *parts):
        read_descriptions(path)


ASKED = json.dumps(search("Whom?"))
BAD_QUESTIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("empty.txt", "\n  \n", ("holds no questions", "one a line")),
    ("empty.jsonl", "", ("holds no questions",)),
    ("empty.json", "", ("empty.json",)),
    ("broken.jsonl", f'{ASKED}\n{{"question": \n', ("line 2: not JSON",)),
    ("broken.json", f"{ASKED}\n{ASKED}\n{ASKED[:-2]}\n", ("line 3: not JSON",)),
    (
        "missing.jsonl",
        f'{ASKED}\n{{"BFI": "Extraversion", "tag": "x"}}\n',
        ("line 2: the field 'question' is missing",),
    ),
    ("plain.jsonl", '{"question": "Who?"}\n{"asked": "What?"}\n', ("line 2: the field 'question' is missing",)),
    ("blank.jsonl", '{"question": "Who?"}\n{"question": " "}\n', ("line 2: the field 'question' is missing",)),
]


@pytest.mark.parametrize(("name", "content", "parts"), BAD_QUESTIONS, ids=[row[0] for row in BAD_QUESTIONS])
def test_bad_questions_are_refused(tmp_path: Path, name: str, content: str, parts: tuple[str, ...]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with refused(name, *parts):
        read_questions(path, "extraversion")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"Who?\ncaf\xe9?\n")
    with refused("latin.txt line 2: not UTF-8", "save the file as UTF-8"):
        read_questions(path)


# --- the real files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", BENCH)
def test_published_descriptions_and_test_questions(data_dir: Path, trait: str) -> None:
    folder = data_dir / "npti"
    rows = [json.loads(line) for line in (folder / "description.json").read_text(encoding="utf-8").splitlines()]
    found = read_descriptions(folder / "description.json", trait.lower())
    assert found["plus"] == tuple(row[trait].strip() for row in rows)
    assert found["minus"] == tuple(row[f"{trait}_reversed"].strip() for row in rows)
    assert len(found["plus"]) == 80
    asked = read_questions(folder / "test" / f"{trait}.json", trait)
    assert len(asked) == 20
    acted = resolve_roleplay(f"{folder / 'description.json'},{folder / 'test' / f'{trait}.json'}#{trait}")
    assert acted.items == {"plus": 1600, "minus": 1600}
    assert acted.group_keys.isdisjoint(builtin_roleplay(trait.lower()).group_keys)


def test_published_search_questions(data_dir: Path) -> None:
    path = data_dir / "npti" / "search_sample.jsonl"
    asked = read_questions(path, "conscientiousness")
    assert len(asked) == 25
    assert all("Do you" in question or "?" in question for question in asked)
    with refused("holds questions on Conscientiousness, not on 'openness'"):
        read_questions(path, "openness")
