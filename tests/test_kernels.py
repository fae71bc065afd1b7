"""Every registered NumPy kernel against the definition that it replaces, over random geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import definitions_only
from minigrad.layers import activation, conv, join, pool, resize
from minigrad.windows import Window
from tests.kernel_checks import (
    check,
    convolution,
    few,
    largest,
    layouts,
    noise,
    pairs,
    seeds,
    shapes,
    windows,
)

pytest.importorskip("minigrad.kernels")

from minigrad.kernels import compiled, numpy_flat, numpy_strided, numpy_winograd


@pytest.fixture(autouse=True, scope="module")
def without_numba() -> Iterator[None]:
    """The forms in NumPy; the compiled ones have a file of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "available", lambda: False)
        yield


# --------------------------------------------------------------------------- convolution


@few
@given(
    shapes,
    windows(),
    st.integers(1, 5),
    st.booleans(),
    layouts,
    st.sampled_from([5, 40, 1024]),
    seeds,
)
@example((2, 3, 7, 6), Window((3, 3), (1, 1), (1, 1, 1, 1)), 4, True, "rows", 1024, 0)
@example((1, 2, 1, 1), Window((3, 3), (1, 1), (4, 4, 4, 4)), 2, True, "rows", 5, 0)
@example((2, 3, 9, 9), Window((4, 4), (2, 2), (1, 2, 0, 3)), 2, False, "gaps", 40, 0)
@example((2, 9, 9, 9), Window((2, 2), (2, 2)), 9, True, "channels last", 40, 0)
@example((1, 1, 9, 9), Window((3, 3), (1, 1), (1, 1, 1, 1), (2, 2)), 40, True, "rows", 40, 0)
def test_convolution(
    shape: tuple[int, int, int, int],
    window: Window,
    k: int,
    has_bias: bool,
    layout: str,
    strip: int,
    seed: int,
) -> None:
    rng, size = np.random.default_rng(seed), shape[2:]
    x, weight, bias, dy = convolution(shape, window, k, has_bias, layout, rng, fewer=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_flat, "STRIP", strip)
        patch.setattr(numpy_flat, "WIDTH", 1 + seed % 7)
        patch.setattr(numpy_strided, "BLOCK", strip)
        check(conv.conv2d, x, weight, bias, window, 1)
        check(conv.conv2d_dx, dy, weight, window, 1, size)
        check(conv.conv2d_dw, dy, x, window, 1)
        if window.stride == (1, 1) and window.kernel != (1, 1):
            check(conv.conv2d_vjp, dy, x, weight, window, 1)


@few
@given(
    shapes,
    st.tuples(*[st.integers(0, 5)] * 4),
    pairs,
    st.integers(1, 5),
    st.booleans(),
    layouts,
    st.sampled_from([(1, 1), (300, 2), (3000, 3), (1 << 21, 128)]),
    seeds,
)
@example((1, 2, 1, 1), (4, 4, 4, 4), (4, 4), 2, True, "rows", (1, 1), 0)
@example((3, 2, 4, 2), (5, 0, 0, 5), (1, 1), 3, True, "gaps", (1 << 21, 128), 0)
@example((1, 1, 1, 3), (2, 0, 2, 0), (1, 2), 1, False, "rows", (1, 1), 0)
def test_convolution_with_fewer_products(
    shape: tuple[int, int, int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    k: int,
    has_bias: bool,
    layout: str,
    block: tuple[int, int],
    seed: int,
) -> None:
    rng, size = np.random.default_rng(seed), shape[2:]
    window = Window((3, 3), (1, 1), padding, dilation)
    x, weight, bias, dy = convolution(shape, window, k, has_bias, layout, rng)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("CHANNELS", 1),
            ("SIDE", 0),
            ("SCRATCH", block[0]),
            ("WIDE", block[1]),
        ):
            patch.setattr(numpy_winograd, name, value)
        patch.setattr(numpy_winograd, "TILES", 1)
        numpy_winograd.blocks.cache_clear()
        for function, args in (
            (conv.conv2d, (x, weight, bias, window, 1)),
            (conv.conv2d_dx, (dy, weight, window, 1, size)),
            (conv.conv2d_dw, (dy, x, window, 1)),
            (conv.conv2d_vjp, (dy, x, weight, window, 1)),
        ):
            # The transforms add pixels and taps up that not every output reads.
            check(function, *args, terms=tuple(map(largest, args)))
    numpy_winograd.blocks.cache_clear()


