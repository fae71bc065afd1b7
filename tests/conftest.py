"""Seeds, hypothesis profiles, the shared folder, and which tests the proof runs too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import tiny_training
from tests.shared import shared_folder
from zoo.train import TrainResult

# Examples per layer. `make test` uses "ci" unless told otherwise, `make proof` uses "proof".
for _name, _examples in (("dev", 10), ("ci", 25), ("proof", 500), ("thorough", 10_000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=_name != "dev",  # the same examples every time, except at the desk
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# The arrays of the tests are small: threads would only wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With MINIGRAD_PROOF set, modules that say `IN_PROOF = True` belong to the proof as well."""
    if os.environ.get("MINIGRAD_PROOF"):
        for item in items:
            if getattr(getattr(item, "module", None), "IN_PROOF", False):
                item.add_marker(pytest.mark.proof)


@pytest.fixture
def shared() -> Path:
    """The shared folder; skips, or fails with `CI` set, where it is absent."""
    return shared_folder()


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20180707)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> type:
    """Both precisions."""
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the tiny training."""
    return tiny_training.pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The tiny training, done once for a module."""
    run = tmp_path_factory.mktemp("runs") / "run"
    return tiny_training.fit(tiny_training.recipe(), data, run)
