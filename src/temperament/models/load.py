"""Load a model by hub id, folder, GGUF file or bundled name, and prove that it can be edited and restored."""

from __future__ import annotations

import io
import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from temperament.errors import TemperamentError
from temperament.models.architecture import (
    Family,
    InputSite,
    LinearSite,
    NeuronSite,
    Sites,
    find_family,
    find_sites,
    is_transposed,
)
from temperament.models.bundled import bundled_file, converted_folder, keep_converted
from temperament.models.dialogue import Encoded, Turns, dialogue_ids, encode, plain_head
from temperament.models.experts import opened
from temperament.models.fingerprint import fingerprint, text_hash
from temperament.models.probe import probe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class WearSession:
    """One block that wears something: what undoes it, and whether the block has ended."""

    stack: ExitStack = field(default_factory=ExitStack)
    ended: bool = False
    #: Its edits that can differ by row: one entry for all rows of a batch, or one per row (see ``wear.rows``).
    edits: tuple[Any, ...] = ()
    #: Number of rows that a batch must have, where every row wears a plan of its own; else 0.
    rows: int = 0


class LoadedModel:
    """A transformers model and tokenizer with the family's sites resolved.

    ``model`` and ``tokenizer`` are the plain transformers objects. ``linears`` are the edit targets: every Linear
    in attention and MLP, those of experts included; never embeddings, LM head or routers. ``system_prompt`` is set
    while a prompt persona is worn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        revision: str | None = None,
        check: bool = True,
    ) -> None:
        self.model: PreTrainedModel = model.eval()  # type: ignore[no-untyped-call]
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.family: Family = find_family(model.config.model_type)
        self.sites: Sites = find_sites(model, self.family)
        self.system_prompt: str | None = None
        #: Each gives earlier turns for the question at hand; set while few-shot personas are worn.
        self.examples: tuple[Callable[[str], Turns], ...] = ()
        self.worn: tuple[str, ...] = ()
        #: Blocks that wear something, outermost first.
        self.sessions: list[WearSession] = []
        #: What takes the hooks of all sessions off the model again; each may be called twice.
        self.hooks: list[Callable[[], None]] = []
        #: Column of the last prompt token, one for all rows or (rows,); None: every position is part of a response.
        self.response_start: int | Tensor | None = None
        #: One per worn mask, outermost first: puts the original values back into a copy of a weight.
        self.restorers: list[Callable[[LinearSite, Tensor], None]] = []
        if check:
            probe(self.model, self.family, self.sites)

    @property
    def inputs(self) -> tuple[InputSite, ...]:
        """What the Linears read, in block order."""
        return self.sites.inputs

    @property
    def linears(self) -> tuple[LinearSite, ...]:
        """The edit targets, in block order."""
        return self.sites.linears

    @property
    def neurons(self) -> tuple[NeuronSite, ...]:
        """The MLP activation of every block; none in a mixture of experts."""
        return self.sites.neurons

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def width(self) -> int:
        """Number of Linear inputs of the whole model: the length of a model-long importance vector."""
        return sum(site.width for site in self.inputs)

    @property
    def rows_worn(self) -> int:
        """How many rows of a batch wear plans of their own; 0 where all rows wear the same."""
        return max((session.rows for session in self.sessions), default=0)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.sites.depth

    @cached_property
    def projections(self) -> tuple[LinearSite, ...]:
        """The output projection of every block's attention; an attention head is a slice of its input."""
        return self.at_path(self.family.attention[-1][-1])

    def at_path(self, path: str) -> tuple[LinearSite, ...]:
        """The Linear at a path of the family's row in every block that has one."""
        names = {f"{self.block(layer)}.{path}" for layer in range(self.depth)}
        return tuple(linear for linear in self.linears if linear.name in names)

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return int(self.model.config.get_text_config().num_attention_heads)

    @property
    def groups(self) -> int:
        """Key-value heads of a block, each shared by equally many attention heads."""
        return int(getattr(self.model.config.get_text_config(), "num_key_value_heads", None) or self.heads)

    @property
    def head_width(self) -> int:
        """Values of one attention head."""
        return self.projections[0].shape[1] // self.heads

    @property
    def max_tokens(self) -> int:
        """Longest sequence the model takes."""
        return int(getattr(self.model.config, "max_position_embeddings", 2048))

    def block(self, layer: int) -> str:
        """The name of a block."""
        return f"{self.family.blocks}.{layer}"

    def module(self, name: str) -> nn.Module:
        """The module of that name; hooks on a Linear of an expert need ``opened_experts``."""
        return self.sites.module(self.model, name)

    def opened_experts(self) -> AbstractContextManager[None]:
        """While the block runs, hooks on the Linears of experts fire; without experts this does nothing."""
        return opened(self.sites.experts)

    def weight(self, linear: LinearSite) -> Tensor:
        """The weight as an (outputs, inputs) view onto the parameter; edits through it edit the model."""
        module = self.module(linear.name)
        weight = module.weight.detach()  # type: ignore[operator]
        return weight.T if is_transposed(module) else weight

    def base_weight(self, linear: LinearSite) -> Tensor:
        """The unedited weight, (outputs, inputs), also while masks are worn."""
        weight = self.weight(linear)
        if self.restorers:
            weight = weight.clone()
            for restore in reversed(self.restorers):
                restore(linear, weight)
        return weight

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the unedited weights, rounded to bf16."""
        if self.restorers:
            raise TemperamentError("the model's fingerprint was asked for while a mask is worn", "take it off first")
        return fingerprint(self.model)

    @cached_property
    def tokenizer_hash(self) -> str:
        """SHA-256 of the vocabulary in index order."""
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        return text_hash("\n".join(f"{index}\t{token}" for token, index in vocabulary))

    @property
    def template_hash(self) -> str:
        """SHA-256 of the chat template ('' when there is none)."""
        return text_hash(str(self.tokenizer.chat_template or ""))

    @contextmanager
    def responding(self, start: int | Tensor) -> Iterator[None]:
        """Declare where the responses of the batch at hand begin; edits of values act from there on.

        ``start`` is the column of the last prompt token, which predicts the first response token: one for all rows
        (left padding), or (rows,) int64. Columns count from the beginning of the sequence, cached or not, padding
        included. Without a declaration every position counts as response.
        """
        fits = start.dim() == 1 and not start.is_floating_point() if isinstance(start, Tensor) else start >= 0
        if not fits:
            raise TemperamentError(
                f"a response cannot start at {start}", "give a column from 0 on, or a tensor of one column per row"
            )
        before, self.response_start = self.response_start, start
        try:
            yield
        finally:
            self.response_start = before

    def prompt_ids(self, prompt: str) -> list[int]:
        """Tokens up to the assistant's answer, with the worn system prompt and samples if there are any."""
        return list(self.dialogue_ids((("user", prompt),)))

    def dialogue_ids(self, turns: Turns) -> tuple[int, ...]:
        """Tokens of a dialogue up to the assistant's answer, behind the worn system prompt and samples.

        Samples are those for the last question; they come first, as earlier turns.
        """
        return dialogue_ids(self.tokenizer, (*self._earlier(turns[-1][1]), *turns), self.system_prompt)

    def head_ids(self, question: str) -> tuple[int, ...]:
        """Tokens before a plain text: special tokens, the worn system prompt, worn samples for ``question``."""
        return tuple(self.tokenizer(plain_head(self._earlier(question), self.system_prompt), verbose=False).input_ids)

    def _earlier(self, question: str) -> Turns:
        return tuple(turn for examples in self.examples for turn in examples(question))

    def encode(self, prompt: str, response: str, limit: int | None = None) -> Encoded:
        """Prompt and response as one token sequence of at most ``limit`` tokens."""
        limit = min(limit or self.max_tokens, self.max_tokens)
        return encode(self.tokenizer, prompt, response, self.system_prompt, limit, self._earlier(prompt))


