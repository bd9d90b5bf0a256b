"""Our six characters: texts that share nothing between splits, items and judge; dialled, evaluated and compared."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from comparing import asked, quick
from test_builtin_texts import all_questions, all_statements, plain, public_role_play, public_statements, runs, texts
from test_cli import one_line_error, printed_json
from test_compare_kept import Short, made_files

import temperament as tp
from temperament.calibration.balance import balance, repeated_frames, repeated_runs, words
from temperament.calibration.builtin import (
    CONTRASTS,
    builtin_contrast,
    builtin_judge_texts,
    characters,
    find_character,
)
from temperament.calibration.builtin.characters import Character, role_choices, situations
from temperament.calibration.contrast import Split
from temperament.cli.main import run
from temperament.compare import compare, full
from temperament.evaluation.local_judge import can_be_judged
from temperament.evaluation.perplexity import neutral_passages
from temperament.evaluation.role_choice import CONTEXTS, RoleChoices
from temperament.models import LoadedModel
from temperament.personas import open_persona
from temperament.report.page import render

CAST = characters()
NAMES = [one.name for one in CAST]

PARTS: dict[Split, int] = {"calibration": 20, "validation": 12, "test": 16}
KINDS = (*PARTS, "quotes", "replies")

#: Words that say little by themselves: two lines may share them and be about different things.
SMALL = frozenset(
    words(
        "a about all an and any are as at be been before but by did do down every for from had has have he her him his "
        "how i if in into is it its like me mine more most my of off on once one or our out own over she should so "
        "some such than that the their them then there they this through till to up us was we what when where which "
        "while who will with you your"
    )
)


def texts_of(one: Character, kind: str) -> tuple[str, ...]:
    said: tuple[str, ...] = getattr(one, kind, ())
    return said or one.lines[cast("Split", kind)]


def own_texts() -> list[str]:
    return [text for one in CAST for kind in KINDS for text in texts_of(one, kind)]


def telling(text: str) -> set[str]:
    """Words of a text that say what it is about."""
    return {word.removesuffix("s") for word in words(text)} - SMALL


def shared_share(first: str, second: str) -> float:
    """How much of the shorter text's telling words stand in the other."""
    one, other = telling(first), telling(second)
    return len(one & other) / min(len(one), len(other))


def test_six_characters_with_their_lines_and_items() -> None:
    assert len(CAST) == len(set(NAMES)) == 6
    assert {(len(one.quotes), len(one.replies)) for one in CAST} == {(10, 10)}
    assert all({split: len(said) for split, said in one.lines.items()} == PARTS for one in CAST)
    assert len(situations()) == 10
    assert Counter(item.role for item in role_choices()) == dict.fromkeys(NAMES, 20)
    assert Counter(item.kind for item in role_choices()) == {"who": 60, "reply": 60}


def test_no_text_stands_twice_or_in_other_data() -> None:
    texts = [plain(text) for text in own_texts()]
    assert len(texts) == len(set(texts)) == 408
    assert repeated_frames(own_texts()) == {}
    assert repeated_runs(own_texts(), length=4, limit=2) == {}
    others = {run_ for text in (*all_statements(), *all_questions()) for run_ in runs(text, 8)}
    assert {run_ for text in own_texts() for run_ in runs(text, 8)}.isdisjoint(others)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_comes_back_reworded_in_another_split_a_quote_or_a_reply(name: str) -> None:
    """A paraphrase keeps the words that say what it is about; lines of one character never share half of them."""
    one = CAST[NAMES.index(name)]
    for first, second in itertools.combinations(KINDS, 2):
        for text, other in itertools.product(texts_of(one, first), texts_of(one, second)):
            assert shared_share(text, other) < 0.5, (text, other)


def test_a_reworded_line_is_seen() -> None:
    line = "Two hundred and twelve steps, and I know each one by heart."
    assert shared_share(line, "I know all of the two hundred steps, each by heart.") > 0.5
    assert shared_share(line, "My knees tell me about rain a day before the sky does.") == 0


