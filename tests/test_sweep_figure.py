"""The figure of a sweep of fixed values: axes, labels, and series beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from temperament.analyze.axes import find_axis
from temperament.analyze.sweep import Sweep, SweepPoint
from temperament.evaluation import Evaluation
from temperament.evaluation.bootstrap import Measured
from temperament.report import sweep_figure as module
from temperament.report.figures import save_figure


def made_sweep(axis: str, values: Sequence[float | str], costs: Sequence[float], series: int = 1) -> Sweep:
    data = {"name": "extraversion", "split": "validation", "items": {"plus": 42, "minus": 42}}
    provenance = {"data": data, "model": {"name": "smollm2-135m"}}
    points = []
    for at, (value, cost) in enumerate(zip(values, costs, strict=True)):
        for line in range(series):
            effect = 0.1 + 0.2 * at + 0.05 * line
            measures = {
                "separation": Measured(effect, effect - 0.1, effect + 0.1, 42),
                "perplexity": Measured(cost + 0.01 * line, cost, cost + 0.02, 42),
            }
            random = {"separation": Measured(0.02, -0.1, 0.1, 42)}
            result = Evaluation(measures, {"random-0": random}, provenance)
            points.append(SweepPoint(value, f"method {line}", {}, result))
    return Sweep(find_axis(axis), tuple(points))


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Draws a sweep and gives the figure as it was saved."""
    kept: list[Any] = []

    def keeping(plt: Any, figure: Any, path: Path) -> Path:
        kept.append(figure)
        return save_figure(plt, figure, path)

    monkeypatch.setattr(module, "save_figure", keeping)

    def drawing(sweep: Sweep) -> Any:
        module.sweep_figure(sweep, tmp_path / "sweep.png")
        return kept[-1]

    return drawing


def test_a_cost_of_nothing_looks_like_nothing(draw: Any) -> None:
    figure = draw(made_sweep("strength", (0.5, 1.0), (1.001, 1.002)))
    assert figure.axes[1].get_ylim() == (0.95, 1.10)
    assert figure.axes[2].get_xlim() == (0.95, 1.10)
    figure = draw(made_sweep("strength", (0.5, 1.0), (1.1, 2.5)))
    assert figure.axes[1].get_ylim()[1] > 2.5
    assert draw(made_sweep("strength", (0.5, 1.0), (1.1, 25.0))).axes[1].get_yscale() == "log"


@pytest.mark.parametrize(("axis", "scale"), [("share", "log"), ("size", "log"), ("strength", "linear")])
def test_sizes_stand_on_a_logarithmic_scale(axis: str, scale: str, draw: Any) -> None:
    values = [value for value in find_axis(axis).values if not isinstance(value, str)]
    figure = draw(made_sweep(axis, values, [1.0 + 0.01 * at for at in range(len(values))]))
    for axes in figure.axes[:2]:
        assert axes.get_xscale() == scale
        if scale == "log":
            assert [label.get_text() for label in axes.get_xticklabels()] == [f"{value:g}" for value in values]


def test_labels_stay_inside_the_frame(draw: Any) -> None:
    words = ("a-rather-long-name", "another-long-names", "the-third-of-names")
    for costs in ((1.0, 1.05, 1.1), (1.2, 20.0, 900.0)):
        axes = draw(made_sweep("model", words, costs)).axes[2]
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 3
        assert all(box.x0 >= axes.bbox.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_series_stand_beside_each_other(draw: Any) -> None:
    for axis, values in (("strength", (0.5, 1.0)), ("share", (0.001, 0.01)), ("tokens", ("response", "all"))):
        sweep = made_sweep(axis, values, (1.0, 1.1), series=3)
        places = [
            module.places(sweep, [point for point in sweep.points if point.series == name]) for name in sweep.series
        ]
        assert len({place[0] for place in places}) == 3
        numbers = [float(at) if isinstance(value, str) else value for at, value in enumerate(values)]
        assert places[1] == pytest.approx(numbers)
        draw(sweep)
    alone = made_sweep("strength", (1.0,), (1.0,), series=2)
    assert module.places(alone, alone.points[:1]) == [1.0], "a single value has nowhere to go"
    draw(alone)
