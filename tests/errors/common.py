"""How a wrong call is written down, and what layers of one kind refuse alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

X = np.zeros((2, 3, 6, 5), np.float32)
V = np.zeros((2, 12, 20), np.float32)
DOUBLE, WHOLE = X.astype(np.float64), np.zeros((2, 3, 6, 5), np.int64)


@dataclass(frozen=True)
class Wrong:
    """A call that must raise `error` with a message that holds the layer's name and `words`."""

    layer: str
    call: Callable[[], Any]
    error: type[Exception]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer}: {' '.join(self.words)}"


def wrong(layer: str, call: Callable[[], Any], error: type[Exception], *words: str) -> Wrong:
    return Wrong(layer, call, error, words)


def unary(layer: str, make: Callable[[], mg.Module]) -> list[Wrong]:
    """What every layer of one input refuses."""
    return [
        wrong(layer, lambda: make()([1.0]), TypeError, "x", "NumPy or CuPy array", "list"),
        wrong(layer, lambda: make()(WHOLE), TypeError, "x", "floating", "int64"),
        wrong(layer, lambda: make()(X > 0), TypeError, "x", "floating", "bool"),
    ]


def binary(layer: str, make: Callable[[], mg.Module]) -> list[Wrong]:
    """What every layer of two summands or factors refuses."""
    return [
        wrong(layer, lambda: make()(X, DOUBLE), TypeError, "b", "float32", "float64"),
        wrong(layer, lambda: make()(X, X[:, :2]), ValueError, "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
        wrong(layer, lambda: make()(X, 2.0), TypeError, "b:", "array", "float"),
        wrong(layer, lambda: make()(WHOLE, X), TypeError, "a:", "floating", "int64"),
    ]


def loss(layer: str, make: Callable[..., mg.Module], *more: Any) -> list[Wrong]:
    """What every loss with a reduction refuses."""
    return [
        *comparison(layer, make, *more),
        wrong(layer, lambda: make(reduction="most"), ValueError, "reduction", "'sum'", "'most'"),
    ]


def comparison(layer: str, make: Callable[..., mg.Module], *more: Any) -> list[Wrong]:
    """What every loss of a prediction and a target refuses."""
    return [
        wrong(
            layer,
            lambda: make()(X, X[:, :1], *more),
            ValueError,
            *("target", "(2, 3, 6, 5)", "(2, 1, 6, 5)"),
        ),
        wrong(layer, lambda: make()(X, DOUBLE, *more), TypeError, "target", "float32", "float64"),
        wrong(layer, lambda: make()(WHOLE, X, *more), TypeError, "floating", "int64"),
    ]


def small_constant(layer: str, make: Callable[..., mg.Module]) -> list[Wrong]:
    """What a loss with an `eps` in a power or a denominator refuses."""
    return [
        wrong(layer, lambda: make(eps=-1), ValueError, "eps", "above 0", "-1"),
        wrong(layer, lambda: make(eps=0.0), ValueError, "eps", "above 0", "0.0"),
        wrong(layer, lambda: make(eps=np.nan), ValueError, "eps", "finite", "nan"),
    ]


def image(layer: str, make: Callable[[], mg.Module]) -> list[Wrong]:
    """What every layer on images refuses."""
    return [
        wrong(layer, lambda: make()(X[0]), ValueError, "x", "4 dimensions", "(3, 6, 5)"),
        wrong(layer, lambda: make()(WHOLE), TypeError, "x", "floating", "int64"),
        wrong(layer, lambda: make()(None), TypeError, "x", "array", "NoneType"),
    ]
