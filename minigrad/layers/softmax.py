"""Softmax and LogSoftmax: numbers along an axis as probabilities, and as their logarithms."""

from __future__ import annotations

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import axis_of, whole
from minigrad.module import Module, Vjp, once


@replaceable
def softmax(x: Array, axis: int) -> Array:
    """e^x / sum e^x along `axis`; the largest x is taken out first, so that nothing overflows."""
    if not x.size:  # an axis of length 0 has no largest number
        return x.copy()
    e = array_module(x).exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@replaceable
def softmax_dx(dy: Array, y: Array, axis: int) -> Array:
    """y (dy - sum dy y)."""
    return y * (dy - (dy * y).sum(axis, keepdims=True))


class _AlongAxis(Module):
    """An axis that is checked when the input is known."""

    def __init__(self, dim: int) -> None:
        """`dim` is the axis whose numbers belong together, from the end if negative."""
        self.dim = whole(dim, "dim", type(self).__name__)

    def _axis(self, x: Array) -> int:
        self.check_input(x)
        return axis_of(self.dim, x, type(self).__name__)

    def describe(self) -> str:
        """The axis."""
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """y_i = e^(x_i) / sum_j e^(x_j) along axis `dim`: positive numbers that sum to 1.

    Shapes: x of at least one axis; y the same. PyTorch's `dim` has a default; here it must be said.
    VJP: dx_i = y_i (dy_i - sum_j dy_j y_j).
    Keeps: y.
    PyTorch: `torch.nn.Softmax`.
    """

    def forward(self, x: Array) -> Array:
        """The probabilities."""
        return softmax(x, self._axis(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The probabilities, and their vjp."""
        axis = self._axis(x)
        y = softmax(x, axis)

        def vjp(dy: Array) -> Array:
            return softmax_dx(dy, y, axis)

        return y, once(vjp, self, y)


@replaceable
def log_softmax(x: Array, axis: int) -> Array:
    """x - log sum e^x along `axis`; the largest x is taken out first, as in `softmax`."""
    if not x.size:
        return x.copy()
    xp = array_module(x)
    z = x - x.max(axis, keepdims=True)
    return z - xp.log(xp.exp(z).sum(axis, keepdims=True))


@replaceable
def log_softmax_dx(dy: Array, y: Array, axis: int) -> Array:
    """dy - e^y sum dy."""
    return dy - array_module(y).exp(y) * dy.sum(axis, keepdims=True)


class LogSoftmax(_AlongAxis):
    """y_i = x_i - log sum_j e^(x_j) along axis `dim`: the logarithm of Softmax, finite also where
    that is 0.

    Shapes: x of at least one axis; y the same.
    VJP: dx_i = dy_i - e^(y_i) sum_j dy_j.
    Keeps: y.
    PyTorch: `torch.nn.LogSoftmax`.
    """

    def forward(self, x: Array) -> Array:
        """The logarithms of the probabilities."""
        return log_softmax(x, self._axis(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and their vjp."""
        axis = self._axis(x)
        y = log_softmax(x, axis)

        def vjp(dy: Array) -> Array:
            return log_softmax_dx(dy, y, axis)

        return y, once(vjp, self, y)
