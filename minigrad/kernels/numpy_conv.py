"""Convolution with stride 1: half unfolded, half folded, on flat planes.

Full unfolding copies each pixel k_h k_w times. Here the planes of a strip are laid out flat, rows
one after the other and zero rows between images, so that a shift by a tap is one shift of the whole
plane. Copies are made for the horizontal taps only; one matrix product yields, for each vertical
tap i, the planes T[i] that this tap contributes, and the result is their sum, each shifted by i
rows:

    L[(j, c), p] = x[c, p + j d_w]            k_w copies, wrapped pixels zeroed
    T[(i, k), p] = sum_(j,c) weight[k, c, i, j] L[(j, c), p]        one product, (k_h K) x (k_w C)
    y[k, p]      = sum_i T[(i, k), p + i d_h pitch]                 k_h - 1 additions

The product is nearer to square than the (K) x (k_h k_w C) of full unfolding, which alone is worth a
third: with 67 -> 32 channels 85 against 64 GFLOP/s (one thread, AVX-512). Where K is much larger
than C the sum would cost more than it saves and all taps are unfolded.

The gradient of the input is the same computation with the weight flipped and transposed: nothing is
folded. The gradient of the weight shifts the planes of dy vertically and those of x horizontally,
and multiplies them.

Work is cut into strips, several small images or some rows of a large one, whose scratch stays in
the L2 cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import kept, scratch, share
from minigrad.windows import Pair

STRIP = 2048  # pixels in a strip: 200 channels of them are 1.6 MiB of float32


@dataclass(frozen=True)
class Taps:
    """Where a stride-1 convolution reads: y[m, q] reads x[m + i d_h - top, q + j d_w - left], zero
    outside x.
    """

    kernel: Pair
    dilation: Pair
    top: int
    left: int

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first to the last tap."""
        return (self.kernel[0] - 1) * self.dilation[0], (self.kernel[1] - 1) * self.dilation[1]

    def flipped(self) -> Taps:
        """What of dy the pixels of x were read by: the taps of the input's cotangent."""
        down, right = self.reach
        return Taps(self.kernel, self.dilation, down - self.top, right - self.left)

    def rows(self, unfolded: bool) -> list[int]:
        """The vertical shift i d_h of each tap, or only the first where the rows are not
        unfolded.
        """
        return [i * self.dilation[0] for i in range(self.kernel[0] if unfolded else 1)]

    def columns(self, unfolded: bool) -> list[int]:
        """The horizontal shift j d_w - left of each tap, or none where the columns are not
        unfolded.
        """
        return (
            [j * self.dilation[1] - self.left for j in range(self.kernel[1])] if unfolded else [0]
        )


@lru_cache(maxsize=4096)
def _moves_of_x(taps: Taps, rows: bool, columns: bool) -> tuple[Pair, ...]:
    """How far the planes of x are moved down and right, so that the taps fall on one place."""
    return tuple((taps.top - i, -j) for i in taps.rows(rows) for j in taps.columns(columns))


@lru_cache(maxsize=4096)
def _moves_of_dy(taps: Taps, rows: bool, columns: bool) -> tuple[Pair, ...]:
    """How far the planes of dy are moved to meet the planes of x that are not."""
    return tuple((i, j) for i in taps.rows(rows) for j in taps.columns(columns))