def test_no_text_stands_in_public_data(data_dir: Path) -> None:
    public = {*public_statements(data_dir), *public_role_play(data_dir)}
    assert public.isdisjoint({plain(text) for text in (*own_texts(), *situations())})


@pytest.mark.parametrize("name", NAMES)
def test_a_character_is_not_told_by_length_negation_or_shouting(name: str) -> None:
    for kind in KINDS:
        own = [text for one in CAST if one.name == name for text in texts_of(one, kind)]
        rest = [text for one in CAST if one.name != name for text in texts_of(one, kind)]
        measured = balance(own, rest)
        assert measured.length_auc == pytest.approx(0.5, abs=0.15)
        assert measured.negation_auc == 0.5
        assert not any(mark in text for text in own for mark in "!()")


@pytest.mark.parametrize("split", PARTS)
@pytest.mark.parametrize("name", [one.contrast for one in CAST])
def test_neither_length_nor_negation_tells_the_poles_of_a_character(name: str, split: Split) -> None:
    measured = balance(*texts(builtin_contrast(name).select(split)))
    assert measured.length_auc == pytest.approx(0.5, abs=0.07)
    assert measured.negation_auc == 0.5


def test_right_options_are_balanced_by_place_and_every_option_serves_alike() -> None:
    for name in NAMES:
        own = [item for item in role_choices() if item.role == name]
        assert Counter(item.answer for item in own) == dict.fromkeys(range(4), 5)
    for kind in ("who", "reply"):
        items = [item for item in role_choices() if item.kind == kind]
        assert all(len(set(item.options)) == 4 for item in items)
        beside = Counter(text for item in items for place, text in enumerate(item.options) if place != item.answer)
        assert set(beside.values()) == ({3} if kind == "reply" else {30})
    for item in role_choices():
        right = find_character(item.role)
        assert right
        assert item.options[item.answer] == (
            item.role if item.kind == "who" else right.replies[situations().index(item.question)]
        )


@pytest.mark.parametrize("sign", [1, -1])
def test_neither_the_longest_nor_the_shortest_reply_is_the_right_one(sign: int) -> None:
    """Two standard errors of 60 guesses at one in four are 11 points."""
    hits = []
    for item in role_choices():
        if item.kind == "reply":
            lengths = sign * np.array([len(words(text)) for text in item.options])
            best = lengths == lengths.max()
            hits.append(best[item.answer] / best.sum())
            assert max(map(abs, lengths)) <= 1.5 * min(map(abs, lengths))
    assert float(np.mean(hits)) == pytest.approx(0.25, abs=0.11)


def test_a_character_is_a_contrast_with_the_other_five() -> None:
    name = "role-nettie-moss"
    assert name in CONTRASTS
    nettie = find_character("nettie moss")
    assert nettie
    calibration = tp.contrast(name)
    assert "herbalist" in calibration.pole_prompts()[0]
    assert "Nettie" not in calibration.pole_prompts()[1]
    for split, count in PARTS.items():
        part = tp.contrast(name, split=split)
        assert tuple(example.response for example in part.plus) == nettie.lines[split]
        said = {text: one.name for one in CAST for text in one.lines[split]}
        others = Counter(said[example.response] for example in part.minus)
        assert others.total() == count
        assert set(others) == set(NAMES) - {"Nettie Moss"}
        assert max(others.values()) - min(others.values()) == bool(count % 5)


def test_no_text_of_one_split_of_a_character_stands_in_another_s_split_or_in_an_item() -> None:
    """Whoever's persona was found and tuned on them, test lines are new to it."""
    tested = frozenset().union(*(RoleChoices(role_choices(), context).groups for context in CONTEXTS))
    parts = [frozenset().union(*(tp.contrast(one.contrast, split=split).group_keys for one in CAST)) for split in PARTS]
    assert sum(map(len, parts)) == len(frozenset().union(*parts)) == 6 * sum(PARTS.values())
    assert all(tested.isdisjoint(part) for part in parts)


