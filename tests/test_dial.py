"""The dial: toy curves of known shape, figures worked out by hand, and the field in the persona file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expect import counted_passes, refused
from made import made, neuron_persona, prompt_persona, recipe_persona, vector_persona

from temperament.calibration import Contrast, resolve_contrast
from temperament.calibration.contrast import POLES, group_key
from temperament.container import read_container, write_container
from temperament.errors import TemperamentError
from temperament.evaluation import evaluate
from temperament.evaluation.budget import Curve, Point
from temperament.evaluation.dial import Target, check_reached, dial, find_strength, trait_score, unworn_scores
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger
from temperament.evaluation.loops import tuning_answers
from temperament.evaluation.perplexity import encode_passages, neutral_passages
from temperament.evaluation.score import score_responses
from temperament.evaluation.statements import Statements
from temperament.models import LoadedModel
from temperament.personas import Dial, DialData, Extraction, Persona, Plan, extract, open_persona, read_plan
from temperament.wear import wear

Law = Callable[[float], float]


def curve(effect: Law, perplexity: Law = lambda s: 1.0, strongest: float = 1.0) -> Curve:
    return Curve(lambda s: Point(s, perplexity(s), effect(s)), strongest)


def dial_of(*texts: str, **changes: Any) -> Dial:
    values = {
        "strength": 0.5,
        "target": "+1sd",
        "goal": 0.9,
        "score": 0.91,
        "unworn": 0.4,
        "sd": 0.5,
        "budget": 1.1,
        "perplexity": 1.06,
        "reached": True,
        "data": DialData(name="small", split="validation", hash="d" * 64, plus=4, minus=4, neutral="e" * 64),
        "texts": tuple(sorted(map(group_key, texts or ("tuned on",)))),
    }
    return Dial(**{**values, **changes})


# --- the search on toy curves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strongest", [1.0, 3.0, 32.0])
def test_a_straight_line_is_met_by_interpolation(strongest: float) -> None:
    law = curve(lambda s: 2 * s / strongest, strongest=strongest)
    found = find_strength(law, 0.7, 1.1)
    assert found is not None
    assert found.reached
    assert found.point.strength == pytest.approx(0.35 * strongest, rel=1e-5)
    assert found.point.effect == pytest.approx(0.7, rel=1e-5)
    assert len(law.points) == 4  # three of the grid, one to confirm


@pytest.mark.parametrize("gain", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("power", [0.3, 1.0, 3.0])
def test_a_bent_curve_is_measured_again_until_it_is_met(gain: float, power: float) -> None:
    found = find_strength(curve(lambda s: s**power), gain, 1.1)
    assert found is not None
    assert found.reached
    assert found.point.effect == found.point.strength**power
    assert found.point.effect >= 0.95 * gain


def test_the_weak_side_of_an_inverted_u_is_taken() -> None:
    found = find_strength(curve(lambda s: 4 * s * (1 - s)), 0.8, 1.1)
    assert found is not None
    assert found.reached
    assert found.point.strength < 0.5
    assert found.point.effect == pytest.approx(0.8, rel=0.05)


def test_beyond_the_top_of_an_inverted_u_the_top_is_closest() -> None:
    found = find_strength(curve(lambda s: 4 * s * (1 - s)), 1.5, 1.1)
    assert found is not None
    assert not found.reached
    assert found.point.strength == 0.5
    assert found.point.effect == 1


def test_the_budget_ends_before_the_target() -> None:
    law = curve(lambda s: 2 * s, lambda s: 1 + s / 2)
    found = find_strength(law, 0.7, 1.1)
    assert found is not None
    assert not found.reached
    assert 1.09 < found.point.perplexity <= 1.1
    assert found.point.effect == pytest.approx(0.4, rel=0.05)
    enough = find_strength(curve(lambda s: 2 * s, lambda s: 1 + s / 2), 0.35, 1.1)
    assert enough is not None
    assert enough.reached


def test_a_target_between_the_last_strength_of_the_grid_and_the_limit_is_found() -> None:
    found = find_strength(curve(lambda s: s, lambda s: 1.05 if s <= 0.45 else 2.0), 0.4, 1.1)
    assert found is not None
    assert found.reached
    assert found.point.effect == pytest.approx(0.4, rel=0.05)


def test_a_curve_that_comes_back_behind_a_break_is_not_followed() -> None:
    found = find_strength(curve(lambda s: s, lambda s: 3.0 if 0.2 < s < 0.7 else 1.0), 0.75, 1.1)
    assert found is not None
    assert not found.reached
    assert found.point.strength <= 0.2


def test_a_jump_is_passed_by_the_weakest_strength_that_is_enough() -> None:
    found = find_strength(curve(lambda s: 0.1 * s if s < 0.3 else 1.0), 0.5, 1.1)
    assert found is not None
    assert found.reached
    assert 0.3 <= found.point.strength <= 0.5
    assert found.point.effect == 1


@pytest.mark.parametrize("effect", [lambda s: -s, lambda s: 0.0, lambda s: math.inf])
def test_what_gains_nothing_has_no_strength(effect: Law) -> None:
    assert find_strength(curve(effect), 0.5, 1.1) is None


def test_a_model_that_breaks_at_once_has_no_strength() -> None:
    assert find_strength(curve(lambda s: 5 * s, lambda s: 9.0), 0.5, 1.1) is None


# --- the score by hand -----------------------------------------------------------------------------------------------


def records(high: list[float], low: list[float]) -> list[dict[str, Any]]:
    rows = [("plus", value) for value in high] + [("minus", value) for value in low]
    return [{"pole": pole, "nats_per_token": value} for pole, value in rows]


def test_scores_by_hand() -> None:
    rows = records([-1.0, -2.0, -3.0], [-4.0, -4.0, -1.0])
    plus, minus = unworn_scores(rows, "plus"), unworn_scores(rows, "minus")
    assert plus.score == pytest.approx(1.0)
    assert minus.score == pytest.approx(-1.0)
    assert plus.sd == minus.sd == pytest.approx(math.sqrt((2 + 6) / 4))
    further = unworn_scores(records([9.0, 8.0, 7.0], [-4.0, -4.0, -1.0]), "plus")
    assert further.sd == pytest.approx(plus.sd)  # the distance of the poles does not count
    assert trait_score(np.array([2.0, 4.0]), np.array([1.0])) == 2
    with refused("1 and 3 validation statements"):
        unworn_scores(records([-1.0], [-1.0, -2.0, -3.0]), "plus")
    with refused("alike"):
        unworn_scores(records([-1.0, -1.0], [-2.0, -2.0]), "plus")


@pytest.mark.parametrize(
    ("text", "goal", "shown"),
    [("+1sd", 3.0, "+1sd"), ("1SD", 3.0, "+1sd"), ("+.5 sd", 2.0, "+0.5sd"), ("0.80", 0.8, "0.8"), ("-2", -2.0, "-2")],
)
def test_targets(text: str, goal: float, shown: str) -> None:
    unworn = unworn_scores(records([3.0, 1.0, 2.0 - math.sqrt(6)], [1.0 + math.sqrt(6), 0.0, -1.0]), "plus")
    unworn = replace(unworn, score=1.0, sd=2.0)
    target = Target.of(text)
    assert target.goal(unworn) == pytest.approx(goal)
    assert target.text == shown


@pytest.mark.parametrize("text", ["", "much", "-1sd", "0sd", "nan", "inf", f"{'9' * 400}sd", "1 sds", "+sd", "1,5"])
def test_what_is_no_target(text: str) -> None:
    with refused("neither a gain"):
        Target.of(text)


# --- on a model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> Contrast:
    return resolve_contrast("extraversion", split="validation", limit=4)


@pytest.fixture(scope="module")
def vectors(tiny_llama: LoadedModel) -> Extraction:
    return extract(tiny_llama, resolve_contrast("extraversion", limit=8), method="vector")


@pytest.fixture
def few_passages(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The first two neutral passages in place of all."""
    kept = neutral_passages(split="validation")[:2]
    monkeypatch.setattr("temperament.evaluation.dial.neutral_passages", lambda split: kept)
    return kept