@dataclass(frozen=True, eq=False)
class Flat:
    """A strip of planes laid out flat, for `images` images of `size` with `count` outputs each.

    The output pixel (n, m, q) stands at `(n rows + m) pitch + q`; the pixel (n, r, s) of x stands
    `top` rows later, so that the tap (i, j) is the same shift, `i d_h pitch + j d_w - left`,
    everywhere. Between images there are as many zero rows as the taps reach beyond an edge: they
    serve the image above and the one below.

    Made by `layout`, which gives the same object for the same geometry: what is planned for it is
    worked out once. At some hundred strips a step, Python's arithmetic on shapes would otherwise
    take a tenth of the time, and one thread alone can do it at a time.
    """

    images: int
    size: Pair
    count: Pair
    taps: Taps

    @cached_property
    def pitch(self) -> int:
        """Numbers in a row."""
        return max(self.size[1], self.count[1])

    @cached_property
    def rows(self) -> int:
        """Rows from one image to the next."""
        h, m, top = self.size[0], self.count[0], self.taps.top
        return max(h + max(top, m + self.taps.reach[0] - top - h, 0), m)

    @cached_property
    def outputs(self) -> int:
        """Length that holds every output pixel."""
        return self.images * self.rows * self.pitch

    @cached_property
    def length(self) -> int:
        """Length that holds every output pixel and what the vertical taps read beyond."""
        return self.outputs + self.taps.reach[0] * self.pitch

    @cached_property
    def guard(self) -> int:
        """Room on either side for what a shift pushes out."""
        (down, right), top, left = self.taps.reach, self.taps.top, self.taps.left
        return (down + top) * self.pitch + right + left

    def unfold(
        self, slot: str, images: np.ndarray, moves: tuple[Pair, ...], last: int = 0
    ) -> np.ndarray:
        """The planes (n, C, h, w), moved by each (rows, columns): ((move), c) x `length`, and
        `last` rows of ones.

        The memory is this thread's.
        """
        key = (slot, self, moves, images.shape, last, images.dtype.char)
        planes = kept(key, lambda: Planes(self, images, moves, last))
        return planes.lay(images)

    def crop(self, flat: np.ndarray) -> np.ndarray:
        """The output pixels of planes (K, outputs), as a view (n, K, M, Q)."""
        m, q = self.count
        planes = flat.reshape(flat.shape[0], self.images, self.rows, self.pitch)
        return planes[:, :, :m, :q].transpose(1, 0, 2, 3)


layout = lru_cache(maxsize=4096)(Flat)


class Planes:
    """Memory for the moved planes of images like the given ones (x or dy of a layout): zero
    wherever no plane is laid, and it stays so, because the same places are written each time.
    """

    def __init__(self, flat: Flat, images: np.ndarray, moves: tuple[Pair, ...], last: int) -> None:
        """Zeros for one block of rows a move, then `last` rows of ones (for the bias)."""
        (_, c, h, w), guard, pitch = images.shape, flat.guard, flat.pitch
        memory = np.zeros((len(moves) * c + last, flat.length + 2 * guard), images.dtype)
        if last:
            memory[-last:] = 1
        self.nbytes = memory.nbytes
        self.matrix = memory[:, guard : guard + flat.length]
        self.places: list[np.ndarray] = []  # (C, n, h, w) of each move
        self.wrapped: list[np.ndarray] = []  # what a move to the side pushes into the next row
        for t, (down, right) in enumerate(moves):
            start = guard + down * pitch + right
            block = memory[t * c : (t + 1) * c, start : start + flat.outputs]
            rows = block.reshape(c, flat.images, flat.rows, pitch)[:, :, :h]
            self.places.append(rows[..., :w])
            edge = slice(max(0, pitch - right), None) if right > 0 else slice(0, -right)
            self.wrapped.append(rows[..., edge])

    def lay(self, images: np.ndarray) -> np.ndarray:
        """Lay the planes (n, C, h, w); the matrix of all moves, ((move), c) x length."""
        planes = images.transpose(1, 0, 2, 3)
        for place, wrapped in zip(self.places, self.wrapped, strict=True):
            place[...] = planes
            if wrapped.size:
                wrapped[...] = 0
        return self.matrix


@dataclass(frozen=True, eq=False)
class Strip:
    """Some images, or some output rows of one image, what of x they read, and their layout."""

    images: slice
    outputs: slice  # rows of y
    inputs: slice  # rows of x
    flat: Flat


def strips(n: int, size: Pair, count: Pair, taps: Taps) -> tuple[Strip, ...]:
    """Cut the work, by shape alone: about `STRIP` pixels of y each, at least two where it pays."""
    return _strips(n, size, count, taps, STRIP)