@few
@given(windows(), st.integers(2, 3), pairs, seeds)
def test_convolution_in_groups(
    window: Window, groups: int, each: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    assume(min(window.count(8, 7)) > 0)
    x = noise(rng, (2, groups * each[0], 8, 7))
    weight = noise(rng, (groups * each[1], each[0], *window.kernel))
    dy = noise(rng, (2, len(weight), *window.count(8, 7)))
    check(conv.conv2d, x, weight, None, window, groups)
    check(conv.conv2d_dx, dy, weight, window, groups, (8, 7))
    check(conv.conv2d_dw, dy, x, window, groups)
    check(conv.conv2d_vjp, dy, x, weight, window, groups)


@pytest.mark.parametrize(
    "sizes",
    [(16, 32, 16, 64), (16, 64, 2, 32), (5, 67, 32, 32), (3, 21, 33, 3), (2, 64, 61, 64)],
)
def test_float32_on_the_layers_of_a_unet(sizes: tuple[int, int, int, int]) -> None:
    n, c, side, k = sizes
    rng, window = np.random.default_rng(0), Window((3, 3), (1, 1), (1, 1, 1, 1))
    x, dy = noise(rng, (n, c, side, side)), noise(rng, (n, k, side, side))
    weight, bias = noise(rng, (k, c, 3, 3)), noise(rng, (k,))
    check(conv.conv2d, x, weight, bias, window, 1)
    check(conv.conv2d_dx, dy, weight, window, 1, (side, side))
    check(conv.conv2d_dw, dy, x, window, 1)
    check(conv.conv2d_vjp, dy, x, weight, window, 1)


def test_a_pixel_that_is_not_finite_reaches_its_own_windows_only() -> None:
    rng, window = np.random.default_rng(0), Window((3, 3), (1, 1), (1, 1, 1, 1))
    x, weight = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3))
    conv.conv2d(x * np.nan, weight, None, window, 1)  # leaves nothing behind in the scratch memory
    y = conv.conv2d(x, weight, None, window, 1)
    np.testing.assert_allclose(y, conv.conv2d.definition(x, weight, None, window, 1), rtol=1e-12)
    x[0, 1, 0, 5] = np.inf
    reached = ~np.isfinite(conv.conv2d(x, weight, None, window, 1)).all(1)
    assert reached[0, :2, 4:].all() and reached.sum() == 4


