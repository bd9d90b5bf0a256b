"""The object users hold: a loaded model that can wear personas and answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from temperament.generate import Message, chat, generate
from temperament.models import LoadedModel, load_model
from temperament.personas import Persona, Plan
from temperament.wear import wear


class LanguageModel(LoadedModel):
    """A model with ``wear`` and ``chat``; ``model`` and ``tokenizer`` are the plain transformers objects."""

    def wear(
        self, worn: Persona | Plan | Sequence[Persona | Plan | None] | None, strength: float = 1.0
    ) -> AbstractContextManager[LoadedModel]:
        """Wear a persona or a plan such as ``0.7 * outgoing`` inside a ``with`` block; afterwards it is off, exactly.

        ``strength`` multiplies every strength of the plan; 0 is the base. A list is one plan (neuron personas, or
        None) for each row of the batches inside.
        """
        return wear(self, worn, strength)

    def chat(
        self, prompt: str | Sequence[Message], *, max_tokens: int = 128, seed: int | None = None, **options: Any
    ) -> str:
        """The answer to a question (or dialogue) in whatever is worn: greedy, or sampled if a ``seed`` is given."""
        return chat(self, prompt, max_tokens=max_tokens, seed=seed, **options)

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int = 128, seed: int | None = None, **options: Any
    ) -> list[str]:
        """Answers to several questions in one batch, each in what its row wears."""
        return generate(self, prompts, max_tokens=max_tokens, seed=seed, **options)


def load(
    name: str = "smollm2-135m",
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Load a model by hub id, local folder, ``.gguf`` file or bundled name, and prove that it can be edited.

    ``dtype`` (float32, bfloat16, float16) defaults to bf16 where the hardware multiplies it natively, else
    fp32; ``device`` to CUDA, MPS or CPU, in this order. Raises ``TemperamentError`` in one line otherwise.
    """
    model: LanguageModel = load_model(name, dtype=dtype, device=device, revision=revision, factory=LanguageModel)
    return model
