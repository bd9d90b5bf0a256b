"""One sentence about what a comparison showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Trained, and so an upper bound rather than something found in the model.
TRAINED = ("lora",)


def verdict(methods: Mapping[str, Any], budget: float, trait: str) -> dict[str, Any]:
    """Which method within the budget separates most, whether it beats its controls and a plain prompt.

    ``winner`` is None where no edit within the budget stands clear of its controls. An adapter that was trained counts
    as an upper bound and cannot win.
    """
    fit = {
        name: entry
        for name, entry in methods.items()
        if entry.get("within_budget") and name != "prompt" and entry["kind"] not in TRAINED
    }
    clear = {name: entry for name, entry in fit.items() if _low(entry) > _noise(entry)}
    prompt = methods.get("prompt", {})
    said = prompt["measures"]["separation"] if "measures" in prompt else None
    if not clear:
        sentence = f"No method within × {budget:.2f} perplexity separates {trait} by more than its controls do."
        if said:
            sentence += f" A system prompt reaches {said['value']:.2f} nats/token."
        return {"sentence": sentence, "winner": None, "beats_prompt": False, "generation_agrees": None}
    name = max(clear, key=lambda name: _separation(clear[name])["value"])
    best = clear[name]
    found = _separation(best)
    beats = said is not None and found["low"] > said["high"]
    generation = best["measures"].get("generation")
    agrees = None if generation is None else bool(generation["low"] > 0)
    sentence = (
        f"{name} separates {trait} by {found['value']:.2f} nats/token [{found['low']:.2f}, {found['high']:.2f}] at "
        f"× {best['perplexity']:.2f} perplexity; its controls reach {_noise(best):.2f}"
    )
    if said:
        times = f", {found['value'] / said['value']:.1f} times as far" if said["value"] > 0 else ""
        sentence += (
            f", a system prompt {said['value']:.2f}{times}"
            if beats
            else (
                f", and it does not clearly beat a system prompt ({said['value']:.2f} [{said['low']:.2f}, "
                f"{said['high']:.2f}])"
            )
        )
    if agrees is not None:
        sentence += (
            "; what it writes changes the same way (local judge)."
            if agrees
            else "; what it writes does not clearly change (local judge)."
        )
    else:
        sentence += "."
    return {"sentence": sentence, "winner": name, "beats_prompt": beats, "generation_agrees": agrees}


def _separation(entry: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = entry["measures"]["separation"]
    return found


def _low(entry: Mapping[str, Any]) -> float:
    return _separation(entry)["low"]


def _noise(entry: Mapping[str, Any]) -> float:
    """The largest separation, of either sign, that an edit without meaning reached."""
    empty = [
        abs(figures["separation"]["value"])
        for name, figures in entry.get("controls", {}).items()
        if name.startswith("random") or name == "shuffled"
    ]
    return max(empty, default=0.0)
