"""What convolutions, pooling and resizing refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    V,
    Wrong,
    X,
    image,
    wrong,
)


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


ERRORS: list[Wrong] = [
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
    *(
        wrong(
            "Upsample",
            lambda mode=mode, corners=corners: mg.Upsample(4, None, mode, corners),
            ValueError,
            *("align_corners", "'bilinear'", repr(corners)),
        )
        for mode, corners in (("nearest", False), ("bilinear", 1), ("bilinear", "yes"))
    ),
    wrong(
        "Upsample",
        lambda: mg.Upsample(scale_factor=0.1, mode="bilinear")(X),
        ValueError,
        *("x", "non-empty", "0.1", "bilinear"),
    ),
    wrong(
        "Upsample", lambda: mg.Upsample(scale_factor=0.1)(X), ValueError, "x", "non-empty", "0.1"
    ),
]
