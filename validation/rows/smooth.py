"""Rows of the smooth activations, softmax, elementary functions and the linear layer."""

from __future__ import annotations

import numpy as np

from minigrad import (
    ELU,
    GELU,
    SELU,
    Exp,
    Expand,
    ExpandAs,
    LearnedScale,
    Linear,
    Log,
    LogSoftmax,
    Mean,
    Module,
    Softmax,
    Softplus,
    Square,
    Tanh,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw


def _shape(draw: Draw, low: int = 1) -> Shape:
    return tuple(draw.integer(1, 5) for _ in range(draw.integer(low, 4)))


def _plain(draw: Draw) -> Variant:
    return variant(_shape(draw))


def _elu(draw: Draw) -> Variant:
    return variant(_shape(draw), alpha=draw.pick([1.0, 0.5, 2.0, 0.0, 1 / 3]))


def _gelu(draw: Draw) -> Variant:
    return variant(_shape(draw), approximate=draw.pick(["none", "tanh"]))


def _softplus(draw: Draw) -> Variant:
    settings = {"beta": draw.pick([1.0, 2.0, 0.5]), "threshold": draw.pick([20, 20.0, 1.0, 0, -1])}
    return variant(_shape(draw), **settings)


def _softmax(draw: Draw) -> Variant:
    shape = _shape(draw)
    return variant(shape, dim=draw.integer(-len(shape), len(shape) - 1))


def _mean(draw: Draw) -> Variant:
    shape = _shape(draw)
    n = len(shape)
    several = tuple(i - n * draw.integer(0, 1) for i in range(n) if draw.integer(0, 1))
    dim = draw.pick([None, draw.integer(-n, n - 1), several or None])
    return variant(shape, dim=dim, keepdim=draw.pick([False, True]))


def _thin(draw: Draw, full: Shape) -> Shape:
    """A shape that can be expanded to `full`: axes of length one, and leading axes left out."""
    return tuple(n if draw.integer(0, 1) else 1 for n in full[draw.integer(0, len(full)) :])


def _expand(draw: Draw) -> Variant:
    full = _shape(draw)
    shape = _thin(draw, full)
    new = len(full) - len(shape)
    kept = (
        -1 if m == n and draw.integer(0, 1) else n for m, n in zip(shape, full[new:], strict=True)
    )
    return variant(shape, size=(*full[:new], *kept))


def _expand_as(draw: Draw) -> Variant:
    full = _shape(draw)
    return variant(_thin(draw, full), full)


def _linear(draw: Draw) -> Variant:
    leading = tuple(draw.integer(1, 4) for _ in range(draw.integer(0, 3)))
    inputs, outputs = draw.integer(1, 6), draw.integer(1, 6)
    settings = {"in_features": inputs, "out_features": outputs, "bias": draw.pick([True, False])}
    return variant((*leading, inputs), **settings)


def _learned_scale(draw: Draw) -> Variant:
    shape = _shape(draw, low=2)
    return variant(shape, num_features=draw.pick([1, shape[1]]))


def _off_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No number closer to zero than 1/8."""
    return tuple(x + np.where(x > 0, 0.125, -0.125) for x in xs)


def _off_halves(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No number within 1/16 of a multiple of 1/2: all thresholds above are such multiples."""
    return tuple(x + np.where(np.abs(x - np.round(2 * x) / 2) < 1 / 16, 1 / 8, 0) for x in xs)


def _numbers(xs: Arrays) -> Arrays:
    """No NaN: PyTorch's ELU has a derivative of NaN there, but of 1 in the last few elements."""
    return tuple(np.where(np.isnan(x), 0.75, x) for x in xs)


# Arrays with infinities or NaN are left as they are below: no float32 run is made on them.


def _not_huge(xs: Arrays) -> Arrays:
    """Numbers whose third powers are finite in float32, or else PyTorch's derivative is NaN."""
    return tuple(np.clip(x, -1e12, 1e12) if np.isfinite(x).all() else x for x in xs)


def _exponents(xs: Arrays) -> Arrays:
    """Numbers whose exponentials are normal in float32."""
    return tuple(np.clip(x, -80, 80) if np.isfinite(x).all() else x for x in xs)


def _roots(xs: Arrays) -> Arrays:
    """Numbers whose squares are normal in float32."""
    return tuple(np.sign(x) * np.abs(x) ** 0.5 if np.isfinite(x).all() else x for x in xs)


def _positive(xs: Arrays) -> Arrays:
    """Numbers that have a logarithm."""
    return tuple(np.where(x == 0, 0.25, np.abs(x)) if np.isfinite(x).all() else x for x in xs)


def _keeps_output(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].nbytes


_SHAPES = (variant((2, 3, 4, 5)), variant((7,)), variant((1, 1, 1)), variant((2, 0, 3)))
_AXES = (
    variant((2, 3, 4, 5), dim=1),
    variant((4, 6), dim=-1),
    variant((5,), dim=0),
    variant((3, 1, 2), dim=1),
    variant((2, 0, 3), dim=1),
)

ROWS: list[Row] = [
    Row(
        ELU,
        _elu,
        (*_SHAPES, variant((3, 4), alpha=0.5), variant((3, 4), alpha=0.0)),
        keeps=_keeps_output,
        away=_off_zero,
        adjust=_numbers,
        special=True,
        elementwise=True,
    ),
    Row(
        SELU,
        _plain,
        _SHAPES,
        keeps=_keeps_output,
        away=_off_zero,
        adjust=_numbers,
        special=True,
        elementwise=True,
    ),
    Row(
        GELU,
        _gelu,
        (*_SHAPES, variant((2, 3, 4, 5), approximate="tanh"), variant((7,), approximate="tanh")),
        keeps=keeps_input,
        adjust=_not_huge,
        special=True,
        elementwise=True,
    ),
    Row(Tanh, _plain, _SHAPES, keeps=_keeps_output, special=True, elementwise=True),
    Row(
        Softplus,
        _softplus,
        (
            *_SHAPES,
            variant((2, 3, 4, 5), beta=0.5),
            variant((2, 3, 4, 5), beta=2.0, threshold=1),
            variant((9,), threshold=0.0),
        ),
        keeps=keeps_input,
        away=_off_halves,
        special=True,
        elementwise=True,
    ),
    Row(Softmax, _softmax, _AXES, keeps=_keeps_output, special=True, elementwise=True),
    Row(LogSoftmax, _softmax, _AXES, keeps=_keeps_output, special=True, elementwise=True),
    Row(Square, _plain, _SHAPES, keeps=keeps_input, adjust=_roots, special=True),
    Row(Exp, _plain, _SHAPES, keeps=_keeps_output, adjust=_exponents, special=True),
    Row(
        Log,
        _plain,
        _SHAPES,
        keeps=keeps_input,
        away=_off_zero,
        adjust=_positive,
        special=True,
    ),
    Row(
        Mean,
        _mean,
        (
            variant((2, 3, 4, 5)),
            variant((2, 3, 4, 5), dim=(2, 3), keepdim=True),
            variant((2, 3, 4), dim=1),
            variant((2, 3, 4), dim=(-1, 0)),
            variant((2, 1, 3), dim=1, keepdim=True),
            variant((2, 0, 3), dim=2),
        ),
        linear=True,
        special=True,
    ),
    Row(
        Expand,
        _expand,
        (
            variant((2, 3, 1, 1), size=(-1, -1, 4, 5)),
            variant((3, 1), size=(2, -1, 4)),
            variant((2, 1, 3), size=(-1, 0, 3)),
        ),
        linear=True,
        special=True,
    ),
    Row(
        ExpandAs,
        _expand_as,
        (
            variant((2, 3, 1, 1), (2, 3, 4, 5)),
            variant((3, 1, 1), (2, 3, 4, 5)),
            variant((2, 3), (2, 3)),
        ),
        linear=True,
        wrt=(0,),
        special=True,
    ),
    Row(
        Linear,
        _linear,
        (
            variant((4, 3), in_features=3, out_features=2),
            variant((2, 3, 4, 5), in_features=5, out_features=6, bias=False),
            variant((1, 1), in_features=1, out_features=1),
            variant((2, 0, 3), in_features=3, out_features=2),
        ),
        keeps=keeps_input,
        linear=True,
    ),
    Row(
        LearnedScale,
        _learned_scale,
        (
            variant((2, 3, 4, 5)),
            variant((2, 3, 4, 5), num_features=3),
            variant((6,), num_features=1),
            variant((5, 2), num_features=2),
        ),
        keeps=keeps_input,
        linear=True,
        special=True,
    ),
]
