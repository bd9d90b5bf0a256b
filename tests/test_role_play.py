"""Role play: multiple choice on our six characters, readers of role files, accuracy beside prior and chance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from expect import refused
from test_cli import one_line_error, printed_json

import temperament as tp
from temperament.calibration.builtin import characters
from temperament.calibration.builtin.characters import role_choices
from temperament.calibration.role_items import RoleChoice, RoleReference, read_role_items
from temperament.cli.main import run
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.role_choice import (
    CONTEXTS,
    RoleChoices,
    RoleReferences,
    accuracy,
    reference_change,
    role_prompt,
    role_summary,
)
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan

# --- prompts ---------------------------------------------------------------------------------------------------------


def test_each_context_tells_less() -> None:
    who, reply = (next(item for item in role_choices() if item.kind == kind) for kind in ("who", "reply"))
    for item in (who, reply):
        told, untold, prior = (role_prompt(item, context) for context in CONTEXTS)
        assert item.profile in told
        assert item.profile not in untold
        assert item.question in told
        assert item.question in untold
        assert item.question not in prior
        assert item.role not in untold
    assert f"You are {reply.role}." in role_prompt(reply, "told")
    assert all(name in role_prompt(who, "told") for name in who.options)


# --- accuracy --------------------------------------------------------------------------------------------------------


def record(answer: int, *scores: float, kind: str = "reply") -> dict[str, Any]:
    options = [f"option {index}" for index in range(len(scores))]
    return {
        "role": "A",
        "kind": kind,
        "question": "?",
        "options": options,
        "answer": answer,
        "nats_per_token": list(scores),
        "log_probability": [-score for score in scores],
    }


def test_accuracy_by_hand() -> None:
    rows = [record(0, -1, -2, -3, -4), record(1, -1, -2, -3, -4), record(3, -1, -1, -2, -1), record(1, -5, -4)]
    found = accuracy(rows, seed=0)
    assert found.value == pytest.approx(100 * (1 + 0 + 1 / 3 + 1) / 4)
    assert found.extra["chance"] == pytest.approx((25 * 3 + 50) / 4)
    assert found.extra["raw"] == pytest.approx(0)
    with refused("no records"):
        accuracy([], seed=0)


def test_an_option_prior_is_chance_once_it_is_taken_off() -> None:
    """Items answered by the options' own likelihood alone score as the prior does, and nothing beyond it."""
    rows = [record(answer, -1, -2, -3, -4) for answer in (0, 0, 0, 1)]
    assert accuracy(rows, seed=0).value == 75
    assert accuracy(rows, rows, seed=0).value == 25
    better = []
    for row in rows:
        scores = [score + (place == row["answer"]) for place, score in enumerate(row["nats_per_token"])]
        better.append({**row, "nats_per_token": scores})
    assert accuracy(better, rows, seed=0).value == 100
    with pytest.raises(ValueError, match="other items"):
        accuracy(rows, rows[:1], seed=0)


def test_a_broken_model_is_never_right() -> None:
    assert accuracy([record(0, float("nan"), float("nan"))], seed=0).value == 0


def test_a_model_that_knows_the_answers() -> None:
    items = [RoleChoice("A", "reply", f"Is it {letter}?", ("x", "y", "z"), "xyz".index(letter)) for letter in "xyz"]
    lm = answering(lambda text: next((letter for letter in "xyz" if f"it {letter}?" in text), "x"))
    sides = {}
    for context in CONTEXTS:
        form = RoleChoices(items, context)
        found = dict(form.run(lm, range(len(form))))
        sides[context] = [found[index] for index in range(len(form))]
    summary = role_summary({"unworn": sides})["unworn"]["reply"]
    assert summary["told"]["value"] == summary["untold"]["value"] == 100
    assert summary["untold, prior off"]["value"] == pytest.approx(100 * (1 / 3 + 1 + 1) / 3)  # x: prior's own
    assert [summary["prior"]["value"], summary["chance"]] == pytest.approx([100 / 3] * 2)


def test_hashes_tell_contexts_and_answers_apart() -> None:
    items = role_choices()[:2]
    swapped = [RoleChoice(i.role, i.kind, i.question, i.options[::-1], 3 - i.answer, i.profile) for i in items]
    forms = [RoleChoices(own, context) for own in (items, swapped) for context in CONTEXTS]
    assert len({form.hash for form in forms}) == len(forms)


def test_calibrated_lines_are_refused_as_items(tiny_llama: LoadedModel) -> None:
    one = characters()[0]
    item = RoleChoice("A", "who", one.lines["calibration"][0], ("x", "y"), 0)
    groups = tp.contrast(one.contrast).group_keys
    persona = Persona("p", "plus", Persona.from_prompt("x").edit, groups=groups)
    with refused("used to calibrate"):
        Ledger(tiny_llama).run(RoleChoices([item], "told"), Plan.of(persona), "worn")


# --- readers ---------------------------------------------------------------------------------------------------------


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


CHOICE = {"role": "A", "question": "Hello?", "options": ["Aye.", "Hi."], "answer": 1}
REFERENCE = {"role": "A", "question": "Hello?", "generated": ["Aye.", "Ahoy."], "type": "general"}


