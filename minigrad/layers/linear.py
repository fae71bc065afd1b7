"""Linear, a matrix product; LearnedScale, a product with trained factors."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from minigrad import initialise
from minigrad.backend import Array, matmul
from minigrad.checks import number, whole
from minigrad.layers.activation import along_channels
from minigrad.module import Module, Vjp, once


class Linear(Module):
    """y = x W' + b, along the last axis of x.

    Shapes: x (..., I) -> y (..., O); weight W (O, I); bias b (O,).
    VJP, with the rows of x and dy as matrices X and dY: dX = dY W;  d_weight = dY' X;
        d_bias = sum of the rows of dY.
    Keeps: x.
    PyTorch: `torch.nn.Linear`.
    """

    parameter_names = ("weight", "bias")
    weight: Array
    bias: Array | None
    d_weight: Array
    d_bias: Array | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Weight and bias drawn as PyTorch draws them: uniform within 1 / sqrt(in_features).

        Raises:
            ValueError: a number of features is no whole number from 1.
        """
        self.in_features = whole(in_features, "in_features", "Linear", at_least=1)
        self.out_features = whole(out_features, "out_features", "Linear", at_least=1)
        rng = np.random.default_rng() if rng is None else rng
        w, b = initialise.native((self.out_features, self.in_features), rng, dtype=dtype)
        self.set_parameters(weight=w, bias=b if bias else None)

    def forward(self, x: Array) -> Array:
        """The product with the weight, plus the bias."""
        self._check(x)
        rows = x.reshape(-1, self.in_features)  # (R, I): one product, whatever the leading axes
        y = matmul(rows, self.weight.T).reshape(*x.shape[:-1], self.out_features)  # (..., O)
        return y if self.bias is None else y + self.bias

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            d_rows = dy.reshape(-1, self.out_features)  # (R, O)
            dw = matmul(d_rows.T, x.reshape(-1, self.in_features))  # (O, I)
            self.accumulate(weight=dw, bias=None if self.bias is None else d_rows.sum(0))
            return matmul(d_rows, self.weight).reshape(x.shape)  # (..., I)

        return y, once(vjp, self, y)

    def macs(self, *shapes: tuple[int, ...]) -> int:
        """I O for each row."""
        return prod(shapes[0][:-1]) * int(self.weight.size)

    def describe(self) -> str:
        """The numbers of features."""
        text = f"{self.in_features}, {self.out_features}"
        return text if self.bias is not None else f"{text}, bias=False"

    def _check(self, x: Array) -> None:
        self.check_input(x)
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(
                f"Linear: x: expected {self.in_features} features on the last axis, got shape "
                f"{x.shape}"
            )


class LearnedScale(Module):
    """y = w x, with trained factors w: one in all, or one per channel (axis 1).

    Shapes: x (N, C, ...), of any shape with a single factor; weight w (1,) or (C,).
    VJP: dx = w dy;  d_weight = sum of dy x, for each factor.
    Keeps: x.
    PyTorch: none; `w * x` with a parameter w.
    """

    parameter_names = ("weight",)
    weight: Array
    d_weight: Array

    def __init__(
        self, num_features: int = 1, init: float = 1.0, *, dtype: Any = np.float32
    ) -> None:
        """`num_features` factors (1, or the number of channels), all starting at `init`.

        Raises:
            ValueError: `num_features` is no whole number from 1, or `init` no finite number.
        """
        self.num_features = whole(num_features, "num_features", "LearnedScale", at_least=1)
        start = number(init, "init", "LearnedScale")
        self.set_parameters(weight=np.full(self.num_features, start, dtype=dtype))

    def forward(self, x: Array) -> Array:
        """x, times its channel's factor."""
        self._check(x)
        return x * along_channels(self.weight, x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)
        axes = tuple(i for i in range(x.ndim) if i != 1 or self.num_features == 1)

        def vjp(dy: Array) -> Array:
            self.accumulate(weight=(dy * x).sum(axes).reshape(self.weight.shape))
            return dy * along_channels(self.weight, x)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The number of factors."""
        return f"{self.num_features}"

    def _check(self, x: Array) -> None:
        self.check_input(x)
        if self.num_features > 1 and (x.ndim < 2 or x.shape[1] != self.num_features):
            raise ValueError(
                f"LearnedScale: x: expected {self.num_features} channels on axis 1, got shape "
                f"{x.shape}"
            )
