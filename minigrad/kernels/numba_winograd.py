"""Winograd's F(2x2, 3x3) with compiled transforms.

The arithmetic is that of `numpy_winograd`, which explains it. Here a plane is taken through all its
transforms while it lies in the first cache, so that small planes pay too.

Tiles of a block lie flat, row after row, with one idle column, so that each transform is a long sum
of shifted rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import uint64

from minigrad.kernels.numba_loops import (
    clear,
    copy_between_zeros,
    deal,
    loop,
    readable,
)
from minigrad.kernels.numpy_conv import flip, ordered_sum
from minigrad.kernels.numpy_flat import Taps
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import scratch, share
from minigrad.kernels.numpy_winograd import filters_of, of_filters
from minigrad.windows import Pair

SCRATCH = 1 << 21  # bytes of what a block transforms and multiplies, about
TILES = 64  # of a block, at least
CHANNELS = 24  # fewer make the transforms dearer than what they save
SIDE = 12  # of the smallest plane that is cut into tiles: others are mostly border
DILATED = 24  # the same for a phase of a dilated filter, whose rows are gathered
GROUPS = 8  # partial sums of the weight's cotangent


def pays(taps: Taps, weight: tuple[int, ...], count: Pair) -> bool:
    """Whether this form is the fastest for a weight of this shape and planes of `count` outputs."""
    widest = max(taps.dilation)
    side = SIDE if widest == 1 else DILATED * widest
    return taps.kernel == (3, 3) and min(weight[:2]) >= CHANNELS and min(count) >= side


class Block(NamedTuple):
    """Images n0..n1 - 1 of y, of one phase of a dilated convolution, in tiles of 2x2 outputs.

    row, column, rows, columns: the tiles. top, left: how far before the first pixel of x's phase
    the tile (0, 0) of the plane begins to read. y_phase, x_phase: first row and column of either.
    """

    n0: int
    n1: int
    row: int
    column: int
    rows: int
    columns: int
    top: int
    left: int
    y_phase: Pair
    x_phase: Pair

    @property
    def length(self) -> int:
        """Tiles, the idle ones with them."""
        return (self.n1 - self.n0) * self.rows * (self.columns + 1)


@lru_cache(maxsize=1024)
def blocks(n: int, count: Pair, taps: Taps, tiles: int) -> tuple[Block, ...]:
    """Cut the work into blocks of about `tiles` tiles, by shape alone."""
    (down, right), cut = taps.dilation, []
    for i in range(min(down, count[0])):
        for j in range(min(right, count[1])):
            # Output d a + i reads the rows d (a + t) + i - top, all of the phase r of x.
            r, s = (i - taps.top) % down, (j - taps.left) % right
            top, left = (r + taps.top - i) // down, (s + taps.left - j) // right
            rows = -(-len(range(i, count[0], down)) // 2)
            columns = -(-len(range(j, count[1], right)) // 2)
            wide = _share(columns, tiles)
            high = _share(rows, max(1, tiles // (wide + 1)))
            each = max(1, tiles // (high * (wide + 1))) if (high, wide) == (rows, columns) else 1
            each = _share(n, min(each, max(1, -(-n // 2))))  # work for two threads
            cut += [
                Block(
                    a, min(a + each, n), row, column, min(high, rows - row),
                    min(wide, columns - column), top, left, (i, j), (r, s),
                )
                for a in range(0, n, each)
                for row in range(0, rows, high)
                for column in range(0, columns, wide)
            ]  # fmt: skip
    return tuple(cut)


def _share(length: int, most: int) -> int:
    """The length of the longest of parts that are about equal and at most `most` long."""
    return -(-length // -(-length // most))


def _cut(n: int, channels: int, count: Pair, taps: Taps, room: int) -> tuple[Block, ...]:
    """Blocks of at most `room` numbers, for the tiles of so many channels of x and y together."""
    return blocks(n, count, taps, max(TILES, room // (16 * channels)))


# --- the three convolutions -----------------------------------------------------------------------


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, count: Pair
) -> np.ndarray:
    """As `numpy_winograd.correlate`."""
    k = len(weight)
    filters = filters_of(weight)
    bias = np.zeros(k, x.dtype) if bias is None else bias
    x, bias = readable(x), readable(bias)
    y = empty((len(x), k, *count), x.dtype)
    cut = _cut(len(x), x.shape[1] + k, count, taps, SCRATCH // x.itemsize)

    def work(job: int) -> None:
        block = cut[job]
        tiles = of_inputs(block, x, taps)
        products = scratch("winograd.m", (16, k, block.length), x.dtype)
        matmul(filters, tiles, out=products)
        _to_outputs(products, bias, y, _numbers(block, taps), _lines(block, x.dtype))

    share(work, len(cut))
    return y


def correlate_dx(dy: np.ndarray, weight: np.ndarray, taps: Taps, size: Pair) -> np.ndarray:
    """The cotangent of the input: dy correlated with the flipped weight."""
    return correlate(dy, flip(weight), None, taps.flipped(), size)


def correlate_dw(dy: np.ndarray, x: np.ndarray, taps: Taps) -> np.ndarray:
    """As `numpy_winograd.correlate_dw`."""
    (n, k), c = dy.shape[:2], x.shape[1]
    dy, x = readable(dy), readable(x)
    # Larger blocks than in the forward: each is added to a total of its own size.
    cut = _cut(n, c + k, dy.shape[2:], taps, 2 * SCRATCH // x.itemsize)
    each = -(-len(cut) // GROUPS)

    def work(job: int) -> np.ndarray:
        # Summed within a group, so that few of these large arrays are held at once.
        total = np.zeros((16, k, c), dy.dtype)
        product = scratch("winograd.dw", total.shape, dy.dtype)
        for block in cut[job * each : (job + 1) * each]:
            tiles = of_inputs(block, x, taps)
            cotangents = scratch("winograd.m", (16, k, block.length), dy.dtype)
            _of_outputs(dy, cotangents, _numbers(block, taps), _lines(block, dy.dtype))
            total += matmul(cotangents, tiles.swapaxes(1, 2), out=product)
        return total

    total = ordered_sum(share(work, -(-len(cut) // each)))
    return of_filters(total)


# --- the transforms -------------------------------------------------------------------------------


def of_inputs(block: Block, x: np.ndarray, taps: Taps) -> np.ndarray:
    """B' x B of every tile: (16, C, length), in this thread's memory."""
    tiles = scratch("winograd.u", (16, x.shape[1], block.length), x.dtype)
    _of_inputs(x, tiles, _numbers(block, taps), _lines(block, x.dtype))
    return tiles


def _numbers(block: Block, taps: Taps) -> tuple[int, ...]:
    """What the compiled loops are told."""
    top, left = block.top - 2 * block.row, block.left - 2 * block.column
    return (
        block.n0, block.n1, block.row, block.column, block.rows, block.columns + 1, top, left,
        *block.y_phase, *block.x_phase, *taps.dilation,
    )  # fmt: skip


def _lines(block: Block, dtype: np.dtype) -> np.ndarray:
    """Room for a plane of a block on its way through the transforms."""
    pitch = block.columns + 1
    return scratch("winograd.lines", (12 * (block.rows + 1) * pitch + 2 * pitch,), dtype)


@loop
def _b(a, even, odd, shift, out, o, step, count):  # type: ignore[no-untyped-def]
    """B' of four rows: those at even and odd, and `shift` further; results `step` apart."""
    e, f, s, o, step = uint64(even), uint64(odd), uint64(shift), uint64(o), uint64(step)
    for t in range(uint64(count)):
        d0, d1, d2, d3 = a[e + t], a[f + t], a[e + s + t], a[f + s + t]
        out[o + t] = d0 - d2
        out[o + step + t] = d1 + d2
        out[o + step + step + t] = d2 - d1
        out[o + step + step + step + t] = d1 - d3


