"""How small a checkpoint of a family can be: what its config can say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from temperament.errors import TemperamentError
from temperament.models import LoadedModel


@dataclass(frozen=True)
class Sizes:
    """MLP channels, query heads and key-value heads of every block."""

    channels: int
    heads: int
    groups: int

    @staticmethod
    def of(lm: LoadedModel) -> Sizes:
        return Sizes(lm.neurons[0].width, lm.heads, lm.groups)


def plan_sizes(lm: LoadedModel, channels: float, heads: float = 0.0) -> Sizes:
    """What is left when these shares of every block's channels and heads go, as nearly as an ordinary config can say.

    Of heads the largest number that does not exceed the share goes: whole key-value heads with all their query heads,
    or equally many query heads of each; the former where both come to the same.
    """
    for name, share in (("channels", channels), ("heads", heads)):
        if not 0 <= share < 1:
            raise TemperamentError(f"a share of {share:g} of the {name} to remove", "give 0 up to, not including, 1")
    if len({site.width for site in lm.neurons}) != 1 or len(down_projections(lm)) != lm.depth:
        raise TemperamentError(
            f"the blocks of this {lm.family.name} model do not have one MLP of one size each",
            "only models whose config names one size can be made smaller",
        )
    full = Sizes.of(lm)
    if channels and lm.family.channels is None:
        raise TemperamentError(
            f"a config of {lm.family.name} cannot say fewer MLP channels", "leave the channels, or use another family"
        )
    left = full.channels - round(channels * full.channels)
    if channels and left in (0, full.channels):
        raise TemperamentError(
            f"a share of {channels:g} of {full.channels} channels is {'all' if left == 0 else 'none'} of them",
            "give another share",
        )
    if not heads:
        return Sizes(left, full.heads, full.groups)
    if lm.family.heads is None:
        raise TemperamentError(
            f"a config of {lm.family.name} cannot say fewer heads of the same width", "leave out the share of heads"
        )
    possible = [sizes for sizes in _fewer_heads(full, left) if _says(lm, sizes)]
    fitting = [sizes for sizes in possible if full.heads - sizes.heads <= heads * full.heads + 1e-9]
    if not fitting:
        least = max((sizes.heads for sizes in possible), default=None)
        remedy = "leave out the share of heads"
        if least is not None:
            remedy = f"the least that its config can say is {(full.heads - least) / full.heads:.2g}"
        raise TemperamentError(
            f"a share of {heads:g} of {full.heads} heads in {full.groups} groups removes none that a config of "
            f"{lm.family.name} can leave out",
            remedy,
        )
    return min(fitting, key=lambda sizes: sizes.heads)


def smaller_config(lm: LoadedModel, sizes: Sizes) -> PreTrainedConfig:
    """The config of a checkpoint of these sizes, as its class validates it; its error where it does not."""
    config = lm.model.config
    changed: dict[str, Any] = {}
    if lm.family.channels:
        changed[lm.family.channels] = sizes.channels
    if lm.family.heads and sizes.heads != lm.heads:
        changed |= dict(zip(lm.family.heads, (sizes.heads, sizes.groups), strict=True))
        changed["head_dim"] = lm.head_width
    result: PreTrainedConfig = type(config).from_dict({**config.to_dict(), **changed})
    return result


def down_projections(lm: LoadedModel) -> tuple[Any, ...]:
    """The last Linear of every block's MLP; a channel is a column of it."""
    return lm.at_path(lm.family.mlp[-1][-1])


def _fewer_heads(full: Sizes, channels: int) -> Iterator[Sizes]:
    """Sizes with fewer whole groups, then with fewer heads in each group."""
    shared = full.heads // full.groups
    for groups in range(1, full.groups):
        yield Sizes(channels, groups * shared, groups)
    for each in range(1, shared):
        yield Sizes(channels, full.groups * each, full.groups)


def _says(lm: LoadedModel, sizes: Sizes) -> bool:
    try:
        smaller_config(lm, sizes)
    except (StrictDataclassError, ValueError):
        return False
    return True
