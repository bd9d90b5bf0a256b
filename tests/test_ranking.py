"""Blind ranking: sheets that tell nothing, sheets read back, and the figures of known rankings."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from expect import refused
from scipy.stats import friedmanchisquare

from temperament.cli.main import run
from temperament.evaluation.rank_scores import kendalls_w, score_rankings
from temperament.evaluation.ranking import Rankings, Sheet, read_rankings, write_sheet

METHODS = ("subnetwork", "neuronal", "baseline")
QUALITY = {"subnetwork": 1, "neuronal": 2, "baseline": 3}


def made(count: int = 9) -> dict[str, dict[str, str]]:
    """Answers that hold a number of their own, so that a test can tell whose they are."""
    return {
        method: {f"Question {at}?": f"text {at * 10 + place}" for at in range(count)}
        for place, method in enumerate(METHODS)
    }


def rows_of(path: Path, **options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), **options))  # type: ignore[call-overload]


def fill(sheet: Sheet, path: Path, rank: Callable[[str, int], str]) -> Path:
    """The sheet as a judge returns it: ``rank(method, row)`` for every answer."""
    rows = rows_of(sheet.sheet)
    for number, row in enumerate(rows):
        for letter in "ABC":
            row[f"rank_{letter}"] = rank(METHODS[int(row[letter].split()[-1]) % 10], number)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def by_quality(method: str, _: int) -> str:
    return str(QUALITY[method])


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    return write_sheet(made(), "how outgoing the writer seems", tmp_path / "ranking", seed=5)


def test_a_sheet_tells_nothing_and_is_balanced(sheet: Sheet) -> None:
    shown = sheet.sheet.read_text(encoding="utf-8-sig") + sheet.instructions.read_text()
    assert not [method for method in METHODS if method in shown]
    assert "outgoing" in sheet.instructions.read_text()
    rows = rows_of(sheet.sheet)
    assert list(rows[0]) == ["item", "question", "A", "B", "C", "rank_A", "rank_B", "rank_C"]
    assert {row["question"] for row in rows} == {f"Question {at}?" for at in range(9)}
    assert [row["question"] for row in rows] != sorted(row["question"] for row in rows)
    for letter in "ABC":  # every method stands as often in every column
        assert set(Counter(int(row[letter].split()[-1]) % 10 for row in rows).values()) == {3}
    assert all(row[f"rank_{letter}"] == "" for row in rows for letter in "ABC")
    assert sheet.notes == ()


def test_the_order_follows_the_seed_and_is_drawn_without_one(tmp_path: Path) -> None:
    texts = [
        write_sheet(made(), "c", tmp_path / str(at), seed=seed).sheet.read_text()
        for at, seed in enumerate((1, 1, 2, None, None))
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4
    assert json.loads((tmp_path / "3" / "key.json").read_text())["seed"] not in (0, 1, 2)


def test_answers_that_tell_or_tie_or_look_like_formulas(tmp_path: Path) -> None:
    answers = {
        "alpha": {"q": "=1+1", "p": "same  ", "r": "I am Alpha"},
        "beta": {"q": 'he said "a, b"\nand left', "p": "same", "r": "ü"},
    }
    sheet = write_sheet(answers, "c", tmp_path, seed=0)
    assert len(sheet.notes) == 2
    assert sheet.notes[0].startswith("1 answers hold the name")
    cells = {row[letter] for row in rows_of(sheet.sheet) for letter in "AB"}
    assert cells == {"'=1+1", 'he said "a, b"\nand left', "same", "I am Alpha", "ü"}


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ({"a": {"q": "x"}}, "1 methods"),
        ({"a": {}, "b": {}}, "no answers"),
        ({"a": {"q": "x", "p": "y"}, "b": {"q": "z"}}, "'b' has no answer to 1 of 2"),
    ],
)
def test_what_cannot_be_ranked(answers: dict[str, dict[str, str]], part: str, tmp_path: Path) -> None:
    with refused(part):
        write_sheet(answers, "c", tmp_path)


def test_a_criterion_is_needed_and_no_filled_sheet_is_overwritten(sheet: Sheet, tmp_path: Path) -> None:
    with refused("criterion is empty"):
        write_sheet(made(), " ", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    before = sheet.sheet.read_bytes()
    with refused("sheet.csv is there already"):
        write_sheet(made(), "warmth", tmp_path / "ranking", seed=6)
    sheet.sheet.rename(tmp_path / "anna.csv")
    with refused("key.json is there already"):
        write_sheet(made(), "warmth", tmp_path / "ranking", seed=6)
    assert (tmp_path / "anna.csv").read_bytes() == before


def test_judges_who_agree(sheet: Sheet, tmp_path: Path) -> None:
    sheets = [fill(sheet, tmp_path / f"{name}.csv", by_quality) for name in ("anna", "ben")]
    scores = score_rankings(read_rankings(sheets, sheet.key))
    assert {name: figure.value for name, figure in scores.mean_rank.items()} == QUALITY
    assert {name: figure.value for name, figure in scores.first.items()} == {
        "subnetwork": 100,
        "neuronal": 0,
        "baseline": 0,
    }
    assert {pair: figure.value for pair, figure in scores.wins.items()} == dict.fromkeys(scores.wins, 100)
    assert set(scores.wins) == {(METHODS[0], METHODS[1]), (METHODS[0], METHODS[2]), (METHODS[1], METHODS[2])}
    assert scores.concordance.value == pytest.approx(1)
    assert scores.agreement is not None
    assert scores.agreement.value == pytest.approx(1)
    assert (scores.agreement.extra["chance"], scores.mean_rank["neuronal"].extra["chance"]) == (0.5, 2)
    assert scores.missing == {"anna": 0, "ben": 0}


def test_judges_who_contradict_each_other(sheet: Sheet, tmp_path: Path) -> None:
    anna = fill(sheet, tmp_path / "anna.csv", by_quality)
    ben = fill(sheet, tmp_path / "ben.csv", lambda method, _: str(4 - QUALITY[method]))
    scores = score_rankings(read_rankings([anna, ben], sheet.key))
    assert {name: figure.value for name, figure in scores.mean_rank.items()} == dict.fromkeys(METHODS, 2)
    assert scores.agreement is not None
    assert scores.agreement.value == pytest.approx(0)
    assert scores.first["subnetwork"].value == 50
    assert scores.wins["subnetwork", "baseline"].value == 50
    assert np.isnan(scores.concordance.value)  # every item ties all methods


def test_incomplete_rows_are_missing_and_ties_share_places(sheet: Sheet, tmp_path: Path) -> None:
    def partly(method: str, row: int) -> str:
        if row == 0 and method == "baseline":
            return ""
        return "2" if row == 1 and method == "baseline" else "1" if row == 1 else by_quality(method, row)

    anna = fill(sheet, tmp_path / "anna.csv", partly)
    lines = anna.read_text().splitlines()
    anna.write_text("\n".join(lines[:-1]) + "\n")  # one row lost
    rankings = read_rankings([anna], sheet.key)
    assert rankings.missing == {"anna": 2}
    scores = score_rankings(rankings)
    assert scores.items == 7
    assert scores.mean_rank["subnetwork"].value == pytest.approx((6 * 1 + 1.5) / 7)
    assert scores.first["neuronal"].value == pytest.approx(50 / 7)
    assert scores.wins["subnetwork", "neuronal"].value == pytest.approx(100 * 6.5 / 7)
    assert scores.mean_rank["subnetwork"].low <= scores.mean_rank["subnetwork"].value
    assert scores.agreement is None


def test_a_row_that_one_judge_left_out_counts_by_the_other(sheet: Sheet, tmp_path: Path) -> None:
    anna = fill(sheet, tmp_path / "anna.csv", lambda method, row: "" if row < 4 else by_quality(method, row))
    ben = fill(sheet, tmp_path / "ben.csv", lambda method, row: str(4 - QUALITY[method]) if row < 4 else "")
    scores = score_rankings(read_rankings([anna, ben], sheet.key))
    assert scores.items == 9
    assert scores.mean_rank["subnetwork"].value == pytest.approx((5 * 1 + 4 * 3) / 9)
    assert scores.first["baseline"].value == pytest.approx(400 / 9)
    assert scores.agreement is None


def test_spreadsheets_with_semicolons_and_decimal_ranks(sheet: Sheet, tmp_path: Path) -> None:
    anna = fill(sheet, tmp_path / "anna.csv", lambda method, _: f"{QUALITY[method]}.0")
    rows = rows_of(anna)
    with (tmp_path / "ben.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    rankings = read_rankings([anna, tmp_path / "ben.csv"], sheet.key)
    assert np.array_equal(rankings.ranks[0], rankings.ranks[1])
    assert not np.isnan(rankings.ranks).any()


@pytest.mark.parametrize(
    ("rank", "part"),
    [("4", "'4' is no rank"), ("0", "'0' is no rank"), ("first", "'first' is no rank"), ("2", "no answer has rank 1")],
)
def test_ranks_that_are_none(rank: str, part: str, sheet: Sheet, tmp_path: Path) -> None:
    path = fill(sheet, tmp_path / "anna.csv", lambda method, row: rank if row == 2 else by_quality(method, row))
    with refused("anna.csv line 4", part):
        read_rankings([path], sheet.key)


def test_sheets_and_keys_that_do_not_belong_together(sheet: Sheet, tmp_path: Path) -> None:
    filled = fill(sheet, tmp_path / "anna.csv", by_quality)
    other = write_sheet(made(4), "c", tmp_path / "other", seed=5)
    with refused("the key knows no item"):
        read_rankings([filled], other.key)
    with refused("own name"):
        read_rankings([filled, filled], sheet.key)
    with refused("no key"):
        read_rankings([filled], filled)
    with refused("not the columns"):
        read_rankings([sheet.instructions], sheet.key)
    wider = tmp_path / "wider.csv"
    wider.write_text(filled.read_text().replace("rank_C", "rank_C,rank_D", 1))
    with refused("not the columns"):
        read_rankings([wider], sheet.key)
    twice = tmp_path / "twice.csv"
    twice.write_text(filled.read_text() + filled.read_text().splitlines()[1] + "\n")
    with refused("stands here twice"):
        read_rankings([twice], sheet.key)
    with refused("ranked completely"):
        score_rankings(read_rankings([sheet.sheet], sheet.key))


def test_kendalls_w_is_that_of_friedman_with_ties() -> None:
    draw = np.random.default_rng(0)
    ranks = np.stack([np.argsort(draw.permutation(4)) + 1.0 for _ in range(12)])
    ranks[3], ranks[5] = [1.5, 1.5, 3, 4], [2, 2, 2, 4]
    assert kendalls_w(ranks) == pytest.approx(friedmanchisquare(*ranks.T).statistic / (12 * 3))
    assert kendalls_w(np.array([[1.0, 2.0], [2.0, 1.0]])) == 0
    assert np.isnan(kendalls_w(np.array([[1.5, 1.5], [1.5, 1.5]])))


def test_judges_at_random_agree_as_chance_says() -> None:
    draw = np.random.default_rng(1)
    ranks = np.array([[draw.permutation(3) + 1.0 for _ in range(400)] for _ in range(3)])
    scores = score_rankings(Rankings(METHODS, ("a", "b", "c"), ranks, "c"))
    assert scores.agreement is not None
    assert scores.agreement.extra["chance"] == pytest.approx(1 / 3)
    assert scores.agreement.low < 1 / 3 < scores.agreement.high
    for name in METHODS:
        assert abs(scores.mean_rank[name].value - 2) < 0.15
        assert abs(scores.first[name].value - 100 / 3) < 8


def test_the_commands_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for method, own in made(6).items():
        files.append(str(tmp_path / f"{method}.jsonl"))
        rows = ({"question": question, "answer": answer} for question, answer in own.items())
        Path(files[-1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "ranking"
    assert run(["rank", "sheet", *files, "--criterion", "warmth", "--out", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["items"], written["methods"]) == (6, 3)
    sheet = Sheet(out / "sheet.csv", out / "key.json", out / "instructions.txt", 6, 3, ())
    filled = str(fill(sheet, tmp_path / "anna.csv", by_quality))
    assert run(["rank", "score", filled, "--key", written["key"], "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mean_rank"]["baseline"]["value"] == 3
    assert result["agreement"] is None
    assert run(["rank", "score", filled, "--key", written["key"]]) == 0
    printed = capsys.readouterr().out
    assert printed.index("subnetwork") < printed.index("neuronal") < printed.index("baseline")
    assert "– (it takes two judges)" in printed
    assert run(["rank", "score", filled, "--key", filled]) == 2
    assert "no key" in capsys.readouterr().err
