"""Modules that only the tests have: a fixed noise, a buffer, any function with any derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Module, Noise, once
from minigrad.module import Vjp


class Dropout(mg.Dropout):
    """The engine's, whose numbers are the same each time."""

    def __init__(self, p: float = 0.5, noise: Noise | None = None) -> None:
        super().__init__(p, Noise(7) if noise is None else noise)


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
