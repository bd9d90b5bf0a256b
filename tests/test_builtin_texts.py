"""The built-in texts: enough of them, the poles told apart by meaning only, and none taken from public data."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from temperament.calibration.balance import balance, is_negated, repeated_frames, repeated_runs, words
from temperament.calibration.builtin import AXES, CONTRASTS, TRAITS, builtin_contrast, descriptions, questions
from temperament.calibration.contrast import NEUTRAL_PROMPT, POLES, Contrast, Split

#: Self-descriptions in pairs; the lines of characters have tests of their own.
NAMES = [name for name, trait in CONTRASTS.items() if trait in (*TRAITS, *AXES)]
PAIRS: dict[Split, int] = {"calibration": 80, "validation": 40, "test": 40}

Poles = tuple[list[str], list[str]]

#: Stems that would name a trait, or the whole field, in any of its forms.
TRAIT_WORDS = re.compile(
    r"\b(?:openness|open[- ]minded|conscientious|extr[ao]ver[ts]|introver[ts]|agreeabl|neurotic|"
    r"emotional(?:ly)? stab|personalit|big five|trait)\w*"
)
FIRST_PERSON = {"i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves"}
OPENINGS = {"yes", "yeah", "yep", "no", "nope", "nah", "not", "never"}


def texts(contrast: Contrast) -> Poles:
    return [example.response for example in contrast.plus], [example.response for example in contrast.minus]


def all_statements() -> list[str]:
    return [text for name in NAMES for pole in texts(builtin_contrast(name)) for text in pole]


def all_descriptions() -> list[str]:
    return [text for trait in TRAITS for pole in descriptions(trait.name) for text in pole]


def all_questions() -> list[str]:
    """Of identification and of test."""
    return [
        question
        for trait in TRAITS
        for question in questions(trait.name, "identification") + questions(trait.name, "test")
    ]


def is_first_person(text: str) -> bool:
    return any(word.split("'")[0] in FIRST_PERSON for word in words(text))


# --- size and form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_large_enough_and_paired(name: str) -> None:
    contrast = builtin_contrast(name)
    for split, least in PAIRS.items():
        part = contrast.select(split)
        assert len(part.plus) == len(part.minus) >= least
    assert {example.prompt for pole in POLES for example in contrast.pole(pole)} == {NEUTRAL_PROMPT}
    assert contrast.licence == "MIT"
    assert contrast.prompts == CONTRASTS[name].prompts


def test_no_text_stands_twice() -> None:
    """Within a trait this makes the splits disjoint by text; across traits it keeps one trait's test off another."""
    plain = [" ".join(words(text)) for text in all_statements()]
    assert len(plain) == len(set(plain))


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_group(name: str) -> None:
    parts = [builtin_contrast(name).select(split).group_keys for split in PAIRS]
    assert sum(map(len, parts)) == len(frozenset().union(*parts)) == len(builtin_contrast(name).group_keys)


@pytest.mark.parametrize("name", NAMES)
def test_statements_are_first_person_and_never_answer_yes_or_no(name: str) -> None:
    for text in (text for pole in texts(builtin_contrast(name)) for text in pole):
        assert text == text.strip()
        assert text[-1] in ".!?…\"'’”", text
        assert is_first_person(text), text
        assert words(text)[0] not in OPENINGS, text
        assert not TRAIT_WORDS.search(text.lower()), text


@pytest.mark.parametrize("name", [trait.name for trait in TRAITS])
def test_questions(name: str) -> None:
    asked = questions(name)
    assert len(asked) == len(set(asked)) == 20
    for question in asked:
        assert 10 <= len(words(question)) <= 40, question
        assert not TRAIT_WORDS.search(question.lower()), question
        assert not re.match(r"(?:do|does|did|are|is|would|will|can|have) you\b", question.lower()), "no yes/no question"


# --- the poles differ in meaning only --------------------------------------------------------------------------------


@pytest.mark.parametrize("split", PAIRS)
@pytest.mark.parametrize("name", NAMES)
def test_neither_length_nor_negation_tells_the_poles(name: str, split: Split) -> None:
    measured = balance(*texts(builtin_contrast(name).select(split)))
    assert measured.length_auc == pytest.approx(0.5, abs=0.05)
    assert measured.negation_auc == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_classifier_on_length_and_negation_stays_near_chance(name: str) -> None:
    """Six-fold cross-validation over 168 pairs: two standard errors of the accuracy are 5.5 points."""
    accuracy = cross_validated_accuracy(texts(builtin_contrast(name)))
    print(f"{name}: {100 * accuracy:.1f} % correct from length and negation")
    assert accuracy == pytest.approx(0.5, abs=0.055)


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_not_repeated(name: str) -> None:
    for pole in texts(builtin_contrast(name)):
        assert repeated_frames(pole, length=3, limit=3) == {}


def test_word_runs_are_not_repeated_over_all_built_in_texts() -> None:
    assert (
        repeated_runs([*all_statements(), *(q for trait in TRAITS for q in questions(trait.name))], length=5, limit=3)
        == {}
    )


def test_word_runs_are_not_repeated_over_descriptions() -> None:
    assert repeated_runs([*all_descriptions(), *all_statements()], length=5, limit=3) == {}


# --- the checks themselves can fail ----------------------------------------------------------------------------------


