"""What the tables on the five traits share: calibration texts, and the adjective of a pole as a prompt."""

from __future__ import annotations

from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.builtin import TRAITS
from temperament.compare.candidates import Candidate
from temperament.compare.settings import PROMPT
from temperament.evaluation.alignment import ADJECTIVES
from temperament.personas import Persona
from temperament.reproduce.bench import Bench
from temperament.reproduce.table import Row

TRAIT_NAMES = tuple(trait.name for trait in TRAITS)


def trait_contrasts(bench: Bench) -> dict[str, Contrast]:
    """The calibration texts of the five built-in traits."""
    found = {}
    for trait in TRAIT_NAMES:
        texts = resolve_contrast(trait, limit=bench.settings.calibration, seed=bench.seed)
        bench.data[trait] = {"calibration": {"hash": texts.hash, "items": texts.items}}
        found[trait] = texts
    bench.note(
        "every method's personas come from the built-in texts of the five traits; the paper finds its neurons in what "
        "the model writes when it plays a role, and probes and trains on other texts"
    )
    return found


def trait_candidate(bench: Bench, trait: str, texts: Contrast, row: Row) -> Candidate:
    """A method's pair for a trait; the prompt is the adjective of the pole (NPTI's simple prompt)."""
    if row.name != PROMPT:
        return bench.candidate(trait, texts, row)
    row.settings |= {"prompt": "an adjective"}
    high, low = (Persona.from_prompt(_said(word), f"adjective-{word}") for word in ADJECTIVES[trait])
    return Candidate(PROMPT, "prompt", "", "the adjective of the pole", high, low)


def _said(adjective: str) -> str:
    article = "an" if adjective[0] in "aeiou" else "a"
    return f"You are {article} {adjective} person."
