"""The table of methods: name, equation, parameters, and for masks the way from signatures to a recipe per pole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from temperament.calibration import Pole
from temperament.calibration.contrast import POLES
from temperament.errors import TemperamentError
from temperament.methods.baselines import BASELINES
from temperament.methods.contrastive import Link, linked, standardised_difference, tiers, tilted
from temperament.methods.experts import ExpertParameters
from temperament.methods.layers import chosen_layers, valid_layers
from temperament.methods.method import Method, Parameters
from temperament.methods.neurons import RELEASED_LEAST, Variant, choose
from temperament.methods.randomise import permute_difference, permute_ratio, permute_shared_ratio, permute_whole
from temperament.methods.recipe import Recipe
from temperament.methods.sparse import damped_diagonal, sparse_importance
from temperament.methods.sparsegpt_methods import SPARSEGPT
from temperament.methods.vectors import Shifts, mean_difference, probe_heads
from temperament.methods.wanda import Statistic, wanda_importance
from temperament.models import InputSite, LinearSite, LoadedModel
from temperament.signatures import Moments, SignaturePair, StatePair
from temperament.signatures.token_weights import Weighting

#: Smallest importance relative to the largest of a Linear; keeps products clear of the subnormal range.
_LEAST = 2.0**-90


#: Length of a mean difference, as a share of that of the states, below which it is nothing but rounding.
_NO_DIFFERENCE = 1e-5


class WandaParameters(ExpertParameters):
    variant: Literal["published", "released"] = "published"
    statistic: Statistic | None = Field(None, description="mean_abs (published), sentence_l2 (released) or rms")


class SparseParameters(ExpertParameters):
    damping: float = Field(0.01, ge=0, le=1, description="λ as a share of the mean diagonal")
    block: int | None = Field(
        None, ge=2, le=2**31 - 1, description="choose K in blocks of this many columns instead of the whole row"
    )


class ContrastiveWandaParameters(ExpertParameters):
    variant: Literal["published", "released"] = "published"
    link: Link = Field("relu", description="φ: relu or softplus")
    temperature: float = Field(2.0, gt=0, description="τ of softplus(z/τ)")
    epsilon: float = Field(1e-8, gt=0, description="ε of the standardised difference")


class ContrastiveSparseParameters(ExpertParameters):
    variant: Literal["published", "appendix-k", "released"] = "published"
    damping: float = Field(0.01, ge=0, le=1, description="λ as a share of the mean diagonal")
    epsilon: float = Field(1e-8, gt=0, description="ε of the released variant's difference")


class TiltParameters(ExpertParameters):
    t: float = Field(8.0, ge=0, le=64, description="weight of the log-ratio to the other pole")
    floor: float = Field(1e-4, gt=0, lt=1, description="smallest rms, as a share of the Linear's rms")


class NeuronParameters(Parameters):
    variant: Variant = "published"
    threshold: float | None = Field(None, ge=0, lt=1, description="|δ| above which a neuron is edited; default .1")
    count: int | None = Field(None, ge=1, le=2**31 - 1, description="take that many per pole instead")
    share: float | None = Field(None, gt=0, le=0.5, description="take that share of all neurons per pole instead")
    gamma: float = Field(0.7, ge=0, le=100, description="γ, how far positive neurons are raised")
    weighted: bool = Field(True, description="whether f(δ) scales the raise")

    @model_validator(mode="before")
    @classmethod
    def _one_rule(cls, values: Any) -> Any:
        given = [name for name in ("threshold", "count", "share") if values.get(name) is not None]
        if len(given) > 1:
            raise ValueError("give one of threshold, count and share")
        return values if given else {**values, "threshold": 0.1}

    def choose(self, delta: Tensor) -> Tensor:
        """Positions of the neurons to edit."""
        return choose(
            delta,
            threshold=self.threshold,
            count=self.count,
            share=self.share,
            least=RELEASED_LEAST if self.variant == "released" else 0,
        )


def _named_layers(value: Any) -> str:
    return valid_layers(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


#: Layers as ``chosen_layers`` reads them, or a list of numbers.
Layers = Annotated[str, BeforeValidator(_named_layers)]


class SaliencyParameters(ExpertParameters):
    share: float = Field(0.005, gt=0, le=0.1, description="share of all targeted weights")
    scope: Literal["global", "per-linear"] = Field("global", description="rank the whole model, or each Linear")
    modules: Literal["all", "attention", "mlp"] = Field("all", description="which Linears may be chosen from")
    layers: Layers = Field("upper", description="which layers: upper (all but the first third), all, 8-20 or 3,5,9")
    weighting: Weighting = Field(
        "prompt", description="a token weighs as the pole's prompt moves it, by its surprisal, or even"
    )
    other: float = Field(0.8, ge=0, le=1, description="weight of the other pole in the objective, β")
    neutral: float = Field(1 / 3, ge=0, le=1, description="share of neutral text in F")
    damping: float = Field(0.01, gt=0, le=100, description="λ as a share of the median of w²F")
    exponent: float = Field(1.0, gt=0, le=4, description="power of the gain −w·G")

    def targets(self, linears: Sequence[LinearSite], depth: int) -> list[LinearSite]:
        """The Linears of a model with ``depth`` blocks whose weights may be chosen."""
        layers = chosen_layers(self.layers, depth)
        return [site for site in linears if site.layer in layers and self.modules in ("all", site.part)]


class StateParameters(Parameters):
    """What vectors from hidden states have in common."""

    pairs: bool = Field(
        False, description="last token of the matching and the other answer to two-choice questions (CAA)"
    )

    def check(self, depth: int) -> None:
        """Raise for settings that a model with ``depth`` blocks has no room for."""


class VectorParameters(StateParameters):
    layers: Layers = Field("middle", description="after which blocks: middle, upper, all, 8-20 or 3,5,9")

    def check(self, depth: int) -> None:
        chosen_layers(self.layers, depth)


class HeadParameters(StateParameters):
    count: int | None = Field(None, ge=1, le=2**31 - 1, description="how many heads are shifted; default 24")
    share: float | None = Field(None, gt=0, le=1, description="shift that share of all heads instead")
    folds: int = Field(5, ge=2, le=100, description="folds of the cross-validation that ranks the heads")
    c: float = Field(1.0, gt=0, le=1e6, description="inverse penalty of the probes")

    @model_validator(mode="before")
    @classmethod
    def _one_rule(cls, values: Any) -> Any:
        if values.get("count") is not None and values.get("share") is not None:
            raise ValueError("give count or share")
        return values if values.get("share") is not None else {"count": 24, **values}


@dataclass(frozen=True)
class MaskMethod(Method):
    """A method whose personas are masks: its recipe per pole, and its random control."""

    kind: ClassVar[str] = "masks"
    recipe: Callable[[SignaturePair, Sequence[InputSite], Pole, Any], Recipe]
    randomise: Callable[[Recipe, Recipe, Tensor], tuple[Recipe, Recipe]]
    sparsity: str = field(default="0.5", kw_only=True)


@dataclass(frozen=True)
class NeuronMethod(Method):
    """The method whose personas are neuron edits."""

    kind: ClassVar[str] = "neurons"


@dataclass(frozen=True)
class SaliencyMethod(Method):
    """The method whose personas are subnetworks of single weights."""

    kind: ClassVar[str] = "subnetwork"


@dataclass(frozen=True)
class VectorMethod(Method):
    """A method whose personas are vectors added to hidden states: what it finds, with figures that describe it."""

    kind: ClassVar[str] = "vectors"
    find: Callable[[StatePair, LoadedModel, Any, int], tuple[Shifts, dict[str, Any]]]


def _scaled(vector: Tensor, inputs: Sequence[InputSite]) -> Tensor:
    """Scale each Linear's part to a maximum of 1 (the ranking stays) and store it in fp32."""
    parts = []
    for site in inputs:
        part = vector[site.slice]
        top = part.abs().max()
        part = part / top if top > 0 else part
        parts.append(torch.where(part.abs() < _LEAST, torch.zeros_like(part), part))
    return torch.cat(parts).float()


