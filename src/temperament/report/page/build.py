"""Builds the page: a pure function from the summary of a comparison to HTML, and an atomic write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from temperament.atomic import encode_text, write_bytes
from temperament.report.page import numbers
from temperament.report.page.caveats import caveats, judge_label
from temperament.report.page.curves import counts, drift_figure, drift_series, drift_span, layers_figure
from temperament.report.page.frontier import band, bend, frontier, points, tuning
from temperament.report.page.provenance import provenance
from temperament.report.page.rows import budget_figure, budget_rows
from temperament.report.page.svg import Drawing
from temperament.report.page.table import columns, method_rows
from temperament.report.summary import (
    Figure,
    Method,
    figure,
    leader,
    mapping,
    number,
    prompt_of,
    read_methods,
    sequence,
)

Sized = Callable[..., Drawing | None]


def render(summary: Mapping[str, Any]) -> str:
    """The report as one HTML page that needs no network; parts that the summary lacks are left out.

    Raises TemperamentError when the summary has another format version or lacks model, contrast or methods.
    """
    methods = sorted(read_methods(summary), key=_rank)
    top = leader(summary, methods)
    version = mapping(summary.get("versions")).get("temperament")
    return _environment().get_template("page.html").render(
        summary=summary,
        model=summary["model"],
        contrast=summary["contrast"],
        verdict=mapping(summary.get("verdict")),
        judge=judge_label(summary),
        tiles=_tiles(summary, methods, top),
        methods=methods,
        top=top,
        families=list(dict.fromkeys(point.method.family for point in points(methods))),
        hollow=any(not point.solid for point in points(methods)),
        bent=bend(points(methods)) is not None,
        banded=band(methods) is not None,
        frontier=_both(partial(frontier, summary, methods)),
        tuning=[(method.name, rows) for method in methods if (rows := tuning(method))],
        columns=columns(methods),
        rows=method_rows(methods),
        budgets=_both(partial(budget_figure, methods)),
        budget_rows=budget_rows(methods),
        examples=_examples(summary),
        specificity=_specificity(summary),
        layers=_layers(summary),
        drift=_drift(summary),
        caveats=caveats(summary, methods),
        provenance=provenance(summary),
        footer=[text for text in (version, summary.get("created")) if text],
    )  # fmt: skip


def write_report(summary: Mapping[str, Any], path: Path) -> Path:
    """Write the page to ``path``, complete or not at all."""
    write_bytes(path, encode_text(render(summary)))
    return path


def _rank(method: Method) -> float:
    """Strongest separation first, methods without one last."""
    effect = method.measures.get("separation")
    return float("inf") if effect is None else -effect.value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("temperament.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": numbers.plain,
        "interval": numbers.interval,
        "ratio": numbers.ratio,
        "seconds": lambda value: numbers.seconds(number(value)),
        "size": numbers.size,
    }
    environment.globals |= {"heading": numbers.heading, "number": number, "mapping": mapping, "sequence": sequence}
    return environment


def _both(draw: Sized) -> dict[str, Drawing] | None:
    """A figure in its wide and narrow forms."""
    wide, narrow = draw(narrow=False), draw(narrow=True)
    return {"wide": wide, "narrow": narrow} if wide and narrow else None


def _tiles(summary: Mapping[str, Any], methods: Sequence[Method], top: Method | None) -> list[dict[str, Any]]:
    """The two or three numbers that carry the verdict: the leader's effect, the prompt's, what the judge saw."""
    prompt = prompt_of(methods)
    tiles = [_effect(top)] if top else []
    if prompt and prompt is not top:
        tiles.append(_effect(prompt))
    generation = top.measures.get("generation") if top else None
    cost = top.perplexity if top else None
    if top and generation:
        randoms = top.randoms("generation")
        tiles.append(
            {
                "label": f"{top.name}, generated answers",
                "value": generation,
                "text": numbers.plain(generation.value),
                "unit": str(mapping(summary.get("judge")).get("label") or "judge") + ", plus − minus",
                "beside": [f"random controls {numbers.spread(randoms)}"] if randoms else [],
            }
        )
    elif top and cost is not None:
        budget = number(summary.get("budget"))
        beside = [] if budget is None else [f"budget {numbers.ratio(budget)}"]
        measure = top.measures.get("perplexity") or Figure(cost)
        text = numbers.ratio(cost)
        tiles.append(
            {"label": f"{top.name}, cost", "value": measure, "text": text, "unit": "perplexity", "beside": beside}
        )
    return [tile for tile in tiles if tile["value"] is not None]


def _effect(method: Method) -> dict[str, Any]:
    effect, empty = method.measures.get("separation"), method.empty("separation")
    beside = [f"random, shuffled {numbers.spread(empty)}"] if empty else []
    if method.perplexity is not None:
        beside.append(f"perplexity {numbers.ratio(method.perplexity)}")
    text = numbers.plain(effect.value if effect else None)
    return {
        "label": f"{method.name}, separation",
        "value": effect,
        "text": text,
        "unit": "nats/token",
        "beside": beside,
    }


def _examples(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Questions with the unworn answer and, per method, those of either pole; without any answer left out."""
    found = []
    for entry in sequence(summary.get("examples")):
        answers = mapping(mapping(entry).get("answers"))
        pairs = {
            str(name): {side: text for side in ("plus", "minus") if isinstance(text := pair.get(side), str)}
            for name, pair in answers.items()
            if isinstance(pair, Mapping)
        }
        pairs = {name: pair for name, pair in pairs.items() if pair}
        unworn = answers.get("unworn")
        if pairs or isinstance(unworn, str):
            unworn = unworn if isinstance(unworn, str) else None
            found.append({"question": str(mapping(entry).get("question", "")), "unworn": unworn, "pairs": pairs})
    return found


