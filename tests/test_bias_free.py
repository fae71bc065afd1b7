"""Networks without additive constants: f(a y) = a f(y) for a > 0, and so f(y) = J(y) y."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from minigrad.initialise import kaiming_normal

BIAS_FREE: dict[str, dict[str, Any]] = {
    "bf-dncnn": {"features": 6, "depth": 5},
    "bf-unet": {"features": 4},
    "bf-rcnn": {"features": 5, "hidden": 2},
    "bf-sdensenet": {"features": 5, "hidden": 2},
    "pcst-dncnn": {"features": 6, "depth": 5},
    "bf-unet residual": {"features": 4, "channels": 3, "residual": True},
}


@functools.cache
def network(name: str, **changes: Any) -> zoo.Denoiser:
    """In float64 and evaluation mode, with weights for which every layer matters."""
    model = zoo.create(name.split()[0], dtype=np.float64, **BIAS_FREE[name] | changes)
    return lively(model).eval()


def lively(model: zoo.Denoiser, seed: int = 7) -> zoo.Denoiser:
    """Convolutions that keep the size of a signal; all else (of norms, biases) about 1."""
    rng = np.random.default_rng(seed)
    for array in model.state_dict().values():
        if array.dtype.kind == "f" and array.squeeze().ndim > 1:
            array[...] = kaiming_normal(array.shape, rng, dtype=array.dtype)
        elif array.dtype.kind == "f":
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return model


def picture(model: zoo.Denoiser, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, model.channels, h, w))


@pytest.mark.parametrize("name", BIAS_FREE)
@given(h=st.integers(1, 20), w=st.integers(1, 20), exponent=st.floats(-8, 8))
def test_a_multiple_of_the_picture_gives_that_multiple(
    name: str, h: int, w: int, exponent: float
) -> None:
    model, a = network(name), 10.0**exponent
    y = picture(model, h, w)
    expected = a * model.forward(y)
    error = np.abs(model.forward(a * y) - expected).max()
    assert error <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("name", BIAS_FREE)
@given(h=st.integers(1, 16), w=st.integers(1, 16), seed=st.integers(0, 99))
def test_the_estimate_is_the_jacobian_times_the_picture(
    name: str, h: int, w: int, seed: int
) -> None:
    """<J' v, y> = <v, J y> = <v, f(y)> for every v."""
    model = network(name)
    y, v = picture(model, h, w, seed), picture(model, h, w, seed + 100) - 0.5
    f, vjp = model.forward_and_vjp(y)
    size = np.linalg.norm(v) * np.linalg.norm(f)
    assert abs((vjp(v) * y).sum() - (v * f).sum()) <= 1e-11 * size


@pytest.mark.parametrize("name", [n for n in BIAS_FREE if n != "pcst-dncnn"])
def test_with_biases_neither_holds(name: str) -> None:
    model = network(name, bias=True)
    y = picture(model, 12, 11)
    expected = 3 * model.forward(y)
    assert np.abs(model.forward(3 * y) - expected).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["bf-dncnn", "pcst-dncnn"])
def test_in_training_the_noise_estimate_forgets_the_contrast(name: str) -> None:
    """The batch's own deviation is divided out, so that only `y` itself grows."""
    model: Any = zoo.create(name, dtype=np.float64, **BIAS_FREE[name])
    y = picture(model, 12, 11)
    a, b = model.residual(1e4 * y), model.residual(2e4 * y)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(a).max())
