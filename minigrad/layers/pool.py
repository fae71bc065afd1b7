"""MaxPool2d, AvgPool2d and AdaptiveAvgPool2d."""

from __future__ import annotations

import dataclasses

import numpy as np

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import pair, whole
from minigrad.layers.conv import describe_window, window_of
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, Window, pad


@replaceable
def max_pool2d(x: Array, window: Window, count: Pair) -> tuple[Array, Array]:
    """The largest value of each window, and the number (row-major tap) of its FIRST occurrence.

    Args:
        x: (N, C, H, W).
        window: geometry; its padding counts as minus infinity.
        count: windows (M, Q).

    Returns:
        y (N, C, M, Q), and the taps (N, C, M, Q) as the smallest unsigned integers that hold them.
    """
    xp = array_module(x)
    padded = pad(x, window.padding, value=-np.inf)
    taps = window.taps(count)
    y = padded[:, :, taps[0][0], taps[0][1]].copy()  # (N, C, M, Q)
    index = xp.empty(y.shape, dtype=np.min_scalar_type(len(taps) - 1))
    index[...] = xp.asarray(_first_taps(window, count))
    for t, (rows, cols) in enumerate(taps[1:], start=1):
        value = padded[:, :, rows, cols]
        larger = (value > y) | (value != value)  # NaN wins, as in PyTorch
        xp.copyto(y, value, where=larger)
        xp.copyto(index, index.dtype.type(t), where=larger)
    return y, index


