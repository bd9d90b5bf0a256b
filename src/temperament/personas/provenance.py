"""Where a persona comes from, as plain JSON values."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from temperament.calibration import Contrast, RolePlay
from temperament.models import LoadedModel
from temperament.signatures import Pair


def provenance(lm: LoadedModel, data: Contrast | RolePlay, pair: Pair) -> dict[str, Any]:
    """Model, tokenizer, data, signatures and versions."""
    source = pair.provenance.get("source")
    return {
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "family": lm.family.name,
            "fingerprint": lm.fingerprint,
        },
        "tokenizer": lm.tokenizer_hash,
        "template": lm.template_hash,
        "data": {
            "name": data.name,
            "split": data.split,
            "hash": data.hash,
            "licence": data.licence,
            "items": data.items,
            "tokens": pair.tokens,
            "counted": pair.provenance.get("tokens", ""),
            "seed": pair.provenance.get("seed", ""),
            **({"source": source} if source else {}),
        },
        "signatures": pair.hash,
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    return {name: _version(name) for name in ("temperament", "torch", "transformers", "numpy")}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
