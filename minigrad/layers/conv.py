"""Conv2d, and the three plain functions under it: forward, input cotangent, weight cotangent.

ConvTranspose2d is the adjoint of Conv2d and uses the same three functions in other roles.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from minigrad import initialise
from minigrad.backend import Array, matmul, replaceable
from minigrad.checks import pair, whole
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, Window, fold, unfold


@replaceable
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    window: Window,
    groups: int = 1,
    exact: bool = False,
) -> Array:
    """Cross-correlate: y[n, k] = sum_r A[k, r] U[n, r] + b[k], with U = unfold(x) and A the weight
    as a matrix.

    Args:
        x: (N, C, H, W).
        weight: (K, C/G, k_h, k_w).
        bias: (K,) or None.
        window: geometry; zeros stand in its padding.
        groups: G; group g of the outputs sees group g of the inputs only.
        exact: whether a kernel must sum these very products, so that what a weight of 0 hides
            leaves no trace, not even in the last bit.

    Returns:
        (N, K, M, Q), dtype of `x`.
    """
    n, _, h, w = x.shape
    k, (m, q) = weight.shape[0], window.count(h, w)
    u = unfold(x, window)  # (N, C*kh*kw, M*Q)
    u = u.reshape(n, groups, u.shape[1] // groups, m * q)  # (N, G, R, M*Q), R = C/G*kh*kw
    y = matmul(weight.reshape(groups, k // groups, -1), u)  # (N, G, K/G, M*Q)
    y = y.reshape(n, k, m, q)
    return y if bias is None else y + bias[:, None, None]


@replaceable
def conv2d_dx(
    dy: Array, weight: Array, window: Window, groups: int, size: Pair, exact: bool = False
) -> Array:
    """The cotangent of conv2d's input: dx = fold(A' dy), onto an image of the true `size`.

    Pixels that lie in no window (a stride that leaves a remainder, holes of a dilation) get exactly
    0 by themselves.

    Args:
        dy: (N, K, M, Q); exactly these windows are meant, also where more would fit.
        weight: (K, C/G, k_h, k_w).
        window: geometry.
        groups: G.
        size: (H, W) of `x`.
        exact: as of `conv2d`.

    Returns:
        (N, C, H, W), dtype of `dy`.
    """
    n, k, m, q = dy.shape
    a = weight.reshape(groups, k // groups, -1)  # (G, K/G, R)
    v = matmul(a.swapaxes(1, 2), dy.reshape(n, groups, k // groups, m * q))  # (N, G, R, M*Q)
    return fold(v.reshape(n, groups * v.shape[2], m * q), window, size, (m, q))


@replaceable
def conv2d_dw(dy: Array, x: Array, window: Window, groups: int) -> Array:
    """The cotangent of conv2d's weight: dA = sum_n dy[n] U[n]'.

    Args:
        dy: (N, K, M, Q); exactly these windows are meant, also where more would fit.
        x: (N, C, H, W).
        window: geometry.
        groups: G.

    Returns:
        (K, C/G, k_h, k_w), dtype of `dy`.
    """
    n, k, m, q = dy.shape
    u = unfold(x, window, (m, q))  # (N, C*kh*kw, M*Q)
    u = u.reshape(n, groups, u.shape[1] // groups, m * q)  # (N, G, R, M*Q)
    da = matmul(dy.reshape(n, groups, k // groups, m * q), u.swapaxes(2, 3)).sum(0)  # (G, K/G, R)
    return da.reshape(k, x.shape[1] // groups, *window.kernel)


@replaceable
def conv2d_vjp(
    dy: Array, x: Array, weight: Array, window: Window, groups: int, exact: bool = False
) -> tuple[Array, Array, Array]:
    """(dx, dweight, dbias) of conv2d, which a kernel may compute together: both products need dy.

    Args:
        dy: (N, K, M, Q).
        x: (N, C, H, W).
        weight: (K, C/G, k_h, k_w).
        window: geometry.
        groups: G.
        exact: as of `conv2d`, for dx.

    Returns:
        The shapes of `x`, `weight` and (K,), dtype of `dy`.
    """
    dx = conv2d_dx(dy, weight, window, groups, x.shape[2:], exact)
    return dx, conv2d_dw(dy, x, window, groups), dy.sum((0, 2, 3))


class Conv2d(Module):
    """y[n, k, m, l] = b[k] + sum_{c,i,j} w[k, c, i, j] xpad[n, c, m s_h + i d_h, l s_w + j d_w].

    A cross-correlation: the kernel is not flipped. With `groups` G, group g of the outputs sees
    group g of the inputs only: the sum is over its C/G channels.

    Shapes: x (N, C, H, W) -> y (N, K, M, Q), Q as M = floor((H + 2 p - d (k - 1) - 1) / s) + 1;
        weight (K, C/G, k_h, k_w); bias (K,).
    VJP, with U = unfold(x) and A the weight as a (K, C/G k_h k_w) matrix, group by group:
        dx = fold(A' dy);  d_weight = sum_n dy[n] U[n]';  d_bias = sum over n, m, l of dy.
    Keeps: x.
    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016).
    PyTorch: `torch.nn.Conv2d`, zero padding.
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
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weights and bias drawn as PyTorch draws them: uniform within 1 / sqrt(fan_in).

        `padding` is a number of pixels, "valid" (none) or "same" (stride 1 only; an odd total puts
        the extra row at the bottom and the extra column at the right).

        Raises:
            ValueError: channels not divisible by groups, "same" with a stride, or a size that is
                no whole number or out of range.
        """
        layer = type(self).__name__
        self.in_channels, self.out_channels, self.groups = channels_of(
            layer, in_channels, out_channels, groups
        )
        self.window = _window_with_named_padding(layer, kernel_size, stride, padding, dilation)
        rng = np.random.default_rng() if rng is None else rng
        shape = (self.out_channels, self.in_channels // self.groups, *self.window.kernel)
        w, b = initialise.native(shape, rng, bias_size=self.out_channels, dtype=dtype)
        self.set_parameters(weight=w, bias=b if bias else None)

    def forward(self, x: Array) -> Array:
        """The convolution of `x`."""
        self._check(x)
        return conv2d(x, self.weight, self.bias, self.window, self.groups)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The convolution, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            dx, dw, db = conv2d_vjp(dy, x, self.weight, self.window, self.groups)
            self.accumulate(weight=dw, bias=None if self.bias is None else db)
            return dx

        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """N K M Q (C/G) k_h k_w."""
        n, _, h, w = shapes[0]
        m, q = self.window.count(h, w)
        return n * m * q * int(self.weight.size)

    def describe(self) -> str:
        """Channels and geometry."""
        return f"{self.in_channels}, {self.out_channels}, {describe_window(self.window)}" + (
            f", groups={self.groups}" if self.groups > 1 else ""
        )

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4, channels=self.in_channels)
        if min(self.window.count(*x.shape[2:])) < 1:
            raise ValueError(
                f"{type(self).__name__}: x: expected an image of at least the kernel's extent "
                f"{self.window.extent} after padding {self.window.padding}, got shape {x.shape}"
            )


def _window_with_named_padding(
    layer: str,
    kernel_size: int | Pair,
    stride: int | Pair,
    padding: int | Pair | str,
    dilation: int | Pair,
) -> Window:
    """`window_of`, with the paddings "valid" and "same" too, which Conv2d alone has."""
    if not isinstance(padding, str):
        return window_of(layer, kernel_size, stride, padding, dilation)
    window = window_of(layer, kernel_size, stride, 0, dilation)
    if padding == "valid":
        return window
    if padding != "same":
        raise ValueError(
            f"{layer}: padding: expected an int, a pair, 'same' or 'valid', got {padding!r}"
        )
    if window.stride != (1, 1):
        raise ValueError(f"{layer}: padding='same' needs stride 1, got stride {window.stride}")
    total_h, total_w = (extent - 1 for extent in window.extent)
    top, left = total_h // 2, total_w // 2
    return dataclasses.replace(window, padding=(top, total_h - top, left, total_w - left))


def window_of(
    layer: str,
    kernel_size: int | Pair,
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
) -> Window:
    """The `Window` for PyTorch's arguments; errors name the layer and the argument."""
    ph, pw = pair(padding, "padding", layer, at_least=0)
    return Window(
        kernel=pair(kernel_size, "kernel_size", layer, at_least=1),
        stride=pair(stride, "stride", layer, at_least=1),
        padding=(ph, ph, pw, pw),
        dilation=pair(dilation, "dilation", layer, at_least=1),
    )


def channels_of(
    layer: str, in_channels: int, out_channels: int, groups: int
) -> tuple[int, int, int]:
    """(C, K, G) as ints; errors name the layer and the argument: each is at least 1, and G divides
    C and K.
    """
    g = whole(groups, "groups", layer, at_least=1)
    c = whole(in_channels, "in_channels", layer, at_least=1)
    k = whole(out_channels, "out_channels", layer, at_least=1)
    for name, n in (("in_channels", c), ("out_channels", k)):
        if n % g:
            raise ValueError(f"{layer}: {name}: expected a multiple of groups {g}, got {n}")
    return c, k, g


def describe_window(window: Window) -> str:
    """The geometry as constructor text, defaults left out."""
    text = f"kernel_size={window.kernel}"
    if window.stride != (1, 1):
        text += f", stride={window.stride}"
    if any(window.padding):
        text += f", padding={window.padding}"
    if window.dilation != (1, 1):
        text += f", dilation={window.dilation}"
    return text
