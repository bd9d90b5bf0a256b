"""Toy models that read a question as text and answer by a rule, and made-up items to ask them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import torch
from tiny import byte_tokenizer

from temperament.calibration.items import LETTERS, Item
from temperament.models import LoadedModel
from temperament.models.dialogue import encode

#: From the text of a question to the one character that is by far the likeliest reply.
Rule = Callable[[str], str]


class Answering:
    """Stands in for a loaded model; after ``prompt`` the logit of the rule's character is 30 above all others."""

    def __init__(self, rule: Rule, max_tokens: int = 1024) -> None:
        self.rule, self.max_tokens = rule, max_tokens
        self.tokenizer = byte_tokenizer()
        self.name, self.system_prompt, self.rows_worn, self.worn = "toy", None, 0, ()
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.fingerprint = self.tokenizer_hash = self.template_hash = "0" * 64
        self.sessions: list[Any] = []
        self.neuron_hooks: list[Any] = []
        size = len(self.tokenizer)
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=size))
        self.batches: list[int] = []

    @property
    def model(self) -> Any:
        return self

    def encode(self, prompt: str, response: str) -> Any:
        return encode(self.tokenizer, prompt, response, self.system_prompt, self.max_tokens)

    @contextmanager
    def responding(self, start: Any) -> Iterator[None]:
        del start
        yield

    def __call__(self, input_ids: torch.Tensor, use_cache: bool, logits_to_keep: torch.Tensor) -> Any:
        assert not use_cache
        self.batches.append(len(input_ids))
        logits = torch.zeros(*input_ids.shape, len(self.tokenizer))
        for row, ids in enumerate(input_ids.tolist()):
            text = str(self.tokenizer.decode(ids))
            reply = self.tokenizer(self.rule(text), add_special_tokens=False).input_ids
            logits[row, :, reply] = 30.0
        return SimpleNamespace(logits=logits[:, logits_to_keep])


def answering(rule: Rule, max_tokens: int = 1024) -> LoadedModel:
    return cast(LoadedModel, Answering(rule, max_tokens))


def options(text: str) -> list[tuple[str, str]]:
    """(label, words) of the options of a question, as they stand."""
    lines = [line for line in text.split("\n") if len(line) > 3 and line[1:3] == ". "]
    return [(line[0], line[3:]) for line in lines]


def made_items(per_key: int = 4, facets: int = 2) -> tuple[Item, ...]:
    """As many items of either key for every trait, spread over some facets; their words name trait and key."""
    items: list[Item] = []
    for trait, letter in LETTERS.items():
        for key in (1, -1):
            for index in range(per_key):
                number = len(items) + 1
                text = f"{'Enjoy' if key > 0 else 'Dislike'} {trait} task {index}."
                facet = f"{letter}{index % facets + 1}"
                items.append(Item(number, text, trait, key, facet, full_number=2 * number))
    return tuple(items)


def write_items(items: Sequence[Item]) -> str:
    """The items as a csv of the usual fields."""
    rows = [f"{i.full_number},{i.number},{LETTERS[i.domain]},{i.facet},Some facet,{i.key},{i.text}" for i in items]
    return "\n".join(["full300_no,short120_no,domain,facet_code,facet,key,text", *rows]) + "\n"
