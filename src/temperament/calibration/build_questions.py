"""Build descriptions and situational questions of a trait through an endpoint, as PersonalityBench is (NPTI §3.1)."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from temperament.atomic import write_bytes
from temperament.calibration.builtin import find_trait
from temperament.calibration.contrast import POLES
from temperament.calibration.facets import Facet
from temperament.calibration.question_checks import distinct, fault
from temperament.calibration.question_prompts import (
    Cell,
    Dialogue,
    again,
    describe,
    question,
    read_descriptions_reply,
    read_questions_reply,
    read_refined_reply,
    refine,
)
from temperament.endpoint import Endpoint
from temperament.errors import TemperamentError

Progress = Callable[[str, int, int], None]
Read = TypeVar("Read")

#: Questions, and pairs of descriptions, asked for in one request.
PER_REQUEST = 5

#: Times that a reply of the wrong form is asked for again.
ATTEMPTS = 2

#: Rounds beyond those needed if every question were good.
_SPARE_ROUNDS = 6

#: Rounds on end that gave nothing before no more are tried.
_IDLE_ROUNDS = 2

#: Beginnings of words that name a built-in trait.
_STEMS = {
    "openness": ("openness",),
    "conscientiousness": ("conscientious",),
    "extraversion": ("extraver", "extrover", "introver"),
    "agreeableness": ("agreeable", "agreeableness"),
    "neuroticism": ("neurotic",),
}


@dataclass(frozen=True)
class Blueprint:
    """What to build: questions to search with, questions to test with, and descriptions of either pole."""

    trait: str
    facets: tuple[Facet, ...]
    topics: tuple[str, ...]
    count: int = 480
    test: int = 90
    descriptions: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.trait.strip() or not self.facets or not self.topics:
            raise TemperamentError("nothing to build questions from", "give a trait, facets and topics")
        if min(self.count, self.descriptions) < 1 or self.test < 0:
            raise TemperamentError(
                f"asked for {self.count} questions, {self.test} test questions and {self.descriptions} descriptions",
                "give 1 or more questions and descriptions, and 0 or more test questions",
            )

    @property
    def label(self) -> str:
        """The trait as PersonalityBench spells it."""
        return self.trait[:1].upper() + self.trait[1:]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every facet, direction and topic, so ordered that any first part covers facets and directions evenly."""
        draw = random.Random(self.seed)
        sides = [(facet, pole) for facet in self.facets for pole in POLES]
        topics = {side: draw.sample(self.topics, len(self.topics)) for side in sides}
        rounds = [draw.sample(sides, len(sides)) for _ in self.topics]
        return tuple(Cell(*side, topics[side][number]) for number, sides_now in enumerate(rounds) for side in sides_now)

    @property
    def named(self) -> frozenset[str]:
        """Beginnings of words that no question may hold: of the trait, its poles and its facets."""
        known = find_trait(self.trait)
        poles = known.poles if known else ()
        return frozenset(
            name.lower()
            for name in (*_STEMS.get(self.trait, (self.trait,)), *poles, *(facet.name for facet in self.facets))
        )

    @property
    def requests(self) -> int:
        """Requests if every reply is of the right form and every question good; others add to them."""
        return math.ceil(self.descriptions / PER_REQUEST) + 2 * math.ceil((self.count + self.test) / PER_REQUEST)

    def first_prompt(self) -> Dialogue:
        return self.description_prompt(0)

    def description_prompt(self, number: int) -> Dialogue:
        focus, part = self.facets[number % len(self.facets)], number // len(self.facets) + 1
        return describe(self.trait, self.facets, focus, PER_REQUEST, part)


@dataclass
class Built:
    """What was built. ``dropped`` counts questions left out by reason, ``malformed`` replies of the wrong form,
    ``skipped`` requests given up, of which ``unanswered`` had no answer at all; ``reason`` is why the first reply was
    of no use."""

    descriptions: list[tuple[str, str]] = field(default_factory=list)
    search: list[tuple[Cell, str]] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    skipped: int = 0
    unanswered: int = 0
    reason: str = ""


