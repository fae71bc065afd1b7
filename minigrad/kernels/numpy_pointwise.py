"""1x1 convolution: one product for each stretch of pixels, on the arrays as they lie.

    y[n] = W x[n] + b        dx[n] = W' dy[n]        dW = sum over n of dy[n] x[n]'

with x[n] (C, H W). Nothing is unfolded and nothing copied; a stretch is short enough for the sum of
its bias to find it in the second cache.
"""

from __future__ import annotations

from math import prod

import numpy as np

from minigrad.kernels.numpy_conv import ordered_sum
from minigrad.kernels.numpy_flat import part_length
from minigrad.kernels.numpy_matmul import matmul
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import runs, share
from minigrad.windows import Pair, Window

PIXELS = 2048  # of a stretch, at most
PLANE = 64  # pixels of the smallest plane that is a product of its own
GROUPS = 8  # partial sums of the weight's cotangent


def covers(window: Window, x: Pair, y: Pair) -> bool:
    """Whether every pixel of planes x is read by the output above it alone, and they are large."""
    return window == Window((1, 1)) and x == y and prod(x) >= PLANE


def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """x (N, C, H, W), weight (K, C, 1, 1) -> (N, K, H, W)."""
    n, c, h, w = x.shape
    k = len(weight)
    matrix, planes = weight.reshape(k, c), x.reshape(n, c, h * w)
    y = empty((n, k, h * w), x.dtype)
    cut = _stretches(n, h * w)

    def work(job: int) -> None:
        image, pixels = cut[job]
        place = y[image, :, pixels]
        matmul(matrix, planes[image, :, pixels], out=place)
        if bias is not None:
            place += bias[:, None]

    share(work, len(cut))
    return y.reshape(n, k, h, w)


def conv2d_dx(dy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The same with the weight transposed."""
    return conv2d(dy, weight.transpose(1, 0, 2, 3), None)


def conv2d_dw(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N, K, H, W), x (N, C, H, W) -> (K, C, 1, 1)."""
    (n, k, h, w), c = dy.shape, x.shape[1]
    left, right = dy.reshape(n, k, h * w), x.reshape(n, c, h * w)
    cut = _stretches(n, h * w)
    groups = runs(len(cut), GROUPS)

    def work(job: int) -> np.ndarray:
        products = (
            matmul(left[image, :, pixels], right[image, :, pixels].T)
            for image, pixels in cut[groups[job]]
        )
        return ordered_sum(products)

    return ordered_sum(share(work, len(groups))).reshape(k, c, 1, 1)


def _stretches(n: int, length: int) -> list[tuple[int, slice]]:
    """The number of the image and the pixels of each, by shape alone."""
    step = part_length(length, PIXELS)
    return [(image, slice(a, a + step)) for image in range(n) for a in range(0, length, step)]
