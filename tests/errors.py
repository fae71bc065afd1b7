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
        wrong(layer, lambda: make(reduction="most"), ValueError, "reduction", "'sum'", "'most'"),
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


def convolution(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both convolutions refuse."""
    layer = make.__name__
    small = X[:, :2]
    return [
        *image(layer, lambda: make(3, 4, 3)),
        wrong(layer, lambda: make(3, 4, 3)(small), ValueError, "x", "3 channels", "(2, 2, 6, 5)"),
        wrong(layer, lambda: make(3, 4, 3)(DOUBLE), TypeError, "x", "float64", "weight", "float32"),
        wrong(layer, lambda: make(3, 4, 3, groups=2), ValueError, "in_channels", "groups 2", "3"),
        wrong(layer, lambda: make(4, 3, 3, groups=2), ValueError, "out_channels", "groups 2", "3"),
        wrong(layer, lambda: make(0, 4, 3), ValueError, "in_channels", "at least 1", "0"),
        wrong(layer, lambda: make(3, 4, 0), ValueError, "kernel_size", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, 4, 3, stride=0), ValueError, "stride", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, 4, 3, padding=-1), ValueError, "padding", "(-1, -1)"),
        wrong(layer, lambda: make(3, 4, (3, 3, 3)), ValueError, "kernel_size", "(3, 3, 3)"),
        wrong(layer, lambda: make(3, 4, 2.5), ValueError, "kernel_size", "2.5"),
        wrong(layer, lambda: make(3, 4, 3, padding="full"), ValueError, "padding", "'full'"),
        wrong(layer, lambda: make(3, 4, True), ValueError, "kernel_size", "int", "True"),
        wrong(layer, lambda: make(3, 4, 3, True), ValueError, "stride", "int", "True"),
        wrong(layer, lambda: make(3, 4.0, 3), ValueError, "out_channels", "whole", "4.0"),
        wrong(layer, lambda: make(3, 4, 3, groups=True), ValueError, "groups", "whole", "True"),
        wrong(layer, lambda: make(3, 4, 3, dtype=np.int32), TypeError, "weight", "int32"),
    ]


def pool(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both poolings refuse."""
    layer = make.__name__
    return [
        *image(layer, lambda: make(2)),
        wrong(layer, lambda: make(7)(X), ValueError, "x", "(7, 7)", "(2, 3, 6, 5)"),
        wrong(layer, lambda: make(2, padding=2), ValueError, "padding", "half", "(2, 2)"),
        wrong(layer, lambda: make(0), ValueError, "kernel_size", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, padding="same"), ValueError, "padding", "'same'"),
    ]