def build_questions(endpoint: Endpoint, blueprint: Blueprint, folder: Path, progress: Progress | None = None) -> Built:
    """Build, and write ``description.json``, ``search.jsonl``, ``test.jsonl`` and ``build.json`` into ``folder``.

    The endpoint's cache is the state: started again with the same settings, everything answered is taken from there,
    but for what was given up, which is asked again. Files are written anew after every round. Fewer questions than
    asked for may come out; ``build.json`` says so. Without a single description nothing is written and an error raised.
    """
    builder = _Builder(endpoint, blueprint, progress)
    builder.describe()
    if not builder.built.descriptions:
        raise TemperamentError(
            f"{endpoint.model} wrote no description that can be used (the first reply: {builder.built.reason})",
            "mend the server, choose another --writer-model or allow more --max-tokens; the same command asks again",
        )
    kept: list[tuple[Cell, str]] = []
    wanted = blueprint.count + blueprint.test
    cells = blueprint.cells
    at = idle = 0
    for _ in range(math.ceil(wanted / (PER_REQUEST * len(cells))) + _SPARE_ROUNDS):
        number = min(len(cells), math.ceil((wanted - len(kept)) / PER_REQUEST))
        if number <= 0 or idle == _IDLE_ROUNDS:
            break
        turn = [cells[(at + step) % len(cells)] for step in range(number)]
        at += number
        before = len(kept)
        found = kept + builder.round(turn, kept)
        kept = [found[position] for position in distinct([text for _, text in found])]
        builder.built.dropped["repeats another"] += len(found) - len(kept)
        idle = 0 if len(kept) > before else idle + 1
        builder.divide(kept)
        write_built(builder.built, blueprint, endpoint, folder)
    write_built(builder.built, blueprint, endpoint, folder)
    return builder.built


class _Builder:
    """The passes over the endpoint, and what they gave."""

    def __init__(self, endpoint: Endpoint, blueprint: Blueprint, progress: Progress | None) -> None:
        self._endpoint, self._plan, self._progress = endpoint, blueprint, progress
        self._named = blueprint.named
        self.built = Built()

    def describe(self) -> None:
        wanted, asked, idle = self._plan.descriptions, 0, 0
        found: list[tuple[str, str]] = []
        for _ in range(1 + _SPARE_ROUNDS):
            number = math.ceil((wanted - len(found)) / PER_REQUEST)
            if number <= 0 or idle == _IDLE_ROUNDS:
                break
            before = len(found)
            dialogues = [self._plan.description_prompt(asked + step) for step in range(number)]
            asked += number
            replies = self._ask("descriptions", dialogues, [read_descriptions_reply] * number)
            found += [pair for reply in replies for pair in reply or ()]
            whole = len(found)
            found = [found[at] for at in distinct([plus for plus, _ in found])]
            found = [found[at] for at in distinct([minus for _, minus in found])]
            self.built.dropped["repeats another description"] += whole - len(found)
            idle = 0 if len(found) > before else idle + 1
        self.built.descriptions = found[:wanted]

    def round(self, cells: Sequence[Cell], kept: Sequence[tuple[Cell, str]]) -> list[tuple[Cell, str]]:
        """New questions of ``cells``: written, refined, and mended once where a check still finds a fault."""
        known = {cell: [text for own, text in kept if own == cell] for cell in cells}
        asked = [question(cell, PER_REQUEST, known[cell]) for cell in cells]
        written = self._ask("questions", asked, [read_questions_reply] * len(asked))
        drafts = [(cell, texts, [None] * len(texts)) for cell, texts in zip(cells, written, strict=True) if texts]
        good, faulty = self._sort(self._refine("refining", drafts))
        by_cell: dict[Cell, list[tuple[str, str]]] = {}
        for cell, text, found in faulty:
            by_cell.setdefault(cell, []).append((text, found))
        mending = [(cell, [text for text, _ in own], [found for _, found in own]) for cell, own in by_cell.items()]
        mended, lost = self._sort(self._refine("mending", mending))
        self.built.dropped.update(found.split(" (")[0] for _, _, found in lost)
        return good + mended

    def divide(self, kept: Sequence[tuple[Cell, str]]) -> None:
        """Divide questions between search and test by a seeded draw, in proportion where there are too few."""
        plan = self._plan
        wanted = plan.count + plan.test
        chosen = kept[:wanted]
        size = plan.test if len(chosen) == wanted else len(chosen) * plan.test // wanted
        test = set(random.Random(plan.seed).sample(range(len(chosen)), size))
        self.built.test = [chosen[at][1] for at in sorted(test)]
        self.built.search = [row for at, row in enumerate(chosen) if at not in test]

    def _refine(
        self, label: str, drafts: Sequence[tuple[Cell, list[str], Sequence[str | None]]]
    ) -> list[tuple[Cell, str]]:
        def reader(number: int) -> Callable[[str], list[str | None] | None]:
            return lambda text: read_refined_reply(text, number)

        asked = [refine(cell, texts, faults) for cell, texts, faults in drafts]
        replies = self._ask(label, asked, [reader(len(texts)) for _, texts, _ in drafts])
        result = []
        for (cell, texts, _), reply in zip(drafts, replies, strict=True):
            if reply is None:
                self.built.dropped["could not be checked"] += len(texts)
            for text in reply or ():
                if text is None:
                    self.built.dropped["given up by the check"] += 1
                else:
                    result.append((cell, text))
        return result

    def _sort(self, rows: Sequence[tuple[Cell, str]]) -> tuple[list[tuple[Cell, str]], list[tuple[Cell, str, str]]]:
        """Questions without a fault, and the others with theirs."""
        judged = [(cell, text, fault(text, self._named)) for cell, text in rows]
        good = [(cell, text) for cell, text, found in judged if found is None]
        return good, [(cell, text, found) for cell, text, found in judged if found is not None]

    def _ask(
        self, label: str, dialogues: Sequence[Dialogue], readers: Sequence[Callable[[str], Read | None]]
    ) -> list[Read | None]:
        """What each reply says, None where no reply of the right form came after all attempts."""
        progress = self._progress
        step = (lambda done, total: progress(label, done, total)) if progress else None
        result: dict[int, Read | None] = {}
        todo = dict(enumerate(dialogues))
        for dialogue, reader in zip(dialogues, readers, strict=True):
            self._forget_given_up(dialogue, reader)
        for attempt in range(ATTEMPTS + 1):
            answers = self._endpoint.ask_all(list(todo.values()), step)
            wrong: dict[int, Dialogue] = {}
            for (at, dialogue), answer in zip(todo.items(), answers, strict=True):
                value = None if answer.text is None else readers[at](answer.text)
                result[at] = value
                if answer.text is None:
                    self.built.unanswered += 1
                    self.built.reason = self.built.reason or str(answer.reason)
                elif value is None:
                    self.built.malformed += 1
                    said = " ".join(answer.text.split())[:80]
                    self.built.reason = self.built.reason or f"not the form asked for: {said!r}"
                    wrong[at] = again(dialogue, answer.text)
            todo = wrong
            if not todo or attempt == ATTEMPTS:
                break
        self.built.skipped += sum(value is None for value in result.values())
        return [result[at] for at in range(len(dialogues))]

    def _forget_given_up(self, dialogue: Dialogue, reader: Callable[[str], Read | None]) -> None:
        """Take replies kept from before as not given if all attempts failed; those that a good one followed stay."""
        chain: list[Dialogue] = []
        while len(chain) <= ATTEMPTS:
            answer = self._endpoint.known(dialogue)
            if answer is None or (answer.text is not None and reader(answer.text) is not None):
                return
            chain.append(dialogue)
            if answer.text is None:
                break
            dialogue = again(dialogue, answer.text)
        for given_up in chain:
            self._endpoint.forget(given_up)


