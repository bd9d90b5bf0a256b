"""Where responses are in the batch at hand: edits that act on values act from the last prompt position on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.models import LoadedModel

#: Settings of ``generate`` that give a question more than one row.
_SPREADING = ("num_beams", "num_return_sequences")


class Positions:
    """Which columns of the forward pass at hand belong to responses.

    A hook on the backbone notes it before each pass: it knows the number of columns already cached and the declared
    start (``LoadedModel.responding``; ``generate`` declares its own).
    """

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._start: int | Tensor | None = None
        self._offset = 0
        self._columns: int | None = None
        self._known: dict[int, Tensor | slice | None] = {}

    def attach(self) -> None:
        """Put the hook on; ``lm.hooks`` receives what takes it off."""
        root = self._lm.model.get_submodule(self._lm.family.blocks.partition(".")[0])
        self._lm.hooks.append(root.register_forward_pre_hook(self._note, with_kwargs=True).remove)

    def _note(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tokens = next(
            (kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None),
            args[0] if args else None,
        )
        if tokens is None:
            raise TemperamentError("a forward pass without input_ids or inputs_embeds", "give one of them by name")
        batch, self._columns = tokens.shape[:2]
        wanted = self._lm.rows_worn
        if wanted and batch != wanted:
            raise TemperamentError(
                f"{wanted} plans are worn, one per row, but the batch has {batch} rows", "give one plan per row"
            )
        self._start = self._lm.response_start
        cache = kwargs.get("past_key_values")
        self._offset = int(cache.get_seq_length()) if cache is not None else 0
        self._known = {}

    def where(self, late: int = 0) -> Tensor | slice | None:
        """Response columns: a slice that is the same for all rows, or (rows, columns) bool; None: there are none.

        With ``late`` they begin that many positions later.
        """
        if late not in self._known:
            self._known[late] = self._find(late)
        return self._known[late]

    def _find(self, late: int) -> Tensor | slice | None:
        start, columns = self._start, self._columns
        if start is None or columns is None:
            return slice(0, None)
        if isinstance(start, int):
            begin = max(0, start + late - self._offset)
            return slice(begin, None) if begin < columns else None
        positions = torch.arange(self._offset, self._offset + columns, device=start.device)
        return (positions >= start.unsqueeze(1) + late).to(self._lm.device)

    def steps(self, late: int = 0) -> Tensor | None:
        """How far each column lies behind the first response column, at least 0, (rows or 1, columns) int64."""
        if self._columns is None:
            return None
        first = 0 if self._start is None else self._start + late
        positions = torch.arange(self._offset, self._offset + self._columns)
        return (positions - torch.as_tensor(first).cpu().reshape(-1, 1)).clamp_min(0)

    def edit(self, values: Tensor, change: Callable[[Tensor, int], Tensor], late: int = 0) -> Tensor:
        """``values`` (rows, columns, width) with ``change`` applied to the response columns only.

        ``change`` gets values and the column they begin at, and leaves its argument as it is.
        """
        where = self.where(late)
        if where is None:
            return values
        if isinstance(where, Tensor):
            return torch.where(where.unsqueeze(-1), change(values, 0), values)
        begin = where.start
        if begin == 0:
            return change(values, 0)
        return torch.cat([values[:, :begin], change(values[:, begin:], begin)], 1)


def declare_generation(lm: LoadedModel) -> None:
    """While edits of values are worn, ``model.generate`` declares the last column of its prompt as the start."""
    own = lm.model.__dict__
    before: Any = own.get("generate")
    plain: Any = lm.model.generate

    @wraps(plain)
    def generate(inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        prompt = next(
            (value for value in (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if value is not None),
            None,
        )
        settings = (getattr(kwargs.get("generation_config"), name, None) or kwargs.get(name) for name in _SPREADING)
        if lm.rows_worn and any((value or 1) > 1 for value in settings):
            raise TemperamentError(
                "beams and several answers per question move rows, but one plan per row is worn", "wear one plan"
            )
        if prompt is None:
            return plain(inputs, *args, **kwargs)
        with lm.responding(prompt.shape[1] - 1):
            return plain(inputs, *args, **kwargs)

    def put_back() -> None:
        if before is None:
            own.pop("generate", None)
        else:
            own["generate"] = before

    lm.hooks.append(put_back)
    lm.model.generate = generate  # type: ignore[assignment]