def _first_taps(window: Window, count: Pair) -> np.ndarray:
    """The first tap of each window (M, Q) that lies in the image, not in the border before it.

    It is the maximum where the whole window holds minus infinity, as in PyTorch.
    """
    before = window.padding[0], window.padding[2]
    rows, cols = (
        -(-np.maximum(p - np.arange(n) * s, 0) // d)
        for p, n, s, d in zip(before, count, window.stride, window.dilation, strict=True)
    )
    return rows[:, None] * window.kernel[1] + cols


@replaceable
def max_pool2d_dx(dy: Array, index: Array, window: Window, size: Pair) -> Array:
    """Each dy at the tap that `index` names; windows that overlap add.

    Args:
        dy: (N, C, M, Q).
        index: taps (N, C, M, Q) from `max_pool2d`.
        window: geometry.
        size: (H, W) of the input.

    Returns:
        (N, C, H, W); pixels of no window are 0.
    """
    xp = array_module(dy)
    n, c, m, q = dy.shape
    (h, w), (top, bottom, left, right) = size, window.padding
    dx = xp.zeros((n, c, h + top + bottom, w + left + right), dtype=dy.dtype)
    for t, (rows, cols) in enumerate(window.taps((m, q))):
        dx[:, :, rows, cols] += xp.where(index == t, dy, 0)
    return dx[:, :, top : top + h, left : left + w]


class _Pool2d(Module):
    """Geometry that both poolings share."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None,
        padding: int | Pair,
        dilation: int | Pair,
        ceil_mode: bool,
    ) -> None:
        name = type(self).__name__
        stride = kernel_size if stride is None else stride
        self.window = window_of(name, kernel_size, stride, padding, dilation)
        self.ceil_mode = ceil_mode
        for p, k in zip(self.window.padding[::2], self.window.kernel, strict=True):
            if p > k // 2:
                raise ValueError(
                    f"{name}: padding: expected at most half the kernel {self.window.kernel}, "
                    f"got {self.window.padding[::2]}"
                )

    def _windows(self, x: Array) -> tuple[Window, Pair]:
        """The window, its border wide enough for the last one of `ceil_mode`, and their count."""
        self.check_input(x, ndim=4)
        (top, bottom, left, right), size = self.window.padding, x.shape[2:]
        count = list(self.window.count(*size))
        last = [bottom, right]
        for axis, (before, after) in enumerate(((top, bottom), (left, right))):
            s, e = self.window.stride[axis], self.window.extent[axis]
            if self.ceil_mode:
                count[axis] = -(-(size[axis] + before + after - e) // s) + 1
                if (count[axis] - 1) * s >= size[axis] + before:
                    count[axis] -= 1  # a window must start inside the input or the border before it
                last[axis] = max(after, (count[axis] - 1) * s + e - size[axis] - before)
        if min(count) < 1:
            raise ValueError(
                f"{type(self).__name__}: x: expected at least one window of extent "
                f"{self.window.extent}, got shape {x.shape}"
            )
        window = dataclasses.replace(self.window, padding=(top, last[0], left, last[1]))
        return window, (count[0], count[1])

    def describe(self) -> str:
        """The geometry."""
        return describe_window(self.window) + (", ceil_mode=True" if self.ceil_mode else "")


class MaxPool2d(_Pool2d):
    """y[n, c, m, l] = the largest x in window (m, l); the border counts as minus infinity.

    Shapes: x (N, C, H, W) -> y (N, C, M, Q), M = floor((H + 2 p - d (k - 1) - 1) / s) + 1, or the
    ceiling with `ceil_mode` (a window must start inside the input or the border before it).
    VJP: dy goes to the FIRST maximum of its window in row-major order; overlapping windows add.
    Keeps: the tap of each maximum (one byte for up to 256 taps).
    PyTorch: `torch.nn.MaxPool2d`.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        """`stride` defaults to the kernel size.

        Raises:
            ValueError: a size out of range, or a padding above half the kernel.
        """
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Array) -> Array:
        """The maxima."""
        return max_pool2d(x, *self._windows(x))[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The maxima, and their vjp."""
        window, count = self._windows(x)
        y, index = max_pool2d(x, window, count)
        size = x.shape[2:]

        def vjp(dy: Array) -> Array:
            return max_pool2d_dx(dy, index, window, size)

        return y, once(vjp, self, y)


class AvgPool2d(_Pool2d):
    """y[n, c, m, l] = the sum of x over window (m, l), divided by the number of its pixels.

    Shapes: x (N, C, H, W) -> y (N, C, M, Q), as MaxPool2d without dilation.
    The divisor is k_h k_w; without `count_include_pad` only pixels of the image count;
    `divisor_override` replaces it. A window that `ceil_mode` lets hang over counts its padded part
    but not what is beyond.
    VJP: dy / divisor, spread over the window; overlapping windows add.
    Keeps: the divisors, one for each window of a plane.
    PyTorch: `torch.nn.AvgPool2d`.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        """`stride` defaults to the kernel size.

        Raises:
            ValueError: a size out of range, a padding above half the kernel, or a divisor that is
                no whole number or 0.
        """
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        if divisor_override is not None:
            self.divisor_override = whole(divisor_override, "divisor_override", "AvgPool2d")
            if self.divisor_override == 0:
                raise ValueError(
                    "AvgPool2d: divisor_override: expected a whole number other than 0, got 0"
                )

    def forward(self, x: Array) -> Array:
        """The means."""
        window, count = self._windows(x)
        padded = pad(x, window.padding)
        total = sum(padded[:, :, rows, cols] for rows, cols in window.taps(count))
        return total / self._divisor(x, window, count)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The means, and their vjp."""
        y = self.forward(x)
        window, count = self._windows(x)
        divisor = self._divisor(x, window, count)
        (n, c, h, w), (top, bottom, left, right) = x.shape, window.padding

        def vjp(dy: Array) -> Array:
            share = dy / divisor
            dx = array_module(dy).zeros((n, c, h + top + bottom, w + left + right), dtype=dy.dtype)
            for rows, cols in window.taps(count):
                dx[:, :, rows, cols] += share
            return dx[:, :, top : top + h, left : left + w]

        return y, once(vjp, self, y)

    def _divisor(self, x: Array, window: Window, count: Pair) -> Array:
        """Pixels that count in each window, (M, Q), dtype of x."""
        xp = array_module(x)
        if self.divisor_override is not None:
            return xp.full(count, self.divisor_override, dtype=x.dtype)
        sides = []
        for axis in range(2):
            before, size = window.padding[2 * axis], x.shape[2 + axis]
            first = np.arange(count[axis]) * window.stride[axis] - before
            end = first + window.kernel[axis]
            border = self.window.padding[2 * axis] if self.count_include_pad else 0
            sides.append(np.minimum(end, size + border) - np.maximum(first, -border))
        return xp.asarray(np.outer(*sides), dtype=x.dtype)


class AdaptiveAvgPool2d(Module):
    """y[n, c, m, l] = the mean of x over rows floor(m H / M) to ceil((m + 1) H / M) - 1, likewise
    across.

    M bins of nearly equal height cover the H rows; where M does not divide H, neighbours share a
    row. M = Q = 1 is the global mean; M may be larger than H.

    Shapes: x (N, C, H, W) -> y (N, C, M, Q), (M, Q) = `output_size`; None keeps H or W.
    VJP: dx = dy / (pixels of the bin), spread over the bin; bins that overlap add.
    Keeps: the shape.
    PyTorch: `torch.nn.AdaptiveAvgPool2d`.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        """`output_size` is (M, Q), or one number or None for both.

        Raises:
            ValueError: it is neither None, nor a whole number from 1, nor a pair of those.
        """
        both = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
        known = pair(
            tuple(1 if m is None else m for m in both),
            "output_size",
            type(self).__name__,
            at_least=1,
        )
        self.output_size = tuple(None if m is None else k for m, k in zip(both, known, strict=True))

    def forward(self, x: Array) -> Array:
        """The means."""
        rows, cols = self._bins(x)
        xp = array_module(x)
        across = xp.stack([x[:, :, :, a:b].sum(3) for a, b in cols], axis=3)  # (N, C, H, Q)
        total = xp.stack([across[:, :, a:b].sum(2) for a, b in rows], axis=2)  # (N, C, M, Q)
        return total / _pixels(rows, cols, x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The means, and their vjp."""
        y = self.forward(x)
        rows, cols = self._bins(x)
        n, c, h, w = x.shape

        def vjp(dy: Array) -> Array:
            share = dy / _pixels(rows, cols, dy)
            down = array_module(dy).zeros((n, c, h, len(cols)), dtype=dy.dtype)
            for m, (a, b) in enumerate(rows):
                down[:, :, a:b] += share[:, :, m : m + 1]
            dx = array_module(dy).zeros((n, c, h, w), dtype=dy.dtype)
            for q, (a, b) in enumerate(cols):
                dx[:, :, :, a:b] += down[:, :, :, q : q + 1]
            return dx

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The target size."""
        return f"{self.output_size}"

    def _bins(self, x: Array) -> tuple[list[Pair], list[Pair]]:
        """(first, end) of each bin, down and across."""
        self.check_input(x, ndim=4)
        if min(x.shape[2:]) < 1:
            raise ValueError(
                f"AdaptiveAvgPool2d: x: expected a non-empty image, got shape {x.shape}"
            )
        down, across = (
            [(m * n // to, -(-(m + 1) * n // to)) for m in range(to)]
            for n, to in zip(x.shape[2:], self._target(x), strict=True)
        )
        return down, across

    def _target(self, x: Array) -> list[int]:
        """(M, Q)."""
        return [n if m is None else m for n, m in zip(x.shape[2:], self.output_size, strict=True)]


def _pixels(rows: list[Pair], cols: list[Pair], x: Array) -> Array:
    """Pixels of each bin, (M, Q), dtype of x."""
    down, across = ([b - a for a, b in bins] for bins in (rows, cols))
    return array_module(x).asarray(np.outer(down, across), dtype=x.dtype)
