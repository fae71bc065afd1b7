"""What the layers on 3x3 matrices and the posterior means refuse."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from tests.errors.common import Wrong, X, image, unary, wrong

S = np.zeros((2, 6, 5, 3, 3), np.float32)  # a matrix for each pixel of X

ERRORS: list[Wrong] = [
    *image("Covariance3x3", mg.Covariance3x3),
    wrong("Covariance3x3", lambda: mg.Covariance3x3()(X), ValueError, "6 channels", "(2, 3, 6, 5)"),
    wrong("Covariance3x3", lambda: mg.Covariance3x3(4), ValueError, "channels", "3 or 6", "4"),
    wrong("Covariance3x3", lambda: mg.Covariance3x3(True), ValueError, "channels", "whole", "True"),
    *unary("Inverse3x3", mg.Inverse3x3),
    wrong("Inverse3x3", lambda: mg.Inverse3x3()(X), ValueError, "(..., 3, 3)", "(2, 3, 6, 5)"),
    *unary("LogDet3x3", mg.LogDet3x3),
    wrong("LogDet3x3", lambda: mg.LogDet3x3()(X[0, 0, 0]), ValueError, "(..., 3, 3)", "(5,)"),
    wrong("LogDet3x3", lambda: mg.LogDet3x3(0.0), ValueError, "minimum", "above 0", "0.0"),
    wrong("LogDet3x3", lambda: mg.LogDet3x3("small"), ValueError, "minimum", "number", "'small'"),
    wrong("LogDet3x3", lambda: mg.LogDet3x3(factor=np.inf), ValueError, "factor", "finite", "inf"),
    *unary("ReplaceZeros", mg.ReplaceZeros),
    wrong("ReplaceZeros", lambda: mg.ReplaceZeros(np.nan), ValueError, "value", "finite", "nan"),
    wrong("ReplaceZeros", lambda: mg.ReplaceZeros(None), ValueError, "value", "number", "None"),
    *(
        wrong(layer, call, error, *words)
        for layer, make, matrix in (
            ("PosteriorMean", mg.PosteriorMean, X),
            ("MultivariatePosteriorMean", mg.MultivariatePosteriorMean, S),
        )
        for call, error, words in (
            (
                lambda make=make, s=matrix: make()(X, X[..., :4], s, s),
                ValueError,
                ("noisy", "(2, 3, 6, 5)", "(2, 3, 6, 4)"),
            ),
            (
                lambda make=make, s=matrix: make()(X, X, s, s[:1]),
                ValueError,
                ("sigma_n", "(2, ", "(1, "),
            ),
            (
                lambda make=make, s=matrix: make()(X, X, s.astype(np.float64), s),
                TypeError,
                ("sigma_mu", "float32", "float64"),
            ),
            (lambda make=make, s=matrix: make()(X > 0, X, s, s), TypeError, ("mu:", "bool")),
            (lambda make=make, s=matrix: make()(X, X, s, [s]), TypeError, ("sigma_n:", "list")),
            (lambda make=make: make(gamma=0), ValueError, ("gamma", "above 0", "0")),
        )
    ),
    wrong(
        "MultivariatePosteriorMean",
        lambda: mg.MultivariatePosteriorMean()(X[:, :1], X[:, :1], S, S),
        ValueError,
        *("x", "3 channels", "(2, 1, 6, 5)"),
    ),
    wrong(
        "MultivariatePosteriorMean",
        lambda: mg.MultivariatePosteriorMean(eps=-1e-6),
        ValueError,
        *("eps", "at least 0", "-1e-06"),
    ),
]
