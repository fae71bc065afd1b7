"""ConvTranspose2d: the adjoint of Conv2d, as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import initialise
from minigrad.backend import Array
from minigrad.checks import pair
from minigrad.layers.conv import (
    channels_of,
    conv2d,
    conv2d_dw,
    conv2d_dx,
    describe_window,
    window_of,
)
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair


class ConvTranspose2d(Module):
    """y = fold(B' x) + b: what Conv2d's vjp does to dy, B being the weight as a matrix.

    Exactly H x W windows are laid on the output; pixels in none of them (output padding q, stride
    beyond the kernel) hold the bias alone.

    Shapes: x (N, C, H, W) -> y (N, K, H', W'), W' as H' = (H - 1) s - 2 p + d (k - 1) + q + 1;
        weight (C, K/G, k_h, k_w); bias (K,).
    VJP, with V = unfold(dy) and B the weight as a (C, K/G k_h k_w) matrix, group by group:
        dx = B V;  d_weight = sum_n x[n] V[n]';  d_bias = sum over n and pixels of dy.
    Keeps: x.
    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016), ch. 4.
    PyTorch: `torch.nn.ConvTranspose2d`.
    """

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
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weights and bias drawn as PyTorch draws them: uniform within 1 / sqrt(K/G k_h k_w).

        Raises:
            ValueError: channels not divisible by groups, output_padding not below max(stride,
                dilation), or a size that is no whole number or out of range.
        """
        layer = "ConvTranspose2d"
        self.in_channels, self.out_channels, self.groups = channels_of(
            layer, in_channels, out_channels, groups
        )
        self.window = window_of(layer, kernel_size, stride, padding, dilation)
        self.output_padding = pair(output_padding, "output_padding", layer, at_least=0)
        limits = tuple(map(max, self.window.stride, self.window.dilation))
        if any(q >= limit for q, limit in zip(self.output_padding, limits, strict=True)):
            raise ValueError(
                f"{layer}: output_padding: expected less than max(stride, dilation) = {limits}, "
                f"got {self.output_padding}"
            )
        rng = np.random.default_rng() if rng is None else rng
        shape = (self.in_channels, self.out_channels // self.groups, *self.window.kernel)
        w, b = initialise.native(shape, rng, bias_size=self.out_channels, dtype=dtype)
        self.set_parameters(weight=w, bias=b if bias else None)

    def forward(self, x: Array) -> Array:
        """The transposed convolution of `x`."""
        self.check_input(x, ndim=4, channels=self.in_channels)
        size = self._size(*x.shape[2:])
        y = conv2d_dx(x, self.weight, self.window, self.groups, size)
        if self.bias is not None:
            y += self.bias[:, None, None]
        return y

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The transposed convolution, and its vjp."""
        y = self.forward(x)
        h, w = x.shape[2:]

        def vjp(dy: Array) -> Array:
            self.accumulate(
                weight=conv2d_dw(x, dy, self.window, self.groups),  # roles exchanged
                bias=None if self.bias is None else dy.sum((0, 2, 3)),
            )
            # An output padding of a stride or more lets further windows fit: the first H x W count.
            return conv2d(dy, self.weight, None, self.window, self.groups)[:, :, :h, :w]

        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """N H W C (K/G) k_h k_w."""
        n, _, h, w = shapes[0]
        return n * h * w * int(self.weight.size)

    def describe(self) -> str:
        """Channels and geometry."""
        text = f"{self.in_channels}, {self.out_channels}, {describe_window(self.window)}"
        if any(self.output_padding):
            text += f", output_padding={self.output_padding}"
        return text + (f", groups={self.groups}" if self.groups > 1 else "")

    def _size(self, h: int, w: int) -> Pair:
        (eh, ew), (sh, sw) = self.window.extent, self.window.stride
        top, bottom, left, right = self.window.padding
        size = (
            (h - 1) * sh - top - bottom + eh + self.output_padding[0],
            (w - 1) * sw - left - right + ew + self.output_padding[1],
        )
        if min(size) < 1:
            raise ValueError(
                f"ConvTranspose2d: x: expected an image whose output is not empty, got {(h, w)} -> "
                f"{size}"
            )
        return size