def write_built(built: Built, blueprint: Blueprint, endpoint: Endpoint, folder: Path) -> None:
    """The files of PersonalityBench, and ``build.json`` with what was left out and what it cost."""
    label = blueprint.label
    search = [
        {
            "BFI": label,
            "tag": cell.facet.name,
            "facet": cell.behaviour,
            "topic": cell.topic,
            "sign": "+" if cell.pole == "plus" else "-",
            "question": text,
        }
        for cell, text in built.search
    ]
    _write_lines(folder / "description.json", [{label: a, f"{label}_reversed": b} for a, b in built.descriptions])
    _write_lines(folder / "search.jsonl", search)
    _write_lines(folder / "test.jsonl", [{"question": text} for text in built.test])
    report = json.dumps(summary(built, blueprint, endpoint), ensure_ascii=False, indent=1)
    write_bytes(folder / "build.json", f"{report}\n".encode())


def summary(built: Built, blueprint: Blueprint, endpoint: Endpoint) -> dict[str, Any]:
    """Counts of what was asked for, came out and was left out, and the bill of this run."""
    return {
        "trait": blueprint.trait,
        "model": endpoint.model,
        "seed": blueprint.seed,
        "wanted": {"search": blueprint.count, "test": blueprint.test, "descriptions": blueprint.descriptions},
        "built": {"search": len(built.search), "test": len(built.test), "descriptions": len(built.descriptions)},
        "dropped": {reason: count for reason, count in sorted(built.dropped.items()) if count},
        "malformed": built.malformed,
        "skipped": built.skipped,
        "unanswered": built.unanswered,
        "usage": endpoint.usage.as_json(),
    }


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_bytes(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
