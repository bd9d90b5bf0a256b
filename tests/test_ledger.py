"""The ledger: what is kept of an interrupted run, what of a damaged or foreign file, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from expect import refused

from temperament.evaluation import ledger as module
from temperament.evaluation.instrument import Record
from temperament.evaluation.ledger import Ledger, check_finite
from temperament.models import LoadedModel
from temperament.personas import Persona, Plan
from temperament.wear import wear

CALM = Persona.from_prompt("Be calm.", "calm")


class Counted:
    """Items that cost nothing: ``asked`` lists those that were put to the model, and ``stop`` interrupts it there."""

    groups: frozenset[str] = frozenset()

    def __init__(self, count: int = 5, *, name: str = "counted", stop: int | None = None, **given: Any) -> None:
        self.name, self.hash, self._count, self._stop, self._given = name, f"{name} {count}", count, stop, given
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self._count

    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        for index in reversed(todo):  # not in item order
            if len(self.asked) == self._stop:
                raise KeyboardInterrupt
            self.asked.append(index)
            worn = lm.system_prompt
            yield (
                index,
                {"text": f"“{index}”\u2028\n", "value": -index / 3, "pair": (index, None), "worn": worn}
                | (self._given if index == 2 else {}),
            )


def run(lm: LoadedModel, folder: Path | None, instrument: Counted, plan: Plan | None = None) -> list[Record]:
    return Ledger(lm, folder).run(instrument, plan or Plan(), "unworn")


@pytest.fixture
def whole(tiny_llama: LoadedModel) -> list[Record]:
    return run(tiny_llama, None, Counted())


def kept(folder: Path) -> tuple[Path, list[bytes]]:
    """The one record file and its lines, the head first; every line is complete."""
    (path,) = folder.iterdir()
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return path, data[:-1].split(b"\n")


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_records_are_plain_json_in_item_order_whether_kept_or_not(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record]
) -> None:
    first = {"text": "“1”\u2028\n", "value": -1 / 3, "pair": [1, None], "worn": None}
    assert whole[1] == first
    assert [row["value"] for row in whole] == [-index / 3 for index in range(5)]
    assert run(tiny_llama, tmp_path, Counted()) == whole
    path, lines = kept(tmp_path)
    assert [json.loads(line)["item"] for line in lines[1:]] == [4, 3, 2, 1, 0]
    assert json.loads(lines[0]).items() >= {"instrument": "counted", "worn": "nothing", "side": "unworn"}.items()
    again = Counted()
    assert run(tiny_llama, tmp_path, again) == whole
    assert again.asked == []
    assert kept(tmp_path) == (path, lines)


@pytest.mark.parametrize("stop", range(6))
@pytest.mark.parametrize("where", ["instrument", "progress"])
def test_an_interrupted_run_leaves_complete_lines_and_goes_on(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record], stop: int, where: str
) -> None:
    def progress(_: str, done: int, __: int) -> None:
        if where == "progress" and done == stop:
            raise KeyboardInterrupt

    cut = Counted(stop=stop if where == "instrument" else None)
    ledger = Ledger(tiny_llama, tmp_path, progress)
    if stop == (5 if where == "instrument" else 0):
        ledger.run(cut, Plan(), "unworn")
    else:
        with pytest.raises(KeyboardInterrupt):
            ledger.run(cut, Plan(), "unworn")
    done = len(cut.asked)
    assert (tiny_llama.worn, tiny_llama.system_prompt) == ((), None)
    assert [json.loads(line)["item"] for line in kept(tmp_path)[1][1:]] == cut.asked
    rest = Counted()
    assert run(tiny_llama, tmp_path, rest) == whole
    assert rest.asked == [4, 3, 2, 1, 0][done:]
    same = Counted()
    assert ledger.run(same, Plan(), "unworn") == whole, "the interrupted ledger knows its records too"
    assert same.asked == rest.asked
    assert sorted(json.loads(line)["item"] for line in kept(tmp_path)[1][1:]) == [0, 1, 2, 3, 4]


def test_without_a_folder_an_interrupted_run_goes_on_in_memory(tiny_llama: LoadedModel, whole: list[Record]) -> None:
    ledger, rest = Ledger(tiny_llama), Counted()
    with pytest.raises(KeyboardInterrupt):
        ledger.run(Counted(stop=3), Plan(), "unworn")
    assert ledger.run(rest, Plan(), "anything") == whole
    assert rest.asked == [1, 0]


def test_a_file_cut_anywhere_loses_only_what_lies_behind_the_cut(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record]
) -> None:
    run(tiny_llama, tmp_path, Counted())
    path, lines = kept(tmp_path)
    data = path.read_bytes()
    ends = [len(b"\n".join(lines[: count + 1])) for count in range(len(lines))]
    for cut in sorted({*range(0, len(data), 11), *ends, *(end + 1 for end in ends), *(end - 1 for end in ends)}):
        path.write_bytes(data[:cut])
        rest = Counted()
        assert run(tiny_llama, tmp_path, rest) == whole
        assert len(rest.asked) == 5 - sum(end <= cut for end in ends[1:])
        if rest.asked:
            assert sorted(kept(tmp_path)[1]) == sorted(lines)


# --- damage ----------------------------------------------------------------------------------------------------------


def _line(item: Any, record: Any) -> bytes:
    return module._line(item, record)  # with the checksum of its content, so that only the content is wrong


DAMAGE: dict[str, bytes | Callable[[bytes], bytes]] = {
    "nothing": b"",
    "no text": b"\xff\x00\x80",
    "no JSON": b"{(",
    "cut": lambda line: line[:-4],
    "a number": b"7",
    "a list": b"[1, 2]",
    "no record": b'{"item": 2}',
    "deep": b"[" * 100_000,
    "a long number": b"9" * 5000,
    "no checksum": lambda line: line[: line.rindex(b", ")] + b"}",
    "another digit": lambda line: line.replace(b"-0.6", b"-0.7"),
    "another item": lambda line: line.replace(b'"item": 2', b'"item": 1'),
    "not finite": lambda line: line.replace(b"-0.6666666666666666", b"NaN"),
    "a word": lambda line: line.replace(b"-0.6666666666666666", b'"few"'),
    "out of range": _line(5, {"value": 1}),
    "below range": _line(-1, {"value": 1}),
    "a name": _line("two", {"value": 1}),
    "no item": _line([2], {"value": 1}),
    "another twice": _line(4, {"value": 1}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_costs_its_own_item_only(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record], damage: str
) -> None:
    run(tiny_llama, tmp_path, Counted())
    path, lines = kept(tmp_path)
    change = DAMAGE[damage]
    damaged = change(lines[3]) if callable(change) else change
    assert damaged != lines[3]
    path.write_bytes(b"\n".join([*lines[:3], damaged, *lines[4:]]) + b"\n")
    rest = Counted()
    assert run(tiny_llama, tmp_path, rest) == whole
    assert rest.asked == [2]
    assert sorted(kept(tmp_path)[1]) == sorted(lines), "the damage is gone"


def test_an_item_that_stands_twice_counts_once(tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record]) -> None:
    run(tiny_llama, tmp_path, Counted())
    path, lines = kept(tmp_path)
    path.write_bytes(b"\n".join([*lines, lines[2], _line(3, {"value": 0})]) + b"\n")
    rest = Counted()
    assert run(tiny_llama, tmp_path, rest) == whole
    assert rest.asked == []


@pytest.mark.parametrize("head", [b"", b"{}", b"[]", b"3", b"null", b"\xff", b'{"key": null}', b'{"key": "0"}', None])
def test_a_file_with_a_foreign_head_is_not_used(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record], head: bytes | None
) -> None:
    run(tiny_llama, tmp_path, Counted())
    path, lines = kept(tmp_path)
    path.write_bytes(b"\n".join([*([] if head is None else [head]), *lines[1:]]) + b"\n")
    again = Counted()
    assert run(tiny_llama, tmp_path, again) == whole
    assert len(again.asked) == 5
    assert kept(tmp_path) == (path, lines)


def test_records_belong_to_one_model_plan_and_set_of_items(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    """Also where a file of others was given the name."""
    run(tiny_llama, tmp_path, Counted())
    ours, _ = kept(tmp_path)
    variants: list[tuple[Counted, Plan]] = [
        (Counted(), Plan.of(CALM)),
        (Counted(), Plan.of(replace(CALM, pole="minus"))),
        (Counted(), Plan.of(Persona.from_prompt("Be quiet."))),
        (Counted(6), Plan()),
    ]
    for number, (instrument, plan) in enumerate(variants):
        before = {*tmp_path.iterdir()}
        run(tiny_llama, tmp_path, instrument, plan)
        (path,) = {*tmp_path.iterdir()} - before
        assert len(instrument.asked) == len(instrument), number
        path.write_bytes(ours.read_bytes())
        again = Counted(len(instrument))
        run(tiny_llama, tmp_path, again, plan)
        assert len(again.asked) == len(instrument), number
    same = Counted()
    run(tiny_llama, tmp_path, same, Plan.of(CALM, 0))
    assert same.asked == [], "strength 0 is the model itself"
    tiny_llama.system_prompt = "Be brief."
    try:
        prompted = Counted()
        assert run(tiny_llama, tmp_path, prompted)[0]["worn"] == "Be brief."
    finally:
        tiny_llama.system_prompt = None


# --- several at once -------------------------------------------------------------------------------------------------


def test_a_second_process_on_the_folder_corrupts_nothing(
    tiny_llama: LoadedModel, tmp_path: Path, whole: list[Record]
) -> None:
    """It comes while the first has written two items, and keeps the file; both have all their records."""
    inner: list[list[Record]] = []

    def progress(_: str, done: int, __: int) -> None:
        if done == 2:
            inner.append(run(tiny_llama, tmp_path, Counted()))

    assert Ledger(tiny_llama, tmp_path, progress).run(Counted(), Plan(), "unworn") == whole
    assert inner == [whole]
    again = Counted()
    assert run(tiny_llama, tmp_path, again) == whole
    assert again.asked == []


def test_several_instruments_wear_the_plan_once_and_count_together(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn: list[Plan] = []

    def counted(lm: LoadedModel, plan: Plan) -> AbstractContextManager[LoadedModel]:
        worn.append(plan)
        return wear(lm, plan)

    monkeypatch.setattr(module, "wear", counted)
    steps: list[tuple[str, int, int]] = []
    ledger = Ledger(tiny_llama, tmp_path, lambda *step: steps.append(step))
    long, short, plan = Counted(), Counted(2, name="short"), Plan.of(CALM)
    first, second = ledger.run_all([long, short], plan, "calm")
    assert [row["worn"] for row in first + second] == ["Be calm."] * 7
    assert (len(first), len(second), worn) == (5, 2, [plan])
    assert steps == [("calm", done, 7) for done in range(1, 8)]
    steps.clear()
    assert ledger.run(short, plan, "calm") == second
    assert (steps, worn) == ([], [plan]), "what is known needs nothing worn"
    ledger.run(Counted(1, name="one"), plan, "calm")
    assert steps == [("calm: one", 1, 1)]


# --- file names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "begin"),
    [
        ("worn-plus", "worn-plus-counted-"),
        ("0.7*calm + 0.3*thinker", "0.7_calm_0.3_thinker-counted-"),
        ("../other/side", "other_side-counted-"),
        ("/tmp/side", "tmp_side-counted-"),
        (".hidden\n\x00", "hidden-counted-"),
        ("größe", "gr_e-counted-"),
        ("", "_-counted-"),
        ("x" * 300, "x" * 80 + "-counted-"),
    ],
)
def test_any_label_gives_a_plain_file_name(tiny_llama: LoadedModel, tmp_path: Path, label: str, begin: str) -> None:
    folder = tmp_path / "records"
    Ledger(tiny_llama, folder).run(Counted(), Plan(), label)
    path, lines = kept(folder)
    assert path.name.startswith(begin)
    assert len(path.name) == len(begin) + 12 + len(".jsonl")
    assert json.loads(lines[0])["side"] == label
    assert [*tmp_path.iterdir()] == [folder]
    odd = Counted(name=f"{label}/x")
    Ledger(tiny_llama, folder).run(odd, Plan(), label)
    assert len([*folder.iterdir()]) == 2


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_null(tiny_llama: LoadedModel, tmp_path: Path, value: float) -> None:
    broken = Counted(value=[0.0, value])
    records = Ledger(tiny_llama, tmp_path).run(broken, Plan.of(CALM), "worn-plus")
    assert records[2]["value"] == [0.0, None]
    with refused("the model, wearing 1*calm,", "counted", "no finite numbers", "smaller strength"):
        check_finite(records, Plan.of(CALM), "counted")
    with refused("the model, unworn,", "another dtype"):
        check_finite(records, Plan(), "counted")
    check_finite([{"value": [0.0, 1]}], Plan(), "counted")


def test_a_worn_model_is_refused_also_later(tiny_llama: LoadedModel) -> None:
    ledger = Ledger(tiny_llama)
    with wear(tiny_llama, CALM):
        with refused("a persona is worn", "leave lm.wear() first"):
            Ledger(tiny_llama)
        with refused("a persona is worn"):
            ledger.run(Counted(), Plan(), "unworn")


def test_leaked_texts_are_refused_before_anything_is_run(tiny_llama: LoadedModel, tmp_path: Path) -> None:
    instruments = [Counted(), Counted(name="leaked")]
    instruments[1].groups = frozenset("abc")
    persona = replace(CALM, groups=frozenset("bcd"))
    with refused("2 of 3 texts of leaked", "calibrate or tune 'calm'", "FILE#test"):
        Ledger(tiny_llama, tmp_path).run_all(instruments, Plan.of(CALM) + persona, "both")
    assert (instruments[0].asked, [*tmp_path.iterdir()]) == ([], [])


class Faulty(Counted):
    def run(self, lm: LoadedModel, todo: Sequence[int]) -> Iterator[tuple[int, Record]]:
        yield from list(super().run(lm, todo))[1:]
        if self._given:
            yield self._given["extra"], {}


def test_an_instrument_that_breaks_its_contract_is_an_error(tiny_llama: LoadedModel) -> None:
    with pytest.raises(RuntimeError, match="left 1 of 5 items without a record"):
        Ledger(tiny_llama).run(Faulty(), Plan(), "unworn")
    for extra in (0, 5, -1):
        with pytest.raises(RuntimeError, match=f"item {extra}, which was not to do"):
            Ledger(tiny_llama).run(Faulty(extra=extra), Plan(), "unworn")


def test_a_full_disk_is_one_clear_error(
    tiny_llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: list[Record]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    own = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        return own(Path("/dev/full") if mode == "ab" else path, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with refused("cannot be written: No space left on device", "free disk space"):
            run(tiny_llama, tmp_path, Counted())
    again = Counted()
    assert run(tiny_llama, tmp_path, again) == whole
    assert len(again.asked) == 5
