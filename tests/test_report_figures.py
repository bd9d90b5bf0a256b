"""Parts of the report: labels that keep apart, axes, numbers, what stands out, and the terminal table."""

from __future__ import annotations

import io
import itertools
import random
from typing import Any

import pytest
from rich.console import Console
from summaries import least_summary, made_summary, measure

from temperament.errors import TemperamentError
from temperament.report.compare_table import compare_table
from temperament.report.page import render
from temperament.report.page.frontier import Point, bend
from temperament.report.page.labels import Box, Spot, place
from temperament.report.page.numbers import plain, ratio, seconds, size
from temperament.report.page.svg import Drawing, Scale, text_width, tick_text
from temperament.report.summary import Figure, Method, controls, leader, read_methods


def one(effect: dict[str, Any], **controls: dict[str, Any]) -> Method:
    entry = {
        "kind": "vector",
        "measures": {"separation": effect},
        "controls": {name.replace("_", "-"): {"separation": control} for name, control in controls.items()},
    }
    return read_methods(least_summary() | {"methods": {"one": entry}})[0]


@pytest.mark.parametrize(
    ("effect", "control", "out"),
    [
        (measure(0.5, 0.1), measure(0.1, 0.1), True),
        (measure(0.5, 0.1), measure(0.35, 0.1), False),
        (measure(-0.5, 0.1), measure(0.1, 0.1), True),
        (measure(-0.5, 0.1), measure(-0.45, 0.1), False),
        (measure(0.05, 0.1), measure(-0.9, 0.1), False),
        (measure(-0.5, 0.1), measure(-0.9, 0.1), False),
    ],
)
def test_an_effect_stands_out_on_one_side_of_nothing_and_of_every_control(
    effect: dict[str, Any], control: dict[str, Any], out: bool
) -> None:
    for name in ("random_1", "shuffled"):
        assert one(effect, **{name: control}).stands_out("separation") is out


def test_swapped_and_prompt_are_no_empty_controls() -> None:
    method = one(measure(0.5, 0.1), swapped=measure(-0.5, 0.1), prompt=measure(0.5, 0.1))
    assert method.stands_out("separation") is True
    assert method.stands_out("auc", 0.5) is None
    assert [label for label, _ in controls(method, "separation")] == ["swapped"]


def test_leader_is_the_winner_or_the_best_within_the_budget() -> None:
    summary = made_summary()
    methods = read_methods(summary)
    chosen = leader(summary, methods)
    assert chosen is not None
    assert chosen.name == "lora"
    summary["verdict"]["winner"] = None
    summary["methods"]["lora"]["within_budget"] = False
    chosen = leader(summary, read_methods(summary))
    assert chosen is not None
    assert chosen.name == "neurons + mean-difference"


def test_within_budget_is_worked_out_where_it_is_not_told() -> None:
    summary = made_summary()
    for name in ("lora", "trained-subnetwork", "neurons"):
        del summary["methods"][name]["within_budget"]
    del summary["methods"]["neurons"]["measures"]["perplexity"], summary["methods"]["neurons"]["perplexity"]
    told = {method.name: method.within_budget for method in read_methods(summary)}
    assert (told["lora"], told["trained-subnetwork"], told["neurons"]) == (True, False, None)


def test_labels_of_a_crowd_lie_apart_and_inside() -> None:
    rng = random.Random(1)
    bounds = Box(40, 40, 350, 430)
    for _ in range(6):
        spots = [Spot(rng.uniform(120, 165), rng.uniform(150, 260), "x" * rng.randint(4, 20)) for _ in range(11)]
        boxes = place(spots, bounds, size=11.5)
        assert len(boxes) == 11
        assert not any(a.overlap(b) for a, b in itertools.combinations(boxes, 2))
        assert all(box.inside(bounds) for box in boxes)
        for spot, box in zip(spots, boxes, strict=True):
            assert box.right - box.left == pytest.approx(text_width(spot.text, 11.5))


def test_a_lone_label_stands_right_beside_its_point() -> None:
    (box,) = place([Spot(100, 100, "name")], Box(0, 0, 300, 200), size=12)
    assert box.left == pytest.approx(111)
    assert box.top < 100 < box.bottom
    (box,) = place([Spot(290, 100, "name")], Box(0, 0, 300, 200), size=12)
    assert box.right == pytest.approx(279)


