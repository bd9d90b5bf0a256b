"""Evaluation end to end on a tiny model: measures, controls, records, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from expect import refused
from torch import Tensor

from temperament.calibration import NEUTRAL_PROMPT, Choice, Contrast, Example, resolve_contrast
from temperament.evaluate import CONTROLS, Evaluation, evaluate
from temperament.evaluate.controls import RANDOM_SEEDS, control_conditions, random_pair, shuffled_pair
from temperament.evaluate.score import score_responses
from temperament.methods import METHODS
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, MaskEdit, Persona, extract
from temperament.signatures import save_signatures
from temperament.wear import wear

NEUTRAL = "The tide comes in twice a day on most coasts of the world."
FREE = ("unworn", "swapped")  # controls that need no further masks


def contrast(split: str, count: int, seed: int = 0) -> Contrast:
    return resolve_contrast(f"extraversion#{split}", limit=count, seed=seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def extraction(tiny_llama: LoadedModel) -> Extraction:
    return extract(tiny_llama, contrast("calibration", 8), sparsity=0.3)


@pytest.fixture(scope="module")
def texts() -> Contrast:
    return contrast("test", 6)


@pytest.fixture(scope="module")
def neutral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neutral") / "neutral.txt"
    path.write_text("\n".join(f"{NEUTRAL} {index}" for index in range(5)))
    return path


@pytest.fixture(scope="module")
def evaluation(tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path) -> Evaluation:
    """The one evaluation with everything in it that several tests look at."""
    e = extraction
    return evaluate(tiny_llama, e.plus, e.minus, texts, signatures=e.signatures, neutral=neutral)


@contextmanager
def counted_passes(lm: LoadedModel) -> Iterator[list[int]]:
    passes: list[int] = []
    hook = lm.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        yield passes
    finally:
        hook.remove()


def weights(lm: LoadedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def values(measures: Any) -> dict[str, float]:
    return {name: found.value for name, found in measures.items()}


# --- the whole of it -------------------------------------------------------------------------------------------------


def test_everything_is_measured_on_every_condition(evaluation: Evaluation) -> None:
    names = ["separation", "auc", "two_choice", "perplexity"]
    assert list(evaluation.measures) == names
    random = [f"random-{seed}" for seed in RANDOM_SEEDS]
    assert set(evaluation.controls) == {"unworn", *random, "shuffled", "swapped", "prompt"}
    for measures in (evaluation.measures, *evaluation.controls.values()):
        assert list(measures) == names
        for found in measures.values():
            assert found.low <= found.value + 1e-12
            assert found.value <= found.high + 1e-12
        assert (measures["separation"].n, measures["two_choice"].n, measures["perplexity"].n) == (12, 12, 5)
    assert all(label in str(evaluation) for label in ("worn", *evaluation.controls, *names))


def test_provenance_names_everything_that_the_figures_depend_on(
    evaluation: Evaluation, tiny_llama: LoadedModel, texts: Contrast
) -> None:
    document = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    provenance = document["provenance"]
    assert provenance["model"]["fingerprint"] == tiny_llama.fingerprint
    assert provenance["data"]["items"] == {"plus": len(texts.plus), "minus": len(texts.minus), "choices": 12}
    assert provenance["data"]["split"] == "test"
    assert provenance["personas"]["plus"]["method"]["name"] == "contrastive-tilt"
    assert provenance["personas"]["minus"]["sparsity"] == {"default": "0.3"}
    assert provenance["seed"] == 0
    assert {"temperament", "torch", "transformers", "numpy"} <= set(provenance["versions"])
    assert document["measures"]["two_choice"]["affirmation"] == 50
    assert set(document["controls"]) == set(evaluation.controls)


def test_separation_follows_from_its_definition(
    evaluation: Evaluation, tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast
) -> None:
    def mean(persona: Persona, pole: tuple[Example, ...]) -> float:
        items = [tiny_llama.encode(example.prompt, example.response) for example in pole]
        with wear(tiny_llama, persona):
            return float(np.mean([score.per_token for score in score_responses(tiny_llama, items)]))

    plus, minus = (mean(persona, texts.plus) - mean(persona, texts.minus) for persona in (extraction.plus, extraction.minus))
    assert evaluation.measures["separation"].value == pytest.approx(plus - minus, abs=1e-5)
    assert abs(plus - minus) > 1e-4, "the edit does something"


def test_the_built_in_neutral_text_is_the_default(tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast) -> None:
    found = evaluate(
        tiny_llama, extraction.plus, extraction.minus, texts, measures=("perplexity",), controls=("unworn",)
    )
    assert found.measures["perplexity"].extra["tokens"] > 10_000
    assert found.controls["unworn"]["perplexity"].value == 1


@pytest.mark.parametrize("tiny_model", ["gpt2", "gemma2"], indirect=True)
def test_other_families(tiny_model: LoadedModel, texts: Contrast, neutral: Path) -> None:
    e = extract(tiny_model, contrast("calibration", 4), sparsity=0.3)
    before = weights(tiny_model)
    found = evaluate(tiny_model, e.plus, e.minus, texts, signatures=e.signatures, neutral=neutral, controls=CONTROLS)
    assert found.controls["swapped"]["separation"].value == -found.measures["separation"].value != 0
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.model.state_dict().items())


# --- controls --------------------------------------------------------------------------------------------------------


def test_unworn_is_exactly_no_effect(evaluation: Evaluation) -> None:
    assert values(evaluation.controls["unworn"]) == {"separation": 0, "auc": 0.5, "two_choice": 50, "perplexity": 1}


def test_swapped_flips_every_sign(evaluation: Evaluation) -> None:
    worn, swapped = values(evaluation.measures), values(evaluation.controls["swapped"])
    assert swapped["separation"] == -worn["separation"] != 0
    assert swapped["auc"] == pytest.approx(1 - worn["auc"])
    assert swapped["two_choice"] == pytest.approx(100 - worn["two_choice"])
    assert swapped["perplexity"] == worn["perplexity"] != 1


def test_strength_zero_is_no_effect(
    tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path
) -> None:
    e = extraction
    with counted_passes(tiny_llama) as passes:
        found = evaluate(tiny_llama, e.plus, e.minus, texts, strength=0, controls=FREE, neutral=neutral)
    assert values(found.measures) == {"separation": 0, "auc": 0.5, "two_choice": 50, "perplexity": 1}
    with counted_passes(tiny_llama) as once:
        evaluate(tiny_llama, e.plus, e.minus, texts, strength=0, controls=(), neutral=neutral)
    assert len(passes) == len(once), "nothing worn is scored once, whatever it is called"


def pruned_per_row(lm: LoadedModel, persona: Persona) -> dict[str, list[int]]:
    assert isinstance(persona.edit, MaskEdit)
    masks = persona.edit.masks(lm)
    found = {}
    for linear in lm.linears:
        mask = masks.mask(linear)
        assert mask is not None
        found[linear.name] = (~mask).sum(1).tolist()
    return found


def checksum(persona: Persona) -> str:
    assert isinstance(persona.edit, MaskEdit)
    return persona.edit.checksum


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_random_and_shuffled_masks_prune_as_many_per_row(tiny_llama: LoadedModel, method: str) -> None:
    e = extract(tiny_llama, contrast("calibration", 6), method=method, sparsity=0.3)
    worn = [pruned_per_row(tiny_llama, persona) for persona in (e.plus, e.minus)]
    drawn = [random_pair(tiny_llama, e.plus, e.minus, seed) for seed in (0, 1)]
    pairs = [*drawn, shuffled_pair(tiny_llama, e.plus, e.minus, e.signatures)]
    for pair in pairs:
        assert [pruned_per_row(tiny_llama, persona) for persona in pair] == worn
    assert len({checksum(persona) for pair in [(e.plus, e.minus), *pairs] for persona in pair}) == 8
    again = random_pair(tiny_llama, e.plus, e.minus, 0)
    assert [checksum(persona) for persona in again] == [checksum(persona) for persona in drawn[0]]


def test_random_masks_of_packed_personas_come_from_the_signatures(
    tiny_llama: LoadedModel, extraction: Extraction
) -> None:
    packed = [persona.packed(tiny_llama) for persona in (extraction.plus, extraction.minus)]
    drawn = random_pair(tiny_llama, packed[0], packed[1], 0, extraction.signatures)
    for persona, control in zip(packed, drawn, strict=True):
        assert pruned_per_row(tiny_llama, control) == pruned_per_row(tiny_llama, persona)
        assert checksum(control) != checksum(persona)
    with refused("random control of packed masks needs the signatures", "--signatures"):
        random_pair(tiny_llama, packed[0], packed[1], 0)


def test_the_prompt_control_wears_the_personas_prompts(
    tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, evaluation: Evaluation
) -> None:
    plus, minus = extraction.plus, extraction.minus
    (condition,) = control_conditions(tiny_llama, plus, minus, 0.5, ("prompt",), None)
    seen = []
    for plan in (condition.plus, condition.minus):
        with wear(tiny_llama, plan):
            seen.append(tiny_llama.system_prompt)
    assert seen == [plus.provenance["prompt"], minus.provenance["prompt"]]
    assert seen[0].startswith("You are an extraverted person")
    assert tiny_llama.system_prompt is None

    changes = []
    for pole in (texts.plus, texts.minus):
        sides = []
        for tiny_llama.system_prompt in seen:
            items = [tiny_llama.encode(example.prompt, example.response) for example in pole]
            sides.append(np.mean([score.per_token for score in score_responses(tiny_llama, items)]))
        tiny_llama.system_prompt = None
        changes.append(sides[0] - sides[1])
    assert evaluation.controls["prompt"]["separation"].value == pytest.approx(changes[0] - changes[1], abs=1e-5)


def test_an_interrupted_evaluation_takes_everything_off(
    tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path
) -> None:
    before = weights(tiny_llama)
    for stop in ("worn-plus", "random-1-minus", "prompt-plus"):

        def progress(label: str, done: int, total: int, stop: str = stop) -> None:
            assert 0 < done <= total
            if label == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(
                tiny_llama,
                extraction.plus,
                extraction.minus,
                texts,
                controls=("unworn", "random", "prompt"),
                neutral=neutral,
                progress=progress,
            )
        assert tiny_llama.worn == ()
        assert tiny_llama.restorers == []
        assert tiny_llama.system_prompt is None
        assert all(torch.equal(value, before[name]) for name, value in tiny_llama.model.state_dict().items())


# --- what is refused -------------------------------------------------------------------------------------------------


def test_shuffled_needs_signatures(tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast) -> None:
    with refused("the shuffled control needs the signatures", "--signatures DIR", "--controls unworn,random"):
        evaluate(tiny_llama, extraction.plus, extraction.minus, texts, measures=("auc",), controls=("shuffled",))


@pytest.mark.parametrize("saved", [True, False])
def test_other_signatures_are_refused(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, saved: bool
) -> None:
    other = extract(tiny_llama, contrast("calibration", 8, seed=1)).signatures
    if saved:
        other = save_signatures(tmp_path, other)
    with refused("the signatures are not those", "extraversion-plus", "--signatures"):
        evaluate(tiny_llama, extraction.plus, extraction.minus, texts, signatures=other)


def test_calibration_texts_are_refused(tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast) -> None:
    seen = contrast("calibration", 8)
    leaks = [
        replace(texts, plus=(*texts.plus, seen.plus[0])),
        replace(texts, minus=(replace(seen.plus[0], prompt="Another question?"), *texts.minus)),
        replace(texts, choices=(Choice("Is it so?", ("Yes", "No"), 0, group=seen.minus[3].group),)),
    ]
    for leak in leaks:
        with refused("1 of 13 test texts of 'extraversion' were used for calibration", "extraversion#test"):
            evaluate(tiny_llama, extraction.plus, extraction.minus, leak)
    with refused("16 of 16 test texts"):
        evaluate(tiny_llama, extraction.plus, extraction.minus, seen)


def test_leaks_are_found_in_opened_personas_too(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction
) -> None:
    from temperament.personas import open_persona

    plus, minus = (
        open_persona(persona.save(tmp_path / f"{persona.pole}.persona")) for persona in (extraction.plus, extraction.minus)
    )
    with refused("16 of 16 test texts"):
        evaluate(tiny_llama, plus, minus, contrast("calibration", 8))


def test_mistakes_are_refused_before_any_work(
    tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, tiny_folders: dict[str, Path]
) -> None:
    plus, minus = extraction.plus, extraction.minus
    prompts = Persona.from_prompt("Be loud."), Persona.from_prompt("Hush.", pole="minus")
    other = load_model(str(tiny_folders["mistral"]), dtype="float32", device="cpu")
    with counted_passes(tiny_llama) as passes:
        with refused("unknown measure 'accuracy'", "separation, auc, two_choice, perplexity"):
            evaluate(tiny_llama, plus, minus, texts, measures=("accuracy",))
        with refused("unknown control 'placebo'", "unworn, random, shuffled, swapped, prompt"):
            evaluate(tiny_llama, plus, minus, texts, controls=("placebo",))
        with wear(tiny_llama, plus), refused("a persona is worn", "leave lm.wear() first"):
            evaluate(tiny_llama, plus, minus, texts)
        with refused("was made from", "extract the persona again"):
            evaluate(other, plus, minus, texts)
    assert passes == []
    with refused("'prompt' is a prompt persona, which has no random or shuffled control", "--controls"):
        evaluate(tiny_llama, *prompts, texts, measures=("auc",), controls=("random",))
    with refused("names no system prompt for the prompt control", "--controls"):
        evaluate(tiny_llama, *prompts, texts, measures=("auc",), controls=("prompt",))


def test_prompt_personas_can_be_evaluated(tiny_llama: LoadedModel, texts: Contrast, neutral: Path) -> None:
    loud, hush = Persona.from_prompt("Be loud."), Persona.from_prompt("Hush.", pole="minus")
    found = evaluate(tiny_llama, loud, hush, texts, controls=FREE, neutral=neutral)
    assert found.controls["swapped"]["separation"].value == -found.measures["separation"].value != 0


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_are_saved_and_reused(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path
) -> None:
    def run() -> Evaluation:
        e = extraction
        return evaluate(tiny_llama, e.plus, e.minus, texts, signatures=e.signatures, neutral=neutral, folder=tmp_path)

    with counted_passes(tiny_llama) as passes:
        first = run()
    assert passes
    sides = {path.name.rpartition("-")[0] for path in tmp_path.iterdir()}
    pairs = ("worn", "random-0", "random-1", "random-2", "shuffled", "prompt")
    assert sides == {"unworn", *(f"{name}-{pole}" for name in pairs for pole in ("plus", "minus"))}
    with counted_passes(tiny_llama) as passes:
        assert run().as_json() == first.as_json()
    assert passes == []


def test_records_hold_every_item(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction, neutral: Path
) -> None:
    odd = Contrast(
        "odd",
        (Example(NEUTRAL_PROMPT, "I sing\u2028and “dance”.\n", "a"), Example("Why?", "Joy.", "b")),
        (Example(NEUTRAL_PROMPT, "I read.", "c"),),
        (Choice("Out?", ("In", "Out"), 1, "d"),),
    )
    found = evaluate(
        tiny_llama, extraction.plus, extraction.minus, odd, controls=(), neutral=neutral, folder=tmp_path
    )
    rows = {}
    for path in tmp_path.iterdir():
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
        rows[lines[0]["side"]] = lines
    assert set(rows) == {"unworn", "worn-plus", "worn-minus"}
    assert [row["kind"] for row in rows["unworn"]] == ["statement"] * 3 + ["choice"] + ["passage"] * 5
    plus = rows["worn-plus"]
    assert [(row["pole"], row["response"]) for row in plus[:3]] == [
        ("plus", "I sing\u2028and “dance”.\n"),
        ("plus", "Joy."),
        ("minus", "I read."),
    ]
    assert (plus[3]["options"], plus[3]["matching"]) == (["In", "Out"], 1)
    change = [row["nats_per_token"] - other["nats_per_token"] for row, other in zip(plus, rows["worn-minus"], strict=True) if row["kind"] == "statement"]
    assert found.measures["separation"].value == pytest.approx(np.mean(change[:2]) - change[2])
    with counted_passes(tiny_llama) as passes:
        evaluate(tiny_llama, extraction.plus, extraction.minus, odd, controls=(), neutral=neutral, folder=tmp_path)
    assert passes == []


DAMAGE = {
    "empty": lambda text: "",
    "cut in a line": lambda text: text[: len(text) // 2],
    "last line lost": lambda text: text[: text.rstrip("\n").rindex("\n") + 1],
    "first line lost": lambda text: text.split("\n", 1)[1],
    "line twice": lambda text: text + text.rstrip("\n").rsplit("\n", 1)[1] + "\n",
    "not JSON": lambda text: text.replace("{", "(", 1),
    "not a number": lambda text: text.replace('"nats_per_token": -', '"nats_per_token": NaN, "old": -', 1),
    "a word": lambda text: text.replace('"tokens": ', '"tokens": "few", "old": '),
    "a list": lambda text: "[1, 2]\n" + text,
    "huge": lambda text: text.replace('"tokens": ', '"tokens": 1' + "0" * 400 + ', "old": '),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_file_is_computed_again(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path, damage: str
) -> None:
    def run() -> Evaluation:
        e = extraction
        return evaluate(tiny_llama, e.plus, e.minus, texts, controls=(), neutral=neutral, folder=tmp_path)

    first = run()
    (path,) = tmp_path.glob("worn-plus-*.jsonl")
    intact = path.read_text(encoding="utf-8")
    path.write_text(DAMAGE[damage](intact), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != intact
    with counted_passes(tiny_llama) as passes:
        assert run().as_json() == first.as_json()
    assert passes
    assert path.read_text(encoding="utf-8") == intact


def test_records_of_other_items_or_strengths_are_not_reused(
    tmp_path: Path, tiny_llama: LoadedModel, extraction: Extraction, texts: Contrast, neutral: Path
) -> None:
    plus, minus = extraction.plus, extraction.minus
    fewer = replace(texts, plus=texts.plus[1:])
    for data, strength, packed, expected in ((texts, 1, False, 3), (fewer, 1, False, 6), (texts, 0.5, False, 8), (texts, 1.0, True, 8)):
        worn = [persona.packed(tiny_llama) if packed else persona for persona in (plus, minus)]
        evaluate(
            tiny_llama, worn[0], worn[1], data, strength=strength, controls=(), neutral=neutral, folder=tmp_path
        )
        assert len([*tmp_path.iterdir()]) == expected