@loop
def _a(m, i, step, out, o, apart, count):  # type: ignore[no-untyped-def]
    """A' of four rows that lie `step` apart; the two results lie `apart`."""
    i, step, o, apart = uint64(i), uint64(step), uint64(o), uint64(apart)
    for t in range(uint64(count)):
        m1, m2 = m[i + step + t], m[i + step + step + t]
        out[o + t] = m[i + t] + m1 + m2
        out[o + apart + t] = m1 - m2 - m[i + step + step + step + t]


@loop
def _spread(a, i, apart, out, o, step, count):  # type: ignore[no-untyped-def]
    """A of two rows that lie `apart`; the four results lie `step` apart."""
    i, apart, o, step = uint64(i), uint64(apart), uint64(o), uint64(step)
    for t in range(uint64(count)):
        upper, lower = a[i + t], a[i + apart + t]
        out[o + t] = upper
        out[o + step + t] = upper + lower
        out[o + step + step + t] = upper - lower
        out[o + step + step + step + t] = -lower


@loop
def _of_inputs(x, tiles, numbers, lines):  # type: ignore[no-untyped-def]
    n0, n1, _, _, rows, pitch, top, left, _, _, phase_y, phase_x, down, right = numbers
    length, plane = rows * pitch, (rows + 1) * pitch
    height, width = x.shape[2:]
    high = (height - phase_y + down - 1) // down
    wide = (width - phase_x + right - 1) // right
    low = min(max(0, left), 2 * pitch)
    end = max(low, min(2 * pitch, wide + left))
    source, out, step = x.reshape(-1), tiles.reshape(-1), tiles.shape[1] * tiles.shape[2]
    # In `lines`: four planes (odd row?, odd column?); then rows of x, and later their sums.
    sums = 4 * plane + pitch
    clear(lines, 4 * plane, pitch)  # read beyond the last plane, at idle places
    for c in range(x.shape[1]):
        for n in range(n0, n1):
            begin = (n * x.shape[1] + c) * height * width + phase_x + right * (low - left)
            for parity in range(2):
                for i in range(rows + 1):
                    row = sums + 2 * (parity * plane + i * pitch)
                    y = 2 * i + parity - top
                    if y < 0 or y >= high or low == end:
                        clear(lines, row, 2 * pitch)
                    else:
                        at = begin + (phase_y + down * y) * width
                        copy_between_zeros(source, at, right, lines, row, low, end, 2 * pitch)
            deal(lines, sums, lines, 0, plane, plane)
            deal(lines, sums + 2 * plane, lines, 2 * plane, plane, plane)
            for s in range(2):  # down
                place = sums + s * plane
                _b(lines, s * plane, (2 + s) * plane, pitch, lines, place, 2 * plane, plane)
            clear(lines, sums + 8 * plane, 1)
            at = c * tiles.shape[2] + (n - n0) * length
            for i in range(4):  # to the right
                place = sums + 2 * i * plane
                _b(lines, place, place + plane, 1, out, at + 4 * i * step, step, length)


