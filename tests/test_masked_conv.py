"""Convolutions with dead taps and with Keras' borders: what the comparison with PyTorch leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.layers.same_conv import same_border
from minigrad.windows import Window

KINDS = [mg.MaskedConv2d, mg.TrimmedConv2d]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [3, 5])
def test_no_pixel_sees_itself(kind: Any, kernel: int, rng: np.random.Generator) -> None:
    layer = kind(1, 1, kernel, padding=kernel // 2, dtype=np.float64)
    y, vjp = layer.forward_and_vjp(rng.standard_normal((1, 1, 6, 7)))
    dy = np.zeros_like(y)
    dy[0, 0, 3, 2] = 1
    seen = vjp(dy)[0, 0] != 0
    reach = kernel // 2
    expected = np.zeros((6, 7), bool)
    expected[max(0, 3 - reach) : 4 + reach, max(0, 2 - reach) : 3 + reach] = True
    expected[3, 2] = False
    assert np.array_equal(seen, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_entries_are_saved_and_neither_read_nor_moved(
    kind: Any, rng: np.random.Generator
) -> None:
    layer = kind(2, 3, 3, padding=1)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert layer.weight[:, :, 1, 1].all()  # drawn like the others
    x = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    y = layer.forward(x)
    layer.weight[:, :, 1, 1] = np.nan
    again, vjp = layer.forward_and_vjp(x)
    vjp(rng.standard_normal(y.shape).astype(np.float32))
    assert np.array_equal(y, again)
    assert not layer.d_weight[:, :, 1, 1].any() and layer.d_weight[:, :, 0, 0].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [tuple, list, np.array, lambda m: np.array(m, bool)])
def test_a_mask_may_be_any_table_of_zeros_and_ones(kind: Any, form: Any) -> None:
    taps = ((1, 0, 1), (0, 1, 1))
    layer = kind(1, 1, (2, 3), mask=form(taps))
    assert layer.mask == taps and f"mask={taps}" in repr(layer)
    assert "mask" not in repr(kind(1, 1, (2, 3), mask=form(((1, 1, 1), (1, 0, 1)))))


def test_a_mask_of_ones_is_a_plain_convolution(rng: np.random.Generator) -> None:
    plain = mg.Conv2d(2, 3, 3, stride=2, padding=1, dtype=np.float64)
    masked = mg.MaskedConv2d(2, 3, 3, stride=2, padding=1, mask=np.ones((3, 3)), dtype=np.float64)
    masked.load_state_dict(plain.state_dict())
    x = rng.standard_normal((2, 2, 7, 6))
    assert np.array_equal(plain(x), masked(x))
    assert plain.macs(x.shape) == masked.macs(x.shape)


def test_the_trimmed_sum_is_scaled_by_the_taps_it_has() -> None:
    layer = mg.TrimmedConv2d(1, 1, 3, padding=2, dtype=np.float64)
    layer.weight[...], layer.bias[...] = 1, 0.5
    y = layer.forward(np.ones((1, 1, 3, 3)))[0, 0]
    np.testing.assert_allclose(y, 9.5, rtol=1e-8)  # a corner has one live tap, the middle eight
    far = mg.TrimmedConv2d(1, 1, 3, padding=3, dtype=np.float64)
    far.weight[...], far.bias[...] = 1, 0.5
    y = far.forward(np.ones((1, 1, 3, 3)))[0, 0]
    assert not y[0].any() and not y[:, -1].any()  # no tap at all: not even the bias
    np.testing.assert_allclose(y[1:-1, 1:-1], 9.5, rtol=1e-8)


# ------------------------------------------------------------------ Keras' borders


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 9))
def test_the_border_is_the_least_that_gives_the_size(n: int, stride: int, extent: int) -> None:
    before, after = same_border(n, stride, extent)
    assert 0 <= after - before <= 1
    window = Window((extent, 1), (stride, 1), (before, after, 0, 0))
    outputs = -(-n // stride)
    assert window.count(n, 1)[0] == outputs
    if before + after:
        less = Window((extent, 1), (stride, 1), (before, after - 1, 0, 0))
        assert less.count(n, 1)[0] < outputs


@pytest.mark.parametrize("kernel", [1, 2, (3, 4)])
def test_with_stride_one_it_is_padding_same(kernel: Any, rng: np.random.Generator) -> None:
    how = {"kernel_size": kernel, "dilation": (1, 2), "dtype": np.float64}
    plain = mg.Conv2d(2, 3, padding="same", **how)
    layer = mg.SameConv2d(2, 3, **how)
    layer.load_state_dict(plain.state_dict())
    x = rng.standard_normal((2, 2, 6, 5))
    assert np.array_equal(layer(x), plain(x)) and layer.macs(x.shape) == plain.macs(x.shape)


@given(
    st.tuples(*[st.integers(1, 5)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 5)] * 2),
)
def test_they_are_each_others_adjoint(size: Any, stride: Any, kernel: Any) -> None:
    how = {"kernel_size": kernel, "stride": stride, "bias": False, "dtype": np.float64}
    down, up = mg.SameConv2d(2, 3, **how), mg.SameConvTranspose2d(3, 2, **how)
    up.weight[...] = down.weight
    rng = np.random.default_rng(0)
    small = rng.standard_normal((1, 3, *size))
    y, vjp = down.forward_and_vjp(rng.standard_normal(up(small).shape))
    assert y.shape == small.shape
    np.testing.assert_allclose(vjp(small), up(small), rtol=1e-12, atol=1e-13)


def test_weights_start_as_in_keras() -> None:
    layers = (
        mg.SameConv2d(8, 16, 3, groups=2, rng=np.random.default_rng(0)),
        mg.SameConvTranspose2d(16, 8, 3, groups=2, rng=np.random.default_rng(0)),
    )
    for layer, fans in zip(layers, (9 * (4 + 16), 9 * (16 + 4)), strict=True):
        bound = (6 / fans) ** 0.5
        assert 0.98 * bound < np.abs(layer.weight).max() <= bound
        assert layer.bias is not None and not layer.bias.any()
