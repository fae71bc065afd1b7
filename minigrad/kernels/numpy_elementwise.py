"""Activations without branches, over pieces that stay in the cache.

`numpy.where` on a random mask costs 2.3 ns an element (it branches, and the branch is mispredicted
half of the time); multiplying the bits, taken as an integer, by the mask costs 0.3 ns and selects
exactly: bits * 1 are the bits, bits * 0 is zero, whatever the value (infinities and NaN included).

Every function goes image by image in pieces of `PIECE` numbers, so that its passes after the first
read the cache; the pieces go over threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minigrad.kernels.numpy_memory import empty, empty_like, in_order_of
from minigrad.kernels.numpy_threads import scratch, share
from minigrad.layers.activation import along_channels

T = TypeVar("T")

PIECE = 1 << 16  # numbers: 256 KiB of float32

SHARED = 16  # passes over pieces from which on threads gain more than waking one costs, 0.1 ms

_BITS: dict[int, np.dtype[Any]] = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


def in_pieces(work: Callable[[slice], T], x: np.ndarray, passes: int) -> list[T]:
    """`work` on slices of the first axis of `x` with about `PIECE` numbers each; the answers in the
    order of the slices.

    passes: how often `work` goes over its numbers, which tells whether threads are worth waking.
    """
    n = x.shape[0]
    each = max(1, PIECE * n // max(1, x.size))
    parts = [slice(first, min(first + each, n)) for first in range(0, n, each)]
    if passes * len(parts) < SHARED:
        return [work(part) for part in parts]
    return share(lambda job: work(parts[job]), len(parts))


def bits(x: np.ndarray) -> np.ndarray:
    """The same memory as integers."""
    return x.view(_BITS[x.dtype.itemsize])


def alike(*arrays: np.ndarray) -> bool:
    """Whether all have the same shape, at least one axis, and elements side by side (in any order
    of the axes).
    """
    first = arrays[0]
    return (
        first.ndim > 0
        and first.size > 0
        and all(a.shape == first.shape and min(a.strides) == a.itemsize for a in arrays)
    )


def temporary(slot: str, like: np.ndarray, dtype: np.dtype[Any] | type | None = None) -> np.ndarray:
    """Memory of this thread in the shape and the order of axes of `like`."""
    kind = like.dtype if dtype is None else np.dtype(dtype)
    return in_order_of(like, lambda shape: scratch(slot, shape, kind))


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    if not alike(x):
        return NotImplemented
    y = empty_like(x)
    in_pieces(lambda part: np.maximum(x[part], 0, out=y[part]), x, 1)
    return y


def relu_dx(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dy where y > 0, else 0: three passes."""
    if not alike(dy, y):
        return NotImplemented
    dx = empty_like(dy)

    def work(part: slice) -> None:
        # Not y > 0: where y is NaN, dy passes.
        positive = np.less_equal(y[part], 0, out=temporary("mask", y[part], bool))
        np.logical_not(positive, out=positive)
        np.multiply(bits(dy[part]), positive, out=bits(dx[part]))

    in_pieces(work, dy, 3)
    return dx


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """The larger of x and slope x where the slope is at most 1, else the smaller: two passes."""
    if slope == 0 or not alike(x):  # 0 times infinity is NaN
        return NotImplemented
    choose = np.maximum if slope <= 1 else np.minimum
    y = empty_like(x)

    def work(part: slice) -> None:
        out = np.multiply(x[part], slope, out=y[part])
        choose(x[part], out, out=out)

    in_pieces(work, x, 2)
    return y


def leaky_relu_dx(dy: np.ndarray, positive: np.ndarray, slope: float) -> np.ndarray:
    """dx = p + slope (dy - p), p being dy where positive, else 0; the difference is taken in the
    bits.
    """
    if not alike(dy):
        return NotImplemented
    dx = empty_like(dy)

    def work(part: slice) -> None:
        rest = _split(dy[part], positive[part], dx[part])
        rest *= slope
        dx[part] += rest

    in_pieces(work, dy, 4)
    return dx


def _split(dy: np.ndarray, positive: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """dx = dy where positive, else 0; the rest of dy, in scratch memory."""
    kept = np.multiply(bits(dy), positive, out=bits(dx))
    rest = temporary("rest", dy)
    np.subtract(bits(dy), kept, out=bits(rest))
    return rest


def prelu(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """max(x, 0) + a min(x, 0): four passes."""
    if not alike(x):
        return NotImplemented
    slopes = along_channels(weight, x)
    y = empty_like(x)

    def work(part: slice) -> None:
        negative = np.minimum(x[part], 0, out=temporary("rest", x[part]))
        negative *= slopes
        out = np.maximum(x[part], 0, out=y[part])
        out += negative

    in_pieces(work, x, 4)
    return y


def prelu_vjp(dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx as `leaky_relu_dx`; the sums of dy x over x <= 0 by one inner product for each plane."""
    if x.ndim != 4 or not alike(dy, x):
        return NotImplemented
    slopes = along_channels(weight, x)
    dx = empty_like(dy)

    def work(part: slice) -> np.ndarray:
        positive = np.greater(x[part], 0, out=temporary("mask", x[part], bool))
        rest = _split(dy[part], positive, dx[part])
        # The minimum, not x: 0 times infinity would be NaN.
        negative = np.minimum(x[part], 0, out=temporary("negative", x[part]))
        sums = np.einsum("nchw,nchw->c", rest, negative)
        rest *= slopes
        dx[part] += rest
        return sums

    sums = np.sum(in_pieces(work, x, 7), axis=0, dtype=dy.dtype)
    return dx, sums if weight.size > 1 or sums.size == 1 else sums.sum(keepdims=True)


def sigmoid_dx(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dy y (1 - y), two of its three passes in place."""
    if dy.ndim == 0:
        return NotImplemented
    dx = 1 - y
    dx *= y
    dx *= dy
    return dx


def concat(*xs: np.ndarray, dim: int) -> np.ndarray:
    """Channels side by side, a few images at a time."""
    alike_but_for_channels = len({(x.shape[:1], x.shape[2:], x.dtype) for x in xs}) == 1
    if dim != 1 or xs[0].ndim < 2 or xs[0].size == 0 or not alike_but_for_channels:
        return NotImplemented
    widths = [x.shape[1] for x in xs]
    y = empty((len(xs[0]), sum(widths), *xs[0].shape[2:]), xs[0].dtype)
    in_pieces(lambda part: np.concatenate([x[part] for x in xs], axis=1, out=y[part]), y, 2)
    return y
