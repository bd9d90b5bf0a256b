"""The questionnaire on models whose answers are known, and its arithmetic against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from answering import Answering, answering, made_items, options
from expect import refused

from temperament.calibration.contrast import group_key
from temperament.calibration.items import LETTERS, Item
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.questionnaire import (
    PRESENTATIONS,
    Norms,
    Questionnaire,
    acquiescence,
    consistency,
    domain_scores,
    effect,
    effects,
    facet_scores,
    find_norms,
    read_items,
    read_norms,
)
from temperament.evaluation.questionnaire.wording import WORDINGS
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan

Records = list[dict[str, Any]]


def run(lm: LoadedModel, items: tuple[Item, ...], kind: str = "standard") -> Records:
    form = Questionnaire(items, PRESENTATIONS[kind])
    found = dict(form.run(lm, range(len(form))))
    assert sorted(found) == list(range(len(form)))
    return [json.loads(json.dumps(found[index], allow_nan=False)) for index in range(len(form))]


def first_option(text: str) -> str:
    return options(text)[0][0]


def most_agreement(text: str) -> str:
    tops = {wording.scale[4] for wording in WORDINGS}
    return next(label for label, words in options(text) if words in tops)


def extravert(text: str) -> str:
    """Full agreement with what is + keyed for extraversion, full disagreement with its opposite, else the middle."""
    value = (5 if "njoy" in text else 1) if "extraversion" in text else 3
    words = {wording.scale[value - 1] for wording in WORDINGS}
    return next(label for label, option in options(text) if option in words)


@pytest.mark.parametrize("kind", PRESENTATIONS)
def test_a_habit_of_place_cancels(kind: str) -> None:
    records = run(answering(first_option), made_items(1), kind)
    assert [record["expected"] for record in records] == pytest.approx([3.0] * 10)
    found = consistency(records)
    assert found.value == pytest.approx(2)
    assert found.extra["order_gap"] == pytest.approx(4)
    assert found.extra["argmax_agreement"] == 0
    assert found.extra["mass"] == pytest.approx(1)


@pytest.mark.parametrize("label", ["A", "2"])
def test_a_habit_of_one_label_cancels(label: str) -> None:
    kind = "quick" if label == "A" else "full"
    records = run(answering(lambda _: label), made_items(1), kind)
    assert [record["expected"] for record in records] == pytest.approx([3.0] * 10)


def test_always_agreeing_is_acquiescence_and_no_trait() -> None:
    records = run(answering(most_agreement), made_items(2))
    assert [record["expected"] for record in records] == pytest.approx([5.0] * 20)
    assert {answer["argmax"] for record in records for answer in record["presentations"].values()} == {5}
    assert acquiescence(records).value == pytest.approx(5)
    scores = domain_scores(records)
    assert list(scores) == list(LETTERS)
    for score in scores.values():
        assert score.value == pytest.approx(3)
        assert score.extra["balanced"] == pytest.approx(3)
    assert consistency(records).value == pytest.approx(0, abs=1e-6)
    assert consistency(records).extra["argmax_agreement"] == 1


def test_unequal_keys_move_the_score_of_a_yes_sayer_but_not_its_balanced_form() -> None:
    items = tuple(item for item in made_items(4) if item.key > 0 or item.text.endswith("0."))
    score = domain_scores(run(answering(most_agreement), items, "quick"))["openness"]
    assert score.value == pytest.approx((4 * 5 + 1) / 5)
    assert score.extra["balanced"] == pytest.approx(3)
    assert score.extra["items"] == {"plus": 4, "minus": 1}


def test_one_trait_answered_high() -> None:
    items = made_items(4)
    worn, unworn = run(answering(extravert), items), run(answering(first_option), items)
    scores = domain_scores(worn)
    assert scores["extraversion"].value == pytest.approx(5)
    assert scores["extraversion"].n == 8
    assert all(scores[trait].value == pytest.approx(3) for trait in LETTERS if trait != "extraversion")
    assert acquiescence(worn).value == pytest.approx(3)
    found = effects(worn, unworn)
    assert {trait: round(one.value, 6) for trait, one in found.items()} == {
        trait: 2.0 if trait == "extraversion" else 0.0 for trait in LETTERS
    }
    assert effect(unworn, worn, "E").value == pytest.approx(-2)
    assert effect(unworn, worn, "E").extra["balanced"] == pytest.approx(-2)


def test_trait_and_acquiescence_do_not_mix_where_keys_are_unequal() -> None:
    items = tuple(item for item in made_items(4) if item.key > 0 or item.domain != "extraversion" or "0." in item.text)
    assert acquiescence(run(answering(extravert), items, "quick")).value == pytest.approx(3)


def records(*answers: tuple[str, str, int, float]) -> Records:
    return [
        {"item": n, "text": str(n), "domain": domain, "facet": facet, "key": key, "expected": expected}
        for n, (domain, facet, key, expected) in enumerate(answers)
    ]


def test_scores_by_hand() -> None:
    rows = records(
        ("openness", "O1", 1, 4.0),
        ("openness", "O1", -1, 2.5),
        ("openness", "O2", 1, 3.0),
        ("neuroticism", "N3", -1, 1.0),
    )
    scores = domain_scores(rows)
    assert set(scores) == {"openness", "neuroticism"}
    assert scores["openness"].value == pytest.approx((4 + 3.5 + 3) / 3)
    assert scores["openness"].extra["balanced"] == pytest.approx((3.5 + 3.5) / 2)
    assert 3 <= scores["openness"].low < scores["openness"].value < scores["openness"].high <= 4
    assert scores["neuroticism"].value == 5
    assert scores["neuroticism"].extra["balanced"] is None
    assert {name: one["value"] for name, one in facet_scores(rows).items()} == {"N3": 5, "O1": 3.75, "O2": 3}
    assert acquiescence(rows).value == pytest.approx((3.5 + 2.5) / 2)
    assert acquiescence(rows).extra["traits"] == 1
    with refused("no trait has items of both keys"):
        acquiescence(rows[3:])


def test_an_interval_is_paired_over_items() -> None:
    first = records(*(("openness", "", 1, 1.0 + n / 4) for n in range(12)))
    second = [{**row, "expected": row["expected"] - 0.5} for row in first]
    found = effect(first, second, "openness")
    assert [found.value, found.low, found.high] == pytest.approx([0.5] * 3)
    assert found.n == 12


def test_effects_need_the_same_items() -> None:
    rows = records(("openness", "", 1, 4.0), ("openness", "", 1, 3.0))
    with refused("openness differ"):
        effect(rows, rows[:1], "openness")
    with refused("openness differ"):
        effect(rows, [rows[0], {**rows[1], "text": "another"}], "openness")
    with refused("no records"):
        effect(rows, rows, "neuroticism")


@pytest.fixture
def norms_file(tmp_path: Path) -> Path:
    def group(name: str, items: int, mean: float) -> dict[str, Any]:
        domains, facets = dict.fromkeys("OCEAN", mean), {letter: [mean / 6] * 6 for letter in "OCEAN"}
        sds = {letter: [2.5] * 6 for letter in "OCEAN"}
        head = {"group": name, "n_items": items, "domain_mean": domains}
        return {**head, "domain_sd": dict.fromkeys("OCEAN", 15.0), "facet_mean": facets, "facet_sd": sds}

    path = tmp_path / "norms.json"
    groups = [
        group("men under 21 years old", 120, 72),
        group("women between 21 and 40 years old", 120, 78),
        group("women over 60 years old", 120, 60),
        group("men of traditional college age", 300, 190),
        group("adult women", 300, 200),
    ]
    path.write_text(json.dumps(groups))
    return path


def test_norms_are_found_by_short_name(norms_file: Path) -> None:
    assert [norms.name for norms in read_norms(norms_file)] == [
        "men under 21",
        "women 21-40",
        "women over 60",
        "men college",
        "women adult",
    ]
    assert find_norms(norms_file, "Women 21–40").group == "women between 21 and 40 years old"
    assert find_norms(norms_file, "women over 60 years old").name == "women over 60"
    assert find_norms(norms_file, "women adult", items=300).items == 300
    with refused("'women adult'", "120 items", "men under 21, women 21-40, women over 60"):
        find_norms(norms_file, "women adult")


def test_t_scores_by_hand(norms_file: Path) -> None:
    norms = find_norms(norms_file, "women 21-40")
    assert norms.t("extraversion", 3.25, 24) == pytest.approx(50)  # 24 · 3.25 = 78, the mean
    assert norms.t("extraversion", 3.25 + 15 / 24, 24) == pytest.approx(60)
    assert norms.t("E2", 13 / 4, 4) == pytest.approx(50)
    assert norms.t("E2", (13 - 2.5) / 4, 4) == pytest.approx(40)
    assert norms.t("extraversion", 3.25, 23) is None
    assert norms.t("E2", 3, 3) is None
    assert norms.t("E7", 3, 4) is None
    assert find_norms(norms_file, "women adult", 300).t("openness", 200 / 60, 60) == pytest.approx(50)


def test_t_scores_of_complete_scales_only(norms_file: Path) -> None:
    norms = find_norms(norms_file, "men under 21")
    rows = records(*(("extraversion", f"E{n % 6 + 1}", 1 if n < 12 else -1, 4.0 if n < 12 else 2.0) for n in range(24)))
    assert domain_scores(rows, norms)["extraversion"].extra["t"] == pytest.approx(50 + 10 * (96 - 72) / 15)
    assert facet_scores(rows, norms)["E1"]["t"] == pytest.approx(50 + 10 * (16 - 12) / 2.5)
    assert domain_scores(rows[:23], norms)["extraversion"].extra["t"] is None
    assert domain_scores(rows)["extraversion"].extra["t"] is None


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('"n_items": 120', '"n_items": 121', "entry 1"),
        ('"domain_sd": {"O": 15.0', '"domain_sd": {"O": 0', "entry 1"),
        ('"domain_mean": {"O": 72', '"domain_mean": {"O": NaN', "entry 1"),
        ('"O": [2.5, 2.5,', '"O": [2.5,', "entry 1"),
        ('"O": [12.0, 12.0,', '"O": [12.0,', "5 facets of O"),
        ('"group"', '"people"', "entry 1"),
        ("[{", "{", "not JSON"),
    ],
)
def test_damaged_norms_are_refused(norms_file: Path, old: str, new: str, part: str) -> None:
    text = norms_file.read_text()
    assert old in text
    norms_file.write_text(text.replace(old, new, 1))
    with refused(part):
        read_norms(norms_file)
    norms_file.write_text("[]")
    with refused("no norms"):
        read_norms(norms_file)


def test_identity_covers_items_and_presentations() -> None:
    items = made_items(1)
    forms = [
        Questionnaire(items),
        Questionnaire(items[:9]),
        Questionnaire((*items[:9], replace(items[9], key=1))),
        Questionnaire(items, PRESENTATIONS["quick"]),
        Questionnaire(items, PRESENTATIONS["full"]),
    ]
    assert len({form.hash for form in forms}) == len(forms)
    assert forms[0].hash == Questionnaire(made_items(1)).hash
    assert {group_key("Enjoy openness task 0."), group_key("I enjoy openness task 0.")} <= forms[0].groups
    with refused("without items"):
        Questionnaire(())


def test_presentations_differ_and_pair_up() -> None:
    for shown in PRESENTATIONS.values():
        names = [one.name for one in shown]
        assert len(set(names)) == len(names)
        assert {name.replace("-ascending", "-descending") for name in names} <= set(names)
        prompts = {one.prompt(made_items(1)[0]) for one in shown}
        assert len(prompts) == len(shown)
    assert [len(PRESENTATIONS[kind]) for kind in ("quick", "standard", "full")] == [2, 6, 12]


def test_options_share_a_row_and_items_come_in_portions() -> None:
    lm = answering(first_option)
    items = made_items(1)
    steps = Questionnaire(items).run(lm, [9, 3])
    assert next(steps)[0] == 3
    toy = cast(Answering, lm)
    assert sum(toy.batches) == 8 * 6  # one row per item and presentation, not one per option
    assert [index for index, _ in steps] == [9], "each in the portion that it is in when all are to do"
    assert sum(toy.batches) == 10 * 6


def test_no_room_for_an_answer_is_an_error() -> None:
    with refused("fills all 100 tokens"):
        run(answering(first_option, max_tokens=100), made_items(1))


def test_records_through_the_ledger(tmp_path: Path, tiny_llama: LoadedModel) -> None:
    form = Questionnaire(made_items(1)[:4], PRESENTATIONS["quick"])
    found = Ledger(tiny_llama, tmp_path).run(form, Plan(), "unworn")
    assert [record["item"] for record in found] == [1, 2, 3, 4]
    assert all(1 < record["expected"] < 5 and 0 < record["mass"] < 1 for record in found)
    assert Ledger(tiny_llama, tmp_path).run(form, Plan(), "unworn") == found
    prompt = Persona.from_prompt("You are loud.")
    assert Ledger(tiny_llama, tmp_path).run(form, 1.0 * prompt, "worn") != found
    leaked = replace(prompt, groups=frozenset({group_key("I enjoy openness task 0.")}))
    with refused("calibrate or tune"):
        Ledger(tiny_llama, tmp_path).run(form, 1.0 * leaked, "worn")


def test_published_items_and_norms(data_dir: Path) -> None:
    items = read_items(data_dir / "ipip_neo" / "ipip_neo_120.csv")
    assert [item.number for item in items] == list(range(1, 121))
    assert {trait: sum(item.domain == trait for item in items) for trait in LETTERS} == dict.fromkeys(LETTERS, 24)
    assert len({item.facet for item in items}) == 30
    norms = [find_norms(data_dir / "ipip_neo" / "norms.json", name) for name in ("women 21-40", "men over 60")]
    assert all(isinstance(one, Norms) and one.length("openness") == 24 and one.length("O1") == 4 for one in norms)
    rows = records(*((item.domain, item.facet, item.key, 3.0) for item in items))
    expected = 50 + 10 * (72 - 80.78) / 14.64
    assert domain_scores(rows, norms[0])["extraversion"].extra["t"] == pytest.approx(expected)
