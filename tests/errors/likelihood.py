"""What the likelihoods and the noise models refuse."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    WHOLE,
    Wrong,
    X,
    loss,
    small_constant,
    wrong,
)


def noise_model(layer: str, *arguments: float) -> list[Wrong]:
    """What both noise models refuse."""
    make = getattr(mg, layer)
    return [
        wrong(layer, lambda: make(*arguments)([1.0], X), TypeError, "signal:", "list"),
        wrong(layer, lambda: make(*arguments)(X, WHOLE), TypeError, "observation:", "int64"),
        wrong(layer, lambda: make(*arguments)(DOUBLE, DOUBLE), TypeError, "float64", "float32"),
        wrong(layer, lambda: make(*arguments)(X, DOUBLE), TypeError, "float32", "float64"),
        wrong(
            layer,
            lambda: make(*arguments)(X, X[:, :2]),
            ValueError,
            *("observation", "broadcast", "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
        ),
        wrong(layer, lambda: make(*arguments, dtype=int), TypeError, "floating", "int"),
    ]


ERRORS: list[Wrong] = [
    *loss("GaussianNLLLoss", mg.GaussianNLLLoss, X),
    *small_constant("GaussianNLLLoss", mg.GaussianNLLLoss),
    *(
        wrong(
            "GaussianNLLLoss",
            lambda var=var: mg.GaussianNLLLoss()(X, X, var),
            ValueError,
            *("var", "(2, 3, 6, 5)", str(var.shape)),
        )
        for var in (X[:, :2], X[0], X[:, :, 0], X[0, 0, 0])
    ),
    wrong(
        "GaussianNLLLoss",
        lambda: mg.GaussianNLLLoss()(X, X, DOUBLE),
        TypeError,
        *("var", "float32", "float64"),
    ),
    *loss("LogVarianceNLLLoss", mg.LogVarianceNLLLoss, X),
    wrong(
        "LogVarianceNLLLoss",
        lambda: mg.LogVarianceNLLLoss()(X, X, X[:, :1]),
        ValueError,
        *("log_var", "(2, 3, 6, 5)", "(2, 1, 6, 5)"),
    ),
    wrong(
        "LogVarianceNLLLoss",
        lambda: mg.LogVarianceNLLLoss()(X, X, DOUBLE),
        TypeError,
        *("log_var", "float32", "float64"),
    ),
    wrong(
        "LogVarianceNLLLoss",
        lambda: mg.LogVarianceNLLLoss(lower_bound=-np.inf),
        ValueError,
        *("lower_bound", "finite", "-inf"),
    ),
    *loss("CrossEntropyLoss", mg.CrossEntropyLoss),
    wrong(
        "CrossEntropyLoss",
        lambda: mg.CrossEntropyLoss()(X, WHOLE[:, 0]),
        TypeError,
        *("target", "int64", "one-hot", "np.eye(C, dtype=logits.dtype)[target]"),
    ),
    wrong(
        "CrossEntropyLoss",
        lambda: mg.CrossEntropyLoss()(X[:, :0], X[:, :0]),
        ValueError,
        *("logits", "one class", "(2, 0, 6, 5)"),
    ),
    wrong(
        "CrossEntropyLoss",
        lambda: mg.CrossEntropyLoss()(X[0, 0, 0, 0], X[0, 0, 0, 0]),
        ValueError,
        *("logits", "one class", "()"),
    ),
    *(
        wrong(
            "CrossEntropyLoss",
            lambda s=s: mg.CrossEntropyLoss(label_smoothing=s),
            ValueError,
            *("label_smoothing", words, str(s)),
        )
        for s, words in ((1.5, "0 to 1"), (-0.1, "0 to 1"), (np.nan, "finite"), (True, "number"))
    ),
    *(
        wrong("LogMixtureLoss", lambda xs=xs, dim=dim: mg.LogMixtureLoss(dim)(*xs), error, *words)
        for dim, xs, error, words in (
            (1, (X, X[:, :2], X, X[:, 0]), ValueError, ("mean", "(2, 3, 6, 5)", "(2, 2, 6, 5)")),
            (1, (X, X, X[0], X[:, 0]), ValueError, ("log_sigma", "(2, 3, 6, 5)", "(3, 6, 5)")),
            (1, (X, X, X, X), ValueError, ("target", "without axis 1", "(2, 3, 6, 5)")),
            (-1, (X, X, X, X[:, 0]), ValueError, ("target", "without axis 3", "(2, 6, 5)")),
            (4, (X, X, X, X), ValueError, ("logits", "axis 4", "(2, 3, 6, 5)")),
            (1, (X[:, :0],) * 4, ValueError, ("logits", "axis 1", "(2, 0, 6, 5)")),
            (1, (X, DOUBLE, X, X[:, 0]), TypeError, ("mean", "float32", "float64")),
            (1, (X, X, X, DOUBLE[:, 0]), TypeError, ("target", "float32", "float64")),
            (1, (X, X, X, WHOLE[:, 0]), TypeError, ("floating", "int64")),
        )
    ),
    wrong("LogMixtureLoss", lambda: mg.LogMixtureLoss(1.0), ValueError, "dim", "whole", "1.0"),
    wrong("LogMixtureLoss", lambda: mg.LogMixtureLoss(1, "most"), ValueError, "reduction", "most"),
    wrong("DensityNLLLoss", lambda: mg.DensityNLLLoss()(WHOLE), TypeError, "floating", "int64"),
    wrong("DensityNLLLoss", lambda: mg.DensityNLLLoss()([0.5]), TypeError, "array", "list"),
    wrong("DensityNLLLoss", lambda: mg.DensityNLLLoss("most"), ValueError, "reduction", "'most'"),
    wrong(
        "PN2VLoss",
        lambda: mg.PN2VLoss()(X, X),
        ValueError,
        *("mask", "without axis 0", "(2, 3, 6, 5)"),
    ),
    wrong("PN2VLoss", lambda: mg.PN2VLoss()(X, DOUBLE[0]), TypeError, "mask", "float32", "float64"),
    wrong("PN2VLoss", lambda: mg.PN2VLoss()(X, X[0] > 0), TypeError, "floating", "bool"),
    wrong(
        "PN2VLoss",
        lambda: mg.PN2VLoss()(X[:0], X[0]),
        ValueError,
        *("density", "one sample", "(0, 3, 6, 5)"),
    ),
    *noise_model("GaussianMixtureNoiseModel", 0.0, 100.0),
    *(
        wrong(
            "GaussianMixtureNoiseModel",
            lambda how=how: mg.GaussianMixtureNoiseModel(**{"max_signal": 9.0, **how}),
            ValueError,
            *words,
        )
        for how, words in (
            ({"min_signal": 9.0}, ("max_signal", "above 9", "9.0")),
            ({"min_signal": True}, ("min_signal", "number", "True")),
            ({"min_signal": 0, "n_gaussian": 0}, ("n_gaussian", "at least 1", "0")),
            ({"min_signal": 0, "n_coeff": 1}, ("n_coeff", "at least 2", "1")),
            ({"min_signal": 0, "min_sigma": 0}, ("min_sigma", "above 0", "0")),
            ({"min_signal": 0, "tol": -1e-10}, ("tol", "above 0", "-1e-10")),
        )
    ),
    *noise_model("HistogramNoiseModel", 8, 0.0, 100.0),
    *(
        wrong("HistogramNoiseModel", lambda how=how: mg.HistogramNoiseModel(*how), ValueError, *w)
        for how, w in (
            ((1, 0.0, 1.0), ("bins", "at least 2", "1")),
            ((8.0, 0.0, 1.0), ("bins", "whole", "8.0")),
            ((8, 1.0, 0.0), ("max_value", "above 1", "0.0")),
            ((8, np.nan, 1.0), ("min_value", "finite", "nan")),
        )
    ),
]
