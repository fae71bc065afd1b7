"""Convolutions whose windows touch without overlapping: stride = kernel, no padding, no dilation.

Each pixel belongs to one window, so unfolding is a rearrangement, and one matrix product over the
whole batch does the rest:

    A[(n, m, q), (i, j, c)] = x[n, c, m k_h + i, q k_w + j],
    y = A W',   dA = dy W,   dW = dy' A

With the channels last in memory a run of k_w C numbers moves at once (measured: 0.15 ns a number,
against 1.5 for gathering single pixels), so results with many channels are stored that way and
returned as an (N, C, H, W) view: elementwise layers keep the order, and the next layer of this kind
finds its runs. Results with few channels are stored as usual.

The work is cut into blocks of rows of A that stay in the cache, and the blocks go over threads. A
batch that fills no two blocks is cut in two all the same, unless it is very small.
"""

from __future__ import annotations

import numpy as np

from minigrad.kernels.numpy_conv import ordered_sum
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import scratch, share
from minigrad.windows import Pair, Window

BLOCK = 1 << 18  # numbers in a block of A: 1 MiB of float32
SHARED = 1 << 17  # numbers of A from which on a second thread gains more than waking it costs
CHANNELS_LAST = 8  # from this many channels on, a result is stored with its channels last


def covers(window: Window) -> bool:
    """Whether the windows touch without overlapping."""
    return window.kernel == window.stride and window.dilation == (1, 1) and not any(window.padding)


def empty_images(shape: tuple[int, int, int, int], dtype: np.dtype) -> np.ndarray:
    """Uninitialised (N, C, H, W), with the channels last in memory where they are many."""
    n, c, h, w = shape
    if c < CHANNELS_LAST:
        return empty(shape, dtype)
    return empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def blocks(n: int, numbers: int) -> list[slice]:
    """Slices of the batch, each with about `BLOCK` of the `numbers` that an image has; at least two
    from `SHARED` numbers on.
    """
    each = max(1, BLOCK // max(1, numbers))
    if n * numbers >= SHARED:
        each = min(each, -(-n // 2))
    return [slice(first, min(first + each, n)) for first in range(0, n, each)]


def by_window(x: np.ndarray, kernel: Pair, count: Pair) -> np.ndarray:
    """The covered pixels of x (N, C, H, W), as a view (N, M, Q, k_h, k_w, C)."""
    (kh, kw), (m, q) = kernel, count
    sn, sc, sh, sw = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], m, q, kh, kw, x.shape[1]),
        (sn, kh * sh, kw * sw, sh, sw, sc),
        writeable=x.flags.writeable,
    )


def rows_of(dy: np.ndarray) -> np.ndarray:
    """dy (n, K, M, Q) as rows (n M Q, K): a view where the channels are last in memory, else a
    copy.
    """
    return dy.transpose(0, 2, 3, 1).reshape(-1, dy.shape[1])


def columns(x: np.ndarray, kernel: Pair, count: Pair) -> np.ndarray:
    """The matrix A (n M Q, k_h k_w C) of a block, in scratch memory."""
    view = by_window(x, kernel, count)
    a = scratch("columns", view.shape, x.dtype)
    a[...] = view
    return a.reshape(-1, kernel[0] * kernel[1] * x.shape[1])


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window
) -> np.ndarray:
    """y = A W' + b: (N, K, M, Q)."""
    n, c, h, w = x.shape
    k, count = weight.shape[0], window.count(h, w)
    wt = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, k)  # (kh*kw*C, K)
    y = empty_images((n, k, *count), x.dtype)
    parts = blocks(n, count[0] * count[1] * len(wt))

    def work(job: int) -> None:
        part = parts[job]
        a = columns(x[part], window.kernel, count)
        out = y[part].transpose(0, 2, 3, 1)
        if k >= CHANNELS_LAST:
            product = matmul(a, wt, out=out.reshape(-1, k))
            if bias is not None:
                product += bias
        else:
            product = matmul(a, wt, out=scratch("product", (len(a), k), x.dtype))
            np.add(product.reshape(out.shape), 0 if bias is None else bias, out=out)

    share(work, len(parts))
    return y


def conv2d_dx(dy: np.ndarray, weight: np.ndarray, window: Window, size: Pair) -> np.ndarray:
    """dx: each row of dA = dy W, laid on its window; zero beyond the windows."""
    n, k, m, q = dy.shape
    c, (kh, kw) = weight.shape[1], window.kernel
    matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(k, -1)  # (K, kh*kw*C)
    dx = empty_images((n, c, *size), dy.dtype)
    dx[:, :, m * kh :] = 0
    dx[:, :, :, q * kw :] = 0
    parts = blocks(n, m * q * matrix.shape[1])

    def work(job: int) -> None:
        part = parts[job]
        rows = rows_of(dy[part])
        da = scratch("columns", (len(rows), matrix.shape[1]), dy.dtype)
        matmul(rows, matrix, out=da)
        by_window(dx[part], window.kernel, (m, q))[...] = da.reshape(-1, m, q, kh, kw, c)

    share(work, len(parts))
    return dx


def conv2d_dw(dy: np.ndarray, x: np.ndarray, window: Window) -> np.ndarray:
    """dW = dy' A, summed over the blocks in order."""
    n, k, m, q = dy.shape
    c, (kh, kw) = x.shape[1], window.kernel
    parts = blocks(n, m * q * kh * kw * c)

    def work(job: int) -> np.ndarray:
        part = parts[job]
        return matmul(rows_of(dy[part]).T, columns(x[part], window.kernel, (m, q)))

    total = ordered_sum(share(work, len(parts)))
    return total.reshape(k, kh, kw, c).transpose(0, 3, 1, 2)