BUDGET = 5.0


@pytest.mark.parametrize("pole", ["plus", "minus"])
def test_the_strength_found_gives_the_score_it_says(
    pole: str, tiny_llama: LoadedModel, vectors: Extraction, texts: Contrast, few_passages: tuple[str, ...]
) -> None:
    persona = vectors.plus if pole == "plus" else vectors.minus
    found = dial(Ledger(tiny_llama), persona, texts, target="+0.1sd", budget=BUDGET)

    def means() -> tuple[float, float]:
        sides = (texts.plus, texts.minus) if pole == "plus" else (texts.minus, texts.plus)
        items = [[tiny_llama.encode(one.prompt, one.response) for one in side] for side in sides]
        own, other = (np.mean([score.per_token for score in score_responses(tiny_llama, side)]) for side in items)
        scores = score_responses(tiny_llama, encode_passages(tiny_llama, few_passages))
        return float(own - other), math.exp(-sum(s.total for s in scores) / sum(s.tokens for s in scores))

    before = means()
    with wear(tiny_llama, found.persona.dialled):
        after = means()
    mark = found.dial
    assert mark.unworn == pytest.approx(before[0], abs=1e-5)
    assert mark.score == pytest.approx(after[0], abs=1e-4)
    assert mark.perplexity == pytest.approx(after[1] / before[1], rel=1e-4)
    assert mark.goal == pytest.approx(mark.unworn + 0.1 * mark.sd)
    assert mark.reached
    assert mark.score - mark.unworn == pytest.approx(found.gain.value)
    assert found.gain.value >= 0.095 * mark.sd
    assert found.gain.low < found.gain.value < found.gain.high
    assert (mark.data.plus, mark.data.minus, mark.data.hash) == (4, 4, texts.hash)
    assert found.persona.dialled.items == ((found.persona, mark.strength),)
    check_reached([found])


