"""Rows of the layers on 3x3 matrices, and of the posterior means."""

from __future__ import annotations

import numpy as np

from minigrad import (
    Covariance3x3,
    Inverse3x3,
    LogDet3x3,
    Module,
    MultivariatePosteriorMean,
    PosteriorMean,
    ReplaceZeros,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw

MINIMA = (1e-6, 1e-3)
"""The least determinants that settings are drawn from: no determinant may be close to one."""


def transposed(a: np.ndarray) -> np.ndarray:
    """Each matrix of an array, transposed."""
    return a.swapaxes(-1, -2)


def definite(a: np.ndarray, least: tuple[float, float] = (0.1, 0.001)) -> np.ndarray:
    """Positive definite 3x3 matrices from normal numbers of the same shape, float32.

    They have determinants below 1, and are not quite symmetric: a transpose that is missing shows.
    `least` is about the smallest eigenvalue of some and of others; 0.001 gives condition numbers up
    to 2000.
    """
    a = a / max(1.0, float(np.abs(a).max(initial=0)))
    floor = np.where(a[..., :1, :1] > 0, *least)
    s = 0.25 * a @ transposed(a) + floor * (np.eye(3) + a - transposed(a))
    for minimum in MINIMA:
        det = np.linalg.det(s)[..., None, None]
        s = np.where(np.abs(det / minimum - 1) < 0.1, 1.1 * s, s)
    return s.astype(np.float32)


def _stack(draw: Draw) -> Shape:
    return (*(draw.integer(1, 4) for _ in range(draw.integer(1, 3))), 3, 3)


def _covariance(draw: Draw) -> Variant:
    channels = draw.pick([3, 6])
    shape = (draw.integer(1, 3), channels, draw.integer(1, 5), draw.integer(1, 5))
    return variant(shape, channels=channels)


def _inverse(draw: Draw) -> Variant:
    return variant(_stack(draw))


def _log_det(draw: Draw) -> Variant:
    factor = draw.pick([1.0, 0.5, -2.0])
    return variant(_stack(draw), minimum=draw.pick([None, *MINIMA]), factor=factor)


def _replace(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))
    return variant(shape, value=draw.pick([1e-4, 0.5, -2.0]))


def _posterior(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))
    return variant(*[shape] * 4, gamma=draw.pick([1.0, 0.9, 0.25]))


def _multivariate(draw: Draw) -> Variant:
    n, h, w = draw.integer(1, 3), draw.integer(1, 5), draw.integer(1, 5)
    return pixels(n, h, w, gamma=draw.pick([1.0, 0.9]), eps=draw.pick([1e-6, 0.01]))


def pixels(n: int, h: int, w: int, matrices: int = 2, **arguments: object) -> Variant:
    """Settings of a layer of two images of three colours, and some matrices for each pixel."""
    image, matrix = (n, 3, h, w), (n, h, w, 3, 3)
    return variant(image, image, *[matrix] * matrices, **arguments)


def _definite(xs: Arrays) -> Arrays:
    return (definite(xs[0]),)


def _well_definite(xs: Arrays, rng: np.random.Generator) -> Arrays:
    return (definite(rng.standard_normal(xs[0].shape), (0.4, 0.4)),)


def _off_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No number closer to zero than 1/8."""
    return tuple(x + np.where(x > 0, 0.125, -0.125) for x in xs)


def _variances(xs: Arrays) -> Arrays:
    return (*xs[:2], *(np.abs(x) + np.float32(1e-3) for x in xs[2:]))


def _large_variances(xs: Arrays, rng: np.random.Generator) -> Arrays:
    return (*xs[:2], *(np.abs(x) + 0.25 for x in xs[2:]))


def _covariances(xs: Arrays) -> Arrays:
    """Not too sharp: the derivatives of the twin's formula, not ours, cancel where they are."""
    return (*xs[:2], *(definite(x, (0.1, 0.02)) for x in xs[2:]))


def _large_covariances(xs: Arrays, rng: np.random.Generator) -> Arrays:
    return (*xs[:2], *(definite(rng.standard_normal(x.shape), (0.4, 0.4)) for x in xs[2:]))


def _keeps_output(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].nbytes


def _keeps_mask(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].size


def _keeps_three(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 3 * xs[0].nbytes


def _keeps_weights(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 8 * xs[0].nbytes  # 24 numbers a pixel, of three colours


_STACKS = ((2, 3, 4, 3, 3), (40, 3, 3), (1, 3, 3))

ROWS: list[Row] = [
    Row(
        Covariance3x3,
        _covariance,
        (
            variant((2, 6, 4, 5)),
            variant((2, 3, 4, 5), channels=3),
            variant((1, 6, 1, 1)),
            variant((3, 3, 1, 2), channels=3),
        ),
        keeps=keeps_input,
    ),
    Row(
        Inverse3x3,
        _inverse,
        tuple(variant(shape) for shape in _STACKS),
        keeps=_keeps_output,
        adjust=_definite,
        away=_well_definite,
        absolute=False,  # the inverse of absolute values is another one
    ),
    Row(
        LogDet3x3,
        _log_det,
        (
            *(variant(shape) for shape in _STACKS),
            variant((40, 3, 3), minimum=1e-3, factor=0.5),
            variant((2, 3, 4, 3, 3), minimum=1e-6, factor=-2.0),
        ),
        keeps=keeps_input,  # not the input, but as much
        adjust=_definite,
        away=_well_definite,
        absolute=False,
    ),
    Row(
        ReplaceZeros,
        _replace,
        (variant((2, 3, 4, 5)), variant((7,), value=0.5), variant((1, 1, 1), value=-1)),
        keeps=_keeps_mask,
        away=_off_zero,
        special=True,
        elementwise=True,
    ),
    Row(
        PosteriorMean,
        _posterior,
        (
            variant(*[(2, 1, 4, 5)] * 4),
            variant(*[(2, 3, 4, 5)] * 4, gamma=0.9),
            variant(*[(1,)] * 4),
        ),
        keeps=_keeps_three,
        adjust=_variances,
        away=_large_variances,
        signs=(-1, 1, 1, 1),
    ),
    Row(
        MultivariatePosteriorMean,
        _multivariate,
        (pixels(2, 4, 5), pixels(1, 1, 1, gamma=0.9), pixels(3, 1, 2, gamma=0.9, eps=0.01)),
        keeps=_keeps_weights,
        adjust=_covariances,
        away=_large_covariances,
        signs=(-1, 1, 1, 1),
    ),
]
