"""Wrong constructions and wrong inputs for each layer, and what the message must say."""

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
        wrong(layer, lambda: make()(X, 2.0), TypeError, "x", "array", "float"),
        wrong(layer, lambda: make()(WHOLE, X), TypeError, "floating", "int64"),
    ]


def loss(layer: str, make: Callable[..., mg.Module], *more: Any) -> list[Wrong]:
    """What every loss refuses."""
    return [
        wrong(
            layer,
            lambda: make()(X, X[:, :1], *more),
            ValueError,
            *("target", "(2, 3, 6, 5)", "(2, 1, 6, 5)"),
        ),
        wrong(layer, lambda: make()(X, DOUBLE, *more), TypeError, "target", "float32", "float64"),
        wrong(layer, lambda: make()(WHOLE, X, *more), TypeError, "floating", "int64"),
        wrong(layer, lambda: make(reduction="most"), ValueError, "reduction", "'mean'", "'most'"),
    ]


def image(layer: str, make: Callable[[], mg.Module]) -> list[Wrong]:
    """What every layer on images refuses."""
    return [
        wrong(layer, lambda: make()(X[0]), ValueError, "x", "4 dimensions", "(3, 6, 5)"),
        wrong(layer, lambda: make()(WHOLE), TypeError, "x", "floating", "int64"),
        wrong(layer, lambda: make()(None), TypeError, "x", "array", "NoneType"),
    ]


