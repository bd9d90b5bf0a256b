"""Format-balanced two-choice tests: what is chosen, that it is the most there is, and a habit's 50 %."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from test_cli import printed_json

from temperament.calibration import Choice, resolve_contrast
from temperament.calibration.balance import words
from temperament.calibration.choices import affirmative_option, two_choice_items
from temperament.calibration.format_balance import _BINS, FormatBalance, format_balance
from temperament.calibration.public import read_contrast
from temperament.cli.main import run
from temperament.evaluation.two_choice import balanced_part, two_choice


def item(matching: str, other: str, place: int = 0) -> Choice:
    options = (matching, other) if place == 0 else (other, matching)
    return Choice(f"Would you? {matching} {other}", options, place, f"{matching} {other}")


def yes(number: int, extra: int = 0) -> Choice:
    """The affirmative answer matches, and is longer by ``extra`` words."""
    return item(
        f"Yes to {number}{' really' * max(extra, 0)}.", f"No to {number}{' really' * max(-extra, 0)}.", number % 2
    )


def no(number: int, extra: int = 0) -> Choice:
    return item(
        f"No to {number}{' really' * max(extra, 0)}.", f"Yes to {number}{' really' * max(-extra, 0)}.", number % 2
    )


def neither(number: int, extra: int = 0) -> Choice:
    return item(f"Red {number}{' really' * max(extra, 0)}.", f"Blue {number}{' really' * max(-extra, 0)}.", number % 2)


def counts(found: FormatBalance) -> tuple[int, int, int]:
    return found.affirmative, found.negative, found.untold


def test_as_many_affirmative_as_negative_matches() -> None:
    items = [*(yes(n) for n in range(5)), *(no(n) for n in range(2)), neither(9)]
    found = format_balance(items)
    assert counts(found) == (2, 2, 1)
    assert set(found.chosen) > {5, 6, 7}
    assert (found.total, found.longer, found.complete) == (8, 50, False)
    assert found.mean_words is not None
    assert found.mean_words[0] == found.mean_words[1]


def test_longer_answers_match_as_often_as_shorter_ones_of_about_the_same_difference() -> None:
    items = [*(neither(n, 3) for n in range(4)), neither(10, -3), neither(11, -9), neither(12)]
    found = format_balance(items)
    assert len(found.chosen) == 3
    assert {4, 6} < set(found.chosen)  # the one that is shorter by nine words has no counterpart
    assert found.longer == 50


def test_a_test_may_have_no_balanced_subset_or_be_one() -> None:
    lopsided = format_balance([yes(n) for n in range(4)])
    assert (lopsided.chosen, lopsided.longer, lopsided.mean_words) == ((), None, None)
    assert format_balance([]).chosen == ()
    statements = two_choice_items(resolve_contrast("mbti-ei", split="test"))
    assert format_balance(statements).complete
    assert counts(format_balance(statements)) == (42, 42, 0)


def test_the_choice_depends_on_the_texts_alone() -> None:
    items = [*(yes(n, n % 3 - 1) for n in range(12)), *(no(n, n % 4 - 1) for n in range(5))]
    texts = {items[index].text for index in format_balance(items).chosen}
    mixed = items.copy()
    random.Random(1).shuffle(mixed)
    assert {mixed[index].text for index in format_balance(mixed).chosen} == texts
    assert 0 < len(texts) < len(items)


@pytest.mark.parametrize("seed", range(6))
def test_no_larger_subset_is_balanced(seed: int) -> None:
    rng = random.Random(seed)
    items = [rng.choice((yes, no, neither))(n, rng.choice((-5, -1, 0, 1, 1, 5))) for n in range(11)]
    found = format_balance(items)
    assert balanced([items[index] for index in found.chosen])
    best = max(size for size in range(12) if any(map(balanced, map(list, itertools.combinations(items, size)))))
    assert len(found.chosen) == best


def balanced(items: list[Choice]) -> bool:
    """The definition, item by item."""
    polarity, bins = 0, dict.fromkeys(_BINS, 0)
    for choice in items:
        option = affirmative_option(choice)
        polarity += 0 if option is None else 1 if option == choice.matching else -1
        lengths = [len(words(choice.options[place])) for place in (choice.matching, 1 - choice.matching)]
        difference = lengths[0] - lengths[1]
        if difference:
            bins[next(end for end in _BINS if abs(difference) <= end)] += 1 if difference > 0 else -1
    return polarity == 0 and not any(bins.values())


# --- the measure -----------------------------------------------------------------------------------------------------


def preferring(items: list[Choice], rule: int) -> np.ndarray:
    """Log-probabilities of a model that takes the affirmative (1) or the negative (−1) option of every item."""
    options = [affirmative_option(choice) for choice in items]
    leads = np.array([[1.0 * rule, 0.0] if option == 0 else [0.0, 1.0 * rule] for option in options])
    return np.stack([leads, leads], axis=2)


def test_a_habit_that_turns_with_the_persona_is_told_from_the_persona() -> None:
    """Saying yes under plus and no under minus looks like a perfect persona where yes always matches, and like none
    on the balanced subset; taking the matching answer is perfect on both."""
    items = [*(yes(n) for n in range(18)), *(no(n) for n in range(2))]
    habit = two_choice(items, preferring(items, 1), preferring(items, -1), seed=0)
    part = balanced_part(habit)
    assert part is not None
    assert [habit.value, part.value] == pytest.approx([90, 50])
    assert (part.n, part.extra["of"]) == (4, 20)
    matching = np.array([[[1.0], [0.0]] if choice.matching == 0 else [[0.0], [1.0]] for choice in items]).repeat(
        2, axis=2
    )
    real = two_choice(items, matching, 1 - matching, seed=0)
    part = balanced_part(real)
    assert part is not None
    assert [real.value, part.value] == pytest.approx([100, 100])


def test_without_a_subset_there_is_no_figure() -> None:
    items = [yes(n) for n in range(4)]
    found = two_choice(items, preferring(items, 1), preferring(items, -1), seed=0)
    assert (found.value, found.extra["balanced"]["value"], balanced_part(found)) == (100, None, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("Agree", "Disagree"), 0),
        (("Disagree", "Agree"), 1),
        (("That assumption is incorrect. It is not.", "In the lakes, bowls are kept."), 1),
        (("That's not accurate.", "It does."), 1),
        (("That is a fine plan.", "Another one."), None),
        (("Agreeable people", "Others"), None),
    ],
)
def test_more_ways_to_say_yes_and_no(options: tuple[str, str], expected: int | None) -> None:
    assert affirmative_option(Choice("?", options, 0, "?")) == expected


# --- files -----------------------------------------------------------------------------------------------------------


def test_matching_pairs_are_two_choice_items_in_either_order(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "question,matching,not_matching\n" + "".join(f"Would {n}?,More {n}.,Less {n}.\n" for n in range(40))
    )
    choices = read_contrast(path).choices
    assert len(choices) == 40
    assert all(choice.options[choice.matching].startswith("More") for choice in choices)
    assert 10 <= sum(choice.matching for choice in choices) <= 30


def test_the_figure_stands_beside_the_unbalanced_one(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "power.csv", tmp_path / "out"
    rows = [f"Would you take {n}?,Yes gladly {n}.,No never {n}." for n in range(30)]
    rows += [f"Would you leave {n}?,No never {n}.,Yes gladly {n}." for n in range(8)]
    path.write_text("\n".join(["question,matching,not_matching", *rows]) + "\n")
    model = ["--model", str(tiny_folders["llama"])]
    assert run(["extract", *model, "--contrast", str(path), "--out", str(out)]) == 0
    capsys.readouterr()
    pair = ["--plus", str(out / "plus.persona"), "--minus", str(out / "minus.persona")]
    command = ["evaluate", *model, *pair, "--data", str(path), "--measure", "two_choice", "--controls", "unworn"]
    assert run([*command, "--json"]) == 0
    part = printed_json(capsys)["measures"]["two_choice"]["balanced"]
    assert part["affirmative"] == part["negative"] > 0
    assert part["n"] < part["of"]
    assert part["longer"] == 50
    monkeypatch.setenv("COLUMNS", "200")
    assert run(command) == 0
    assert f"on {part['n']} of {part['of']} items" in capsys.readouterr().out


def test_public_files(data_dir: Path) -> None:
    """On the published hallucination test every matching answer says yes: no subset can tell it from a habit."""
    folder = data_dir / "persona_subnetworks"
    hallucination = read_contrast(folder / "h_test_infer.csv").choices
    assert {affirmative_option(choice) == choice.matching for choice in hallucination} == {True}
    assert format_balance(hallucination).chosen == ()
    for path in (*folder.glob("*test*.csv"), *data_dir.glob("caa/generate/*/*.json")):
        found = format_balance(read_contrast(path).choices)
        assert found.affirmative == found.negative
        assert found.longer in (None, 50)
    lines = (data_dir / "anthropic_evals" / "advanced-ai-risk" / "lm_generated_evals").glob("*.jsonl")
    for path in lines:
        found = format_balance(read_contrast(path).choices)
        assert len(found.chosen) > 300
        json.dumps(found.as_json(), allow_nan=False)
