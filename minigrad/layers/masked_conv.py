"""MaskedConv2d and TrimmedConv2d: convolutions some of whose taps are dead, such as the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.layers.conv import Conv2d, conv2d, conv2d_vjp
from minigrad.module import Vjp, once
from minigrad.windows import Pair, Window

Mask = tuple[tuple[int, ...], ...]
"""A plane of taps, row by row: 1 = live, 0 = dead."""


def centre_mask(kernel: Pair) -> Mask:
    """All taps live but the one in row k_h // 2, column k_w // 2."""
    kh, kw = kernel
    return tuple(tuple(int((i, j) != (kh // 2, kw // 2)) for j in range(kw)) for i in range(kh))


def without_dead_taps(weight: Array, mask: Mask) -> Array:
    """A copy of `weight` (K, C/G, k_h, k_w) with zeros at the dead taps of all channel pairs."""
    live = weight.copy()
    for i, row in enumerate(mask):
        for j, alive in enumerate(row):
            if not alive:
                live[:, :, i, j] = 0
    return live


def live_taps(mask: Mask, window: Window, size: Pair) -> np.ndarray:
    """How many live taps of each window lie inside an image of `size`: (M, Q), whole numbers."""
    inside = []
    for axis, (n, m) in enumerate(zip(size, window.count(*size), strict=True)):
        first = np.arange(m) * window.stride[axis] - window.padding[2 * axis]  # pixel of tap 0
        pixel = np.arange(window.kernel[axis])[:, None] * window.dilation[axis] + first
        inside.append(((pixel >= 0) & (pixel < n)).astype(int))  # (k_h, M), then (k_w, Q)
    return inside[0].T @ np.asarray(mask) @ inside[1]


class MaskedConv2d(Conv2d):
    """Conv2d with the weight w m: a mask m of zeros and ones, by default all ones but the centre.

    With a dead centre and a padding that keeps the size, y at a pixel does not depend on x at that
    pixel: a blind spot, exact to the last bit (no fast algorithm mixes neighbours). The dead
    entries of `weight` are parameters and saved like the others, but nothing reads them and their
    cotangent is 0. The mask is not saved.

    Shapes: x (N, C, H, W) -> y (N, K, M, Q), as Conv2d; weight (K, C/G, k_h, k_w); bias (K,);
        m (k_h, k_w), the same for all pairs of channels.
    VJP: that of Conv2d at the weight w m, and d_weight = m times its d_weight.
    Keeps: x.
    Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020).
    PyTorch: `torch.nn.functional.conv2d` with `weight * mask`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        mask: Sequence[Sequence[int]] | np.ndarray | None = None,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weights and bias drawn as for Conv2d, dead taps counted in the fan-in.

        `mask` has an entry for each tap, 1 (live) or 0 (dead). Without it the tap in row k_h // 2,
        column k_w // 2 is dead.

        Raises:
            ValueError: what Conv2d refuses, or a mask of another shape or with other entries.
        """
        super().__init__(
            *(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias),
            dtype=dtype,
            rng=rng,
        )
        kernel, layer = self.window.kernel, type(self).__name__
        try:
            taps = np.asarray(centre_mask(kernel) if mask is None else mask)
        except ValueError:  # rows of different lengths
            taps = np.zeros(())
        if taps.shape != kernel or taps.dtype.kind not in "biuf":
            raise ValueError(
                f"{layer}: mask: expected numbers of the kernel's shape {kernel}, got {mask!r}"
            )
        if not np.isin(taps, (0, 1)).all():
            raise ValueError(f"{layer}: mask: expected the entries 0 and 1, got {mask!r}")
        self.mask: Mask = tuple(tuple(int(tap) for tap in row) for row in taps)

    def forward(self, x: Array) -> Array:
        """The convolution of `x` with the live taps."""
        self._check(x)
        live = without_dead_taps(self.weight, self.mask)
        return conv2d(x, live, self.bias, self.window, self.groups, exact=True)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The convolution, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            live = without_dead_taps(self.weight, self.mask)
            dx, dw, db = conv2d_vjp(dy, x, live, self.window, self.groups, exact=True)
            self.accumulate(
                weight=without_dead_taps(dw, self.mask), bias=None if self.bias is None else db
            )
            return dx

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Channels and geometry, and the mask where it is not the default."""
        other = self.mask != centre_mask(self.window.kernel)
        return super().describe() + (f", mask={self.mask}" if other else "")


class TrimmedConv2d(MaskedConv2d):
    """y = f (r conv(x, w m) + b): a MaskedConv2d whose sum is scaled up for the taps it lacks.

    With c the number of live taps of the window that lie inside the image: f = min(c, 1), and
    r = f k_h k_w / (c + 1e-8). A window without any gives 0, not even the bias. With one dead tap
    r is not 1 in the interior either, but k_h k_w / (k_h k_w - 1).

    Shapes: as MaskedConv2d; c (M, Q).
    VJP: that of MaskedConv2d at the cotangent r dy; d_bias = sum over n, m, l of f dy.
    Keeps: x, c.
    Source: Liu et al., Partial convolution based padding (2018); with a dead centre, Wu, Liu, Cao,
        Ren and Zuo, Unpaired learning of deep image denoising (2020).
    PyTorch: own twin.
    """

    def forward(self, x: Array) -> Array:
        """The scaled convolution of `x` with the live taps."""
        self._check(x)
        return self._scaled(x, self._live_taps(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The scaled convolution, and its vjp."""
        self._check(x)
        count = self._live_taps(x)  # (M, Q)
        y = self._scaled(x, count)

        def vjp(dy: Array) -> Array:
            some, ratio = self._factors(count)
            live = without_dead_taps(self.weight, self.mask)
            dx, dw, _ = conv2d_vjp(dy * ratio, x, live, self.window, self.groups, exact=True)
            self.accumulate(
                weight=without_dead_taps(dw, self.mask),
                bias=None if self.bias is None else (dy * some).sum((0, 2, 3)),
            )
            return dx

        return y, once(vjp, self, y)

    def _scaled(self, x: Array, count: Array) -> Array:
        some, ratio = self._factors(count)
        live = without_dead_taps(self.weight, self.mask)
        y = conv2d(x, live, None, self.window, self.groups, exact=True) * ratio
        return y if self.bias is None else (y + self.bias[:, None, None]) * some

    def _live_taps(self, x: Array) -> Array:
        """c, in the dtype and on the device of `x`."""
        count = live_taps(self.mask, self.window, x.shape[2:])
        return array_module(x).asarray(count, dtype=x.dtype)

    def _factors(self, count: Array) -> tuple[Array, Array]:
        """(f, r)."""
        some = array_module(count).minimum(count, 1)
        kh, kw = self.window.kernel
        return some, some * (kh * kw) / (count + 1e-8)
