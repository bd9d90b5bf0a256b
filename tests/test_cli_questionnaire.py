"""``temperament questionnaire`` and ``align`` from end to end on a tiny model, with made-up items and people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from answering import made_items, write_items
from test_cli import one_line_error, printed_json

from temperament.calibration.items import DOMAINS, LETTERS
from temperament.cli.main import run
from temperament.evaluation.people import read_group, synthetic_people
from temperament.personas import Persona, open_persona

ITEMS = made_items(2)
FORM = made_items(12, facets=6)  # 120 items


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture
def items(tmp_path: Path) -> str:
    path = tmp_path / "items.csv"
    path.write_text(write_items(ITEMS))
    return str(path)


@pytest.fixture
def loud(tmp_path: Path) -> str:
    return str(Persona.from_prompt("You are loud.", "loud").save(tmp_path / "loud.persona"))


@pytest.fixture
def norms(tmp_path: Path) -> str:
    row = {
        "n_items": 120,
        "group": "women between 21 and 40 years old",
        "domain_mean": dict.fromkeys(DOMAINS, 72.0),
        "domain_sd": dict.fromkeys(DOMAINS, 12.0),
        "facet_mean": {letter: [12.0] * 6 for letter in DOMAINS},
        "facet_sd": {letter: [2.0] * 6 for letter in DOMAINS},
    }
    path = tmp_path / "norms.json"
    path.write_text(json.dumps([row]))
    return str(path)


def test_unworn_and_worn_side_by_side(
    model: str, items: str, loud: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["questionnaire", "--model", model, "--items", items, "--presentations", "quick", "--dtype", "float32"]
    records = tmp_path / "records"
    assert run([*command, "--wear", loud, "--out", str(records), "--json"]) == 0
    result = printed_json(capsys)
    assert result["worn"] == [["loud", 1.0]]
    assert list(result["sides"]) == ["unworn", "worn"]
    for side in result["sides"].values():
        assert list(side["traits"]) == list(LETTERS)
        assert len(side["facets"]) == 10
        assert all(1 <= score["value"] <= 5 and score["t"] is None for score in side["traits"].values())
        assert side["acquiescence"]["traits"] == 5
        assert 0 < side["consistency"]["mass"] < 1
    for trait in LETTERS:
        worn, unworn = (result["sides"][name]["traits"][trait]["value"] for name in ("worn", "unworn"))
        assert result["change"][trait]["value"] == pytest.approx(worn - unworn)
        assert abs(worn - unworn) > 1e-6
    kept = sorted(path.name.split("-")[0] for path in records.iterdir())
    assert kept == ["unworn", "worn"]
    for path in records.iterdir():  # an interrupted run: the last lines are gone, and are asked for again
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:8]))
    assert run([*command, "--wear", loud, "--out", str(records), "--json"]) == 0
    again = printed_json(capsys)
    for trait in LETTERS:
        assert again["change"][trait]["value"] == pytest.approx(result["change"][trait]["value"], abs=1e-5)
    assert run([*command, "--wear", loud]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("unworn", "worn", "change", "openness", "acquiescence", "O1 Some facet"))
    assert max(map(len, shown.splitlines())) <= 80


def test_unworn_alone(model: str, items: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["questionnaire", "--model", model, "--items", items, "--presentations", "quick"]
    assert run([*command, "--json"]) == 0
    result = printed_json(capsys)
    assert list(result["sides"]) == ["unworn"]
    assert "change" not in result
    assert run(command) == 0
    assert "change" not in capsys.readouterr().out


def test_t_scores(model: str, norms: str, loud: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    form = tmp_path / "form.csv"
    form.write_text(write_items(FORM))
    command = ["questionnaire", "--model", model, "--items", str(form), "--presentations", "quick"]
    command += ["--norms", norms, "--group", "women 21-40"]
    assert run([*command, "--json", "--wear", loud, "--out", str(tmp_path / "records")]) == 0
    result = printed_json(capsys)
    assert result["norms"] == "women 21-40"
    for side in result["sides"].values():
        for score in side["traits"].values():
            assert score["t"] == pytest.approx(50 + 10 * (24 * score["value"] - 72) / 12)
        for score in side["facets"].values():
            assert score["t"] == pytest.approx(50 + 10 * (4 * score["value"] - 12) / 2)
    assert run([*command, "--wear", loud, "--out", str(tmp_path / "records")]) == 0
    shown = capsys.readouterr().out
    assert "women 21-40" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_items_of_one_key_have_no_acquiescence(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.csv"
    path.write_text(write_items([item for item in ITEMS if item.key > 0]))
    command = ["questionnaire", "--model", model, "--items", str(path), "--presentations", "quick"]
    assert run([*command, "--json"]) == 0
    assert printed_json(capsys)["sides"]["unworn"]["acquiescence"] is None
    assert run(command) == 0
    assert "acquiescence unknown" in capsys.readouterr().out


# --- align -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def personas(tmp_path: Path) -> list[str]:
    """Folders of prompt personas, one per trait, as arguments."""
    words = []
    for trait in LETTERS:
        for pole, adverb in (("plus", "very"), ("minus", "not at all")):
            persona = Persona(f"{trait}-{pole}", pole, Persona.from_prompt(f"You are {adverb} {trait}.").edit)  # type: ignore[arg-type]
            persona.save(tmp_path / trait / f"{pole}.persona")
        words += ["--trait-personas", f"{trait}={tmp_path / trait}"]
    return words


def test_align(model: str, items: str, personas: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["align", "--model", model, "--people", "synthetic", "--count", "2", "--items", items, *personas]
    command += ["--grid=-1,0,1", "--out", str(tmp_path / "records")]
    assert run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "no real people" in captured.err
    result = json.loads(captured.out)
    assert set(result["people"]) == {"synthetic-1", "synthetic-2"}
    assert all(set(strengths) == set(LETTERS) for strengths in result["people"].values())
    conditions = {"aligned", "unworn", "random", "other", "prompt"}
    for on in ("held_out", "all"):
        assert set(result[on]) == conditions
        assert set(result["gain"][on]) == conditions - {"aligned"}
        for figure in result[on].values():
            assert figure["value"] == pytest.approx(sum(figure["traits"].values()))
        gain = result["gain"][on]["unworn"]["value"]
        assert gain == pytest.approx(result[on]["unworn"]["value"] - result[on]["aligned"]["value"])
    assert set(result["items"]["choosing"]).isdisjoint(result["items"]["held_out"])
    assert result["personas"]["openness"] == [["openness-plus", 1.0], ["openness-minus", 1.0]]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("held-out items", "all items", "aligned", "prompt", "total", "Ope.", "+1"))
    assert "synthetic people" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_personas_tell_their_trait_and_wear_their_dial(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = tmp_path / "any name", tmp_path / "items.csv"
    path.write_text(write_items([item for item in ITEMS if item.domain == "extraversion"]))
    command = ["extract", "--model", model, "--contrast", "extraversion-scenes", "--limit", "6", "--method", "vector"]
    assert run([*command, "--out", str(folder)]) == 0
    from test_dial import dial_of

    plus = open_persona(folder / "plus.persona").with_dial(dial_of(strength=0.25))
    plus.save(folder / "plus.persona")
    capsys.readouterr()
    align = ["align", "--model", model, "--people", "synthetic", "--count", "1", "--items", str(path)]
    align += ["--trait-personas", str(folder), "--grid=-1,1", "--json"]
    assert run(align) == 0
    captured = capsys.readouterr()
    assert "dialled strength 0.25" in captured.err
    result = json.loads(captured.out)
    assert [strength for _, strength in result["personas"]["extraversion"]] == [0.25, 1.0]


def test_a_group_from_a_file(tmp_path: Path) -> None:
    people = synthetic_people(FORM, 12).people
    path = tmp_path / "people.csv"
    head = ",".join(["id", *(f"i{item.number}" for item in FORM)])
    rows = [",".join([one.name, *(str(one.answers[item.number]) for item in FORM)]) for one in people]
    path.write_text("\n".join([head, *rows]) + "\n")
    group = read_group(str(path), FORM, scored="raw", count=None)
    assert [one.answers for one in group.people] == [one.answers for one in people]
    some = [one.name for one in read_group(str(path), FORM, scored="raw", count=4, seed=1).people]
    assert len(some) == 4
    assert some == [one.name for one in read_group(str(path), FORM, scored="raw", count=4, seed=1).people]
    assert some != [one.name for one in read_group(str(path), FORM, scored="raw", count=4, seed=2).people]
    assert len(read_group("synthetic", FORM, scored=None, count=None).people) == 8


QUESTIONNAIRE, ALIGN = ["questionnaire", "--items", "{items}"], ["align", "--items", "{items}"]
SYNTHETIC = ["--people", "synthetic", "--trait-personas"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "no items": (["questionnaire"], "--items"),
    "no such items": (["questionnaire", "--items", "/nowhere.csv"], "/nowhere.csv"),
    "presentations": ([*QUESTIONNAIRE, "--presentations", "many"], "'many'"),
    "norms alone": ([*QUESTIONNAIRE, "--norms", "{norms}"], "--group"),
    "group alone": ([*QUESTIONNAIRE, "--group", "women 21-40"], "--norms"),
    "unknown group": ([*QUESTIONNAIRE, "--norms", "{norms}", "--group", "elves"], "women 21-40"),
    "no such persona": ([*QUESTIONNAIRE, "--wear", "/nowhere"], "/nowhere"),
    "items calibrated on": ([*QUESTIONNAIRE, "--model", "{model}", "--wear", "{leaked}"], "calibrate"),
    "nobody": ([*ALIGN, "--people", "/nowhere.csv", "--scored", "raw", "--trait-personas", "{tmp}"], "/nowhere.csv"),
    "not said how scored": ([*ALIGN, "--people", "{items}", "--trait-personas", "{tmp}"], "--scored"),
    "scored somehow": ([*ALIGN, "--people", "x", "--scored", "both", "--trait-personas", "{tmp}"], "'both'"),
    "scored synthetic": ([*ALIGN, *SYNTHETIC, "{tmp}", "--scored", "raw"], "--scored"),
    "no personas": ([*ALIGN, *SYNTHETIC, "{tmp}/none"], "none/plus.persona"),
    "missing trait": ([*ALIGN, *SYNTHETIC, "openness={tmp}/openness"], "conscientiousness, extraversion"),
    "unknown trait": ([*ALIGN, *SYNTHETIC, "charm={tmp}/openness"], "'charm'"),
    "untold trait": ([*ALIGN, *SYNTHETIC, "{tmp}/openness"], "do not tell"),
    "trait twice": ([*ALIGN, *SYNTHETIC, "O={tmp}/openness", "--trait-personas", "O={tmp}/openness"], "two folders"),
    "grid": ([*ALIGN, *SYNTHETIC, "{tmp}", "--grid", "weak,strong"], "--grid"),
    "search": ([*ALIGN, *SYNTHETIC, "{tmp}", "--search", "wild"], "'wild'"),
    "share": ([*ALIGN, "--model", "{model}", "--people", "synthetic", "{all}", "--share", "1"], "share of 1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line(
    name: str,
    model: str,
    items: str,
    norms: str,
    personas: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dataclasses import replace

    from temperament.calibration.contrast import group_key

    words, expected = MISTAKES[name]
    leaked = replace(Persona.from_prompt("Loud."), groups=frozenset({group_key(ITEMS[0].text)}))
    places = {"items": items, "norms": norms, "model": model, "tmp": tmp_path}
    places |= {"leaked": leaked.save(tmp_path / "leaked.persona")}
    given = [part for word in words for part in (personas if word == "{all}" else [word.format(**places)])]
    assert run(given) == 2
    assert expected in one_line_error(capsys)


def test_the_figure_of_the_order_of_options_has_its_name(
    model: str, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["questionnaire", "--model", model, "--items", items, "--presentations", "quick"]
    assert run([*command, "--out", str(tmp_path)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "how far answers hang on the order of the options (SD over presentations" in words
    assert "replies that are an option: the probability" in words
    assert "-0.00" not in words
