"""A model for lm-evaluation-harness that wears personas, so that any of its tasks measures what wearing one costs.

lm-eval finds models in a table of its own; its ``lm_eval`` command has no plug-ins and cannot be told of another one
(as of 0.4.13). Two forms work::

    temperament lm-eval --model temperament --model_args pretrained=smollm2-135m,wear=plus.persona:0.8 --tasks piqa

which registers the model and then runs lm-eval's own command unchanged, and, from Python, ``import
temperament.harness`` followed by ``lm_eval.simple_evaluate(model="temperament", ...)``.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from temperament import __version__
from temperament.errors import TemperamentError
from temperament.evaluation.score import score_batches
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import Encoded
from temperament.personas import FewShotEdit, Persona, Plan, read_plan
from temperament.wear import wear as put_on

try:
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
    from tqdm import tqdm
except ImportError as error:
    raise TemperamentError(f"the harness needs lm-eval ({error})", "pip install 'temperament[lm-eval]'") from None

#: A request of lm-eval: its texts (None for a window of a longer text), the tokens of its context and continuation.
_Request = tuple[tuple[str, str] | None, list[int], list[int]]

#: Characters of a chat template before the system prompt by which a templated context is told from a plain one.
_MARK = 4


@register_model("temperament")
class TemperamentLM(HFLM):  # type: ignore[misc]
    """A model that temperament loads, wearing personas until ``close`` is called or the object goes.

    ``pretrained`` is a hub id, folder, GGUF file or bundled name (or a ``LoadedModel``), ``wear`` is
    ``FILE[:STRENGTH][+FILE[:STRENGTH]...]`` (or a plan or persona; without a strength a file is worn at its dial's,
    else at 1), ``dtype`` float32, bfloat16 or float16. For log-likelihoods ``batch_size=auto`` takes up to 64 requests
    and 2,048 tokens at a time; they are computed in fp32 from the logits by ``evaluation.score``, which declares to
    neuron personas where each continuation begins.

    A prompt persona is the system message with ``--apply_chat_template`` (before ``--system_instruction``; at the
    head of the first user turn where the template has no system role). Without a template its text and a blank line
    stand before every context and every window of a longer text, behind the tokenizer's opening token, and are never
    scored or cut off: a long context loses its own beginning. With a template, a context too long is an error.

    Raises ``TemperamentError`` for few-shot personas, and for what cannot be read, does not fit the model, or is no
    argument of this model.
    """

    _max_length: int | None

    def __init__(
        self,
        pretrained: str | LoadedModel = "smollm2-135m",
        wear: str | Plan | Persona | None = None,
        *,
        revision: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int = 64,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        **more: Any,
    ) -> None:
        _check_arguments(batch_size, max_length, more)
        # a file that is not there shows before a model is loaded
        self.plan = Plan.of(wear) if isinstance(wear, Plan | Persona) else read_plan(str(wear)) if wear else Plan()
        _check_plan(self.plan)
        self.lm: LoadedModel = (
            pretrained
            if isinstance(pretrained, LoadedModel)
            else load_model(str(pretrained), dtype=dtype, device=_device(device), revision=revision)
        )
        if self.lm.worn:
            raise TemperamentError(f"the model wears {', '.join(self.lm.worn)} already", "give it with wear=")
        with _quiet("lm_eval.models.huggingface"):  # it warns of a model that is already loaded
            super().__init__(
                pretrained=self.lm.model,
                tokenizer=self.lm.tokenizer,
                backend="causal",
                batch_size=batch_size,
                max_batch_size=max_batch_size,
                max_length=max_length,
                add_bos_token=add_bos_token,
                prefix_token_id=prefix_token_id,
                **more,
            )
        self.fingerprint = self.lm.fingerprint  # of the unworn weights
        worn = ExitStack()
        worn.enter_context(put_on(self.lm, self.plan))
        self.close = weakref.finalize(self, worn.close)
        self._prompt = self.lm.system_prompt or ""
        self._head = self.tok_encode(f"{self._prompt}\n\n", add_special_tokens=False) if self._prompt else []
        self._limit: int = self.max_length
        if len(self._head) >= self._limit:
            self.close()
            raise TemperamentError(
                f"the system prompt takes {len(self._head)} of {self._limit} tokens", "shorten the prompt"
            )

    def __enter__(self) -> TemperamentLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_model_info(self) -> dict[str, Any]:
        """What the results' ``config`` says about model and personas, plain JSON values."""
        return {
            "model_num_parameters": self.lm.model.num_parameters(),
            "model_dtype": str(self.lm.dtype),
            "model_revision": self.lm.revision or "",
            "model_fingerprint": self.fingerprint,
            "temperament_version": __version__,
            "worn": [
                {
                    "name": persona.name,
                    "kind": persona.kind,
                    "pole": persona.pole,
                    "strength": strength,
                    "identity": persona.edit.identity,
                }
                for persona, strength in self.plan.items
            ],
        }

    # Log-likelihoods

    def _loglikelihood_tokens(
        self,
        requests: Sequence[_Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Summed log-probability in nats of every continuation, and whether each token of it was the likeliest."""
        items = [self._encoded(*request) for request in requests]
        size = override_bs if self.batch_size == "auto" else int(self.batch_size)
        limits = {"rows": size, "tokens": size * (self._limit + 1)} if size else {}
        answers: dict[int, tuple[float, bool]] = {}
        window = bool(requests) and requests[0][0] is None  # a few at a time, each with a bar of its own
        with tqdm(total=len(items), disable=disable_tqdm or window, desc="Running loglikelihood requests") as bar:
            for done in score_batches(self.lm, items, greedy=True, **limits):
                for index, score in done:
                    answers[index] = score.total, bool(score.greedy)
                    if texts := requests[index][0]:
                        self.cache_hook.add_partial("loglikelihood", texts, answers[index])
                bar.update(len(done))
        return [answers[index] for index in range(len(items))]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Summed log-probability of whole texts in windows, each behind a worn prompt."""
        before, self._max_length = self._max_length, self._limit - len(self._head)
        try:
            return list(super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm))
        finally:
            self._max_length = before

    def _encoded(self, texts: tuple[str, str] | None, context: list[int], continuation: list[int]) -> Encoded:
        ids = self._context(context, self._limit + 1 - len(continuation), texts[0] if texts else "")
        return Encoded((*ids, *continuation), len(ids))

    # Generation

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask of contexts to go on from, (rows, tokens) each, a worn prompt included."""
        if not self._prompt:
            ids, mask = super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
            return ids, mask
        rows = [self._context(self.tok_encode(text), left_truncate_len or self._limit, text) for text in strings]
        padding = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        batch = self.tokenizer.pad(padding, padding_side=padding_side, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    # The prompt persona

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A dialogue as text, with a worn prompt as its system message or at the head of the first user turn."""
        if not self._prompt:
            return str(super().apply_chat_template(chat_history, add_generation_prompt))
        turns = [dict(message) for message in chat_history]
        opening = [self._prompt]
        if turns and turns[0]["role"] == "system":
            opening.append(turns.pop(0)["content"])
        if self._system_role:
            turns.insert(0, {"role": "system", "content": "\n\n".join(opening)})
        else:
            turns[0]["content"] = "\n\n".join([*opening, turns[0]["content"]])
        text = str(super().apply_chat_template(turns, add_generation_prompt))
        if not self._templated(text):
            raise TemperamentError(
                "the model's chat template changes or drops the system prompt", "leave out --apply_chat_template"
            )
        return text

    @property
    def tokenizer_name(self) -> str:
        """By this name lm-eval keeps rendered contexts (``--cache_requests``): a worn prompt gets its own."""
        name = super().tokenizer_name
        return f"{name}__{hashlib.sha256(self._prompt.encode()).hexdigest()[:16]}" if self._prompt else str(name)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse a cache of answers (``--use_cache``) of another model or persona: it knows requests by text only."""
        facts = [self.fingerprint, str(self.lm.dtype), self._limit, self._prompt]
        facts += [(persona.edit.identity, persona.pole, strength) for persona, strength in self.plan.active]
        key, kept = f"temperament {hashlib.sha256(repr(facts).encode()).hexdigest()}", cache_hook.dbdict
        if kept is not None and key not in kept:  # a key is looked up without unpickling any value
            if len(kept):
                raise TemperamentError(
                    f"the cache {kept.filename} holds answers of another model or persona", "give another --use_cache"
                )
            kept[key] = True
            kept.commit()
        super().set_cache_hook(cache_hook)

    def _context(self, ids: list[int], room: int, text: str) -> list[int]:
        """A context of at most ``room`` tokens: what is too long loses its beginning, never the worn prompt."""
        head = [] if self._templated(text) else self._head
        room -= len(head)
        if room < 1 or (len(ids) > room and self._templated(text)):
            raise TemperamentError(
                f"{len(ids) + len(head)} tokens of context with the system prompt and what follows it do not fit into "
                f"{self._limit}",
                "use fewer examples, a larger max_length or a shorter prompt",
            )
        kept = ids[-room:]
        opening = {self.prefix_token_id, self.tokenizer.bos_token_id}
        lead = next((at for at, token in enumerate(kept) if token not in opening), len(kept)) if head else 0
        return [*kept[:lead], *head, *kept[lead:]]

    def _templated(self, text: str) -> bool:
        """Whether a context came from the chat template, and so holds the worn prompt already."""
        return bool(self._mark) and self._mark in text

    @cached_property
    def _system_role(self) -> bool:
        """Whether the chat template renders a system message."""
        messages = [{"role": "system", "content": self._prompt}, {"role": "user", "content": "?"}]
        return self._prompt.strip() in self._rendered(messages)

    @cached_property
    def _mark(self) -> str:
        """The worn prompt as the chat template renders it, with what stands before it; empty if it cannot."""
        messages = [{"role": "system", "content": self._prompt}, {"role": "user", "content": "?"}]
        if not self._system_role:
            messages = [{"role": "user", "content": f"{self._prompt}\n\n?"}]
        text, prompt = self._rendered(messages), self._prompt.strip()
        at = text.find(prompt) if prompt else -1
        return text[max(0, at - _MARK) : at + len(prompt)] if at >= 0 else ""

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, **self.chat_template_args
                )
            )
        except (TemplateError, ValueError):  # no system role, or no template at all
            return ""


def run_lm_eval(arguments: Sequence[str]) -> None:
    """Run the ``lm_eval`` command, unchanged, with these arguments and the model ``temperament`` registered."""
    from lm_eval.__main__ import cli_evaluate

    before, sys.argv = sys.argv, ["lm-eval", *arguments]
    try:
        cli_evaluate()
    except (ValueError, TypeError) as error:
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        raised = str(trace.tb_frame.f_globals.get("__name__")) if trace else ""
        theirs = ("lm_eval", "json") if isinstance(error, ValueError) else ("lm_eval.config",)
        if raised.startswith(theirs):  # a mistake in the settings, or in a file that they name
            raise TemperamentError(" ".join(str(error).split()), "see temperament lm-eval --help") from error
        raise
    finally:
        sys.argv = before


def _check_plan(plan: Plan) -> None:
    """Raise for samples, which stand before a question: lm-eval hands over texts whose questions nobody marked."""
    for persona, _ in plan.active:
        if isinstance(persona.edit, FewShotEdit):
            raise TemperamentError(
                f"{persona.name!r} is a few-shot persona, which the harness model cannot wear",
                "use lm-eval's own --num_fewshot, or measure it with 'temperament evaluate'",
            )


def _device(asked: str | None) -> str | None:
    """None, the device of choice, in place of lm-eval's default on a machine that has no such thing."""
    return None if asked == "cuda:0" and not torch.cuda.is_available() else asked


def _check_arguments(batch_size: int | str, max_length: int | None, more: dict[str, Any]) -> None:
    known = {"think_end_token", "enable_thinking", "chat_template_args"}
    if unknown := sorted(set(more) - known):
        raise TemperamentError(
            f"the harness model takes no argument {unknown[0]!r}",
            "use pretrained, wear, revision, dtype, device, batch_size, max_batch_size, max_length, add_bos_token, "
            f"prefix_token_id, {', '.join(sorted(known))}",
        )
    size = str(batch_size)
    if size.partition(":")[0] != "auto" and (not size.isdecimal() or int(size) < 1):
        raise TemperamentError(f"batch_size {size!r}", "give auto, or a number from 1 on")
    if max_length is not None and (not isinstance(max_length, int) or max_length < 2):
        raise TemperamentError(f"max_length {max_length!r}", "give a number of tokens from 2 on")


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