def _single(pole: Pole, vector: Tensor, inputs: Sequence[InputSite], **options: Any) -> Recipe:
    return Recipe(options.pop("rule", "product"), pole, _scaled(vector, inputs).unsqueeze(0), **options)


def _wanda(pair: SignaturePair, inputs: Sequence[InputSite], pole: Pole, p: WandaParameters) -> Recipe:
    statistic: Statistic = p.statistic or ("mean_abs" if p.variant == "published" else "sentence_l2")
    return _single(pole, wanda_importance(pair.pole(pole), statistic), inputs)


def _sparse(pair: SignaturePair, inputs: Sequence[InputSite], pole: Pole, p: SparseParameters) -> Recipe:
    vector = torch.cat([sparse_importance(pair.pole(pole), site.slice, p.damping) for site in inputs])
    return _single(pole, vector, inputs, block=p.block)


def _both(pair: SignaturePair, pole: Pole) -> tuple[Moments, Moments]:
    return pair.pole(pole), pair.pole("minus" if pole == "plus" else "plus")


def _contrastive_wanda(
    pair: SignaturePair, inputs: Sequence[InputSite], pole: Pole, p: ContrastiveWandaParameters
) -> Recipe:
    own, other = _both(pair, pole)
    z = standardised_difference(own, other, p.epsilon, under_root=p.variant == "released")
    score = linked(z, p.link, p.temperature)
    if p.link == "softplus" or p.variant == "released":
        return _single(pole, score, inputs)
    vector = tiers(_scaled(score, inputs), _scaled(wanda_importance(own), inputs))  # the tiers never mix
    return _single(pole, vector, inputs, rule="tiered")