@pytest.mark.parametrize("answer", [1, "B", "(b)", "Hi."])
def test_multiple_choice_lines(answer: object, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", [CHOICE | {"answer": answer}, CHOICE | {"kind": "who", "profile": "A is old."}])
    assert read_role_items(path) == (
        RoleChoice("A", "reply", "Hello?", ("Aye.", "Hi."), 1),
        RoleChoice("A", "who", "Hello?", ("Aye.", "Hi."), 1, "A is old."),
    )


def test_rolebench_lines(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", [REFERENCE, {**REFERENCE, "type": None}])
    assert read_role_items(path) == (
        RoleReference("A", "Hello?", ("Aye.", "Ahoy."), "general"),
        RoleReference("A", "Hello?", ("Aye.", "Ahoy.")),
    )


@pytest.mark.parametrize(
    ("second", "parts"),
    [
        (CHOICE | {"answer": 2}, ("line 2", "'answer' is 2", "0 to 1")),
        (CHOICE | {"answer": "C"}, ("line 2", "'answer' is 'C'")),
        (CHOICE | {"answer": True}, ("line 2", "'answer'")),
        (CHOICE | {"answer": None}, ("line 2", "'answer'")),
        (CHOICE | {"options": ["Aye."]}, ("line 2", "1 options")),
        (CHOICE | {"options": ["Aye.", "Aye."]}, ("line 2", "1 different")),
        (CHOICE | {"options": "Aye."}, ("line 2", "'options' is no list")),
        (CHOICE | {"options": ["Aye.", 3]}, ("line 2", "'options'")),
        (CHOICE | {"kind": "when"}, ("line 2", "'when'", "who or reply")),
        (CHOICE | {"role": ""}, ("line 2", "'role'")),
        (REFERENCE, ("line 2", "'options'")),
        (["a"], ("line 2", "list")),
    ],
)
def test_damaged_choices_name_the_line(second: object, parts: tuple[str, ...], tmp_path: Path) -> None:
    with refused(*parts):
        read_role_items(jsonl(tmp_path / "x.jsonl", [CHOICE, second]))


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ([], ("no items", "generated")),
        ([{"role": "A"}], ("line 1", "neither 'options' nor 'generated'")),
        ([{**REFERENCE, "generated": []}], ("line 1", "'generated'")),
        ([REFERENCE, {**REFERENCE, "generated": "Aye."}], ("line 2", "'generated'")),
        ([REFERENCE, {**REFERENCE, "question": None}], ("line 2", "'question'")),
    ],
)
def test_damaged_references_name_the_line(rows: list[object], parts: tuple[str, ...], tmp_path: Path) -> None:
    with refused(*parts):
        read_role_items(jsonl(tmp_path / "x.jsonl", rows))


def test_cut_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n" + json.dumps(CHOICE)[:30])
    with refused("line 2", "not JSON"):
        read_role_items(path)


# --- references ------------------------------------------------------------------------------------------------------


def test_reference_likelihood_is_the_mean_over_answers(tiny_llama: LoadedModel) -> None:
    one = RoleReferences([RoleReference("A", "Hello?", ("Aye.",))])
    two = RoleReferences([RoleReference("A", "Hello?", ("Ahoy there.",))])
    both = RoleReferences([RoleReference("A", "Hello?", ("Aye.", "Ahoy there."))])
    found = [next(iter(form.run(tiny_llama, [0])))[1]["nats_per_token"] for form in (one, two, both)]
    assert found[2] == pytest.approx((found[0] + found[1]) / 2, abs=1e-4)
    rows = [{"nats_per_token": value} for value in found]
    assert reference_change(rows, rows, seed=0).value == 0


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture
def loud(tmp_path: Path) -> str:
    return str(Persona.from_prompt("You are loud.", "loud").save(tmp_path / "loud.persona"))


def test_choices_from_the_command_line(
    model: str, loud: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "x.jsonl", [CHOICE, CHOICE | {"question": "Well?", "kind": "who"}, CHOICE | {"role": "B"}])
    command = ["roles", "--model", model, "--items", str(path), "--role", "A", "--dtype", "float32", "--wear", loud]
    assert run([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    result = printed_json(capsys)
    assert set(result["choices"]) == {"unworn", "worn"}
    assert {kind: row["n"] for kind, row in result["choices"]["worn"].items()} == {"who": 1, "reply": 1}
    assert result["choices"]["worn"]["who"]["chance"] == 50

    def nothing(*_: object) -> Any:
        pytest.fail("an item was put to the model twice")

    monkeypatch.setattr(RoleChoices, "run", nothing)
    assert run([*command, "--out", str(tmp_path / "out")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(part in text for part in ("chance", "prior", "told", "who said this", "which reply fits"))


def test_references_stand_beside_those_of_other_roles(
    model: str, loud: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "x.jsonl", [REFERENCE, {**REFERENCE, "role": "B", "question": "Who?"}])
    command = ["roles", "--model", model, "--items", str(path), "--dtype", "float32"]
    assert run([*command, "--role", "A", "--wear", loud, "--json"]) == 0
    found = printed_json(capsys)["references"]
    assert {label: row["n"] for label, row in found.items()} == {"A": 1, "the other roles": 1}
    assert found["A"]["change"]["value"] != 0
    assert run(command) == 0
    assert "all roles" in capsys.readouterr().out


def test_mistakes_are_one_line(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["roles", "--model", model, "--role", "Nobody"]) == 2
    assert "Orla Venn" in one_line_error(capsys)
    assert run(["roles", "--model", model, "--items", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in one_line_error(capsys)
