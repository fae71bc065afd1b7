"""Sliding windows over random geometry: what holds for every stride, border, gap and size."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Window, fold, unfold
from tests.strategies import samples
from validation.against_torch import check_float64
from validation.cases import Sample, Variant, variant
from validation.numeric import adjoint
from validation.rows import ROWS

IN_PROOF = True
SLIDING = ["Unfold", "Fold", "Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d", "Upsample"]

UNCOVERED = {
    "Unfold": [variant((2, 3, 8, 9), kernel_size=2, stride=(4, 3))],
    "Fold": [variant((2, 18, 9), output_size=(5, 4), kernel_size=3, padding=(1, 2), stride=2)],
    "Conv2d": [
        variant((2, 4, 9, 8), in_channels=4, out_channels=4, kernel_size=2, stride=3, groups=2),
        variant((2, 2, 5, 6), in_channels=2, out_channels=3, kernel_size=3, stride=2),
        variant((2, 2, 7, 7), in_channels=2, out_channels=3, kernel_size=2, stride=4, dilation=2),
    ],
    "ConvTranspose2d": [
        variant((2, 2, 5, 6), in_channels=2, out_channels=3, kernel_size=1, padding=1),
        variant((2, 2, 5, 6), in_channels=2, out_channels=3, kernel_size=2, stride=3, padding=3),
    ],
    "MaxPool2d": [
        variant((2, 3, 8, 9), kernel_size=2, stride=(4, 3)),
        variant((2, 3, 8, 8), kernel_size=2, stride=3, ceil_mode=True),
    ],
    "AvgPool2d": [
        variant((2, 3, 8, 9), kernel_size=2, stride=(4, 3)),
        variant((2, 3, 8, 8), kernel_size=2, stride=3, ceil_mode=True),
    ],
    "Upsample": [
        variant((2, 3, 9, 8), size=(3, 5)),
        variant((2, 3, 7, 6), scale_factor=0.5),
        variant((2, 3, 9, 8), size=(3, 2), mode="bilinear"),
    ],
}
"""Settings with pixels that no output reads: a remainder of the stride, gaps, a cropped border."""

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, tuple[int, int]]:
    """A window with any border on each side, and an image that holds at least one."""
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    window = Window(draw(pairs), draw(pairs), padding, draw(st.tuples(*[st.integers(1, 3)] * 2)))
    (eh, ew), (top, bottom, left, right) = window.extent, padding
    h = max(1, eh - top - bottom) + draw(st.integers(0, 5))
    w = max(1, ew - left - right) + draw(st.integers(0, 5))
    return window, (h, w)


def by_pixel(x: np.ndarray, window: Window) -> np.ndarray:
    """Unfold as its definition says, one number at a time."""
    (n, c, h, w), (m, q) = x.shape, window.count(*x.shape[2:])
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    columns = np.zeros((n, c, kh, kw, m, q))
    for i, j, a, b in np.ndindex(kh, kw, m, q):
        row, column = a * sh + i * dh - window.padding[0], b * sw + j * dw - window.padding[2]
        if 0 <= row < h and 0 <= column < w:
            columns[:, :, i, j, a, b] = x[:, :, row, column]
    return columns.reshape(n, c * kh * kw, m * q)


@given(windows())
def test_unfold_reads_what_its_definition_says(geometry: tuple[Window, tuple[int, int]]) -> None:
    window, size = geometry
    x = np.random.default_rng(0).standard_normal((2, 2, *size))
    assert np.array_equal(unfold(x, window), by_pixel(x, window))


@given(windows())
def test_fold_is_the_transpose_of_unfold(geometry: tuple[Window, tuple[int, int]]) -> None:
    window, size = geometry
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 2, *size))
    columns = unfold(x, window)
    v = rng.standard_normal(columns.shape)
    left, right = (columns * v).sum(), (x * fold(v, window, size)).sum()
    bound = np.linalg.norm(columns) * np.linalg.norm(v) + 1e-300
    assert abs(left - right) <= 1e-12 * bound


@given(windows())
def test_fold_of_unfold_counts_the_windows_over_each_pixel(
    geometry: tuple[Window, tuple[int, int]],
) -> None:
    window, size = geometry
    x = np.random.default_rng(2).standard_normal((1, 1, *size))
    cover = fold(unfold(np.ones_like(x), window), window, size)
    np.testing.assert_allclose(fold(unfold(x, window), window, size), cover * x, rtol=1e-13)
    assert np.array_equal(cover, np.round(cover))


@given(windows(), pairs)
def test_fewer_windows_are_the_first_ones(
    geometry: tuple[Window, tuple[int, int]], less: tuple[int, int]
) -> None:
    window, size = geometry
    m, q = window.count(*size)
    count = max(1, m - less[0] + 1), max(1, q - less[1] + 1)
    x = np.random.default_rng(3).standard_normal((1, 2, *size))
    every = unfold(x, window).reshape(1, -1, m, q)
    first = unfold(x, window, count).reshape(1, -1, *count)
    assert np.array_equal(first, every[:, :, : count[0], : count[1]])


def cover(module: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many windows (Upsample: output pixels) read each entry of `x`; the shape broadcasts."""
    plane = np.ones((1, 1, *x.shape[2:]))
    if isinstance(module, mg.Fold):  # each entry of a column is added to a pixel, or to the border
        read = unfold(np.ones((1, 1, *module.output_size)), module.window)
        return np.tile(read, (1, x.shape[1] // read.shape[1], 1))
    if isinstance(module, mg.ConvTranspose2d):  # a pixel of x is what one window of y is made of
        read = unfold(np.ones((1, 1, *y.shape[2:])), module.window, x.shape[2:])
        return read.sum(1).reshape(plane.shape)
    if isinstance(module, mg.Upsample):  # each pixel alone in an image: where does it show?
        alone = np.eye(plane.size).reshape(-1, *plane.shape[1:])
        return (module.forward(alone) != 0).sum((1, 2, 3)).reshape(plane.shape)
    window, count = module.window, module.window.count(*x.shape[2:])
    if isinstance(module, mg.MaxPool2d | mg.AvgPool2d):
        count = y.shape[2:]  # ceil_mode: one more than fit
        window = dataclasses.replace(window, padding=wide_enough(window, count, x.shape[2:]))
    return fold(unfold(plane, window, count), window, x.shape[2:], count)


def wide_enough(window: Window, count: Any, size: Any) -> tuple[int, int, int, int]:
    """The border with which `count` windows fit."""
    top, bottom, left, right = window.padding
    ends = [(m - 1) * s + e for m, s, e in zip(count, window.stride, window.extent, strict=True)]
    return top, max(bottom, ends[0] - size[0] - top), left, max(right, ends[1] - size[1] - left)


@pytest.mark.parametrize("name", SLIDING)
def test_pixels_under_no_window_get_exactly_zero(name: str) -> None:
    """And moving them moves no output. Some sample must have such pixels."""
    found = []

    def check(sample: Sample) -> None:
        module, (x,) = sample.module(np.float64), sample.inputs(np.float64)
        y, vjp = module.forward_and_vjp(x)
        dx = vjp(np.random.default_rng(5).standard_normal(y.shape))
        uncovered = np.broadcast_to(cover(module, x, y) == 0, x.shape)
        assert not dx[uncovered].any()
        assert np.array_equal(module.forward(np.where(uncovered, x + 7, x)), y)
        found.append(uncovered.any())

    for settings in UNCOVERED[name]:
        check(Sample(ROWS[name], settings, 0))
    assert all(found)
    given(samples(name, values="normal"))(check)()


@given(samples("Conv2d", values="normal"))
def test_transposed_convolution_is_the_adjoint_of_convolution(sample: Sample) -> None:
    settings = dict(sample.settings.arguments)
    if isinstance(settings["padding"], str):
        return
    settings |= {"bias": False}
    size, window = sample.settings.shapes[0][2:], sample.module(np.float64).window
    m, q = window.count(*size)
    # The transposed layer must give the very image size: the remainder is its output padding.
    rest = [
        n - ((c - 1) * s - 2 * p + e)
        for n, c, s, p, e in zip(
            size, (m, q), window.stride, settings["padding"], window.extent, strict=True
        )
    ]
    if any(not r < max(s, d) for r, s, d in zip(rest, window.stride, window.dilation, strict=True)):
        return
    back = dict(settings, output_padding=tuple(rest))
    back["in_channels"], back["out_channels"] = settings["out_channels"], settings["in_channels"]
    forth = mg.Conv2d(**settings, dtype=np.float64)
    adjoint_layer = mg.ConvTranspose2d(**back, dtype=np.float64)
    adjoint_layer.weight[...] = forth.weight
    x = sample.inputs(np.float64)[0]
    y, vjp = forth.forward_and_vjp(x)
    dy = np.random.default_rng(4).standard_normal(y.shape)
    np.testing.assert_allclose(adjoint_layer(dy), vjp(dy), rtol=1e-10, atol=1e-12)


MODES: list[dict[str, Any]] = [
    {},
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
]


@given(
    *(st.integers(1, 12), st.integers(1, 40), st.integers(1, 12), st.integers(1, 40)),
    st.sampled_from(MODES),
)
def test_resize_picks_the_pixels_that_torch_picks(
    h: int, to_h: int, w: int, to_w: int, mode: dict[str, Any]
) -> None:
    settings = Variant({"size": (to_h, to_w), **mode}, ((1, 1, h, w),))
    check_float64(Sample(ROWS["Upsample"], settings, 0))
    adjoint(Sample(ROWS["Upsample"], settings, 0))


@given(
    *(st.integers(1, 12), st.integers(1, 12), st.floats(0.25, 4, width=16), st.floats(0.25, 4)),
    st.sampled_from(MODES),
)
def test_resize_by_any_factor(
    h: int, w: int, up: float, across: float, mode: dict[str, Any]
) -> None:
    factors = (max(up, 1 / h), max(across, 1 / w))
    settings = Variant({"scale_factor": factors, **mode}, ((1, 1, h, w),))
    if min(int(h * factors[0]), int(w * factors[1])) >= 1:
        check_float64(Sample(ROWS["Upsample"], settings, 0))


def test_bilinear_resizing_spreads_a_nan_no_further_than_its_neighbours() -> None:
    x = np.zeros((1, 1, 6, 6))
    x[0, 0, 2, 3] = np.nan
    y = mg.Upsample(scale_factor=2, mode="bilinear")(x)
    expected = np.zeros((12, 12), bool)
    expected[3:7, 5:9] = True
    assert np.array_equal(np.isnan(y[0, 0]), expected)


GRID = [
    (kernel, stride, padding, dilation, groups)
    for kernel in (1, 2, 3, 5)
    for stride in (1, 2, 3)
    for padding in (0, 1, 2)
    for dilation in (1, 2)
    for groups in (1, 2)
]


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_every_corner_of_the_convolution_grid(name: str) -> None:
    """All 144 combinations of kernel, stride, border, gap and groups, on small images."""
    for kernel, stride, padding, dilation, groups in GRID:
        settings = {
            "in_channels": 2 * groups,
            "out_channels": groups,
            "kernel_size": kernel,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        size = (9, 10) if name == "Conv2d" else (7, 6)
        if name == "ConvTranspose2d" and max(stride, dilation) > 1:
            settings["output_padding"] = max(stride, dilation) - 1
        sample = Sample(ROWS[name], Variant(settings, ((2, 2 * groups, *size),)), kernel)
        check_float64(sample)
