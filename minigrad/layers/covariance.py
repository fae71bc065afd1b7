"""Covariance3x3, Inverse3x3, LogDet3x3; ReplaceZeros.

From the channels of a network to the covariance of the colours of each pixel, its inverse and its
determinant. Arrays of matrices are (..., 3, 3), images of them (N, H, W, 3, 3).
"""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import number, whole
from minigrad.matrices import (
    eliminate,
    log_determinant,
    matrices,
    planes,
    product,
    transposed,
)
from minigrad.module import Module, Vjp, once

ENTRIES = {
    6: ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)),
    3: ((0, 0), (1, 1), (2, 2)),
}
"""Which entry of U each channel is."""


def factor(x: Array) -> Array:
    """The channels (N, 6 or 3, H, W) as the planes (3, 3, N, H, W) of an upper triangular U."""
    n, channels, h, w = x.shape
    u = array_module(x).zeros((3, 3, n, h, w), dtype=x.dtype)
    for k, (i, j) in enumerate(ENTRIES[channels]):
        u[i, j] = x[:, k]
    return u


class Covariance3x3(Module):
    """y = U U', one matrix per pixel: symmetric and never indefinite, whatever the channels are.

    Six channels c fill U = [[c0, c1, c2], [0, c3, c4], [0, 0, c5]] row by row; three are its
    diagonal. The diagonal may be of any sign, hence U is a factor of y but no Cholesky factor.

    Shapes: x (N, 6, H, W) or (N, 3, H, W); y (N, H, W, 3, 3).
    VJP: dU = (dy + dy') U, of which dx is the entries that are channels; dy need not be symmetric.
    Keeps: x.
    Source: Wu, Liu, Cao, Ren and Zuo, Unpaired learning of deep image denoising (2020), the
        authors' code.
    PyTorch: none; `U @ U.mT` with U filled from the channels.
    """

    def __init__(self, channels: int = 6) -> None:
        """`channels` of the input: 6 for a full matrix, 3 for a diagonal one.

        Raises:
            ValueError: it is neither.
        """
        self.channels = whole(channels, "channels", "Covariance3x3")
        if self.channels not in ENTRIES:
            raise ValueError(f"Covariance3x3: channels: expected 3 or 6, got {channels}")

    def forward(self, x: Array) -> Array:
        """U U' at each pixel."""
        self.check_input(x, ndim=4, channels=self.channels)
        u = factor(x)
        return matrices(product(u, transposed(u)))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            g = planes(dy)
            du = product(g + transposed(g), factor(x))  # (3, 3, N, H, W)
            return array_module(dy).stack([du[i, j] for i, j in ENTRIES[x.shape[1]]], axis=1)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The number of channels."""
        return f"{self.channels}"


class _OfMatrices(Module):
    """Checks that an input is an array of 3x3 matrices."""

    def _check(self, x: Array) -> None:
        self.check_input(x)
        if x.shape[-2:] != (3, 3):
            raise ValueError(f"{type(self).__name__}: x: expected (..., 3, 3), got shape {x.shape}")


class Inverse3x3(_OfMatrices):
    """y = x^-1, for each 3x3 matrix of an array; infinite where a matrix is singular.

    Shapes: x and y (..., 3, 3).
    VJP: dx = -y' dy y'.
    Keeps: y.
    PyTorch: `torch.linalg.inv` (which raises where a matrix is singular).
    """

    def forward(self, x: Array) -> Array:
        """The inverses."""
        self._check(x)
        return matrices(eliminate(planes(x))[1])

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The inverses, and their vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            back = transposed(planes(y))
            return matrices(-product(product(back, planes(dy)), back))

        return y, once(vjp, self, y)


class LogDet3x3(_OfMatrices):
    """y = f log max(det x, minimum), for each 3x3 matrix of an array; f is a constant factor.

    Without a minimum y = f log det x, -infinity where det x is 0 and NaN where it is negative.
    The determinant of a covariance of noise is about sigma^6, 9e-7 for sigma = 25/255 and colours
    in [0, 1]: a minimum of 1e-6 is not small.

    Shapes: x (..., 3, 3), y (...).
    VJP: dx = dy f x^-T where det x >= minimum (without one, where det x > 0), else 0.
    Keeps: f x^-T there, 0 elsewhere.
    PyTorch: `torch.logdet`; with a minimum, `torch.linalg.det(x).clamp(min=minimum).log()`.
    """

    def __init__(self, minimum: float | None = None, factor: float = 1.0) -> None:
        """`minimum` of the determinant, above 0, or None; `factor` is f.

        Raises:
            ValueError: `minimum` is neither None nor a finite number above 0, or `factor` is no
                finite number.
        """
        self.minimum = None if minimum is None else number(minimum, "minimum", "LogDet3x3", above=0)
        self.factor = number(factor, "factor", "LogDet3x3")

    def forward(self, x: Array) -> Array:
        """The logarithms."""
        return self.forward_and_vjp(x)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The logarithms, and their vjp."""
        self._check(x)
        xp = array_module(x)
        pivots, inverse = eliminate(planes(x))
        log_det, free = log_determinant(pivots, self.minimum)
        slope = xp.where(free, self.factor * transposed(inverse), 0)

        def vjp(dy: Array) -> Array:
            return matrices(slope * dy)

        y = xp.asarray(self.factor * log_det)
        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The minimum, and the factor where it is not 1."""
        text = "" if self.factor == 1 else f", factor={self.factor}"
        return f"minimum={self.minimum}{text}"


class ReplaceZeros(Module):
    """y = x, but `value` where x is exactly 0 (of either sign); arrays of any shape.

    VJP: dx = dy, 0 where x is 0.
    Keeps: where x is not 0 (one byte an element).
    Source: Wu et al., Unpaired learning of deep image denoising (2020), the authors' code: a noise
        estimate that ends in exact zeros has no inverse.
    PyTorch: none; `torch.where(x == 0, value, x)`.
    """

    def __init__(self, value: float = 1e-4) -> None:
        """`value` is what stands for zeros, a finite number."""
        self.value = number(value, "value", "ReplaceZeros")

    def forward(self, x: Array) -> Array:
        """x with its zeros replaced."""
        self.check_input(x)
        return array_module(x).where(x == 0, self.value, x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)
        passes = x != 0

        def vjp(dy: Array) -> Array:
            return array_module(dy).where(passes, dy, 0)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The value."""
        return f"{self.value}"
