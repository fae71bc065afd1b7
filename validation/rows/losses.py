"""Rows of the losses."""

from __future__ import annotations

import numpy as np

from minigrad import (
    AnnealedL0Loss,
    CharbonnierLoss,
    HalfSquaredErrorLoss,
    HDRLoss,
    L1Loss,
    MaskedMSELoss,
    Module,
    MSELoss,
)
from validation.cases import Arrays, Row, Shape, Variant, variant
from validation.draw import Draw


def _shape(draw: Draw) -> Shape:
    return tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))


def _two(draw: Draw) -> Variant:
    shape = _shape(draw)
    return variant(shape, shape, reduction=draw.pick(["mean", "sum"]))


def _images(draw: Draw) -> Variant:
    shape = _shape(draw)
    return variant(shape, shape)


def _masked(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(4))
    mask = draw.pick([shape, (shape[0], 1, *shape[2:])])
    return variant(shape, shape, mask, reduction=draw.pick(["mean", "valid", "sum"]))


def _annealed(draw: Draw) -> Variant:
    settings = _two(draw)
    settings.arguments["gamma"] = draw.pick([2.0, 1.5, 1.0, 0.5, 0.125])
    settings.arguments["eps"] = draw.pick([1e-8, 0.0625])
    return settings


def _charbonnier(draw: Draw) -> Variant:
    settings = _two(draw)
    settings.arguments["eps"] = draw.pick([1e-3, 0.5])
    return settings


def _hdr(draw: Draw) -> Variant:
    settings = _two(draw)
    settings.arguments["eps"] = draw.pick([0.01, 0.5])
    return settings


def _bernoulli(xs: Arrays) -> Arrays:
    """The last input as a mask of zeros and ones, one of them at least valid."""
    mask = (xs[2] > 0).astype(np.float32)
    mask.flat[:1] = 1
    return (*xs[:2], mask)


def _apart(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Prediction and target differ by at least 1/4."""
    d = xs[0] - xs[1]
    return (xs[0] + np.where(d > 0, 0.25, -0.25), *xs[1:])


def _keeps_difference(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].nbytes


def _keeps_difference_and_gamma(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].nbytes + xs[0].itemsize


_PAIRS = (
    variant((2, 3, 4, 5), (2, 3, 4, 5)),
    variant((7,), (7,), reduction="sum"),
    variant((1, 1, 1, 1), (1, 1, 1, 1)),
)
_IMAGE, _ONE = (2, 3, 4, 5), (2, 1, 4, 5)

ROWS = [
    Row(MSELoss, _two, _PAIRS, keeps=_keeps_difference, wrt=(0,), signs=(1, -1)),
    Row(
        HalfSquaredErrorLoss,
        _images,
        (
            variant((2, 3, 4, 5), (2, 3, 4, 5)),
            variant((7,), (7,)),
            variant((1, 1, 1, 1), (1, 1, 1, 1)),
        ),
        keeps=_keeps_difference,
        wrt=(0,),
        signs=(1, -1),
    ),
    Row(L1Loss, _two, _PAIRS, keeps=_keeps_difference, wrt=(0,), signs=(1, -1), away=_apart),
    Row(
        CharbonnierLoss,
        _charbonnier,
        (*_PAIRS, variant((3, 4), (3, 4), eps=0.5)),
        keeps=_keeps_difference,
        wrt=(0,),
        signs=(1, -1),
        away=_apart,  # the curvature at 0 is 1 / eps
    ),
    Row(
        MaskedMSELoss,
        _masked,
        (
            variant(_IMAGE, _IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, _ONE, reduction="valid"),
            variant(_IMAGE, _IMAGE, _IMAGE, reduction="valid"),
            variant(_IMAGE, _IMAGE, _ONE, reduction="sum"),
        ),
        keeps=_keeps_difference,
        wrt=(0,),
        adjust=_bernoulli,
        signs=(1, -1, 1),
    ),
    Row(
        AnnealedL0Loss,
        _annealed,
        (
            variant(_IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, gamma=1.0),
            variant(_IMAGE, _IMAGE, gamma=0.5, reduction="sum"),
            variant((7,), (7,), gamma=0.0625),
        ),
        keeps=_keeps_difference_and_gamma,
        wrt=(0,),
        signs=(1, -1),
        away=_apart,
    ),
    Row(
        HDRLoss,
        _hdr,
        (*_PAIRS, variant((3, 4), (3, 4), eps=0.5)),
        keeps=_keeps_difference,
        wrt=(0,),
        numeric=False,  # the denominator is treated as a constant
        signs=(1, -1),
    ),
]
