"""GaussianMixtureNoiseModel, HistogramNoiseModel: how likely an observed grey value is, given the
true one.

Both take (signal s, observation o), whose shapes broadcast as in NumPy, and return p(o | s). For K
samples of a signal, (K, N, H, W), and one observation, (N, H, W), that is K densities a pixel.
Grey values are raw: those of the camera, not normalised.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, matmul
from minigrad.checks import floating, number, same_kind, whole
from minigrad.layers.join import unbroadcast
from minigrad.module import Module, Vjp, once


def horner(coefficients: Array, t: Array) -> Array:
    """The polynomials sum_i coefficients[r, i] t^i: (R, C) and any shape S -> (R, *S) (for C = 1:
    R constants that broadcast to it).
    """
    columns = coefficients.reshape(*coefficients.shape, *(1,) * t.ndim)  # (R, C, 1, ..., 1)
    y = columns[:, -1]
    for i in range(columns.shape[1] - 2, -1, -1):
        y = y * t + columns[:, i]
    return y


class _NoiseModel(Module):
    """The checks that the noise models share."""

    def _check(self, signal: Array, observation: Array) -> None:
        self.check_input(signal, name="signal")
        self.check_input(observation, name="observation")
        layer = type(self).__name__
        same_kind(observation, "observation", layer, signal, "signal")
        try:
            np.broadcast_shapes(signal.shape, observation.shape)
        except ValueError:
            raise ValueError(
                f"{layer}: observation: expected a shape that broadcasts with the signal's "
                f"{signal.shape}, got {observation.shape}"
            ) from None


class GaussianMixtureNoiseModel(_NoiseModel):
    """p(o | s) = sum_k a_k N(o; mu_k, v_k) + tol: K Gaussians, with means, variances and weights
    that are polynomials of t = (s - min_signal) / (max_signal - min_signal).

        m_k = sum_i W[k, i] t^i;  v_k = max(min_sigma, sum_i e^W[K+k, i] t^i);
        a = softmax over k of sum_i W[2K+k, i] t^i;  mu_k = s + m_k - sum_j a_j m_j,

    so that the mean of o is s. `min_sigma` bounds the variance, in spite of its name, which is the
    authors'. Outside [min_signal, max_signal] the polynomials go on. `tol` bounds -log p: far from
    every component the density is tol, and its cotangents vanish.

    Shapes: signal and observation broadcast; weight (3K, C), C coefficients each.
    VJP, with r_k = o - mu_k, n_k = N(o; mu_k, v_k), A_k = a_k n_k r_k / v_k, S = sum_k A_k:
        dm_k = dp (A_k - a_k S);  dv_k = dp a_k n_k (r_k^2 / v_k^2 - 1 / v_k) / 2, 0 on the floor;
        d_logit_k = dp a_k (q_k - sum_j a_j q_j), q_k = n_k - m_k S;
        d_weight = sum over the elements of these times t^i, the middle rows times e^W;
        dobservation = -dp S;  dsignal = dp S + what dm, dv and d_logit give by way of t.
    Keeps: signal, observation; all the rest is computed again.
    Source: Prakash et al., Fully unsupervised probabilistic noise2void (2020).
    PyTorch: none; the authors' class has this name.
    """

    parameter_names = ("weight",)
    weight: Array
    d_weight: Array

    def __init__(
        self,
        min_signal: float,
        max_signal: float,
        n_gaussian: int = 3,
        n_coeff: int = 2,
        min_sigma: float = 50.0,
        tol: float = 1e-10,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weights as the authors start: normal, but the slope of each variance max - min signal.

        Raises:
            ValueError: `max_signal` not above `min_signal`, `min_sigma` or `tol` not above 0,
                `n_gaussian` below 1, `n_coeff` below 2.
        """
        layer = "GaussianMixtureNoiseModel"
        self.min_signal = number(min_signal, "min_signal", layer)
        self.max_signal = number(max_signal, "max_signal", layer, above=self.min_signal)
        self.n_gaussian = whole(n_gaussian, "n_gaussian", layer, at_least=1)
        self.n_coeff = whole(n_coeff, "n_coeff", layer, at_least=2)
        self.min_sigma = number(min_sigma, "min_sigma", layer, above=0)
        self.tol = number(tol, "tol", layer, above=0)
        rng = np.random.default_rng() if rng is None else rng
        weight = rng.standard_normal((3 * self.n_gaussian, self.n_coeff))
        width = self.max_signal - self.min_signal
        weight[self.n_gaussian : 2 * self.n_gaussian, 1] = math.log(width)
        self.set_parameters(weight=weight.astype(dtype))

    def forward(self, signal: Array, observation: Array) -> Array:
        """The density of `observation`, given `signal`."""
        self._check(signal, observation)
        a, *_, n = self._mixture(signal, observation)
        return (a * n).sum(0) + self.tol

    def forward_and_vjp(self, signal: Array, observation: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(signal, observation)

        def vjp(dp: Array) -> tuple[Array, Array]:
            pull, dvalues = self._slopes(signal, observation)
            dpull, dvalues = pull * dp, dvalues * dp
            s = self._aligned(signal, dp.ndim)
            dvalues = unbroadcast(dvalues, (len(dvalues), *s.shape))  # (3K, *S)
            dt = self._through_polynomials(dvalues, s) / (self.max_signal - self.min_signal)
            dsignal = unbroadcast(dpull, signal.shape) + dt.reshape(signal.shape)
            return dsignal, unbroadcast(-dpull, observation.shape)

        return y, once(vjp, self, y)

    def _mixture(self, signal: Array, observation: Array) -> tuple[Array, ...]:
        """(a, m, unbounded v, v, r, n): what p and its slopes are made of; k on axis 0."""
        xp, k = array_module(signal), self.n_gaussian
        s = self._aligned(signal, max(signal.ndim, observation.ndim))
        values = horner(self._coefficients(), self._relative(s))  # (3K, *S)
        m, raw, logits = values[:k], values[k : 2 * k], values[2 * k :]
        e = xp.exp(logits - logits.max(0))
        a = e / e.sum(0)
        v = xp.maximum(raw, self.min_sigma)
        r = (observation - s) - _deviation(a, m)
        n = xp.exp(-r * (r / v) / 2) / xp.sqrt(math.tau * v)
        return a, m, raw, v, r, n

    def _slopes(self, signal: Array, observation: Array) -> tuple[Array, Array]:
        """(S, dp by the 3K values of the polynomials), for every element of p."""
        a, m, raw, v, r, n = self._mixture(signal, observation)
        xp = array_module(signal)
        z = r / v
        steep = n * z
        pull = (a * steep).sum(0)
        by_variance = xp.where(raw >= self.min_sigma, a * (steep * z - n / v) / 2, 0)
        by_mean, by_logit = a * _deviation(a, steep), a * _deviation(a, n - m * pull)
        return pull, xp.concatenate([by_mean, by_variance, by_logit])

    def _through_polynomials(self, dvalues: Array, s: Array) -> Array:
        """dt, in the shape of `s`; adds the cotangent of the weight."""
        xp, k = array_module(s), self.n_gaussian
        coefficients, t = self._coefficients(), self._relative(s)
        powers = xp.stack([t**i for i in range(self.n_coeff)])  # (C, *S)
        rows = dvalues.reshape(3 * k, -1)
        dw = matmul(rows, powers.reshape(self.n_coeff, -1).T)  # (3K, C)
        dv = dw[k : 2 * k] * coefficients[k : 2 * k]  # the derivative of e^W is itself
        self.accumulate(weight=xp.concatenate([dw[:k], dv, dw[2 * k :]]))
        degrees = xp.arange(1, self.n_coeff, dtype=s.dtype)
        return (dvalues * horner(coefficients[:, 1:] * degrees, t)).sum(0)

    def _coefficients(self) -> Array:
        """The weight, with e^W for the variances."""
        xp, k, w = array_module(self.weight), self.n_gaussian, self.weight
        return xp.concatenate([w[:k], xp.exp(w[k : 2 * k]), w[2 * k :]])

    def _relative(self, s: Array) -> Array:
        return (s - self.min_signal) / (self.max_signal - self.min_signal)

    @staticmethod
    def _aligned(signal: Array, ndim: int) -> Array:
        """The signal with axes of length 1 in front, up to `ndim` axes: k comes before them."""
        return signal.reshape((1,) * (ndim - signal.ndim) + signal.shape)

    def describe(self) -> str:
        """Range, sizes and floor."""
        return (
            f"{self.min_signal}, {self.max_signal}, n_gaussian={self.n_gaussian}, "
            f"n_coeff={self.n_coeff}, min_sigma={self.min_sigma}"
        )


def _deviation(a: Array, q: Array) -> Array:
    """q - sum(a q), the sum over axis 0, where the weights a add up to 1.

    The q of the heaviest weight is taken off first: where that weight is nearly all, q - sum(a q)
    would be what rounding leaves.
    """
    q = q - array_module(q).take_along_axis(q, a.argmax(0)[None], 0)
    return q - (a * q).sum(0)


class HistogramNoiseModel(_NoiseModel):
    """p(o | s) from a table of `bins` x `bins` probabilities, linear between two rows:
    p = T[i, j] (1 - phi) + T[i+1, j] phi, with i + phi = f(s), j = floor(f(o)).

    f(x) = bins (x - min_value) / (max_value - min_value), clamped to [0, bins - 1 - 1e-3]. Row i
    stands at the lower edge of signal bin i. Values are probabilities of a bin, not densities.

    Shapes: signal and observation broadcast; histogram (bins, bins): signal, observation.
    VJP: dsignal = dp (T[i+1, j] - T[i, j]) bins / (max_value - min_value), 0 outside the clamp;
        the observation gets None: p jumps from bin to bin.
    Keeps: that slope.
    Source: Krull et al., Probabilistic noise2void (2020).
    PyTorch: none; the authors' class `NoiseModel`.
    """

    buffer_names = ("histogram",)

    def __init__(
        self, bins: int, min_value: float, max_value: float, *, dtype: Any = np.float32
    ) -> None:
        """A table in which all bins are equally likely; assign a measured one:
        `model.histogram[...] = table`.

        Raises:
            ValueError: `bins` below 2, or `max_value` not above `min_value`.
            TypeError: `dtype` is not floating.
        """
        layer = "HistogramNoiseModel"
        self.bins = whole(bins, "bins", layer, at_least=2)
        self.min_value = number(min_value, "min_value", layer)
        self.max_value = number(max_value, "max_value", layer, above=self.min_value)
        self.histogram = np.full((self.bins, self.bins), 1 / self.bins, dtype=dtype)
        floating(self.histogram, layer)

    def forward(self, signal: Array, observation: Array) -> Array:
        """The probability of `observation`'s bin, given `signal`."""
        return self.forward_and_vjp(signal, observation)[0]

    def forward_and_vjp(self, signal: Array, observation: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self._check(signal, observation)
        same_kind(signal, "signal", "HistogramNoiseModel", self.histogram, "histogram")
        xp, shape = array_module(signal), signal.shape
        per_unit = self.bins / (self.max_value - self.min_value)
        inside, f_s, row = self._position(signal)
        _, f_o, column = self._position(observation)
        table, place = self.histogram.reshape(-1), row * self.bins + column
        lower, upper = xp.take(table, place), xp.take(table, place + self.bins)
        phi = f_s - row.astype(f_s.dtype)
        slope = xp.where(inside, (upper - lower) * per_unit, 0)

        def vjp(dp: Array) -> tuple[Array, None]:
            return unbroadcast(slope * dp, shape), None

        y = lower * (1 - phi) + upper * phi + 0 * f_o  # the last term: NaN stays NaN
        return y, once(vjp, self, y)

    def _position(self, x: Array) -> tuple[Array, Array, Array]:
        """(whether f(x) is not clamped, f(x), its whole part; 0 for NaN)."""
        xp = array_module(x)
        last = self.bins - 1 - 1e-3
        f = self.bins * (x - self.min_value) / (self.max_value - self.min_value)
        clamped = xp.minimum(xp.maximum(f, 0), last)
        index = xp.where(clamped > 0, clamped, 0).astype(np.intp)
        # With few digits `last` rounds to bins - 1, which has no next row.
        return (f >= 0) & (f <= last), clamped, xp.minimum(index, self.bins - 2)

    def describe(self) -> str:
        """The number of bins and the range."""
        return f"{self.bins}, {self.min_value}, {self.max_value}"
