"""The error function against Python's own, and edges of the smooth layers that no row can hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.layers.noise_models import _deviation
from minigrad.special import erf, erfc

EDGES = [0.0, -0.0, 0.46875, 4.0, 28.0, 1e-300, 1e-9, np.nextafter(0.46875, 1), np.nextafter(4, 5)]
POINTS = np.concatenate([np.linspace(-7, 7, 20_001), np.linspace(-30, 30, 5_001), EDGES])


@pytest.mark.parametrize(
    ("ours", "python"), [(erf, math.erf), (erfc, math.erfc)], ids=["erf", "erfc"]
)
def test_error_function(ours: np.ufunc, python: np.ufunc) -> None:
    expected = np.array([python(x) for x in POINTS])
    actual = ours(POINTS)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-15, atol=1e-307)  # below: denormal
    single = ours(POINTS.astype(np.float32))
    assert single.dtype == np.float32
    exact = ours(POINTS.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(single, exact, rtol=1e-6, atol=1e-37)


@pytest.mark.filterwarnings("error")
def test_error_function_of_what_is_no_number() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1e300])
    np.testing.assert_array_equal(erf(x), [1, -1, np.nan, 1])
    np.testing.assert_array_equal(erfc(x), [0, 2, np.nan, 0])


def test_tails_of_gelu_have_their_digits() -> None:
    x = np.array([-8.0, -20.0, -35.0])
    y, vjp = mg.GELU().forward_and_vjp(x)
    np.testing.assert_allclose(y, [a * 0.5 * math.erfc(-a / math.sqrt(2)) for a in x], rtol=1e-12)
    slope = [
        0.5 * math.erfc(-a / math.sqrt(2)) + a * math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
        for a in x
    ]
    np.testing.assert_allclose(vjp(np.ones(3)), slope, rtol=1e-12)


@pytest.mark.parametrize("layer", [mg.ELU(), mg.SELU(), mg.Tanh(), mg.Softplus(), mg.GELU()])
@pytest.mark.parametrize("n", [1, 9, 64])
def test_nan_stays_nan_on_both_ways(layer: mg.Module, n: int) -> None:
    y, vjp = layer.forward_and_vjp(np.full(n, np.nan))
    assert np.isnan(y).all() and np.isnan(vjp(np.ones(n))).all()


@pytest.mark.parametrize(
    "layer", [mg.ELU(), mg.SELU(), mg.Tanh(), mg.Softplus(2.0), mg.GELU(), mg.GELU("tanh")]
)
@pytest.mark.filterwarnings("error")
def test_huge_numbers_overflow_nowhere(layer: mg.Module, dtype: type) -> None:
    x = np.array([1e30, -1e30, 1e4, -1e4], dtype)
    y, vjp = layer.forward_and_vjp(x)
    assert np.isfinite(y).all() and np.isfinite(vjp(np.ones_like(x))).all()


def test_softplus_is_linear_above_its_threshold() -> None:
    x = np.array([19.9, 20.0, 20.1])
    y, vjp = mg.Softplus().forward_and_vjp(x)
    assert [*(y > x)] == [True, True, False]
    assert [*(vjp(np.ones(3)) < 1)] == [True, True, False]


def test_softplus_has_its_digits_where_it_is_small() -> None:
    x = np.array([-700.0, -40.0, -1.0])
    y = mg.Softplus()(x)
    np.testing.assert_allclose(y, [math.log1p(math.exp(a)) for a in x], rtol=1e-14)


def test_the_mean_of_no_numbers_is_nan() -> None:
    y, vjp = mg.Mean(1).forward_and_vjp(np.ones((2, 0, 3)))
    assert y.shape == (2, 3) and np.isnan(y).all()
    assert vjp(np.ones((2, 3))).shape == (2, 0, 3)


def test_one_vector_through_linear(rng: np.random.Generator) -> None:
    layer = mg.Linear(4, 3, dtype=np.float64, rng=rng)
    x, dy = rng.standard_normal(4), rng.standard_normal(3)
    y, vjp = layer.forward_and_vjp(x)
    np.testing.assert_allclose(y, layer.weight @ x + layer.bias, rtol=1e-14)
    np.testing.assert_allclose(vjp(dy), layer.weight.T @ dy, rtol=1e-14)
    np.testing.assert_allclose(layer.d_weight, np.outer(dy, x), rtol=1e-14)
    assert layer.macs((4,)) == 12 and layer.macs((2, 5, 4)) == 120


def test_linear_starts_within_the_bounds_of_torch(rng: np.random.Generator) -> None:
    layer = mg.Linear(400, 300, rng=rng)
    for array in (layer.weight, layer.bias):
        assert array.dtype == np.float32 and np.abs(array).max() <= 1 / 20
    assert layer.weight.var() == pytest.approx(1 / (3 * 400), rel=0.02)
    assert mg.Linear(2, 2, bias=False).state_dict().keys() == {"weight"}


def test_factors_start_at_one() -> None:
    assert mg.LearnedScale(3).weight.tolist() == [1, 1, 1]
    assert mg.LearnedScale(init=0.25).weight.tolist() == [0.25]


def test_deviation_from_a_mean_that_one_weight_decides() -> None:
    """q - mean(q) of the heaviest is a difference of nearly equal numbers, of which all digits are
    right.
    """
    t, q = 2.0**-40, np.array([1e6, 1e6 + 1])[:, None]
    for weights, expected in (((1 - t, t), (-t, 1 - t)), ((t, 1 - t), (t - 1, t))):
        found = _deviation(np.array(weights)[:, None], q)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-15)
