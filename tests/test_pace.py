"""How far a comparison is: methods done, and an estimate once one of them took its time."""

from __future__ import annotations

from temperament.compare.pace import Pace


def test_methods_are_counted_and_what_was_on_record_tells_nothing() -> None:
    pace = Pace(14)
    assert str(pace) == "0 of 14 methods"
    pace.finished(0.1)
    assert str(pace) == "1 of 14 methods"
    pace.finished(100)
    pace.finished(140)
    assert str(pace) == "3 of 14 methods, about 22 min left"  # eleven at 120 s
    for _ in range(11):
        pace.finished(0.1)
    assert str(pace) == "14 of 14 methods"


def test_processes_share_what_is_left_but_no_method() -> None:
    pace = Pace(6, jobs=4)
    pace.finished(300)
    assert str(pace).endswith(", about 6 min left")  # five at 300 s by four
    for _ in range(4):
        pace.finished(300)
    assert str(pace).endswith(", about 5 min left")  # one, by one of them
    quick = Pace(2)
    quick.finished(10)
    assert str(quick) == "1 of 2 methods, less than a minute left"


def test_labels_are_told_behind_it() -> None:
    told: list[tuple[str, int, int]] = []
    pace = Pace(2)
    step = pace.before(lambda *what: told.append(what))
    assert step
    step("wanda: extraction", 3, 9)
    pace.finished(0)
    step("sparse", 1, 2)
    assert told == [("0 of 2 methods | wanda: extraction", 3, 9), ("1 of 2 methods | sparse", 1, 2)]
    assert pace.before(None) is None
