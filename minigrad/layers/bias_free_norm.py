"""BFBatchNorm2d, BFStdNorm2d: batch norms that scale only; no constant is added or taken off."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import floating, fraction, number, same_kind, whole
from minigrad.layers.norm import PER_CHANNEL, broadcast, move
from minigrad.module import Module, Vjp, once


@replaceable
def deviations(x: Array) -> tuple[Array, Array]:
    """(m, q): each channel's mean, and the sum of (x - m)^2 over it; both (1, C, 1, 1).

    Zeros for no elements at all.
    """
    mean = x.sum(PER_CHANNEL, keepdims=True) / max(1, x.size // x.shape[1])
    d = x - mean
    d *= d
    return mean, d.sum(PER_CHANNEL, keepdims=True)


@replaceable
def scale_vjp(
    dy: Array, x: Array, factor: Array, mean: Array | None, slope: Array | None
) -> tuple[Array, Array]:
    """(dx, sum dy x) of y = x factor, where d factor / d x_i = -slope (x_i - mean) in a channel.

    Without a mean the factor is a constant. All but dy, x and dx are (1, C, 1, 1).
    """
    dot = (dy * x).sum(PER_CHANNEL, keepdims=True)
    dx = dy * factor
    if mean is not None:
        dx -= (x - mean) * (slope * dot)
    return dx, dot


class BFBatchNorm2d(Module):
    """y = weight x / (S + eps), for each channel: eps stands outside the root.

    In training S^2 is the *unbiased* variance (divisor n - 1) of the channel's n = N H W values,
    and running_var = (1 - momentum) running_var + momentum S^2; in evaluation mode S^2 is
    running_var. The mean counts in S alone: x is not shifted, and with fixed statistics a multiple
    of x gives that multiple of y.

    Shapes: x (N, C, H, W), y the same; weight and buffers (C,). The buffers `bias`, `running_mean`
    and `num_batches_tracked` stand in the published files and do nothing.
    VJP: with d = S + eps and the mean m,
        dx = weight / d (dy - (x - m) sum(dy x) / ((n - 1) S d)), the second term 0 where S = 0 and
        in evaluation mode;
        d_weight = sum(dy x) / d.
    Keeps: x, m, S; in evaluation mode x, S.
    Source: Mohan, Kadkhodaie, Simoncelli and Fernandez-Granda, Robust and interpretable blind image
        denoising via bias-free convolutional neural networks (2020); the authors' code.
    PyTorch: own twin.
    """

    parameter_names = ("weight",)
    buffer_names = ("bias", "running_mean", "running_var", "num_batches_tracked")
    optional_names = ("num_batches_tracked",)
    weight: Array
    d_weight: Array

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: Any = np.float32,
    ) -> None:
        """`num_features` channels; weights and running variance start at 1.

        eps: added to the deviation, above 0, in units of x. momentum: the part of the new batch in
        the running variance, 0 to 1.

        Raises:
            ValueError: a setting out of range.
            TypeError: `dtype` is not floating.
        """
        self.num_features = whole(num_features, "num_features", "BFBatchNorm2d", at_least=1)
        self.eps = number(eps, "eps", "BFBatchNorm2d", above=0)
        self.momentum = fraction(momentum, "momentum", "BFBatchNorm2d")
        ones = np.ones(self.num_features, dtype)
        floating(ones, "BFBatchNorm2d")
        self.set_parameters(weight=ones)
        self.bias, self.running_mean = np.zeros_like(ones), np.zeros_like(ones)
        self.running_var = ones.copy()
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Array) -> Array:
        """The channels over their deviation, times the weight."""
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self._check(x)
        xp, mean, count = array_module(x), None, max(1, x.size // self.num_features - 1)
        if self.training:
            mean, squares = deviations(x)
            variance = squares / count
            if x.size:
                move(self.running_var, variance, self.momentum)
        else:
            variance = broadcast(self.running_var)
        s = xp.sqrt(variance)
        y = x * (broadcast(self.weight) / (s + self.eps))

        def vjp(dy: Array) -> Array:
            d = s + self.eps
            factor = broadcast(self.weight) / d
            # A constant channel has no direction in which S grows by dS / dx: there it counts as 0.
            steep = xp.where(s > 0, 1 / xp.where(s > 0, s, 1), 0) / count
            dx, dot = scale_vjp(dy, x, factor, mean, factor / d * steep)
            self.accumulate(weight=(dot / d).reshape(-1))
            return dx

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Channels, eps and momentum."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4, channels=self.num_features)
        same_kind(x, "x", "BFBatchNorm2d", self.running_var, "running_var")
        if self.training and x.size == self.num_features:
            raise ValueError(
                "BFBatchNorm2d: x: expected more than one value per channel when training, got "
                f"shape {x.shape}"
            )


class BFStdNorm2d(Module):
    """y = gamma x / s with s = sqrt(v + eps), for each channel: eps stands inside the root.

    In training v is the *biased* variance (divisor n) of the channel's n = N H W values, and the
    deviation itself is averaged: running_sd = (1 - momentum) running_sd + momentum s. In evaluation
    mode s is running_sd, without any eps. As in `BFBatchNorm2d`, x is not shifted.

    Shapes: x (N, C, H, W), y the same; gamma and running_sd (1, C, 1, 1).
    VJP: with the mean m, dx = gamma / s (dy - (x - m) sum(dy x) / (n s^2)), without the second term
        in evaluation mode;
        d_gamma = sum(dy x) / s.
    Keeps: x, m, s; in evaluation mode x, s.
    Source: Vaksman and Elad, Patch-craft self-supervised training for correlated image denoising
        (2023); the authors' code.
    PyTorch: own twin.
    """

    parameter_names = ("gamma",)
    buffer_names = ("running_sd",)
    gamma: Array
    d_gamma: Array

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: Any = np.float32,
    ) -> None:
        """`num_features` channels; gamma and running deviation start at 1.

        eps: added to the variance, above 0, in units of x^2. momentum: the part of the new batch in
        the running deviation, 0 to 1.

        Raises:
            ValueError: a setting out of range.
            TypeError: `dtype` is not floating.
        """
        self.num_features = whole(num_features, "num_features", "BFStdNorm2d", at_least=1)
        self.eps = number(eps, "eps", "BFStdNorm2d", above=0)
        self.momentum = fraction(momentum, "momentum", "BFStdNorm2d")
        ones = np.ones((1, self.num_features, 1, 1), dtype)
        floating(ones, "BFStdNorm2d")
        self.set_parameters(gamma=ones)
        self.running_sd = ones.copy()

    def forward(self, x: Array) -> Array:
        """The channels over their deviation, times gamma."""
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self._check(x)
        mean, n = None, max(1, x.size // self.num_features)
        if self.training:
            mean, squares = deviations(x)
            s = array_module(x).sqrt(squares / n + self.eps)
            if x.size:
                move(self.running_sd, s, self.momentum)
        else:
            s = self.running_sd.copy()  # a later batch may move it
        y = x * (self.gamma / s)

        def vjp(dy: Array) -> Array:
            factor = self.gamma / s
            dx, dot = scale_vjp(dy, x, factor, mean, factor / (s * s * n))
            self.accumulate(gamma=dot / s)
            return dx

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Channels, eps and momentum."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4, channels=self.num_features)
        same_kind(x, "x", "BFStdNorm2d", self.running_sd, "running_sd")
