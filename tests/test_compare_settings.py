"""What a comparison is asked for: parts that share no text, and mistakes that are told at once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from answering import made_items, write_items
from comparing import asked, comparison, custom_contrast
from expect import refused

from temperament.calibration import resolve_contrast
from temperament.calibration.builtin import builtin_judge_texts, trait_of
from temperament.calibration.contrast import group_key
from temperament.calibration.questionnaire_items import transfer_contrast
from temperament.cli.main import run
from temperament.compare.settings import PROMPT, method_options, read_texts, set_aside
from temperament.evaluation.judge_texts import judge_texts
from temperament.methods import METHODS, SparsityPlan
from temperament.models import LoadedModel


def test_the_parts_of_a_built_in_contrast_share_no_text() -> None:
    texts = read_texts(asked(calibration=120, validation=40, test=60, questions=10))
    assert texts.transfer is not None
    parts = [part.group_keys for part in (texts.calibration, texts.validation, texts.test, texts.transfer)]
    parts.append(frozenset(group_key(text) for pair in judge_texts("extraversion") for text in (pair.plus, pair.minus)))
    parts.append(frozenset(map(group_key, texts.questions)))
    assert all(not one & other for one, other in itertools.combinations(parts, 2))
    assert texts.judge is None
    assert (texts.trait, texts.transfer.name, len(texts.questions)) == ("extraversion", "extraversion-scenes", 10)
    assert texts.test.items["plus"] == texts.test.items["minus"] > 40


def test_the_other_instrument_is_the_one_not_calibrated_on() -> None:
    scenes = read_texts(asked(contrast="extraversion-scenes"))
    assert scenes.transfer is not None
    assert (scenes.trait, scenes.transfer.name) == ("extraversion", "extraversion")
    assert read_texts(asked(transfer="")).transfer is None
    other = read_texts(asked(transfer="openness-scenes")).transfer
    assert other is not None
    assert other.name == "openness-scenes"


def test_a_file_named_after_a_trait_is_another_instrument_than_the_built_in_texts(tmp_path: Path) -> None:
    texts = read_texts(asked(contrast=str(custom_contrast(tmp_path / "openness.jsonl")), calibration=40))
    assert texts.transfer is not None
    assert (texts.trait, texts.transfer.name) == ("openness", "openness")
    assert texts.transfer.group_keys == resolve_contrast("openness", split="test", limit=3, seed=42).group_keys


def test_questionnaire_items_are_one_instrument_more(tmp_path: Path) -> None:
    form = tmp_path / "form.csv"
    form.write_text(write_items(made_items()))
    texts = read_texts(asked(questionnaire=form))
    assert texts.items is not None
    assert (texts.items.name, texts.items.split) == ("form-extraversion", "test")
    assert texts.transfer is not None
    assert not texts.items.group_keys & texts.transfer.group_keys
    assert read_texts(asked()).items is None
    loud = custom_contrast(tmp_path / "loud.jsonl")
    assert read_texts(asked(contrast=str(loud), questionnaire=form)).items is None, "of no trait"
    form.write_text(write_items(made_items(per_key=30)))
    items = transfer_contrast(form, "extraversion")
    rows = [
        {"pole": pole, "prompt": item.prompt, "response": item.response}
        for pole, side in (("plus", items.plus), ("minus", items.minus))
        for item in side
    ]
    leak = tmp_path / "extraversion.jsonl"
    leak.write_text("\n".join(json.dumps(row) for row in rows))
    with refused("'form-extraversion' contain"):
        read_texts(asked(contrast=str(leak), questionnaire=form, calibration=30, validation=30, test=30))


def test_a_contrast_of_no_trait(tmp_path: Path) -> None:
    path = str(custom_contrast(tmp_path / "loud.jsonl", per_pole=140))
    texts = read_texts(asked(contrast=path, calibration=60, questions=10))
    assert (texts.trait, texts.transfer) == (None, None)
    assert texts.judge is not None
    assert texts.judge.items == {"plus": 15, "minus": 15}
    assert texts.calibration.items == {"plus": 45, "minus": 45}
    assert [note.split(":")[0] for note in texts.notes] == [
        "questions of the five traits are asked",
        "transfer is left out",
    ]
    parts = [part.group_keys for part in (texts.calibration, texts.judge, texts.validation, texts.test)]
    assert all(not one & other for one, other in itertools.combinations(parts, 2))
    assert len(texts.questions) == len(set(texts.questions)) == 10
    with_trait = read_texts(asked(contrast=str(tmp_path / "loud.jsonl"), trait="openness"))
    assert with_trait.transfer is not None
    assert (with_trait.trait, with_trait.judge, with_trait.transfer.name) == ("openness", None, "openness")


def test_too_few_texts_are_all_calibrated_on(tmp_path: Path) -> None:
    """A quarter of them would be too few for a judge, and lost to the persona."""
    texts = read_texts(asked(contrast=str(custom_contrast(tmp_path / "loud.jsonl")), calibration=40))
    assert texts.judge is None
    assert texts.calibration.items == {"plus": 40, "minus": 40}
    assert any("free answers are not judged: 40 texts" in note for note in texts.notes)


def test_a_character_keeps_its_lines_and_is_judged_by_its_other_texts() -> None:
    texts = read_texts(asked(contrast="role-orla-venn", calibration=120, validation=40, test=60, questions=10))
    sizes = [part.items for part in (texts.calibration, texts.validation, texts.test)]
    assert sizes == [{"plus": count, "minus": count} for count in (20, 12, 16)]
    assert texts.judge is not None
    assert texts.judge == builtin_judge_texts("role-orla-venn")
    assert (texts.trait, texts.transfer, texts.items) == (None, None, None)
    assert any(note.startswith("transfer is left out: no other instrument is about role-orla") for note in texts.notes)
    parts = [part.group_keys for part in (texts.calibration, texts.judge, texts.validation, texts.test)]
    parts.append(frozenset(map(group_key, texts.questions)))
    assert all(not one & other for one, other in itertools.combinations(parts, 2))
    other = read_texts(asked(contrast="role-orla-venn", transfer=""))
    assert not any("transfer" in note for note in other.notes), "nobody asked for it"


def test_a_quarter_of_each_pole_is_set_aside() -> None:
    whole = resolve_contrast("openness", limit=40)
    rest, judge = set_aside(whole)
    assert judge.items == {"plus": 10, "minus": 10}
    assert rest.items == {"plus": 30, "minus": 30}
    assert set(rest.plus) | set(judge.plus) == set(whole.plus)
    few, none = set_aside(resolve_contrast("openness", limit=2))
    assert few.items == {"plus": 2, "minus": 2}, "no pole is ever emptied"
    assert none.items == {"plus": 0, "minus": 0}


def test_a_public_file_is_known_by_its_name() -> None:
    assert trait_of("neuroticism") == trait_of("neuroticism.jsonl") == trait_of("neuroticism-scenes") == "neuroticism"
    assert trait_of("my-neuroticism") is None


def test_the_transfer_texts_may_stand_in_no_split(tmp_path: Path) -> None:
    path = custom_contrast(tmp_path / "loud.jsonl")
    for split in ("calibration", "validation", "test", "all"):
        with refused("the transfer texts 'loud'", "--transfer"):
            read_texts(asked(contrast=str(path), transfer=f"{path}#{split}", test=30, validation=30, calibration=60))


def test_specificity_texts_may_not_be_calibrated_or_tuned_on(tmp_path: Path) -> None:
    path = custom_contrast(tmp_path / "loud.jsonl")
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(path.read_text().splitlines()[::9]))
    with refused("the specificity texts 'few'", "texts of the contrast", "--specificity"):
        read_texts(asked(contrast=str(path), calibration=60, validation=30, others=(f"{few}#all",)))
    assert read_texts(asked(contrast=str(path), others=(str(path),))).others["loud"].split == "test"


def test_a_questionnaire_that_no_trait_belongs_to_is_noted(tmp_path: Path) -> None:
    texts = read_texts(asked(contrast=str(custom_contrast(tmp_path / "loud.jsonl")), questionnaire=Path("gone.csv")))
    assert any("the questionnaire is left out" in note for note in texts.notes)


def test_all_splits_of_a_file_are_used_whichever_is_named(tmp_path: Path) -> None:
    plain = read_texts(asked(contrast="extraversion"))
    for named in ("extraversion#test", "extraversion#all"):
        assert read_texts(asked(contrast=named)).test == plain.test
    odd = custom_contrast(tmp_path / "loud#test.jsonl")
    assert read_texts(asked(contrast=str(odd))).calibration.name == "loud#test"
    bare = custom_contrast(tmp_path / "loud#test")
    assert read_texts(asked(contrast=str(bare))).calibration.name == "loud#test"
    with refused("unknown split 'tset'"):
        read_texts(asked(contrast="extraversion#tset"))


def test_a_contrast_without_a_split(tmp_path: Path) -> None:
    with refused("the validation split of", "0 plus and 0 minus"):
        read_texts(asked(contrast=str(custom_contrast(tmp_path / "few.jsonl", per_pole=1))))


def test_fewer_questions_than_asked_for_are_noted() -> None:
    texts = read_texts(asked(questions=500))
    assert len(texts.questions) == 20
    assert any("20 questions are asked" in note for note in texts.notes)
    assert len(read_texts(asked(questions=15)).questions) == 15


def test_methods_are_named_once_and_the_prompt_comes_first() -> None:
    known = tuple(method.name for method in METHODS)
    assert asked(methods=("all",)).names == (PROMPT, *known)
    assert asked(methods=("vector", "prompt", "wanda", "vector")).names == (PROMPT, "vector", "wanda")
    assert asked(methods=("all", "vector")).names == (PROMPT, *known)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: asked(methods=("wandda",)), "unknown method 'wandda'"),
        (lambda: asked(methods=("all", "wandda")), "unknown method 'wandda'"),
        (lambda: asked(budget=1.0), "perplexity ratio of 1"),
        (lambda: asked(budget=float("nan")), "perplexity ratio of nan"),
        (lambda: asked(budget=11.0), "perplexity ratio of 11"),
        (lambda: asked(trait="loudness"), "unknown trait 'loudness'"),
        (lambda: asked(test=1), "fewer than two texts"),
        (lambda: asked(questions=0), "no question"),
    ],
)
def test_mistakes(make: Callable[[], object], part: str) -> None:
    with refused(part):
        make()


def test_the_budget_asked_for_is_among_those_reported() -> None:
    assert asked(budget=1.15).budgets == (1.05, 1.10, 1.15, 1.25)
    assert asked().budgets == (1.05, 1.10, 1.25)


def test_settings_of_methods_are_read_before_anything_is_loaded() -> None:
    tilt = {"sparsity": "0.1", "sparsity.mlp": "0.3", "t": "2"}
    assert asked(methods=("contrastive-tilt",), options={"contrastive-tilt": tilt}).options["contrastive-tilt"] == tilt
    own, plan = method_options("contrastive-tilt", tilt)
    assert (own, plan) == ({"t": "2"}, SparsityPlan.of({"default": "0.1", "mlp": "0.3"}))
    assert method_options("vector", {"layers": "all"}) == ({"layers": "all"}, None)
    assert method_options("wanda", {"sparsity.mlp": "0.3"})[1] == SparsityPlan.of({"default": "0.5", "mlp": "0.3"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora": {"epochs": "9"}}, "which is not compared"),
        ({"prompt": {"epochs": "9"}}, "which is not compared"),
        ({"vector": {"epochs": "9"}}, "epochs"),
        ({"vector": {"sparsity": "0.2"}}, "no sparsity"),
        ({"vector": {"sparsities": "0.2"}}, "sparsities"),
        ({"wanda": {"sparsity": "0.2", "sparsity.default": "0.3"}}, "unclear settings"),
        ({"wanda": {"sparsity.": "0.3"}}, "unclear settings"),
    ],
)
def test_wrong_settings_of_methods_are_refused(options: dict[str, dict[str, str]], said: str) -> None:
    with refused(said):
        asked(methods=("vector", "wanda"), options=options)


def test_a_part_of_no_model_is_told_before_anything_is_measured(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    with refused("'bogus'"):
        comparison(tiny_llama, tmp_path, methods=("vector", "wanda"), options={"wanda": {"sparsity.bogus": "0.1"}})
    assert list(tmp_path.iterdir()) == []


def test_a_setting_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--contrast", "extraversion", "--out", "never", "--methods", "wanda"]
    assert run([*arguments, "--set", "wanda.sparsity=.1", "--set", "wanda.sparsity=.2"]) == 2
    assert "wanda.sparsity is given twice" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["t=2", "vector=2", "vector.t", "vector.=2", ".t=2", "vector.t="])
def test_settings_name_their_method(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--contrast", "extraversion", "--out", "never", "--methods", "vector", "--set", given]
    assert run(arguments) == 2
    assert "METHOD.KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("methods", ["", " , "])
def test_a_command_without_a_method_is_refused(
    methods: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", "--contrast", "extraversion", "--methods", methods, "--out", str(tmp_path)]) == 2
    assert "names none" in capsys.readouterr().err
