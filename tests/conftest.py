"""What the tests share: tiny models of every family, loaded once, and the folder of public data where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is imported

import pytest
import torch
from routing import views
from tiny import MIXTURES, MODEL_TYPES, make_tiny
from wearing import left_as_found

from temperament.calibration import Contrast, resolve_contrast
from temperament.models import LoadedModel, load_model
from temperament.personas import Extraction, extract


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: uses a real model")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """One thread for tiny models: on a busy machine waiting for a second one takes ten times the work itself.

    One for real models too where tests run in several processes.
    """
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    torch.set_num_threads(2 if alone and item.get_closest_marker("slow") else 1)


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved tiny model with tokenizer and chat template for every ``model_type`` of the table."""
    root = tmp_path_factory.mktemp("tiny")
    return {model_type: make_tiny(root / model_type, model_type) for model_type in MODEL_TYPES}


@pytest.fixture(scope="session", params=MODEL_TYPES)
def tiny_model(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]) -> LoadedModel:
    """Every family in turn, float32 on the CPU; shared, so leave it as it was found.

    ``@pytest.mark.parametrize("tiny_model", ["llama", "gpt2"], indirect=True)`` picks some families.
    """
    return _load(tiny_folders[request.param])


@pytest.fixture(scope="session")
def tiny_llama(tiny_folders: dict[str, Path]) -> LoadedModel:
    """A Llama, float32 on the CPU; shared, so leave it as it was found."""
    return _load(tiny_folders["llama"])


@pytest.fixture
def fresh_llama(tiny_folders: dict[str, Path]) -> LoadedModel:
    """The Llama loaded for this test alone, which may break it."""
    return _load(tiny_folders["llama"])


@pytest.fixture(scope="module", params=MIXTURES)
def loaded_mixture(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]) -> LoadedModel:
    """Every mixture of experts in turn; leave it as it was found."""
    return _load(tiny_folders[request.param])


@pytest.fixture
def mixture(loaded_mixture: LoadedModel) -> Iterator[LoadedModel]:
    """The same; a test that does not leave it as it was found fails."""
    with left_as_found(loaded_mixture):
        yield loaded_mixture
    assert all("forward" not in vars(block.module) for block in loaded_mixture.sites.experts)
    assert all(not view._forward_hooks and not view._forward_pre_hooks for view in views(loaded_mixture).values())


@pytest.fixture
def fresh_mixtral(tiny_folders: dict[str, Path]) -> LoadedModel:
    """A Mixtral for this test alone, which may break it."""
    return _load(tiny_folders["mixtral"])


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of published data sets that ``$TEMPERAMENT_DATA`` names."""
    name = os.environ.get("TEMPERAMENT_DATA")
    if not name:
        pytest.skip("TEMPERAMENT_DATA is not set: the published data sets are not here")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"TEMPERAMENT_DATA={name!r} is not a folder")
    return folder


@pytest.fixture(scope="session")
def tiny_extraction(tiny_llama: LoadedModel) -> Extraction:
    """Both personas of eight calibration texts per pole of a built-in trait, on ``tiny_llama``."""
    return extract(tiny_llama, resolve_contrast("extraversion", limit=8), sparsity=0.3)


@pytest.fixture(scope="session")
def few_texts() -> Contrast:
    """Six test texts per pole of the same trait."""
    return resolve_contrast("extraversion#test", limit=6)


@pytest.fixture(scope="session")
def short_neutral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A neutral text of five short passages."""
    path = tmp_path_factory.mktemp("neutral") / "neutral.txt"
    path.write_text("\n".join(f"The tide comes in twice a day on most coasts of the world. {i}" for i in range(5)))
    return path


def _load(folder: Path) -> LoadedModel:
    model: LoadedModel = load_model(str(folder), dtype="float32", device="cpu")
    return model
