"""The command line from end to end on a tiny model: results, JSON, one-line errors, interruption and resumption."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import temperament.cli.main as main_module
from temperament.__main__ import main as entry
from temperament.cli.main import run
from temperament.signatures import collect as collect_signatures

CONTRAST = "extraversion"


@pytest.fixture(scope="module")
def model(tiny_folders: dict[str, Path]) -> str:
    return str(tiny_folders["llama"])


@pytest.fixture(scope="module")
def extracted(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder written by ``temperament extract``."""
    folder = tmp_path_factory.mktemp("extracted")
    code = run(["extract", "--model", model, "--contrast", CONTRAST, "--limit", "6", "--out", str(folder)])
    assert code == 0
    return folder


def arguments(model: str, folder: Path, *more: str) -> list[str]:
    pair = ["--plus", str(folder / "plus.persona"), "--minus", str(folder / "minus.persona")]
    return ["evaluate", "--model", model, *pair, "--data", CONTRAST, "--limit", "4", *more]


def printed_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Everything on stdout as one JSON object."""
    loaded: dict[str, Any] = json.loads(capsys.readouterr().out)
    return loaded


def one_line_error(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on stderr; nothing on stdout, no traceback."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error: ") for line in lines) == 1
    return lines[-1]


@pytest.mark.parametrize("method", ["wanda", "sparse", "contrastive-wanda", "contrastive-sparse", "contrastive-tilt"])
def test_extract_prints_all_keys(method: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", "--model", model, "--contrast", CONTRAST, "--method", method, "--sparsity", "0.3"]
    assert run([*command, "--limit", "5", "--out", str(tmp_path), "--json"]) == 0
    result = printed_json(capsys)
    assert {
        "model", "contrast", "method", "parameters", "items", "tokens", "seconds", "masks", "bytes", "signature_bytes"
    } == set(result)  # fmt: skip
    assert result["items"] == {"plus": 5, "minus": 5}
    assert result["tokens"]["plus"] > 0
    assert result["tokens"]["minus"] > 0
    assert set(result["seconds"]) == {"load", "signatures", "masks", "write"}
    assert set(result["masks"]) == {"sparsity", "jaccard", "differential_ratio", "by_layer", "by_module"}
    assert set(result["masks"]["differential_ratio"]) == {"all", "attention", "mlp"}
    assert result["bytes"]["plus"] == (tmp_path / "plus.persona").stat().st_size
    stored = sum(path.stat().st_size for path in (tmp_path / "signatures").rglob("*") if path.is_file())
    assert result["signature_bytes"] == stored > 0


def test_extract_with_settings_and_selectors(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extract", "--model", model, "--contrast", CONTRAST, "--limit", "5", "--out", str(tmp_path), "--json"]
    more = ["--set", "t=3", "--set", "sparsity.attention=0", "--set", "sparsity.mlp.layers.0=0.5", "--tokens", "all"]
    assert run([*command, *more]) == 0
    result = printed_json(capsys)
    assert result["parameters"]["t"] == 3
    assert result["parameters"]["tokens"] == "all"
    assert result["parameters"]["sparsity"] == {"default": "0.2", "attention": "0", "mlp.layers.0": "0.5"}
    assert result["masks"]["differential_ratio"]["attention"] == 0


def test_second_extraction_reuses_signatures(model: str, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a forward pass was made")

    monkeypatch.setattr(sys.modules["temperament.personas.mask_personas"], "collect", forbidden)
    command = ["extract", "--model", model, "--contrast", CONTRAST, "--limit", "6", "--out", str(extracted)]
    assert run([*command, "--sparsity", "0.4"]) == 0
    assert run([*command]) == 0


def test_interrupted_extraction_exits_130_and_goes_on(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["extract", "--model", model, "--contrast", CONTRAST, "--limit", "6"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run([*command, "--out", str(whole)]) == 0

    def interrupted(*args: Any, **options: Any) -> Any:
        def stop(done: int, _: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        return collect_signatures(*args, **{**options, "progress": stop})

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["temperament.personas.mask_personas"], "collect", interrupted)
        assert run([*command, "--out", str(broken)]) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert not (broken / "plus.persona").exists()
    assert (broken / "signatures" / "partial.safetensors").exists()
    assert run([*command, "--out", str(broken)]) == 0
    for name in ("plus.safetensors", "minus.safetensors"):
        assert (whole / "signatures" / name).read_bytes() == (broken / "signatures" / name).read_bytes()
    assert not (broken / "signatures" / "partial.safetensors").exists()


def test_evaluate_prints_measures_controls_provenance(
    model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "figure.png"
    more = ("--out", str(tmp_path / "records"), "--figure", str(figure), "--json")
    assert run(arguments(model, extracted, *more)) == 0
    result = printed_json(capsys)
    measures = {"separation", "auc", "two_choice", "perplexity"}
    assert set(result) == {"measures", "controls", "provenance"}
    assert set(result["measures"]) == measures
    assert set(result["controls"]) == {"unworn", "random-0", "random-1", "random-2", "shuffled", "swapped", "prompt"}
    for figures in (result["measures"], *result["controls"].values()):
        assert set(figures) == measures
        assert all({"value", "low", "high", "n"} <= set(figure) for figure in figures.values())
    assert {"one_sided", "two_sided", "raw_two_sided", "affirmation"} <= set(result["measures"]["two_choice"])
    assert {"plus", "minus", "base"} <= set(result["measures"]["perplexity"])
    assert result["controls"]["unworn"]["separation"]["value"] == 0
    assert result["controls"]["swapped"]["separation"]["value"] == -result["measures"]["separation"]["value"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    records = sorted(path.name for path in (tmp_path / "records").iterdir())
    assert len(records) == 3 * 13
    heads = [json.loads((tmp_path / "records" / name).read_text().splitlines()[0]) for name in records]
    assert {head["instrument"] for head in heads} == {"statements", "choices", "passages"}
    assert len({head["side"] for head in heads}) == 13


def test_evaluate_prints_a_table(model: str, extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(model, extracted, "--measure", "separation", "--controls", "unworn,swapped")) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("separation", "worn", "unworn", "swapped"))


def test_evaluate_without_signatures(
    model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pole in ("plus", "minus"):
        (tmp_path / f"{pole}.persona").write_bytes((extracted / f"{pole}.persona").read_bytes())
    capsys.readouterr()
    assert run(arguments(model, tmp_path, "--measure", "separation")) == 2
    assert "--controls" in one_line_error(capsys)
    assert run(arguments(model, tmp_path, "--measure", "separation", "--controls", "random", "--json")) == 0
    assert set(printed_json(capsys)["controls"]) == {"random-0", "random-1", "random-2"}
    given = ("--signatures", str(extracted / "signatures"), "--controls", "shuffled", "--json")
    assert run(arguments(model, tmp_path, "--measure", "separation", *given)) == 0
    assert set(printed_json(capsys)["controls"]) == {"shuffled"}


def test_chat_answers_in_what_is_worn(model: str, extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = ["chat", "--model", model, "--prompt", "How are you?", "--max-tokens", "12", "--json"]
    assert run(question) == 0
    plain = printed_json(capsys)
    assert plain["worn"] == []
    assert run([*question, "--wear", f"{extracted / 'plus.persona'}:0"]) == 0
    assert printed_json(capsys)["answer"] == plain["answer"]
    assert (
        run([*question, "--wear", f"{extracted / 'plus.persona'}:0.5", "--wear", str(extracted / "minus.persona")]) == 0
    )
    assert [strength for _, strength in printed_json(capsys)["worn"]] == [0.5, 1.0]
    assert run([*question, "--seed", "3"]) == 0
    first = printed_json(capsys)["answer"]
    assert run([*question, "--seed", "3"]) == 0
    assert printed_json(capsys)["answer"] == first


def test_chat_session(
    model: str, extracted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["hello", f"/wear {extracted / 'plus.persona'}:0.5", "/compare", "/wear nothing", "/off", "/what", "/quit"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    assert run(["chat", "--model", model, "--max-tokens", "5"]) == 0
    captured = capsys.readouterr()
    assert "unworn:" in captured.out
    assert f"0.5*{CONTRAST}-plus:" in captured.out
    assert "there is no persona file 'nothing'" in captured.err.replace("\n", " ")
    assert "unknown command '/what'" in captured.err.replace("\n", " ")


def test_inspect(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = extracted / "plus.persona"
    assert run(["inspect", str(path), "--json"]) == 0
    description = printed_json(capsys)
    assert description["kind"] == "mask"
    assert description["pole"] == "plus"
    assert description["method"]["name"] == "contrastive-tilt"
    assert description["bytes"] == path.stat().st_size
    assert run(["inspect", str(path)]) == 0
    assert "contrastive-tilt" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["models", "contrasts", "methods", "measures"])
def test_list(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what, "--json"]) == 0
    rows = printed_json(capsys)[what]
    assert rows
    assert run(["list", what]) == 0
    assert rows[0]["name"] in capsys.readouterr().out


PAIR = ["--plus", "{plus}", "--minus", "{minus}"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "no contrast": (["extract", "--out", "{tmp}"], "--contrast"),
    "no such command": (["abstract"], "abstract"),
    "no such flag": (["extract", "--what"], "--what"),
    "seed is no number": (["extract", "--contrast", CONTRAST, "--out", "{tmp}", "--seed", "x"], "--seed"),
    "negative seed": (["extract", "--contrast", CONTRAST, "--out", "{tmp}", "--seed", "-1"], "--seed"),
    "signatures is a file": (
        ["extract", "--model", "{model}", "--contrast", CONTRAST, "--out", "{blocked}"],
        "signatures",
    ),
    "figure is no png": (
        ["evaluate", *PAIR, "--data", CONTRAST, "--figure", "{tmp}/x.foo"],
        "--figure",
    ),
    "no measure": (["evaluate", *PAIR, "--data", CONTRAST, "--measure", ","], "measure"),
    "unknown contrast": (["extract", "--contrast", "nothing", "--out", "{tmp}"], "'nothing'"),
    "unknown split": (["extract", "--contrast", f"{CONTRAST}#half", "--out", "{tmp}"], "half"),
    "unknown method": (["extract", "--contrast", CONTRAST, "--method", "magic", "--out", "{tmp}"], "magic"),
    "unknown setting": (["extract", "--contrast", CONTRAST, "--set", "q=1", "--out", "{tmp}"], "'q'"),
    "bad setting": (["extract", "--contrast", CONTRAST, "--set", "t=much", "--out", "{tmp}"], "'t'"),
    "setting without value": (["extract", "--contrast", CONTRAST, "--set", "t", "--out", "{tmp}"], "key=value"),
    "sparsity 1": (["extract", "--contrast", CONTRAST, "--sparsity", "1", "--out", "{tmp}"], "sparsity"),
    "sparsity no number": (["extract", "--contrast", CONTRAST, "--sparsity", "lots", "--out", "{tmp}"], "lots"),
    "bad selector": (
        ["extract", "--model", "{model}", "--contrast", CONTRAST, "--set", "sparsity.head=0.1", "--out", "{tmp}"],
        "head",
    ),
    "bad token rule": (["extract", "--contrast", CONTRAST, "--tokens", "some", "--out", "{tmp}"], "some"),
    "limit 0": (["extract", "--contrast", CONTRAST, "--limit", "0", "--out", "{tmp}"], "limit"),
    "unwritable": (["extract", "--model", "{model}", "--contrast", CONTRAST, "--out", "{file}/x"], "written"),
    "no such model": (["extract", "--model", "/nowhere", "--contrast", CONTRAST, "--out", "{tmp}"], "/nowhere"),
    "damaged persona": (["inspect", "{file}"], "damaged"),
    "no such persona": (["inspect", "/nowhere"], "/nowhere"),
    "unknown list": (["list", "stars"], "stars"),
    "json session": (["chat", "--json"], "--prompt"),
    "empty prompt": (["chat", "--prompt", " "], "empty"),
    "no tokens": (["chat", "--prompt", "hi", "--max-tokens", "0"], "--max-tokens"),
    "strength 2": (["chat", "--prompt", "hi", "--wear", "{plus}:2"], "strength"),
    "poles swapped": (["evaluate", "--plus", "{minus}", "--minus", "{plus}", "--data", CONTRAST], "pole"),
    "unknown measure": (
        ["evaluate", "--plus", "{plus}", "--minus", "{minus}", "--data", CONTRAST, "--measure", "charm"],
        "charm",
    ),
    "unknown control": (
        ["evaluate", "--plus", "{plus}", "--minus", "{minus}", "--data", CONTRAST, "--controls", "luck"],
        "luck",
    ),
    "calibration texts": (
        ["evaluate", "--model", "{model}", *PAIR, "--data", f"{CONTRAST}#calibration"],
        "calibration",
    ),
    "wrong model": (
        ["evaluate", "--model", "{other}", "--plus", "{plus}", "--minus", "{minus}", "--data", CONTRAST],
        "weights",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_line_and_exit_2(
    name: str,
    model: str,
    extracted: Path,
    tiny_folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, expected = MISTAKES[name]
    file = tmp_path / "file"
    file.write_text("not a persona")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "signatures").write_text("in the way")
    places = {"blocked": blocked, "tmp": tmp_path / "new", "file": file, "model": model, "other": tiny_folders["qwen2"]}
    places |= {"plus": extracted / "plus.persona", "minus": extracted / "minus.persona"}
    capsys.readouterr()
    assert run([word.format(**places) for word in words]) == 2
    assert expected in one_line_error(capsys)
    assert not (tmp_path / "new" / "plus.persona").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--plus", "{plus}", "--minus", "{minus}", "--data", CONTRAST, "--figure", "{tmp}/a.png"],
        ["analyze", "masks", "{plus}", "{minus}", "--out", "{tmp}"],
        ["analyze", "restore", "{plus}", "{minus}", "--out", "{tmp}"],
        ["analyze", "mixture", "--first", "{plus}", "--second", "{minus}", "--out", "{tmp}"],
    ],
    ids=" ".join,
)
def test_a_missing_extra_is_told_before_a_model_is_loaded(
    words: list[str],
    extracted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("temperament.language_model.load", forbidden)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    places = {"plus": extracted / "plus.persona", "minus": extracted / "minus.persona", "tmp": tmp_path / "new"}
    capsys.readouterr()
    assert run([word.format(**places) for word in words]) == 2
    assert "pip install 'temperament[plots]'" in one_line_error(capsys)


def test_a_remark_is_one_line_on_a_narrow_terminal(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    for name in ("calm", "loud"):
        (tmp_path / f"{name}.txt").write_text(f"I am {name}.\nI stay {name}.\n" * 3)
    texts = f"{tmp_path / 'calm.txt'},{tmp_path / 'loud.txt'}#all"
    capsys.readouterr()
    assert run(["extract", "--model", model, "--contrast", texts, "--out", str(tmp_path / "out")]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "note: 8 repeated texts left out"
    assert second.startswith("note: ")
    assert "the whole has 2 texts of a pole" in second


def test_float16_has_other_weights(
    model: str, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--plus", str(extracted / "plus.persona"), "--minus", str(extracted / "minus.persona")]
    capsys.readouterr()
    more = ["--model", model, "--dtype", "float16", "--data", CONTRAST, "--controls", "none", "--out", str(tmp_path)]
    assert run(["evaluate", *pair, *more]) == 2
    assert "load it in float32 or bfloat16" in one_line_error(capsys)


def test_being_told_to_end_clears_up_like_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[str] = []

    def told() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleared.append("temporary files")
        return 0

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(main_module, "run", told)
    try:
        with pytest.raises(KeyboardInterrupt):
            entry()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert cleared


def test_asking_for_nothing_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "extract" in capsys.readouterr().out


def test_every_option_has_help_with_an_example() -> None:
    import typer.main

    from temperament.cli.main import app

    group: Any = typer.main.get_command(app)
    for command in group.commands.values():
        for parameter in command.params:
            if parameter.name != "help":
                assert "Example: " in (parameter.help or ""), f"{command.name} {parameter.name}"


def test_import_is_light() -> None:
    """Help and version do not wait for torch."""
    import subprocess

    probe = "import sys, temperament.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


_INTERRUPTED_IMPORT = """
import os, signal, sys, time

