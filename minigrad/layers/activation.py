"""ReLU, LeakyReLU, PReLU, Sigmoid."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import number, whole
from minigrad.module import Module, Vjp, once


@replaceable
def relu(x: Array) -> Array:
    """max(x, 0), elementwise."""
    return array_module(x).maximum(x, 0)


@replaceable
def relu_dx(dy: Array, y: Array) -> Array:
    """0 where y <= 0, else dy: where y is NaN, dy passes, as in PyTorch."""
    return array_module(y).where(y <= 0, 0, dy)


class ReLU(Module):
    """y = max(x, 0), for arrays of any shape.

    VJP: dx = dy where x > 0, else 0 (0 at x = 0).
    Keeps: y (the next layer usually keeps the same array).
    PyTorch: `torch.nn.ReLU`.
    """

    def forward(self, x: Array) -> Array:
        """max(x, 0)."""
        self.check_input(x)
        return relu(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """max(x, 0), and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return relu_dx(dy, y)

        return y, once(vjp, self, y)


@replaceable
def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope * x."""
    return array_module(x).where(x > 0, x, x * slope)


@replaceable
def leaky_relu_dx(dy: Array, positive: Array, slope: float) -> Array:
    """dy where `positive`, else slope * dy."""
    return array_module(dy).where(positive, dy, dy * slope)


class LeakyReLU(Module):
    """y = x where x > 0, else a x, with a fixed slope a; arrays of any shape.

    VJP: dx = dy where x > 0, else a dy (a at x = 0).
    Keeps: where x > 0 (one byte an element).
    Source: Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models
        (2013).
    PyTorch: `torch.nn.LeakyReLU`.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        """`negative_slope` is a.

        Raises:
            ValueError: it is no finite number.
        """
        self.negative_slope = number(negative_slope, "negative_slope", "LeakyReLU")

    def forward(self, x: Array) -> Array:
        """x, scaled by the slope where it is not positive."""
        self.check_input(x)
        return leaky_relu(x, self.negative_slope)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)
        positive = x > 0

        def vjp(dy: Array) -> Array:
            return leaky_relu_dx(dy, positive, self.negative_slope)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The slope."""
        return f"{self.negative_slope}"


@replaceable
def prelu(x: Array, weight: Array) -> Array:
    """x where x > 0, else a x; `weight` holds one slope, or one per channel (axis 1)."""
    return array_module(x).where(x > 0, x, x * along_channels(weight, x))


@replaceable
def prelu_vjp(dy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """(dx, dweight) of `prelu`: dy times 1 or a, and the sum of dy x over x <= 0 for each slope."""
    xp = array_module(x)
    positive = x > 0
    dx = xp.where(positive, dy, dy * along_channels(weight, x))
    negative_part = xp.where(positive, 0, x) * dy
    axes = tuple(i for i in range(x.ndim) if i != 1 or weight.size == 1)
    return dx, negative_part.sum(axes).reshape(weight.shape)


def along_channels(weight: Array, x: Array) -> Array:
    """`weight` in a form that broadcasts along axis 1 of `x`: (C,) as (C, 1, ..., 1), one as ()."""
    return weight.reshape(() if weight.size == 1 else (-1, *(1,) * (x.ndim - 2)))


class PReLU(Module):
    """y = x where x > 0, else a x, with trained slopes a: one in all, or one per channel (axis 1).

    Shapes: x (N, C, ...), of any shape with a single slope; weight (1,) or (C,).
    VJP: dx = dy where x > 0, else a dy (a at x = 0);
        d_weight = sum of dy x over x <= 0, for each slope.
    Keeps: x.
    Source: He, Zhang, Ren and Sun, Delving deep into rectifiers (2015), equation 1.
    PyTorch: `torch.nn.PReLU`.
    """

    parameter_names = ("weight",)
    weight: Array
    d_weight: Array

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = np.float32
    ) -> None:
        """`num_parameters` slopes (1, or the number of channels), all starting at `init`.

        Raises:
            ValueError: `num_parameters` is no whole number from 1, or `init` no finite number.
        """
        self.num_parameters = whole(num_parameters, "num_parameters", "PReLU", at_least=1)
        start = number(init, "init", "PReLU")
        self.set_parameters(weight=np.full(self.num_parameters, start, dtype=dtype))

    def forward(self, x: Array) -> Array:
        """x, scaled by its channel's slope where it is not positive."""
        self._check(x)
        return prelu(x, self.weight)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            dx, dw = prelu_vjp(dy, x, self.weight)
            self.accumulate(weight=dw)
            return dx

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The number of slopes."""
        return f"{self.num_parameters}"

    def _check(self, x: Array) -> None:
        self.check_input(x)
        if self.num_parameters > 1 and (x.ndim < 2 or x.shape[1] != self.num_parameters):
            raise ValueError(
                f"PReLU: x: expected {self.num_parameters} channels on axis 1, got shape {x.shape}"
            )


@replaceable
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow for any x: only exp(-|x|) is formed."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


@replaceable
def sigmoid_dx(dy: Array, y: Array) -> Array:
    """dy y (1 - y)."""
    return dy * y * (1 - y)


class Sigmoid(Module):
    """y = 1 / (1 + exp(-x)), values in (0, 1); arrays of any shape.

    VJP: dx = dy y (1 - y).
    Keeps: y.
    PyTorch: `torch.nn.Sigmoid`.
    """

    def forward(self, x: Array) -> Array:
        """The logistic function of `x`."""
        self.check_input(x)
        return sigmoid(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return sigmoid_dx(dy, y)

        return y, once(vjp, self, y)
