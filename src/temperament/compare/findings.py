"""What a comparison has found so far, and the summary that is made of it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temperament.atomic import finite
from temperament.compare.full import drift_by_turn
from temperament.compare.settings import Settings, Texts
from temperament.compare.verdict import verdict
from temperament.evaluation.generation import Judge
from temperament.evaluation.instrument import Record
from temperament.models import LoadedModel
from temperament.personas import package_versions

FORMAT_VERSION = 1


@dataclass
class Findings:
    """``methods`` are the entries of the summary, ``answers`` the records of both poles' answers, by method."""

    lm: LoadedModel
    settings: Settings
    texts: Texts
    judge: Judge | None
    command: str
    base_perplexity: float
    unworn_answers: Sequence[Record]
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, Mapping[str, Sequence[Record]]] = field(default_factory=dict)
    specificity: Mapping[str, Any] | None = None

    def as_json(self, seconds: float) -> dict[str, Any]:
        """The summary (``summary.json``): plain JSON values, figures that do not exist as null."""
        texts, settings, judge = self.texts, self.settings, self.judge
        drifts = {name: entry["measures"]["drift"] for name, entry in self._measured if "drift" in entry["measures"]}
        summary = {
            "format_version": FORMAT_VERSION,
            "model": self._model(),
            "contrast": self._contrast(),
            "budget": settings.budget,
            "budgets": list(settings.budgets),
            "seed": settings.seed,
            "command": self.command,
            "versions": package_versions(),
            "created": datetime.date.today().isoformat(),
            "seconds": seconds,
            "to_do": [name for name in settings.names if name not in self.methods],
            "baseline": {"perplexity": self.base_perplexity},
            "methods": self.methods,
            "examples": self._examples(),
            "distribution": self._distributions(),
            "judge": {"label": "local judge", "auc": judge.auc.as_json()} if judge else None,
            "verdict": verdict(self.methods, settings.budget, texts.trait or texts.calibration.name),
        }
        if drifts:
            summary["drift"] = {name: drift_by_turn(figure) for name, figure in drifts.items()}
        if self.specificity:
            summary["specificity"] = self.specificity
        plain: dict[str, Any] = finite(summary)
        return plain

    @property
    def _measured(self) -> list[tuple[str, dict[str, Any]]]:
        return [(name, entry) for name, entry in self.methods.items() if "measures" in entry]

    def _model(self) -> dict[str, Any]:
        lm = self.lm
        return {
            "name": lm.name,
            "revision": lm.revision,
            "fingerprint": lm.fingerprint,
            "dtype": str(lm.dtype).removeprefix("torch."),
            "device": lm.device.type,
            "parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
        }

    def _contrast(self) -> dict[str, Any]:
        texts = self.texts
        splits = {"calibration": texts.calibration, "validation": texts.validation, "test": texts.test}
        return {
            "name": texts.calibration.name,
            "trait": texts.trait,
            "transfer": texts.transfer.name if texts.transfer else None,
            "questionnaire": texts.items.name if texts.items else None,
            "split_hashes": {name: split.hash for name, split in splits.items()},
            "items": {name: split.items for name, split in splits.items()},
            "licence": texts.calibration.licence,
            "notes": list(texts.notes),
        }

    def _examples(self) -> list[dict[str, Any]]:
        """Every question with the answers of the unworn model and of both poles of every method."""
        examples = []
        for index, base in enumerate(self.unworn_answers):
            by_method = {
                name: {pole: side[index]["answer"] for pole, side in sides.items()}
                for name, sides in self.answers.items()
            }
            examples.append({"question": base["question"], "answers": {"unworn": base["answer"], **by_method}})
        return examples

    def _distributions(self) -> dict[str, Any]:
        """Where in the model a method's edits lie: counts by layer and pole, and by kind of weight."""
        found = {}
        for name, entry in self._measured:
            for details in entry["details"].values():
                layers = details.get("by_layer")
                if layers:
                    modules: dict[str, int] = {}
                    for pole in details.get("by_module", {}).values():
                        for module, count in pole.items():
                            modules[module] = modules.get(module, 0) + count
                    both = [plus + minus for plus, minus in zip(layers["plus"], layers["minus"], strict=True)]
                    found[name] = {"layers": both, "modules": modules, **layers}
        return found
