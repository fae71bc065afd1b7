"""What the divergences, the terms of clusters and of Keras, and the contrastive loss refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from tests.errors.common import DOUBLE, WHOLE, Wrong, X, small_constant, unary, wrong

FLAT = X[0, 0, 0, 0]
Y, Z, C = np.zeros((4, 3), np.float32), np.zeros((4, 5), np.float32), np.zeros((3, 5), np.float32)
"""Probabilities of 3 clusters, vectors of 4 samples, vectors of 3 clusters."""


def gaussians(layer: str, make: Callable[..., mg.Module], names: tuple[str, ...]) -> list[Wrong]:
    """What every divergence refuses, by the names of its inputs."""
    first, last, rest = names[0], names[-1], (X,) * (len(names) - 1)
    return [
        wrong(layer, lambda: make()(*rest, DOUBLE), TypeError, last, first, "float32", "float64"),
        wrong(
            layer,
            lambda: make()(*rest, X[:, :2]),
            ValueError,
            *("broadcast", f"{first} (2, 3, 6, 5)", f"{last} (2, 2, 6, 5)"),
        ),
        wrong(layer, lambda: make()(WHOLE, *rest), TypeError, "floating", "int64"),
        wrong(layer, lambda: make()(*rest, 0.0), TypeError, "array", "float"),
        wrong(
            layer, lambda: make(reduction="batch"), ValueError, "reduction", "'image'", "'batch'"
        ),
        wrong(
            layer,
            lambda: make(reduction="image")(*(FLAT,) * len(names)),
            ValueError,
            *("'image'", "at least 1 axis", "()"),
        ),
    ]


ERRORS: list[Wrong] = [
    *gaussians("GaussianKLLoss", mg.GaussianKLLoss, ("mu_q", "l_q", "mu_p", "l_p")),
    *gaussians("SampledKLLoss", mg.SampledKLLoss, ("z", "mu_q", "l_q", "mu_p", "l_p")),
    *gaussians("StandardNormalKLLoss", mg.StandardNormalKLLoss, ("mu_q", "l_q")),
    *gaussians("GaussianStdKLLoss", mg.GaussianStdKLLoss, ("mu_q", "sigma_q", "mu_p", "sigma_p")),
    *unary("FreeBits", lambda: mg.FreeBits(1.0)),
    wrong("FreeBits", lambda: mg.FreeBits(1.0)(X), ValueError, "kl", "(B, L)", "(2, 3, 6, 5)"),
    wrong("FreeBits", lambda: mg.FreeBits(1.0)(FLAT), ValueError, "kl", "(B,)", "()"),
    wrong("FreeBits", lambda: mg.FreeBits(-1), ValueError, "free_bits", "at least 0", "-1"),
    wrong("FreeBits", lambda: mg.FreeBits(True), ValueError, "free_bits", "number", "True"),
    wrong("FreeBits", lambda: mg.FreeBits(1.0, 1), ValueError, "batch_average", "bool", "1"),
    *unary("UniformKLLoss", mg.UniformKLLoss),
    *small_constant("UniformKLLoss", mg.UniformKLLoss),
    wrong("UniformKLLoss", lambda: mg.UniformKLLoss()(X), ValueError, "2", "(2, 3, 6, 5)"),
    wrong(
        "UniformKLLoss",
        lambda: mg.UniformKLLoss(reduction="image"),
        ValueError,
        *("reduction", "'none'", "'image'"),
    ),
    *small_constant("MixtureKLLoss", mg.MixtureKLLoss),
    wrong("MixtureKLLoss", lambda: mg.MixtureKLLoss(0.5), ValueError, "pi", "tuple", "0.5"),
    wrong("MixtureKLLoss", lambda: mg.MixtureKLLoss(()), ValueError, "pi", "tuple", "()"),
    wrong("MixtureKLLoss", lambda: mg.MixtureKLLoss((1.5, -0.5)), ValueError, "pi[1]", "above 0"),
    wrong("MixtureKLLoss", lambda: mg.MixtureKLLoss((0.5, 0.25)), ValueError, "pi", "1", "0.75"),
    wrong(
        "MixtureKLLoss",
        lambda: mg.MixtureKLLoss((1.0,), dtype=int),
        TypeError,
        *("dtype", "floating", "int64"),
    ),
    wrong(
        "MixtureKLLoss",
        lambda: mg.MixtureKLLoss((0.5, 0.5))(Y, Z, Z, C, C),
        ValueError,
        *("y", "2 clusters", "(4, 3)"),
    ),
    wrong(
        "MixtureKLLoss",
        lambda: mg.MixtureKLLoss()(Y, Z, Z, Z, C),
        ValueError,
        *("mu_k", "(3, 5)", "(4, 3)", "(4, 5)"),
    ),
    wrong(
        "MixtureKLLoss",
        lambda: mg.MixtureKLLoss()(Y, Z, Z, C, C.astype(np.float64)),
        TypeError,
        *("sigma_k", "float32", "float64"),
    ),
    wrong(
        "MixtureKLLoss",
        lambda: mg.MixtureKLLoss()(Y[:, 0], Z, Z, C, C),
        ValueError,
        *("2 dimensions", "(4,)"),
    ),
    wrong("ContrastiveLoss", lambda: mg.ContrastiveLoss()(X, X), ValueError, "2", "(2, 3, 6, 5)"),
    wrong(
        "ContrastiveLoss",
        lambda: mg.ContrastiveLoss()(Z, Y),
        ValueError,
        *("v", "(4, 5)", "(4, 3)"),
    ),
    wrong(
        "ContrastiveLoss",
        lambda: mg.ContrastiveLoss()(Z, Z.astype(np.float64)),
        TypeError,
        *("v", "float32", "float64"),
    ),
    wrong("ContrastiveLoss", lambda: mg.ContrastiveLoss(0), ValueError, "temperature", "above 0"),
    wrong(
        "ContrastiveLoss",
        lambda: mg.ContrastiveLoss(reduction="image"),
        ValueError,
        *("reduction", "'sum'", "'image'"),
    ),
    *small_constant("PixelKLDLoss", mg.PixelKLDLoss),
    wrong("PixelKLDLoss", lambda: mg.PixelKLDLoss(1.0), ValueError, "eps", "below 1", "1.0"),
    wrong(
        "PixelKLDLoss",
        lambda: mg.PixelKLDLoss()(X, X[:, :2]),
        ValueError,
        *("target", "(2, 3, 6, 5)", "(2, 2, 6, 5)"),
    ),
    wrong("PixelKLDLoss", lambda: mg.PixelKLDLoss()(X, DOUBLE), TypeError, "target", "float64"),
    wrong(
        "PixelKLDLoss",
        lambda: mg.PixelKLDLoss()(X[0, 0, 0], X[0, 0, 0]),
        ValueError,
        *("prediction", "(N, C, ...)", "(5,)"),
    ),
    wrong(
        "PixelKLDLoss",
        lambda: mg.PixelKLDLoss(reduction="none"),
        ValueError,
        *("reduction", "'mean'", "'none'"),
    ),
    *unary("L1L2Penalty", mg.L1L2Penalty),
    wrong("L1L2Penalty", lambda: mg.L1L2Penalty(-1), ValueError, "l1", "at least 0", "-1"),
    wrong("L1L2Penalty", lambda: mg.L1L2Penalty(l2=np.inf), ValueError, "l2", "finite", "inf"),
]
