"""What methods that use the calibration texts as they are have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from temperament.calibration import Example
from temperament.errors import TemperamentError
from temperament.models import LoadedModel
from temperament.personas.kind import MethodKind, Task, texts_of, without_sparsity
from temperament.signatures.collect import Progress, encode_all, run_provenance
from temperament.signatures.texts import TextPair, find_texts, load_texts, save_texts


class TextKind(MethodKind[TextPair]):
    """Methods whose statistics are the texts themselves."""

    statistics = TextPair

    def prepare(self, lm: LoadedModel, task: Task) -> Task:
        without_sparsity(task)
        if task.tokens != "response":
            raise TemperamentError(f"the method {task.method.name} takes whole responses", "use --tokens response")
        if lm.worn:
            raise TemperamentError("an extraction starts from the unworn model", "leave lm.wear() first")
        self.texts(task)
        return task

    def texts(self, task: Task) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
        """The texts of both poles and, in a word, what they are."""
        contrast = texts_of(task)
        return contrast.plus, contrast.minus, "responses"

    def provenance(self, lm: LoadedModel, task: Task) -> dict[str, str]:
        return {**run_provenance(lm, task.data.hash, "response", task.seed), "texts": self.texts(task)[2]}

    def collect(
        self,
        lm: LoadedModel,
        task: Task,
        folder: Path | None,
        progress: Progress | None,  # noqa: ARG002 - done in no time
    ) -> TextPair:
        provenance = self.provenance(lm, task)
        found = find_texts(folder, provenance) if folder else None
        if found is None:
            plus, minus, _ = self.texts(task)
            found = TextPair(plus, minus, provenance, self.groups(task), {})
            for pole, texts in (("plus", plus), ("minus", minus)):
                items = encode_all(lm, texts, task.tokens)
                begins = [0 if task.tokens == "all" else item.start for item in items]
                found.tokens[pole] = sum(len(item.ids) for item in items) - sum(begins)  # type: ignore[index]
            if folder:
                found = save_texts(found, folder)
        return found

    def groups(self, task: Task) -> frozenset[str]:
        """Identities of the texts, for leak checks."""
        return task.data.group_keys

    def load(self, folder: Path) -> TextPair:
        return load_texts(folder)


def with_folder(pair: TextPair) -> TextPair:
    """The pair with a folder to keep work in; a temporary one lasts as long as the pair and its personas."""
    if pair.folder is not None:
        return pair
    temporary = TemporaryDirectory(prefix="temperament-")
    return replace(pair, folder=Path(temporary.name), temporary=temporary)
