"""What the activations and the layers that join, cut, add and scale refuse."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    Wrong,
    X,
    binary,
    unary,
    wrong,
)

ERRORS: list[Wrong] = [
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
]
