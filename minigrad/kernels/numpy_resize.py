"""Max pooling and nearest-neighbour upsampling by 2x2 blocks: the four pixels of a block as four
strided views.

Masked copies branch on every element; here the winner of a block comes out of comparisons and small
integers alone.
"""

from __future__ import annotations

import numpy as np

from minigrad.kernels.numpy_elementwise import bits, in_pieces
from minigrad.kernels.numpy_memory import empty
from minigrad.kernels.numpy_threads import scratch
from minigrad.windows import Pair, Window


def is_halving(window: Window) -> bool:
    """2x2 blocks side by side."""
    return window == Window((2, 2), (2, 2))


def later_wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the second is larger, or NaN: the rule by which the definition replaces a maximum; as
    uint8.
    """
    won = second > first
    won |= second != second
    return won.view(np.uint8)


def max_pool2d(x: np.ndarray, window: Window, count: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The larger of the two larger ones; the tap follows from who won each of the three
    comparisons.
    """
    if not is_halving(window) or x.size == 0:
        return NotImplemented
    m, q = count
    x = x[:, :, : 2 * m, : 2 * q]
    y = empty((*x.shape[:2], m, q), x.dtype)
    index = empty(y.shape, np.dtype(np.uint8))

    def work(part: slice) -> None:
        a, b, c, d = (x[part, :, i::2, j::2].copy() for i in (0, 1) for j in (0, 1))
        right_above, right_below = later_wins(a, b), later_wins(c, d)
        np.maximum(a, b, out=a)
        np.maximum(c, d, out=c)
        below = later_wins(a, c)
        np.maximum(a, c, out=y[part])
        right_below += 2
        right_below -= right_above
        right_below *= below  # 2 + right_below - right_above where the lower pair won
        np.add(right_below, right_above, out=index[part])

    in_pieces(work, x, 4)
    return y, index


def max_pool2d_dx(dy: np.ndarray, index: np.ndarray, window: Window, size: Pair) -> np.ndarray:
    """The bits of dy times whether the tap won: every covered pixel is written once."""
    if not is_halving(window) or dy.size == 0:
        return NotImplemented
    n, c, m, q = dy.shape
    dx = empty((n, c, *size), dy.dtype)
    dx[:, :, 2 * m :] = 0
    dx[:, :, :, 2 * q :] = 0
    out = bits(dx)
    dy = dy if dy.strides[-1] == dy.itemsize else np.ascontiguousarray(dy)

    def work(part: slice) -> None:
        for t in range(4):
            taps = out[part, :, t // 2 : 2 * m : 2, t % 2 : 2 * q : 2]
            np.multiply(bits(dy[part]), index[part] == t, out=taps)

    in_pieces(work, dx, 4)
    return dx


def upsample_nearest(x: np.ndarray, scale: Pair) -> np.ndarray:
    """Columns first, on the small image, then whole rows."""
    (n, c, h, w), (sh, sw) = x.shape, scale
    y = empty((n, c, h * sh, w * sw), x.dtype)

    def work(part: slice) -> None:
        first = y[part, :, ::sh]
        for j in range(sw):
            first[..., j::sw] = x[part]
        for i in range(1, sh):
            y[part, :, i::sh] = first

    in_pieces(work, y, 4)
    return y


def upsample_nearest_dx(dy: np.ndarray, scale: Pair) -> np.ndarray:
    """Whole rows first, then columns."""
    (sh, sw) = scale
    if sh * sw == 1 or dy.size == 0:
        return NotImplemented
    n, c, h, w = dy.shape
    dx = empty((n, c, h // sh, w // sw), dy.dtype)

    def work(part: slice) -> None:
        rows = scratch("rows", dy[part, :, ::sh].shape, dy.dtype)
        rows[...] = dy[part, :, ::sh]
        for i in range(1, sh):
            rows += dy[part, :, i::sh]
        total = dx[part]
        total[...] = rows[..., ::sw]
        for j in range(1, sw):
            total += rows[..., j::sw]

    in_pieces(work, dy, 4)
    return dx
