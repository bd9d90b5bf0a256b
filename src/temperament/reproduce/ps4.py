"""PS Table 4: two-choice accuracy of every method on power, wealth and hallucination."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from temperament.calibration.format_balance import format_balance
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.choices import TwoChoice, choice_array
from temperament.evaluation.two_choice import affirmation, balanced_part, one_sided, two_choice
from temperament.personas import Plan
from temperament.reproduce.bench import Bench, control
from temperament.reproduce.paper import AFFIRMATION_COMPLETE, PS, PS_4, PS_4_MODEL
from temperament.reproduce.public_files import PublicPersona, no_files, read_personas
from temperament.reproduce.table import Column, Reproduced, Row

COLUMNS = (
    Column("paper", "paper", "paper", "%", overview=True),
    Column("one_sided", "one-sided", "ours", "%", overview=True),
    Column("affirmation", "always yes", "control", "%", overview=True),
    Column("two_sided", "two-sided", "ours", "%", overview=True),
    Column("balanced", "balanced", "ours", "%", overview=True),
    Column("random", "random", "control", "%"),
    Column("cost", "ppl", "control", "×", 2),
)

#: A perplexity ratio beyond which a model is called broken.
BROKEN = 10.0

NOTES = (
    "one-sided, as the paper: share of test questions whose matching answer is likelier (log-probability per token) "
    "while the persona is worn; two-sided, ours: the mean of that and of the share not chosen while the opposite is "
    "worn, 50 for every fixed habit",
    "always yes: what the rule “take the affirmative option” scores one-sided on the same items, where that option can "
    "be told; a one-sided figure means nothing without it",
    "a pair that does nothing but say yes and no scores the figure of “always yes” two-sided too: where that is near "
    "100, these items cannot tell the persona from a readiness to agree",
    "balanced, ours: two-sided on the largest subset in which as many matching answers say yes as no and in which the "
    "longer answer matches as often as the shorter; empty where there is no such subset",
    "random: two-sided figure of a random edit of the same size (seed 0); ppl: perplexity on neutral text, worn to "
    "unworn, the worse pole: where it is large the model is broken and its accuracy means nothing",
    "calibrated on up to 128 texts per pole with seed 42, unless said otherwise (PS App. K); the sparsity of the "
    "paper in this table is not at hand, so it is the project's default",
    "the paper's test files are longer than the copies that are commonly at hand, its model is another one, and how it "
    "scored an answer is not known here: compare shapes, not numbers",
)


def ps_4(bench: Bench) -> Reproduced:
    """Rows of methods, a group of columns per persona; all methods worn at strength 1, untuned, as the paper does."""
    personas = read_personas(bench)
    if not personas:
        raise no_files()
    rows = bench.rows(PS_4)
    unworn = control("unworn", "unworn")
    printed = {row.method: row.figures for row in PS_4}
    for persona in personas.values():
        _unworn(bench, persona, unworn)
        for row in rows:
            row.add(
                persona.name,
                paper=printed.get(row.name, {}).get(persona.name),
                affirmation=affirmation(persona.choices)["affirmation"],
            )
            bench.attempt(row, persona.name, partial(_method, bench, persona, row))
    bench.notes.extend([*NOTES, *_broken(rows)])
    rules = ", ".join(f"{name} {AFFIRMATION_COMPLETE[name]:.1f}" for name in personas)
    bench.notes.append(
        f"on the complete public test files the rule “always yes” was found to score {rules} (over which items is "
        "not known here): the control of the paper's own figures"
    )
    return bench.finish(
        "Two-choice accuracy, in %",
        f"{PS}, Table 4",
        PS_4_MODEL,
        dict.fromkeys(personas, COLUMNS),
        [unworn, *rows],
    )


def _broken(rows: Sequence[Row]) -> list[str]:
    """Which figures are those of a model that no longer writes language."""
    found = [
        f"{row.label} on {group} (× {cost.value:,.3g})"
        for row in rows
        for group, figures in row.figures.items()
        if isinstance(cost := figures.get("cost"), Measured) and not cost.value <= BROKEN
    ]
    return [f"the model is broken, and the accuracy means nothing, under {', '.join(found)}"] if found else []


def _unworn(bench: Bench, persona: PublicPersona, row: Row) -> None:
    base = choice_array(bench.ledger.run(TwoChoice(persona.choices, persona.name), Plan(), "unworn"))
    habit = affirmation(persona.choices)
    if habit["affirmation_untold"]:
        bench.note(
            f"{persona.name}: which option says yes cannot be told of {habit['affirmation_untold']} of "
            f"{len(persona.choices)} items; “always yes” is over the others"
        )
    subset = format_balance(persona.choices)
    bench.note(
        f"{persona.name}: balanced is over {len(subset.chosen)} of {subset.total} items, {subset.affirmative} with an "
        f"affirmative, {subset.negative} with a negative and {subset.untold} with an untold matching answer"
    )
    row.add(
        persona.name,
        one_sided=one_sided(persona.choices, base, seed=bench.seed),
        two_sided=(both := two_choice(persona.choices, base, base, seed=bench.seed)),
        balanced=balanced_part(both),
        affirmation=habit["affirmation"],
    )


def _method(bench: Bench, persona: PublicPersona, row: Row) -> None:
    candidate = bench.candidate(persona.name, persona.calibration, row)
    items, poles = TwoChoice(persona.choices, persona.name), (candidate.plus, candidate.minus)
    found = bench.sides(items, poles, row.name)
    plus, minus = choice_array(found.plus), choice_array(found.minus)
    row.add(
        persona.name,
        one_sided=one_sided(persona.choices, plus, seed=bench.seed),
        two_sided=(both := two_choice(persona.choices, plus, minus, seed=bench.seed)),
        balanced=balanced_part(both),
        cost=bench.cost(poles, f"{persona.name}-{row.name}"),
    )
    without = bench.random(candidate)
    if without:
        found = bench.sides(items, without, f"{row.name}-random")
        plus, minus = choice_array(found.plus), choice_array(found.minus)
        row.add(persona.name, random=two_choice(persona.choices, plus, minus, seed=bench.seed))