@pytest.mark.parametrize("kind", ["mask", "neurons"])
def test_every_graded_kind_can_be_dialled(
    kind: str, tiny_llama: LoadedModel, tiny_extraction: Extraction, texts: Contrast, few_passages: tuple[str, ...]
) -> None:
    del few_passages
    persona = tiny_extraction.plus
    if kind == "neurons":
        persona = extract(tiny_llama, resolve_contrast("extraversion", limit=8), method="neurons").plus
    found = None
    for pole in POLES:  # what moves a random model away from one pole moves it towards the other
        with suppress(TemperamentError):
            found = dial(Ledger(tiny_llama), replace(persona, pole=pole), texts, target="+9sd", budget=BUDGET)
    assert found is not None
    assert not found.dial.reached
    assert 0 < found.dial.strength <= (persona.edit.strongest or 0)
    assert found.dial.perplexity <= BUDGET
    with refused("+9sd is not reached", "comes to", "--closest"):
        check_reached([found])


def test_dialled_texts_are_refused_and_can_be_dialled_again(
    tiny_llama: LoadedModel, vectors: Extraction, texts: Contrast, few_passages: tuple[str, ...], tmp_path: Path
) -> None:
    del few_passages
    ledger = Ledger(tiny_llama, tmp_path)
    persona = dial(ledger, vectors.plus, texts, target="+0.1sd", budget=BUDGET).persona
    reopened = open_persona(persona.save(tmp_path / "plus.persona"))
    asked = tuning_answers("extraversion").groups
    assert reopened.groups == vectors.plus.groups | texts.group_keys | asked > vectors.plus.groups
    for worn in (persona, reopened):
        with refused("8 of 8 texts", "calibrate or tune"):
            ledger.run(Statements(texts), worn.dialled, "worn")
        with refused("calibrate or tune"):
            evaluate(tiny_llama, worn, vectors.minus, texts, controls=())
    other = resolve_contrast("extraversion", split="test", limit=4)
    assert ledger.run(Statements(other), reopened.dialled, "worn")
    with counted_passes(tiny_llama) as passes:  # every figure is on record
        again = dial(Ledger(tiny_llama, tmp_path), reopened, texts, target="+0.1sd", budget=BUDGET)
    assert again.persona.dial == persona.dial
    assert not passes
    fewer = replace(texts, plus=texts.plus[:3], minus=texts.minus[1:])
    moved = dial(ledger, reopened, fewer, target="+0.1sd", budget=BUDGET).persona
    assert moved.groups == vectors.plus.groups | fewer.group_keys | asked
    with refused("calibrate or tune"):
        dial(ledger, vectors.plus, resolve_contrast("extraversion", limit=8), target="+0.1sd", budget=BUDGET)