def default_device() -> torch.device:
    """CUDA, then Apple's MPS, then CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")


def default_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it natively, else fp32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return torch.float32


def load_model(
    name: str,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    check: bool = True,
    factory: Any = LoadedModel,
) -> Any:
    """Load ``name`` (bundled name, ``.gguf`` file, local folder or hub id) and probe it.

    Raises ``TemperamentError`` in one line for anything that cannot be read, is incomplete or unsupported.
    """
    target = _device(device)
    kind = default_dtype(target) if dtype is None else _dtype(dtype)
    with ExitStack() as files:
        source, arguments = _source(name, kind, revision, files)
        arguments["trust_remote_code"] = False  # left out, transformers asks at the terminal
        with quiet():
            try:
                find_family(AutoConfig.from_pretrained(source, **arguments).model_type)
                tokenizer = AutoTokenizer.from_pretrained(source, **arguments)
                if "gguf_file" in arguments:
                    arguments = {**arguments, "quantization_config": GgufConfig(dequantize=True)}
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    source, dtype=kind, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
                )
            except (TemperamentError, KeyboardInterrupt, MemoryError):
                raise
            except Exception as error:  # the loaders raise every kind; the user needs the reason, not the trace
                raise TemperamentError(
                    f"model {name!r} cannot be loaded: {_reason(error)}",
                    "give a hub id, a folder with config and weights, a .gguf file or a bundled name",
                ) from error
    model, report = loaded
    wrong = (f"{key} ({tuple(found)} instead of {tuple(wanted)})" for key, found, wanted in report["mismatched_keys"])
    faults = [*report["missing_keys"], *wrong]
    if faults:
        shown = ", ".join(sorted(faults)[:4]) + (f" and {len(faults) - 4} more" if len(faults) > 4 else "")
        raise TemperamentError(
            f"model {name!r} is incomplete: its files lack the right weights for {shown}",
            "download or convert it again",
        )
    if "gguf_file" in arguments:
        with quiet():
            keep_converted(name, kind, model, tokenizer)
    return factory(model.to(target), tokenizer, name=str(name), revision=revision, check=check)


def _source(name: str, dtype: torch.dtype, revision: str | None, files: ExitStack) -> tuple[str, dict[str, Any]]:
    path = converted_folder(name, dtype)
    if path is None or not path.is_dir():
        # not Path.expanduser, which raises on an unknown ~user
        path = files.enter_context(bundled_file(name)) or Path(os.path.expanduser(name))
    if revision and path.exists():
        raise TemperamentError(f"revision {revision!r} was given, but {name!r} is a local model", "leave it out")
    if path.suffix == ".gguf":
        if not path.is_file():
            raise TemperamentError(f"there is no GGUF file {str(path)!r}", "check the path")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise TemperamentError(
                f"the folder {name!r} has no config.json", "point to a folder saved by save_pretrained"
            )
        return str(path), {}
    if path.is_file():
        raise TemperamentError(f"{name!r} is a file but not a .gguf file", "give a folder, a .gguf file or a hub id")
    if name.startswith((".", "~", os.sep)) or len(path.parts) > 2:
        raise TemperamentError(f"there is no file or folder {name!r}", "check the path")
    return name, {"revision": revision} if revision else {}


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise TemperamentError(f"unknown dtype {dtype!r}", f"use one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return default_device()
    remedy = "use cpu, cuda, cuda:N or mps"
    try:
        target = torch.device(device)
    except RuntimeError:
        raise TemperamentError(f"unknown device {str(device)!r}", remedy) from None
    if target.type not in ("cpu", "cuda", "mps"):
        raise TemperamentError(f"device {str(device)!r} is not supported", remedy)
    try:
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise TemperamentError(f"device {str(device)!r} cannot be used: {_reason(error)}", remedy) from error
    return target


def _reason(error: BaseException) -> str:
    """What a library's error says, on one line of at most 250 characters."""
    kind = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""  # KeyError says the key, no more
    return textwrap.shorten(f"{kind}{error}", 250, placeholder=" …").rstrip(" .:") or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loaders' progress bars and load reports off the screen; faults are raised as errors instead."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("transformers", "gguf", "huggingface_hub"))}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):  # bars; the GGUF reader's has no switch
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