def convolution(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both convolutions refuse."""
    layer = make.__name__
    small = X[:, :2]
    return [
        *image(layer, lambda: make(3, 4, 3)),
        wrong(layer, lambda: make(3, 4, 3)(small), ValueError, "x", "3 channels", "(2, 2, 6, 5)"),
        wrong(layer, lambda: make(3, 4, 3)(DOUBLE), TypeError, "x", "float64", "weight", "float32"),
        wrong(layer, lambda: make(3, 4, 3, groups=2), ValueError, "in_channels=3", "groups=2"),
        wrong(layer, lambda: make(0, 4, 3), ValueError, "in_channels=0", "positive"),
        wrong(layer, lambda: make(3, 4, 0), ValueError, "kernel_size", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, 4, 3, stride=0), ValueError, "stride", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, 4, 3, padding=-1), ValueError, "padding", "(-1, -1)"),
        wrong(layer, lambda: make(3, 4, (3, 3, 3)), ValueError, "kernel_size", "(3, 3, 3)"),
        wrong(layer, lambda: make(3, 4, 2.5), ValueError, "kernel_size", "2.5"),
        wrong(layer, lambda: make(3, 4, 3, padding="full"), ValueError, "padding", "'full'"),
    ]


def pool(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both poolings refuse."""
    layer = make.__name__
    return [
        *image(layer, lambda: make(2)),
        wrong(layer, lambda: make(7)(X), ValueError, "x", "(7, 7)", "(2, 3, 6, 5)"),
        wrong(layer, lambda: make(2, padding=2), ValueError, "padding", "half", "(2, 2)"),
        wrong(layer, lambda: make(0), ValueError, "kernel_size", "at least 1", "(0, 0)"),
    ]


ERRORS = [
    *image("Unfold", lambda: mg.Unfold(2)),
    wrong("Unfold", lambda: mg.Unfold(9)(X), ValueError, "x", "(9, 9)", "(2, 3, 6, 5)"),
    wrong("Unfold", lambda: mg.Unfold(2, dilation=0), ValueError, "dilation", "(0, 0)"),
    wrong("Fold", lambda: mg.Fold(6, 2)(X), ValueError, "x", "3 dimensions", "(2, 3, 6, 5)"),
    wrong("Fold", lambda: mg.Fold(6, 2)(V), ValueError, "5 * 5", "(6, 6)", "(2, 12, 20)"),
    wrong("Fold", lambda: mg.Fold((6, 5), 5)(V), ValueError, "C * 25", "(2, 12, 20)"),
    wrong("Fold", lambda: mg.Fold((6, 5, 4), 2), ValueError, "output_size", "(6, 5, 4)"),
    *convolution(mg.Conv2d),
    wrong(
        "Conv2d",
        lambda: mg.Conv2d(3, 4, 3, stride=2, padding="same"),
        ValueError,
        *("padding='same'", "stride 1", "(2, 2)"),
    ),
    wrong("Conv2d", lambda: mg.Conv2d(3, 4, 9)(X), ValueError, "x", "(9, 9)", "(2, 3, 6, 5)"),
    *convolution(mg.ConvTranspose2d),
    wrong(
        "ConvTranspose2d",
        lambda: mg.ConvTranspose2d(3, 4, 3, stride=2, output_padding=2),
        ValueError,
        *("output_padding", "2", "(2, 2)"),
    ),
    wrong(
        "ConvTranspose2d",
        lambda: mg.ConvTranspose2d(3, 4, 1, padding=3)(X),
        ValueError,
        *("x", "not empty", "(6, 5)"),
    ),
    *unary("ReLU", mg.ReLU),
    *unary("LeakyReLU", mg.LeakyReLU),
    *unary("PReLU", mg.PReLU),
    wrong("PReLU", lambda: mg.PReLU(4)(X), ValueError, "x", "4 channels", "(2, 3, 6, 5)"),
    wrong("PReLU", lambda: mg.PReLU(0), ValueError, "num_parameters", "at least 1", "0"),
    wrong("PReLU", lambda: mg.PReLU()(DOUBLE), TypeError, "float64", "weight", "float32"),
    *unary("Sigmoid", mg.Sigmoid),
    *pool(mg.MaxPool2d),
    *pool(mg.AvgPool2d),
    *image("Upsample", lambda: mg.Upsample(scale_factor=2)),
    wrong("Upsample", lambda: mg.Upsample(), ValueError, "exactly one", "size", "scale_factor"),
    wrong("Upsample", lambda: mg.Upsample(4, 2), ValueError, "exactly one", "size=4"),
    wrong("Upsample", lambda: mg.Upsample(size=0), ValueError, "size", "positive", "(0, 0)"),
    wrong("Upsample", lambda: mg.Upsample(4, mode="cubic"), ValueError, "mode", "'cubic'"),
    wrong(
        "Upsample", lambda: mg.Upsample(scale_factor=0.1)(X), ValueError, "x", "non-empty", "0.1"
    ),
    wrong("Concat", lambda: mg.Concat()(), ValueError, "at least one input"),
    wrong("Concat", lambda: mg.Concat()(X, DOUBLE), TypeError, "input 1", "float32", "float64"),
    wrong(
        "Concat",
        lambda: mg.Concat()(X, X[:, :, :4]),
        ValueError,
        *("input 1", "(2, 3, 6, 5)", "axis 1", "(2, 3, 4, 5)"),
    ),
    wrong("Concat", lambda: mg.Concat()(X, X[0]), ValueError, "input 1", "(3, 6, 5)"),
    wrong("Split", lambda: mg.Split((1, 1))(X), ValueError, "x", "2", "axis 1", "(2, 3, 6, 5)"),
    *unary("Split", lambda: mg.Split((1, 2))),
    *binary("Add", mg.Add),
    *binary("Subtract", mg.Subtract),
    *binary("Multiply", mg.Multiply),
    *unary("Scale", lambda: mg.Scale(2)),
    *unary("Offset", lambda: mg.Offset(2)),
    *loss("MSELoss", mg.MSELoss),
    *loss("L1Loss", mg.L1Loss),
    *loss("MaskedMSELoss", mg.MaskedMSELoss, X),
    wrong(
        "MaskedMSELoss",
        lambda: mg.MaskedMSELoss()(X, X, X[:, :2]),
        ValueError,
        *("mask", "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
    ),
    wrong(
        "MaskedMSELoss",
        lambda: mg.MaskedMSELoss()(X, X, DOUBLE),
        TypeError,
        *("mask", "float32", "float64"),
    ),
    *loss("AnnealedL0Loss", mg.AnnealedL0Loss),
    *loss("HDRLoss", mg.HDRLoss),
]
