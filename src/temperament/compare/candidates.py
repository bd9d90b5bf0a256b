"""The pairs of personas that a comparison puts side by side, each kept as files once it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from temperament.atomic import finite, write_bytes
from temperament.compare.settings import PROMPT, Texts, method_options
from temperament.errors import TemperamentError
from temperament.evaluation.controls import prompt_pair, random_pair, shuffled_pair
from temperament.evaluation.ledger import Progress
from temperament.methods import find_method
from temperament.models import LoadedModel
from temperament.personas import Extraction, Persona, extract, open_persona, package_versions
from temperament.signatures import Pair

Poles = tuple[Persona, Persona]


@dataclass
class Candidate:
    """One method's pair, and how to make the same edit without its meaning.

    ``details`` are figures about what was found, such as counts by layer. ``bytes`` is the size of the larger file.
    """

    name: str
    kind: str
    equation: str
    summary: str
    plus: Persona
    minus: Persona
    details: Mapping[str, Any] = field(default_factory=dict)
    bytes: int | None = None
    random: Callable[[int], Poles] | None = None
    shuffled: Callable[[], Poles] | None = None

    @property
    def strongest(self) -> float | None:
        """Largest strength to try; None: worn or not."""
        return self.plus.edit.strongest


class Workshop:
    """Finds the pairs of a comparison in one model; what was found before, with everything equal, is read again."""

    def __init__(
        self,
        lm: LoadedModel,
        texts: Texts,
        seed: int,
        folder: Path,
        progress: Progress | None = None,
        options: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._lm, self._texts, self._seed, self._folder, self._progress = lm, texts, seed, folder, progress
        self._options = options or {}

    def candidate(self, name: str) -> Candidate:
        """The pair of a method, or of the system prompts of both poles."""
        if name == PROMPT:
            return self._prompt()
        method = find_method(name)
        place = self._folder / "personas" / name
        own, sparsity = method_options(name, self._options.get(name, {}))

        @cache
        def found() -> Extraction:
            return extract(
                self._lm,
                self._texts.calibration,
                method=name,
                sparsity=sparsity,
                settings=own,
                seed=self._seed,
                folder=self._folder / "signatures" / method.kind,  # reused where they fit
                progress=self._report(f"{name}: extraction"),
            )

        (plus, minus), details = self._kept(place, "worn", lambda: ((found().plus, found().minus), found().details))

        def control(label: str, make: Callable[[Pair], Poles]) -> Poles:
            return self._kept(place, label, lambda: (make(found().signatures), {}))[0]

        def random(seed: int) -> Poles:
            return control(f"random-{seed}", lambda pair: random_pair(self._lm, plus, minus, seed, pair))

        def shuffled() -> Poles:
            return control("shuffled", lambda pair: shuffled_pair(self._lm, plus, minus, pair))

        size = max((place / f"worn-{pole}.persona").stat().st_size for pole in ("plus", "minus"))
        return Candidate(name, plus.kind, method.equation, method.summary, plus, minus, details, size, random, shuffled)

    def _prompt(self) -> Candidate:
        plus, minus = prompt_pair(self._texts.calibration)
        return Candidate(PROMPT, "prompt", "", "a system prompt that describes the pole", plus, minus)

    def _kept(
        self, place: Path, name: str, make: Callable[[], tuple[Poles, Mapping[str, Any]]]
    ) -> tuple[Poles, dict[str, Any]]:
        """A pair from its files, or made and kept there, with figures about it as plain JSON values."""
        paths = [place / f"{name}-{pole}.persona" for pole in ("plus", "minus")]
        note = place / f"{name}.json"
        key = self._key(place.name, name)
        try:
            stated = json.loads(note.read_text(encoding="utf-8"))
            if stated["key"] == key and stated["content"] == _content(paths, stated["details"]):
                return (open_persona(paths[0]), open_persona(paths[1])), dict(stated["details"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, TemperamentError):
            pass  # not there, of another run, or damaged: made anew
        poles, made = make()
        details: dict[str, Any] = finite(made)
        note.unlink(missing_ok=True)  # from here on the files are no complete pair of any run
        kept = tuple(replace(persona, name=f"{place.name}-{name}-{persona.pole}") for persona in poles)
        for persona, path in zip(kept, paths, strict=True):
            persona.save(path)
        stated = {"key": key, "content": _content(paths, details), "details": details}
        write_bytes(note, json.dumps(stated).encode())  # last: the pair is complete
        return (kept[0], kept[1]), details

    def _key(self, method: str, name: str) -> str:
        """Identity of what a pair is made of."""
        lm = self._lm
        options = self._options.get(method, {})
        own, _ = method_options(method, options)
        parameters = [find_method(method).read(own).model_dump(), {**options}]
        parts = [lm.fingerprint, lm.tokenizer_hash, lm.template_hash, str(lm.dtype), self._texts.calibration.hash]
        text = json.dumps([*parts, self._seed, method, name, parameters, package_versions()])
        return hashlib.sha256(text.encode()).hexdigest()

    def _report(self, label: str) -> Callable[[int, int], None] | None:
        if self._progress is None:
            return None
        progress = self._progress
        return lambda done, total: progress(label, done, total)


def _content(paths: Sequence[Path], details: Mapping[str, Any]) -> str:
    """SHA-256 over files and the figures about them: a damaged one, or one of another process, does not fit."""
    digest = hashlib.sha256(json.dumps(details).encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
