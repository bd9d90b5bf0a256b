"""The texts that teach a local judge: enough of them, poles told apart by the trait only, and found nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from expect import refused
from test_builtin_texts import (
    OPENINGS,
    TRAIT_WORDS,
    all_descriptions,
    all_questions,
    all_statements,
    cross_validated_accuracy,
    is_first_person,
    public_role_play,
    public_statements,
)

from temperament.calibration.balance import balance, is_negated, repeated_frames, repeated_runs, words
from temperament.calibration.builtin import TRAITS, neutral_texts
from temperament.evaluation.drift_scripts import drift_scripts
from temperament.evaluation.judge_texts import JUDGED_TRAITS, JudgeText, judge_texts
from temperament.evaluation.perplexity import neutral_passages

#: The names that the package itself gives to the poles, with their forms.
POLE_WORDS = re.compile(
    r"\b(?:imaginative|practical|disciplin|spontane|outgoing|reserved|accommodating|tough-minded|anxi|stead[iy])\w*"
)
CHEERFUL = re.compile(
    r"\b(?:cheerful|content|delight|enjoy|fun|glad|good|grin|happ[iy]|joke|joy|laugh|love|nice|pleas|smil|thrill|wonderful)"
)
GLOOMY = re.compile(
    r"\b(?:angry|annoy|ashamed|awful|bad|bored|cry|dread|fed up|flat|grim|grumbl|hate|hurt|low|miserabl|restless|sad|"
    r"sour|suffer|tears|tired|ugly|unhapp|upset|worn|worse|worst)"
)


def plus(texts: Iterable[JudgeText]) -> list[str]:
    return [text.plus for text in texts]


def minus(texts: Iterable[JudgeText]) -> list[str]:
    return [text.minus for text in texts]


def split(trait: str, name: str) -> list[JudgeText]:
    return [text for text in judge_texts(trait) if text.split == name]


def answers() -> list[str]:
    return [answer for trait in JUDGED_TRAITS for text in judge_texts(trait) for answer in (text.plus, text.minus)]


# --- size and form ---------------------------------------------------------------------------------------------------


def test_every_trait_has_texts_and_nothing_else_has() -> None:
    assert tuple(trait.name for trait in TRAITS) == JUDGED_TRAITS
    found = {path.name for path in (files("temperament.evaluation") / "judge_texts").iterdir()}
    assert {name for name in found if name.endswith(".jsonl")} == {f"{trait}.jsonl" for trait in JUDGED_TRAITS}
    with refused("no judge texts for 'wit'", "openness, conscientiousness"):
        judge_texts("wit")


@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_counts(trait: str) -> None:
    assert (len(split(trait, "train")), len(split(trait, "held-out"))) == (42, 18)
    assert len(judge_texts(trait)) == len({text.topic for text in judge_texts(trait)}) == 60


@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_an_answer_is_short_spoken_and_names_no_trait(trait: str) -> None:
    for text in judge_texts(trait):
        for answer in (text.topic, text.plus, text.minus):
            assert answer == answer.strip()
            assert not TRAIT_WORDS.search(answer.lower()), answer
            assert not POLE_WORDS.search(answer.lower()), answer
        for answer in (text.plus, text.minus):
            assert 20 <= len(words(answer)) <= 55, answer
            assert answer[-1] in ".?", answer
            assert "!" not in answer, answer
            assert is_first_person(answer), answer
            assert words(answer)[0] not in OPENINGS, answer


# --- the poles differ in the trait only ------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_both_answers_of_a_pair_are_alike_in_form(trait: str) -> None:
    for text in judge_texts(trait):
        lengths = sorted([len(words(text.plus)), len(words(text.minus))])
        assert lengths[1] <= 1.25 * lengths[0], text
        assert is_negated(text.plus) == is_negated(text.minus), text
        assert text.plus.count("?") == text.minus.count("?"), text


@pytest.mark.parametrize("part", ["train", "held-out"])
@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_neither_length_nor_negation_tells_the_poles(trait: str, part: str) -> None:
    texts = split(trait, part)
    measured = balance(plus(texts), minus(texts))
    assert measured.length_auc == pytest.approx(0.5, abs=0.05)
    assert measured.negation_auc == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_a_trained_classifier_on_length_and_negation_stays_near_chance(trait: str) -> None:
    """Six-fold cross-validation over 60 pairs: two standard errors of the accuracy are 9 points."""
    accuracy = cross_validated_accuracy((plus(judge_texts(trait)), minus(judge_texts(trait))))
    print(f"{trait}: {100 * accuracy:.1f} % correct from length and negation")
    assert accuracy == pytest.approx(0.5, abs=0.09)


#: Surface forms a probe could learn in place of the trait.
FORMS: dict[str, Callable[[str], int]] = {
    "commas": lambda text: text.count(","),
    "sentences": lambda text: len(re.findall(r"[.?]", text)),
    "first person": lambda text: sum(is_first_person(word) for word in words(text)),
    "letters of a word": lambda text: round(100 * sum(map(len, words(text))) / len(words(text))),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_no_other_surface_form_tells_the_poles(trait: str, form: str) -> None:
    assert auc(
        map(FORMS[form], plus(judge_texts(trait))), map(FORMS[form], minus(judge_texts(trait)))
    ) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("trait", [trait for trait in JUDGED_TRAITS if trait != "neuroticism"])
def test_neither_pole_is_the_brighter_one(trait: str) -> None:
    """Neuroticism is in part a mood; of the other traits neither pole may sound happier, not even agreeableness."""
    texts = judge_texts(trait)
    assert auc(map(mood, plus(texts)), map(mood, minus(texts))) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("trait", JUDGED_TRAITS)
def test_frames_and_word_runs_are_not_repeated(trait: str) -> None:
    texts = judge_texts(trait)
    for pole in (plus(texts), minus(texts)):
        assert repeated_frames(pole, length=3, limit=3) == {}
    assert repeated_runs([*plus(texts), *minus(texts)], length=5, limit=4) == {}


def test_the_checks_see_mood_and_form() -> None:
    texts = judge_texts("extraversion")
    happier = [f"{text} I love it." for text in plus(texts)]
    assert auc(map(mood, happier), map(mood, minus(texts))) > 0.7
    listed = [text.replace(" and ", ", and ") for text in plus(texts)]
    assert auc(map(FORMS["commas"], listed), map(FORMS["commas"], minus(texts))) > 0.65
    assert POLE_WORDS.search("quite an outgoing man")
    assert not POLE_WORDS.search("out going home")


# --- found nowhere else ----------------------------------------------------------------------------------------------


def test_pairs_share_no_sentence() -> None:
    """Within a pair a remark may stand in both answers, where it says nothing of the pole."""
    pairs = [sentences([text.plus, text.minus]) for trait in JUDGED_TRAITS for text in judge_texts(trait)]
    found = [sentence for pair in pairs for sentence in pair if len(sentence.split()) > 4]
    assert len(found) > 1000
    assert len(found) == len(set(found))


def test_no_sentence_and_no_phrase_stands_in_another_built_in_text() -> None:
    prompts = [prompt for trait in TRAITS for prompt in trait.prompts]
    turns = [turn for script in drift_scripts() for turn in script.turns]
    neutral = [*neutral_texts(), *neutral_passages(), *neutral_passages(split="validation")]
    others = [*all_statements(), *all_descriptions(), *all_questions(), *prompts, *turns, *neutral]
    assert sentences(answers()).isdisjoint(sentences(others))
    assert runs(answers(), 8).isdisjoint(runs(others, 8))
    assert runs(turns, 8).isdisjoint(runs([text for text in others if text not in turns], 8))


def test_no_answer_or_turn_stands_in_public_data(data_dir: Path) -> None:
    public = {*public_statements(data_dir), *public_role_play(data_dir)}
    assert len(public) > 4900
    own = [*answers(), *neutral_texts(), *neutral_passages(split="validation")]
    own += [turn for script in drift_scripts() for turn in script.turns]
    assert sentences(own).isdisjoint(public)
    assert runs(own, 8).isdisjoint(runs(public, 8))


def sentences(texts: Iterable[str]) -> set[str]:
    """Lower-case words of every sentence."""
    return {" ".join(words(part)) for text in texts for part in re.split(r"(?<=[.!?;:])\s+", text)}


def runs(texts: Iterable[str], length: int) -> set[str]:
    found = set()
    for text in texts:
        tokens = words(text)
        found |= {" ".join(tokens[begin : begin + length]) for begin in range(len(tokens) - length + 1)}
    return found


def mood(text: str) -> int:
    return len(CHEERFUL.findall(text.lower())) - len(GLOOMY.findall(text.lower()))


def auc(first: Iterable[int], second: Iterable[int]) -> float:
    """Chance that a value of ``first`` exceeds one of ``second``, ties half."""
    above: Sequence[int] = list(first)
    below: Sequence[int] = list(second)
    return sum((x > y) + (x == y) / 2 for x in above for y in below) / (len(above) * len(below))
