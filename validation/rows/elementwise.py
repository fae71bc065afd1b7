"""Rows of the activations and of the layers that join, cut, add and scale."""

from __future__ import annotations

import numpy as np

from minigrad import (
    Add,
    Concat,
    LeakyReLU,
    Module,
    Multiply,
    Offset,
    PReLU,
    ReLU,
    Scale,
    Sigmoid,
    Split,
    Subtract,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw


def _shape(draw: Draw, low: int = 1) -> Shape:
    return tuple(draw.integer(1, 5) for _ in range(draw.integer(low, 4)))


def _plain(draw: Draw) -> Variant:
    return variant(_shape(draw))


def _leaky(draw: Draw) -> Variant:
    return variant(_shape(draw), negative_slope=draw.pick([0.01, 0.1, 0.0, 1.0, -0.5, 2.0]))


def _prelu(draw: Draw) -> Variant:
    shape = _shape(draw, low=2)
    return variant(shape, num_parameters=draw.pick([1, shape[1]]))


def _scale(draw: Draw) -> Variant:
    return variant(_shape(draw), factor=draw.pick([0.5, -3.0, 0.0, 1 / 3]))


def _offset(draw: Draw) -> Variant:
    return variant(_shape(draw), constant=draw.pick([0.5, -0.5, 0.0, 1 / 3]))


def _two(draw: Draw) -> Variant:
    """Two shapes that broadcast: axes of length one, and leading axes left out."""
    full = _shape(draw)
    shapes = []
    for _ in range(2):
        thin = tuple(n if draw.integer(0, 2) else 1 for n in full)
        shapes.append(thin[draw.pick([0, 0, draw.integer(0, len(full))]) :])
    return variant(*shapes)


def _concat(draw: Draw) -> Variant:
    shape = list(_shape(draw, low=2))
    dim = draw.integer(-len(shape), len(shape) - 1)
    shapes = []
    for _ in range(draw.integer(1, 4)):
        shape[dim] = draw.integer(1, 4)
        shapes.append(tuple(shape))
    return variant(*shapes, dim=dim)


def _split(draw: Draw) -> Variant:
    shape = list(_shape(draw, low=2))
    dim = draw.integer(-len(shape), len(shape) - 1)
    sizes = tuple(draw.integer(1, 3) for _ in range(draw.integer(1, 4)))
    shape[dim] = sum(sizes)
    return variant(tuple(shape), sizes=sizes, dim=dim)


def _off_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No number closer to zero than 1/8."""
    return tuple(x + np.where(x > 0, 0.125, -0.125) for x in xs)


def _keeps_output(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].nbytes


def _keeps_mask(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].size


def _keeps_factors(module: Module, xs: Arrays, ys: Arrays) -> int:
    return sum(x.nbytes for x in xs)


_SHAPES = (variant((2, 3, 4, 5)), variant((7,)), variant((1, 1, 1)))
_PAIRS = (
    variant((2, 3, 4, 5), (2, 3, 4, 5)),
    variant((2, 3, 4, 5), (3, 1, 1)),
    variant((1, 3, 1, 5), (2, 1, 4, 1)),
    variant((1,), (4, 3)),
)

ROWS = [
    Row(
        ReLU,
        _plain,
        _SHAPES,
        keeps=_keeps_output,
        away=_off_zero,
        special=True,
        elementwise=True,
    ),
    Row(
        LeakyReLU,
        _leaky,
        (variant((2, 3, 4, 5)), variant((7, 3), negative_slope=0.1)),
        keeps=_keeps_mask,
        away=_off_zero,
        special=True,
        elementwise=True,
    ),
    Row(
        PReLU,
        _prelu,
        (
            variant((2, 3, 4, 5)),
            variant((2, 3, 4, 5), num_parameters=3),
            variant((6,), num_parameters=1),
            variant((5, 2), num_parameters=2),
        ),
        keeps=keeps_input,
        away=_off_zero,
        special=True,
        elementwise=True,
        signs=(-1,),
    ),
    Row(Sigmoid, _plain, _SHAPES, keeps=_keeps_output, special=True, elementwise=True),
    Row(
        Concat,
        _concat,
        (
            variant((2, 3, 4), (2, 1, 4), (2, 2, 4)),
            variant((2, 3, 4), (5, 3, 4), dim=0),
            variant((2, 3, 4, 5), (2, 3, 4, 2), dim=-1),
            variant((2, 3)),
        ),
        linear=True,
    ),
    Row(
        Split,
        _split,
        (
            variant((2, 6, 4), sizes=(1, 3, 2)),
            variant((2, 3, 5), sizes=(4, 1), dim=-1),
            variant((2, 3), sizes=(3,)),
        ),
        linear=True,
    ),
    Row(Add, _two, _PAIRS, linear=True),
    Row(Subtract, _two, _PAIRS, linear=True, signs=(1, -1)),
    Row(Multiply, _two, _PAIRS, keeps=_keeps_factors),
    Row(Scale, _scale, (variant((2, 3, 4), factor=-0.3), variant((5,), factor=2)), linear=True),
    Row(
        Offset,
        _offset,
        (variant((2, 3, 4), constant=-0.3), variant((5,), constant=2)),
        linear=True,
    ),
]
