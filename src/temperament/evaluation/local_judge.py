"""The local judge: a linear probe on sentence embeddings that tells which pole of a contrast a text speaks for.

It reads an answer as a whole, without its question. Answers of some 60 tokens have two to four sentences, as its
training texts have one to three, and the encoder averages over tokens, so that the probe's log-odds of a whole text are
close to a mean over its sentences, each read in the light of the others. A mean of sentence-level probabilities would
count a cut-off ending or a filler sentence as much as the sentence that says it all, and lose what "it" refers to.
On held-out answers of this length the whole text tells the poles apart at least as well, with the smaller log loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from temperament.calibration.builtin import TRAITS, find_trait
from temperament.calibration.contrast import Contrast, Example, group_key
from temperament.errors import TemperamentError
from temperament.evaluation.auc import auc, roc_auc
from temperament.evaluation.bootstrap import Array, Measured
from temperament.evaluation.embeddings import ENCODER, Embed, Embeddings, embed, needs_judge
from temperament.evaluation.instrument import text_digest
from temperament.evaluation.judge_texts import judge_texts

#: Inverse strengths of regularisation to choose from: embeddings have norm 1, so weights must be large to matter.
_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_FOLDS = 5
_HELD_OUT = 5  # fewest held-out texts per pole


class JudgeText(Protocol):
    """A pair of opposite texts on one topic; ``split`` is "train" or "held-out"."""

    @property
    def split(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def plus(self) -> str: ...
    @property
    def minus(self) -> str: ...


@dataclass(frozen=True)
class LocalJudge:
    """A trained probe: P(plus pole | text) = σ(w·e + b) for the text's embedding e of norm 1.

    ``auc`` is the ROC AUC on held-out texts with its 95 % interval; its ``extra`` has ``length_auc``, the AUC of the
    number of words alone (.5: length says nothing), and the numbers of texts. ``groups`` are the identities
    (``calibration.contrast.group_key``) of the training texts, ``hash`` identifies texts, labels, encoder and settings.
    """

    name: str
    auc: Measured
    groups: frozenset[str]
    hash: str
    regularisation: float
    weights: Array = field(repr=False, compare=False)
    intercept: float = field(repr=False, compare=False)
    encode: Embed = field(repr=False, compare=False)

    @classmethod
    def train(
        cls,
        plus: Sequence[str],
        minus: Sequence[str],
        held_plus: Sequence[str],
        held_minus: Sequence[str],
        *,
        name: str,
        groups: Iterable[str] = (),
        seed: int = 0,
        encode: Embed = embed,
    ) -> LocalJudge:
        """Fit on ``plus`` and ``minus``, and measure once on the held-out texts, which choose nothing.

        C is the one of five with the least log loss in 5-fold cross-validation on the training texts; where the poles
        have equally many, texts at the same position are a pair and stay in one fold. Poles weigh the same. ``groups``
        are further texts (such as questions) that training depends on.
        """
        train, held = (_clean(plus), _clean(minus)), (_clean(held_plus), _clean(held_minus))
        _check(name, train, held)
        model = _fit(encode([*train[0], *train[1]]), _labels(train), _folds(train, seed))
        weights, intercept = np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])
        scores = tuple(np.asarray(encode(texts), np.float64) @ weights + intercept for texts in held)
        lengths = tuple(np.array([len(text.split()) for text in texts], np.float64) for texts in held)
        counts = {"train": [len(texts) for texts in train], "held_out": [len(texts) for texts in held]}
        found = auc(scores[0], scores[1], seed=seed)
        extra = {"length_auc": float(roc_auc(lengths[0], lengths[1])), **counts}
        keys = frozenset(group_key(text) for texts in (*train, groups) for text in texts)
        settings = [name, ENCODER, str(seed), repr(_STRENGTHS), str(_FOLDS)]
        parts = [part for texts in (*train, *held) for part in (str(len(texts)), *texts)]
        return cls(
            name=name,
            auc=Measured(found.value, found.low, found.high, found.n, extra),
            groups=keys,
            hash=text_digest([*settings, *parts]),
            regularisation=float(model.C),
            weights=weights,
            intercept=intercept,
            encode=encode,
        )

    @property
    def label(self) -> str:
        """How every figure of this judge is labelled: what it is, and how well it tells held-out texts apart."""
        found = self.auc
        chance = ", no better than chance" if not found.low > 0.5 else ""
        return f"local judge, held-out AUC {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]{chance}"

    def probability(self, texts: Sequence[str]) -> Array:
        """Probability of the plus pole for each text, (texts,); NaN for an empty text, which says nothing."""
        result = np.full(len(texts), np.nan)
        present = [index for index, text in enumerate(texts) if text.strip()]
        if present:
            vectors = np.asarray(self.encode([texts[index].strip() for index in present]), np.float64)
            result[present] = expit(vectors @ self.weights + self.intercept)
        return result

    def check_disjoint(self, groups: Iterable[str]) -> None:
        """Raise if any of these identities, of calibration or test texts, belongs to a training text."""
        shared = len(self.groups & frozenset(groups))
        if shared:
            raise TemperamentError(
                f"{shared} texts that the local judge of {self.name} was trained on are calibration or test texts",
                "train the judge on other texts",
            )


@cache
def trait_judge(trait: str, *, seed: int = 0) -> LocalJudge:
    """The judge of a built-in trait, trained on its judge texts; once per process."""
    if not find_trait(trait):
        raise TemperamentError(
            f"there are no built-in judge texts for {trait!r}",
            f"use one of {', '.join(known.name for known in TRAITS)}, or train a judge on a contrast",
        )
    return text_judge(trait, judge_texts(trait), seed=seed)


def text_judge(name: str, texts: Iterable[JudgeText], *, seed: int = 0, encode: Embed = embed) -> LocalJudge:
    """A judge from pairs of texts whose splits are named."""
    pairs = list(texts)
    unknown = {pair.split for pair in pairs} - {"train", "held-out"}
    if unknown:
        raise TemperamentError(f"judge texts have the split {min(unknown)!r}", "use 'train' or 'held-out'")
    train, held = ([pair for pair in pairs if pair.split == split] for split in ("train", "held-out"))
    return LocalJudge.train(
        [pair.plus for pair in train],
        [pair.minus for pair in train],
        [pair.plus for pair in held],
        [pair.minus for pair in held],
        name=name,
        seed=seed,
        encode=encode,
    )


def contrast_judge(contrast: Contrast, *, seed: int = 0, encode: Embed = embed) -> LocalJudge:
    """A judge from the responses of a contrast: two thirds of each pole train it, one third is held out.

    Which third is decided by a hash of each group, so that a question's answers stay together. The contrast must not
    hold what is calibrated or tested on: see ``check_disjoint``.
    """
    train, kept = _thirds(contrast)
    return LocalJudge.train(
        *([item.response for item in pole] for pole in (*train, *kept)),
        name=contrast.name,
        groups=[item.group for pole in train for item in pole],
        seed=seed,
        encode=encode,
    )


def can_be_judged(contrast: Contrast) -> bool:
    """Whether a contrast has texts enough for ``contrast_judge``."""
    train, held = ([_clean([item.response for item in pole]) for pole in part] for part in _thirds(contrast))
    return not _scarce(train, held)


def _thirds(contrast: Contrast) -> tuple[list[list[Example]], list[list[Example]]]:
    """Both poles of what a judge is trained on, and of the third that is held out."""
    plus, minus = ({item.group for item in pole} for pole in (contrast.plus, contrast.minus))
    held: set[str] = set()
    for groups in (plus - minus, minus - plus, plus & minus):  # ranked apart, so that each pole is cut in proportion
        ordered = sorted(groups, key=lambda group: hashlib.sha256(f"judge\x1f{group}".encode()).digest())
        held.update(ordered[: round(len(ordered) / 3)])
    train, kept = (
        [[item for item in pole if (item.group in held) is out] for pole in (contrast.plus, contrast.minus)]
        for out in (False, True)
    )
    return train, kept


Poles = tuple[list[str], list[str]]


def _clean(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _scarce(train: Sequence[list[str]], held: Sequence[list[str]]) -> list[tuple[str, int, int]]:
    """Of what a pole has too few texts: their use, how many there are, and how many it takes."""
    uses = (("training", min(map(len, train)), _FOLDS), ("held-out", min(map(len, held)), _HELD_OUT))
    return [(use, fewest, least) for use, fewest, least in uses if fewest < least]


def _check(name: str, train: Poles, held: Poles) -> None:
    for use, fewest, least in _scarce(train, held):
        raise TemperamentError(
            f"the local judge of {name} has {fewest} different {use} texts of one pole",
            f"give {least} or more per pole",
        )
    for first, second, where in (
        (train[0], train[1], "both poles of the training texts"),
        (held[0], held[1], "both poles of the held-out texts"),
        ([*train[0], *train[1]], [*held[0], *held[1]], "training and held-out texts"),
    ):
        shared = set(first) & set(second)
        if shared:
            raise TemperamentError(
                f"{len(shared)} texts of the local judge of {name} stand in {where}: {min(shared)[:40]!r}",
                "give every text once",
            )


def _labels(poles: Poles) -> NDArray[np.int64]:
    return np.repeat([1, 0], [len(poles[0]), len(poles[1])])


def _folds(poles: Poles, seed: int) -> NDArray[np.int64]:
    """The fold of every text: a seeded order per pole, the same one where texts of the poles are pairs."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(len(poles[0]))
    second = first if len(poles[0]) == len(poles[1]) else rng.permutation(len(poles[1]))
    return np.concatenate([first, second]) % _FOLDS


def _fit(vectors: Embeddings, labels: NDArray[np.int64], folds: NDArray[np.int64]) -> Any:
    """A fitted LogisticRegression."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, PredefinedSplit
    except ImportError as error:
        raise needs_judge(error) from None
    search = GridSearchCV(
        LogisticRegression(class_weight="balanced", max_iter=2000),
        {"C": list(_STRENGTHS)},
        scoring="neg_log_loss",
        cv=PredefinedSplit(folds),
    )
    return search.fit(vectors.astype(np.float64), labels).best_estimator_