def _contrastive_sparse(
    pair: SignaturePair, inputs: Sequence[InputSite], pole: Pole, p: ContrastiveSparseParameters
) -> Recipe:
    if p.variant == "released":
        z = standardised_difference(*_both(pair, "plus"), p.epsilon, under_root=True)
        return _single(pole, z.abs(), inputs, rule="appendix-k-product")
    vectors = [
        _scaled(
            torch.cat([damped_diagonal(pair.pole(side).mean_square[site.slice], p.damping) for site in inputs]), inputs
        )
        for side in POLES
    ]
    return Recipe("contested" if p.variant == "published" else "appendix-k", pole, torch.stack(vectors))


def _tilt(pair: SignaturePair, inputs: Sequence[InputSite], pole: Pole, p: TiltParameters) -> Recipe:
    own, other = _both(pair, pole)
    vector = torch.cat([tilted(own.rms[site.slice], other.rms[site.slice], p.t, p.floor) for site in inputs])
    return _single(pole, vector, inputs)


def _randomise_sparse(plus: Recipe, minus: Recipe, order: Tensor) -> tuple[Recipe, Recipe]:
    permute = permute_whole if plus.rule == "appendix-k-product" else permute_shared_ratio
    return permute(plus, minus, order)


def _difference(
    pair: StatePair,
    lm: LoadedModel,
    p: VectorParameters,
    seed: int,  # noqa: ARG001 - nothing is drawn
) -> tuple[Shifts, dict[str, Any]]:
    shifts = mean_difference(pair, chosen_layers(p.layers, lm.depth))
    sizes = torch.cat([side.states.residual for side in (pair.plus, pair.minus)]).norm(dim=2).mean(0)
    norms = shifts.norms.squeeze(1).tolist()
    relative = [norm / float(sizes[layer]) for layer, norm in zip(shifts.layers, norms, strict=True)]
    if max(relative) < _NO_DIFFERENCE:
        raise TemperamentError("the states of both poles do not differ", "use texts that differ, or other layers")
    return shifts, {"place": "residual", "layers": list(shifts.layers), "norms": norms, "relative": relative}


