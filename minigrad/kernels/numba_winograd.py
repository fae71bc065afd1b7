"""Winograd's F(2x2, 3x3) with compiled transforms.

The arithmetic is that of `numpy_winograd`, which explains it. Here a plane is taken through all its
transforms while it lies in the first cache, so that small planes pay too, and the products are
called from the compiled loop, so that threads never wait for the interpreter.

Tiles of a block lie flat, row after row, with one idle column, so that each transform is a long sum
of shifted rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import uint64

from minigrad.kernels import numba_blas
from minigrad.kernels.numba_blas import product
from minigrad.kernels.numba_loops import (
    clear,
    copy_between_zeros,
    deal,
    loop,
    readable,
)
from minigrad.kernels.numpy_conv import flip, ordered_sum
from minigrad.kernels.numpy_flat import Taps, part_length
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import runs, scratch, share
from minigrad.kernels.numpy_winograd import filters_of, of_filters
from minigrad.windows import Pair

SCRATCH = 1 << 20  # bytes of what a block transforms and multiplies, about: the second cache
TILES = 64  # of a block, at least
CHANNELS = 16  # fewer make the transforms dearer than what they save
SIDE = 14  # of the smallest plane that is cut into tiles: others are mostly border
WIDE = 40  # of the smallest one for few channels: below, at least MANY, those of x and y together
MANY = 96
DILATED = 40  # the smallest phase of a dilated filter, whose rows are gathered
GROUPS = 16  # jobs at most; of the weight's cotangent half as many, each with a sum of its own


def pays(taps: Taps, weight: tuple[int, ...], count: Pair) -> bool:
    """Whether this form is the fastest for a weight of this shape and planes of `count` outputs."""
    widest, channels = max(taps.dilation), weight[:2]
    side = SIDE if sum(channels) >= MANY else WIDE
    side = side if widest == 1 else DILATED * widest
    small = min(channels) < CHANNELS or min(count) < side
    return taps.kernel == (3, 3) and not small and numba_blas.FOUND


_BLOCK = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("n0", "n1", "row", "column", "rows", "pitch", "top", "left"),
            *("y_row", "y_column", "x_row", "x_column", "down", "right"),
        )
    ]
)
"""A block: images n0..n1 - 1 of y, of one phase of a dilated convolution, in tiles of 2x2 outputs.

row, column, rows: its tiles; pitch: those in a row, the idle one with them. top, left: how far
before the first pixel of x's phase its first tile begins to read. y_row, y_column, x_row, x_column:
the first pixel of either phase. down, right: the dilation.
"""


class Plan(NamedTuple):
    """Blocks, those of each job, and what a thread needs room for."""

    blocks: np.ndarray
    jobs: list[slice]
    length: int  # tiles of the longest block, the idle ones with them
    lines: int  # numbers of a plane on its way through the transforms


@lru_cache(maxsize=1024)
def plan(n: int, count: Pair, taps: Taps, tiles: int, jobs: int) -> Plan:
    """Cut the work into blocks of about `tiles` tiles and at most so many jobs, by shape alone."""
    (down, right), cut = taps.dilation, []
    for i in range(min(down, count[0])):
        for j in range(min(right, count[1])):
            # Output d a + i reads the rows d (a + t) + i - top, all of the phase r of x.
            r, s = (i - taps.top) % down, (j - taps.left) % right
            top, left = (r + taps.top - i) // down, (s + taps.left - j) // right
            rows = -(-len(range(i, count[0], down)) // 2)
            columns = -(-len(range(j, count[1], right)) // 2)
            wide = part_length(columns, tiles)
            high = part_length(rows, max(1, tiles // (wide + 1)))
            each = max(1, tiles // (high * (wide + 1))) if (high, wide) == (rows, columns) else 1
            each = part_length(n, min(each, max(1, -(-n // 2))))  # work for two threads
            cut += [
                (
                    *(a, min(a + each, n), row, column),
                    *(min(high, rows - row), min(wide, columns - column) + 1),
                    *(top - 2 * row, left - 2 * column, i, j, r, s, down, right),
                )
                for a in range(0, n, each)
                for row in range(0, rows, high)
                for column in range(0, columns, wide)
            ]
    found = np.array(cut, _BLOCK)
    longest = ((found["n1"] - found["n0"]) * found["rows"] * found["pitch"]).max()
    planes, pitches = (found["rows"] + 1) * found["pitch"], found["pitch"]
    lines = 12 * planes.max() + 2 * pitches.max()
    return Plan(found, runs(len(cut), jobs), int(longest), int(lines))


def _plan(x: np.ndarray, k: int, count: Pair, taps: Taps, jobs: int) -> Plan:
    """That of a convolution of x to K channels."""
    tiles = max(TILES, SCRATCH // (16 * (x.shape[1] + k) * x.itemsize))
    return plan(len(x), count, taps, tiles, jobs)


def _room(how: Plan, c: int, k: int, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """This thread's memory: tiles of x, tiles of y, lines of a plane."""
    sizes = {"u": 16 * c * how.length, "m": 16 * k * how.length, "lines": how.lines}
    return tuple(scratch(f"winograd.{name}", (size,), dtype) for name, size in sizes.items())


