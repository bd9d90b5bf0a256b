"""Terminal tables of extractions, evaluations, persona files and lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from temperament.evaluation import Evaluation
from temperament.evaluation.bootstrap import Measured
from temperament.report.page.numbers import size
from temperament.report.plain_words import described, pairs


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table without lines: first column left, figures right."""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 1),
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def shortened(name: str, most: int) -> str:
    """A name of at most that many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def interval(measured: Measured, digits: int = 2) -> str:
    """``1.48 [1.18, 1.79]``, ``.60 [.40, .79]``; without an interval just the value."""
    if measured.low != measured.low:
        return _figure(measured.value, digits)
    return f"{_figure(measured.value, digits)} [{_figure(measured.low, digits)}, {_figure(measured.high, digits)}]"


def signed(value: float, digits: int = 2) -> str:
    """A change with its sign, 0 without one; short however large it is, and a dash for no number."""
    if math.isnan(value):
        return "–"
    text = f"{value:+.{digits if abs(value) < 10 else 0}f}"
    return text if text.strip("+-0.") else text[1:]


def _figure(value: float, digits: int) -> str:
    """A number without its leading zero, and 0 without a sign."""
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        return text.lstrip("-").replace("0.", ".", 1)
    return text.replace("0.", ".", 1) if abs(value) < 1 and digits else text


_FORMATS = {"separation": 2, "auc": 2, "two_choice": 0, "perplexity": 2}
_HEADINGS = {
    "separation": "separation\n(nats/token)",
    "auc": "AUC",
    "two_choice": "two-choice\n(%)",
    "perplexity": "perplexity\n(ratio)",
}


def evaluation_table(result: Evaluation) -> Table:
    """Measures of the worn pair in the first row, every control below it, each with its 95 % interval."""
    table = plain_table("", *(_HEADINGS.get(name, name) for name in result.measures), title=_title(result))
    for label, measures in {"worn": result.measures, **result.controls}.items():
        cells = [interval(measured, _FORMATS.get(name, 2)) for name, measured in measures.items()]
        table.add_row(label, *cells, style="bold" if label == "worn" else None, end_section=label == "worn")
    if caption := _caption(result):
        table.caption, table.caption_justify = caption, "left"
    return table


def _title(result: Evaluation) -> str:
    model, data = result.provenance["model"]["name"], result.provenance["data"]
    method = result.provenance["personas"]["plus"].get("method") or {}
    items = data["items"]
    texts = f"{data['name']}, {data['split']} split, {items['plus']} + {items['minus']} texts"
    return f"{method.get('name', 'prompt')} on {model}; {texts}"


def _caption(result: Evaluation) -> str:
    parts = []
    if "perplexity" in result.measures:
        extra = result.measures["perplexity"].extra
        parts.append(
            f"perplexity: unworn {extra['base']:.1f}; plus × {extra['plus']:.2f}, minus × {extra['minus']:.2f}; "
            "the larger is shown"
        )
    if "two_choice" in result.measures:
        extra = result.measures["two_choice"].extra
        rule = "untold" if extra["affirmation"] is None else f"{extra['affirmation']:.1f} %"
        parts.append(
            f"two-choice: one-sided {extra['one_sided']:.1f} %, raw two-sided {extra['raw_two_sided']:.1f} %; "
            f"always the affirmative option scores {rule} one-sided ({extra['affirmation_untold']} items untold)"
        )
        parts += _balanced(extra["balanced"])
    parts.append("[ ] 95 % bootstrap interval over items; unworn separation is 0 and AUC .50 by definition")
    return "\n".join(parts)


def _balanced(part: Mapping[str, Any]) -> list[str]:
    """The figure on the format-balanced subset; nothing where the test was balanced as it stood."""
    if part["n"] == part["of"]:
        return []
    if part["value"] is None:
        return [f"format-balanced: no subset of the {part['of']} items is, so a habit cannot be told from the persona"]
    value = interval(Measured(part["value"], part["low"], part["high"], part["n"]), 0)
    return [
        f"format-balanced: two-sided {value} %, one-sided {part['one_sided']:.0f} % on {part['n']} of {part['of']} "
        f"items ({part['affirmative']} affirmative, {part['negative']} negative, {part['untold']} untold matches; "
        f"words {part['mean_words'][0]:.1f} against {part['mean_words'][1]:.1f})"
    ]


def comparison_table(results: Mapping[str, Evaluation], costs: Mapping[str, Measured], title: str) -> Table:
    """Separation of several methods, each beside its own controls and its cost in perplexity."""
    table = plain_table("method", "worn", "random", "shuffled", "ppl ratio", title=title)
    for name, result in results.items():
        randoms = [m["separation"].value for label, m in result.controls.items() if label.startswith("random")]
        shuffled = result.controls.get("shuffled")
        table.add_row(
            name,
            interval(result.measures["separation"]),
            _range(randoms),
            interval(shuffled["separation"]) if shuffled else "–",
            cost_text(costs[name].value),
        )
    return table


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    shown = [_figure(value, 2) for value in sorted(values)]
    return shown[0] if len(shown) == 1 else f"{shown[0]} … {shown[-1]}"


def cost_text(ratio: float) -> str:
    """A perplexity ratio, as ``× 1.39``."""
    return f"× {ratio:,.0f}" if ratio >= 100 else f"× {ratio:.2f}"


def extraction_table(result: Mapping[str, Any]) -> Table:
    """One fact a row."""
    seconds = result["seconds"]
    rows = {
        "model": f"{result['model']['name']} ({result['model']['family']})",
        "contrast": f"{result['contrast']['name']}, {result['contrast']['split']} split",
        "method": f"{result['method']} {pairs(result['parameters'])}",
        "items": f"{result['items']['plus']:,} plus, {result['items']['minus']:,} minus",
        "tokens counted": f"{result['tokens']['plus']:,} plus, {result['tokens']['minus']:,} minus",
        **next((facts(found) | _expert_facts(found) for found, facts in _found(result)), {}),
        "seconds": ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items()),
        "file sizes": ", ".join(
            f"{name} {size(count)}"
            for name, count in {**result["bytes"], "signatures": result["signature_bytes"]}.items()
        ),
    }
    return _facts(rows)


def _mask_facts(masks: Mapping[str, Any]) -> dict[str, str]:
    ratio = masks["differential_ratio"]
    return {
        "weights pruned": f"{100 * masks['sparsity']:.1f} %",
        "masks of the poles": f"Jaccard {masks['jaccard']:.3f}; entries that differ: {100 * ratio['all']:.1f} % "
        f"(attention {100 * ratio['attention']:.1f} %, MLP {100 * ratio['mlp']:.1f} %)",
    }


def _sparsegpt_facts(found: Mapping[str, Any]) -> dict[str, str]:
    reports = found["hessians"].items()
    singular = {pole: sum(map(len, own["singular"].values())) for pole, own in reports}
    return {
        **_mask_facts(found),
        "Hessians": "; ".join(
            f"{pole} {own['count']}, {singular[pole]} singular without damping, damping raised for "
            f"{len(own['raised'])} Linears"
            for pole, own in reports
        ),
    }


def _neuron_facts(neurons: Mapping[str, Any]) -> dict[str, str]:
    facts = {"neurons": f"{neurons['plus']:,} of the plus pole, {neurons['minus']:,} of the minus pole"}
    facts |= {f"by layer, {pole}": " ".join(map(str, neurons["by_layer"][pole])) for pole in ("plus", "minus")}
    if neurons["saturated"]:
        facts["saturated"] = f"{neurons['saturated']} have their 95th percentile beyond the histogram"
    return facts


def _vector_facts(vectors: Mapping[str, Any]) -> dict[str, str]:
    if vectors["place"] == "residual":
        rows = zip(vectors["layers"], vectors["norms"], vectors["relative"], strict=True)
        return {"length by layer": "; ".join(f"{n}: {norm:.2f} ({100 * part:.0f} %)" for n, norm, part in rows)}
    heads = sorted(vectors["heads"], key=lambda head: -head["accuracy"])
    shown = ", ".join(f"{head['layer']}.{head['head']} ({100 * head['accuracy']:.0f} %)" for head in heads[:8])
    return {"heads": f"{len(heads)} of {vectors['of']}", "best probes": f"{shown}{' …' if len(heads) > 8 else ''}"}


def _lora_facts(lora: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"training, {pole}": f"{own['steps']} steps in {own['seconds']:.0f} s; loss by epoch (nats/token) "
        + " ".join(f"{value:.2f}" for value in own["loss_by_epoch"])
        for pole, own in lora.items()
    }


def _subnetwork_facts(subnetwork: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "weights": f"{subnetwork['plus']:,} of the plus pole, {subnetwork['minus']:,} of the minus pole, "
        f"of {subnetwork['of']:,} ({100 * subnetwork['plus'] / subnetwork['of']:.2g} % each)"
    }
    for pole in ("plus", "minus"):
        facts[f"by layer, {pole}"] = " ".join(map(str, subnetwork["by_layer"][pole]))
        facts[f"by module, {pole}"] = pairs(subnetwork["by_module"][pole])
    return facts


def _expert_facts(found: Mapping[str, Any]) -> dict[str, str]:
    """How many tokens experts saw, and which saw too few, where there are any experts."""
    if "experts" not in found:
        return {}
    experts = found["experts"]
    seen = ", ".join(f"{fewest} to {most} {pole}" for pole, (fewest, most) in experts["tokens"].items())
    rule = (
        f"{len(experts['unmasked'])} of {experts['of']}, seen by fewer than {experts['least_tokens']} tokens of a pole"
    )
    return {
        "tokens per expert": seen,
        "experts left alone": ": ".join(filter(None, (rule, _runs(experts["unmasked"])))),
    }


def _runs(names: Sequence[str]) -> str:
    """Numbered names block by block, consecutive numbers as a range: ``model.layers.0.mlp.experts.0-3,7``."""
    blocks: dict[str, list[list[int]]] = {}
    for name in names:
        block, _, number = name.rpartition(".")
        runs = blocks.setdefault(block, [])
        if runs and runs[-1][-1] + 1 == int(number):
            runs[-1][1:] = [int(number)]
        else:
            runs.append([int(number)])
    return ", ".join(f"{block}.{','.join('-'.join(map(str, run)) for run in runs)}" for block, runs in blocks.items())


#: How the statistics of each kind of edit are worded.
_KINDS: dict[str, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    "masks": _mask_facts,
    "sparsegpt": _sparsegpt_facts,
    "neurons": _neuron_facts,
    "vectors": _vector_facts,
    "lora": _lora_facts,
    "subnetwork": _subnetwork_facts,
}


def _found(result: Mapping[str, Any]) -> Iterator[tuple[Any, Callable[[Mapping[str, Any]], dict[str, str]]]]:
    return ((result[kind], facts) for kind, facts in _KINDS.items() if kind in result)


def description_table(description: Mapping[str, Any]) -> Table:
    """A persona file, one fact a row; nested values joined, figures rounded, hashes cut."""
    return _facts(described(description))


def listing_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of equal keys as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for key in rows[0]:
        table.add_column(key, overflow="fold", no_wrap=key == "name")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    return table


def _facts(rows: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in rows.items():
        table.add_row(key, Text(value))
    return table
