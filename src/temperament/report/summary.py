"""Reading the summary of a comparison: a plain dict whose optional parts and figures may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temperament.errors import TemperamentError

FORMAT_VERSION = 1
#: Methods by what they change: marker and colour of a figure follow these.
FAMILIES = {
    "mask": "edit",
    "neurons": "edit",
    "vector": "edit",
    "heads": "edit",
    "subnetwork": "edit",
    "prompt": "text",
    "few-shot": "text",
    "lora": "trained",
    "combination": "combination",
}
#: Measures that are 0 (or .5, 50, 1) by definition when nothing is worn, so that the unworn control says nothing.
RELATIVE = ("separation", "auc", "transfer_separation", "transfer_auc", "two_choice", "perplexity")


def number(value: Any) -> float | None:
    """A finite number, or None: NaN, infinities, booleans and texts are missing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


@dataclass(frozen=True)
class Figure:
    """A measured value; ``low`` and ``high`` are its 95 % interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> tuple[float, float]:
        """The interval, or the value twice."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high


def figure(entry: Any) -> Figure | None:
    """A ``{"value", "low", "high", "n", …}`` entry (or a bare number) as a Figure; None when it holds no value."""
    if not isinstance(entry, Mapping):
        bare = number(entry)
        return None if bare is None else Figure(bare)
    value = number(entry.get("value"))
    if value is None:
        return None
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        low = high = None
    count = number(entry.get("n"))
    extra = {key: item for key, item in entry.items() if key not in ("value", "low", "high", "n")}
    return Figure(value, low, high, None if count is None else int(count), extra)


def figures(entries: Any) -> dict[str, Figure]:
    """The entries that hold a value, by name."""
    found = {str(name): figure(entry) for name, entry in mapping(entries).items()}
    return {name: item for name, item in found.items() if item is not None}


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """``value`` if it is a list or tuple, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


@dataclass(frozen=True)
class Method:
    """One method of the comparison. ``raw`` is its entry in the summary."""

    name: str
    kind: str
    measures: Mapping[str, Figure]
    controls: Mapping[str, Mapping[str, Figure]]
    raw: Mapping[str, Any]
    within_budget: bool | None

    @property
    def family(self) -> str:
        return FAMILIES.get(self.kind, "edit")

    @property
    def error(self) -> str | None:
        error = self.raw.get("error")
        return str(error) if error else None

    @property
    def perplexity(self) -> float | None:
        """Perplexity ratio of the costlier pole on neutral text."""
        measure = self.measures.get("perplexity")
        return measure.value if measure else number(self.raw.get("perplexity"))

    def control(self, name: str, measure: str) -> Figure | None:
        return self.controls.get(name, {}).get(measure)

    def randoms(self, measure: str) -> list[Figure]:
        """The random controls of a measure, one per seed."""
        named = (figures for name, figures in self.controls.items() if name.startswith("random"))
        return [figures[measure] for figures in named if measure in figures]

    def empty(self, measure: str) -> list[Figure]:
        """Controls that must show no effect: random edits and shuffled labels."""
        shuffled = self.control("shuffled", measure)
        return [*self.randoms(measure), *([shuffled] if shuffled else [])]

    def stands_out(self, measure: str, neutral: float = 0.0) -> bool | None:
        """Whether the interval lies wholly on one side of ``neutral`` and of every empty control's interval.

        None when the measure is missing. A method without empty controls (a prompt) is held against ``neutral`` alone.
        """
        effect = self.measures.get(measure)
        if effect is None:
            return None
        low, high = effect.reach
        spans = [(neutral, neutral), *(control.reach for control in self.empty(measure))]
        return low > max(top for _, top in spans) or high < min(bottom for bottom, _ in spans)


def read_methods(summary: Mapping[str, Any]) -> list[Method]:
    """Every method in the summary's order; a prompt known only as a control becomes a row of its own, at the end."""
    if summary.get("format_version") != FORMAT_VERSION:
        raise TemperamentError(
            f"the summary has format version {summary.get('format_version')!r}, this release reads {FORMAT_VERSION}",
            "run temperament compare again, or use the release that wrote it",
        )
    for key in ("model", "contrast", "methods"):
        if not isinstance(summary.get(key), Mapping):
            raise TemperamentError(f"the summary has no {key!r}", "give the summary.json of temperament compare")
    budget = number(summary.get("budget"))
    methods = [_method(str(name), mapping(raw), budget) for name, raw in summary["methods"].items()]
    if not any(method.kind == "prompt" for method in methods):
        known = [method.controls["prompt"] for method in methods if method.controls.get("prompt")]
        if known:
            raw: dict[str, Any] = {"summary": "the system prompt that the other methods are compared with"}
            cost = known[0].get("perplexity")
            within = None if cost is None or budget is None else cost.value <= budget
            methods.append(Method("prompt", "prompt", known[0], {}, raw, within))
    return methods


def _method(name: str, raw: Mapping[str, Any], budget: float | None) -> Method:
    controls = {str(label): figures(entries) for label, entries in mapping(raw.get("controls")).items()}
    within = raw.get("within_budget")
    method = Method(name, str(raw.get("kind", "")), figures(raw.get("measures")), controls, raw, None)
    if not isinstance(within, bool):
        cost = method.perplexity
        within = None if cost is None or budget is None else cost <= budget
    return Method(name, method.kind, method.measures, controls, raw, within)


def prompt_of(methods: Sequence[Method]) -> Method | None:
    """The baseline to beat."""
    return next((method for method in methods if method.kind == "prompt" and method.measures), None)


def leader(summary: Mapping[str, Any], methods: Sequence[Method]) -> Method | None:
    """The verdict's winner, or without one the method with the largest separation within the budget."""
    name = mapping(summary.get("verdict")).get("winner")
    chosen = next((method for method in methods if method.name == name), None)
    if chosen is not None:
        return chosen
    ranked = [m for m in methods if "separation" in m.measures and m.within_budget is not False and m.kind != "prompt"]
    return max(ranked, key=lambda method: method.measures["separation"].value, default=None)


def controls(method: Method, measure: str) -> list[tuple[str, list[Figure]]]:
    """The controls to be shown beside a figure, by label: the random ones together, shuffled, swapped, with a prompt.

    ``unworn`` only where it says something, ``swapped`` only where order matters.
    """
    named = {"shuffled": "shuffled", "swapped": "swapped", "prompt + method": "with prompt"}
    if measure in ("perplexity", "fluency", "capability"):
        del named["swapped"]
    if measure not in (*RELATIVE, "generation"):
        named = {"unworn": "unworn", **named}
    found = [("random", method.randoms(measure))]
    found += [(label, [item]) for key, label in named.items() if (item := method.control(key, measure))]
    return [(label, figures) for label, figures in found if figures]