class Waiting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {signal})
            time.sleep(5)

signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may ignore it
sys.meta_path.insert(0, Waiting())
sys.argv = ["temperament", "list", "methods"]
from temperament.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["temperament.cli.main", "torch._C"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_something_is_imported_is_no_traceback(module: str, number: signal.Signals) -> None:
    source = _INTERRUPTED_IMPORT.format(module=module, signal=int(number))
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["interrupted before anything was done"]


def test_streams_that_are_closed_or_know_few_letters() -> None:
    command = [sys.executable, "-m", "temperament"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "list", "methods"], capture_output=True, env=ascii_only, timeout=120)
    assert done.returncode == 0
    assert b"contrastive-tilt" in done.stdout
    closed = " ".join([*command, "list", "methods", "--json", ">&-"])
    assert subprocess.run(["sh", "-c", closed], capture_output=True, timeout=120).returncode == 0
    unheard = " ".join([*command, "list", "nothing", "2>/dev/full"])
    assert subprocess.run(["sh", "-c", unheard], capture_output=True, timeout=120).returncode == 2


def test_few_lines_of_ones_own_are_told(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dare", "wait"):
        (tmp_path / f"{name}.txt").write_text("".join(f"I {name} when it is {at}.\n" for at in range(24)))
    texts = f"{tmp_path / 'dare.txt'},{tmp_path / 'wait.txt'}"
    assert run(["extract", "--model", model, "--contrast", texts, "--sparsity", "0.3", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "calibration part has 13 texts" in told.err
    assert "sparsity 0.3" in told.out
    assert ", signatures " in told.out.split("file sizes")[1]
    pair = ["--plus", str(tmp_path / "plus.persona"), "--minus", str(tmp_path / "minus.persona")]
    common = ["evaluate", "--model", model, *pair, "--data", texts, "--measure", "auc", "--controls", "none"]
    assert run(common) == 0
    assert "test part has 7 texts" in capsys.readouterr().err
    assert run([*common, "--limit", "3"]) == 0
    assert "texts of a pole" not in capsys.readouterr().err


def test_every_measure_is_explained_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "measures", "--json"]) == 0
    rows = {row["name"]: row["about"] for row in printed_json(capsys)["measures"]}
    assert "specificity" in rows
    assert not [name for name, about in rows.items() if about.startswith("the same")]
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    for name in set(rows) - {"hellaswag", "mmlu"}:  # what `capability` is made of
        own = "…_question" if name.endswith("_question") else name
        assert f"| `{own}`" in readme or f", `{own}`" in readme, name
