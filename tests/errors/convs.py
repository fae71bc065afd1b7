"""What the convolutions with masks and with asymmetric borders refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    Wrong,
    X,
    image,
    wrong,
)
from tests.errors.windows import convolution


def masked(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both convolutions with a mask refuse, beside what every convolution does."""
    layer = make.__name__

    def with_mask(mask: Any) -> Callable[[], mg.Module]:
        return lambda: make(3, 4, 3, mask=mask)

    return [
        *convolution(make),
        wrong(layer, lambda: make(3, 4, 9)(X), ValueError, "x", "(9, 9)", "(2, 3, 6, 5)"),
        wrong(
            layer,
            lambda: make(3, 4, 3, stride=2, padding="same"),
            ValueError,
            *("padding='same'", "stride 1", "(2, 2)"),
        ),
        wrong(layer, with_mask(((1, 0), (1, 1))), ValueError, "mask", "(3, 3)", "((1, 0), (1, 1))"),
        wrong(layer, with_mask(((1, 0, 1), (1,))), ValueError, "mask", "(3, 3)", "(1,)"),
        wrong(layer, with_mask(1), ValueError, "mask", "(3, 3)", "1"),
        wrong(layer, with_mask((("0",) * 3,) * 3), ValueError, "mask", "numbers", "'0'"),
        wrong(layer, with_mask(((1, 2, 1),) * 3), ValueError, "mask", "0 and 1", "2"),
        wrong(layer, with_mask(((1, np.nan, 1),) * 3), ValueError, "mask", "0 and 1", "nan"),
    ]


def same(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both convolutions with Keras' padding refuse."""
    layer = make.__name__
    small = X[:, :2]
    return [
        *image(layer, lambda: make(3, 4, 3)),
        wrong(layer, lambda: make(3, 4, 3)(small), ValueError, "x", "3 channels", "(2, 2, 6, 5)"),
        wrong(layer, lambda: make(3, 4, 3)(DOUBLE), TypeError, "x", "float64", "weight", "float32"),
        wrong(layer, lambda: make(3, 4, 3)(X[:, :, :0]), ValueError, "x", "pixel", "(2, 3, 0, 5)"),
        wrong(layer, lambda: make(3, 4, 3, groups=2), ValueError, "in_channels", "groups 2", "3"),
        wrong(layer, lambda: make(4, 3, 3, groups=2), ValueError, "out_channels", "groups 2", "3"),
        wrong(layer, lambda: make(0, 4, 3), ValueError, "in_channels", "at least 1", "0"),
        wrong(layer, lambda: make(3, 4.0, 3), ValueError, "out_channels", "whole", "4.0"),
        wrong(layer, lambda: make(3, 4, True), ValueError, "kernel_size", "int", "True"),
        wrong(layer, lambda: make(3, 4, (3, 3, 3)), ValueError, "kernel_size", "(3, 3, 3)"),
        wrong(layer, lambda: make(3, 4, 3, stride=0), ValueError, "stride", "at least 1", "(0, 0)"),
        wrong(layer, lambda: make(3, 4, 3, dilation=-1), ValueError, "dilation", "(-1, -1)"),
        wrong(layer, lambda: make(3, 4, 3, dtype=np.int32), TypeError, "weight", "int32"),
    ]


ERRORS: list[Wrong] = [
    *masked(mg.MaskedConv2d),
    *masked(mg.TrimmedConv2d),
    *same(mg.SameConv2d),
    *same(mg.SameConvTranspose2d),
]