ERRORS = [
    *image("Unfold", lambda: mg.Unfold(2)),
    wrong("Unfold", lambda: mg.Unfold(9)(X), ValueError, "x", "(9, 9)", "(2, 3, 6, 5)"),
    wrong("Unfold", lambda: mg.Unfold(2, dilation=0), ValueError, "dilation", "(0, 0)"),
    wrong("Unfold", lambda: mg.Unfold(3, padding="same"), ValueError, "padding", "'same'"),
    wrong("Fold", lambda: mg.Fold(6, 2)(X), ValueError, "x", "3 dimensions", "(2, 3, 6, 5)"),
    wrong("Fold", lambda: mg.Fold(6, 2)(V), ValueError, "5 * 5", "(6, 6)", "(2, 12, 20)"),
    wrong("Fold", lambda: mg.Fold((6, 5), 5)(V), ValueError, "C * 25", "(2, 12, 20)"),
    wrong("Fold", lambda: mg.Fold((6, 5, 4), 2), ValueError, "output_size", "(6, 5, 4)"),
    wrong("Fold", lambda: mg.Fold(0, 2), ValueError, "output_size", "at least 1", "(0, 0)"),
    wrong("Fold", lambda: mg.Fold(6, 3, padding="same"), ValueError, "padding", "'same'"),
    *convolution(mg.Conv2d),
    wrong(
        "Conv2d",
        lambda: mg.Conv2d(3, 4, 3, stride=2, padding="same"),
        ValueError,
        *("padding='same'", "stride 1", "(2, 2)"),
    ),
    wrong("Conv2d", lambda: mg.Conv2d(3, 4, 9)(X), ValueError, "x", "(9, 9)", "(2, 3, 6, 5)"),
    *convolution(mg.ConvTranspose2d),
    *(
        wrong(
            "ConvTranspose2d",
            lambda border=border: mg.ConvTranspose2d(3, 4, 3, padding=border),
            ValueError,
            *("padding", repr(border)),
        )
        for border in ("same", "valid")
    ),
    wrong(
        "ConvTranspose2d",
        lambda: mg.ConvTranspose2d(3, 4, 3, output_padding=-1),
        ValueError,
        *("output_padding", "at least 0", "(-1, -1)"),
    ),
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
    wrong("LeakyReLU", lambda: mg.LeakyReLU("0.1"), ValueError, "negative_slope", "'0.1'"),
    wrong("LeakyReLU", lambda: mg.LeakyReLU(np.inf), ValueError, "negative_slope", "finite", "inf"),
    *unary("PReLU", mg.PReLU),
    wrong("PReLU", lambda: mg.PReLU(4)(X), ValueError, "x", "4 channels", "(2, 3, 6, 5)"),
    wrong("PReLU", lambda: mg.PReLU(0), ValueError, "num_parameters", "at least 1", "0"),
    wrong("PReLU", lambda: mg.PReLU(2.5), ValueError, "num_parameters", "whole", "2.5"),
    wrong("PReLU", lambda: mg.PReLU(init=np.nan), ValueError, "init", "finite", "nan"),
    wrong("PReLU", lambda: mg.PReLU(dtype=np.int32), TypeError, "weight", "floating", "int32"),
    wrong("PReLU", lambda: mg.PReLU()(DOUBLE), TypeError, "float64", "weight", "float32"),
    *unary("Sigmoid", mg.Sigmoid),
    *pool(mg.MaxPool2d),
    *pool(mg.AvgPool2d),
    *(
        wrong(
            "AvgPool2d",
            lambda divisor=divisor: mg.AvgPool2d(2, divisor_override=divisor),
            ValueError,
            *("divisor_override", "whole", str(divisor)),
        )
        for divisor in (0, 2.5)
    ),
    *image("Upsample", lambda: mg.Upsample(scale_factor=2)),
    wrong("Upsample", lambda: mg.Upsample(), ValueError, "exactly one", "size", "scale_factor"),
    wrong("Upsample", lambda: mg.Upsample(4, 2), ValueError, "exactly one", "size=4"),
    wrong("Upsample", lambda: mg.Upsample(size=0), ValueError, "size", "at least 1", "(0, 0)"),
    *(
        wrong(
            "Upsample",
            lambda factor=factor: mg.Upsample(scale_factor=factor),
            ValueError,
            *("scale_factor", word, str(factor)),
        )
        for factor, word in (
            ((2, 2, 2), "pair"),
            ("2", "number"),
            (0, "above 0"),
            (np.inf, "finite"),
        )
    ),
    wrong("Upsample", lambda: mg.Upsample(4)(X[:, :, :0]), ValueError, "x", "(0, 5)", "(4, 4)"),
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
    wrong("Concat", lambda: mg.Concat(1.0), ValueError, "dim", "whole", "1.0"),
    *(
        wrong("Concat", lambda dim=dim, x=x: mg.Concat(dim)(x, x), ValueError, "dim", *words)
        for dim, x, words in (
            (1, X[0, 0, 0], ("-1 <= dim < 1", "got 1")),
            (1, X[0, 0, 0, :1].reshape(()), ("shape ()", "got 1")),
            (-5, X, ("-4 <= dim < 4", "got -5")),
        )
    ),
    wrong("Split", lambda: mg.Split((1, 1))(X), ValueError, "x", "2", "axis 1", "(2, 3, 6, 5)"),
    *unary("Split", lambda: mg.Split((1, 2))),
    wrong("Split", lambda: mg.Split((5, -2)), ValueError, "sizes[1]", "at least 0", "-2"),
    wrong("Split", lambda: mg.Split((1, 2.0)), ValueError, "sizes[1]", "whole", "2.0"),
    wrong("Split", lambda: mg.Split(()), ValueError, "sizes", "at least one", "()"),
    wrong("Split", lambda: mg.Split(3), ValueError, "sizes", "tuple or list", "3"),
    wrong("Split", lambda: mg.Split((3,), dim=9)(X), ValueError, "dim", "-4 <= dim < 4", "9"),
    *binary("Add", mg.Add),
    *binary("Subtract", mg.Subtract),
    *binary("Multiply", mg.Multiply),
    *unary("Scale", lambda: mg.Scale(2)),
    wrong("Scale", lambda: mg.Scale(np.nan), ValueError, "factor", "finite", "nan"),
    *unary("Offset", lambda: mg.Offset(2)),
    wrong("Offset", lambda: mg.Offset(None), ValueError, "constant", "number", "None"),
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
    wrong(
        "MaskedMSELoss",
        lambda: mg.MaskedMSELoss()(X[0, 0, 0], X[0, 0, 0], X[0, 0, 0, :, None]),
        ValueError,
        *("mask", "(5,)", "(5, 1)"),
    ),
    *loss("AnnealedL0Loss", mg.AnnealedL0Loss),
    *small_constant("AnnealedL0Loss", mg.AnnealedL0Loss),
    wrong("AnnealedL0Loss", lambda: mg.AnnealedL0Loss(-1), ValueError, "gamma", "at least 0", "-1"),
    wrong("AnnealedL0Loss", lambda: mg.AnnealedL0Loss(dtype=int), TypeError, "dtype", "int64"),
    *loss("HDRLoss", mg.HDRLoss),
    *small_constant("HDRLoss", mg.HDRLoss),
]
