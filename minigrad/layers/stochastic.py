"""Dropout, Dropout2d, GaussianSample: layers that draw random numbers.

They draw from `self.noise`, a `minigrad.Noise`, one draw a pass. The layers of a network share one:
each pass then takes the next draws, and no two layers see the same numbers.
"""

from __future__ import annotations

import secrets

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import fraction, same_kind
from minigrad.layers.join import unbroadcast
from minigrad.module import Module, Vjp, once
from minigrad.noise import Noise


class _Random(Module):
    """A layer with a noise."""

    noise: Noise

    def __init__(self, noise: Noise | None) -> None:
        """Draw from `noise`; None makes one of a random seed, as weights without `rng` have."""
        if noise is not None and not isinstance(noise, Noise):
            raise TypeError(
                f"{type(self).__name__}: noise: expected a Noise or None, got "
                f"{type(noise).__name__}"
            )
        self.noise = Noise(secrets.randbits(128)) if noise is None else noise


class _Dropout(_Random):
    """What both dropouts share; they differ in the shape of the mask."""

    def __init__(self, p: float = 0.5, noise: Noise | None = None) -> None:
        """Drop with probability `p`, from 0 to 1; draw from `noise`, by default one of its own
        with a random seed.

        Raises:
            ValueError: `p` is no number from 0 to 1.
            TypeError: `noise` is no `Noise`.
        """
        super().__init__(noise)
        self.p = fraction(p, "p", type(self).__name__)

    def forward(self, x: Array) -> Array:
        """`x` under the mask, or `x` itself."""
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        shape = self._mask_shape(x)
        if self.p == 0 or not self.training:
            return x, once(lambda dy: dy, self, x)
        # Float32 numbers for any x: the same mask in both precisions, and half the work.
        kept = self.noise.uniform(shape, np.float32, array_module(x)) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0

        def vjp(dy: Array) -> Array:
            return dy * kept * scale

        y = x * kept * scale
        return y, once(vjp, self, y)

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        """The shape of the mask for a checked `x`."""
        raise NotImplementedError

    def describe(self) -> str:
        """The probability."""
        return f"{self.p}"


class Dropout(_Dropout):
    """y = x m / (1 - p): each number is dropped with probability p; arrays of any shape.

    m is 1 where a uniform number of the noise is at least p, else 0; 1 / (1 - p) keeps the mean.
    With p = 1 all of y is 0. In evaluation mode and with p = 0 y is x itself, and nothing is drawn.

    VJP: dx = dy m / (1 - p).
    Keeps: m (one byte an element); in evaluation mode and with p = 0 nothing.
    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting
        (2014).
    PyTorch: `torch.nn.Dropout`.
    """

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        self.check_input(x)
        return x.shape


class Dropout2d(_Dropout):
    """y = x m / (1 - p): each channel of each image is dropped with probability p.

    m, the drawing, p = 1, p = 0 and evaluation mode are those of Dropout.

    Shapes: x and y (N, C, H, W); m (N, C, 1, 1).
    VJP: dx = dy m / (1 - p).
    Keeps: m (one byte a channel); in evaluation mode and with p = 0 nothing.
    Source: Tompson et al., Efficient object localization using convolutional networks (2015).
    PyTorch: `torch.nn.Dropout2d`.
    """

    def _mask_shape(self, x: Array) -> tuple[int, ...]:
        self.check_input(x, ndim=4)
        return *x.shape[:2], 1, 1


class GaussianSample(_Random):
    """z = mu + s e with standard normal numbers e: a sample of N(mu, s^2), differentiable in both.

    The second input tells s: as the log-variance, s = exp(spread / 2), or with `form="std"` as it
    is, s = spread. It samples in both modes; where the mean is wanted, take mu.

    Shapes: mu and spread equal or broadcast as in NumPy; e and z have the common shape.
    VJP: dmu = dz, dspread = dz s e / 2 (log-variance) or dz e (std), each summed over the axes
        along which it was broadcast.
    Keeps: s e (log-variance) or e (std).
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014), section 2.4.
    PyTorch: `torch.distributions.Normal(mu, s).rsample()`.
    """

    def __init__(self, form: str = "log_variance", noise: Noise | None = None) -> None:
        """`form` says what spread is; draw from `noise`, by default one of its own with a random
        seed.

        Raises:
            ValueError: `form` is neither "log_variance" nor "std".
            TypeError: `noise` is no `Noise`.
        """
        super().__init__(noise)
        if form not in ("log_variance", "std"):
            raise ValueError(
                f"GaussianSample: form: expected 'log_variance' or 'std', got {form!r}"
            )
        self.form = form

    def forward(self, mu: Array, spread: Array) -> Array:
        """The sample."""
        return self.forward_and_vjp(mu, spread)[0]

    def forward_and_vjp(self, mu: Array, spread: Array) -> tuple[Array, Vjp]:
        """The sample, and its vjp."""
        shape, xp = self._shape(mu, spread), array_module(mu)
        e = self.noise.normal(shape, mu.dtype, xp)
        plain = self.form == "std"
        deviation = (spread if plain else xp.exp(spread * 0.5)) * e
        slope, factor = (e, 1.0) if plain else (deviation, 0.5)  # dz/dspread = factor slope
        mu_shape, spread_shape = mu.shape, spread.shape

        def vjp(dz: Array) -> tuple[Array, Array]:
            return unbroadcast(dz, mu_shape), unbroadcast(dz * slope * factor, spread_shape)

        z = mu + deviation
        return z, once(vjp, self, z)

    def describe(self) -> str:
        """The form where it is not the default."""
        return "" if self.form == "log_variance" else f"form={self.form!r}"

    def _shape(self, mu: Array, spread: Array) -> tuple[int, ...]:
        """The common shape of the checked inputs."""
        self.check_input(mu, name="mu")
        self.check_input(spread, name="spread")
        same_kind(spread, "spread", "GaussianSample", mu, "mu")
        try:
            return np.broadcast_shapes(mu.shape, spread.shape)
        except ValueError:
            raise ValueError(
                f"GaussianSample: spread: expected a shape that broadcasts with mu's {mu.shape}, "
                f"got {spread.shape}"
            ) from None
