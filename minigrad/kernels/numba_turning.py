"""Pictures and weights in the order that tiles read them, and back: channels side by side.

A square of as many channels and pixels as a vector has numbers is transposed in registers; the last
squares of a row overlap those before, and what is smaller than a square is copied number by number.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from minigrad.kernels.numba_loops import clear, loop
from minigrad.kernels.numba_tiles import BYTES, turn


@loop
def turn_pixels(x, out, images, rows, columns, room):  # type: ignore[no-untyped-def]
    """Rows and columns (first, count) of images, zeros where x has none: out ((n, r, q), room),
    channels last. What is beyond the channels stays as it is: nobody reads what it leads to.
    """
    (n0, n1), (first, tall), (start, wide) = images, rows, columns
    channels, high, breadth = x.shape[1:]
    source, vector = x.reshape(-1), BYTES // x.itemsize
    low = min(wide, max(0, -start))
    end = max(low, min(wide, breadth - start))
    apart, between = uint64(high * breadth), uint64(room)
    for n in range(n0, n1):
        for r in range(tall):
            line, y = ((n - n0) * tall + r) * wide * room, first + r
            if y < 0 or y >= high:
                clear(out, line, wide * room)
                continue
            clear(out, line, low * room)
            clear(out, line + end * room, (wide - end) * room)
            begin = (n * channels * high + y) * breadth + start
            if channels < vector or end - low < vector:
                for c in range(channels):
                    of, to = uint64(begin + c * high * breadth), uint64(line + c)
                    for q in range(uint64(low), uint64(end)):
                        out[to + between * q] = source[of + q]
                continue
            for i in range(0, channels, vector):  # the last squares may overlap those before
                c = min(i, channels - vector)
                for j in range(low, end, vector):
                    q = min(j, end - vector)
                    of, to = begin + c * high * breadth + q, line + q * room + c
                    turn(source, uint64(of), apart, out, uint64(to), between)


@loop
def turn_back(products, y, strip, channels, room):  # type: ignore[no-untyped-def]
    """Some channels of y of a strip from ((n, m, q), room)."""
    n0, n1, r0, r1 = strip
    k0, k1, width = channels[0], min(channels[1], y.shape[1]), y.shape[3]
    vector, run, rows = BYTES // y.itemsize, width, r1 - r0  # pixels that touch in y
    if y.strides[2] == width * y.itemsize:
        run, rows = rows * width, 1
    squares = y.strides[3] == y.itemsize and min(run, k1 - k0) >= vector
    apart = y.strides[1] // y.itemsize
    for n in range(n0, n1):
        for r in range(rows):
            of = ((n - n0) * rows + r) * run * room
            if not squares:
                for k in range(k0, k1):
                    for q in range(run):
                        y[n, k, r0 + r + q // width, q % width] = products[of + q * room + k]
                continue
            to = (n * y.strides[0] + (r0 + r) * y.strides[2]) // y.itemsize
            for i in range(k0, k1, vector):
                k = min(i, k1 - vector)
                for j in range(0, run, vector):
                    q = min(j, run - vector)
                    begin, end = uint64(of + q * room + k), uint64(to + k * apart + q)
                    turn(products, begin, uint64(room), y, end, uint64(apart))


@loop
def pack(weight, out):  # type: ignore[no-untyped-def]
    """(K, C, T) as (T, chunks of K, C, columns): zeros stay in the columns beyond K."""
    rows, channels, taps = weight.shape
    chunk, flat = out.shape[3], out.reshape(-1)
    vector, length = BYTES // out.itemsize, channels * taps
    steps = (length * weight.itemsize, taps * weight.itemsize, weight.itemsize)
    together = weight.strides == steps and length >= vector  # rows that lie whole
    square = np.empty(vector * vector, out.dtype)
    for i in range(out.shape[1]):
        for k in range(i * chunk, min(rows, (i + 1) * chunk), vector):
            if together and k + vector <= rows:  # squares of `vector` rows and numbers of a row
                for j in range(0, length, vector):
                    u = min(j, length - vector)
                    at = uint64(k * length + u)
                    turn(weight, at, uint64(length), square, uint64(0), uint64(vector))
                    for r in range(vector):
                        c, t = (u + r) // taps, (u + r) % taps
                        to = uint64(((t * out.shape[1] + i) * channels + c) * chunk + k - i * chunk)
                        for v in range(uint64(vector)):
                            flat[to + v] = square[uint64(r * vector) + v]
                continue
            for c in range(channels):
                for t in range(taps):
                    for v in range(k, min(k + vector, rows)):
                        out[t, i, c, v - i * chunk] = weight[v, c, t]