def test_a_strength_whose_answers_go_in_circles_is_beyond_the_budget(
    tiny_llama: LoadedModel,
    vectors: Extraction,
    texts: Contrast,
    few_passages: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del few_passages
    plain = dial(Ledger(tiny_llama), vectors.plus, texts, target="+9sd", budget=BUDGET)
    asked: list[int] = []

    def looping(worn: list[Record], base: list[Record]) -> float:
        asked.append(len(worn))
        assert {record["question"] for record in worn} == {record["question"] for record in base}
        return 0.11 if len(asked) > 1 else 0.09

    monkeypatch.setattr("temperament.evaluation.dial.loops", looping)
    found = dial(Ledger(tiny_llama), vectors.plus, texts, target="+9sd", budget=BUDGET)
    first = min(point.strength for point in found.curve)
    assert (found.dial.strength, found.dial.repeat) == (first, 0.09)
    assert found.dial.strength < plain.dial.strength
    assert set(asked) == {20}


def test_what_cannot_be_dialled_is_refused(tiny_llama: LoadedModel, vectors: Extraction, texts: Contrast) -> None:
    ledger = Ledger(tiny_llama)
    with refused("nothing between"):
        dial(ledger, prompt_persona(), texts)
    with refused("ratio of 1"):
        dial(ledger, vectors.plus, texts, budget=1.0)
    with refused("already scores"):
        dial(ledger, vectors.plus, texts, target="-50")


# --- the field in the file -------------------------------------------------------------------------------------------

DIALLED = {"recipe": recipe_persona, "neurons": neuron_persona, "vector": vector_persona}


@pytest.mark.parametrize("kind", DIALLED)
def test_a_dial_is_kept_with_the_persona(kind: str, tmp_path: Path) -> None:
    plain = DIALLED[kind]()
    persona = plain.with_dial(dial_of("one", "two"))
    opened = open_persona(persona.save(tmp_path / "worn.persona"))
    assert opened.dial == persona.dial
    assert opened.groups == persona.groups == plain.groups | {group_key("one"), group_key("two")}
    assert opened.dialled.items == ((opened, 0.5),)
    assert opened.without_dial().groups == plain.groups
    assert opened.without_dial().dial is None
    assert opened.with_dial(dial_of("three")).groups == plain.groups | {group_key("three")}
    opened.without_dial().save(tmp_path / "plain.persona")
    plain.save(tmp_path / "before.persona")
    assert (tmp_path / "plain.persona").read_bytes() == (tmp_path / "before.persona").read_bytes()


def test_a_persona_without_a_dial_says_so() -> None:
    with refused("no strength was dialled", "temperament dial"):
        _ = recipe_persona().dialled
    with refused("calibrated on texts of its dial"):
        recipe_persona().with_dial(dial_of("text 0"))
    plain = vector_persona()
    assert plain.without_dial() is plain


def test_files_without_the_field_hold_no_trace_of_it(tmp_path: Path) -> None:
    path = recipe_persona().save(tmp_path / "worn.persona")
    _, header = read_container(path, kind="persona file", remedy="")
    assert "dial" not in header
    assert open_persona(path).dial is None


Header = dict[str, Any]
DAMAGE: dict[str, Callable[[Header], object]] = {
    "null": lambda header: header.__setitem__("dial", None),
    "a number": lambda header: header.__setitem__("dial", 0.5),
    "extra": lambda header: header["dial"].__setitem__("comment", "hello"),
    "no strength": lambda header: header["dial"].pop("strength"),
    "strength text": lambda header: header["dial"].__setitem__("strength", "0.5"),
    "strength 0": lambda header: header["dial"].__setitem__("strength", 0.0),
    "strength negative": lambda header: header["dial"].__setitem__("strength", -0.5),
    "strength beyond the mask": lambda header: header["dial"].__setitem__("strength", 1.5),
    "strength nan": lambda header: header["dial"].__setitem__("strength", math.nan),
    "score infinite": lambda header: header["dial"].__setitem__("score", math.inf),
    "sd 0": lambda header: header["dial"].__setitem__("sd", 0.0),
    "budget 1": lambda header: header["dial"].__setitem__("budget", 1.0),
    "perplexity none": lambda header: header["dial"].pop("perplexity"),
    "reached number": lambda header: header["dial"].__setitem__("reached", 1),
    "measure": lambda header: header["dial"].__setitem__("measure", "charm"),
    "target none": lambda header: header["dial"].pop("target"),
    "data none": lambda header: header["dial"].pop("data"),
    "data extra": lambda header: header["dial"]["data"].__setitem__("seed", 1),
    "data hash": lambda header: header["dial"]["data"].__setitem__("hash", "D" * 64),
    "data real": lambda header: header["dial"]["data"].__setitem__("plus", 4.5),
    "no text": lambda header: header["dial"].__setitem__("texts", []),
    "text short": lambda header: header["dial"].__setitem__("texts", ["abc"]),
    "text of no group": lambda header: header["dial"].__setitem__("texts", ["0" * 16]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_dial_behind_a_valid_hash(damage: str, tmp_path: Path) -> None:
    path = recipe_persona().with_dial(dial_of()).save(tmp_path / "worn.persona")
    tensors, header = read_container(path, kind="persona file", remedy="")
    del header["sha256"]
    intact = json.dumps(header)
    write_container(path, tensors, header)
    assert open_persona(path).dial is not None
    DAMAGE[damage](header)
    assert json.dumps(header) != intact
    write_container(path, tensors, header)
    with refused("worn.persona", "damaged"):
        open_persona(path)


def test_a_prompt_has_no_dial(tmp_path: Path) -> None:
    path = replace(made("prompt"), groups=frozenset({group_key("tuned on")}), dial=dial_of()).save(tmp_path / "p")
    with refused("a prompt persona has no dial"):
        open_persona(path)


def test_any_flipped_byte_of_a_file_with_a_dial(tmp_path: Path) -> None:
    path = vector_persona().with_dial(dial_of("one", "two")).save(tmp_path / "worn.persona")
    data, rng = path.read_bytes(), random.Random(0)
    for position in rng.sample(range(len(data)), 150):
        damaged = bytearray(data)
        damaged[position] ^= rng.randrange(1, 256)
        path.write_bytes(bytes(damaged))
        with refused("worn.persona"):
            open_persona(path)


def test_what_is_written_without_a_strength_is_worn_at_the_dial(tmp_path: Path) -> None:
    persona = vector_persona()
    dialled = persona.with_dial(dial_of(strength=2.5)).save(tmp_path / "dialled.persona")
    plain = persona.save(tmp_path / "plain.persona")
    notes: list[str] = []

    def strengths(spec: str) -> list[float]:
        return [strength for _, strength in read_plan(spec, notes.append).items]

    assert strengths(str(dialled)) == [2.5]
    assert "2.5" in notes.pop()
    assert strengths(f"{dialled}:0.5") == [0.5]
    assert strengths(f"{dialled}:1") == [1]
    assert strengths(str(plain)) == [1]
    assert not notes
    assert strengths(f"{dialled}+{plain}+{dialled}:-1") == [2.5, 1, -1]
    assert len(notes) == 1
    assert isinstance(read_plan(str(dialled)), Plan)
    assert isinstance(open_persona(dialled), Persona)
    assert torch.equal(
        open_persona(dialled).edit.content().tensors["vectors"], persona.edit.content().tensors["vectors"]
    )
