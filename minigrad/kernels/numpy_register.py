"""Which form runs for which convolution: the rules, in one place.

Measurements: docs/decisions/0007-numpy-convolution.md

0. 1x1, large planes                               -> numpy_pointwise: products of x as it lies
1. windows that touch without overlapping          -> numpy_strided: one product, channels last
2. 3x3, stride 1, many channels, large planes      -> numpy_winograd: fewer products
   (with numba: 5x5, fewer channels, small planes) -> numba_winograd: transforms compiled
   not where an exact sum is asked for: its sums hold more pixels, which cancel only to rounding
3. (with numba: many channels, or a stride that leaves a remainder or is dilated)
                                                   -> numba_direct: tiles read where the taps do
4. stride 1, one group                             -> numpy_conv: half unfolded
   other strides without dilation, one group       -> numpy_phases: stride 1 on phases of x
5. the rest (groups, stride with dilation)         -> the definition
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Replaceable
from minigrad.kernels import (
    compiled,
    numpy_conv,
    numpy_elementwise,
    numpy_phases,
    numpy_pointwise,
    numpy_resize,
    numpy_strided,
    numpy_winograd,
)
from minigrad.kernels.numpy_flat import Taps
from minigrad.layers import activation, conv, join, pool, resize
from minigrad.windows import Pair, Window

REAL = ("float32", "float64")


def _is_empty(*arrays: np.ndarray) -> bool:
    return any(a.size == 0 for a in arrays)


@conv.conv2d.register("numpy", *REAL)
def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    window: Window,
    groups: int = 1,
    exact: bool = False,
) -> np.ndarray:
    """The forward convolution."""
    count = window.count(*x.shape[2:])
    if groups > 1 or min(count) < 1 or _is_empty(x, weight):
        return NotImplemented
    if numpy_pointwise.covers(window, x.shape[2:], count):
        return numpy_pointwise.conv2d(x, weight, bias)
    if numpy_strided.covers(window):
        return numpy_strided.conv2d(x, weight, bias, window)
    if window.stride == (1, 1):
        form = None if exact else winograd(taps_of(window), weight.shape, count)
        if form is not None:
            return form.correlate(x, weight, bias, taps_of(window), count)
    other = direct(window, weight.shape)
    if other is None and window.stride == (1, 1):
        return numpy_conv.correlate(x, weight, bias, taps_of(window), count)
    return other.conv2d(x, weight, bias, window, count) if other else NotImplemented


@conv.conv2d_dx.register("numpy", *REAL)
def conv2d_dx(
    dy: np.ndarray,
    weight: np.ndarray,
    window: Window,
    groups: int,
    size: Pair,
    exact: bool = False,
) -> np.ndarray:
    """The cotangent of the input."""
    if groups > 1 or _is_empty(dy, weight):
        return NotImplemented
    if numpy_pointwise.covers(window, size, dy.shape[2:]):
        return numpy_pointwise.conv2d_dx(dy, weight)
    if numpy_strided.covers(window):
        return numpy_strided.conv2d_dx(dy, weight, window, size)
    if window.stride == (1, 1):
        form = None if exact else winograd(taps_of(window), weight.shape, size)
        if form is not None:
            return form.correlate_dx(dy, weight, taps_of(window), size)
    other = direct(window, weight.shape)
    if other is None and window.stride == (1, 1):
        return numpy_conv.correlate_dx(dy, weight, taps_of(window), size)
    return other.conv2d_dx(dy, weight, window, size) if other else NotImplemented


@conv.conv2d_dw.register("numpy", *REAL)
def conv2d_dw(dy: np.ndarray, x: np.ndarray, window: Window, groups: int) -> np.ndarray:
    """The cotangent of the weight."""
    if groups > 1 or _is_empty(dy, x):
        return NotImplemented
    if numpy_pointwise.covers(window, x.shape[2:], dy.shape[2:]):
        return numpy_pointwise.conv2d_dw(dy, x)
    if numpy_strided.covers(window):
        return numpy_strided.conv2d_dw(dy, x, window)
    shape = dy.shape[1], x.shape[1], *window.kernel
    if window.stride == (1, 1):
        form = winograd(taps_of(window), shape, dy.shape[2:])
        if form is not None:
            return form.correlate_dw(dy, x, taps_of(window))
    other = direct(window, shape)
    if other is None and window.stride == (1, 1):
        return numpy_conv.correlate_dw(dy, x, taps_of(window))
    return other.conv2d_dw(dy, x, window) if other else NotImplemented


@conv.conv2d_vjp.register("numpy", *REAL)
def conv2d_vjp(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    window: Window,
    groups: int,
    exact: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cotangents of input, weight and bias."""
    taps = taps_of(window)
    elsewhere = (  # conv2d_dx and conv2d_dw
        window.stride != (1, 1)
        or numpy_strided.covers(window)
        or direct(window, weight.shape) is not None
        or (not exact and winograd(taps, weight.shape, dy.shape[2:]) is not None)
    )
    if groups > 1 or elsewhere or _is_empty(dy, x, weight):
        return NotImplemented
    return numpy_conv.correlate_vjp(dy, x, weight, taps)


def winograd(taps: Taps, weight: tuple[int, ...], count: Pair) -> ModuleType | None:
    """The form with fewer products that pays for a weight of this shape and planes of `count`
    outputs.
    """
    if compiled.available():
        from minigrad.kernels import numba_winograd

        if numba_winograd.pays(taps, weight, count):
            return numba_winograd
    return numpy_winograd if numpy_winograd.pays(taps, weight, count) else None


def direct(window: Window, weight: tuple[int, ...]) -> ModuleType | None:
    """The form where `numpy_conv` would be slower or is for stride 1 alone. With numba: for many
    channels, for a dilated stride and for one that does not divide the kernel (`numpy_phases` would
    multiply zeros). Else `numpy_phases`, for a stride alone.
    """
    strided, dilated = window.stride != (1, 1), window.dilation != (1, 1)
    uneven = any(k % s for k, s in zip(window.kernel, window.stride, strict=True))
    if compiled.available():
        from minigrad.kernels import numba_direct

        if uneven or (strided and dilated) or numba_direct.pays(weight):
            return numba_direct
    return numpy_phases if strided and not dilated else None


def taps_of(window: Window) -> Taps:
    """The reads of a window of stride 1."""
    return Taps(window.kernel, window.dilation, window.padding[0], window.padding[2])


_pairs: tuple[tuple[Replaceable[..., Any], Callable[..., Any]], ...] = (
    (activation.relu, numpy_elementwise.relu),
    (activation.relu_dx, numpy_elementwise.relu_dx),
    (activation.leaky_relu, numpy_elementwise.leaky_relu),
    (activation.leaky_relu_dx, numpy_elementwise.leaky_relu_dx),
    (activation.prelu, numpy_elementwise.prelu),
    (activation.prelu_vjp, numpy_elementwise.prelu_vjp),
    (activation.sigmoid_dx, numpy_elementwise.sigmoid_dx),
    (join.concat, numpy_elementwise.concat),
    (pool.max_pool2d, numpy_resize.max_pool2d),
    (pool.max_pool2d_dx, numpy_resize.max_pool2d_dx),
    (resize.upsample_nearest, numpy_resize.upsample_nearest),
    (resize.upsample_nearest_dx, numpy_resize.upsample_nearest_dx),
)
for definition, kernel in _pairs:
    definition.register("numpy", *REAL)(kernel)
