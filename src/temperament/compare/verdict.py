"""One sentence about what a comparison showed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from temperament.evaluation.loops import goes_round

#: Trained, and so an upper bound rather than something found in the model.
TRAINED = ("lora",)


def verdict(methods: Mapping[str, Any], budget: float, trait: str) -> dict[str, Any]:
    """Which method within the budget separates most, whether it beats its controls and a plain prompt.

    ``winner`` is None where no edit within the budget stands clear of its controls. An adapter that was trained counts
    as an upper bound and cannot win. ``generation_agrees`` is None where no answer was judged.
    """
    prompt = methods.get("prompt", {})
    said = prompt["measures"]["separation"] if "measures" in prompt else None
    clear = {name: entry for name, entry in methods.items() if _may_win(name, entry) and _low(entry) > _noise(entry)}
    if not clear:
        return {"sentence": _no_winner(methods, budget, trait, said), "winner": None} | _UNDECIDED
    name = max(clear, key=lambda name: _separation(clear[name])["value"])
    found, generation = _separation(clear[name]), clear[name]["measures"].get("generation")
    beats = said is not None and found["low"] > said["high"]
    agrees = generation["low"] > 0 if generation and math.isfinite(generation["value"]) else None
    sentence = (
        f"{name} separates {trait} by {found['value']:.2f} nats/token [{found['low']:.2f}, {found['high']:.2f}] at "
        f"× {clear[name]['perplexity']:.2f} perplexity; its random and shuffled controls reach "
        f"{_noise(clear[name], 'value'):.2f} (interval ends {_noise(clear[name]):.2f})"
    )
    if said and beats and said["low"] > 0:
        sentence += (
            f"; it goes {found['value'] / said['value']:.1f} times as far as a system prompt ({said['value']:.2f})"
        )
    elif said and beats:
        sentence += f"; a system prompt reaches {said['value']:.2f}"
    elif said:
        interval = f"{said['value']:.2f} [{said['low']:.2f}, {said['high']:.2f}]"
        sentence += f"; it does not clearly beat a system prompt ({interval})"
    sentence += _others({key: entry for key, entry in methods.items() if key not in (name, "prompt")}, found["value"])
    if agrees is not None:
        changes = "changes the same way" if agrees else "does not clearly change"
        sentence += f"; what it writes {changes} (local judge)"
        if goes_round(methods[name]["measures"].get("fluency", {})):
            sentence += ", but repeats itself more than unworn answers do"
    return {"sentence": f"{sentence}.", "winner": name, "beats_prompt": beats, "generation_agrees": agrees}


_UNDECIDED = {"beats_prompt": False, "generation_agrees": None}


def _no_winner(methods: Mapping[str, Any], budget: float, trait: str, said: Mapping[str, float] | None) -> str:
    if any("measures" in entry for name, entry in methods.items() if name != "prompt"):
        sentence = f"No method within × {budget:.2f} perplexity separates {trait} by more than its controls do."
    else:
        sentence = "No method but the system prompt was measured." if said else "No method could be measured."
    return f"{sentence} A system prompt reaches {said['value']:.2f} nats/token." if said else sentence


def _may_win(name: str, entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("within_budget")) and name != "prompt" and entry["kind"] not in TRAINED


def _others(methods: Mapping[str, Any], most: float) -> str:
    """The best of the others, and who went further than ``most`` at a higher price than was allowed."""
    reached = {key: _separation(entry)["value"] for key, entry in methods.items() if _finite(entry)}
    fits = {key: value for key, value in reached.items() if methods[key].get("within_budget")}
    beyond = {key: value for key, value in reached.items() if key not in fits and value > most}
    text = ""
    if fits:
        second = max(fits, key=lambda key: fits[key])
        text += f"; {second}, the best of the others, reaches {fits[second]:.2f}"
    if beyond:
        first = max(beyond, key=lambda key: beyond[key])
        text += f"; beyond the budget {first} reaches {beyond[first]:.2f} at × {methods[first]['perplexity']:.2f}"
    return text


def _finite(entry: Mapping[str, Any]) -> bool:
    return "measures" in entry and math.isfinite(_separation(entry)["value"])


def _separation(entry: Mapping[str, Any]) -> Mapping[str, float]:
    found: Mapping[str, float] = entry["measures"]["separation"]
    return found


def _low(entry: Mapping[str, Any]) -> float:
    return _separation(entry)["low"]


def _noise(entry: Mapping[str, Any], *ends: str) -> float:
    """The farthest from 0 that an edit without meaning reaches, on either side: the interval unless ``ends`` says else.

    With the interval no method wins whose effect the report shows as not told apart from its controls. A control
    without a figure (a random edit that breaks the model) leaves everything possible.
    """
    empty = [
        figures["separation"]
        for name, figures in entry.get("controls", {}).items()
        if name.startswith("random") or name == "shuffled"
    ]
    reached = [abs(control[end]) for control in empty for end in ends or ("value", "low", "high")]
    return max((end if math.isfinite(end) else math.inf for end in reached), default=0.0)
