"""Rows of the layers that draw random numbers.

Layer and twin draw from a `SameNoise` of the same seed: the first draw of each new module.
"""

from __future__ import annotations

import numpy as np

from minigrad import Dropout, Dropout2d, GaussianSample, Module
from validation.cases import Arrays, Row, Shape, Variant, evaluated, variant
from validation.draw import Draw
from validation.same_noise import SameNoise

SEED = 2014


def _noise(module: Module, rng: np.random.Generator) -> None:
    assert isinstance(module, Dropout | Dropout2d | GaussianSample)
    module.noise = SameNoise(SEED)


def _dropout(draw: Draw, axes: tuple[int, int]) -> Variant:
    shape: Shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(*axes)))
    settings = variant(shape, p=draw.pick([0.5, 0.2, 0.0, 1.0, 0.9]))
    return draw.pick([settings, settings, evaluated(settings)])


def _dropout_any(draw: Draw) -> Variant:
    return _dropout(draw, (1, 4))


def _dropout_2d(draw: Draw) -> Variant:
    return _dropout(draw, (4, 4))


def _gaussian(draw: Draw) -> Variant:
    """Two shapes that broadcast: axes of length one, and leading axes left out."""
    full = tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))
    shapes = []
    for _ in range(2):
        thin = tuple(n if draw.integer(0, 2) else 1 for n in full)
        shapes.append(thin[draw.pick([0, 0, draw.integer(0, len(full))]) :])
    settings = variant(*shapes, form=draw.pick(["log_variance", "std"]))
    return draw.pick([settings, settings, evaluated(settings)])


def _moderate(xs: Arrays) -> Arrays:
    """Finite log-variances of at most 20: exp(l / 2) must be finite in float32 where it is in
    float64.
    """
    mu, spread = xs
    return mu, np.where(np.isfinite(spread), np.clip(spread, -20, 20), spread)


def _draws(module: Module) -> bool:
    assert isinstance(module, Dropout | Dropout2d)
    return module.training and module.p > 0


def _keeps_mask(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].size if _draws(module) else 0


def _keeps_channel_mask(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].shape[0] * xs[0].shape[1] if _draws(module) else 0


def _keeps_slope(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, GaussianSample)
    # A product without axes is a number, not an array; a draw is always an array.
    return ys[0].nbytes if ys[0].ndim or module.form == "std" else 0


_IMAGE = (2, 3, 4, 5)

ROWS = [
    Row(
        Dropout,
        _dropout_any,
        (
            variant(_IMAGE),
            variant((2, 20), p=0.2),
            variant((7,), p=0.0),
            variant((3, 4), p=1.0),
            variant((1, 1, 1), p=0.9),
            evaluated(variant(_IMAGE, p=0.5)),
        ),
        keeps=_keeps_mask,
        linear=True,
        special=True,
        prepare=_noise,
    ),
    Row(
        Dropout2d,
        _dropout_2d,
        (
            variant(_IMAGE),
            variant((4, 6, 2, 3), p=0.2),
            variant((1, 1, 1, 1), p=0.9),
            variant(_IMAGE, p=0.0),
            variant(_IMAGE, p=1.0),
            evaluated(variant(_IMAGE, p=0.5)),
        ),
        keeps=_keeps_channel_mask,
        linear=True,
        special=True,
        prepare=_noise,
    ),
    Row(
        GaussianSample,
        _gaussian,
        (
            variant(_IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, form="std"),
            variant(_IMAGE, (1, 3, 4, 5)),
            variant((1, 3, 1, 1), _IMAGE, form="std"),
            variant((4,), (3, 1)),
            variant((1,), (1,)),
            evaluated(variant((2, 3), (2, 3))),
        ),
        keeps=_keeps_slope,
        adjust=_moderate,
        special=True,
        prepare=_noise,
    ),
]