# --- the three convolutions -----------------------------------------------------------------------


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, count: Pair
) -> np.ndarray:
    """As `numpy_winograd.correlate`."""
    (n, c), k = x.shape[:2], len(weight)
    filters = readable(filters_of(weight))
    x, bias = readable(x), readable(np.zeros(k, x.dtype) if bias is None else bias)
    y = empty((n, k, *count), x.dtype)
    how = _plan(x, k, count, taps, GROUPS)

    def work(job: int) -> None:
        _correlate(x, filters, bias, y, how.blocks[how.jobs[job]], *_room(how, c, k, x.dtype))

    share(work, len(how.jobs))
    return y


def correlate_dx(dy: np.ndarray, weight: np.ndarray, taps: Taps, size: Pair) -> np.ndarray:
    """The cotangent of the input: dy correlated with the flipped weight."""
    return correlate(dy, flip(weight), None, taps.flipped(), size)


def correlate_dw(dy: np.ndarray, x: np.ndarray, taps: Taps) -> np.ndarray:
    """As `numpy_winograd.correlate_dw`."""
    k, c = dy.shape[1], x.shape[1]
    dy, x = readable(dy), readable(x)
    how = _plan(x, k, dy.shape[2:], taps, GROUPS // 2)

    def work(job: int) -> np.ndarray:
        total = np.zeros((16, k, c), dy.dtype)
        _correlate_dw(dy, x, total, how.blocks[how.jobs[job]], *_room(how, c, k, x.dtype))
        return total

    return of_filters(ordered_sum(share(work, len(how.jobs))))


@loop
def _correlate(x, filters, bias, y, blocks, tiles, products, lines):  # type: ignore[no-untyped-def]
    k, c = filters.shape[1:]
    none, size = filters.dtype.type(0), filters.itemsize
    u, f, m = tiles.ctypes.data, filters.ctypes.data, products.ctypes.data
    for block in blocks:
        length = (block.n1 - block.n0) * block.rows * block.pitch
        _of_inputs(x, tiles, length, block, lines)
        for i in range(16):
            a, b, to = f + i * k * c * size, u + i * c * length * size, m + i * k * length * size
            product(k, length, c, a, c, b, length, False, none, to, length)
        _to_outputs(products, length, bias, y, block, lines)


@loop
def _correlate_dw(dy, x, total, blocks, tiles, cotangents, lines):  # type: ignore[no-untyped-def]
    k, c = total.shape[1:]
    more, size = total.dtype.type(1), total.itemsize
    u, d, t = tiles.ctypes.data, cotangents.ctypes.data, total.ctypes.data
    for block in blocks:
        length = (block.n1 - block.n0) * block.rows * block.pitch
        _of_inputs(x, tiles, length, block, lines)
        _of_outputs(dy, cotangents, length, block, lines)
        for i in range(16):
            a, b, to = d + i * k * length * size, u + i * c * length * size, t + i * k * c * size
            product(k, c, length, a, length, b, length, True, more, to, c)


# --- the transforms -------------------------------------------------------------------------------


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
def _of_inputs(x, out, total, block, lines):  # type: ignore[no-untyped-def]
    rows, pitch, top, left = block.rows, block.pitch, block.top, block.left
    phase_y, phase_x, down, right = block.x_row, block.x_column, block.down, block.right
    length, plane = rows * pitch, (rows + 1) * pitch
    height, width = x.shape[2:]
    high = (height - phase_y + down - 1) // down
    wide = (width - phase_x + right - 1) // right
    low = min(max(0, left), 2 * pitch)
    end = max(low, min(2 * pitch, wide + left))
    source, step = x.reshape(-1), x.shape[1] * total
    # In `lines`: four planes (odd row?, odd column?); then rows of x, and later their sums.
    sums = 4 * plane + pitch
    clear(lines, 4 * plane, pitch)  # read beyond the last plane, at idle places
    for c in range(x.shape[1]):
        for n in range(block.n0, block.n1):
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
            at = c * total + (n - block.n0) * length
            for i in range(4):  # to the right
                place = sums + 2 * i * plane
                _b(lines, place, place + plane, 1, out, at + 4 * i * step, step, length)


@loop
def _to_outputs(source, total, bias, y, block, lines):  # type: ignore[no-untyped-def]
    row, column, rows, pitch = block.row, block.column, block.rows, block.pitch
    phase_y, phase_x, down, right = block.y_row, block.y_column, block.down, block.right
    length, (height, width) = rows * pitch, y.shape[2:]
    high = min(2 * rows, (height - phase_y + down - 1) // down - 2 * row)
    wide = min(2 * (pitch - 1), (width - phase_x + right - 1) // right - 2 * column)
    out, step = y.reshape(-1), y.shape[1] * total
    results = 8 * length
    for k in range(y.shape[1]):
        for n in range(block.n0, block.n1):
            at = k * total + (n - block.n0) * length
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
def _of_outputs(dy, out, total, block, lines):  # type: ignore[no-untyped-def]
    row, column, rows, pitch = block.row, block.column, block.rows, block.pitch
    phase_y, phase_x, down, right = block.y_row, block.y_column, block.down, block.right
    length, (height, width) = rows * pitch, dy.shape[2:]
    high = min(2 * rows, (height - phase_y + down - 1) // down - 2 * row)
    wide = min(2 * (pitch - 1), (width - phase_x + right - 1) // right - 2 * column)
    source, step = dy.reshape(-1), dy.shape[1] * total
    sums = 4 * length  # rows of dy, and later their sums
    for k in range(dy.shape[1]):
        for n in range(block.n0, block.n1):
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
            at = k * total + (n - block.n0) * length
            for i in range(4):  # to the right
                place = sums + 2 * i * length
                _spread(lines, place, length, out, at + 4 * i * step, step, length)
