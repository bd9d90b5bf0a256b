"""A made summary of a comparison: eleven methods, one that failed, one without most of its measures."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

from temperament.report.summary import FORMAT_VERSION

#: name, kind, separation, AUC, perplexity ratio, spread of its random controls, judged change of its answers
_METHODS: tuple[tuple[str, str, float, float, float, float, float], ...] = (
    ("wanda", "mask", 0.02, 0.53, 1.04, 0.02, 0.00),
    ("contrastive-wanda", "mask", 0.11, 0.60, 1.09, 0.13, 0.01),
    ("contrastive-tilt", "mask", 0.44, 0.79, 1.09, 0.15, 0.12),
    ("neurons", "neurons", 0.61, 0.88, 1.10, 0.09, 0.24),
    ("mean-difference", "vector", 0.71, 0.90, 1.08, 0.10, 0.19),
    ("heads", "heads", 0.29, 0.77, 1.06, 0.08, 0.03),
    ("prompt", "prompt", 0.27, 0.88, 0.99, 0.0, 0.21),
    ("few-shot", "few-shot", 0.49, 0.91, 1.02, 0.0, 0.27),
    ("lora", "lora", 1.02, 0.97, 1.10, 0.05, 0.31),
    ("trained-subnetwork", "subnetwork", 0.83, 0.93, 1.31, 0.20, 0.11),
    ("neurons + mean-difference", "combination", 0.78, 0.92, 1.10, 0.11, 0.28),
)


def measure(value: float, half: float = 0.15, n: int = 120, **extra: Any) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + 0.9 * half, "n": n, **extra}


def _measures(sep: float, area: float, cost: float, judged: float) -> dict[str, Any]:
    half = 0.04 + 0.16 * abs(sep)
    return {
        "separation": measure(sep, half),
        "auc": measure(area, min(0.07, 1 - area)),
        "perplexity": measure(cost, 0.03, 24, plus=cost, minus=1 + (cost - 1) * 0.7, base=34.7),
        "transfer_separation": measure(0.6 * sep, half),
        "transfer_auc": measure(0.5 + 0.7 * (area - 0.5), 0.08, 84),
        "generation": measure(
            judged, 0.06, 40, plus=0.55 + judged / 2, minus=0.55 - judged / 2, unworn=0.56, judge_auc=0.93
        ),
        "fluency": measure(21.3 + 40 * (cost - 1), 2.1, 40),
        "two_choice": measure(50 + 22 * judged, 6, 100, affirmation=51.0),
    }


def _method(rng: random.Random, row: tuple[str, str, float, float, float, float, float]) -> dict[str, Any]:
    name, kind, sep, area, cost, loose, judged = row
    strengths = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
    entry: dict[str, Any] = {
        "kind": kind,
        "equation": f"s = |w| · φ(z), {name}",
        "summary": f"how {name} changes the model, in one sentence",
        "strength": None if kind in ("prompt", "few-shot") else 0.82,
        "perplexity": cost,
        "perplexity_poles": {"plus": cost, "minus": 1 + (cost - 1) * 0.7},
        "within_budget": cost <= 1.1,
        "seconds": {"extract": 8.4, "tune": 61.0, "measure": 204.0},
        "bytes": None if kind in ("prompt", "few-shot") else 20_480,
        "measures": _measures(sep, area, cost, judged),
        "controls": {"unworn": _measures(0.0, 0.5, 1.0, 0.0), "swapped": _measures(-sep, 1 - area, cost, -judged)},
    }
    if loose:
        for index in range(3):
            entry["controls"][f"random-{index}"] = _measures(
                rng.uniform(-loose, loose), 0.5 + rng.uniform(-loose, loose) / 2, cost + 0.02, rng.uniform(-0.03, 0.03)
            )
        entry["controls"]["shuffled"] = _measures(rng.uniform(-loose, loose), 0.52, cost, 0.01)
        entry["controls"]["prompt"] = _measures(0.27, 0.88, 0.99, 0.21)
        entry["controls"]["prompt + method"] = _measures(sep + 0.2, min(area + 0.05, 0.99), cost, judged + 0.1)
        entry["tuning"] = [
            {
                "strength": s,
                "perplexity": 1 + (cost - 1) * (s / 0.82) ** 1.7,
                "separation": sep * 1.04 * math.tanh(1.4 * s) / math.tanh(1.4 * 0.82),
            }
            for s in strengths
        ]
        entry["by_budget"] = {
            key: {
                "strength": 0.82 * scale,
                "separation": measure(sep * scale, 0.04 + 0.16 * abs(sep)),
                "auc": measure(0.5 + (area - 0.5) * scale, 0.07),
                "perplexity": float(key) - 0.01,
            }
            for key, scale in (("1.05", 0.72), ("1.10", 1.0), ("1.25", 1.28))
        }
    return entry


def made_summary() -> dict[str, Any]:
    """A fresh, complete summary with every optional part."""
    rng = random.Random(5)
    methods = {row[0]: _method(rng, row) for row in _METHODS}
    methods["contrastive-sparse"] = {"kind": "mask", "error": "no budget is met: the smallest strength costs × 41.2"}
    methods["heads"]["measures"] = {"separation": methods["heads"]["measures"]["separation"]}
    del methods["wanda"]
    traits = ["extraversion", "agreeableness", "neuroticism", "openness", "conscientiousness"]
    questions = [
        "What do you enjoy most about your weekends?",
        "How do you feel before meeting a large group of people?",
    ]
    answers: dict[str, Any] = {
        name: {
            "plus": f"I love a full house, and {name} would say so too. There is always one more chair.\n\nCome along!",
            "minus": "A book, a window and nobody who asks. I would rather write a letter than make a call; "
            "it leaves time to think before one has to answer.",
        }
        for name in methods
        if name != "contrastive-sparse"
    }
    answers["unworn"] = (
        "I am glad you asked. I spend my free time reading, walking and trying new food from the market."
    )
    turns = list(range(1, 9))
    layers = [round(40 * math.exp(-(((i - 18) / 7) ** 2)) + 6 * rng.random()) for i in range(30)]
    return copy.deepcopy(
        {
            "format_version": FORMAT_VERSION,
            "model": {
                "name": "tiny-llama",
                "revision": "main",
                "fingerprint": "sha256:5be1c0",
                "dtype": "float32",
                "device": "cpu",
                "parameters": 134_515_008,
            },
            "contrast": {
                "name": "extraversion",
                "split_hashes": {"calibration": "a91f03", "validation": "77c2d1", "test": "0be4aa"},
                "items": {
                    split: {"plus": n, "minus": n}
                    for split, n in (("calibration", 120), ("validation", 40), ("test", 60))
                },
                "licence": "MIT",
                "notes": ["Two statements that occur under both poles were left out."],
            },
            "budget": 1.10,
            "budgets": [1.05, 1.10, 1.25],
            "seed": 0,
            "command": "temperament compare --model tiny-llama --contrast extraversion --methods all --out compare",
            "versions": {"temperament": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            "created": "2026-01-31",
            "seconds": 3127.4,
            "baseline": {"perplexity": 34.7, "answers": []},
            "methods": methods,
            "examples": [{"question": question, "answers": answers} for question in questions],
            "specificity": {
                "rows": traits,
                "columns": traits,
                "values": [
                    [measure(0.55 if a == b else rng.uniform(-0.28, 0.22), 0.09) for b in traits] for a in traits
                ],
            },
            "distribution": {
                "neurons": {
                    "layers": layers,
                    "plus": [n // 2 for n in layers],
                    "minus": [n - n // 2 for n in layers],
                    "modules": {"mlp.down": sum(layers)},
                },
                "contrastive-tilt": {
                    "layers": [n * 900 for n in reversed(layers)],
                    "modules": {"attn.q": 91_000, "attn.o": 102_000, "mlp.up": 310_400, "mlp.down": 288_100},
                },
            },
            "drift": {
                name: {
                    "turns": turns,
                    "plus": [measure(0.56 + lift * 0.86**turn, 0.05, 20) for turn in turns],
                    "minus": [measure(0.54 - lift * 0.8**turn, 0.05, 20) for turn in turns],
                    "unworn": [measure(0.55 + 0.01 * (turn % 3), 0.05, 20) for turn in turns],
                }
                for name, lift in (("neurons", 0.2), ("prompt", 0.24), ("lora", 0.3))
            },
            "judge": {"label": "local judge", "auc": measure(0.93, 0.03, 168)},
            "verdict": {
                "sentence": "Within a tenth more perplexity, lora separates the poles by 1.02 nats per token, "
                "beyond every control and beyond the system prompt.",
                "winner": "lora",
                "beats_prompt": True,
            },
        }
    )


def crowded_summary() -> dict[str, Any]:
    """Every method at nearly the same cost and effect: the hardest case for labels."""
    summary = made_summary()
    for index, entry in enumerate(summary["methods"].values()):
        if "measures" in entry:
            entry["measures"]["perplexity"] = measure(1.085 + 0.0015 * index, 0.02)
            entry["measures"]["separation"] = measure(0.5 + 0.015 * (index % 5), 0.12)
    return summary


def wide_summary(beyond: int) -> dict[str, Any]:
    """As many methods as named cost far more than the budget."""
    summary = made_summary()
    whole = [entry for entry in summary["methods"].values() if "measures" in entry]
    for index, entry in enumerate(whole[:beyond]):
        entry["measures"]["perplexity"] = measure(4.0 * 6.0**index, 0.5)
        entry["within_budget"] = False
        entry["measures"]["separation"] = measure(1.5 + 0.6 * index, 0.6)
    return summary


def least_summary() -> dict[str, Any]:
    """Nothing but what is required."""
    return {"format_version": FORMAT_VERSION, "model": {"name": "m"}, "contrast": {"name": "c"}, "methods": {}}
