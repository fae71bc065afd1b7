"""Convolution of any stride and dilation: a strip is unfolded by a compiled loop, then multiplied.

    L[(i, j, c), p] = x[c, s_h m + d_h i - top, s_w q + d_w j - left],   p = (m, q) of the strip
    y = W L        dw = dy L'        dx = the sums that L' W' dy says, added where L was read

A strip has few enough pixels for L to stay in the second cache. The products are added to dx by the
strip that owns its rows: outputs that two strips need are multiplied twice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import uint64

from minigrad.kernels.numba_loops import clear, copy, copy_between_zeros, loop, readable
from minigrad.kernels.numpy_conv import matrix_of, ordered_sum
from minigrad.kernels.numpy_flat import part_length
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import runs, scratch, share
from minigrad.windows import Pair, Window

SCRATCH = 1 << 20  # bytes of an unfolded strip, about: the second cache
PIXELS = 256  # of a strip, at least
GROUPS = 8  # partial sums of the weight's cotangent


class Strip(NamedTuple):
    """Images n0..n1 - 1, rows r0..r1 - 1: of y, or of dx where that is written."""

    n0: int
    n1: int
    r0: int
    r1: int


@lru_cache(maxsize=1024)
def strips(n: int, size: Pair, pixels: int) -> tuple[Strip, ...]:
    """Cut planes of `size` into strips of about so many pixels, by shape alone."""
    height, width = size
    tall = part_length(height, max(1, pixels // width))
    each = (
        part_length(n, max(1, min(pixels // (height * width), -(-n // 2)))) if tall == height else 1
    )
    return tuple(
        Strip(a, min(a + each, n), row, min(row + tall, height))
        for a in range(0, n, each)
        for row in range(0, height, tall)
    )


def _pixels(rows: int, itemsize: int) -> int:
    return max(PIXELS, SCRATCH // (rows * itemsize))


def _geometry(window: Window) -> tuple[int, ...]:
    """What the compiled loops are told of a window."""
    top, _, left, _ = window.padding
    return (*window.kernel, *window.stride, *window.dilation, top, left)


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, count: Pair
) -> np.ndarray:
    """x (N, C, H, W), weight (K, C, k_h, k_w) -> (N, K, M, Q)."""
    matrix = matrix_of(weight, everything=True)  # (k, (i, j, c))
    k, rows = matrix.shape
    x, y = readable(x), empty((len(x), k, *count), x.dtype)
    cut, told = strips(len(x), count, _pixels(rows, x.itemsize)), _geometry(window)

    def work(job: int) -> None:
        n0, n1, r0, r1 = cut[job]
        pixels = (r1 - r0) * count[1]
        unfolded = scratch("unfolded", (rows, (n1 - n0) * pixels), x.dtype)
        _unfold(x, unfolded, tuple(cut[job]), count[1], told, _phases(window, x))
        products = scratch("products", (k, (n1 - n0) * pixels), x.dtype)
        matmul(matrix, unfolded, out=products)
        total = products.reshape(k, n1 - n0, pixels).transpose(1, 0, 2)
        place = y[n0:n1].reshape(n1 - n0, k, -1)[:, :, r0 * count[1] : r1 * count[1]]
        np.add(total, 0 if bias is None else bias[:, None], out=place)

    share(work, len(cut))
    return y


def conv2d_dw(dy: np.ndarray, x: np.ndarray, window: Window) -> np.ndarray:
    """dy (N, K, M, Q), x (N, C, H, W) -> (K, C, k_h, k_w)."""
    (n, k, height, width), c = dy.shape, x.shape[1]
    rows = c * window.kernel[0] * window.kernel[1]
    x, dy = readable(x), readable(dy)
    cut, told = strips(n, (height, width), _pixels(rows, x.itemsize)), _geometry(window)
    groups = runs(len(cut), GROUPS)

    def work(job: int) -> np.ndarray:
        total = np.zeros((k, rows), dy.dtype)
        product = scratch("product", total.shape, dy.dtype)
        for strip in cut[groups[job]]:
            n0, n1, r0, r1 = strip
            pixels = (n1 - n0) * (r1 - r0) * width
            unfolded = scratch("unfolded", (rows, pixels), x.dtype)
            _unfold(x, unfolded, tuple(strip), width, told, _phases(window, x))
            total += matmul(_planes(dy, strip), unfolded.T, out=product)
        return total

    total = ordered_sum(share(work, len(groups)))
    return total.reshape(k, *window.kernel, c).transpose(0, 3, 1, 2)


def _planes(dy: np.ndarray, strip: Strip) -> np.ndarray:
    """(K, pixels) of a strip: a view of one image, or a copy of several."""
    n0, n1, r0, r1 = strip
    k, width = dy.shape[1], dy.shape[3]
    part = dy[n0:n1].reshape(n1 - n0, k, -1)[:, :, r0 * width : r1 * width]
    if n1 - n0 == 1:
        return part[0]
    copy = scratch("planes", (k, n1 - n0, part.shape[2]), dy.dtype)
    copy[...] = part.transpose(1, 0, 2)
    return copy.reshape(k, -1)


def conv2d_dx(dy: np.ndarray, weight: np.ndarray, window: Window, size: Pair) -> np.ndarray:
    """dy (N, K, M, Q), weight (K, C, k_h, k_w) -> (N, C, *size)."""
    (n, k, count, width), (c, kh, kw) = dy.shape, weight.shape[1:]
    rows, top, (stride, _) = c * kh * kw, window.padding[0], window.stride
    reach = (kh - 1) * window.dilation[0]
    matrix = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(rows, k)  # ((i, j, c), k)
    dy, dx, told = readable(dy), empty((n, c, *size), dy.dtype), _geometry(window)
    # A strip of dx has `stride` squared times the pixels of that of dy.
    pixels = _pixels(rows, dy.itemsize) * size[0] * size[1] // max(1, count * width)
    cut = strips(n, size, max(1, pixels))

    def work(job: int) -> None:
        n0, n1, r0, r1 = cut[job]
        first = max(0, -(-(r0 + top - reach) // stride))
        last = max(first, min(count, (r1 - 1 + top) // stride + 1))
        strip = Strip(n0, n1, first, last)
        products = scratch("unfolded", (rows, (n1 - n0) * (last - first) * width), dy.dtype)
        matmul(matrix, _planes(dy, strip), out=products)
        _fold(products, dx, tuple(strip), width, (r0, r1), told, _phases(window, dx))

    share(work, len(cut))
    return dx


def _phases(window: Window, x: np.ndarray) -> np.ndarray:
    """Room for the phases of a row of x."""
    return scratch("phases", (x.shape[3] + window.stride[1],), x.dtype)


@loop
def _unfold(x, unfolded, strip, width, told, lines):  # type: ignore[no-untyped-def]
    n0, n1, r0, r1 = strip
    kh, kw, stride, step, down, right, top, left = told
    channels, high, wide = x.shape[1:]
    room = (wide - 1) // step + 1  # of a phase of a row: every `step`-th pixel
    source, out = x.reshape(-1), unfolded.reshape(-1)
    for c in range(channels):
        for n in range(n0, n1):
            for m in range(r0, r1):
                start = ((n - n0) * (r1 - r0) + m - r0) * width
                for i in range(kh):
                    y = stride * m + down * i - top
                    inside = 0 <= y < high
                    row = ((n * channels + c) * high + y) * wide
                    if inside and step > 1:  # its phases, so that each tap reads a stretch
                        for phase in range(step):
                            count = (wide - 1 - phase) // step + 1
                            copy(source, row + phase, step, lines, phase * room, count)
                    for j in range(kw):
                        begin = right * j - left  # column of x that the first output reads
                        low = min(width, max(0, -(begin // step)))
                        end = max(low, min(width, (wide - 1 - begin) // step + 1))
                        line = ((i * kw + j) * channels + c) * unfolded.shape[1] + start
                        at = begin + step * low
                        if not inside or low == end:
                            clear(out, line, width)
                        elif step == 1:
                            copy_between_zeros(source, row + at, 1, out, line, low, end, width)
                        else:
                            at = at % step * room + at // step
                            copy_between_zeros(lines, at, 1, out, line, low, end, width)


@loop
def _fold(products, dx, strip, width, rows, told, lines):  # type: ignore[no-untyped-def]
    n0, n1, first, last = strip
    kh, kw, stride, step, down, right, top, left = told
    channels, high, wide = dx.shape[1:]
    room = (wide - 1) // step + 1
    source, out = products.reshape(-1), dx.reshape(-1)
    for c in range(channels):
        for n in range(n0, n1):
            for y in range(rows[0], rows[1]):
                clear(lines, 0, step * room)  # the phases of the row
                for i in range(kh):
                    m = (y + top - down * i) // stride
                    if stride * m != y + top - down * i or m < first or m >= last:
                        continue
                    start = ((n - n0) * (last - first) + m - first) * width
                    for j in range(kw):
                        begin = right * j - left
                        low = min(width, max(0, -(begin // step)))
                        end = max(low, min(width, (wide - 1 - begin) // step + 1))
                        at = begin + step * low
                        a = ((i * kw + j) * channels + c) * products.shape[1] + start + low
                        to, of = uint64(at % step * room + at // step), uint64(a)
                        for q in range(uint64(end - low)):
                            lines[to + q] += source[of + q]
                row = ((n * channels + c) * high + y) * wide
                for phase in range(step):
                    to, of = uint64(row + phase), uint64(phase * room)
                    for q in range(uint64((wide - 1 - phase) // step + 1)):
                        out[to + uint64(step) * q] = lines[of + q]
