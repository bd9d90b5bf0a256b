"""The report of a comparison: every section iff its data are, every number the summary's, nothing from outside."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import Element, read_page
from summaries import crowded_summary, least_summary, made_summary, measure, wide_summary

from temperament.errors import TemperamentError
from temperament.report.page import render, write_report

SECTIONS = ["frontier", "methods", "budgets", "examples", "specificity", "distribution", "drift"]
ALWAYS = ["caveats", "provenance"]
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>&amp;'


def sections(page: Element) -> list[str]:
    return [section.attributes["id"] for section in page.find("section")]


def row_of(page: Element, name: str) -> Element:
    rows = [row for row in page.find("table", kind="methods")[0].find("tr") if row.find("th", data_sort=name)]
    assert len(rows) == 1
    return rows[0]


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda summary: summary.pop(key)


def drop_of_methods(*keys: str) -> Callable[[dict[str, Any]], None]:
    def strip(summary: dict[str, Any]) -> None:
        for method in summary["methods"].values():
            for key in keys:
                method.pop(key, None)
                method.get("measures", {}).pop(key, None)
                for control in method.get("controls", {}).values():
                    control.pop(key, None)

    return strip


def test_every_section_is_there_with_complete_data() -> None:
    page = read_page(render(made_summary()))
    assert sections(page) == SECTIONS + ALWAYS
    links = [link.attributes["href"] for link in page.find("nav")[0].find("a")]
    assert links == [f"#{name}" for name in SECTIONS + ALWAYS]


@pytest.mark.parametrize(
    ("section", "remove"),
    [
        ("examples", drop("examples")),
        ("specificity", drop("specificity")),
        ("distribution", drop("distribution")),
        ("drift", drop("drift")),
        ("budgets", drop_of_methods("by_budget")),
        ("frontier", drop_of_methods("perplexity")),
    ],
)
def test_a_section_without_data_is_left_out_and_only_that_one(
    section: str, remove: Callable[[dict[str, Any]], None]
) -> None:
    summary = made_summary()
    remove(summary)
    page = read_page(render(summary))
    assert sections(page) == [name for name in SECTIONS + ALWAYS if name != section]
    assert not page.find("a", href=f"#{section}")


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("examples", {"examples": [{"question": "Why?", "answers": {}}]}),
        ("specificity", {"specificity": {"rows": ["a"], "columns": ["a"], "values": [[{"value": None}]]}}),
        ("distribution", {"distribution": {"neurons": {"layers": [0, 0], "modules": {}}}}),
        ("drift", {"drift": {"neurons": {"turns": [1, 2], "plus": [None, {"value": math.nan}]}}}),
    ],
)
def test_data_without_a_value_give_no_empty_frame(section: str, change: dict[str, Any]) -> None:
    assert section not in sections(read_page(render(made_summary() | change)))


def test_the_least_summary_gives_a_page_without_figures() -> None:
    page = read_page(render(least_summary()))
    assert sections(page) == ALWAYS
    for tag in ("svg", "figure", "table", "details", "pre"):
        assert not page.find(tag)
    assert not page.find("p", kind="verdict")
    assert not page.find("dl", kind="tiles")


def test_every_figure_of_the_table_is_the_summarys() -> None:
    summary = made_summary()
    page = read_page(render(summary))
    digits = {"two_choice": 0}
    seen = 0
    for name, method in summary["methods"].items():
        cells = {
            cell.attributes["data-measure"]: cell
            for cell in row_of(page, name).find("td")
            if "data-measure" in cell.attributes
        }
        for key, entry in method.get("measures", {}).items():
            cell, places = cells[key], digits.get(key, 2)
            assert float(cell.attributes["data-sort"]) == entry["value"]
            shown = cell.find("span", kind="value")[0].text.replace("−", "-").removeprefix("× ")
            assert float(shown) == pytest.approx(round(entry["value"], places), abs=1e-9)
            ends = re.findall(r"-?[\d.]+", cell.find("span", kind="ci")[0].text.replace("−", "-"))
            assert [float(end) for end in ends] == pytest.approx(
                [round(entry["low"], places), round(entry["high"], places)], abs=1.01 * 10**-places
            )
            seen += 1
    assert seen == 8 * 9 + 1


def test_controls_stand_beside_their_figure() -> None:
    summary = made_summary()
    controls = summary["methods"]["neurons"]["controls"]
    controls["random-0"]["separation"]["value"] = -0.31
    controls["random-1"]["separation"]["value"] = 0.04
    controls["random-2"]["separation"]["value"] = 0.17
    controls["shuffled"]["separation"]["value"] = -0.08
    controls["swapped"]["separation"]["value"] = -0.61
    controls["prompt + method"]["separation"]["value"] = 0.93
    (cell,) = row_of(read_page(render(summary)), "neurons").find("td", data_measure="separation")
    (beside,) = cell.find("dl")
    assert beside.text == "random −0.31 … 0.17 shuffled −0.08 swapped −0.61 with prompt 0.93"


def test_affirmation_and_the_poles_stand_beside_their_figures() -> None:
    row = row_of(read_page(render(made_summary())), "neurons")
    assert "affirmation 51" in row.find("td", data_measure="two_choice")[0].text
    assert "+ / 0 / − 0.67 / 0.56 / 0.43" in row.find("td", data_measure="generation")[0].text
    assert "plus / minus 1.10 / 1.07" in row.find("td", data_measure="perplexity")[0].text


def test_a_failed_method_says_so_and_a_missing_measure_is_no_number() -> None:
    page = read_page(render(made_summary()))
    failed = row_of(page, "contrastive-sparse")
    assert failed.find("td")[0].text == "failed: no budget is met: the smallest strength costs × 41.2"
    assert len(failed.find("td")) == 1
    (cell,) = row_of(page, "heads").find("td", data_measure="auc")
    assert cell.text == "–"
    assert cell.attributes["data-sort"] == ""


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "0.4"])
def test_what_is_no_finite_number_is_missing(value: Any) -> None:
    summary = made_summary()
    summary["methods"]["neurons"]["measures"]["auc"]["value"] = value
    (cell,) = row_of(read_page(render(summary)), "neurons").find("td", data_measure="auc")
    assert cell.text == "–"


def test_a_value_without_an_interval_is_shown_without_one() -> None:
    summary = made_summary()
    summary["methods"]["neurons"]["measures"]["separation"] |= {"low": math.nan, "high": math.nan}
    (cell,) = row_of(read_page(render(summary)), "neurons").find("td", data_measure="separation")
    assert cell.find("span", kind="value")[0].text == "0.61"
    assert cell.find("span", kind="ci")[0].text == ""


def test_rows_come_by_separation_and_failures_last() -> None:
    rows = read_page(render(made_summary())).find("table", kind="methods")[0].find("tbody")[0].find("tr")
    values = [row.find("td", data_measure="separation") for row in rows]
    assert not values[-1]
    shown = [float(cell[0].attributes["data-sort"]) for cell in values[:-1]]
    assert shown == sorted(shown, reverse=True)
    assert [row.attributes.get("class") for row in rows] == ["top"] + [None] * 10


def test_verdict_and_the_numbers_that_carry_it() -> None:
    summary = made_summary()
    page = read_page(render(summary))
    assert page.find("p", kind="verdict")[0].text == summary["verdict"]["sentence"]
    tiles = [tile.text for tile in page.find("div", kind="tile")]
    assert [tile.split(" nats")[0] for tile in tiles[:2]] == ["lora, separation 1.02", "prompt, separation 0.27"]
    assert tiles[2].startswith("lora, generated answers 0.31 local judge")
    assert "random, shuffled −0.05 … 0.05" in tiles[0]


def test_without_a_winner_the_best_within_the_budget_is_shown_but_not_called_best() -> None:
    summary = made_summary()
    summary["verdict"] = {"sentence": "No method beats the prompt.", "winner": None, "beats_prompt": False}
    del summary["methods"]["lora"]
    page = read_page(render(summary))
    assert page.find("div", kind="tile")[0].text.startswith("neurons + mean-difference, separation 0.78")
    assert not page.find("tr", kind="top")


def test_a_prompt_that_is_only_a_control_is_still_a_row() -> None:
    summary = made_summary()
    del summary["methods"]["prompt"]
    (cell,) = row_of(read_page(render(summary)), "prompt").find("td", data_measure="separation")
    assert cell.find("span", kind="value")[0].text == "0.27"


def test_frontier_marks_every_method_and_draws_the_unproven_hollow() -> None:
    (figure,) = read_page(render(made_summary())).find("section", id="frontier")[0].find("figure")
    for form in ("wide", "narrow"):
        (drawing,) = figure.find("div", kind=form)[0].find("svg")
        assert len(drawing.find(kind="mark")) == 10
        (hollow,) = drawing.find(kind="hollow")
        assert hollow.text.startswith("contrastive-wanda: 0.11")
        labels = sorted(label.text for label in drawing.find("text", kind="label"))
        names = [n for n in made_summary()["methods"] if n != "contrastive-sparse"]
        assert labels == sorted(names)
        assert len(drawing.find(kind="curve")) == 8
        assert len(drawing.find(kind="budget")) == 3
        assert len(drawing.find("rect", kind="band")) == 1


def test_costs_far_off_are_arrows_unless_they_are_many() -> None:
    few = read_page(render(wide_summary(2))).find("section", id="frontier")[0]
    assert "contrastive-tilt, 2.10 at × 24.00" in few.text
    assert "log scale" not in few.text
    assert "log scale" in read_page(render(wide_summary(6))).find("section", id="frontier")[0].text


def test_answers_keep_their_text_and_markup_is_inert() -> None:
    summary = made_summary()
    summary["examples"][0] = {
        "question": HOSTILE,
        "answers": {"unworn": HOSTILE, "neurons": {"plus": HOSTILE, "minus": "no"}},
    }
    summary["methods"][HOSTILE] = copy.deepcopy(summary["methods"]["neurons"])
    summary["methods"]["contrastive-sparse"]["error"] = HOSTILE
    summary["verdict"]["sentence"] = HOSTILE
    summary["command"] = HOSTILE
    summary["contrast"] |= {"name": HOSTILE, "notes": [HOSTILE]}
    summary["model"]["name"] = HOSTILE
    summary["drift"][HOSTILE] = summary["drift"]["neurons"]
    summary["distribution"][HOSTILE] = {"layers": [1, 2], "modules": {HOSTILE: 3}}
    summary["specificity"]["rows"][0] = HOSTILE
    page = read_page(render(summary))
    assert len(page.find("script")) == 1
    assert not page.find("img")
    assert not any(name.startswith("on") for element in page.find() for name in element.attributes)
    assert page.find("p", kind="verdict")[0].text == HOSTILE
    assert page.find("pre", id="command")[0].text == HOSTILE
    assert HOSTILE in page.find("div", kind="plus")[0].text


@pytest.mark.parametrize("make", [made_summary, crowded_summary, least_summary])
def test_nothing_comes_from_outside_and_ids_are_unique(make: Callable[[], dict[str, Any]]) -> None:
    html = render(make())
    page = read_page(html)
    ids = [element.attributes["id"] for element in page.find() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.find():
        for name in ("src", "href", "xlink:href", "action", "poster", "data"):
            target = element.attributes.get(name, "#")
            assert target == "data:," or (target.startswith("#") and (target == "#" or target[1:] in ids))
    assert "//" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.S)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_figures_are_named_and_have_their_numbers_as_tables() -> None:
    page = read_page(render(made_summary()))
    for drawing in page.find("svg", role="img"):
        title, desc = drawing.attributes["aria-labelledby"].split()
        assert drawing.find("title", id=title)[0].text
        assert drawing.find("desc", id=desc)[0].text
    for name in ("frontier", "budgets", "distribution", "drift"):
        assert page.find("section", id=name)[0].find("table", kind="numbers")
    numbers = page.find("section", id="drift")[0].find("table")[0].find("tr")
    assert len(numbers) == 1 + 8


def test_specificity_prints_values_and_outlines_the_own_trait() -> None:
    summary = made_summary()
    summary["specificity"]["values"][0][1] = measure(-0.44, 0.1)
    summary["specificity"]["values"][1][0] = None
    (table,) = read_page(render(summary)).find("table", kind="heat")
    assert len(table.find("td", kind="own")) == 5
    cell = table.find("tbody")[0].find("tr")[0].find("td")[1]
    assert cell.text == "−0.44 [−0.54, −0.35]"
    assert cell.attributes == {"class": "down", "style": "--t:0.800"}
    assert table.find("tbody")[0].find("tr")[1].find("td")[0].text == "–"


def test_caveats_name_what_this_comparison_shows() -> None:
    text = read_page(render(made_summary())).find("section", id="caveats")[0].text
    assert "need not carry over" in text
    assert "local judge, AUC 0.93 [0.90, 0.96]" in text
    assert "the generated answers do not: trained-subnetwork, contrastive-tilt." in text
    assert "(drawn hollow): contrastive-wanda." in text
    assert "held against no effect alone: few-shot, prompt." in text
    assert "Outside the perplexity budget on the test split, not comparable with the rest: trained-subnetwork." in text
    assert "Failed, no or partial figures: contrastive-sparse." in text
    assert "Two statements that occur under both poles were left out." in text


def test_caveats_name_loops_and_few_items() -> None:
    summary = made_summary()
    name, entry = next((name, entry) for name, entry in summary["methods"].items() if "generation" in entry["measures"])
    figure = entry["measures"]["generation"]
    entry["measures"]["fluency"] = {**figure, "plus_repeat": 0.02, "minus_repeat": 0.31, "unworn_repeat": 0.03}
    entry["measures"]["separation"]["n"] = 16
    text = read_page(render(summary)).find("section", id="caveats")[0].text
    assert f"repeat themselves much more than those of the unworn model: {name}." in text
    assert "separation (16)" in text
    entry["measures"]["fluency"]["minus_repeat"] = 0.12
    assert "repeat themselves" not in read_page(render(summary)).find("section", id="caveats")[0].text


def test_provenance_names_everything_needed_to_compute_it_again() -> None:
    summary = made_summary()
    section = read_page(render(summary)).find("section", id="provenance")[0]
    assert section.find("pre")[0].text == summary["command"]
    for fact in ("134,515,008", "sha256:5be1c0", "60 plus + 60 minus, 0be4aa", "torch 2.13.0", "52 min 07 s", "34.70"):
        assert fact in section.text


def test_rendering_is_pure_and_writing_complete(tmp_path: Path) -> None:
    summary = made_summary()
    before = copy.deepcopy(summary)
    html = render(summary)
    assert summary == before
    assert render(summary) == html
    assert write_report(summary, tmp_path / "out" / "report.html").read_text(encoding="utf-8") == html
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_a_page_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = write_report(made_summary(), tmp_path / "report.html")
    old = path.read_bytes()
    with pytest.raises(TemperamentError):
        write_report(made_summary() | {"format_version": 2}, path)
    assert path.read_bytes() == old


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "format version 2, this release reads 1"),
        ({"format_version": None}, "format version None"),
        ({"methods": []}, "no 'methods'"),
        ({"model": None}, "no 'model'"),
    ],
)
def test_another_summary_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TemperamentError, match=re.escape(words)):
        render(made_summary() | change)
