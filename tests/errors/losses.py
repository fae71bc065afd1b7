"""What the regression losses refuse."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from tests.errors.common import (
    DOUBLE,
    Wrong,
    X,
    comparison,
    loss,
    small_constant,
    wrong,
)

ERRORS: list[Wrong] = [
    *loss("MSELoss", mg.MSELoss),
    *comparison("HalfSquaredErrorLoss", mg.HalfSquaredErrorLoss),
    wrong(
        "HalfSquaredErrorLoss",
        lambda: mg.HalfSquaredErrorLoss()(np.zeros(()), np.zeros(())),
        ValueError,
        *("prediction", "at least 1 axis", "()"),
    ),
    *loss("L1Loss", mg.L1Loss),
    *loss("CharbonnierLoss", mg.CharbonnierLoss),
    *small_constant("CharbonnierLoss", mg.CharbonnierLoss),
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
