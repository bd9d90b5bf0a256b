"""What a smaller checkpoint does and costs, beside the dense model and cuts that know less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from temperament.calibration import Contrast
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.controls import random_pair
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.passages import Passages, passage_array
from temperament.evaluation.perplexity import neutral_passages, perplexity
from temperament.evaluation.run import check_pair
from temperament.evaluation.separation import separation
from temperament.evaluation.statements import Statements, statement_changes
from temperament.export.cut import Cut, Scores, choose, magnitude, random_scores, removal
from temperament.export.energy import importance
from temperament.export.sizes import Sizes
from temperament.models import LoadedModel
from temperament.personas import Plan
from temperament.personas.kinds import kind_of
from temperament.timing import Pairing, alternate
from temperament.wear import wear

#: Prompt and answer of one timed generation, in tokens.
_PROMPT, _ANSWER = 16, 32
#: The row of what is written.
EXPORTED = "exported"
#: The rows of two controls: chosen by what a random pair keeps, and by nothing at all.
RANDOM_PAIR, RANDOM_CHANNELS = "random pair of personas", "channels at random"


@dataclass(frozen=True)
class Variant:
    """One row of the table: what is worn for the exported pole and for the other one, and the parameters left."""

    name: str
    own: Plan
    other: Plan
    smaller: bool


@dataclass(frozen=True)
class Figures:
    """Perplexity on neutral text as a ratio to the dense unworn model, and separation where both poles are there."""

    perplexity: Measured
    separation: Measured | None

    def as_json(self) -> dict[str, Any]:
        found = {"perplexity": self.perplexity.as_json()}
        return {**found, "separation": self.separation.as_json()} if self.separation else found


def pair_of(plan: Plan, against: Plan) -> tuple[Plan, Plan]:
    """Both plans, plus first; an error unless they are the poles of one pair."""
    if len(plan.items) != 1 or len(against.items) != 1:
        raise TemperamentError(
            f"a separation is that of one pair, not of {plan} and {against}", "wear one pole and name the other"
        )
    ordered = (plan, against) if plan.items[0][0].pole == "plus" else (against, plan)
    check_pair(ordered[0].items[0][0], ordered[1].items[0][0])
    return ordered


def variants(
    lm: LoadedModel,
    plan: Plan,
    against: Plan | None,
    sizes: Sizes,
    *,
    merged: bool,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Cut, list[Variant]]:
    """The cut by what the plan keeps, and all rows: dense, exported, and the same sizes chosen in other ways.

    Each pole is cut by its own mask; importance unworn, magnitude and chance know no persona and cut both alike. Where
    it can be made (``random_sides``), a random pair of personas goes through the same.
    What is cut is worn as a mask on the dense model: the same function, without a second copy of the weights.
    """
    full = Sizes.of(lm)

    def scored(worn: Plan, label: str) -> Scores:
        with wear(lm, worn):
            return importance(lm, (lambda done, total: progress(label, done, total)) if progress else None)

    def cut_by(scores: Scores, name: str, worn: Plan | None = None) -> tuple[Cut, Plan]:
        cut = choose(scores, full, sizes)
        texts = frozenset(key for persona, _ in worn.active for key in persona.groups) if worn else frozenset()
        return cut, Plan.of(removal(lm, cut, name, texts))

    def row(name: str, own: Plan, other: Plan, worn: tuple[Plan, Plan]) -> Variant:
        if merged:
            own, other = worn[0] + own, worn[1] + other
        return Variant(name, own, other, smaller=True)

    unworn = scored(Plan(), "importance, unworn")
    random = random_sides(lm, plan, against, seed) if against else None
    worn = plan, against or Plan()
    own = [cut_by(scored(side, "importance, worn") if side.active else unworn, EXPORTED, side) for side in worn]
    rows = [Variant("dense, unworn", Plan(), Plan(), smaller=False)]
    if plan.active:
        rows.append(Variant("dense, worn", *worn, smaller=False))
    rows.append(row(EXPORTED, own[0][1], own[1][1], worn))
    if random:
        masks = [cut_by(scored(side, "importance, random"), RANDOM_PAIR, side)[1] for side in random]
        rows.append(row(RANDOM_PAIR, masks[0], masks[1], random))
    others = {"importance unworn": unworn} if plan.active else {}
    others |= {"magnitude": magnitude(lm), RANDOM_CHANNELS: random_scores(lm, seed)}
    for name, scores in others.items():
        _, same = cut_by(scores, name)
        rows.append(row(name, same, same, worn))
    return own[0][0], rows


def random_sides(lm: LoadedModel, plan: Plan, against: Plan, seed: int) -> tuple[Plan, Plan] | None:
    """The random control of a pair, at its strengths; None where it needs statistics that neither persona holds."""
    poles = [side.items[0][0] for side in pair_of(plan, against)]
    kind, statistics = kind_of(poles[0]), poles[0].signatures or poles[1].signatures
    if kind is None or (kind.random_needs(poles[0]) and statistics is None):
        return None
    made = dict(zip(POLES, random_pair(lm, poles[0], poles[1], seed, statistics), strict=True))
    own, other = (Plan(tuple((made[persona.pole], s) for persona, s in side.items)) for side in (plan, against))
    return own, other


def measure(
    ledger: Ledger, rows: Sequence[Variant], test: Contrast | None, *, minus: bool = False, seed: int = 0
) -> dict[str, Figures]:
    """Figures of every row; ``test`` are the statements that both poles are told apart by.

    ``minus`` says that the exported pole is the minus pole.
    """
    text, statements = Passages(neutral_passages()), Statements(test) if test else None
    base = passage_array(ledger.run(text, Plan(), "unworn"))
    found: dict[str, Figures] = {}
    for row in rows:
        passages = passage_array(ledger.run(text, row.own, row.name))
        effect = None
        if statements:
            sides = [ledger.run(statements, side, f"{row.name}-{at}") for at, side in enumerate((row.own, row.other))]
            effect = separation(*statement_changes(*(reversed(sides) if minus else sides)), seed=seed)
        found[row.name] = Figures(perplexity(passages, passages, base, seed=seed), effect)
    return found


def speed(dense: PreTrainedModel, small: PreTrainedModel, rounds: int = 7, rows: int = 1) -> Pairing:
    """Seconds of greedy generation of the dense and the small model, in turn, for ``rows`` requests at once."""
    ids = torch.arange(_PROMPT, device=dense.device).add(5).expand(rows, -1)

    @torch.inference_mode()
    def generate(model: PreTrainedModel) -> None:
        model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=_ANSWER,
            max_new_tokens=_ANSWER,
            pad_token_id=0,
        )

    return alternate(lambda: generate(dense), lambda: generate(small), rounds)


def speed_figures(pairing: Pairing, rounds: int, rows: int = 1) -> Mapping[str, float]:
    """Generated tokens per second of both, and how many times faster the small one is."""
    tokens = rows * _ANSWER
    return {
        "dense": tokens / pairing.first,
        "exported": tokens / pairing.second,
        "ratio": pairing.ratio,
        "rounds": rounds,
        "requests": rows,
    }