def test_scales_and_ticks() -> None:
    scale = Scale(0.0, 2.0, 100, 300)
    assert [scale(value) for value in (0, 1, 2)] == [100, 200, 300]
    assert scale.clamp(9) == 2
    assert Scale(-0.31, 1.27, 0, 1).ticks(6) == [0.0, 0.5, 1.0]
    assert Scale(0.97, 1.33, 0, 1).ticks(7) == [1.0, 1.1, 1.2, 1.3]
    log = Scale(0.9, 300, 0, 100, log=True)
    assert log.ticks(7) == [1, 3, 10, 30, 100, 300]
    assert log(0.9) == 0
    assert log(300) == pytest.approx(100)
    bent = Scale(-0.5, 8.0, 0, 400, bend=0.5)
    assert bent.ticks(6) == [-0.5, 0.0, 0.5, 1.0, 2.0, 5.0]
    assert bent(-0.5) == 0
    assert bent(8.0) == pytest.approx(400)
    assert bent(1) - bent(0) > bent(5) - bent(2), "compressed upwards"
    assert bent(-0.4) - bent(-0.5) == pytest.approx(bent(0.5) - bent(0.4)), "and downwards"
    assert tick_text([-0.5, 0.0, 0.25]) == ["−0.50", "0.00", "0.25"]
    assert tick_text([0, 1000]) == ["0", "1,000"]


def test_one_effect_far_beyond_many_others_bends_the_axis() -> None:
    def shown(*values: float) -> list[Point]:
        return [Point(one(measure(value, 0.1)), 1.0, Figure(value), True) for value in values]

    assert bend(shown(6.5, 0.9, 0.5, 0.1, -0.2, 0.0)) == 0.9
    assert bend(shown(6.5, 0.9, 0.5, 0.1, -1.2, 0.0)) == 1.2
    assert bend(shown(3.5, 0.9, 0.5, 0.1, 0.2, 0.0)) is None, "not far"
    assert bend(shown(6.5, 0.9, 0.5)) is None, "not many"
    assert bend(shown(6.5, 0.0, 0.0, 0.0, 0.0, 0.0)) is None
    summary = made_summary()
    assert "compressed upwards" not in render(summary)
    summary["methods"]["neurons"]["measures"]["separation"] = measure(40.0, 0.5)
    assert render(summary).count("compressed upwards") == 3, "both widths of the figure, and the caption"


def test_numbers_are_written_one_way() -> None:
    assert [plain(v) for v in (0.604, -0.15, -0.001, 12345.6, None)] == ["0.60", "−0.15", "0.00", "12,346", "–"]
    assert [ratio(v) for v in (1.0949, 245_233.0, None)] == ["× 1.09", "× 245,233", "–"]
    assert [seconds(v) for v in (8.24, 59.7, 200, 3905, None)] == [
        "8.2 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 05 min",
        "–",
    ]
    assert [size(v) for v in (512, 20_480, 820_000, None)] == ["512 B", "20 kB", "0.82 MB", "–"]


def test_a_drawing_escapes_what_it_is_given() -> None:
    drawing = Drawing('a"b', 10, 10, "<t>", "<d>")
    drawing.text(1, 2, "<b>&", "label")
    drawing.marker(1, 2, "circle", "edit", tip="<i>")
    html = str(drawing.__html__())
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;&amp;" in html
    assert "<title id" in html


def printed(summary: dict[str, Any], width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(compare_table(summary))
    return console.export_text()


def test_the_terminal_table_fits_80_columns_without_losing_a_figure() -> None:
    lines = printed(made_summary()).splitlines()
    row = next(line for line in lines if line.startswith("lora"))
    assert row.split() == ["lora", "1.02", "[.82,", "1.20]", "-.05", "…", ".05", ".97", ".83", ".31", "×", "1.10"]
    assert "contrastive-sparse failed: no budget is met: the smallest strength costs × 41.2" in "\n".join(lines)
    assert any(line.startswith("contrastive-wanda") and "~.11 [.05, .16]" in line for line in lines)
    assert any(line.startswith("trained-subnetwork") and line.endswith("× 1.31!") for line in lines)
    heads = next(line for line in lines if line.startswith("heads"))
    assert heads.split()[-5:] == ["–", "–", "–", "×", "1.06"]
    assert max(map(len, lines)) <= 80


def test_the_terminal_table_leaves_out_columns_that_nobody_has() -> None:
    summary = made_summary()
    for method in summary["methods"].values():
        method.get("measures", {}).pop("generation", None)
    del summary["judge"]
    text = printed(summary)
    assert "answers" not in text
    assert "local judge" not in text
    assert "trans-" in text


def test_the_terminal_table_takes_names_as_they_are() -> None:
    summary = made_summary()
    summary["methods"] = {"[bold]odd[/bold]": summary["methods"]["neurons"]}
    assert "[bold]odd[/bold]" in printed(summary, 110)
    with pytest.raises(TemperamentError, match="format version 3"):
        compare_table(summary | {"format_version": 3})
