"""Tables at 80 columns: nothing cut, no two heads that read as one, no figure without a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shown import cells, shown
from test_analyze_neurons import persona, save

from temperament.analyze.hidden_states import Apart, Band
from temperament.analyze.masks import MaskAnalysis
from temperament.analyze.neurons import analyze_neurons
from temperament.analyze.separating import PersonaPair, RandomPair
from temperament.cli import listing
from temperament.cli.main import app
from temperament.evaluation.bootstrap import Measured
from temperament.evaluation.dial import Dialled
from temperament.evaluation.rank_scores import score_rankings
from temperament.evaluation.ranking import Rankings
from temperament.personas import Persona
from temperament.personas.dial import Dial, DialData
from temperament.personas.overlap import Overlap
from temperament.report.dial_table import dial_table
from temperament.report.judge_tables import rank_table
from temperament.report.mask_tables import states_table
from temperament.report.neuron_tables import layers_table, neurons_table, overlap_table
from temperament.report.role_tables import choice_table
from temperament.report.tables import listing_table, signed


def test_no_word_of_the_contrasts_is_broken() -> None:
    rows = listing._contrasts()
    text = shown(listing_table([listing._narrow(row) for row in rows]))
    assert len(text.splitlines()) == 1 + len(rows)
    assert cells(text, "name") == ["plus", "minus", "calib.", "valid.", "test"]
    assert cells(text, "role-tibald-quince") == ["Tibald", "Quince", "the", "other", "five", "20", "12", "16"]


def test_the_four_columns_of_role_play_are_named() -> None:
    figure = {"value": 100.0, "low": 100.0, "high": 100.0, "n": 12}
    rows = ("told", "untold", "prior", "told, prior off", "untold, prior off")
    kinds = {kind: {**dict.fromkeys(rows, figure), "chance": 25.0, "n": 12} for kind in ("who", "reply")}
    text = shown(choice_table({"unworn": kinds, "worn": kinds}, "Orla Venn"))
    lines = [line.split() for line in text.splitlines()]
    assert lines[1:3] == [["quote", "quote", "reply", "reply"], ["%", "unworn", "worn", "unworn", "worn"]]
    assert cells(text, "untold, prior off") == ["100", "[100,", "100]"] * 4
    assert "reply: which reply fits, 12 items" in text


def test_names_of_neuron_personas_stand_in_full_beside_chance(tmp_path: Path) -> None:
    names = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
    one = persona({0: 0.5, 3: -0.2, 4: 0.3, 7: 0.9})
    found = analyze_neurons(save(tmp_path, **dict.fromkeys(names, one)))
    text = shown(overlap_table(found), whole=False)
    assert text.splitlines()[1].split() == ["agreeablene…", "conscientio…", "extraversion", "neuroticism", "openness"]
    assert cells(text, "neuroticism ") == ["(0.333)"] * 3 + ["1.000", "100", "%"]  # 2 of 6 by chance
    assert cells(shown(layers_table(found)), "layer") == sorted(names)
    assert "%" in shown(neurons_table(found))
    long = {f"{name}-scenes": one for name in names}
    heads = layers_table(analyze_neurons(save(tmp_path / "long", **long))).columns[1:]
    assert {len(str(head.header)) for head in heads} == {13}, "as much as there is room for"


def test_chance_of_sets_of_these_sizes_is_what_independent_sets_give() -> None:
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        first, second = (set(torch.randperm(100, generator=rng)[:count].tolist()) for count in (40, 20))
        found.append(len(first & second) / len(first | second))
    expected = 40 * 20 / 100
    assert np.mean(found) == pytest.approx(expected / (60 - expected), abs=0.01)


def test_hidden_states_name_the_random_pair_once() -> None:
    def band(value: float) -> Band:
        return Band((value, value), (value, value), (value, value))

    def apart(value: float) -> Apart:
        return Apart(band(value), band(-value), band(value / 2), {})

    overlap = Overlap((), np.zeros(0), np.zeros(0), np.zeros(0))
    control = RandomPair(overlap, apart(0.6), (band(0.2), band(0.3)))
    pair = PersonaPair("a", "b", True, overlap, apart(0.8), (control,))
    analysis = MaskAnalysis("m", 2, {}, True, (pair,), {"a": band(0.9), "b": band(0.7)}, 12)
    text = shown(states_table(analysis, pair, {"a": "A", "b": "B"}))
    assert text.count("random") == 1
    worn, random = ["0.900", "0.700", "0.800", "-0.800", "0.400"], ["0.200", "0.300", "0.600", "-0.600", "0.300"]
    both = [part for own, other in zip(worn, random, strict=True) for part in (own, f"({other})")]
    assert cells(text, "1") == both
    bare = replace(pair, random=())
    text = shown(states_table(analysis, bare, {"a": "A", "b": "B"}))
    assert cells(text, "1") == worn
    assert "random" not in text


def test_a_dial_says_what_it_does_not_prove() -> None:
    data = DialData(name="extraversion", split="validation", hash="d" * 64, plus=42, minus=42, neutral="e" * 64)
    dial = Dial(
        strength=0.75, target="+1sd", goal=0.5, score=0.6, unworn=0.1, sd=0.4, budget=1.1, perplexity=1.05,
        reached=True, data=data, texts=("0" * 16,),
    )  # fmt: skip
    one = Dialled(Persona.from_prompt("Be loud.", "loud"), dial, Measured(0.5, 0.4, 0.6, 42), ())
    text = shown(dial_table([one]))
    assert [line.split() for line in text.splitlines()[2:4]] == [
        ["gain", "gain", "ppl"],
        ["strength", "unworn", "goal", "score", "(nats)", "(SD)", "ratio"],
    ]
    text = " ".join(text.split())
    assert "42 + 42 texts are the ones it was tuned on, so this proves nothing" in text
    assert "temperament evaluate" in text


def test_a_coefficient_that_is_not_there_is_a_dash_with_the_reason() -> None:
    for judges in (("anna",), ("anna", "ben")):
        tied = np.full((len(judges), 3, 2), 1.5)
        missing = dict.fromkeys(judges, 0)
        scores = replace(score_rankings(Rankings(("x", "y"), judges, tied, "warmth")), missing=missing)
        text = " ".join(shown(rank_table(scores)).split())
        assert "nan" not in text
        assert "Kendall's W of the questions – (on every question all methods tie)" in text
        why = "it takes two judges" if len(judges) == 1 else "all answers tie wherever two judges ranked"
        assert f"Kendall's W of the judges – ({why})" in text


def test_the_first_line_of_every_command_is_short() -> None:
    import typer

    def walk(command: object) -> None:
        for name, own in getattr(command, "commands", {}).items():
            line = own.help.partition("\n\n")[0]
            assert len(line) <= 50, (name, line)
            assert own.get_short_help_str(50).rstrip(".") == line.rstrip("."), name
            walk(own)

    walk(typer.main.get_command(app))


def test_a_change_of_nothing_has_no_sign() -> None:
    values = (-0.0, -0.004, 0.0, -0.006, 1.0, -123456.7, float("nan"))
    assert [signed(value) for value in values] == ["0.00", "0.00", "0.00", "-0.01", "+1.00", "-123457", "–"]
