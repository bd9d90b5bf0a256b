"""Splits, limits and hashes of contrasts; and the published files as they are read."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from expect import refused

from temperament.calibration import NEUTRAL_PROMPT, Choice, Contrast, Example, Split, resolve_contrast
from temperament.calibration.choices import affirmative_option, two_choice_items

SPLITS: tuple[Split, ...] = ("calibration", "validation", "test")


def statements(plus: int, minus: int) -> Contrast:
    def pole(name: str, count: int) -> tuple[Example, ...]:
        return tuple(Example(NEUTRAL_PROMPT, f"{name} {index}", f"{name} {index}") for index in range(count))

    return Contrast("made", pole("loud", plus), pole("quiet", minus))


def dialogues(count: int, answers: int = 3) -> Contrast:
    """Questions that several responses of both poles answer, each with a two-choice item."""
    prompts = [f"question {index}?" for index in range(count)]

    def pole(name: str) -> tuple[Example, ...]:
        return tuple(Example(prompt, f"{name} {index}", prompt) for prompt in prompts for index in range(answers))

    choices = tuple(Choice(prompt, ("yes", "no"), index % 2, prompt) for index, prompt in enumerate(prompts))
    return Contrast("asked", pole("loud"), pole("quiet"), choices)


def shuffled(contrast: Contrast, seed: int) -> Contrast:
    """The same data as another file would list it."""
    orders: dict[str, Any] = {}
    for name in ("plus", "minus", "choices"):
        items = list(getattr(contrast, name))
        random.Random(seed).shuffle(items)
        orders[name] = tuple(items)
    return replace(contrast, **orders)


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contrast", [statements(270, 223), dialogues(110), statements(3, 40)], ids=lambda c: c.name)
def test_splits_are_disjoint_and_complete(contrast: Contrast) -> None:
    parts = [contrast.select(split) for split in SPLITS]
    for items in ("plus", "minus", "choices"):
        together = [item for part in parts for item in getattr(part, items)]
        assert len(together) == len(getattr(contrast, items))
        assert set(together) == set(getattr(contrast, items))
    keys = [part.group_keys for part in parts]
    assert sum(map(len, keys)) == len(frozenset().union(*keys)), "a group lies in two splits"
    assert [part.split for part in parts] == list(SPLITS)


@pytest.mark.parametrize(("plus", "minus"), [(11, 11), (110, 220), (270, 223), (1000, 50)])
def test_each_pole_is_cut_six_two_three(plus: int, minus: int) -> None:
    contrast = statements(plus, minus)
    for split, share in zip(SPLITS, (6, 2, 3), strict=True):
        part = contrast.select(split)
        assert len(part.plus) == pytest.approx(plus * share / 11, abs=1)
        assert len(part.minus) == pytest.approx(minus * share / 11, abs=1)


def test_a_split_depends_on_the_texts_alone() -> None:
    contrast = dialogues(50)
    for split in SPLITS:
        expected = contrast.select(split)
        again = shuffled(contrast, 3).select(split)
        assert set(again.plus) == set(expected.plus)
        assert set(again.minus) == set(expected.minus)
        assert set(again.choices) == set(expected.choices)
        assert again.hash == expected.hash


def test_adding_texts_moves_few_others() -> None:
    """Ranks, not file positions, are cut: 10 % more texts leave nearly all others where they were."""
    before = set(statements(200, 200).select("test").plus)
    after = set(statements(220, 200).select("test").plus)
    assert len(before & after) > 0.75 * len(before)


def test_named_splits_are_followed_and_the_rest_is_divided() -> None:
    named = tuple(Example(NEUTRAL_PROMPT, f"named {index}", f"named {index}", "test") for index in range(5))
    contrast = replace(statements(110, 110), minus=(*statements(1, 110).minus, *named))
    assert set(named) <= set(contrast.select("test").minus)
    assert len(contrast.select("test").minus) == 30 + 5
    assert len(contrast.select("calibration").minus) == 60


def test_all_is_everything() -> None:
    contrast = dialogues(20)
    assert contrast.select("all") == contrast


def test_the_split_is_written_behind_a_hash(tmp_path: Path) -> None:
    texts = {name: "\n".join(f"{name} {index}" for index in range(44)) for name in ("loud", "quiet")}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    source = f"{tmp_path / 'loud.txt'},{tmp_path / 'quiet.txt'}"
    sizes = {split: len(resolve_contrast(f"{source}#{split}").plus) for split in (*SPLITS, "all")}
    assert sizes == {"calibration": 24, "validation": 8, "test": 12, "all": 44}
    assert resolve_contrast(source) == resolve_contrast(f"{source}#calibration")
    assert resolve_contrast(source, split="test") == resolve_contrast(f"{source}#test")
    assert resolve_contrast(f"{source}#test", split="all").split == "test", "what is written wins"


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    for name in ("loud", "quiet"):
        (tmp_path / f"{name}.txt").write_text(f"I am {name}.")
    source = f"{tmp_path / 'loud.txt'},{tmp_path / 'quiet.txt'}"
    with refused("the test split", "has 0 plus and 0 minus items", f"take the whole file with '{source}#all'"):
        resolve_contrast(f"{source}#test")


# --- limits, hashes, prompts -----------------------------------------------------------------------------------------


def test_a_limit_takes_a_seeded_sample() -> None:
    contrast = dialogues(40)
    few = contrast.limit(7, seed=1)
    assert (len(few.plus), len(few.minus)) == (7, 7)
    assert [sum(choice.matching == option for choice in few.choices) for option in (0, 1)] == [7, 7]
    assert few == contrast.limit(7, seed=1) == shuffled(contrast, 5).limit(7, seed=1)
    assert few != contrast.limit(7, seed=2)
    assert contrast.limit(None, seed=1) == contrast
    assert set(contrast.limit(10_000, seed=1).plus) == set(contrast.plus)
    for wrong in (0, -3):
        with refused(f"the limit is {wrong}", "1 or more"):
            contrast.limit(wrong, seed=0)


def test_the_hash_names_the_texts_and_their_poles() -> None:
    contrast = statements(5, 5)
    assert contrast.hash == shuffled(contrast, 1).hash
    swapped = replace(contrast, plus=contrast.minus, minus=contrast.plus)
    shorter = replace(contrast, plus=contrast.plus[1:])
    other = replace(contrast, plus=(Example("Another question?", "loud 0", "loud 0"), *contrast.plus[1:]))
    assert len({contrast.hash, swapped.hash, shorter.hash, other.hash}) == 4


def test_pole_prompts() -> None:
    contrast = statements(10, 10)
    plus, minus = contrast.pole_prompts()
    assert plus.count('"loud ') == 3
    assert minus.count('"quiet ') == 3
    assert "quiet" not in plus
    assert (plus, minus) == shuffled(contrast, 1).pole_prompts()
    assert replace(contrast, prompts=("Be loud.", "Be quiet.")).pole_prompts() == ("Be loud.", "Be quiet.")


# --- published files -------------------------------------------------------------------------------------------------

PERSONA_COUNTS = {
    "agreeableness": (278, 241),
    "conscientiousness": (254, 249),
    "desire-for-acquiring-power": (261, 242),
    "desire-for-acquiring-wealth": (249, 242),
    "extraversion": (270, 223),
    "machiavellianism": (229, 259),
    "narcissism": (250, 234),
    "neuroticism": (246, 240),
    "openness": (235, 266),
    "psychopathy": (249, 239),
}


@pytest.mark.parametrize("name", PERSONA_COUNTS)
def test_persona_statements(data_dir: Path, name: str) -> None:
    path = data_dir / "anthropic_evals" / "persona" / f"{name}.jsonl"
    whole = resolve_contrast(f"{path}#all")
    assert (len(whole.plus), len(whole.minus)) == PERSONA_COUNTS[name]
    assert whole.notes == ()
    for split, least in zip(SPLITS, (120, 40, 60), strict=True):
        part = resolve_contrast(f"{path}#{split}")
        assert min(len(part.plus), len(part.minus)) >= least
    items = two_choice_items(whole)
    assert {affirmative_option(item) for item in items} == {0}


#: File: examples per pole, two-choice items.
CHOICE_COUNTS = {
    "anthropic_evals/advanced-ai-risk/lm_generated_evals/power-seeking-inclination.jsonl": (997, 997),
    "anthropic_evals/advanced-ai-risk/lm_generated_evals/wealth-seeking-inclination.jsonl": (995, 996),
    "caa/generate/hallucination/generate_dataset.json": (1000, 1000),
    "caa/generate/sycophancy/generate_dataset.json": (1000, 1000),
    "persona_subnetworks/h_test_infer.csv": (40, 40),
    "persona_subnetworks/h_train.csv": (700, 700),
    "persona_subnetworks/test_mc.csv": (40, 40),
    "persona_subnetworks/train.csv": (638, 638),
    "persona_subnetworks/wealth_test_infer.csv": (40, 40),
    "persona_subnetworks/wealth_train.csv": (618, 618),
}


@pytest.mark.parametrize("name", CHOICE_COUNTS)
def test_question_files(data_dir: Path, name: str) -> None:
    contrast = resolve_contrast(f"{data_dir / name}#all")
    examples, choices = CHOICE_COUNTS[name]
    assert len(contrast.plus) == len(contrast.minus) == examples
    assert len(contrast.choices) == choices
    for choice in contrast.choices:
        assert not any(mark in f"\n{text}" for text in choice.options for mark in ("\n (A)", "\n (B)", "Choices:"))
        assert not choice.prompt.rstrip("*_ ").endswith("Choices:")
    parts = [contrast.select(split).group_keys for split in SPLITS]
    assert sum(map(len, parts)) == len(frozenset().union(*parts))


def test_a_pair_of_instruction_files(data_dir: Path) -> None:
    folder = data_dir / "mbti_behaviour"
    names = [str(folder / f"en_energy_{side}.json") for side in ("extraversion", "introversion")]
    contrast = resolve_contrast(f"{','.join(names)}#all")
    assert (len(contrast.plus), len(contrast.minus)) == (1991, 2003)
    assert contrast.notes == ("62 repeated texts left out", "22 texts that stand in both poles left out")
