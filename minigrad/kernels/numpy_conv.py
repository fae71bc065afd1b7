"""Convolution with stride 1: half unfolded, half folded, on flat planes.

Full unfolding copies each pixel k_h k_w times. Here copies are made for the horizontal taps only;
one matrix product yields, for each vertical tap i, the planes T[i] that this tap contributes to all
rows, and the result is their sum, each shifted by its rows:

    L[(j, c), r, q] = x[c, r, q + j d_w - left]      k_w copies
    T[(i, k), r, q] = sum_(j,c) weight[k, c, i, j] L[(j, c), r, q]   one product, (k_h K) x (k_w C)
    y[k, m, q]      = sum_i T[(i, k), m + i d_h - top, q]            k_h - 1 additions

The product is nearer to square than the (K) x (k_h k_w C) of full unfolding, which alone is worth a
third: with 67 -> 32 channels 85 against 64 GFLOP/s (one thread, AVX-512). Where K is much larger
than C the sum would cost more than it saves and all taps are unfolded.

The gradient of the input is the same computation with the weight flipped and transposed: nothing is
folded. The gradient of the weight moves the planes of dy vertically and those of x horizontally,
and multiplies them.

Work is cut into strips, several small images or a rectangle of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import prod

import numpy as np

from minigrad.kernels.numpy_flat import Move, Strip, Taps, strips
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
    matrix = matrix_of(weight, everything)
    multiply_into(y, matrix, bias, x, _all_moves if everything else _moves_to_the_right, taps)


def multiply_into(
    y: np.ndarray,
    matrix: np.ndarray,
    bias: np.ndarray | None,
    x: np.ndarray,
    moves: Callable[[Taps], tuple[Move, ...]],
    taps: Taps,
) -> None:
    """y (N, ..., M, Q) = `matrix` times x, unfolded by the `moves` for the taps of each strip, and
    folded where the matrix has several blocks of rows; plus the bias.
    """
    k, (m, q) = prod(y.shape[1:-2]), y.shape[-2:]
    cut = strips(len(x), x.shape[2:], (m, q), taps)

    def work(job: int) -> None:
        strip = cut[job]
        flat = strip.on_outputs if len(matrix) == k else strip.between
        unfolded = flat.unfold("x", x[strip.inputs], moves(strip.taps))
        products = scratch("products", (len(matrix), flat.length), x.dtype)
        matmul(matrix, unfolded, out=products)
        _fold(products, strip, bias, y[strip.outputs])

    share(work, len(cut))


@lru_cache(maxsize=4096)
def _all_moves(taps: Taps) -> tuple[Move, ...]:
    """How far the planes of x are moved, so that the taps fall on their outputs."""
    return tuple(Move(down, right) for down in taps.downs() for right in taps.rights())


@lru_cache(maxsize=4096)
def _moves_to_the_right(taps: Taps) -> tuple[Move, ...]:
    """The horizontal part of it."""
    return tuple(Move(0, right) for right in taps.rights())


@lru_cache(maxsize=4096)
def _moves_back(taps: Taps, columns: bool) -> tuple[Move, ...]:
    """How far the planes of dy are moved, to meet those of x where the taps read them: down, and
    where `columns` is set to the right too.
    """
    rights = taps.rights() if columns else [0]
    return tuple(Move(-down, -right) for down in taps.downs() for right in rights)


STILL = (Move(0, 0),)


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
    matrix = matrix_of(flip(weight), everything)
    dx = empty(x.shape, dy.dtype)
    cut = strips(n, cropped.shape[2:], (h, w), back)

    def work(job: int) -> np.ndarray:
        if job == len(cut):
            return dy.sum((0, 2, 3))
        strip = cut[job]
        flat = strip.on_outputs if everything else strip.between
        moves = _all_moves(strip.taps) if everything else _moves_to_the_right(strip.taps)
        unfolded = flat.unfold("dy", cropped[strip.inputs], moves)
        moves = STILL if everything else _moves_back(strip.taps, columns=False)
        planes = flat.unfold("x", x[strip.outputs], moves)
        products = scratch("products", (len(matrix), flat.length), dy.dtype)
        matmul(matrix, unfolded, out=products)
        _fold(products, strip, None, dx[strip.outputs])
        product = empty((len(unfolded), len(planes)), dy.dtype)
        return matmul(unfolded, planes.T, out=product)

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


def matrix_of(weight: np.ndarray, everything: bool) -> np.ndarray:
    """The weight as the left factor: (k, (i, j, c)), or ((i, k), (j, c)) for halved unfolding."""
    k, _, kh, _ = weight.shape
    rows = k if everything else kh * k
    order = (0, 2, 3, 1) if everything else (2, 0, 3, 1)
    return np.ascontiguousarray(weight.transpose(order)).reshape(rows, -1)


def _fold(products: np.ndarray, strip: Strip, bias: np.ndarray | None, y: np.ndarray) -> None:
    """y = the `products` of one block; of several blocks i the sum, each moved by its tap; plus the
    bias. One of the blocks is overwritten.
    """
    (m, q), n, k = strip.count, strip.images, prod(y.shape[1:-2])
    if len(products) == k:
        _write(products.reshape(k, n, m, q), bias, y)
        return
    h, downs = strip.size[0], strip.taps.downs()
    blocks = products.reshape(len(downs), k, n, h, q)
    # The first row and the one after the last of y that each block adds to.
    rows = [(max(0, down), max(0, down, min(m, h + down))) for down in downs]
    whole = next((i for i, reached in enumerate(rows) if reached == (0, m)), None)
    if whole is None:
        total = scratch("folded", (k, n, m, q), products.dtype)
        total[...] = 0
    else:
        total = blocks[whole][:, :, -downs[whole] : m - downs[whole]]
    for i, (first, end) in enumerate(rows):
        if i != whole and first < end:
            total[:, :, first:end] += blocks[i][:, :, first - downs[i] : end - downs[i]]
    _write(total, bias, y)


def _write(total: np.ndarray, bias: np.ndarray | None, y: np.ndarray) -> None:
    """y (n, ..., M, Q) = total (K, n, M, Q) + bias (K,)."""
    total = total.transpose(1, 0, 2, 3).reshape(y.shape)
    if bias is None:
        y[...] = total
    else:
        np.add(total, bias.reshape(*y.shape[1:-2], 1, 1), out=y)


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
        taps = strip.taps
        flat = {"x": strip.on_outputs, "both": strip.between, "dy": strip.on_inputs}[form]
        downs = STILL if form == "x" else _moves_back(taps, columns=form == "dy")
        ups = {"x": _all_moves(taps), "both": _moves_to_the_right(taps), "dy": STILL}[form]
        left = flat.unfold("dy", dy[strip.outputs], downs)
        right = flat.unfold("x", x[strip.inputs], ups)
        product = empty((len(left), len(right)), dy.dtype)
        # (kh*K, kw*C) | (K, kh*kw*C) | (kh*kw*K, C)
        return matmul(left, right.T, out=product)

    total = ordered_sum(share(work, len(cut)))
    if form == "x":
        return total.reshape(k, kh, kw, c).transpose(0, 3, 1, 2)
    if form == "both":
        return total.reshape(kh, k, kw, c).transpose(1, 3, 0, 2)
    return total.reshape(kh, kw, k, c).transpose(2, 3, 0, 1)


def ordered_sum(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The sum in their order, into the first."""
    rest = iter(parts)
    total = next(rest)
    for part in rest:
        total += part
    return total
