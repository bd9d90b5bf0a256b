"""Mixtures: identities, counts, order, files, and what a mixture of several kinds does when it is worn."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import refused
from made import made
from masking import edit, masks
from support import bits, logits, mixed_contrast, same
from test_cli import one_line_error, printed_json

from temperament.calibration import resolve_contrast
from temperament.cli.main import run
from temperament.evaluation import evaluate
from temperament.evaluation.ledger import check_leak
from temperament.evaluation.statements import Statements
from temperament.export import export
from temperament.methods.mix import paper_mix, rank_mix, ranked, whole_weights
from temperament.models import LoadedModel
from temperament.personas import MixtureEdit, Persona, Plan, extract, mix, open_persona
from temperament.personas.mix import Rule
from temperament.wear import wear

RULES: list[Rule] = ["paper", "rank"]


@pytest.fixture(scope="module")
def pair(tiny_llama: LoadedModel) -> tuple[Persona, Persona]:
    found = extract(tiny_llama, mixed_contrast(), method="contrastive-tilt", sparsity=0.3)
    return found.plus, found.minus


@pytest.fixture(scope="module")
def neurons(tiny_llama: LoadedModel) -> Persona:
    return extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 4}).plus


@pytest.fixture(scope="module")
def vector(tiny_llama: LoadedModel) -> Persona:
    return extract(tiny_llama, mixed_contrast(), method="vector").minus


def test_what_a_mixture_prunes_is_counted(tiny_llama: LoadedModel, pair: tuple[Persona, Persona]) -> None:
    both = mix(tiny_llama, 0.5 * pair[0] + 0.5 * pair[1], "paper")
    kept = masks(tiny_llama, both)
    pruned = sum(int((~mask).sum()) for mask in kept.values())
    size = sum(linear.shape[0] * linear.shape[1] for linear in tiny_llama.linears)
    assert both.provenance["pruned"] == pytest.approx(pruned / size)
    alone = mix(tiny_llama, 1.0 * pair[0], "paper")
    assert both.provenance["pruned"] != pytest.approx(alone.provenance["pruned"], abs=0.01)
    assert "pruned" not in mix(tiny_llama, 1.0 * pair[0], "together").provenance


# Identities


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", ["wanda", "contrastive-tilt", "contrastive-wanda", "contrastive-sparse"])
@pytest.mark.parametrize("sparsity", [0.3, 0.7])
def test_a_whole_weight_is_the_persona(rule: Rule, method: str, sparsity: float, tiny_llama: LoadedModel) -> None:
    found = extract(tiny_llama, mixed_contrast(), method=method, sparsity=sparsity)
    for persona in (found.plus, found.minus):
        for by in ("magnitude", "score") if rule == "paper" else ("magnitude",):
            alone = mix(tiny_llama, 0.4 * persona, rule, by=by)
            assert edit(alone).checksum == edit(persona).checksum
            both = mix(tiny_llama, 0.4 * persona + 0.0 * found.minus, rule, by=by)
            assert edit(both).checksum == edit(persona).checksum


@pytest.mark.parametrize("rule", RULES)
def test_equal_weights_are_symmetric_and_proportions_count(
    rule: Rule, tiny_llama: LoadedModel, pair: tuple[Persona, Persona]
) -> None:
    plus, minus = pair
    first, second = (mix(tiny_llama, plan, rule) for plan in (0.5 * plus + 0.5 * minus, 0.5 * minus + 0.5 * plus))
    assert edit(first).checksum == edit(second).checksum not in (edit(plus).checksum, edit(minus).checksum)
    scaled = mix(tiny_llama, 0.1 * plus + 0.1 * minus, rule)
    assert edit(scaled).checksum == edit(first).checksum
    uneven, turned = (mix(tiny_llama, plan, rule) for plan in (0.7 * plus + 0.3 * minus, 0.3 * minus + 0.7 * plus))
    assert edit(uneven).checksum == edit(turned).checksum != edit(first).checksum


@pytest.mark.parametrize("rule", RULES)
def test_a_mask_mixed_with_itself_loses_only_what_the_rule_says(
    rule: Rule, tiny_llama: LoadedModel, pair: tuple[Persona, Persona]
) -> None:
    plus, _ = pair
    mixed = mix(tiny_llama, 0.7 * plus + 0.3 * plus, rule)
    if rule == "rank":
        assert edit(mixed).checksum == edit(plus).checksum
    else:  # the larger share holds the smaller one
        for name, mask in masks(tiny_llama, mixed).items():
            own = masks(tiny_llama, plus)[name]
            assert torch.equal(mask & own, mask)
            assert torch.equal(mask.sum(1), own.sum(1) * 7 // 10)


# By hand


def test_the_papers_union_by_hand() -> None:
    weight = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.5]])
    first = torch.tensor([[1, 1, 1, 1, 0, 0]]).bool()
    second = torch.tensor([[0, 0, 1, 1, 1, 1]]).bool()
    ranks = [ranked(weight, first), ranked(weight, second)]
    assert ranks[0].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert ranks[1].tolist() == [[4, 5, 0, 1, 2, 3]]
    # ⌊.7 · 4⌋ = 2 of the first, ⌊.3 · 4⌋ = 1 of the second
    assert paper_mix(ranks, [first, second], [7, 3]).tolist() == [[True, True, True, False, False, False]]
    assert paper_mix(ranks, [first, second], [1, 1]).tolist() == [[True, True, True, True, False, False]]


def test_the_mean_rank_by_hand() -> None:
    first, second = torch.tensor([[1, 1, 0, 0]]).bool(), torch.tensor([[0, 0, 1, 1]]).bool()
    ranks = [torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3, 2, 1, 0]])]
    assert rank_mix(ranks, [first, second], [3, 1]).tolist() == [[True, True, False, False]]
    assert rank_mix(ranks, [first, second], [1, 3]).tolist() == [[False, False, True, True]]
    assert rank_mix(ranks, [first, second], [1, 1]).tolist() == [[True, True, False, False]]  # ties: lower column


def test_equal_scores_go_to_the_lower_column() -> None:
    assert ranked(torch.ones(1, 4), torch.tensor([[0, 1, 1, 0]]).bool()).tolist() == [[2, 0, 1, 3]]


def test_weights_are_exact() -> None:
    assert whole_weights([0.7, 0.3]) == [7, 3]
    assert whole_weights([0.2, 0.2, 0.1]) == [2, 2, 1]
    assert Fraction(*whole_weights([1 / 3, 2 / 3])) == pytest.approx(Fraction(1, 2), rel=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_three_personas_and_how_much_is_kept(
    rule: Rule, tiny_llama: LoadedModel, pair: tuple[Persona, Persona]
) -> None:
    plus, minus = pair
    third = extract(tiny_llama, mixed_contrast(), method="wanda", sparsity=0.5).plus.packed(tiny_llama)
    mixed = mix(tiny_llama, 0.5 * plus + 0.25 * minus + 0.25 * third, rule)
    parts = [masks(tiny_llama, persona) for persona in (plus, minus, third)]
    for name, mask in masks(tiny_llama, mixed).items():
        kept = [part[name].sum(1) for part in parts]
        if rule == "rank":
            assert torch.equal(mask.sum(1), (2 * kept[0] + kept[1] + kept[2]) // 4)
        else:
            assert not (mask & ~(parts[0][name] | parts[1][name] | parts[2][name])).any()
            assert (mask.sum(1) >= kept[0] * 2 // 4).all()
            assert (mask.sum(1) <= kept[0] * 2 // 4 + kept[1] // 4 + kept[2] // 4).all()


def test_by_score_is_another_union(tiny_llama: LoadedModel, pair: tuple[Persona, Persona]) -> None:
    plan = 0.7 * pair[0] + 0.3 * pair[1]
    magnitude, score = mix(tiny_llama, plan, "paper"), mix(tiny_llama, plan, "paper", by="score")
    assert edit(magnitude).checksum != edit(score).checksum


# Files, several kinds, wearing


def test_a_mixture_of_all_kinds_is_worn_like_its_parts(
    tiny_llama: LoadedModel, pair: tuple[Persona, Persona], neurons: Persona, vector: Persona, tmp_path: Path
) -> None:
    lm, before = tiny_llama, bits(tiny_llama.model)
    plan = 0.6 * pair[0] + 0.4 * pair[1] + 1.5 * neurons + 0.8 * vector
    mixed = mix(lm, plan, "paper")
    assert isinstance(mixed.edit, MixtureEdit)
    mask = mix(lm, 0.6 * pair[0] + 0.4 * pair[1], "paper")
    opened = open_persona(mixed.save(tmp_path / "mixed.persona"))
    assert opened == mixed
    opened.save(tmp_path / "again.persona")
    assert (tmp_path / "again.persona").read_bytes() == (tmp_path / "mixed.persona").read_bytes()
    with wear(lm, 1.0 * mask + 1.5 * neurons + 0.8 * vector):
        expected = logits(lm)
    for persona in (mixed, opened):
        with wear(lm, persona):
            assert torch.equal(logits(lm), expected)
    with wear(lm, 0.5 * mask + 0.75 * neurons + 0.4 * vector):
        half = logits(lm)
    with wear(lm, 0.5 * opened):
        assert torch.equal(logits(lm), half)
    assert same(bits(lm.model), before)


def test_together_is_the_plan(
    tiny_llama: LoadedModel, pair: tuple[Persona, Persona], neurons: Persona, tmp_path: Path
) -> None:
    plan = 0.6 * pair[0] + 0.5 * pair[1] - 1.0 * neurons
    with wear(tiny_llama, plan):
        expected = logits(tiny_llama)
    opened = open_persona(mix(tiny_llama, plan, "together").save(tmp_path / "mix.persona"))
    with wear(tiny_llama, opened):
        assert torch.equal(logits(tiny_llama), expected)
    again = mix(tiny_llama, Plan.of(opened) + 0.2 * pair[0], "together")  # a mixture of a mixture is flat
    assert isinstance(again.edit, MixtureEdit)
    assert len(again.edit.parts) == 4


def test_a_mixture_of_mixtures_of_masks_is_a_mask(tiny_llama: LoadedModel, pair: tuple[Persona, Persona]) -> None:
    first = mix(tiny_llama, 0.5 * pair[0] + 0.5 * pair[1], "rank")
    assert edit(mix(tiny_llama, 1.0 * first, "rank")).checksum == edit(first).checksum


def test_what_a_part_has_seen_the_mixture_has_seen(tiny_llama: LoadedModel, neurons: Persona) -> None:
    texts = resolve_contrast("extraversion", limit=4)
    seen = extract(tiny_llama, texts, method="wanda", sparsity=0.3).plus
    mixed = mix(tiny_llama, 1.0 * seen + 1.0 * neurons, "together")
    assert mixed.groups == seen.groups | neurons.groups
    with refused("were used to calibrate or tune"):
        check_leak(Statements(texts), Plan.of(mixed))


def test_a_mixed_pair_is_evaluated(tiny_llama: LoadedModel, pair: tuple[Persona, Persona]) -> None:
    found = extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 4})
    plus = mix(tiny_llama, 1.0 * pair[0] + 0.5 * found.plus, "rank")
    minus, other = (mix(tiny_llama, 1.0 * pair[1] + weight * found.minus, "rank") for weight in (0.5, 0.6))
    assert (plus.pole, minus.pole) == ("plus", "minus")
    test = resolve_contrast("extraversion", split="test", limit=4)
    options: dict[str, Any] = {"measures": ("separation",), "controls": ("unworn", "swapped")}
    result = evaluate(tiny_llama, plus, minus, test, **options)
    assert result.measures["separation"].value == -result.controls["swapped"]["separation"].value != 0
    with refused("not a pair"):  # other weights
        evaluate(tiny_llama, plus, other, test, **options)


def test_mixtures_of_masks_are_exported_and_others_not(
    tiny_llama: LoadedModel, pair: tuple[Persona, Persona], neurons: Persona, tmp_path: Path
) -> None:
    masks_only = mix(tiny_llama, 0.5 * pair[0] + 0.5 * pair[1], "together")
    export(tiny_llama, Plan.of(masks_only), tmp_path / "merged")
    with refused("only masks and subnetworks"):
        export(tiny_llama, Plan.of(mix(tiny_llama, pair[0] + neurons, "rank")), tmp_path / "not")


def test_mistakes(tiny_llama: LoadedModel, pair: tuple[Persona, Persona], neurons: Persona) -> None:
    with refused("nothing to mix"):
        mix(tiny_llama, Plan())
    with refused("there is none", "together"):
        mix(tiny_llama, 1.0 * neurons, "paper")
    with refused("'blend'", "paper, rank, together"):
        mix(tiny_llama, 1.0 * pair[0], "blend")  # type: ignore[arg-type]
    for rule in ("rank", "together"):
        with refused("'score'", "use paper"):
            mix(tiny_llama, 1.0 * pair[0], rule, by="score")
    with refused("stored as bits", "magnitude"):
        mix(tiny_llama, 0.5 * pair[0] + 0.5 * pair[1].packed(tiny_llama), "paper", by="score")
    with refused("whose weights are not those of"):
        mix(tiny_llama, 1.0 * pair[0] + 1.0 * replace(made("neurons")), "rank")


# The commands


@pytest.fixture(scope="module")
def extracted(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extracted")
    for trait, method in (("extraversion", "contrastive-tilt"), ("neuroticism", "contrastive-tilt")):
        command = ["extract", "--model", str(tiny_folders["llama"]), "--contrast", trait, "--limit", "6"]
        assert run([*command, "--method", method, "--out", str(folder / trait)]) == 0
    return folder


def test_mix_writes_a_file_that_chat_wears(
    tiny_folders: dict[str, Path], extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_folders["llama"])]
    parts = [
        f"{extracted / trait / 'plus.persona'}:{weight}"
        for trait, weight in (("extraversion", 0.7), ("neuroticism", 0.3))
    ]
    worn = [word for part in parts for word in ("--wear", part)]
    out = tmp_path / "both.persona"
    assert run(["mix", *model, *worn, "--rule", "paper", "--out", str(out), "--json"]) == 0
    result = printed_json(capsys)
    assert result["method"] == {
        "name": "mix",
        "parameters": {"rule": "paper", "by": "magnitude", "weights": [0.7, 0.3]},
    }
    assert [part["name"] for part in result["parts"]] == ["extraversion-plus", "neuroticism-plus"]
    assert result["calibration_texts"] == 24
    assert run(["chat", *model, "--wear", str(out), "--prompt", "Hello?", "--max-tokens", "3", "--json"]) == 0
    capsys.readouterr()
    assert run(["mix", *model, *worn, "--rule", "paper", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "% of the weights of all Linears" in printed.out
    assert "sparsity" not in printed.out
    assert "{" not in printed.out
    assert "measure it before use: temperament analyze mixture" in printed.err
    assert run(["mix", *model, *worn, "--rule", "other", "--out", str(tmp_path / "no.persona")]) == 2
    assert "'other'" in one_line_error(capsys)
    assert run(["mix", *model, *worn, "--out", str(tmp_path / "no")]) == 2
    assert ".persona" in one_line_error(capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["both.persona"]


@pytest.mark.parametrize("rule", ["paper", "together"])
def test_a_curve_ends_in_its_personas(
    rule: str,
    tiny_folders: dict[str, Path],
    extracted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from temperament.evaluation.perplexity import neutral_passages

    monkeypatch.setattr("temperament.analyze.mixture.neutral_passages", lambda: neutral_passages()[:2])
    files = [
        "--first",
        str(extracted / "extraversion/plus.persona"),
        "--second",
        str(extracted / "neuroticism/minus.persona"),
    ]
    command = ["analyze", "mixture", "--model", str(tiny_folders["llama"]), *files, "--limit", "3", "--steps", "3"]
    assert run([*command, "--rule", rule, "--out", str(tmp_path), "--json"]) == 0
    result = printed_json(capsys)
    assert [step["weight"] for step in result["steps"]] == [0, 0.5, 1]
    assert set(result["traits"]) == {"extraversion", "neuroticism"}
    assert Path(result["figure"]).is_file()
    assert json.loads((tmp_path / f"mixture-{rule}.json").read_text())["steps"] == result["steps"]
    before = sorted(tmp_path.glob("records/*.jsonl"))
    assert before
    assert run([*command, "--rule", rule, "--out", str(tmp_path)]) == 0
    assert sorted(tmp_path.glob("records/*.jsonl")) == before
    printed = " ".join(capsys.readouterr().out.split())
    assert "extraversion gain" in printed
    mixed = str(tmp_path / "mixed.persona")
    model = ["--model", str(tiny_folders["llama"])]
    assert run(["mix", *model, "--wear", files[1], "--wear", files[3], "--out", mixed]) == 0
    capsys.readouterr()
    assert run([*command, "--first", mixed, "--out", str(tmp_path)]) == 2, "of no built-in texts"
    assert "--data" in one_line_error(capsys)
    assert "off the straight line" in printed
    ends = result["steps"][0]["gains"]["extraversion"]["value"], result["steps"][-1]["gains"]["extraversion"]["value"]
    assert ends[0] != ends[1]
