"""What the layers that draw random numbers refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    WHOLE,
    Wrong,
    X,
    image,
    unary,
    wrong,
)


def dropout(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What both dropouts refuse."""
    layer = make.__name__
    return [
        *(
            wrong(layer, lambda p=p: make(p), ValueError, "p", words, str(p))
            for p, words in (
                (-0.1, "from 0 to 1"),
                (1.5, "from 0 to 1"),
                (np.nan, "finite"),
                (True, "number"),
                ("0.5", "number"),
            )
        ),
        wrong(layer, lambda: make(noise=7), TypeError, "noise", "Noise or None", "int"),
    ]


ERRORS: list[Wrong] = [
    *unary("Dropout", mg.Dropout),
    *dropout(mg.Dropout),
    *image("Dropout2d", mg.Dropout2d),
    *dropout(mg.Dropout2d),
    wrong(
        "GaussianSample", lambda: mg.GaussianSample("variance"), ValueError, "form", "'variance'"
    ),
    wrong("GaussianSample", lambda: mg.GaussianSample(0.5), ValueError, "form", "'std'", "0.5"),
    wrong("GaussianSample", lambda: mg.GaussianSample(noise=np), TypeError, "noise", "module"),
    wrong(
        "GaussianSample",
        lambda: mg.GaussianSample()(X, X[:, :2]),
        ValueError,
        *("spread", "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
    ),
    wrong(
        "GaussianSample",
        lambda: mg.GaussianSample()(X, DOUBLE),
        TypeError,
        *("spread", "float32", "float64", "mu"),
    ),
    wrong("GaussianSample", lambda: mg.GaussianSample()(WHOLE, X), TypeError, "mu:", "int64"),
    wrong("GaussianSample", lambda: mg.GaussianSample()(X, 1.0), TypeError, "spread:", "float"),
]