def test_a_judge_of_a_character_learns_from_quotes_and_replies_alone() -> None:
    for one in CAST:
        judged = builtin_judge_texts(one.contrast)
        assert judged
        assert {item.response for item in judged.plus} == {*one.quotes, *one.replies}
        assert judged.items == {"plus": 20, "minus": 100}
        assert can_be_judged(judged)
        assert all(judged.group_keys.isdisjoint(tp.contrast(one.contrast, split=split).group_keys) for split in PARTS)
    assert builtin_judge_texts("mbti-ei") is None


# --- found, dialled, evaluated and compared --------------------------------------------------------------------------

ORLA = "role-orla-venn"


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five people in a prompt are more bytes than tiny models usually take."""
    monkeypatch.setattr(LoadedModel, "max_tokens", 2048)


@pytest.fixture
def pair(tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a pair that was found in a tiny model and dialled."""
    kept = neutral_passages(split="validation")[:2]
    monkeypatch.setattr("temperament.evaluation.dial.neutral_passages", lambda split: kept)
    model = ["--model", str(tiny_folders["llama"]), "--dtype", "float32"]
    assert run(["extract", *model, "--contrast", ORLA, "--method", "contrastive-saliency", "--out", str(tmp_path)]) == 0
    files = ["--plus", str(tmp_path / "plus.persona"), "--minus", str(tmp_path / "minus.persona"), *model]
    assert run(["dial", *files, "--data", ORLA, "--target", "+0.05sd", "--budget", "5", "--closest"]) == 0
    return files


def test_a_character_is_dialled_on_its_validation_lines_alone(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dial = open_persona(tmp_path / "plus.persona").dial
    assert dial is not None
    assert (dial.data.split, dial.data.plus, dial.data.minus) == ("validation", 12, 12)
    tuned = tp.contrast(ORLA, split="validation").group_keys
    assert tuned < set(dial.texts)
    assert tp.contrast(ORLA, split="test").group_keys.isdisjoint(dial.texts)
    capsys.readouterr()
    few = ["--limit", "3", "--controls", "unworn,random,shuffled,swapped", "--measure", "separation,auc"]
    assert run(["evaluate", *pair, "--data", ORLA, *few, "--json"]) == 0
    assert printed_json(capsys)["provenance"]["data"]["split"] == "test"
    for split in ("validation", "calibration"):
        assert run(["evaluate", *pair, "--data", f"{ORLA}#{split}", *few]) == 2
        assert "used to" in one_line_error(capsys)
    # another character's validation lines were the other side here
    assert run(["evaluate", *pair, "--data", "role-mika-sunder#validation", *few]) == 2
    assert run(["roles", *pair[4:], "--role", "Orla Venn", "--wear", str(tmp_path / "plus.persona")]) == 0


def test_a_character_is_compared(tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trait: no transfer and no questionnaire, questions of all traits, a judge from quotes and replies."""
    monkeypatch.setattr(full, "drift_scripts", lambda: (Short(),))
    monkeypatch.setattr(full, "MATRIX_ITEMS", 2)
    sizes = {"calibration": 20, "validation": 12, "test": 16}
    given = asked(contrast=ORLA, methods=("vector",), full=True, **sizes, **made_files(tmp_path))
    notes: list[str] = []
    with quick():
        summary = compare(tiny_llama, given, tmp_path / "out", note=notes.append)
    assert notes == []
    about = summary["contrast"]
    assert (about["name"], about["trait"], about["transfer"]) == (ORLA, None, None)
    assert about["items"]["test"] == {"plus": 16, "minus": 16}
    measures = summary["methods"]["vector"]["measures"]
    assert {"separation", "auc", "own_words", "perplexity", "generation", "fluency", "drift", "mmlu"} <= set(measures)
    assert not any(name.startswith(("transfer", "items", "questionnaire")) for name in measures)
    assert {"random-0", "shuffled", "prompt", "swapped"} <= set(summary["methods"]["vector"]["controls"])
    assert summary["judge"] is not None
    page = render(summary)
    assert "transfer is left out: no other instrument is about role-orla-venn" in page
    assert "Specificity" in page
