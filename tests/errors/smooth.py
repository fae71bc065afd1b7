"""What the smooth activations, softmax, elementary functions and the linear layer refuse."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from tests.errors.common import DOUBLE, Wrong, X, unary, wrong

SCALAR = X[0, 0, 0, :1].reshape(())

ERRORS: list[Wrong] = [
    *unary("ELU", mg.ELU),
    wrong("ELU", lambda: mg.ELU(-0.5), ValueError, "alpha", "at least 0", "-0.5"),
    wrong("ELU", lambda: mg.ELU(np.nan), ValueError, "alpha", "finite", "nan"),
    wrong("ELU", lambda: mg.ELU(True), ValueError, "alpha", "number", "True"),
    wrong("ELU", lambda: mg.ELU(10**400), ValueError, "alpha", "finite"),
    *unary("SELU", mg.SELU),
    *unary("GELU", mg.GELU),
    wrong("GELU", lambda: mg.GELU("erf"), ValueError, "approximate", "'tanh'", "'erf'"),
    wrong("GELU", lambda: mg.GELU(None), ValueError, "approximate", "'none'", "None"),
    *unary("Tanh", mg.Tanh),
    *unary("Softplus", mg.Softplus),
    wrong("Softplus", lambda: mg.Softplus(0), ValueError, "beta", "above 0", "got 0"),
    wrong("Softplus", lambda: mg.Softplus(-1.0), ValueError, "beta", "above 0", "-1.0"),
    wrong("Softplus", lambda: mg.Softplus(1, np.inf), ValueError, "threshold", "finite", "inf"),
    wrong("Softplus", lambda: mg.Softplus(1, "20"), ValueError, "threshold", "number", "'20'"),
    *(
        case
        for layer, make in (("Softmax", mg.Softmax), ("LogSoftmax", mg.LogSoftmax))
        for case in (
            *unary(layer, lambda make=make: make(1)),
            wrong(layer, lambda make=make: make(1.0), ValueError, "dim", "whole", "1.0"),
            wrong(layer, lambda make=make: make(None), ValueError, "dim", "whole", "None"),
            wrong(layer, lambda make=make: make(True), ValueError, "dim", "whole", "True"),
            wrong(layer, lambda make=make: make(4)(X), ValueError, "dim", "-4 <= dim < 4", "4"),
            wrong(layer, lambda make=make: make(-1)(SCALAR), ValueError, "dim", "shape ()"),
        )
    ),
    *unary("Square", mg.Square),
    *unary("Exp", mg.Exp),
    *unary("Log", mg.Log),
    *unary("Mean", mg.Mean),
    wrong("Mean", lambda: mg.Mean(1.0), ValueError, "dim", "whole", "1.0"),
    wrong("Mean", lambda: mg.Mean((0, True)), ValueError, "dim[1]", "whole", "True"),
    wrong("Mean", lambda: mg.Mean(()), ValueError, "dim", "at least one axis", "()"),
    wrong("Mean", lambda: mg.Mean(4)(X), ValueError, "dim", "-4 <= dim < 4", "got 4"),
    wrong(
        "Mean", lambda: mg.Mean((1, -3))(X), ValueError, "dim", "once", "(1, -3)", "(2, 3, 6, 5)"
    ),
    *unary("Expand", lambda: mg.Expand((2, 3, 6, 5))),
    wrong("Expand", lambda: mg.Expand(4), ValueError, "size", "tuple or list", "4"),
    wrong("Expand", lambda: mg.Expand((2, -2)), ValueError, "size[1]", "at least -1", "-2"),
    wrong("Expand", lambda: mg.Expand((2, 1.5)), ValueError, "size[1]", "whole", "1.5"),
    *(
        wrong("Expand", lambda size=size: mg.Expand(size)(X), ValueError, "x", "(2, 3, 6, 5)", text)
        for size, text in (
            ((2, 3, 6, 6), "(2, 3, 6, 6)"),
            ((6, 5), "(6, 5)"),
            ((-1, 2, 3, 6, 5), "(-1, 2, 3, 6, 5)"),
        )
    ),
    wrong("ExpandAs", lambda: mg.ExpandAs()(X, DOUBLE), TypeError, "other", "float32", "float64"),
    wrong("ExpandAs", lambda: mg.ExpandAs()(X > 0, X), TypeError, "x", "floating", "bool"),
    wrong("ExpandAs", lambda: mg.ExpandAs()(X, None), TypeError, "other:", "array", "NoneType"),
    wrong(
        "ExpandAs",
        lambda: mg.ExpandAs()(X, X[:, :2]),
        ValueError,
        *("x", "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
    ),
    wrong("ExpandAs", lambda: mg.ExpandAs()(X, X[0]), ValueError, "(2, 3, 6, 5)", "(3, 6, 5)"),
    *unary("Linear", lambda: mg.Linear(5, 2)),
    wrong("Linear", lambda: mg.Linear(0, 2), ValueError, "in_features", "at least 1", "0"),
    wrong("Linear", lambda: mg.Linear(5, 2.0), ValueError, "out_features", "whole", "2.0"),
    wrong("Linear", lambda: mg.Linear(4, 2)(X), ValueError, "x", "4 features", "(2, 3, 6, 5)"),
    wrong("Linear", lambda: mg.Linear(1, 2)(SCALAR), ValueError, "x", "1 features", "()"),
    wrong("Linear", lambda: mg.Linear(5, 2)(DOUBLE), TypeError, "float64", "weight", "float32"),
    wrong("Linear", lambda: mg.Linear(5, 2, dtype=int), TypeError, "weight", "floating", "int64"),
    *unary("LearnedScale", mg.LearnedScale),
    wrong("LearnedScale", lambda: mg.LearnedScale(0), ValueError, "num_features", "at least 1"),
    wrong("LearnedScale", lambda: mg.LearnedScale(2.5), ValueError, "num_features", "whole", "2.5"),
    wrong("LearnedScale", lambda: mg.LearnedScale(1, np.inf), ValueError, "init", "finite", "inf"),
    wrong("LearnedScale", lambda: mg.LearnedScale(4)(X), ValueError, "4 channels", "(2, 3, 6, 5)"),
    wrong("LearnedScale", lambda: mg.LearnedScale()(DOUBLE), TypeError, "weight", "float32"),
]
