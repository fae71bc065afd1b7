"""3x3 convolution with stride 1 by Winograd's F(2x2, 3x3): 16 products where 36 stand.

Two neighbouring outputs of a three-tap filter read four inputs; written out, six products. With

    B' d = (d0 - d2, d1 + d2, d2 - d1, d1 - d3)      G g = (g0, (g0+g1+g2)/2, (g0-g1+g2)/2, g2)
    A' m = (m0 + m1 + m2, m1 - m2 - m3)

they are A' [(G g) * (B' d)], four products and some sums. Down and across together, a tile of 2x2
outputs reads 4x4 inputs:

    y = A' [ sum over c of (G w_kc G') * (B' x_c B) ] A
    dw_kc = G' [ sum over tiles of (A dy_k A') * (B' x_c B) ] G

Each of the 16 places of a tile is one matrix product, (K x C) with (C x tiles), so the arithmetic
falls by 2.25; the transforms are sums of whole planes. To make them so, an image is first split
into its even and odd rows and columns: input (i, j) of every tile is then one of four planes,
shifted by i // 2 rows and j // 2 columns. The cotangent of the input is the convolution of dy with
the flipped filter. A dilated convolution is one of each phase of the image.

Rounding: the largest error is about twice that of the direct sum. An infinite or undefined pixel
spoils its whole tile (inf - inf), and in dw, where idle places count as 0 times what lies there,
the channel before its own.

Source: Lavin and Gray, Fast algorithms for convolutional neural networks (2016), section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np

from minigrad.kernels.numpy_conv import flip, ordered_sum
from minigrad.kernels.numpy_flat import Taps
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import alone, scratch, share
from minigrad.windows import Pair

SCRATCH = 1 << 21  # bytes of what a block transforms and multiplies, about
WIDE = 128  # tiles in a row of a block, at most
CHANNELS = 24  # fewer make the transforms dearer than what they save
TILES = 64  # of a block, at least
SIDE = 48  # of the smallest plane (of one phase) that is cut into tiles: small ones do not scale
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_GG = np.kron(_G, _G)  # (16, 9)


def pays(taps: Taps, weight: tuple[int, ...], count: Pair) -> bool:
    """Whether this form is the fastest for a weight of this shape and planes of `count` outputs."""
    few = min(weight[:2]) < CHANNELS or min(count) < SIDE * max(taps.dilation)
    return taps.kernel == (3, 3) and not few


@dataclass(frozen=True, eq=False)
class Block:
    """Some images, or a rectangle of one image, in tiles of 2x2 outputs.

    phase_y, phase_x: where in y and x the undilated images lie. images, rows, columns: of these
    images of y. size: height and width of those of x. corner: row and column of x that the first
    output reads first (negative in the border).
    """

    phase_y: tuple[slice, slice]
    phase_x: tuple[slice, slice]
    images: slice
    rows: slice
    columns: slice
    size: Pair
    corner: Pair

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Images, rows and columns of a split plane: one row and one column more than there are
        tiles, which the shifts read.
        """
        rows, columns = -(-_length(self.rows) // 2), -(-_length(self.columns) // 2)
        return _length(self.images), rows + 1, columns + 1

    @cached_property
    def places(self) -> tuple[int, int, int]:
        """Images, rows and columns of a plane of tiles; the last column is idle, and so is the last
        row where another image follows.
        """
        n, rows, pitch = self.grid
        return n, rows - (n == 1), pitch

    @cached_property
    def length(self) -> int:
        """Tiles of a plane, the idle ones with them."""
        return prod(self.places)

    @cached_property
    def halves(self) -> list[tuple[Pair, tuple[slice, slice], tuple[slice, slice]]]:
        """For each plane (odd row?, odd column?): where in x and where in the plane it lies."""
        found = []
        for r in (0, 1):
            rows = _half(self.corner[0] + r, self.size[0], self.grid[1])
            for s in (0, 1):
                columns = _half(self.corner[1] + s, self.size[1], self.grid[2])
                found.append(((r, s), (rows[0], columns[0]), (rows[1], columns[1])))
        return found

    def read(self, x: np.ndarray) -> np.ndarray:
        """The undilated images (C, n, H, W) of x (N, C, H, W)."""
        return x[self.images, :, self.phase_x[0], self.phase_x[1]].transpose(1, 0, 2, 3)

    def written(self, y: np.ndarray) -> np.ndarray:
        """The outputs (K, n, rows, columns) of y (N, K, M, Q), a view."""
        images = y[self.images, :, self.phase_y[0], self.phase_y[1]]
        return images[:, :, self.rows, self.columns].transpose(1, 0, 2, 3)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _half(first: int, size: int, count: int) -> tuple[slice, slice]:
    """Every second one of `count` places from `first` on: those inside 0..size-1, and their
    numbers.
    """
    low = max(0, -(first // 2))
    high = max(low, min(count, -(-(size - first) // 2)))
    return slice(first + 2 * low, max(0, first + 2 * high), 2), slice(low, high)


@lru_cache(maxsize=1024)
def blocks(n: int, size: Pair, count: Pair, taps: Taps, tiles: int) -> tuple[Block, ...]:
    """Cut the work into blocks of about `tiles` tiles, by shape alone."""
    (down, right), cut = taps.dilation, []
    for i in range(min(down, count[0])):
        for j in range(min(right, count[1])):
            # Output d a + i reads the rows d (a + t) + i - top, all of the phase r of x.
            r, s = (i - taps.top) % down, (j - taps.left) % right
            corner = (i - taps.top - r) // down, (j - taps.left - s) // right
            phases = (
                (slice(i, None, down), slice(j, None, right)),
                (
                    slice(r, None, down),
                    slice(s, None, right),
                ),
            )
            plane = len(range(r, size[0], down)), len(range(s, size[1], right))
            outputs = len(range(i, count[0], down)), len(range(j, count[1], right))
            for images, rows, columns in _rectangles(n, outputs, tiles):
                place = corner[0] + rows.start, corner[1] + columns.start
                cut.append(Block(*phases, images, rows, columns, plane, place))
    return tuple(cut)


def _rectangles(n: int, count: Pair, tiles: int) -> list[tuple[slice, slice, slice]]:
    """Images, rows and columns of y of each block; whole images where these are small."""
    (m, q), cut = count, []
    rows, columns = -(-m // 2), -(-q // 2)
    if 2 * rows * columns <= tiles:
        each = _even(n, max(round(n * rows * columns / tiles), min(n, 2)))
        for a in range(0, n, each):
            cut.append((slice(a, min(a + each, n)), slice(0, m), slice(0, q)))
        return cut
    wide = 2 * _even(columns, -(-columns // WIDE))
    high = 2 * _even(rows, round(rows * wide / 2 / tiles))
    for a in range(n):
        for i in range(0, m, high):
            for j in range(0, q, wide):
                cut.append(
                    (slice(a, a + 1), slice(i, min(i + high, m)), slice(j, min(j + wide, q)))
                )
    return cut


def _even(length: int, parts: int) -> int:
    """The length of the longest of `parts` parts, all about equal."""
    return -(-length // max(1, parts))


def _cut(x: np.ndarray, k: int, taps: Taps, count: Pair) -> tuple[Block, ...]:
    """The blocks of a convolution of x to K channels and `count` outputs."""
    n, c, h, w = x.shape
    return blocks(n, (h, w), count, taps, max(TILES, SCRATCH // (16 * (c + k) * x.itemsize)))


# --- the three convolutions -----------------------------------------------------------------------


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, count: Pair
) -> np.ndarray:
    """y[n, k, m, q] = bias[k] + sum over (c, i, j) of weight[k, c, i, j] x[n, c, m + i d_h - top, q
    + j d_w - left].

    x (N, C, H, W), weight (K, C, 3, 3) -> (N, K, M, Q), dtype of x.
    """
    k = len(weight)
    filters = filters_of(weight)
    y = empty((len(x), k, *count), x.dtype)
    cut = _cut(x, k, taps, count)

    def work(job: int) -> None:
        block = cut[job]
        tiles = of_inputs(block, x)
        products = scratch("winograd.m", (4, 4, k, block.length), x.dtype)
        matmul(filters, tiles, out=products.reshape(16, k, block.length))
        if bias is not None:
            products[1, 1] += bias[:, None]  # A' takes this place to all four outputs
        to_outputs(block, products, y)

    share(work, len(cut))
    return y


def correlate_dx(dy: np.ndarray, weight: np.ndarray, taps: Taps, size: Pair) -> np.ndarray:
    """The cotangent of the input: dy correlated with the flipped weight."""
    return correlate(dy, flip(weight), None, taps.flipped(), size)


def correlate_dw(dy: np.ndarray, x: np.ndarray, taps: Taps) -> np.ndarray:
    """dw[k, c, i, j] = sum over (n, m, q) of dy[n, k, m, q] x[n, c, m + i d_h - top, q + j d_w -
    left].
    """
    k, c = dy.shape[1], x.shape[1]
    cut = _cut(x, k, taps, dy.shape[2:])

    def work(job: int) -> np.ndarray:
        block = cut[job]
        tiles = of_inputs(block, x)
        out = empty((16, k, c), dy.dtype)
        return matmul(of_outputs(block, dy), tiles.swapaxes(1, 2), out=out)

    return of_filters(ordered_sum(share(work, len(cut))))


def filters_of(weight: np.ndarray) -> np.ndarray:
    """G g G': (K, C, 3, 3) -> (16, K, C)."""
    k, c = weight.shape[:2]
    left, right = _GG.astype(weight.dtype), weight.reshape(k * c, 9).T
    return alone(lambda: matmul(left, right)).reshape(16, k, c)


def of_filters(total: np.ndarray) -> np.ndarray:
    """G' g G, the cotangent of the weight from that of its filters: (16, K, C) -> (K, C, 3, 3)."""
    _, k, c = total.shape
    left, right = total.reshape(16, k * c).T, _GG.astype(total.dtype)
    return alone(lambda: matmul(left, right)).reshape(k, c, 3, 3)


# --- the transforms -------------------------------------------------------------------------------


def of_inputs(block: Block, x: np.ndarray) -> np.ndarray:
    """B' x B of every tile: (16, C, places), in this thread's memory."""
    c, pitch, length = x.shape[1], block.grid[2], prod(block.grid)
    # Flat over channels and places, so that a shift is one long sum; what it takes from the next
    # channel lands on idle places.
    flat = 2 * c * length + 1
    planes = scratch("winograd.p", (2, flat + pitch), x.dtype)
    planes[...] = 0
    images = block.read(x)
    for (r, s), (at, along), (row, column) in block.halves:
        half = planes[r, s * c * length : (s + 1) * c * length].reshape(c, *block.grid)
        half[:, :, row, column] = images[:, :, at, along]
    even, odd = planes[:, :flat]
    even_below, odd_below = planes[:, pitch:]
    down = scratch("winograd.t", (4, flat), x.dtype)
    np.subtract(even, even_below, out=down[0])
    np.add(odd, even_below, out=down[1])
    np.subtract(even_below, odd, out=down[2])
    np.subtract(odd, odd_below, out=down[3])
    even, odd = down[:, : c * length], down[:, c * length : -1]
    even_right, odd_right = down[:, 1 : c * length + 1], down[:, c * length + 1 :]
    tiles = scratch("winograd.u", (4, 4, c * length), x.dtype)
    np.subtract(even, even_right, out=tiles[:, 0])
    np.add(odd, even_right, out=tiles[:, 1])
    np.subtract(even_right, odd, out=tiles[:, 2])
    np.subtract(odd, odd_right, out=tiles[:, 3])
    return tiles.reshape(16, c, length)[:, :, : block.length]


def of_outputs(block: Block, dy: np.ndarray) -> np.ndarray:
    """A dy A' of every tile, zero at idle places: (16, K, places), in this thread's memory."""
    k, length = dy.shape[1], block.length
    planes = scratch("winograd.p", (2, 2 * k * length), dy.dtype)
    planes[...] = 0
    images = block.written(dy)
    for r in (0, 1):
        for s in (0, 1):
            half = images[:, :, r::2, s::2]
            plane = planes[r, s * k * length : (s + 1) * k * length].reshape(k, *block.places)
            plane[:, :, : half.shape[2], : half.shape[3]] = half
    even, odd = planes
    down = scratch("winograd.t", (4, 2 * k * length), dy.dtype)
    down[0] = even
    np.add(even, odd, out=down[1])
    np.subtract(even, odd, out=down[2])
    np.negative(odd, out=down[3])
    even, odd = down[:, : k * length], down[:, k * length :]
    tiles = scratch("winograd.m", (4, 4, k * length), dy.dtype)
    tiles[:, 0] = even
    np.add(even, odd, out=tiles[:, 1])
    np.subtract(even, odd, out=tiles[:, 2])
    np.negative(odd, out=tiles[:, 3])
    return tiles.reshape(16, k, length)


def to_outputs(block: Block, m: np.ndarray, y: np.ndarray) -> None:
    """A' m A of every tile, written to its place in y; `m` (4, 4, K, places) is overwritten."""
    k, length = m.shape[2:]
    down = scratch("winograd.z", (3, 4, k, length), m.dtype)
    both, difference = down[2], m[1]
    np.add(m[1], m[2], out=both)
    np.subtract(m[1], m[2], out=difference)
    np.add(m[0], both, out=down[0])
    np.subtract(difference, m[3], out=down[1])
    z = down[:2]  # (2, 4, K, places)
    out = scratch("winograd.y", (2, k, length), m.dtype)
    np.add(z[:, 1], z[:, 2], out=out)
    out += z[:, 0]
    _store(block, out, y, 0)
    np.subtract(z[:, 1], z[:, 2], out=out)
    out -= z[:, 3]
    _store(block, out, y, 1)


def _store(block: Block, out: np.ndarray, y: np.ndarray, s: int) -> None:
    """Outputs (0, s) and (1, s) of every tile, (2, K, places), to their places in y."""
    target = block.written(y)
    for r, plane in enumerate(out):
        half = target[:, :, r::2, s::2]
        half[...] = plane.reshape(-1, *block.places)[:, :, : half.shape[2], : half.shape[3]]