def reworded(change: Callable[[str], str]) -> Poles:
    plus, minus = texts(builtin_contrast("extraversion"))
    return [change(text) for text in plus], minus


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        pytest.param(lambda text: f"{text} And that is that.", "length_auc", id="longer"),
        pytest.param(lambda text: f"Never mind, {text}", "negation_auc", id="negated"),
        pytest.param(lambda text: text.replace(".", ", without a doubt."), "negation_auc", id="negated at the end"),
    ],
)
def test_the_balance_checks_see_an_imbalance(change: Callable[[str], str], attribute: str) -> None:
    unbalanced = reworded(change)
    assert abs(getattr(balance(*unbalanced), attribute) - 0.5) > 0.2
    assert cross_validated_accuracy(unbalanced) > 0.7


def test_a_small_imbalance_of_two_words_is_seen_too() -> None:
    assert balance(*reworded(lambda text: f"{text} And so.")).length_auc > 0.55


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("I don't go out.", True),
        ("I don’t go out.", True),
        ("There is no rush.", True),
        ("I hardly sleep.", True),
        ("I knot my tie.", False),
        ("Nobody's fool, me.", True),
        ("A notable nought.", False),
    ],
)
def test_negation_is_a_matter_of_whole_words(text: str, negated: bool) -> None:
    assert is_negated(text) is negated


def test_the_repetition_checks_see_repetition() -> None:
    base = ["I like to swim in the sea at dawn.", "At dawn my dog barks."]
    copies = [f"I like to {verb} in the sea at dawn." for verb in ("row", "sail", "dive")]
    assert repeated_frames([*base, *copies]) == {"i like to": 4}
    assert repeated_frames([*base, *copies[:2]]) == {}
    assert set(repeated_runs([*base, *copies])) == {"in the sea at dawn"}
    assert repeated_runs([*base, *copies[:2]]) == {}


def test_the_wording_checks_see_bad_wording() -> None:
    assert not is_first_person("Parties are fun for all who come.")
    assert is_first_person("Parties? I’m in.")
    for text in ("an introverted person", "my openness", "quite neurotic", "being extroverted", "emotionally stable"):
        assert TRAIT_WORDS.search(text), text


# --- nothing of it comes from public data ----------------------------------------------------------------------------


def test_no_built_in_text_stands_in_public_data(data_dir: Path) -> None:
    public = set(public_statements(data_dir))
    acted = set(public_role_play(data_dir))
    assert len(public) > 4000
    assert len(acted) > 900
    public |= acted
    own = {plain(text) for text in (*all_statements(), *all_descriptions(), *all_questions())}
    own |= {plain(prompt) for trait in TRAITS for prompt in trait.prompts}
    neutral = (files("temperament.evaluation") / "neutral.txt").read_text(encoding="utf-8")
    sentences = {plain(sentence) for sentence in re.split(r"(?<=[.!?])\s+", neutral)}
    assert len(sentences) > 50
    assert own.isdisjoint(public)
    assert sentences.isdisjoint(public)


def test_no_description_or_question_borrows_a_phrase_from_published_ones(data_dir: Path) -> None:
    """Seven words in a row are more than chance: a reworded copy would hold them."""
    public = {run for text in public_role_play(data_dir) for run in runs(text)}
    assert len(public) > 20_000
    for text in (*all_descriptions(), *all_questions()):
        assert runs(text).isdisjoint(public), text


def runs(text: str, length: int = 7) -> set[str]:
    tokens = words(text)
    return {" ".join(tokens[begin : begin + length]) for begin in range(len(tokens) - length + 1)}


def plain(text: str) -> str:
    """Lower-case words only: what is left when spelling of quotes, stops and spaces does not count."""
    return " ".join(words(text))


def public_statements(folder: Path) -> Iterator[str]:
    """Persona statements, and questionnaire items both as printed and with "I" before them, normalised."""
    for path in sorted(folder.glob("anthropic_evals/persona/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield plain(json.loads(line)["statement"])
    with (folder / "ipip_neo" / "ipip_neo_120.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield plain(row["text"])
            yield plain(f"I {row['text']}")


def public_role_play(folder: Path) -> Iterator[str]:
    """Descriptions and questions of the published neuron data, normalised."""
    for path in sorted((folder / "npti").rglob("*.json*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield from map(plain, [row["question"]] if "question" in row else row.values())


# --- a classifier that knows two numbers about a text ----------------------------------------------------------------


def features(pole: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[1.0, len(words(text)), is_negated(text)] for text in pole])


def fit_logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of a logistic regression by Newton's method, with a ridge of 1 that keeps separable data finite."""
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        probability = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (probability - y) + weights
        curvature = (x.T * (probability * (1 - probability))) @ x + np.eye(x.shape[1])
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def cross_validated_accuracy(poles: Poles, folds: int = 6) -> float:
    """Share of held-out texts whose pole the classifier tells; both texts of a pair are in the same fold.

    Of two texts with the same features one is always right and one wrong, so chance is one half.
    """
    plus, minus = features(poles[0]), features(poles[1])
    scale = np.concatenate([plus, minus]).std(axis=0)
    scale[0] = 1
    plus, minus = plus / scale, minus / scale
    fold = np.random.default_rng(0).permutation(len(plus)) % folds
    correct = 0.0
    for held in range(folds):
        train = np.concatenate([plus[fold != held], minus[fold != held]])
        weights = fit_logistic(train, np.repeat([1.0, 0.0], (fold != held).sum()))
        correct += (plus[fold == held] @ weights > 0).sum() + (minus[fold == held] @ weights <= 0).sum()
    return float(correct / (len(plus) + len(minus)))
