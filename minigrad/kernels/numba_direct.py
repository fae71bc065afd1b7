"""Convolution of any stride and dilation in compiled loops: no unfolding, tiles read the taps.

Forward and the input's cotangent are both sums over taps t, at rows a_t and columns b_t,

    y[k, m, q] = sum over t, c of w[k, t, c] x[c, s_h m + a_t, s_w q + b_t]

For a strip of y, what x has for it is turned, so that the channels of a pixel lie side by side, in
a border of zeros. A tile then takes some pixels (m, q), wherever they lie, and sums over t and c
for all of them and a row of k: a tap is the same numbers, some places further. In dx each of the
s_h s_w phases of the pixels is such a sum, of stride 1 and with taps of its own.

The cotangent of w sums over pixels: its tiles have rows of c and columns of k.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import uint64

from minigrad.kernels.numba_loops import loop, readable
from minigrad.kernels.numba_tiles import (
    BYTES,
    ROWS,
    VECTORS,
    columns,
    every,
    fill,
    places,
    read,
    rounded,
    step,
    write,
)
from minigrad.kernels.numba_turning import pack, turn_back, turn_pixels
from minigrad.kernels.numpy_conv import ordered_sum
from minigrad.kernels.numpy_flat import part_length
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import runs, scratch, share
from minigrad.windows import Pair, Window

SCRATCH = 1 << 19  # bytes of what is turned at a time, about: half the second cache
PIXELS = 160  # of a strip, at least
CHANNELS = 16  # fewer make the tiles mostly empty
GROUPS = 16  # jobs at most; of the weight's cotangent half as many, each with a sum of its own
FEWEST = 4  # jobs at least, where chunks of channels or taps can be shared out


def pays(weight: tuple[int, ...]) -> bool:
    """Whether a weight of this shape has channels enough for tiles."""
    return min(weight[:2]) >= CHANNELS


class Plan(NamedTuple):
    """Strips, one a row (n0, n1, m0, m1): images and rows. Which of them each job takes. Images and
    rows of the largest.
    """

    strips: np.ndarray
    jobs: list[slice]
    images: int
    tall: int


def _pixels(c: int, k: int, itemsize: int) -> int:
    """Of a strip, for so many channels."""
    return max(PIXELS, SCRATCH // ((c + k) * itemsize))


@lru_cache(maxsize=1024)
def plan(n: int, size: Pair, pixels: int, jobs: int) -> Plan:
    """Cut planes of `size` into strips of about so many pixels, by shape alone."""
    height, width = size
    tall = part_length(height, max(1, pixels // width))
    each = max(1, min(pixels // (height * width), -(-n // 2))) if tall == height else 1
    each = part_length(n, each)
    cut = np.array(
        [
            (a, min(a + each, n), row, min(row + tall, height))
            for a in range(0, n, each)
            for row in range(0, height, tall)
        ]
    )
    return Plan(cut, runs(len(cut), jobs), each, tall)


class Taps(NamedTuple):
    """What a sum over taps reads and writes.

    stride: of what is read. phases: of what is written (1, 1 in forward); each has its own taps.
    first, reach: the first row and column of the taps, and how far the last is from it. places:
    for each tap its row and column from the first on, and which column of the weight it is. ends:
    for each phase its row and column, and its taps, from one to another.
    """

    stride: Pair
    phases: Pair
    first: Pair
    reach: Pair
    places: np.ndarray  # (T, 3)
    ends: np.ndarray  # (phases, 4)


@lru_cache(maxsize=1024)
def _forward(window: Window) -> Taps:
    (kh, kw), (down, right), (top, _, left, _) = window.kernel, window.dilation, window.padding
    places = [(i * down, j * right, i * kw + j) for i in range(kh) for j in range(kw)]
    reach, ends = ((kh - 1) * down, (kw - 1) * right), [(0, 0, 0, len(places))]
    return Taps(window.stride, (1, 1), (-top, -left), reach, np.array(places), np.array(ends))


@lru_cache(maxsize=1024)
def _backward(window: Window) -> Taps:
    """Pixel s m + r of x was read by the outputs m + (r + top - d i) / s, where that is whole."""
    (kh, kw), (sh, sw), (down, right) = window.kernel, window.stride, window.dilation
    top, left = window.padding[0], window.padding[2]
    places: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int, int, int]] = []
    for r in range(sh):
        for s in range(sw):
            rows = [(r + top - down * i, i) for i in range(kh) if (r + top - down * i) % sh == 0]
            cols = [
                (s + left - right * j, j) for j in range(kw) if (s + left - right * j) % sw == 0
            ]
            found = [(a // sh, b // sw, i * kw + j) for a, i in rows for b, j in cols]
            ends.append((r, s, len(places), len(places) + len(found)))
            places += found
    table = np.array(places)
    first, last = table.min(0), table.max(0)
    table[:, :2] -= first[:2]
    reach = int(last[0] - first[0]), int(last[1] - first[1])
    return Taps((1, 1), window.stride, (int(first[0]), int(first[1])), reach, table, np.array(ends))


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, count: Pair
) -> np.ndarray:
    """x (N, C, H, W), weight (K, C, k_h, k_w) -> (N, K, M, Q)."""
    y = empty((len(x), len(weight), *count), x.dtype)
    _correlate(x, weight, bias, _forward(window), y)
    return y


def conv2d_dx(dy: np.ndarray, weight: np.ndarray, window: Window, size: Pair) -> np.ndarray:
    """dy (N, K, M, Q), weight (K, C, k_h, k_w) -> (N, C, *size)."""
    dx = empty((len(dy), weight.shape[1], *size), dy.dtype)
    _correlate(dy, weight.transpose(1, 0, 2, 3), None, _backward(window), dx)
    return dx


def _correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, y: np.ndarray
) -> None:
    """The sum of this file's head. weight (K, C, k_h, k_w)."""
    (k, c, kh, kw), dtype, (height, width) = weight.shape, x.dtype, y.shape[2:]
    chunk = columns(dtype)
    packed = empty((kh * kw, -(-k // chunk), c, chunk), dtype)
    if k % chunk:
        packed.fill(0)  # in the columns beyond K
    pack(weight.reshape(k, c, -1), packed)
    first = np.zeros(rounded(k, chunk), dtype)
    if bias is not None:
        first[:k] = bias
    x, packed, first = readable(x), readable(packed), readable(first)
    (ph, pw), (sh, sw) = taps.phases, taps.stride
    grid = -(-height // ph), -(-width // pw)  # pixels of a phase
    how = plan(len(x), grid, _pixels(c, len(first), dtype.itemsize) // (ph * pw), GROUPS)
    wide = sw * (grid[1] - 1) + taps.reach[1] + 1  # columns of x that are read
    read = how.images * (sh * (how.tall - 1) + taps.reach[0] + 1) * wide
    offsets = (taps.places[:, 0] * wide + taps.places[:, 1]) * c
    numbers = np.stack((offsets, taps.places[:, 2]), 1)
    told = *taps.stride, *taps.phases, *taps.first, taps.reach[0], wide
    pixels = how.images * how.tall * grid[1] + ROWS  # of a phase of a strip
    parts = runs(packed.shape[1], -(-FEWEST // len(how.jobs)))  # of the chunks

    def work(job: int) -> None:
        room = (
            scratch("turned", (read * c,), dtype),
            scratch("at", (pixels,), np.dtype(np.int64)),
            scratch("to", (pixels,), np.dtype(np.int64)),
            scratch("products", (pixels * ph * pw * len(first),), dtype),
        )
        strips, part = how.strips[how.jobs[job // len(parts)]], parts[job % len(parts)]
        some = part.start, min(part.stop, packed.shape[1])
        _strips(x, packed, some, first, y, strips, numbers, taps.ends, told, *room)

    share(work, len(how.jobs) * len(parts))


def conv2d_dw(dy: np.ndarray, x: np.ndarray, window: Window) -> np.ndarray:
    """dy (N, K, M, Q), x (N, C, H, W) -> (K, C, k_h, k_w)."""
    (n, k, height, width), c, taps = dy.shape, x.shape[1], window.kernel[0] * window.kernel[1]
    x, dy, told = readable(x), readable(dy), _geometry(window)
    k_whole, c_whole = rounded(k, ROWS), rounded(c, columns(x.dtype))
    how = plan(n, (height, width), _pixels(c_whole, k_whole, x.itemsize), GROUPS // 2)
    (sh, sw), (eh, ew) = window.stride, window.extent
    read = how.images * (sh * (how.tall - 1) + eh) * (sw * (width - 1) + ew)
    parts = runs(taps, -(-FEWEST // len(how.jobs)))

    def work(job: int) -> np.ndarray:
        part = parts[job // len(how.jobs)]
        some = part.start, min(part.stop, taps)
        total = empty((some[1] - some[0], k_whole, c_whole), dy.dtype)
        total.fill(0)
        pixels = scratch("turned", (read * c_whole,), x.dtype)
        cotangents = scratch("products", (how.images * how.tall * width * k_whole,), x.dtype)
        strips = how.strips[how.jobs[job % len(how.jobs)]]
        _conv2d_dw(dy, x, total, some, strips, told, pixels, cotangents)
        return total[:, :k, :c]

    made = share(work, len(how.jobs) * len(parts))
    sums = [ordered_sum(made[a : a + len(how.jobs)]) for a in range(0, len(made), len(how.jobs))]
    total = np.concatenate(sums) if len(sums) > 1 else sums[0]
    return total.reshape(*window.kernel, k, c).transpose(2, 3, 0, 1)


def _geometry(window: Window) -> tuple[int, ...]:
    """What the loop of the weight's cotangent is told of a window."""
    top, _, left, _ = window.padding
    return (*window.kernel, *window.stride, *window.dilation, top, left)


# --- sums over taps -------------------------------------------------------------------------------


@loop
def _strips(x, packed, part, first, y, strips, taps, phases, told, turned, at, to, products):  # type: ignore[no-untyped-def]
    """A part of the chunks of k, of some strips."""
    sh, sw, ph, _, top, left, reach, wide = told
    _, chunks, channels, chunk = packed.shape
    weight, room = packed.reshape(-1), len(first)
    for s in range(len(strips)):
        n0, n1, m0, m1 = strips[s, 0], strips[s, 1], strips[s, 2], strips[s, 3]
        rows = sh * (m1 - m0 - 1) + reach + 1
        turn_pixels(x, turned, (n0, n1), (sh * m0 + top, rows), (left, wide), channels)
        r0, r1 = ph * m0, min(ph * m1, y.shape[2])
        for f in range(len(phases)):
            strip = n1 - n0, m0, m1
            pixels = _places(at, to, strip, phases[f], told, y.shape[2:], channels, room)
            some = taps[phases[f, 2] : phases[f, 3]]
            for i in range(part[0], part[1]):
                for p in range(uint64(0), uint64(pixels), uint64(ROWS)):
                    tile, of = fill(first, uint64(i * chunk)), places(at, p)
                    for t in range(len(some)):
                        c, w = some[t, 0], uint64((some[t, 1] * chunks + i) * channels * chunk)
                        for a in range(uint64(c), uint64(c + channels)):
                            tile = step(tile, turned, of, a, weight, w)
                            w += uint64(chunk)
                    write(tile, products, places(to, p), uint64(i * chunk))
        turn_back(products, y, (n0, n1, r0, r1), (part[0] * chunk, part[1] * chunk), room)


@loop
def _places(at, to, part, phase, told, size, channels, room):  # type: ignore[no-untyped-def]
    """Where the pixels of a phase of a strip are read in x, turned, and written; their number. The
    last tile's idle rows read the first pixel and write behind all.
    """
    images, m0, m1 = part
    sh, sw, ph, pw, _, _, reach, wide = told
    height, width = size
    rows, tall, pixels = sh * (m1 - m0 - 1) + reach + 1, min(ph * m1, height) - ph * m0, 0
    for n in range(images):
        for m in range(m1 - m0):
            row = ph * m + phase[0]
            if row < tall:
                of = (n * rows + sh * m) * wide * channels
                for col in range(phase[1], width, pw):
                    at[pixels], to[pixels] = of, ((n * tall + row) * width + col) * room
                    of += sw * channels
                    pixels += 1
    for p in range(pixels, pixels + ROWS - 1):
        at[p], to[p] = 0, images * tall * width * room
    return pixels


# --- the weight's cotangent -----------------------------------------------------------------------


@loop
def _conv2d_dw(dy, x, total, taps, strips, told, pixels, cotangents):  # type: ignore[no-untyped-def]
    """Of the taps from one to another, the sums over some strips: total (taps, K, C)."""
    kh, kw, stride, sideways, down, right, top, left = told
    k_whole, c_whole = total.shape[1:]
    width = dy.shape[3]
    wide = sideways * (width - 1) + right * (kw - 1) + 1  # columns of x that are read
    sums, chunk = total.reshape(-1), VECTORS * BYTES // total.itemsize
    rows, side_by_side = every(uint64(c_whole)), every(uint64(1))
    for s in range(len(strips)):
        n0, n1, r0, r1 = strips[s, 0], strips[s, 1], strips[s, 2], strips[s, 3]
        tall = stride * (r1 - r0 - 1) + down * (kh - 1) + 1
        turn_pixels(x, pixels, (n0, n1), (stride * r0 - top, tall), (-left, wide), c_whole)
        turn_pixels(dy, cotangents, (n0, n1), (r0, r1 - r0), (0, width), k_whole)
        for tap in range(taps[0], taps[1]):
            i, j = tap // kw, tap % kw
            for c in range(0, c_whole, chunk):
                for k in range(0, k_whole, ROWS):
                    place = uint64(((tap - taps[0]) * k_whole + k) * c_whole + c)
                    tile, a = read(sums, rows, place), uint64(k)
                    for n in range(n1 - n0):
                        for m in range(r1 - r0):
                            row = n * tall + stride * m + down * i
                            b = uint64((row * wide + right * j) * c_whole + c)
                            for _ in range(width):
                                tile = step(tile, cotangents, side_by_side, a, pixels, b)
                                a += uint64(k_whole)
                                b += uint64(sideways * c_whole)
                    write(tile, sums, rows, place)
