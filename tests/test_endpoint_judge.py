"""The judge behind an endpoint: what it reads, how verdicts are read, and the figures of both poles."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expect import refused
from served import failed, last, said, serve

from temperament.calibration import Contrast, Pole
from temperament.cli.main import run
from temperament.endpoint import Endpoint
from temperament.evaluation.answers import by_method, read_answered
from temperament.evaluation.endpoint_judge import Answered, judge_answers, judge_messages, judgements, read_score
from temperament.evaluation.rubrics import FLUENCY, Rubric, contrast_rubric, rubric_of, trait_rubric

TRAITS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")


def answers(pole: Pole, marks: Sequence[str], method: str = "") -> list[Answered]:
    """Answers to question 0, 1, …, each holding its mark."""
    return [Answered(f"question {at}?", f"mark {mark}", pole, method) for at, mark in enumerate(marks)]


def by_mark(request: dict[str, Any]) -> Any:
    """A judge that gives every answer the number of its mark for the trait, and 5 for fluency."""
    text = last(request)
    found = re.search(r"mark (\S+)", text)
    assert found
    return said("5" if "native writer" in text else json.dumps({"score": _number(found[1])}))


def _number(mark: str) -> Any:
    return int(mark) if mark.isdigit() else mark


def extraversion(pole: Pole) -> Rubric:
    return trait_rubric("extraversion", pole)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("4", 4),
        (" **2**.\n", 2),
        ("Score: 3/5", 3),
        ("5.0", 5),
        ('"1"', 1),
        ('{"score": 3}', 3),
        ('```json\n{"score": "2"}\n```', 2),
        ('Here it is: {"score": 4.0, "reason": "uses {braces} and 5 words"}', 4),
        ('{"score": 2} that is {"score": 2}', 2),
        ("", None),
        ("0", None),
        ("6", None),
        ("-4", None),
        ("4.5", None),
        ("45", None),
        ("3 or 4", None),
        ("1-5", None),
        ("I would say 4", None),
        ("four", None),
        ('{"score": 9}', None),
        ('{"score": true}', None),
        ('{"score": null}', None),
        ('{"score": 3.5}', None),
        ('{"score": NaN}', None),
        ('{"score": 1} or {"score": 2}', None),
        ('{"rating": 3}', None),
        ('{"score": 3', None),
        ("[" * 100_000, None),
        ('{"score":' * 10_000, None),
        ("**Score:** 4", 4),
        ("I cannot rate people.", None),
    ],
)
def test_anything_but_one_score_is_missing(text: str, score: int | None) -> None:
    assert read_score(text) == score


def test_means_variances_and_the_sum_of_both_poles() -> None:
    items = answers("plus", "5443") + answers("minus", "4422")
    with serve(by_mark) as served, Endpoint(served.url, "judge") as endpoint:
        records = judge_answers(endpoint, items, extraversion)
    figures = judgements(records)[0]
    assert figures.trait["plus"].value == 4.0
    assert figures.trait["minus"].value == 3.0
    assert figures.trait["plus"].extra == {"variance": pytest.approx(2 / 3), "n_missing": 0}
    assert figures.fluency["minus"].value == 5.0
    assert figures.total is not None
    assert (figures.total.value, figures.total.n) == (7.0, 8)
    assert figures.total.low < 7.0 < figures.total.high
    assert figures.trait["plus"].low >= 3.0
    json.dumps(figures.as_json())


def test_each_pole_is_asked_for_its_own_strength_and_one_scale_is_turned_round() -> None:
    items = answers("plus", "5") + answers("minus", "4")
    with serve(by_mark) as served, Endpoint(served.url, "judge") as endpoint:
        own = judge_answers(endpoint, items, extraversion, fluency=False)
        asked = "\n".join(map(last, served.requests))
        assert "outgoing rather than reserved" in asked
        assert "reserved rather than outgoing" in asked
    with serve(by_mark) as served, Endpoint(served.url, "judge") as endpoint:
        mirrored = judge_answers(endpoint, items, extraversion, fluency=False, one_scale=True)
        assert all("outgoing rather than reserved" in last(request) for request in served.requests)
    assert [record["trait"] for record in own] == [5, 4]
    assert [record["trait"] for record in mirrored] == [5, 2]


def test_what_is_unreadable_refused_or_failed_is_missing_not_a_number() -> None:
    def moody(request: dict[str, Any]) -> Any:
        replies = {"nonsense": said("banana"), "refusal": said(None, refusal="no"), "down": failed(400, "too long")}
        return next((reply for mark, reply in replies.items() if f"mark {mark}" in last(request)), by_mark(request))

    items = answers("plus", ["5", "nonsense", "refusal", "down", "3"])
    with serve(moody) as served, Endpoint(served.url, "judge", retries=0) as endpoint:
        records = judge_answers(endpoint, items, extraversion, seed=3)
        assert endpoint.usage.missing == 4
    assert [record["trait"] for record in records] == [5, None, None, None, 3]
    assert "banana" in records[1]["trait_reason"]
    assert "refused" in records[2]["trait_reason"]
    assert "too long" in records[3]["trait_reason"]
    figure = judgements(records)[0].trait["plus"]
    assert (figure.value, figure.n, figure.extra["n_missing"]) == (4.0, 2, 3)
    assert judgements(records)[0].total is None


def test_with_nothing_readable_there_is_no_mean() -> None:
    items = answers("plus", "54") + answers("minus", "x")
    with serve(by_mark) as served, Endpoint(served.url, "judge") as endpoint:
        figures = judgements(judge_answers(endpoint, items, extraversion))[0]
    assert math.isnan(figures.trait["minus"].value)
    assert (figures.trait["minus"].n, figures.trait["minus"].extra["n_missing"]) == (0, 1)
    assert figures.total is not None
    assert math.isnan(figures.total.value)


def test_the_judge_sees_no_method_and_a_shuffled_order() -> None:
    items = [Answered(f"question {at}?", f"mark {at % 5 + 1}", "plus", "secret-method") for at in range(12)]
    orders = []
    for seed in (0, 0, 1):
        with serve(by_mark) as served, Endpoint(served.url, "judge", concurrency=1) as endpoint:
            records = judge_answers(endpoint, items, extraversion, fluency=False, seed=seed)
        assert [record["trait"] for record in records] == [at % 5 + 1 for at in range(12)]
        assert "secret-method" not in json.dumps(served.requests)
        orders.append([last(request) for request in served.requests])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0], key=lambda text: int(re.findall(r"question (\d+)", text)[0]))


def test_methods_are_told_apart() -> None:
    items = answers("plus", "55", "a") + answers("plus", "11", "b")
    with serve(by_mark) as served, Endpoint(served.url, "judge") as endpoint:
        figures = judgements(judge_answers(endpoint, items, extraversion))
    assert {own.method: own.trait["plus"].value for own in figures} == {"a": 5.0, "b": 1.0}


@pytest.mark.parametrize("trait", TRAITS)
def test_rubrics_of_the_poles_mirror_each_other(trait: str) -> None:
    plus, minus = trait_rubric(trait, "plus"), trait_rubric(trait, "minus")
    assert plus.anchors == minus.anchors[::-1]
    assert len(set(plus.anchors)) == 5
    assert plus.subject != minus.subject
    assert str(plus).count("\n") == 5


def test_any_contrast_has_a_rubric_from_its_pole_prompts(few_texts: Contrast) -> None:
    rubric = contrast_rubric("night", ("You love the night.", "You love the day."), "minus")
    assert "love the day" in rubric.anchors[4]
    assert "love the night" in rubric.anchors[0]
    named = Contrast("own", few_texts.plus, few_texts.minus, prompts=("You are A.", "You are B."))
    assert "You are A." in rubric_of(named, "plus").anchors[4]
    scenes = Contrast("neuroticism-scenes", few_texts.plus, few_texts.minus)
    assert rubric_of(scenes, "plus") == trait_rubric("neuroticism", "plus")
    assert "1 to 5" not in judge_messages(FLUENCY, "q", "a")[1]["content"]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answer_files(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "masks.jsonl",
        [{"question": "q?", "answer": " yes "}, {"question": "p?", "answer": "", "pole": "minus", "method": "m"}],
    )
    assert read_answered(path, "plus", "x") == [
        Answered("q?", "yes", "plus", "x"),
        Answered("p?", "", "minus", "m"),
    ]
    assert by_method([path]) == {"masks": {"q?": "yes"}, "m": {"p?": ""}}
    with refused("names no pole", "--pole"):
        read_answered(path, None, "x")
    with refused("twice"):
        by_method([write_lines(tmp_path / "a.jsonl", [{"question": "q", "answer": "1"}] * 2)])
    for rows, part in (
        ([{"question": "q"}], "line 1: the field 'answer'"),
        ([{"answer": "q"}], "'question'"),
        ([{"question": "q", "answer": "a", "pole": "up"}], "'pole' is 'up'"),
        ([{"question": "q", "answer": "\ud800"}], "UTF-16"),
        ([], "no answers"),
    ):
        with refused(part):
            read_answered(write_lines(tmp_path / "b.jsonl", rows), "plus", "")


def test_the_command_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"q{at}?", "answer": f"mark {5 - at}", "pole": "plus"} for at in range(3)]
    rows += [{"question": f"q{at}?", "answer": f"mark {4 - at}", "pole": "minus"} for at in range(3)]
    path = write_lines(tmp_path / "answers.jsonl", rows)
    common = ["judge", str(path), "--trait", "extraversion", "--judge-model", "j", "--out", str(tmp_path / "judged")]
    prices = ["--prompt-price", "1", "--answer-price", "2"]
    with serve(by_mark) as served:
        assert run([*common, "--endpoint", served.url, *prices, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert len(served.requests) == 12
        assert run([*common, "--endpoint", served.url]) == 0
        assert len(served.requests) == 12  # every verdict is known by now
        printed = capsys.readouterr()
    assert result["methods"][0]["total"]["value"] == 7.0
    assert result["usage"]["cost"] == pytest.approx(12 * (10 + 4) / 1e6)
    assert "7.00 [" in printed.out
    assert "cost unknown" in printed.err
    scores = [json.loads(line) for line in (tmp_path / "judged" / "scores.jsonl").read_text().splitlines()]
    assert np.mean([row["trait"] for row in scores]) == 3.5
    assert run([*common, "--endpoint", served.url, "--pole", "up"]) == 2
    assert "--pole up" in capsys.readouterr().err
    assert run([*common[:-1], str(tmp_path / "other"), "--endpoint", served.url, "--retries", "0"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_replies_without_a_score_are_asked_again_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"q{at}?", "answer": f"mark {at + 1}", "pole": "plus"} for at in range(3)]
    folder = tmp_path / "judged"
    common = ["judge", str(write_lines(tmp_path / "a.jsonl", rows)), "--trait", "extraversion", "--judge-model", "j"]
    common += ["--out", str(folder)]
    with serve(lambda _: said("a fine answer")) as served:
        assert run([*common, "--endpoint", served.url]) == 2
        error = capsys.readouterr().err
        assert "gave no score for any of 3 answers" in error
        assert "no score 1–5 in 'a fine answer'" in error
        assert not (folder / "scores.jsonl").exists()
    one_bad = lambda request: said("hm") if "mark 2" in last(request) else by_mark(request)  # noqa: E731
    with serve(one_bad) as served:
        assert run([*common, "--endpoint", served.url]) == 0
        printed = capsys.readouterr()
        assert len(served.requests) == 6
    assert "no score" in printed.out
    assert "2 verdicts hold no score" in printed.err
    assert "'hm'" in printed.err
    assert "0 unanswered" in printed.err
    with serve(by_mark) as served:
        assert run([*common, "--endpoint", served.url]) == 0
        assert len(served.requests) == 2  # a verdict with a score is never asked for again
        assert "hold no score" not in capsys.readouterr().err
        assert run([*common, "--endpoint", served.url]) == 0
        assert len(served.requests) == 2
