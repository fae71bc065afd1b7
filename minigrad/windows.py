"""Unfold and fold: the adjoint pair under every convolution and every pooling.

`unfold` copies each window of an image into a column; `fold` is its exact transpose: it ADDS every
entry back at the place where it was read. Both loop over the kernel's taps only (k_h * k_w slice
copies), never over pixels.

`fold(unfold(x))` is `x` times the number of windows that cover each pixel, so fold is no inverse.
Pixels that lie in no window get zero from fold by themselves: no special case exists for strides
that leave a remainder.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigrad.backend import Array, array_module, replaceable

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The geometry of a sliding window over an image.

    Attributes:
        kernel: taps (k_h, k_w).
        stride: step between windows (s_h, s_w).
        padding: border (top, bottom, left, right) around the image.
        dilation: distance between taps (d_h, d_w).
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        """Pixels from the first to the last tap: e = d (k - 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def count(self, h: int, w: int) -> Pair:
        """Windows that fit: floor((H + p_top + p_bottom - e_h) / s_h) + 1, but at least 0; and
        likewise across.
        """
        top, bottom, left, right = self.padding
        (eh, ew), (sh, sw) = self.extent, self.stride
        return max(0, (h + top + bottom - eh) // sh + 1), max(0, (w + left + right - ew) // sw + 1)

    def taps(self, count: Pair) -> list[tuple[slice, slice]]:
        """For each tap (i, j), row-major: the pixels of the padded image that are read there."""
        (kh, kw), (sh, sw), (dh, dw), (m, q) = self.kernel, self.stride, self.dilation, count
        return [
            (
                slice(i * dh, i * dh + sh * (m - 1) + 1, sh),
                slice(j * dw, j * dw + sw * (q - 1) + 1, sw),
            )
            for i in range(kh)
            for j in range(kw)
        ]


def pad(x: Array, padding: tuple[int, int, int, int], value: float = 0.0) -> Array:
    """`x` (N, C, H, W) in a border (top, bottom, left, right) of `value`; `x` itself if none."""
    if not any(padding):
        return x
    xp = array_module(x)
    n, c, h, w = x.shape
    top, bottom, left, right = padding
    padded = xp.full((n, c, h + top + bottom, w + left + right), value, dtype=x.dtype)
    padded[:, :, top : top + h, left : left + w] = x
    return padded  # (N, C, H+top+bottom, W+left+right)


@replaceable
def unfold(x: Array, window: Window, count: Pair | None = None) -> Array:
    """Copy each window of `x` into a column.

    u[n, (c, i, j), (m, l)] = xpad[n, c, m s_h + i d_h, l s_w + j d_w], rows with c slowest, columns
    with m slowest.

    Args:
        x: images (N, C, H, W).
        window: the geometry; zeros stand in its padding.
        count: take only the first (M, Q) windows; default: all that fit.

    Returns:
        (N, C k_h k_w, M Q), dtype of `x`. Its transpose is `fold`.
    """
    xp = array_module(x)
    n, c, h, w = x.shape
    m, q = count if count is not None else window.count(h, w)
    taps = window.taps((m, q))
    padded = pad(x, window.padding)
    columns = xp.empty((n, c, len(taps), m, q), dtype=x.dtype)
    for t, (rows, cols) in enumerate(taps):
        columns[:, :, t] = padded[:, :, rows, cols]
    return columns.reshape(n, c * len(taps), m * q)  # (N, C*kh*kw, M*Q)


@replaceable
def fold(v: Array, window: Window, size: Pair, count: Pair | None = None) -> Array:
    """Add each column of `v` back at the pixels of its window: the exact transpose of `unfold`.

    Args:
        v: columns (N, C k_h k_w, M Q).
        window: the geometry.
        size: (H, W) of the image to return.
        count: (M, Q) when fewer windows than fit are meant; default: all that fit.

    Returns:
        (N, C, H, W), dtype of `v`; pixels in no window are exactly 0.
    """
    xp = array_module(v)
    (h, w), (top, bottom, left, right) = size, window.padding
    m, q = count if count is not None else window.count(h, w)
    taps = window.taps((m, q))
    n, c = v.shape[0], v.shape[1] // len(taps)
    v = v.reshape(n, c, len(taps), m, q)
    padded = xp.zeros((n, c, h + top + bottom, w + left + right), dtype=v.dtype)
    for t, (rows, cols) in enumerate(taps):
        padded[:, :, rows, cols] += v[:, :, t]
    return padded[:, :, top : top + h, left : left + w]  # (N, C, H, W)