def _specificity(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows of cells with their tint, −1 … 1 of the largest magnitude."""
    given = mapping(summary.get("specificity"))
    names, traits = ([str(item) for item in sequence(given.get(key))] for key in ("rows", "columns"))
    grid = [[figure(entry) for entry in sequence(row)] for row in sequence(given.get("values"))]
    present = [abs(item.value) for item in chain.from_iterable(grid) if item]
    if not names or not traits or not present:
        return None
    top = max(present) or 1.0
    rows = []
    for name, row in zip(names, grid, strict=False):
        cells = [
            {"figure": item, "tint": abs(item.value) / top if item else 0.0, "own": trait in (name, given.get("own"))}
            for trait, item in zip(traits, row, strict=False)
        ]
        rows.append(
            {"name": name, "cells": cells + [{"figure": None, "tint": 0.0, "own": False}] * (len(traits) - len(cells))}
        )
    return {"columns": traits, "rows": rows}


def _layers(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for index, (name, entry) in enumerate(mapping(summary.get("distribution")).items()):
        drawing = layers_figure(str(name), mapping(entry), f"layers-{index}")
        modules = {str(k): n for k, v in mapping(mapping(entry).get("modules")).items() if (n := number(v)) is not None}
        table = {part: column for part in ("layers", "plus", "minus") if (column := counts(mapping(entry).get(part)))}
        if drawing:
            top = max(modules.values(), default=0.0) or 1.0
            depth = max(map(len, table.values()))
            found.append(
                {"name": name, "figure": drawing, "modules": modules, "top": top, "table": table, "depth": depth}
            )
    return found


def _drift(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = mapping(summary.get("drift"))
    span = drift_span(entries)
    found = []
    for index, (name, entry) in enumerate(entries.items()):
        drawing = drift_figure(str(name), mapping(entry), f"drift-{index}", span)
        if drawing:
            series = drift_series(mapping(entry))
            turns = sorted({turn for side in series.values() for turn, _ in side})
            table = {side: dict(pairs) for side, pairs in series.items()}
            found.append({"name": name, "figure": drawing, "turns": turns, "table": table})
    return found