@lru_cache(maxsize=1024)
def _strips(n: int, size: Pair, count: Pair, taps: Taps, pixels: int) -> tuple[Strip, ...]:
    (h, w), (m, q) = size, count
    cut = []
    if m * q <= pixels:
        each = max(1, min(pixels // (m * q), n if 2 * n * m * q < pixels else -(-n // 2)))
        for a in range(0, n, each):
            b = min(a + each, n)
            flat = layout(b - a, size, count, taps)
            cut.append(Strip(slice(a, b), slice(0, m), slice(0, h), flat))
        return tuple(cut)
    height = max(1, pixels // q, taps.reach[0])
    for a in range(n):
        for first in range(0, m, height):
            last = min(first + height, m)
            r0 = max(0, first - taps.top)
            r1 = max(min(h, last + taps.reach[0] - taps.top), r0)
            moved = Taps(taps.kernel, taps.dilation, taps.top - first + r0, taps.left)
            flat = layout(1, (r1 - r0, w), (last - first, q), moved)
            cut.append(Strip(slice(a, a + 1), slice(first, last), slice(r0, r1), flat))
    return tuple(cut)


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, count: Pair
) -> np.ndarray:
    """y[n, k, m, q] = bias[k] + sum over (c, i, j) of weight[k, c, i, j] x[n, c, m + i d_h - top, q
    + j d_w - left].

    x (N, C, H, W), weight (K, C, k_h, k_w) -> (N, K, M, Q), dtype of x.
    """
    x, taps = drop_unread(x, taps)
    n, c, h, w = x.shape
    k = len(weight)
    everything = unfolds_all(c, k, taps.kernel)
    matrix = _matrix(weight, bias, everything)
    y = empty((n, k, *count), x.dtype)
    cut = strips(n, (h, w), count, taps)

    def work(job: int) -> None:
        strip = cut[job]
        flat = strip.flat
        moves = _moves_of_x(flat.taps, everything, True)
        unfolded = flat.unfold("x", x[strip.images, :, strip.inputs], moves, last=1)
        products = scratch("products", (matrix.shape[0], flat.length), x.dtype)
        matmul(matrix, unfolded, out=products)
        _fold(products, flat, y[strip.images, :, strip.outputs])

    share(work, len(cut))
    return y


def unfolds_all(c: int, k: int, kernel: Pair) -> bool:
    """Whether all taps are unfolded, not only the horizontal ones, from C to K channels.

    By the values written for one output pixel. Unfolding all taps: their copies. Halving: the
    copies of one row of taps, and the products, which are written once and read once.
    """
    kh, kw = kernel
    return kh * kw * c < kw * c + 2 * kh * k


def flip(weight: np.ndarray) -> np.ndarray:
    """(K, C, k_h, k_w) as (C, K, k_h, k_w), turned by half a circle."""
    return weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def correlate_dx(dy: np.ndarray, weight: np.ndarray, taps: Taps, size: Pair) -> np.ndarray:
    """The cotangent of the input of `correlate`: dy (N, K, M, Q) correlated with the flipped
    weight.

    dx[n, c, r, s] = sum over (k, i, j) of weight[k, c, i, j] dy[n, k, r + top - i d_h, s + left - j
    d_w].
    """
    return correlate(dy, flip(weight), None, taps.flipped(), size)


def correlate_vjp(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, taps: Taps
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`correlate_dx`, `correlate_dw` and the sums of dy over n, m, q, in one go.

    With D the planes of dy unfolded for dx, and X the planes of x moved by the taps that D is not
    unfolded for, D X' holds every product that dw sums: dy is copied once for both.
    """
    (n, c, h, w), k, (kh, kw) = x.shape, dy.shape[1], taps.kernel
    read, back = drop_unread(dy, taps.flipped())
    everything = unfolds_all(k, c, taps.kernel)
    matrix = _matrix(flip(weight), None, everything)
    dx = empty(x.shape, dy.dtype)
    cut = strips(n, read.shape[2:], (h, w), back)

    def work(job: int) -> np.ndarray:
        if job == len(cut):
            return dy.sum((0, 2, 3))
        strip = cut[job]
        flat = strip.flat
        moves = _moves_of_x(flat.taps, everything, True)
        unfolded = flat.unfold("dy", read[strip.images, :, strip.inputs], moves, last=1)
        moves = _moves_of_dy(flat.taps, not everything, False)
        planes = flat.unfold("x", x[strip.images, :, strip.outputs], moves)
        products = scratch("products", (matrix.shape[0], flat.length), dy.dtype)
        matmul(matrix, unfolded, out=products)
        _fold(products, flat, dx[strip.images, :, strip.outputs])
        product = empty((len(unfolded) - 1, len(planes)), dy.dtype)
        return matmul(unfolded[:-1], planes.T, out=product)

    *parts, db = share(work, len(cut) + 1)
    rows, columns = (kh, kw) if everything else (1, kw), (1, 1) if everything else (kh, 1)
    dw = ordered_sum(parts).reshape(*rows, k, *columns, c)  # (i, j, k, i, j, c)
    dw = dw.transpose(2, 5, 0, 3, 1, 4).reshape(k, c, kh, kw)
    return dx, dw[:, :, ::-1, ::-1], db


def drop_unread(x: np.ndarray, taps: Taps) -> tuple[np.ndarray, Taps]:
    """Negative borders as a crop: rows and columns before the first one read are left out."""
    top, left = max(0, -taps.top), max(0, -taps.left)
    if not top and not left:
        return x, taps
    taps = Taps(taps.kernel, taps.dilation, max(0, taps.top), max(0, taps.left))
    return x[:, :, top:, left:], taps


def _matrix(weight: np.ndarray, bias: np.ndarray | None, everything: bool) -> np.ndarray:
    """The weight as the left factor, with the bias as one more column: x has a last row of ones to
    meet it.
    """
    k, _, kh, _ = weight.shape
    blocks = 1 if everything else kh
    order = (0, 2, 3, 1) if everything else (2, 0, 3, 1)
    matrix = np.zeros((blocks * k, weight.size // (blocks * k) + 1), weight.dtype)
    matrix[:, :-1] = weight.transpose(order).reshape(
        blocks * k, -1
    )  # ((i, k), (j, c)) | (k, (i, j, c))
    if bias is not None:
        matrix[:k, -1] = bias
    return matrix


def _fold(products: np.ndarray, flat: Flat, y: np.ndarray) -> None:
    """y = sum over the blocks i of `products`, each shifted by i d_h rows; the first block is
    overwritten.
    """
    k = y.shape[1]
    shifts = [i * flat.pitch for i in flat.taps.rows(len(products) > k)]
    blocks = [
        products[i * k : (i + 1) * k, move : move + flat.outputs] for i, move in enumerate(shifts)
    ]
    if len(blocks) == 1:
        y[...] = flat.crop(blocks[0])
        return
    total = blocks[0]
    for block in blocks[1:-1]:
        total += block
    np.add(flat.crop(total), flat.crop(blocks[-1]), out=y)


def correlate_dw(dy: np.ndarray, x: np.ndarray, taps: Taps) -> np.ndarray:
    """dw[k, c, i, j] = sum over (n, m, q) of dy[n, k, m, q] x[n, c, m + i d_h - top, q + j d_w -
    left].

    One product per strip, of planes of dy moved down or right and planes of x moved up or left,
    where each tap may move either; the cheapest of three splits is taken: fewest rows to copy.
    """
    x, taps = drop_unread(x, taps)
    n, k, m, q = dy.shape
    c, (kh, kw) = x.shape[1], taps.kernel
    copies = {"x": kh * kw * c + k, "both": kw * c + kh * k, "dy": c + kh * kw * k}
    form = min(copies, key=lambda name: copies[name])
    cut = strips(n, x.shape[2:], (m, q), taps)

    def work(job: int) -> np.ndarray:
        strip = cut[job]
        flat = strip.flat
        ups = _moves_of_x(flat.taps, form == "x", form != "dy")
        downs = _moves_of_dy(flat.taps, form != "x", form == "dy")
        left = flat.unfold("dy", dy[strip.images, :, strip.outputs], downs)
        right = flat.unfold("x", x[strip.images, :, strip.inputs], ups)
        product = empty((len(left), len(right)), dy.dtype)
        return matmul(left, right.T, out=product)  # (kh*K, kw*C) | (K, kh*kw*C) | (kh*kw*K, C)

    total = ordered_sum(share(work, len(cut)))
    if form == "x":
        return total.reshape(k, kh, kw, c).transpose(0, 3, 1, 2)
    if form == "both":
        return total.reshape(kh, k, kw, c).transpose(1, 3, 0, 2)
    return total.reshape(kh, kw, k, c).transpose(2, 3, 0, 1)


def ordered_sum(parts: list[np.ndarray]) -> np.ndarray:
    """The sum in list order, into the first."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total