def _probes(pair: StatePair, lm: LoadedModel, p: HeadParameters, seed: int) -> tuple[Shifts, dict[str, Any]]:
    shifts, heads = probe_heads(pair, lm.heads, count=p.count, share=p.share, folds=p.folds, c=p.c, seed=seed)
    return shifts, {"place": "heads", "heads": [asdict(head) for head in heads], "of": lm.depth * lm.heads}


MASK_METHODS: tuple[MaskMethod, ...] = (
    MaskMethod(
        "wanda",
        "|w_ij| · A_j (PS Eq. 3)",
        "activation-weighted magnitude of one pole",
        WandaParameters,
        _wanda,
        permute_ratio,
    ),
    MaskMethod(
        "sparse",
        "w_ij² · (E[x_j²] + λ) (PS Eq. 5)",
        "diagonal second-order saliency of one pole",
        SparseParameters,
        _sparse,
        permute_ratio,
    ),
    MaskMethod(
        "contrastive-wanda",
        "|w_ij| · φ(z_j), z_j = (μ_j − μ'_j) / (√(σ²_j + σ'²_j) + ε) (PS Eq. 8)",
        "magnitude weighted by how much more active an input is than on the other pole",
        ContrastiveWandaParameters,
        _contrastive_wanda,
        permute_difference,
    ),
    MaskMethod(
        "contrastive-sparse",
        "S̃⁺_ij − S̃⁻_ij, S̃ = w²H / row sum (PS Eq. 9)",
        "each contested weight goes to the pole where its share of the row's saliency is larger",
        ContrastiveSparseParameters,
        _contrastive_sparse,
        _randomise_sparse,
    ),
    MaskMethod(
        "contrastive-tilt",
        "|w_ij| · A_j · (A_j / A'_j)^t (ours)",
        "activation-weighted magnitude, tilted by the ratio to the other pole",
        TiltParameters,
        _tilt,
        permute_ratio,
        sparsity="0.2",
    ),
)

NEURONS = NeuronMethod(
    "neurons",
    "a ← min(0, a) on neurons of the other pole, a ← a + γ · a95 · f(δ) on its own (NPTI Eq. 4)",
    "MLP neurons that are active more often under one pole than under the other",
    NeuronParameters,
)

SALIENCY = SaliencyMethod(
    "contrastive-saliency",
    "max(0, −w_ij·(G_ij − β·G'_ij)) / (w_ij²·F_ij + λ), the largest of the whole model (ours)",
    "the few weights whose loss serves one pole most for its cost elsewhere; one backward pass",
    SaliencyParameters,
)

VECTORS: tuple[VectorMethod, ...] = (
    VectorMethod(
        "vector",
        "h ← h + s · (mean h of plus texts − mean h of minus texts)",
        "mean difference of hidden states, added to the residual stream after a block",
        VectorParameters,
        _difference,
    ),
    VectorMethod(
        "heads",
        "o ← o + s · σ · θ, θ the unit normal of the head's linear probe (PAS, ITI)",
        "attention heads whose probes tell the poles apart best, shifted along the probe",
        HeadParameters,
        _probes,
    ),
)

METHODS: tuple[Method, ...] = (*MASK_METHODS, *SPARSEGPT, NEURONS, *VECTORS, SALIENCY, *BASELINES)


def find_method(name: str) -> Method:
    """The row of that name, or an error that lists the names."""
    for method in METHODS:
        if method.name == name:
            return method
    raise TemperamentError(f"unknown method {name!r}", f"use one of {', '.join(method.name for method in METHODS)}")
