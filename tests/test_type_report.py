"""Tables and figures of the sixteen types, of fixed values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shown import cells, shown

from temperament.analyze.types import READINGS, Condition, TypesPoint, TypesStudy
from temperament.evaluation.axis_types import NAMES, TYPES, poles_of, switch
from temperament.report import type_figures
from temperament.report.figures import save_figure
from temperament.report.type_tables import effect_table, success_table, type_tables


def made_study(names: Sequence[str] = TYPES, size: float = 0.3, values: Sequence[float] = (0.5, 1.0)) -> TypesStudy:
    """Types that are worn with an effect of ``size`` per unit of what is varied; controls and prompt without one."""
    rng = np.random.default_rng(0)

    def condition(effect: float) -> Condition:
        worn = {
            name: {
                axis: (effect if pole == "plus" else -effect) + size * rng.normal(0, 0.5, 12)
                for axis, pole in poles_of(name).items()
            }
            for name in names
        }
        base = {axis: np.zeros(12) for axis in NAMES}
        answers = {name: {axis: own.clip(-2, 2) for axis, own in row.items()} for name, row in worn.items()}
        switches = {reading: switch(worn if "statements" in reading else answers, base, seed=0) for reading in READINGS}
        return Condition(switches, dict.fromkeys(names, 1.04))

    points = tuple(TypesPoint(value, condition(size * value), condition(0.0)) for value in values)
    own = dict.fromkeys(NAMES, -0.1)
    scores = {"questionnaire": own, "statements": own}
    return TypesStudy(
        "contrastive-saliency", "strength", points, condition(0.1 * size), "INFP", scores,
        {"model": {"name": "smollm2-135m"}},
    )  # fmt: skip


def test_the_table_of_success_is_whole_and_every_head_names_its_reading() -> None:
    text = shown(success_table(made_study()))
    first, second = (line.split() for line in text.splitlines()[1:3])
    assert first == ["form", "form", "change", "change", "texts", "texts", "ppl", "×"]
    assert second == ["strength", *["types", "axes"] * 3, "median"]
    assert "texts: likelihood of test statements" in text
    assert cells(text, "chance") == ["6", "50"] * 3


def test_rows_of_types_are_whole_even_where_a_model_is_broken() -> None:
    for size in (0.3, 400.0):
        study = made_study(size=size)
        form, statements = map(shown, type_tables(study, study.points[1]))
        assert all(cells(text, "ESTJ") for text in (form, statements))
    margins = [part for part in cells(statements, "ESTJ") if part.startswith("(")]
    assert all("." not in part for part in margins), "large ones without decimals"


def test_an_effect_needs_both_poles() -> None:
    assert effect_table(made_study(["ESTJ"])) is None
    table = effect_table(made_study(["ESTJ", "ESTP"]))
    assert table is not None
    text = shown(table)
    assert cells(text, "strength 1")[:6] == ["–"] * 6
    assert float(cells(text, "strength 1")[6]) > 0
    assert "nan" not in text
    whole = effect_table(made_study())
    assert whole is not None
    assert "–" not in shown(whole).partition("\n")[2].replace("1–5", "")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures as they were saved."""
    kept: list[Any] = []

    def keeping(plt: Any, figure: Any, path: Path) -> Path:
        kept.append(figure)
        return save_figure(plt, figure, path)

    monkeypatch.setattr(type_figures, "save_figure", keeping)
    return kept


def test_small_margins_are_pale_and_the_colours_have_a_scale(drawn: list[Any], tmp_path: Path) -> None:
    for size in (0.01, 3.0):
        study = made_study(size=size)
        type_figures.heat_map(study, study.points[1], tmp_path / "map.png")
    small, large = ([axes.images[0] for axes in figure.axes if axes.images] for figure in drawn)
    assert [image.get_clim() for image in small] == [(-0.5, 0.5), (-0.1, 0.1)]
    assert all(image.colorbar is not None for image in (*small, *large))
    assert large[0].get_clim()[1] == pytest.approx(float(np.abs(large[0].get_array()).max()))


def test_one_radar_has_room_for_its_title_and_legend(drawn: list[Any], tmp_path: Path) -> None:
    study = made_study(["ESTJ"])
    path = type_figures.radar_plots(study, study.points[1], tmp_path / "radar.png")
    (figure,) = drawn
    box = figure.bbox
    for part in (*figure.legends, figure._suptitle):
        own = part.get_window_extent()
        assert box.x0 <= own.x0 < own.x1 <= box.x1
    width, _ = struct.unpack(">II", path.read_bytes()[16:24])
    assert width >= 900
