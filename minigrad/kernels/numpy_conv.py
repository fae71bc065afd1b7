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

Work is cut into strips, several small images or a rectangle of a large one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod

import numpy as np

from minigrad.kernels.numpy_flat import Flat, Move, Taps, strips
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import scratch, share
from minigrad.windows import Pair


def correlate(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps, count: Pair
) -> np.ndarray:
    """y[n, k, m, q] = bias[k] + sum over (c, i, j) of weight[k, c, i, j] x[n, c, m + i d_h - top, q
    + j d_w - left].

    x (N, C, H, W), weight (K, C, k_h, k_w) -> (N, K, M, Q), dtype of x.
    """
    y = empty((len(x), len(weight), *count), x.dtype)
    correlate_into(y, x, weight, bias, taps)
    return y


def correlate_into(
    y: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, taps: Taps
) -> None:
    """`correlate`, written to y: (N, K, M, Q), or (N, ..., M, Q) with K split into several axes."""
    x, taps = drop_unread(x, taps)
    everything = unfolds_all(x.shape[1], len(weight), taps.kernel)
    matrix = matrix_of(weight, bias, everything)

    def moves(taps: Taps) -> tuple[Move, ...]:
        return _moves_of_x(taps, everything, True)

    multiply_into(y, matrix, x, moves, taps)


def multiply_into(
    y: np.ndarray,
    matrix: np.ndarray,
    x: np.ndarray,
    moves: Callable[[Taps], tuple[Move, ...]],
    taps: Taps,
) -> None:
    """y (N, ..., M, Q) = `matrix` times x, unfolded by the `moves` for the taps of each strip, and
    folded where the matrix has several blocks of rows.
    """
    k, (m, q) = prod(y.shape[1:-2]), y.shape[-2:]
    cut = strips(len(x), x.shape[2:], (m, q), taps)

    def work(job: int) -> None:
        strip = cut[job]
        flat = strip.flat
        unfolded = flat.unfold("x", x[strip.inputs], moves(flat.taps), last=1)
        # Without folding no row is shifted after the product.
        read = flat.outputs if len(matrix) == k else flat.length
        products = scratch("products", (len(matrix), read), x.dtype)
        matmul(matrix, unfolded[:, :read], out=products)
        _fold(products, flat, y[strip.outputs])

    share(work, len(cut))


@lru_cache(maxsize=4096)
def _moves_of_x(taps: Taps, rows: bool, columns: bool) -> tuple[Move, ...]:
    """How far the planes of x are moved, so that the taps fall on one place."""
    return tuple(Move(taps.top - i, -j) for i in taps.rows(rows) for j in taps.columns(columns))


@lru_cache(maxsize=4096)
def _moves_of_dy(taps: Taps, rows: bool, columns: bool) -> tuple[Move, ...]:
    """How far the planes of dy are moved to meet the planes of x that are not."""
    return tuple(Move(i, j) for i in taps.rows(rows) for j in taps.columns(columns))


def unfolds_all(c: int, k: int, kernel: Pair) -> bool:
    """Whether all taps are unfolded, not only the horizontal ones, from C to K channels."""
    return copies(c, k, kernel, everything=True) < copies(c, k, kernel, everything=False)


def copies(c: int, k: int, kernel: Pair, everything: bool) -> int:
    """The values written for one output pixel. Unfolding all taps: their copies. Halving: the
    copies of one row of taps, and the products, which are written once and read once.
    """
    kh, kw = kernel
    return kh * kw * c if everything else kw * c + 2 * kh * k


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
    cropped, back = drop_unread(dy, taps.flipped())
    everything = unfolds_all(k, c, taps.kernel)
    matrix = matrix_of(flip(weight), None, everything)
    dx = empty(x.shape, dy.dtype)
    cut = strips(n, cropped.shape[2:], (h, w), back)

    def work(job: int) -> np.ndarray:
        if job == len(cut):
            return dy.sum((0, 2, 3))
        strip = cut[job]
        flat = strip.flat
        moves = _moves_of_x(flat.taps, everything, True)
        unfolded = flat.unfold("dy", cropped[strip.inputs], moves, last=1)
        moves = _moves_of_dy(flat.taps, not everything, False)
        planes = flat.unfold("x", x[strip.outputs], moves)
        read = flat.outputs if everything else flat.length
        unfolded, planes = unfolded[:, :read], planes[:, :read]
        products = scratch("products", (len(matrix), read), dy.dtype)
        matmul(matrix, unfolded, out=products)
        _fold(products, flat, dx[strip.outputs])
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


def matrix_of(weight: np.ndarray, bias: np.ndarray | None, everything: bool) -> np.ndarray:
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
    k = prod(y.shape[1:-2])
    shifts = [i * flat.pitch for i in flat.taps.rows(len(products) > k)]
    blocks = [
        products[i * k : (i + 1) * k, move : move + flat.outputs] for i, move in enumerate(shifts)
    ]
    if len(blocks) == 1:
        y[...] = flat.crop(blocks[0]).reshape(y.shape)
        return
    total = blocks[0]
    for block in blocks[1:-1]:
        total += block
    np.add(flat.crop(total).reshape(y.shape), flat.crop(blocks[-1]).reshape(y.shape), out=y)


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
        left = flat.unfold("dy", dy[strip.outputs], downs)
        right = flat.unfold("x", x[strip.inputs], ups)
        read = flat.outputs if form == "x" else flat.length
        product = empty((len(left), len(right)), dy.dtype)
        return matmul(
            left[:, :read], right[:, :read].T, out=product
        )  # (kh*K, kw*C) | (K, kh*kw*C) | (kh*kw*K, C)

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
