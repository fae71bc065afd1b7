"""Modules that only the tests have: noise, a buffer, any function with any derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import Composite, Conv2d, Module, Noise, ReLU, array_module, once
from minigrad.module import Vjp


class Dropout(Module):
    """y = x m / (1 - p), m a mask of the noise; in evaluation mode y = x.

    VJP: dx = dy m / (1 - p).
    Keeps: m / (1 - p).
    """

    def __init__(self, p: float = 0.5, noise: Noise | None = None) -> None:
        self.p, self.noise = p, Noise(7) if noise is None else noise

    def _mask(self, x: Any) -> Any:
        xp = array_module(x)
        if not self.training:
            return xp.ones_like(x)
        return (self.noise.uniform(x.shape, x.dtype, xp) >= self.p).astype(x.dtype) / (1 - self.p)

    def forward(self, x: Any) -> Any:
        self.check_input(x)
        return x * self._mask(x)

    def forward_and_vjp(self, x: Any) -> tuple[Any, Vjp]:
        self.check_input(x)
        mask = self._mask(x)

        def vjp(dy: Any) -> Any:
            return dy * mask

        return x * mask, once(vjp)


class RunningMean(Module):
    """y = x - r with the buffer r; in training r moves by a tenth towards the mean of x, after use.

    VJP: dx = dy.
    Keeps: nothing.
    """

    buffer_names = ("running_mean",)

    def __init__(self, dtype: Any = np.float32) -> None:
        self.running_mean = np.zeros(1, dtype)

    def forward(self, x: Any) -> Any:
        self.check_input(x)
        y = x - self.running_mean
        if self.training:
            self.running_mean += 0.1 * (x.mean() - self.running_mean)
        return y

    def forward_and_vjp(self, x: Any) -> tuple[Any, Vjp]:
        return self.forward(x), once(lambda dy: dy)


class Elementwise(Module):
    """y = f(x) with dx = dy g(x)."""

    def __init__(self, f: Callable[[Any], Any], g: Callable[[Any], Any]) -> None:
        self.f, self.g = f, g

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.f(x)

    def forward_and_vjp(self, x: np.ndarray) -> Any:
        return self.f(x), once(lambda dy: dy * self.g(x))


class TwoOutputs(Composite):
    """Returns one wire twice, and another."""

    def __init__(self, dtype: Any) -> None:
        self.conv = Conv2d(2, 2, 3, padding=1, dtype=dtype)
        self.relu = ReLU()

    def wire(self, x: Any) -> Any:
        y = self.conv(x)
        return y, self.relu(x), y
