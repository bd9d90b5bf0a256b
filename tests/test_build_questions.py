"""Building questions through an endpoint: checks, near-duplicates, resumption, and the PersonalityBench format."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from expect import refused
from served import failed, last, said, serve

from temperament.calibration import resolve_roleplay
from temperament.calibration.build_questions import Blueprint, Built, build_questions
from temperament.calibration.facets import FACETS, TOPICS, Facet, read_facets, read_topics
from temperament.calibration.personality_bench import read_descriptions, read_questions
from temperament.calibration.question_checks import distinct, fault, token_set_ratio
from temperament.calibration.question_prompts import (
    read_descriptions_reply,
    read_questions_reply,
    read_refined_reply,
)
from temperament.cli.main import run
from temperament.endpoint import Endpoint

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh notch oasis plain quarry ridge"


class Writer:
    """A model that follows its instructions; a subclass spoils some of its replies."""

    def __init__(self) -> None:
        self.written = 0

    def __call__(self, request: dict[str, Any]) -> Any:
        text = last(request)
        if "pairs of descriptions" in text:
            return said(json.dumps({"descriptions": [self.pair() for _ in range(5)]}))
        if "Check every one" in text:
            return said(json.dumps({"questions": self.checked(text)}))
        if "Write 5 questions" in text:
            return said(json.dumps({"questions": [self.question() for _ in range(5)]}))
        return failed(400, f"what is this: {text}")

    def words(self) -> str:
        """Twelve words, other ones with every call."""
        self.written += 1
        return " ".join(f"{word}{self.written}" for word in WORDS.split()[:12]).translate(_LETTERS)

    def pair(self) -> dict[str, str]:
        return {"plus": f"You are {self.words()}.", "minus": f"You are {self.words()}."}

    def question(self) -> str:
        return f"Picture {self.words()}. What do you do?"

    def checked(self, text: str) -> list[dict[str, Any]]:
        found = re.findall(r"^(\d+)\. (.*?)(?: \[fault: .*\])?$", text, re.MULTILINE)
        return [{"number": int(number), "question": self.better(question)} for number, question in found]

    def better(self, question: str) -> str | None:
        return question


_LETTERS = str.maketrans("0123456789", "abcdefghij")


def blueprint(**options: Any) -> Blueprint:
    given = {"count": 20, "test": 5, "descriptions": 10, **options}
    return Blueprint("extraversion", FACETS["extraversion"], TOPICS, **given)


def build(writer: Any, folder: Path, plan: Blueprint | None = None, **options: Any) -> tuple[Built, Any, int]:
    """What was built, the written report, and the number of requests that arrived."""
    with (
        serve(writer) as served,
        Endpoint(
            served.url, "writer", **{"cache": folder / "answers.jsonl", "concurrency": 1, "retries": 0, **options}
        ) as endpoint,
    ):
        built = build_questions(endpoint, plan or blueprint(), folder)
        return built, json.loads((folder / "build.json").read_text()), len(served.requests)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_files_are_those_of_personality_bench(tmp_path: Path) -> None:
    built, report, requests = build(Writer(), tmp_path)
    assert requests == blueprint().requests == 2 + 2 * 5
    search = lines(tmp_path / "search.jsonl")
    assert [list(row) for row in search] == [["BFI", "tag", "facet", "topic", "sign", "question"]] * 20
    assert {row["BFI"] for row in search} == {"Extraversion"}
    assert {row["sign"] for row in search} == {"+", "-"}
    assert {row["tag"] for row in search} <= {facet.name for facet in FACETS["extraversion"]}
    assert {row["topic"] for row in search} <= set(TOPICS)
    by_name = {facet.name: facet for facet in FACETS["extraversion"]}
    for row in search:
        facet = by_name[row["tag"]]
        assert row["facet"] == (facet.plus if row["sign"] == "+" else facet.minus)
    assert [list(row) for row in lines(tmp_path / "test.jsonl")] == [["question"]] * 5
    asked = read_questions(tmp_path / "search.jsonl", "extraversion")
    tested = read_questions(tmp_path / "test.jsonl")
    assert (len(asked), len(tested)) == (20, 5)
    assert not set(asked) & set(tested)
    poles = read_descriptions(tmp_path / "description.json", "Extraversion")
    assert len(poles["plus"]) == len(poles["minus"]) == 10
    play = resolve_roleplay(f"{tmp_path / 'description.json'},{tmp_path / 'search.jsonl'}#Extraversion")
    assert play.items == {"plus": 200, "minus": 200}
    assert (report["built"], report["skipped"], report["dropped"]) == (report["wanted"], 0, {})
    assert len(built.test) == 5


def test_the_published_files_have_the_same_shape(tmp_path: Path, data_dir: Path) -> None:
    build(Writer(), tmp_path)
    theirs = lines(data_dir / "npti" / "search_sample.jsonl")[0]
    ours = lines(tmp_path / "search.jsonl")[0]
    assert list(theirs) == list(ours)
    assert list(map(type, theirs.values())) == list(map(type, ours.values()))
    assert set(lines(data_dir / "npti" / "description.json")[0]) > set(lines(tmp_path / "description.json")[0])
    assert list(lines(data_dir / "npti" / "test" / "Openness.json")[0]) == list(lines(tmp_path / "test.jsonl")[0])


def test_an_interrupted_build_repeats_nothing(tmp_path: Path) -> None:
    class Stopping(Writer):
        def __call__(self, request: dict[str, Any]) -> Any:
            return super().__call__(request) if self.written < 35 else failed(401, "expired")

    with refused("expired"):
        build(Stopping(), tmp_path)
    kept = len(lines(tmp_path / "answers.jsonl"))
    assert 0 < kept < 12
    later = Writer()
    later.written = 1000
    _, report, requests = build(later, tmp_path)
    assert requests == 12 - kept
    assert report["built"] == report["wanted"]
    assert report["usage"]["cached"] == kept
    before = (tmp_path / "search.jsonl").read_bytes()
    assert build(Writer(), tmp_path)[2] == 0
    assert (tmp_path / "search.jsonl").read_bytes() == before


def test_a_reply_of_the_wrong_form_is_asked_for_again_then_skipped(tmp_path: Path) -> None:
    class Careless(Writer):
        def __call__(self, request: dict[str, Any]) -> Any:
            return said("Sure! Here you go.") if len(request["messages"]) == 2 else super().__call__(first(request))

    def first(request: dict[str, Any]) -> dict[str, Any]:
        return {"messages": request["messages"][:2]}

    _, report, requests = build(Careless(), tmp_path / "careless")
    assert report["built"] == report["wanted"]
    assert (requests, report["malformed"], report["skipped"]) == (24, 12, 0)

    class Hopeless(Writer):
        def __call__(self, request: dict[str, Any]) -> Any:
            return said("Sure!") if "Check every one" in str(request["messages"]) else super().__call__(request)

    _, report, _ = build(Hopeless(), tmp_path / "hopeless")
    assert report["built"] == {"search": 0, "test": 0, "descriptions": 10}
    assert report["skipped"] > 0
    assert report["malformed"] == 3 * report["skipped"]
    assert report["dropped"]["could not be checked"] == 5 * report["skipped"]


def test_what_has_no_answer_is_skipped_and_counted_and_made_up_for(tmp_path: Path) -> None:
    class Broken(Writer):
        failures = 0

        def __call__(self, request: dict[str, Any]) -> Any:
            if "Write 5 questions" in last(request) and self.failures < 2:
                self.failures += 1
                return failed(500, "down") if self.failures == 1 else said(None, refusal="I cannot")
            return super().__call__(request)

    _, report, _ = build(Broken(), tmp_path)
    assert (report["skipped"], report["unanswered"], report["malformed"]) == (2, 2, 0)
    assert report["built"] == report["wanted"]


def test_faulty_and_repeated_questions_are_left_out(tmp_path: Path) -> None:
    class Sloppy(Writer):
        def question(self) -> str:
            text = super().question()
            turn = self.written % 5
            if turn == 1:
                return text.replace("What do you do?", "Would you go?")
            if turn == 2:
                return f"How outgoing are you when this happens: {text}"
            return "Your friend rings at nine in the evening and wants company. What do you do?" if turn == 3 else text

        def better(self, question: str) -> str | None:
            return None if "Would you go?" in question else question

    _, report, _ = build(Sloppy(), tmp_path, blueprint(test=0))
    found = [row["question"] for row in lines(tmp_path / "search.jsonl")]
    assert len(found) == 20
    assert not [text for text in found if "Would you go?" in text or "outgoing" in text.lower()]
    assert sum("rings at nine" in text for text in found) == 1
    assert {"given up by the check", "names what it looks for", "repeats another"} <= set(report["dropped"])


def test_a_fault_left_after_the_check_is_mended_once(tmp_path: Path) -> None:
    class Mending(Writer):
        def question(self) -> str:
            return super().question().replace("What do you do?", "Do you go?")

        def checked(self, text: str) -> list[dict[str, Any]]:
            rows = super().checked(text)
            if "[fault: can be answered with yes or no]" in text:
                return [{**row, "question": row["question"].replace("Do you go?", "What next?")} for row in rows]
            return rows

    _, report, requests = build(Mending(), tmp_path)
    assert report["built"] == report["wanted"]
    assert requests == 2 + 3 * 5


def test_cells_cover_facets_directions_and_topics_evenly() -> None:
    cells = blueprint().cells
    assert len(cells) == len(set(cells)) == 6 * 2 * len(TOPICS)
    assert {(cell.facet.name, cell.pole) for cell in cells[:12]} == {
        (facet.name, pole) for facet in FACETS["extraversion"] for pole in ("plus", "minus")
    }
    assert cells == blueprint().cells != blueprint(seed=1).cells


NAMED = Blueprint("extraversion", FACETS["extraversion"], TOPICS).named


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("The train stops in a field and the lights go out. What do you do?", None),
        ("The train stops in a field and the lights go out. Describe your next minutes.", None),
        ("When your neighbour plays loud music at night, would you go over, and why?", None),
        ("The train stops in a field and the lights go out. Do you speak to anyone?", "yes or no"),
        ("If the train stopped in a dark field for an hour, would you talk to the others?", "yes or no"),
        ("The train stops in a field and the lights go out for an hour.", "asks nothing"),
        ("What do you do now?", "words"),
        ("The train stops in a dark field. What do you do?\na) Talk.\nb) Read.", "options"),
        ("The train stops in a dark field. What do you do: a) talk or b) read?", "options"),
        ("An introverted friend sits beside you in the train. What do you say to her?", "names"),
        ("You see a chance to show your assertiveness at work. What do you do there?", "names"),
        ("word " * 91 + "What do you do?", "words"),
    ],
)
def test_faults_of_questions(question: str, part: str | None) -> None:
    found = fault(question, NAMED)
    assert found is None if part is None else found is not None and part in found


def test_near_duplicates_are_those_that_comparing_every_pair_finds() -> None:
    vocabulary = WORDS.split()
    texts = [" ".join(vocabulary[(at * step + at // 7) % 18] for at in range(4 + step % 9)) for step in range(1, 120)]
    texts += [f"{text} inlet" for text in texts[::3]]
    kept: list[int] = []
    for at, text in enumerate(texts):
        if all(token_set_ratio(text, texts[other]) < 0.8 for other in kept):
            kept.append(at)
    assert distinct(texts) == kept
    assert 1 < len(kept) < len(texts)
    assert token_set_ratio("A dog barks!", "barks a DOG") == 1
    assert token_set_ratio("a b c d", "c d e f") == 0.5
    assert distinct(["", "…", "a"]) == [0, 2]


def test_replies_of_the_wrong_form() -> None:
    assert read_questions_reply('```json\n{"questions": ["a  b", {"question": "c"}]}\n```') == ["a b", "c"]
    assert read_refined_reply(
        '{"questions": [{"number": 2, "question": null}, {"number": 1, "question": "a"}]}', 2
    ) == [
        "a",
        None,
    ]
    assert read_descriptions_reply('{"descriptions": [{"plus": "a", "minus": "b"}]}') == [("a", "b")]
    for text in ("", "no", "[]", '{"questions": []}', '{"questions": [3]}', '{"questions": "a"}', "{" * 9999):
        assert read_questions_reply(text) is None
    for row in ('{"number": 1}', '{"number": 3, "question": "a"}', '{"question": "a"}', '"a"'):
        assert read_refined_reply(f'{{"questions": [{row}]}}', 2) is None
    assert read_refined_reply('{"questions": [{"number": 1, "question": "a"}]}', 2) is None
    assert read_descriptions_reply('{"descriptions": [{"plus": "a"}]}') is None


def test_own_facets_and_topics(tmp_path: Path) -> None:
    facets, topics = tmp_path / "facets.jsonl", tmp_path / "topics.txt"
    facets.write_text('{"facet": "Thrift", "plus": "save every coin", "minus": "spend at once"}\n')
    topics.write_text("the market\n\nthe fair\n")
    assert read_facets(facets) == (Facet("Thrift", "save every coin", "spend at once"),)
    assert read_topics(topics) == ("the market", "the fair")
    topics.write_text("the market\nThe Market\n")
    with refused("twice"):
        read_topics(topics)
    facets.write_text('{"facet": "Thrift", "plus": "save"}\n')
    with refused("line 1", "'minus'"):
        read_facets(facets)
    topics.write_text("\n")
    with refused("is empty"):
        read_topics(topics)


@pytest.mark.parametrize("trait", FACETS)
def test_our_facets_differ_from_each_other(trait: str) -> None:
    assert len(FACETS[trait]) == 6
    said_of = [text for facet in FACETS[trait] for text in (facet.plus, facet.minus)]
    assert all(token_set_ratio(first, second) < 0.6 for first, second in combinations(said_of, 2))


def test_the_command_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--count", "10", "--test", "5", "--descriptions", "5"]
    common = ["build-questions", "--trait", "Extraversion", "--out", str(tmp_path), *small]
    assert run([*common, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "7 requests" in printed
    assert "pairs of descriptions" in printed
    assert not list(tmp_path.iterdir())
    prices = ["--prompt-price", "1", "--answer-price", "5"]
    with serve(Writer()) as served:
        reach = ["--endpoint", served.url, "--writer-model", "w", "--concurrency", "1"]
        assert run([*common, *reach, *prices, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert len(served.requests) == 7
        assert run([*common, *reach]) == 0
        assert len(served.requests) == 7
    assert result["built"] == {"search": 10, "test": 5, "descriptions": 5}
    assert result["usage"]["cost"] == pytest.approx(7 * (10 + 10) / 1e6)
    assert "10 of 10 search, 5 of 5 test, 5 of 5 descriptions" in capsys.readouterr().out
    assert run(["build-questions", "--trait", "thrift", "--out", str(tmp_path), "--dry-run"]) == 2
    assert "--facets" in capsys.readouterr().err
    assert run(common) == 2
    assert "is no endpoint" in capsys.readouterr().err


def test_replies_of_no_use_are_an_error_and_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "built"
    common = ["build-questions", "--trait", "extraversion", "--out", str(folder), "--writer-model", "w"]
    common += ["--count", "10", "--test", "5", "--descriptions", "5"]
    with serve(lambda _: said("Sure!")) as served:
        assert run([*common, "--endpoint", served.url]) == 2
    printed = capsys.readouterr()
    assert "wrote no description that can be used" in printed.err
    assert "'Sure!'" in printed.err
    assert not printed.out
    assert [path.name for path in folder.iterdir()] == ["answers.jsonl"]
    with serve(Writer()) as served:
        assert run([*common, "--endpoint", served.url]) == 0
        assert len(served.requests) == 7
        assert run([*common, "--endpoint", served.url]) == 0
        assert len(served.requests) == 7


def test_a_wrong_reply_that_a_good_one_followed_is_kept(tmp_path: Path) -> None:
    class Careless(Writer):
        def __call__(self, request: dict[str, Any]) -> Any:
            short = {"messages": request["messages"][:2]}
            return said("Sure!") if len(request["messages"]) == 2 else super().__call__(short)

    assert build(Careless(), tmp_path)[2] == 24
    assert build(Careless(), tmp_path)[2] == 0
