"""Layers that draw: their laws, their modes, replay, and numbers that no two layers share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

BOTH = [mg.Dropout, mg.Dropout2d]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_p_and_the_rest_is_scaled(kind: Any, p: float) -> None:
    x = np.ones((100, 100, 3, 3), np.float32)
    y = kind(p, mg.Noise(1))(x)
    assert np.array_equal(np.unique(y), np.float32([0, 1 / (1 - p)]))
    share = (y == 0).mean()
    draws = y.size if kind is mg.Dropout else 10_000
    assert abs(share - p) < 5 * (p * (1 - p) / draws) ** 0.5


def test_dropout2d_drops_whole_channels() -> None:
    y = mg.Dropout2d(0.5, mg.Noise(1))(np.ones((4, 8, 3, 5)))
    assert np.array_equal(y, np.broadcast_to(y[:, :, :1, :1], y.shape))
    assert len(np.unique(y)) == 2


@pytest.mark.parametrize("kind", BOTH)
def test_nothing_is_drawn_where_nothing_is_random(kind: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 4))
    for layer in (kind(0.5, mg.Noise(1)).eval(), kind(0, mg.Noise(1))):
        y, vjp = layer.forward_and_vjp(x)
        assert y is x and vjp(x) is x and layer.noise.draw == 0


@pytest.mark.parametrize("kind", BOTH)
def test_with_p_one_all_is_dropped(kind: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 4))
    y, vjp = kind(1, mg.Noise(1)).forward_and_vjp(x)
    assert not y.any() and not vjp(x).any()


@pytest.mark.parametrize("kind", BOTH)
def test_masks_are_those_of_the_other_precision(kind: Any) -> None:
    x = np.ones((3, 4, 5, 6))
    assert np.array_equal(
        kind(0.3, mg.Noise(2))(x) == 0, kind(0.3, mg.Noise(2))(x.astype("f4")) == 0
    )


def test_given_masks_are_replayed(rng: np.random.Generator) -> None:
    """As zeros and ones, or scaled as they are multiplied."""
    mask = (rng.random((2, 3, 1, 1)) < 0.5).astype(np.float64)
    x = rng.standard_normal((2, 3, 4, 4))
    for stored in (mask, mask * 1.25):
        layer = mg.Dropout2d(0.2, mg.Noise.given([stored]))
        np.testing.assert_allclose(layer(x), x * mask * 1.25, rtol=1e-15)


@pytest.mark.parametrize("make", [mg.Dropout, mg.Dropout2d, mg.GaussianSample])
def test_layers_without_a_noise_do_not_share_their_numbers(make: Any) -> None:
    x = np.ones((4, 16, 4, 4))
    inputs = (x, x) if make is mg.GaussianSample else (x,)
    assert not np.array_equal(make()(*inputs), make()(*inputs))


def test_the_sample_has_its_mean_and_its_deviation() -> None:
    mu, s = np.full((200_000,), 3.0), 0.5
    for layer, spread in (
        (mg.GaussianSample(noise=mg.Noise(1)), 2 * np.log(s)),
        (mg.GaussianSample("std", mg.Noise(1)), s),
    ):
        z = layer.eval()(mu, np.full((1,), spread))
        assert z.mean() == pytest.approx(3, abs=0.006) and z.std() == pytest.approx(s, rel=0.01)


def test_a_thin_prior_gives_each_row_a_sample_of_its_own(rng: np.random.Generator) -> None:
    mu, spread = rng.standard_normal((1, 3)), rng.standard_normal((4, 3))
    z, vjp = mg.GaussianSample(noise=mg.Noise(1)).forward_and_vjp(mu, spread)
    dz = rng.standard_normal((4, 3))
    dmu, dspread = vjp(dz)
    assert z.shape == (4, 3) and len(np.unique(z)) == 12
    np.testing.assert_allclose(dmu, dz.sum(0, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(dspread, dz * (z - mu) / 2, rtol=1e-12)


def test_layers_of_one_noise_draw_one_after_the_other(rng: np.random.Generator) -> None:
    noise = mg.Noise(9).at(3)
    x = np.ones((2, 3, 4, 5))
    network = mg.Sequential(mg.Dropout(0.5, noise), mg.Dropout2d(0.5, noise))
    first = network(x)
    assert noise.draw == 2
    kept = mg.Noise(9).at(3)
    a, b = kept.uniform(x.shape) >= 0.5, kept.uniform((2, 3, 1, 1)) >= 0.5
    assert np.array_equal(first, 4.0 * (a & b))
    noise.rewind()
    assert np.array_equal(network(x), first)
    mg.check_vjp(network, rng.standard_normal(x.shape))
