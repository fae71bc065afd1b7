"""Strided convolution as a stride-1 convolution of the phases of the image.

Tap i = a s + r of a window of stride s reads pixel (m + a) s + r: pixel m + a of the phase r. So
the s_h s_w phases of each channel become channels of their own, the kernel shrinks to ceil(k / s)
taps (zeros fill the last), and the stride is 1:  k=4, s=2 becomes a 2x2 kernel on 4 C channels,
without a single wasted product.

The phases are one copy of the image; the stride-1 form does the rest, in all three directions. A
forward that unfolds all taps takes each from its own phase and needs no zeros: k=3, s=2 has 9 taps,
not 16. In dx an infinite or undefined dy spoils the pixels of these zero taps as well.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from minigrad.kernels import numpy_conv
from minigrad.kernels.numpy_flat import Move, Taps
from minigrad.kernels.numpy_memory import empty
from minigrad.windows import Pair, Window


def taps_of(window: Window) -> Taps:
    """The reads on the phases: ceil(k / s) taps, no border (the phases carry it)."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    return Taps((-(-kh // sh), -(-kw // sw)), (1, 1), 0, 0)


def extent(window: Window, count: Pair) -> Pair:
    """Rows and columns of a phase that `count` windows read."""
    taps = taps_of(window)
    return count[0] + taps.kernel[0] - 1, count[1] + taps.kernel[1] - 1


def split(x: np.ndarray, window: Window, count: Pair) -> np.ndarray:
    """The padded x (N, C, H, W) as phases (N, (C, s_h, s_w), U, V)."""
    n, c, h, w = x.shape
    (sh, sw), (u, v), (top, _, left, _) = window.stride, extent(window, count), window.padding
    padded = np.zeros((n, c, u * sh, v * sw), x.dtype)
    h, w = max(0, min(h, u * sh - top)), max(0, min(w, v * sw - left))
    padded[:, :, top : top + h, left : left + w] = x[:, :, :h, :w]
    phases = padded.reshape(n, c, u, sh, v, sw).transpose(0, 1, 3, 5, 2, 4)
    return phases.reshape(n, c * sh * sw, u, v)


def split_weight(weight: np.ndarray, window: Window) -> np.ndarray:
    """(K, C, k_h, k_w) as (K, (C, s_h, s_w), ceil(k_h/s_h), ceil(k_w/s_w)), zeros where there is no
    tap.
    """
    k, c, kh, kw = weight.shape
    (sh, sw), (ah, aw) = window.stride, taps_of(window).kernel
    full = np.zeros((k, c, ah * sh, aw * sw), weight.dtype)
    full[:, :, :kh, :kw] = weight
    return full.reshape(k, c, ah, sh, aw, sw).transpose(0, 1, 3, 5, 2, 4).reshape(k, -1, ah, aw)


def conv2d(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window, count: Pair
) -> np.ndarray:
    """The stride-1 convolution of the phases."""
    phases, taps = split(x, window, count), taps_of(window)
    (kh, kw), (sh, sw), (k, c) = window.kernel, window.stride, weight.shape[:2]
    halved = numpy_conv.copies(c * sh * sw, k, taps.kernel, everything=False)
    if halved < kh * kw * c:
        full = split_weight(weight, window)
        return numpy_conv.correlate(phases, full, bias, taps, count)
    matrix = numpy_conv.matrix_of(weight, everything=True)
    y = empty((len(x), k, *count), x.dtype)
    numpy_conv.multiply_into(y, matrix, bias, phases, partial(_moves, window), taps)
    return y


@lru_cache(maxsize=4096)
def _moves(window: Window, taps: Taps) -> tuple[Move, ...]:
    """One for each tap of the window: how far its phase is moved."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    return tuple(
        Move(taps.top - i // sh, taps.left - j // sw, i % sh * sw + j % sw, sh * sw)
        for i in range(kh)
        for j in range(kw)
    )


def conv2d_dx(dy: np.ndarray, weight: np.ndarray, window: Window, size: Pair) -> np.ndarray:
    """The phases of dx, each in its places, without the border; zero beyond the windows."""
    n, c, (sh, sw) = len(dy), weight.shape[1], window.stride
    (h, w), (top, _, left, _) = size, window.padding
    u, v = extent(window, dy.shape[2:])
    padded = empty((n, c, max(u * sh, top + h), max(v * sw, left + w)), dy.dtype)
    padded[:, :, u * sh :] = 0
    padded[:, :, :, v * sw :] = 0
    phases = padded[:, :, : u * sh, : v * sw].reshape(n, c, u, sh, v, sw)  # a view
    numpy_conv.correlate_into(
        phases.transpose(0, 1, 3, 5, 2, 4),  # (N, C, s_h, s_w, U, V)
        dy,
        numpy_conv.flip(split_weight(weight, window)),
        None,
        taps_of(window).flipped(),
    )
    return padded[:, :, top : top + h, left : left + w]


def conv2d_dw(dy: np.ndarray, x: np.ndarray, window: Window) -> np.ndarray:
    """The gradient of the rearranged weight, rearranged back; the filled-in taps are dropped."""
    k, c = dy.shape[1], x.shape[1]
    (kh, kw), (sh, sw), (ah, aw) = window.kernel, window.stride, taps_of(window).kernel
    dw = numpy_conv.correlate_dw(dy, split(x, window, dy.shape[2:]), taps_of(window))
    dw = dw.reshape(k, c, sh, sw, ah, aw).transpose(0, 1, 4, 2, 5, 3)
    return dw.reshape(k, c, ah * sh, aw * sw)[:, :, :kh, :kw]
