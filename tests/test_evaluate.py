"""Evaluation end to end on a tiny model: measures, controls, records, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expect import counted_passes, refused
from support import bits, same

from temperament.calibration import Choice, Contrast, Example, Split, resolve_contrast
from temperament.evaluation import CONTROLS, Evaluation, evaluate
from temperament.evaluation.controls import RANDOM_SEEDS, control_conditions, random_pair, shuffled_pair
from temperament.evaluation.score import score_responses
from temperament.methods import MASK_METHODS
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, MaskEdit, Persona, extract, open_persona
from temperament.signatures import SignaturePair, load_signatures, save_signatures
from temperament.wear import wear

FREE = ("unworn", "swapped")  # controls that need no further masks


def contrast(split: Split, count: int, seed: int = 0) -> Contrast:
    return resolve_contrast("extraversion", split=split, limit=count, seed=seed)


@pytest.fixture(scope="module")
def evaluation(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> Evaluation:
    """The one evaluation with everything in it that several tests look at."""
    e = tiny_extraction
    return evaluate(tiny_llama, e.plus, e.minus, few_texts, signatures=e.signatures, neutral=short_neutral)


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
    evaluation: Evaluation, tiny_llama: LoadedModel, few_texts: Contrast
) -> None:
    document = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
    provenance = document["provenance"]
    assert provenance["model"]["fingerprint"] == tiny_llama.fingerprint
    assert provenance["data"]["items"] == {"plus": len(few_texts.plus), "minus": len(few_texts.minus), "choices": 12}
    assert provenance["data"]["split"] == "test"
    assert provenance["personas"]["plus"]["method"]["name"] == "contrastive-tilt"
    assert provenance["personas"]["minus"]["sparsity"] == {"default": "0.3"}
    assert provenance["seed"] == 0
    assert {"temperament", "torch", "transformers", "numpy"} <= set(provenance["versions"])
    assert document["measures"]["two_choice"]["affirmation"] == 50
    assert set(document["controls"]) == set(evaluation.controls)


def test_separation_follows_from_its_definition(
    evaluation: Evaluation, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast
) -> None:
    def mean(persona: Persona, pole: tuple[Example, ...]) -> float:
        items = [tiny_llama.encode(example.prompt, example.response) for example in pole]
        with wear(tiny_llama, persona):
            return float(np.mean([score.per_token for score in score_responses(tiny_llama, items)]))

    plus, minus = (
        mean(persona, few_texts.plus) - mean(persona, few_texts.minus)
        for persona in (tiny_extraction.plus, tiny_extraction.minus)
    )
    assert evaluation.measures["separation"].value == pytest.approx(plus - minus, abs=1e-5)
    assert abs(plus - minus) > 1e-4, "the edit does something"


def test_the_built_in_neutral_text_is_the_default(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast
) -> None:
    found = evaluate(
        tiny_llama,
        tiny_extraction.plus,
        tiny_extraction.minus,
        few_texts,
        measures=("perplexity",),
        controls=("unworn",),
    )
    assert found.measures["perplexity"].extra["tokens"] > 10_000
    assert found.controls["unworn"]["perplexity"].value == 1


@pytest.mark.parametrize("tiny_model", ["gpt2", "gemma2", "qwen2_moe"], indirect=True)
def test_other_families(tiny_model: LoadedModel, few_texts: Contrast, short_neutral: Path) -> None:
    e = extract(tiny_model, contrast("calibration", 4), sparsity=0.3)
    before = bits(tiny_model.model)
    found = evaluate(
        tiny_model, e.plus, e.minus, few_texts, signatures=e.signatures, neutral=short_neutral, controls=CONTROLS
    )
    assert found.controls["swapped"]["separation"].value == -found.measures["separation"].value != 0
    assert same(bits(tiny_model.model), before)


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
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    e = tiny_extraction
    with counted_passes(tiny_llama) as passes:
        found = evaluate(tiny_llama, e.plus, e.minus, few_texts, strength=0, controls=FREE, neutral=short_neutral)
    assert values(found.measures) == {"separation": 0, "auc": 0.5, "two_choice": 50, "perplexity": 1}
    with counted_passes(tiny_llama) as once:
        evaluate(tiny_llama, e.plus, e.minus, few_texts, strength=0, controls=(), neutral=short_neutral)
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


@pytest.mark.parametrize("method", [method.name for method in MASK_METHODS])
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
    tiny_llama: LoadedModel, tiny_extraction: Extraction
) -> None:
    packed = [persona.packed(tiny_llama) for persona in (tiny_extraction.plus, tiny_extraction.minus)]
    drawn = random_pair(tiny_llama, packed[0], packed[1], 0, tiny_extraction.signatures)
    for persona, control in zip(packed, drawn, strict=True):
        assert pruned_per_row(tiny_llama, control) == pruned_per_row(tiny_llama, persona)
        assert checksum(control) != checksum(persona)
    with refused("random control of packed masks needs the signatures", "--signatures"):
        random_pair(tiny_llama, packed[0], packed[1], 0)


def test_the_prompt_control_wears_the_personas_prompts(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, evaluation: Evaluation
) -> None:
    plus, minus = tiny_extraction.plus, tiny_extraction.minus
    (condition,) = control_conditions(tiny_llama, plus, minus, (0.5, 0.5), ("prompt",), None)
    seen = []
    for plan in (condition.plus, condition.minus):
        with wear(tiny_llama, plan):
            seen.append(tiny_llama.system_prompt)
    assert seen == [plus.provenance["prompt"], minus.provenance["prompt"]]
    assert str(seen[0]).startswith("You are an extraverted person")
    assert tiny_llama.system_prompt is None

    changes = []
    for pole in (few_texts.plus, few_texts.minus):
        sides = []
        for tiny_llama.system_prompt in seen:
            items = [tiny_llama.encode(example.prompt, example.response) for example in pole]
            sides.append(np.mean([score.per_token for score in score_responses(tiny_llama, items)]))
        tiny_llama.system_prompt = None
        changes.append(sides[0] - sides[1])
    assert evaluation.controls["prompt"]["separation"].value == pytest.approx(changes[0] - changes[1], abs=1e-5)


def test_an_interrupted_evaluation_takes_everything_off(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    before = bits(tiny_llama.model)
    for stop in ("worn-plus", "random-1-minus", "prompt-plus"):

        def progress(label: str, done: int, total: int, stop: str = stop) -> None:
            assert 0 < done <= total
            if label == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(
                tiny_llama,
                tiny_extraction.plus,
                tiny_extraction.minus,
                few_texts,
                controls=("unworn", "random", "prompt"),
                neutral=short_neutral,
                progress=progress,
            )
        assert tiny_llama.worn == ()
        assert tiny_llama.restorers == []
        assert tiny_llama.system_prompt is None
        assert same(bits(tiny_llama.model), before)


def test_progress_names_the_side_and_counts_all_of_its_items(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    evaluate(
        tiny_llama,
        tiny_extraction.plus,
        tiny_extraction.minus,
        few_texts,
        controls=("unworn", "swapped", "prompt"),
        neutral=short_neutral,
        progress=lambda *step: steps.append(step),
    )
    labels = ("unworn", "worn-plus", "worn-minus", "prompt-plus", "prompt-minus")
    assert steps == [(label, done, 29) for label in labels for done in range(1, 30)]


def test_the_hash_of_the_data_covers_what_was_measured(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path, tmp_path: Path
) -> None:
    other = tmp_path / "neutral.txt"
    other.write_text(short_neutral.read_text().replace("tide", "flood"))

    def found(data: Contrast, neutral: Path, measures: tuple[str, ...]) -> dict[str, Any]:
        result = evaluate(
            tiny_llama,
            tiny_extraction.plus,
            tiny_extraction.minus,
            data,
            measures=measures,
            controls=(),
            neutral=neutral,
        )
        return dict(result.provenance["data"])

    both = ("separation", "perplexity")
    hashes = [
        found(few_texts, short_neutral, both)["hash"],
        found(few_texts, other, both)["hash"],
        found(few_texts, short_neutral, ("separation",))["hash"],
        found(replace(few_texts, plus=few_texts.plus[::-1]), short_neutral, both)["hash"],
    ]
    assert len({*hashes}) == 4
    assert found(few_texts, short_neutral, ("perplexity", "auc"))["hash"] == hashes[0]
    assert found(few_texts, other, ("separation",))["hash"] == hashes[2]
    assert found(few_texts, other, ("separation",))["items"] == {"plus": 6, "minus": 6, "choices": 0}


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_broken_model_is_one_clear_error(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, short_neutral: Path, tmp_path: Path
) -> None:
    """Logits that are no numbers while minus is worn."""
    head = tiny_llama.model.get_submodule("lm_head")
    hook = head.register_forward_hook(
        lambda _, __, logits: logits * float("nan") if "1*extraversion-minus" in tiny_llama.worn else logits
    )
    e = tiny_extraction
    try:
        with refused("the model, wearing 1*extraversion-minus,", "no finite numbers", "smaller strength"):
            evaluate(tiny_llama, e.plus, e.minus, few_texts, controls=(), neutral=short_neutral, folder=tmp_path)
    finally:
        hook.remove()
    assert tiny_llama.worn == ()
    assert not any("NaN" in path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
    labels: list[str] = []
    with refused("no finite numbers"):  # what broke is on record and is not run again
        evaluate(
            tiny_llama,
            e.plus,
            e.minus,
            few_texts,
            controls=(),
            neutral=short_neutral,
            folder=tmp_path,
            progress=lambda label, *_: labels.append(label),
        )
    assert labels == []


def test_shuffled_needs_signatures(tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast) -> None:
    with (
        counted_passes(tiny_llama) as passes,
        refused("the shuffled control needs the signatures", "--signatures DIR", "--controls unworn"),
    ):
        evaluate(tiny_llama, tiny_extraction.plus, tiny_extraction.minus, few_texts)
    assert passes == []


@pytest.mark.parametrize("saved", [True, False])
def test_other_signatures_are_refused(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, saved: bool
) -> None:
    other = extract(tiny_llama, contrast("calibration", 8, seed=1)).signatures
    assert isinstance(other, SignaturePair)
    if saved:
        save_signatures(tmp_path, other)
        other = load_signatures(tmp_path)
    with refused("the signatures are not those", "extraversion-plus", "--signatures"):
        evaluate(tiny_llama, tiny_extraction.plus, tiny_extraction.minus, few_texts, signatures=other)


def test_calibration_texts_are_refused(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast
) -> None:
    seen = contrast("calibration", 8)
    leaks = [
        replace(few_texts, plus=(*few_texts.plus, seen.plus[0])),
        replace(few_texts, minus=(replace(seen.plus[0], prompt="Another question?"), *few_texts.minus)),
        replace(few_texts, choices=(Choice("Is it so?", ("Yes", "No"), 0, group=seen.minus[3].group),)),
    ]
    for leak in leaks:
        for measures in (("separation",), ("two_choice",), ("perplexity",)):
            with (
                counted_passes(tiny_llama) as passes,
                refused("1 of 13 texts", "used to calibrate or tune 'extraversion-plus'", "FILE#test"),
            ):
                evaluate(tiny_llama, tiny_extraction.plus, tiny_extraction.minus, leak, measures=measures, controls=())
            assert passes == []
    with refused("16 of 16 texts"):
        evaluate(tiny_llama, tiny_extraction.plus, tiny_extraction.minus, seen)
    with refused("16 of 16 texts"):
        evaluate(tiny_llama, tiny_extraction.plus, tiny_extraction.minus, seen, strength=0, controls=())
    clean = replace(tiny_extraction.plus, groups=frozenset())
    with refused("16 of 16 texts", "'extraversion-minus'"):
        evaluate(tiny_llama, clean, tiny_extraction.minus, seen, controls=())


def test_leaks_are_found_in_opened_personas_too(
    tmp_path: Path, tiny_llama: LoadedModel, tiny_extraction: Extraction
) -> None:
    plus, minus = (
        open_persona(persona.save(tmp_path / f"{persona.pole}.persona"))
        for persona in (tiny_extraction.plus, tiny_extraction.minus)
    )
    with refused("16 of 16 texts"):
        evaluate(tiny_llama, plus, minus, contrast("calibration", 8))


def test_mistakes_are_refused_before_any_work(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast, tiny_folders: dict[str, Path]
) -> None:
    plus, minus = tiny_extraction.plus, tiny_extraction.minus
    prompts = Persona.from_prompt("Be loud."), Persona.from_prompt("Hush.", pole="minus")
    other = load_model(str(tiny_folders["qwen2"]), dtype="float32", device="cpu")
    with counted_passes(tiny_llama) as passes:
        with refused("unknown measure 'accuracy'", "separation, auc, two_choice, perplexity"):
            evaluate(tiny_llama, plus, minus, few_texts, measures=("accuracy",))
        with refused("unknown control 'placebo'", "unworn, random, shuffled, swapped, prompt"):
            evaluate(tiny_llama, plus, minus, few_texts, controls=("placebo",))
        with wear(tiny_llama, plus), refused("a persona is worn", "leave lm.wear() first"):
            evaluate(tiny_llama, plus, minus, few_texts)
        with refused("was made from", "extract the persona again"):
            evaluate(other, plus, minus, few_texts, controls=())
        for control in ("random", "shuffled"):
            with refused("'prompt' is a prompt persona, which has no random or shuffled control", "--controls"):
                evaluate(tiny_llama, *prompts, few_texts, controls=(control,))
        with refused("names no system prompt for the prompt control", "--controls"):
            evaluate(tiny_llama, *prompts, few_texts, controls=("prompt",))
        packed = [persona.packed(tiny_llama) for persona in (plus, minus)]
        with refused("the random control of packed masks needs the signatures", "--signatures"):
            evaluate(tiny_llama, packed[0], packed[1], few_texts, controls=("random",))
    assert passes == []


def test_prompt_personas_can_be_evaluated(tiny_llama: LoadedModel, few_texts: Contrast, short_neutral: Path) -> None:
    loud, hush = Persona.from_prompt("Be loud."), Persona.from_prompt("Hush.", pole="minus")
    found = evaluate(tiny_llama, loud, hush, few_texts, controls=FREE, neutral=short_neutral)
    assert found.controls["swapped"]["separation"].value == -found.measures["separation"].value != 0


def test_personas_that_are_no_pair_are_refused(
    tiny_llama: LoadedModel, tiny_extraction: Extraction, few_texts: Contrast
) -> None:
    e = tiny_extraction
    other = extract(tiny_llama, contrast("calibration", 8), method="wanda", sparsity=0.3)
    with refused("are not a pair", "method differs"):
        evaluate(tiny_llama, e.plus, other.minus, few_texts)
    with refused("is the minus pole", "plus pole first"):
        evaluate(tiny_llama, e.minus, e.plus, few_texts)