@loop
def _to_outputs(products, bias, y, numbers, lines):  # type: ignore[no-untyped-def]
    n0, n1, row, column, rows, pitch, _, _, phase_y, phase_x, _, _, down, right = numbers
    length, (height, width) = rows * pitch, y.shape[2:]
    high = min(2 * rows, (height - phase_y + down - 1) // down - 2 * row)
    wide = min(2 * (pitch - 1), (width - phase_x + right - 1) // right - 2 * column)
    source, out = products.reshape(-1), y.reshape(-1)
    step = products.shape[1] * products.shape[2]
    results = 8 * length
    for k in range(products.shape[1]):
        for n in range(n0, n1):
            at = k * products.shape[2] + (n - n0) * length
            for j in range(4):  # down: the upper rows, then the lower ones
                _a(source, at + j * step, 4 * step, lines, j * length, 4 * length, length)
            for i in range(2):  # to the right
                place = results + 2 * i * length
                _a(lines, 4 * i * length, length, lines, place, length, length)
            begin = (n * y.shape[1] + k) * height * width + phase_x + right * 2 * column
            for i in range(high):
                even = uint64(results + 2 * (i % 2) * length + (i // 2) * pitch)
                odd, s = even + uint64(length), uint64(right)
                line = uint64(begin + (phase_y + down * (2 * row + i)) * width)
                if right == 1:
                    for t in range(uint64(wide // 2)):
                        out[line + uint64(2) * t] = lines[even + t] + bias[k]
                        out[line + uint64(2) * t + uint64(1)] = lines[odd + t] + bias[k]
                else:
                    for t in range(uint64(wide // 2)):
                        out[line + uint64(2) * s * t] = lines[even + t] + bias[k]
                        out[line + uint64(2) * s * t + s] = lines[odd + t] + bias[k]
                if wide % 2:
                    out[line + s * uint64(wide - 1)] = lines[even + uint64(wide // 2)] + bias[k]


@loop
def _of_outputs(dy, tiles, numbers, lines):  # type: ignore[no-untyped-def]
    n0, n1, row, column, rows, pitch, _, _, phase_y, phase_x, _, _, down, right = numbers
    length, (height, width) = rows * pitch, dy.shape[2:]
    high = min(2 * rows, (height - phase_y + down - 1) // down - 2 * row)
    wide = min(2 * (pitch - 1), (width - phase_x + right - 1) // right - 2 * column)
    source, out, step = dy.reshape(-1), tiles.reshape(-1), tiles.shape[1] * tiles.shape[2]
    sums = 4 * length  # rows of dy, and later their sums
    for k in range(dy.shape[1]):
        for n in range(n0, n1):
            begin = (n * dy.shape[1] + k) * height * width + phase_x + right * 2 * column
            for i in range(2 * rows):  # the even ones before the odd ones
                line = sums + 2 * ((i % 2) * length + (i // 2) * pitch)
                if i >= high:
                    clear(lines, line, 2 * pitch)
                else:
                    at = begin + (phase_y + down * (2 * row + i)) * width
                    copy_between_zeros(source, at, right, lines, line, 0, wide, 2 * pitch)
            deal(lines, sums, lines, 0, length, length)
            deal(lines, sums + 2 * length, lines, 2 * length, length, length)
            for s in range(2):  # down
                place = sums + s * length
                _spread(lines, s * length, 2 * length, lines, place, 2 * length, length)
            at = k * tiles.shape[2] + (n - n0) * length
            for i in range(4):  # to the right
                place = sums + 2 * i * length
                _spread(lines, place, length, out, at + 4 * i * step, step, length)