@pytest.mark.parametrize("jobs", [1, 2, 7])
@pytest.mark.parametrize("channels", [1, 100])  # with fewer products, and without
def test_results_do_not_depend_on_the_threads(
    jobs: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threadpoolctl import threadpool_limits

    monkeypatch.setattr(numpy_flat, "STRIP", 512 // jobs)
    monkeypatch.setattr(numpy_flat, "WIDTH", 8)
    monkeypatch.setattr(numpy_winograd, "SCRATCH", (1 << 19) // jobs)
    monkeypatch.setattr(numpy_winograd, "CHANNELS", channels)
    rng, window = np.random.default_rng(0), Window((3, 3), (1, 1), (1, 1, 1, 1))
    x = rng.standard_normal((8, 16, 12, 12)).astype(np.float32)
    weight = rng.standard_normal((24, 16, 3, 3)).astype(np.float32)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            y = conv.conv2d(x, weight, None, window, 1)
            dw = conv.conv2d_dw(y, x, window, 1)
            results.append((y, dw, *conv.conv2d_vjp(y, x, weight, window, 1)))
    for name, one, two in zip(("y", "dw", "dx", "dw of both", "db"), *results, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


# --------------------------------------------------------------------------- elementwise, resizing


@few
@given(shapes, layouts, layouts, st.floats(0, 2), seeds)
def test_activations(
    shape: tuple[int, int, int, int], layout: str, other: str, slope: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = noise(rng, shape, layout).copy(order="K")
    x.flat[:: 1 + seed % 5] = 0.0
    x.flat[1 :: 3 + seed % 5] = -0.0
    x.flags.writeable = False
    dy = noise(rng, shape, other)
    check(activation.relu, x, copies=True)
    check(activation.relu_dx, dy, np.maximum(x, 0), copies=True)
    check(activation.leaky_relu, x, slope)
    check(activation.leaky_relu_dx, dy, x > 0, slope)
    for weight in (noise(rng, (shape[1],)), noise(rng, (1,)), np.array([0.25])):
        check(activation.prelu, x, weight)
        check(activation.prelu_vjp, dy, x, weight, terms=(abs(dy), -abs(x), abs(weight)))
    check(activation.sigmoid_dx, dy, 1 / (1 + np.exp(-x)), terms=(abs(dy), x * 0 + 0.5))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (3, 4), (2, 3, 0, 2), (2, 3, 4)])
def test_activations_of_any_rank(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, dy = (np.asarray(rng.standard_normal(shape)) for _ in range(2))
    weight = np.array([0.25])
    check(activation.relu, x)
    check(activation.relu_dx, dy, x)
    check(activation.leaky_relu, x, 0.1)
    check(activation.leaky_relu_dx, dy, x > 0, 0.1)
    check(activation.prelu, x, weight)
    check(activation.prelu_vjp, dy, x, weight)
    check(activation.sigmoid_dx, dy, x, terms=(abs(dy), x * 0 + 2))


@few
@given(shapes, st.lists(st.integers(0, 4), max_size=3), layouts, seeds)
def test_concat(
    shape: tuple[int, int, int, int], widths: list[int], layout: str, seed: int
) -> None:
    rng, (n, c, h, w) = np.random.default_rng(seed), shape
    xs = [noise(rng, (n, k, h, w), layout) for k in (c, *widths)]
    for dim in (1, -3):
        assert np.array_equal(join.concat(*xs, dim=dim), np.concatenate(xs, axis=1))
    assert np.array_equal(join.concat(xs[0], xs[0], dim=2), np.concatenate([xs[0]] * 2, axis=2))
    with pytest.raises(ValueError, match="dimension"):
        join.concat(xs[0], np.zeros((n, 1, h + 1, w)), dim=1)


def test_prelu_with_infinities() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, -0.0, 2.0, -2.0]])
    for slope in (0.25, 0.0, -1.0, 2.0):
        with np.errstate(invalid="ignore"):
            expected = activation.prelu.definition(x, np.array([slope]))
            assert np.array_equal(activation.prelu(x, np.array([slope])), expected, equal_nan=True)


def test_relu_dx_selects_whatever_the_value() -> None:
    dy = np.array([np.inf, np.nan, -np.inf, np.nan, 1.0])
    y = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    assert np.array_equal(activation.relu_dx(dy, y), [0, 0, -np.inf, np.nan, 1], equal_nan=True)


@few
@given(shapes, layouts, st.one_of(st.just(Window((2, 2), (2, 2))), windows()), seeds)
def test_max_pooling(
    shape: tuple[int, int, int, int], layout: str, window: Window, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = window.count(*shape[2:])
    assume(min(count) > 0)
    x = np.round(noise(rng, shape, layout))  # ties
    check(pool.max_pool2d, x, window, count, copies=True)
    index = pool.max_pool2d.definition(x, window, count)[1]
    dy = noise(rng, index.shape, layout)
    check(pool.max_pool2d_dx, dy, index, window, shape[2:])


def test_max_pooling_gives_a_nan_its_place() -> None:
    values = [0.0, 1.0, np.nan]
    x = np.array(np.meshgrid(*[values] * 4)).reshape(4, 81).T.reshape(81, 1, 2, 2)
    window = Window((2, 2), (2, 2))
    for got, expected in zip(
        pool.max_pool2d(x, window, (1, 1)),
        pool.max_pool2d.definition(x, window, (1, 1)),
        strict=True,
    ):
        assert np.array_equal(got, expected, equal_nan=got.dtype.kind == "f")


@few
@given(shapes, layouts, pairs, seeds)
def test_upsampling(
    shape: tuple[int, int, int, int], layout: str, scale: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    check(resize.upsample_nearest, noise(rng, shape, layout), scale, copies=True)
    n, c, h, w = shape
    check(resize.upsample_nearest_dx, noise(rng, (n, c, h * scale[0], w * scale[1]), layout), scale)


# --------------------------------------------------------------------------- the room as a whole


def gradients(make: Callable[[np.random.Generator], mg.Module], x: np.ndarray) -> list[np.ndarray]:
    """Output, input cotangent and parameter cotangents of a network with fixed weights."""
    net = make(np.random.default_rng(0)).astype(np.float64)
    net.zero_grad()
    y, vjp = net.forward_and_vjp(x)
    return [y, vjp(np.cos(y)), *(p.grad for p in net.parameters())]


def test_networks_are_the_same_without_kernels() -> None:
    def make(rng: np.random.Generator) -> mg.Module:
        return mg.Sequential(
            mg.Conv2d(3, 12, 2, 2, rng=rng),
            mg.ReLU(),
            mg.Conv2d(12, 5, 3, padding=1, rng=rng),
            mg.PReLU(5),
            mg.MaxPool2d(2),
            mg.Upsample(scale_factor=2),
            mg.ConvTranspose2d(5, 9, 4, 2, 1, rng=rng),
            mg.LeakyReLU(0.1),
            mg.ConvTranspose2d(9, 2, 2, 2, rng=rng),
            mg.Sigmoid(),
        )

    x = noise(np.random.default_rng(1), (2, 3, 16, 12))
    fast = gradients(make, x)
    with definitions_only():
        plain = gradients(make, x)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
