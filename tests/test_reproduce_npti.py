"""NPTI's tables on a tiny model: judges and their scales, sums over poles and traits, alignment beside its controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answering import made_items, write_items
from served import last, said, serve
from shown import shown

from temperament.calibration import Contrast, Pole
from temperament.calibration.contrast import POLES
from temperament.calibration.items import LETTERS
from temperament.endpoint import Endpoint
from temperament.evaluation.bootstrap import Array, Measured
from temperament.evaluation.instrument import Record
from temperament.models import LoadedModel
from temperament.report.reproduce_table import reproduce_markdown, reproduce_tables
from temperament.reproduce import Reproduced, Settings, reproduce
from temperament.reproduce.npti1 import ALL, EndpointScores, LocalScores, _total
from temperament.reproduce.table import Row

pytest.importorskip("openai")


class Known:
    """A judge that gives 4, 5 … to plus answers and 1, 1 … to minus ones; the second minus answer has no verdict."""

    label, unit = "known judge", "1–5"

    def __init__(self) -> None:
        self.seen: list[tuple[str, Pole, int]] = []

    def start(self, trait: str, texts: Contrast) -> str:
        assert texts.name == trait
        return ""

    def scores(self, answers: Sequence[Record], trait: str, pole: Pole) -> Array:
        self.seen.append((trait, pole, len(answers)))
        count = len(answers)
        rising = [4.0 + index for index in range(count)]
        return np.array(rising if pole == "plus" else [1.0, np.nan, *([1.0] * (count - 2))])


def row(table: Reproduced, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def value(row: Row, group: str, key: str) -> float:
    found = row.get(group, key)
    assert found is not None
    return found.value if isinstance(found, Measured) else found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Made-up test questions of the five traits, in the published format."""
    folder = tmp_path / "data" / "npti" / "test"
    folder.mkdir(parents=True)
    for trait in LETTERS:
        rows = [json.dumps({"question": f"What of {trait} {index}?"}) for index in range(4)]
        (folder / f"{trait.capitalize()}.json").write_text("\n".join(rows))
    return tmp_path / "data"


def test_means_variances_and_sums_of_both_poles(tiny_llama: LoadedModel, questions: Path, tmp_path: Path) -> None:
    judge = Known()
    settings = Settings("npti-1", questions, ("prompt", "vector"), limit=3, max_tokens=3)
    found = reproduce(tiny_llama, settings, tmp_path / "out", judge=judge)
    assert list(found.groups) == [*LETTERS, ALL]
    assert [one.name for one in found.rows] == ["unworn", "prompt", "vector"]
    assert {count for _, _, count in judge.seen} == {3}
    prompt = row(found, "prompt")
    assert value(prompt, "openness", "plus") == 5
    assert value(prompt, "openness", "plus_variance") == 1
    assert value(prompt, "openness", "minus") == 1
    assert value(prompt, "openness", "sum") == value(prompt, ALL, "sum") == 6
    assert value(prompt, ALL, "paper") == 8.39
    assert row(found, "vector").get(ALL, "paper") is None
    assert prompt.get(ALL, "random") is None
    assert value(row(found, "vector"), ALL, "random") == 6
    minus = prompt.get("openness", "minus")
    assert isinstance(minus, Measured)
    assert minus.extra["n_missing"] == 1
    assert found.provenance["data"]["openness"]["questions"]["source"] == "Openness.json"
    assert "*8.39*" in reproduce_markdown(found)


def test_a_trait_without_a_score_leaves_no_sum() -> None:
    full, empty = np.array([1.0, 2.0]), np.array([np.nan, np.nan])
    assert _total([(full, full)] * 4, 0) is None
    assert _total([(full, full)] * 4 + [(full, empty)], 0) is None
    total = _total([(full, full)] * 5, 0)
    assert total is not None
    assert total.value == 3


def test_the_endpoint_judges_each_pole_on_its_own_scale(tmp_path: Path) -> None:
    answers = [{"question": "What now?", "answer": "A party."}, {"question": "And then?", "answer": "Nothing at all."}]

    def reply(request: dict[str, Any]) -> Any:
        return said("5" if "A party." in last(request) else "I cannot say")

    with serve(reply) as server, Endpoint(server.url, "judge", cache=tmp_path / "v.jsonl", retries=0) as endpoint:
        judge = EndpointScores(endpoint, "judge", 0)
        for pole in POLES:
            scores = judge.scores(answers, "extraversion", pole)
            assert scores[0] == 5
            assert np.isnan(scores[1])
        rubrics = {last(request).split("QUESTION")[0] for request in server.requests}
    assert len(rubrics) == 2
    assert "1–5" in judge.label


def test_the_local_judge_gives_each_pole_its_own_probability_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        label = "local judge, held-out AUC 1.00"

        def probability(self, texts: Sequence[str]) -> Array:
            return np.array([0.75 if text else np.nan for text in texts])

        def check_disjoint(self, groups: object) -> None:
            assert groups == frozenset()

    monkeypatch.setattr("temperament.reproduce.npti1.trait_judge", lambda trait: Fixed())
    judge = LocalScores()
    assert "AUC 1.00" in judge.start("openness", Contrast("openness", (), ()))
    rows = [{"answer": "art"}, {"answer": ""}]
    assert judge.scores(rows, "openness", "plus").tolist()[0] == 0.75
    assert judge.scores(rows, "openness", "minus").tolist()[0] == 0.25
    assert np.isnan(judge.scores(rows, "openness", "minus")[1])
    assert "not the paper's 1–5" in judge.label


def test_alignment_beside_its_controls(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text(write_items(made_items(4)))
    settings = Settings("npti-3", None, ("prompt", "vector"), limit=2, questionnaire=items)
    found = reproduce(tiny_llama, settings, tmp_path / "out")
    published, ours = found.groups
    assert all(shown(table) for table in reproduce_tables(found))
    assert (published, ours) == ("published: all items", "ours: held-out items")
    assert found.provenance["data"]["questionnaire"]["items"] == 20
    assert found.provenance["data"]["people"] == {"file": "synthetic", "people": 2}
    assert any("no real people" in note for note in found.notes)
    for name in ("unworn", "prompt", "vector"):
        for group in found.groups:
            own = row(found, name)
            assert value(own, group, "total") == pytest.approx(sum(value(own, group, trait) for trait in LETTERS))
    vector = row(found, "vector")
    assert value(vector, ours, "random") > 0
    assert value(vector, ours, "other") > 0
    assert [column.source for column in found.groups[published]][:2] == ["paper", "ours"]
    assert "paper" not in {column.source for column in found.groups[ours]}
    assert value(vector, published, "total") != value(vector, ours, "total")
