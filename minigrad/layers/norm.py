"""BatchNorm2d."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import floating, fraction, number, same_kind, whole
from minigrad.module import Module, Vjp, once

PER_CHANNEL = (0, 2, 3)
"""The axes of (N, C, H, W) that a statistic of a channel runs over."""


@replaceable
def batch_normalise(x: Array, eps: float) -> tuple[Array, Array, Array, Array]:
    """(xh, 1/s, m, v): each channel of x with its mean m taken off, over s = sqrt(v + eps).

    v is the mean square of x - m, a second pass: the mean square of x less m^2 would be a small
    difference of large numbers. Zeros for no elements at all. Statistics are (1, C, 1, 1).
    """
    n = max(1, x.size // x.shape[1])
    mean = x.sum(PER_CHANNEL, keepdims=True) / n
    xh = x - mean
    variance = (xh * xh).sum(PER_CHANNEL, keepdims=True) / n
    inverse = 1 / array_module(x).sqrt(variance + eps)
    xh *= inverse
    return xh, inverse, mean, variance


@replaceable
def batch_normalise_vjp(dy: Array, xh: Array, factor: Array) -> tuple[Array, Array, Array]:
    """(dx, sum dy xh, sum dy), the sums (1, C, 1, 1); `factor` is weight / s.

    The mean is taken off dy first: sum xh is 0, but for a rounding that a large mean would magnify.
    """
    n = max(1, xh.size // xh.shape[1])
    d_bias = dy.sum(PER_CHANNEL, keepdims=True)
    dx = dy - d_bias / n
    d_weight = (dx * xh).sum(PER_CHANNEL, keepdims=True)
    dx -= xh * (d_weight / n)
    dx *= factor
    return dx, d_weight, d_bias


class BatchNorm2d(Module):
    """y = weight xh + bias with xh = (x - m) / s and s = sqrt(v + eps), for each channel.

    In training m and v are mean and variance (divisor n) of the channel's n = N H W values, and the
    running statistics follow: running = (1 - momentum) running + momentum (m, v n / (n - 1)). In
    evaluation mode m and v are these running statistics. `frozen=True` takes them in training too
    and never changes them; weight and bias are trained all the same.

    Shapes: x (N, C, H, W), y the same; parameters and running statistics (C,).
    VJP: dx = weight / s (dy - mean dy - xh mean(dy xh)), means over the channel's n values; with
        running statistics dx = weight / s dy;
        d_weight = sum dy xh; d_bias = sum dy.
    Keeps: xh, 1/s; with running statistics x, m, 1/s, and without a weight 1/s alone.
    Source: Ioffe and Szegedy, Batch normalization (2015), algorithms 1 and 2.
    PyTorch: `torch.nn.BatchNorm2d`.
    """

    parameter_names = ("weight", "bias")
    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    optional_names = ("num_batches_tracked",)  # older files lack it
    weight: Array | None
    bias: Array | None
    d_weight: Array | None
    d_bias: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        frozen: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        """`num_features` channels; weights start at 1, biases at 0; running mean 0, variance 1.

        eps: added to the variance, above 0. momentum: the part of the new batch in the running
        statistics, 0 to 1; `None` averages over all batches alike. affine: with weight and bias.
        track_running_stats: without them every mode takes the batch's statistics.

        Raises:
            ValueError: a setting out of range, or `frozen` without running statistics.
            TypeError: `dtype` is not floating.
        """
        self.num_features = whole(num_features, "num_features", "BatchNorm2d", at_least=1)
        self.eps = number(eps, "eps", "BatchNorm2d", above=0)
        self.momentum = None if momentum is None else fraction(momentum, "momentum", "BatchNorm2d")
        self.frozen = frozen
        if frozen and not track_running_stats:
            raise ValueError(
                "BatchNorm2d: frozen: expected track_running_stats=True with it, got False"
            )
        ones, zeros = np.ones(self.num_features, dtype), np.zeros(self.num_features, dtype)
        floating(ones, "BatchNorm2d")
        self.set_parameters(weight=ones if affine else None, bias=zeros if affine else None)
        self.running_mean: Array | None = zeros.copy() if track_running_stats else None
        self.running_var: Array | None = ones.copy() if track_running_stats else None
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None

    def forward(self, x: Array) -> Array:
        """The normalised channels, scaled and shifted."""
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self._check(x)
        if not self._takes_the_batch():
            return self._by_running_statistics(x)
        xh, inverse, mean, variance = batch_normalise(x, self.eps)
        if self.training and self.running_mean is not None:
            self._follow(mean, variance, x.size // self.num_features)
        y = self._scaled(xh)

        def vjp(dy: Array) -> Array:
            dx, dw, db = batch_normalise_vjp(dy, xh, self._factor(inverse))
            self.accumulate(weight=dw.reshape(-1), bias=db.reshape(-1))
            return dx

        return y, once(vjp, self, y)

    def _by_running_statistics(self, x: Array) -> tuple[Array, Vjp]:
        assert self.running_mean is not None and self.running_var is not None
        inverse = broadcast(1 / array_module(x).sqrt(self.running_var + self.eps))
        # A copy: a later batch may move the running mean.
        mean = broadcast(self.running_mean.copy())
        y = x - mean
        y *= self._factor(inverse)
        if self.bias is not None:
            y += broadcast(self.bias)
        kept = None if self.weight is None else (x, mean)

        def vjp(dy: Array) -> Array:
            if kept is not None:
                x, mean = kept
                dw = (dy * (x - mean)).sum(PER_CHANNEL) * inverse.reshape(-1)
                self.accumulate(weight=dw, bias=dy.sum(PER_CHANNEL))
            return dy * self._factor(inverse)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Channels, eps, momentum, and what differs from the usual."""
        odd = (
            ("affine=False", self.weight is None),
            ("track_running_stats=False", self.running_mean is None),
            ("frozen=True", self.frozen),
        )
        start = f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
        return ", ".join([start, *(text for text, holds in odd if holds)])

    def _takes_the_batch(self) -> bool:
        return self.running_mean is None or (self.training and not self.frozen)

    def _factor(self, inverse: Array) -> Array:
        """Weight / s."""
        return inverse if self.weight is None else broadcast(self.weight) * inverse

    def _scaled(self, xh: Array) -> Array:
        """Weight xh + bias."""
        if self.weight is None:
            return xh
        y = xh * broadcast(self.weight)
        y += broadcast(self.bias)
        return y

    def _follow(self, mean: Array, variance: Array, n: int) -> None:
        """Move the running statistics towards those of a batch of `n` values a channel."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        if n == 0:  # nothing was seen
            return
        part: Any = self.momentum
        if part is None:
            part = 1 / self.num_batches_tracked.astype(mean.dtype)
        move(self.running_mean, mean, part)
        move(self.running_var, variance * (n / (n - 1)), part)

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4, channels=self.num_features)
        if self.running_mean is not None:
            same_kind(x, "x", "BatchNorm2d", self.running_mean, "running_mean")
        if self._takes_the_batch() and x.size == self.num_features:
            raise ValueError(
                "BatchNorm2d: x: expected more than one value per channel when training, got shape "
                f"{x.shape}"
            )


# --------------------------------------------------------------------------- shared by the norms


def broadcast(a: Array) -> Array:
    """One number a channel, (C,), in a form that broadcasts with images: (1, C, 1, 1)."""
    return a.reshape(1, -1, 1, 1)


def move(running: Array, new: Array, part: float | Array) -> None:
    """Move `running` in place to (1 - part) running + part new."""
    running *= 1 - part
    running += (new * part).reshape(running.shape)
