"""What the blind-spot losses refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from tests.errors.common import DOUBLE, Wrong, X, loss, wrong

S = np.ones((2, 6, 5, 3, 3), np.float32)  # a matrix for each pixel of X


def options(layer: str, make: Callable[..., mg.Module]) -> list[Wrong]:
    """What each of these losses refuses as settings."""
    return [
        wrong(layer, lambda: make(pretrain=1), ValueError, "pretrain", "True or False", "1"),
        wrong(layer, lambda: make(guard=None), ValueError, "guard", "True or False", "None"),
    ]


def least(layer: str, make: Callable[..., mg.Module], name: str = "minimum") -> list[Wrong]:
    """What a constant that must be above 0 refuses."""
    return [
        wrong(layer, lambda: make(**{name: 0.0}), ValueError, name, "above 0", "0.0"),
        wrong(layer, lambda: make(**{name: True}), ValueError, name, "number", "True"),
    ]


def multivariate(layer: str, make: Callable[..., mg.Module], *more: Any) -> list[Wrong]:
    """What each of the losses on pixels of three colours refuses."""
    return [
        wrong(
            layer,
            lambda: make()(X[:, :1], X[:, :1], S, *more),
            ValueError,
            *("3 channels", "(2, 1, 6, 5)"),
        ),
        wrong(
            layer,
            lambda: make()(X, X, S[:, :, :4], *more),
            ValueError,
            *("sigma_y", "(2, 6, 5, 3, 3)", "(2, 6, 4, 3, 3)"),
        ),
        wrong(
            layer,
            lambda: make()(X, X, S.astype(np.float64), *more),
            TypeError,
            *("sigma_y", "float32", "float64"),
        ),
    ]


ERRORS: list[Wrong] = [
    *loss("MAPLoss", mg.MAPLoss, X),
    *options("MAPLoss", mg.MAPLoss),
    wrong("MAPLoss", lambda: mg.MAPLoss(noise_reward=-0.1), ValueError, "noise_reward", "-0.1"),
    wrong("MAPLoss", lambda: mg.MAPLoss()(X, X, X, X), ValueError, "sigma_n", "none", "an array"),
    wrong(
        "MAPLoss",
        lambda: mg.MAPLoss(noise_reward=0.1)(X, X, X),
        ValueError,
        *("sigma_n", "an array", "noise_reward is 0.1", "got none"),
    ),
    wrong(
        "MAPLoss",
        lambda: mg.MAPLoss(noise_reward=0.1)(X, X, X, DOUBLE),
        TypeError,
        *("sigma_n", "float32", "float64"),
    ),
    wrong(
        "MAPLoss",
        lambda: mg.MAPLoss()(X, X, X[:1]),
        ValueError,
        *("sigma_y", "(2, 3, 6, 5)", "(1, 3, 6, 5)"),
    ),
    *loss("DBSNLoss", mg.DBSNLoss, X, X, X),
    *options("DBSNLoss", mg.DBSNLoss),
    *least("DBSNLoss", mg.DBSNLoss),
    wrong(
        "DBSNLoss",
        lambda: mg.DBSNLoss()(X, X, X, X, X[..., :1]),
        ValueError,
        *("sigma_n", "(2, 3, 6, 5)", "(2, 3, 6, 1)"),
    ),
    *loss("MultivariateMAPLoss", mg.MultivariateMAPLoss, S),
    *options("MultivariateMAPLoss", mg.MultivariateMAPLoss),
    *least("MultivariateMAPLoss", mg.MultivariateMAPLoss),
    *multivariate("MultivariateMAPLoss", mg.MultivariateMAPLoss),
    *loss("MultivariateDBSNLoss", mg.MultivariateDBSNLoss, S, S, S),
    *options("MultivariateDBSNLoss", mg.MultivariateDBSNLoss),
    *least("MultivariateDBSNLoss", mg.MultivariateDBSNLoss),
    *least("MultivariateDBSNLoss", mg.MultivariateDBSNLoss, "eps"),
    *multivariate("MultivariateDBSNLoss", mg.MultivariateDBSNLoss, S, S),
]
