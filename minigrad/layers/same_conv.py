"""SameConv2d and SameConvTranspose2d: Keras' convolutions with padding "same"."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minigrad import initialise
from minigrad.backend import Array
from minigrad.layers.conv import (
    channels_of,
    conv2d,
    conv2d_dw,
    conv2d_dx,
    conv2d_vjp,
    describe_window,
    window_of,
)
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, Window


def same_border(n: int, stride: int, extent: int) -> Pair:
    """The pixels (before, after) with which ceil(n / s) windows of `extent` fit an axis of n
    pixels: the total is max((ceil(n / s) - 1) s + e - n, 0), an odd one has its extra pixel after.
    """
    total = max((-(-n // stride) - 1) * stride + extent - n, 0)
    return total // 2, total - total // 2


class _SameConv(Module):
    """Settings, parameters and checks that both share. `window` has no border yet."""

    parameter_names = ("weight", "bias")
    weight: Array
    bias: Array | None
    d_weight: Array
    d_bias: Array | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weights drawn as Keras draws them, by Glorot and Bengio's rule: uniform within
        sqrt(6 / (fan_in + fan_out)). The bias starts at 0.

        Raises:
            ValueError: channels not divisible by groups, or a size that is no whole number or out
                of range.
        """
        layer = type(self).__name__
        self.in_channels, self.out_channels, self.groups = channels_of(
            layer, in_channels, out_channels, groups
        )
        self.window = window_of(layer, kernel_size, stride, 0, dilation)
        rng = np.random.default_rng() if rng is None else rng
        first, second = self._sides()
        shape = (first, second // self.groups, *self.window.kernel)
        b = initialise.zeros((self.out_channels,), dtype=dtype)
        self.set_parameters(
            weight=initialise.xavier_uniform(shape, rng, dtype=dtype), bias=b if bias else None
        )

    def _sides(self) -> Pair:
        """The channels along the first two axes of the weight, before grouping."""
        raise NotImplementedError

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4, channels=self.in_channels)
        if min(x.shape[2:]) < 1:
            raise ValueError(
                f"{type(self).__name__}: x: expected an image of at least one pixel, got shape "
                f"{x.shape}"
            )

    def _window(self, size: Pair) -> Window:
        """The window with its border for a convolution of an image of `size`."""
        (h, w), (sh, sw), (eh, ew) = size, self.window.stride, self.window.extent
        border = (*same_border(h, sh, eh), *same_border(w, sw, ew))
        return dataclasses.replace(self.window, padding=border)

    def describe(self) -> str:
        """Channels and geometry."""
        return f"{self.in_channels}, {self.out_channels}, {describe_window(self.window)}" + (
            f", groups={self.groups}" if self.groups > 1 else ""
        )


class SameConv2d(_SameConv):
    """Conv2d with M = ceil(H / s) and Q = ceil(W / s): the border is what that takes.

    The border depends on the size of the image and may be one pixel wider below and on the right:
    a 3x3 kernel of stride 2 has the borders (0, 1) on an even side, (1, 1) on an odd one.

    Shapes: x (N, C, H, W) -> y (N, K, M, Q); weight (K, C/G, k_h, k_w); bias (K,).
    Border of an axis of n pixels, with e = d (k - 1) + 1 and t = max((ceil(n / s) - 1) s + e - n,
        0): floor(t / 2) zeros before, t - floor(t / 2) after.
    VJP: that of Conv2d with this border.
    Keeps: x.
    Source: Keras, `Conv2D(padding="same")`.
    PyTorch: `torch.nn.Conv2d` after `torch.nn.functional.pad`.
    """

    def forward(self, x: Array) -> Array:
        """The convolution of `x`."""
        self._check(x)
        return conv2d(x, self.weight, self.bias, self._window(x.shape[2:]), self.groups)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The convolution, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            window = self._window(x.shape[2:])
            dx, dw, db = conv2d_vjp(dy, x, self.weight, window, self.groups)
            self.accumulate(weight=dw, bias=None if self.bias is None else db)
            return dx

        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """N M Q K (C/G) k_h k_w."""
        n, _, h, w = shapes[0]
        m, q = self._window((h, w)).count(h, w)
        return n * m * q * int(self.weight.size)

    def _sides(self) -> Pair:
        return self.out_channels, self.in_channels


class SameConvTranspose2d(_SameConv):
    """ConvTranspose2d with H' = H s and W' = W s: the adjoint of SameConv2d on such an image.

    Of the (n - 1) s + e pixels that the kernels reach, t = max(e - s, 0) are cut off: floor(t / 2)
    before, the rest after. For a 3x3 kernel that is (1, 1) with stride 1, (0, 1) with stride 2.
    Where s > e, pixels under no kernel hold the bias alone.

    Shapes: x (N, C, H, W) -> y (N, K, H s_h, W s_w); weight (C, K/G, k_h, k_w); bias (K,).
    VJP: that of ConvTranspose2d with these borders.
    Keeps: x.
    Source: Keras, `Conv2DTranspose(padding="same")`.
    PyTorch: `torch.nn.ConvTranspose2d` without padding, then cut.
    """

    def forward(self, x: Array) -> Array:
        """The transposed convolution of `x`."""
        self._check(x)
        size = self._size(x)
        y = conv2d_dx(x, self.weight, self._window(size), self.groups, size)
        if self.bias is not None:
            y += self.bias[:, None, None]
        return y

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The transposed convolution, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            window = self._window(dy.shape[2:])
            self.accumulate(
                weight=conv2d_dw(x, dy, window, self.groups),  # roles exchanged
                bias=None if self.bias is None else dy.sum((0, 2, 3)),
            )
            return conv2d(dy, self.weight, None, window, self.groups)

        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """N H W C (K/G) k_h k_w."""
        n, _, h, w = shapes[0]
        return n * h * w * int(self.weight.size)

    def _size(self, x: Array) -> Pair:
        (h, w), (sh, sw) = x.shape[2:], self.window.stride
        return h * sh, w * sw

    def _sides(self) -> Pair:
        return self.in_channels, self.out_channels
