"""Neuron edits: one table per layer, looked up by batch row, applied from the last prompt position on (NPTI Eq. 4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor, nn

from temperament.errors import TemperamentError
from temperament.methods.neurons import RELEASED_DROPOUT
from temperament.models import LoadedModel
from temperament.models.load import WearSession
from temperament.personas.edits import NeuronEdit

#: A neuron edit and its weight: the strength, negative where the edit's minus pole is to be worn.
Item = tuple[NeuronEdit, float]
#: What one row of a batch wears on its neurons.
Row = tuple[Item, ...]

#: Settings of ``generate`` that give a question more than one row.
_SPREADING = ("num_beams", "num_return_sequences")

#: Steps whose dropout is drawn at a time.
_CHUNK = 64


@dataclass(frozen=True)
class LayerTable:
    """What happens to the neurons of one layer, for every row: a ← min(a, keep · a) + add.

    ``keep`` and ``add`` are (rows, 1, neurons), a single row where all rows of a batch wear the same. ``keep`` is 1
    − the share of the positive part that is taken away, so at full strength min(a, 0 · a) = min(0, a).
    """

    keep: Tensor
    add: Tensor


def combine(row: Row, width: int) -> tuple[Tensor, Tensor]:
    """``keep`` and ``add`` of one row over all neurons of a model, (width,) fp32 each.

    Items with the same edit count as one with the sum of their weights. A neuron that several edits claim follows
    the one with the largest |weight·δ|; the first of them on a tie (NPTI Table 5).
    """
    weights: dict[str, float] = {}
    edits: dict[str, NeuronEdit] = {}
    for edit, weight in row:
        weights[edit.identity] = weights.get(edit.identity, 0.0) + weight
        edits[edit.identity] = edit
    keep, add, claimed = torch.ones(width), torch.zeros(width), torch.zeros(width)
    for key, edit in edits.items():
        weight, found = weights[key], edit.neurons
        if weight == 0:
            continue
        claim = (weight * found.delta).abs()
        wins = claim > claimed[found.index]
        index, raised = found.index[wins], (weight * found.delta > 0)[wins]
        claimed[index] = claim[wins]
        keep[index] = torch.where(raised, 1.0, 1 - min(abs(weight), 1.0))
        add[index] = torch.where(raised, abs(weight) * edit.raises[wins], 0.0)
    return keep, add


def wear_neurons(lm: LoadedModel, session: WearSession, rows: tuple[Row, ...]) -> None:
    """Put neuron edits on for a session: one row for a whole batch, or one row of edits for each row of a batch.

    What outer sessions wear stays on; all of it is combined by the rule of ``combine``.
    """
    todo = [True]

    def off() -> None:
        if todo:
            session.neurons = ()
            _attach(lm)
            todo.clear()

    for _ in range(2):  # where an interrupt stops the first, the second goes on
        session.stack.callback(off)
    session.neurons = rows
    _attach(lm)


def combined_rows(lm: LoadedModel, more: tuple[Row, ...] = (), per_row: int = 0) -> tuple[Row, ...]:
    """The rows that all sessions, outermost first, and ``more`` ask for together; an error if they cannot be one.

    ``per_row`` is the number of rows in ``more`` if each row of a batch is to wear its own, else 0.
    """
    if per_row and lm.rows_worn not in (0, per_row):
        raise TemperamentError(
            f"{per_row} plans, one per row, inside a block that has {lm.rows_worn}", "give equally many"
        )
    total: tuple[Row, ...] = ((),)
    for rows in (*(session.neurons for session in lm.sessions), more):
        count = max(len(total), len(rows))
        if rows:
            total = tuple(total[i % len(total)] + rows[i % len(rows)] for i in range(count))
    variants = {(edit.variant, edit.seed) for row in total for edit, _ in row if edit.variant == "released"}
    if variants and (len(variants) > 1 or any(edit.variant == "published" for row in total for edit, _ in row)):
        raise TemperamentError(
            "neuron personas of the published and the released variant, or of different seeds, cannot be worn together",
            "extract them with the same variant and seed",
        )
    return total


def _attach(lm: LoadedModel) -> None:
    """Replace the hooks on the model by those for what all sessions wear now; none are left when nothing is worn."""
    while lm.neuron_hooks:
        lm.neuron_hooks[-1]()  # first called, then forgotten: an interrupt between the two loses none
        lm.neuron_hooks.pop()
    rows = combined_rows(lm)
    if any(rows):
        _Hooks(lm, rows).attach()


class _Hooks:
    """The hooks of one set of tables, and where in the batch at hand they act.

    A hook on the backbone notes, before each forward pass, which columns belong to responses: it knows the number of
    columns already cached and the declared start (``LoadedModel.responding``; ``generate`` declares its own).
    """

    def __init__(self, lm: LoadedModel, rows: tuple[Row, ...]) -> None:
        self._lm = lm
        self._rows = len(rows)
        self._where: Tensor | slice | None = slice(0, None)
        self._steps: Tensor | None = None
        edits = [edit for row in rows for edit, _ in row]
        self._released = edits[0] if edits and edits[0].variant == "released" else None
        width = sum(site.width for site in lm.neurons)
        unique = list(dict.fromkeys(rows))  # plans that recur share one line of the table
        combined = [combine(row, width) for row in unique]
        self._lookup = torch.tensor([unique.index(row) for row in rows], device=lm.device)
        keep, add = (torch.stack(parts).to(lm.device, lm.dtype) for parts in zip(*combined, strict=True))
        if not bool(torch.isfinite(add).all()):
            raise TemperamentError(
                f"a strength worn raises neurons beyond what {self._lm.dtype} holds", "use smaller strengths"
            )
        self._tables: dict[int, Tensor] = {}
        for site in lm.neurons:
            table = torch.stack([keep[:, site.slice], add[:, site.slice]], 1)  # (plans, 2, neurons)
            if bool((table[:, 0] != 1).any()) or bool((table[:, 1] != 0).any()):
                self._tables[site.layer] = table

    def attach(self) -> None:
        lm, hooks = self._lm, self._lm.neuron_hooks
        root = lm.family.blocks.partition(".")[0]
        hooks.append(lm.model.get_submodule(root).register_forward_pre_hook(self._locate, with_kwargs=True).remove)
        for site in lm.neurons:
            if site.layer in self._tables:

                def edit(_: nn.Module, __: Any, output: Tensor, layer: int = site.layer) -> Tensor:
                    return self._edit(layer, output)

                hooks.append(lm.module(site.name).register_forward_hook(edit).remove)
        _declare_generation(lm)

    def _locate(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a forward pass: which columns of it belong to responses."""
        tokens = next(
            (kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None),
            args[0] if args else None,
        )
        if tokens is None:
            raise TemperamentError("a forward pass without input_ids or inputs_embeds", "give one of them by name")
        batch, columns = tokens.shape[:2]
        wanted = self._lm.rows_worn
        if wanted and batch != wanted:
            raise TemperamentError(
                f"{wanted} plans are worn, one per row, but the batch has {batch} rows", "give one plan per row"
            )
        start = self._lm.response_start
        cache = kwargs.get("past_key_values")
        offset = int(cache.get_seq_length()) if cache is not None else 0
        late = self._released is not None  # the released code begins one position later
        if start is None:
            self._where, first = slice(0, None), 0
        elif isinstance(start, int):
            first = start + late
            begin = max(0, first - offset)
            self._where = slice(begin, None) if begin < columns else None
        else:
            first = start + late  # type: ignore[assignment]
            positions = torch.arange(offset, offset + columns, device=start.device)
            self._where = (positions >= start.unsqueeze(1) + late).to(self._lm.device)
        if late:
            positions = torch.arange(offset, offset + columns)
            begins = torch.as_tensor(first).cpu().reshape(-1, 1)
            self._steps = (positions - begins).clamp_min(0)

    def _edit(self, layer: int, output: Tensor) -> Tensor:
        where = self._where
        if where is None:
            return output
        table = self._tables[layer]
        if self._rows > 1:
            table = table.index_select(0, self._lookup)
        keep, add = table[:, 0].unsqueeze(1), table[:, 1].unsqueeze(1)
        if self._steps is not None:
            add = add * self._kept(layer, output)
        if isinstance(where, Tensor):
            return torch.where(where.unsqueeze(-1), torch.minimum(output, output * keep) + add, output)
        if where.start == 0:
            return torch.minimum(output, output * keep).add_(add)
        head, tail = output[:, : where.start], output[:, where.start :]
        if self._steps is not None:
            add = add[:, where.start :]
        return torch.cat([head, torch.minimum(tail, tail * keep).add_(add)], 1)

    def _kept(self, layer: int, output: Tensor) -> Tensor:
        """1 where the released variant raises a neuron at a step, else 0: (rows, columns, neurons)."""
        steps, edit = self._steps, self._released
        if steps is None or edit is None:
            raise ValueError("no released edit is worn")
        chunks = [
            _dropout(edit.seed, layer, chunk, output.shape[-1]) for chunk in range(int(steps.max()) // _CHUNK + 1)
        ]
        return torch.cat(chunks)[steps].to(output.device, output.dtype)


@lru_cache(maxsize=512)
def _dropout(seed: int, layer: int, chunk: int, width: int) -> Tensor:
    """Which neurons are raised at the steps of a chunk, (steps, neurons) bool; a function of its arguments alone."""
    digest = hashlib.sha256(f"{seed} {layer} {chunk}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(_CHUNK, width, generator=generator) >= RELEASED_DROPOUT


def _declare_generation(lm: LoadedModel) -> None:
    """While neurons are worn, ``model.generate`` declares the last column of its prompt as the start."""
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

    lm.neuron_hooks.append(put_back)
    lm.model.generate = generate  # type: ignore[assignment]
