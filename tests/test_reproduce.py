"""The papers' tables on tiny models and made-up files: structure, controls, missing files, overlap, resumption."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_passes, refused

from temperament.cli.main import run
from temperament.compare.candidates import Candidate, Workshop
from temperament.errors import TemperamentError, WriteError
from temperament.evaluation.bootstrap import Measured
from temperament.methods import METHODS
from temperament.models import LoadedModel
from temperament.report.reproduce_table import number, remarks, reproduce_markdown, reproduce_tables
from temperament.reproduce import Reproduced, Settings, reproduce
from temperament.reproduce import bench as bench_module
from temperament.reproduce.paper import NPTI_1, NPTI_3, PS_4
from temperament.reproduce.table import Figure, Row

FILES = {
    "power": ("train.csv", "test_mc.csv"),
    "wealth": ("wealth_train.csv", "wealth_test_infer.csv"),
    "hallucination": ("h_train.csv", "h_test_infer.csv"),
}
#: Position of the affirmative option and of the matching one: "always yes" matches in three of four.
TEST = ((0, 0), (1, 1), (1, 0), (0, 0))


def write_rows(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])


def write_persona(folder: Path, name: str, *, shared: bool = False) -> None:
    """Calibration and two-choice test file of one persona, in the published formats."""
    calibration, test = (folder / "persona_subnetworks" / file for file in FILES[name])
    asked = [f"Would you take {name} number {index}?" for index in range(len(TEST))]
    rows = [(f"Do you like {name} {index}?", f"I want {name} {index}", f"Rest {index}") for index in range(6)]
    rows += [(asked[0], "I take it all", "I leave it")] if shared else []
    write_rows(calibration, ("question", "matching", "not_matching"), rows)
    options = [("Yes", "No") if yes == 0 else ("No", "Yes") for yes, _ in TEST]
    items = [(asked[i], *options[i], "AB"[match]) for i, (_, match) in enumerate(TEST)]
    write_rows(test, ("question", "A", "B", "matching"), items)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in FILES:
        write_persona(folder, name)
    return folder


def say_yes(lm: LoadedModel) -> None:
    """From now on every letter of Yes is by far likelier than any of No, whatever is worn or asked."""
    yes, no = (lm.tokenizer(text, add_special_tokens=False).input_ids for text in ("Yes", "No"))

    def agree(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        bias = torch.zeros(logits.shape[-1])
        bias[yes], bias[no] = 50, -50
        return logits + bias

    lm.model.get_submodule("lm_head").register_forward_hook(agree)


def ps_4(lm: LoadedModel, data: Path, out: Path, *methods: str, **more: Any) -> Reproduced:
    notes: list[str] = []
    settings = Settings("ps-4", data, methods or ("prompt", "contrastive-tilt"), **{"limit": 4, **more})
    found = reproduce(lm, settings, out, note=notes.append)
    assert set(notes) <= set(remarks(found)) | {line for line in notes if ", " in line}
    return found


def row(table: Reproduced, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def value(figure: Figure) -> float:
    assert figure is not None
    return figure.value if isinstance(figure, Measured) else figure


def test_a_model_that_always_says_yes_scores_the_affirmation_rate_and_fifty(
    fresh_llama: LoadedModel, data: Path, tmp_path: Path
) -> None:
    say_yes(fresh_llama)
    found = ps_4(fresh_llama, data, tmp_path / "out")
    for name in ("unworn", "prompt", "contrastive-tilt"):
        for persona in FILES:
            figures = row(found, name).figures[persona]
            assert value(figures["one_sided"]) == value(figures["affirmation"]) == 75
            assert value(figures["two_sided"]) == 50
    assert value(row(found, "contrastive-tilt").get("power", "random")) == 50
    assert row(found, "prompt").get("power", "random") is None


def test_rows_columns_and_paper_figures_are_the_papers(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    found = ps_4(tiny_llama, data, tmp_path / "out", "wanda", "prompt", "contrastive-tilt")
    assert list(found.groups) == ["power", "wealth", "hallucination"]
    assert [one.name for one in found.rows] == ["unworn", "prompt", "wanda", "contrastive-tilt"]
    assert [row(found, "wanda").get(name, "paper") for name in found.groups] == [51.5, 54.5, 89.0]
    assert row(found, "contrastive-tilt").get("power", "paper") is None
    for name in ("wanda", "contrastive-tilt"):
        both = row(found, name).get("power", "two_sided")
        assert isinstance(both, Measured)
        assert value(row(found, name).get("power", "one_sided")) == both.extra["one_sided"]
    page = reproduce_markdown(found)
    assert "power: *paper* (%)" in page
    assert "(always yes)" in page
    wanda = next(line for line in page.splitlines() if line.startswith("| wanda |"))
    assert "*51.5*" in wanda
    tilt = next(line for line in page.splitlines() if line.startswith("| contrastive-tilt |"))
    assert tilt.split("|")[2].strip() == ""  # not at hand: empty, and no figure of ours in its place
    assert "an empty cell means: not at hand" in page
    assert "Llama-2-13B" in page
    assert "sparsity 0.2" in page
    assert fingerprint(found) in page
    assert [table.title for table in reproduce_tables(found)] == [f"ps-4, {name}" for name in found.groups]
    kept = json.loads((tmp_path / "out" / "ps-4.json").read_text())
    figures = {one["name"]: one["figures"]["wealth"] for one in kept["rows"]}
    assert figures["contrastive-tilt"]["paper"] is None
    assert set(figures["wanda"]["one_sided"]) >= {"value", "low", "high", "n"}
    assert kept["provenance"]["data"]["power"]["calibration"]["items"] == {"plus": 4, "minus": 4}
    assert kept["columns"]["power"][0]["source"] == "paper"


def matches(folder: Path, side: str) -> list[bool]:
    """Whether the matching option is the likelier one per token, item by item, from the records of one side."""
    (path,) = folder.glob(f"{side}-*.jsonl")
    records = [json.loads(line)["record"] for line in path.read_text().splitlines()[1:]]
    ordered = sorted(records, key=lambda record: str(record["prompt"]))
    scores = [(record["nats_per_token"], record["matching"]) for record in ordered]
    return [pair[matching] > pair[1 - matching] for pair, matching in scores]


def test_both_sides_count(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    """One- and two-sided figures, worked out from the records of either side."""
    found = ps_4(tiny_llama, data, tmp_path, "contrastive-tilt", "contrastive-wanda")
    two_sided = []
    for name in ("contrastive-tilt", "contrastive-wanda"):
        for persona in FILES:
            plus, minus = (matches(tmp_path / "records", f"{name}-{pole}-{persona}") for pole in ("plus", "minus"))
            own = row(found, name).figures[persona]
            assert value(own["one_sided"]) == pytest.approx(100 * sum(plus) / 4)
            two_sided.append(50 * (sum(plus) + 4 - sum(minus)) / 4)
            assert value(own["two_sided"]) == pytest.approx(two_sided[-1])
    assert set(two_sided) != {50.0}  # or this test would not see one side taken for the other


def fingerprint(found: Reproduced) -> str:
    return str(found.provenance["model"]["fingerprint"][:16])


def test_the_papers_figures_are_those_at_hand() -> None:
    assert [row.figures["hallucination"] for row in PS_4] == [58.5, 64.5, 89.0, 84.5, 95.0, 96.0, 97.5]
    assert {row.method: row.figures["total"] for row in NPTI_1}["heads"] == 6.93
    assert {row.method: row.figures["total"] for row in NPTI_3} == {
        "few-shot": 5.96,
        "description": 7.03,
        "heads": 4.41,
        "neurons": 3.50,
    }


def test_a_column_without_files_is_left_out_and_named(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    (data / "persona_subnetworks" / "h_test_infer.csv").unlink()
    found = ps_4(tiny_llama, data, tmp_path / "out", "prompt")
    assert list(found.groups) == ["power", "wealth"]
    assert any("hallucination" in note and "h_test_infer.csv" in note for note in found.notes)


def test_no_files_at_all_is_one_error(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    with refused("none of the public persona files", "train.csv"):
        ps_4(tiny_llama, tmp_path, tmp_path / "out")


def test_overlapping_files_are_reported_and_not_calibrated_on(
    tiny_llama: LoadedModel, data: Path, tmp_path: Path
) -> None:
    write_persona(data, "power", shared=True)
    found = ps_4(tiny_llama, data, tmp_path / "out", "contrastive-tilt", limit=None)
    assert any("the public files overlap, 1 of 4" in note for note in found.notes)
    facts = found.provenance["data"]
    assert facts["power"]["overlap"] == 1
    assert facts["wealth"]["overlap"] == 0
    assert facts["power"]["calibration"]["items"] == facts["wealth"]["calibration"]["items"]
    assert not row(found, "contrastive-tilt").errors


def test_a_second_run_scores_nothing_again(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    first = ps_4(tiny_llama, data, tmp_path / "out")
    with counted_passes(tiny_llama) as passes:
        second = ps_4(tiny_llama, data, tmp_path / "out")
    assert passes == []
    assert second.as_json() == first.as_json()
    next((tmp_path / "out" / "records").glob("contrastive-tilt-plus-wealth-*.jsonl")).unlink()
    with counted_passes(tiny_llama) as passes:
        ps_4(tiny_llama, data, tmp_path / "out")
    assert passes


def test_a_method_that_fails_is_named_and_the_others_go_on(
    tiny_llama: LoadedModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Workshop.candidate

    def candidate(self: Workshop, name: str) -> Candidate:
        if name == "wanda":
            raise TemperamentError("nothing was found", "try another")
        return real(self, name)

    monkeypatch.setattr(Workshop, "candidate", candidate)
    monkeypatch.setattr(bench_module, "METHODS", tuple(one for one in METHODS if one.name != "few-shot"))
    found = ps_4(tiny_llama, data, tmp_path / "out", "wanda", "few-shot", "prompt")
    assert set(row(found, "wanda").errors) == set(FILES)
    assert "not installed" in row(found, "few-shot").errors["power"]
    assert row(found, "few-shot").get("power", "paper") == 45.5
    assert isinstance(row(found, "prompt").get("power", "two_sided"), Measured)
    said = remarks(found)
    assert sum(line.startswith("wanda: nothing was found") for line in said) == 1
    with refused("no method of ps-4 gave a figure", "nothing was found"):
        ps_4(tiny_llama, data, tmp_path / "out", "wanda")


def test_a_full_disk_is_no_fault_of_a_method(
    tiny_llama: LoadedModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise WriteError(tmp_path / "out", "No space left on device")

    monkeypatch.setattr(Workshop, "candidate", full)
    with refused("out cannot be written: No space left on device", "free disk space"):
        ps_4(tiny_llama, data, tmp_path / "out")


def test_unknown_methods_and_tables_are_refused(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    with refused("unknown method 'magic'"):
        ps_4(tiny_llama, data, tmp_path, "magic")
    with refused("unknown table 'ps-5'", "ps-4"):
        reproduce(tiny_llama, Settings("ps-5"), tmp_path)
    with refused("no folder"):
        Settings("ps-4", tmp_path / "absent")
    with refused("reversed", "--scored"):
        Settings("npti-3", people=tmp_path / "answers.csv")


def test_capability_before_and_after(tiny_llama: LoadedModel, data: Path, tmp_path: Path) -> None:
    lines = [
        json.dumps({"ctx": f"A man {index}", "endings": ["runs", "eats it", "sings"], "label": index % 3})
        for index in range(4)
    ]
    (data / "capability").mkdir()
    (data / "capability" / "hellaswag_small.jsonl").write_text("\n".join(lines))
    settings = Settings("ps-6", data, ("contrastive-tilt",), limit=4)
    found = reproduce(tiny_llama, settings, tmp_path / "out")
    assert list(found.groups)[:2] == ["power: HellaSwag", "power: perplexity"]
    assert any("MMLU is left out" in note for note in found.notes)
    figures = row(found, "contrastive-tilt").figures
    accuracy, cost = figures["power: HellaSwag"], figures["power: perplexity"]
    drops = [value(accuracy[side]) - value(accuracy["before"]) for side in ("plus", "minus")]
    assert value(accuracy["change"]) == pytest.approx(min(drops))
    ratios = [value(cost[side]) / value(cost["before"]) for side in ("plus", "minus")]
    assert value(cost["change"]) == pytest.approx(max(ratios))
    assert value(cost["random"]) > 0
    assert any("figures are not at hand" in line for line in remarks(found))


def test_calibration_sizes(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    settings = Settings("ps-8", None, ("contrastive-wanda", "contrastive-tilt"), limit=10, contrast="openness")
    found = reproduce(tiny_llama, settings, tmp_path / "out")
    assert [one.name for one in found.rows] == ["0", "5", "10"]
    assert list(found.groups) == ["contrastive-wanda", "contrastive-tilt"]
    assert value(row(found, "0").get("contrastive-tilt", "auc")) == 0.5
    five, ten = (value(row(found, size).get("contrastive-tilt", "separation")) for size in ("5", "10"))
    assert five != ten
    assert any("not role dialogues" in note for note in found.notes)
    assert len(set(found.provenance["data"]["openness"]["calibration"].values())) == 2


def test_the_command_prints_json_or_one_line(
    tiny_folders: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["reproduce", "ps-4", "--model", str(tiny_folders["llama"]), "--data", str(data), "--limit", "4"]
    given += ["--methods", "prompt", "--out", str(tmp_path / "out")]
    assert run([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "ps-4"
    assert "*41.0*" in (tmp_path / "out" / "ps-4.md").read_text()
    assert run(given) == 0
    shown = capsys.readouterr().out
    assert "always" in shown
    assert "they were not measured here" in shown
    for wrong in (["reproduce", "ps-9"], [*given, "--endpoint", "http://localhost:1"], [*given, "--scored", "maybe"]):
        assert run(wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_figures_of_what_broke_notes_and_data_are_plain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folders: dict[str, Path]
) -> None:
    assert number(5.7e11, 2) == "> 1 million"
    assert number(-5.7e11, 2) == "< −1 million"
    assert number(-0.001, 2) == "0.00"
    out = tmp_path / "out"
    command = ["reproduce", "ps-8", "--model", str(tiny_folders["llama"]), "--limit", "10", "--methods", "wanda"]
    assert run([*command, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    first = next(line for line in printed.err.splitlines() if line.startswith("note: "))[6:]
    assert first not in printed.out, "told once"
    page = (out / "ps-8.md").read_text()
    assert f"- {first}" in page, "and kept on the page"
    assert "{" not in page
    assert "'" not in page.split("## Data")[1]
    assert "| × 1." in page or "| × 0." in page
    given = json.loads((out / "ps-8.json").read_text())["provenance"]["data"]["extraversion"]["test"]["hash"]
    assert given[:12] in page
