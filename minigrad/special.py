"""The error function and its complement, in plain array code: NumPy has neither.

Three rational approximations, each made for a part of the axis and exact to 18 digits there. All
three are formed everywhere and one is chosen, so that no value decides which code runs.

Source: W. J. Cody, Rational Chebyshev approximations for the error function, Mathematics of
Computation 23 (1969), 631-637; coefficients as in his program CALERF.
"""

from __future__ import annotations

import math

from minigrad.backend import Array, array_module

# Highest power first. erf(x) / x as a quotient of polynomials in x^2, for |x| <= NEAR:
_NEAR = 0.46875
_NEAR_TOP = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_NEAR_BOTTOM = (
    1.0,
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
)

# erfc(x) exp(x^2) as a quotient of polynomials in x, for NEAR <= x <= FAR:
_FAR = 4.0
_MIDDLE_TOP = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_MIDDLE_BOTTOM = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)

# 1 / sqrt(pi) - x erfc(x) exp(x^2), times x^2, as a quotient of polynomials in 1 / x^2, beyond:
_FAR_TOP = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_FAR_BOTTOM = (
    1.0,
    2.56852019228982242e0,
    1.87295284992346725e0,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)

_ZERO = 28.0
"""From here on erfc is 0, in float64 too: larger numbers, infinity among them, are taken as this
one.
"""


def erf(x: Array) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x: odd, from -1 to 1.

    Relative error in float64 below 1e-15; NaN stays NaN.
    """
    xp = array_module(x)
    size = xp.minimum(xp.abs(x), _ZERO)
    return xp.where(size <= _NEAR, _near(x, size), xp.sign(x) * (1 - _tail(size)))


def erfc(x: Array) -> Array:
    """1 - erf(x), from 2 to 0, without the cancellation: a tail of 1e-300 has its digits too.

    Relative error in float64 below 1e-15 where erfc is normal (x < 26.5); NaN stays NaN.
    """
    xp = array_module(x)
    size = xp.minimum(xp.abs(x), _ZERO)
    tail = _tail(size)
    return xp.where(size <= _NEAR, 1 - _near(x, size), xp.where(x < 0, 2 - tail, tail))


def _near(x: Array, size: Array) -> Array:
    """erf(x) for `size` = |x| up to NEAR."""
    t = size * size
    return x * (_polynomial(_NEAR_TOP, t) / _polynomial(_NEAR_BOTTOM, t))


def _tail(x: Array) -> Array:
    """erfc(x) for x from NEAR to ZERO."""
    xp = array_module(x)
    middle = _polynomial(_MIDDLE_TOP, x) / _polynomial(_MIDDLE_BOTTOM, x)
    large = xp.maximum(x, _FAR)
    t = 1 / (large * large)
    far = t * (_polynomial(_FAR_TOP, t) / _polynomial(_FAR_BOTTOM, t))
    far = (1 / math.sqrt(math.pi) - far) / large
    # The square of a number of few bits is exact; exp of a rounded x^2 would lose a digit or two.
    short = xp.trunc(x * 16) / 16
    scale = xp.exp(-short * short) * xp.exp((short - x) * (short + x))
    return scale * xp.where(x <= _FAR, middle, far)


def _polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    """The polynomial with these coefficients, highest power first, by Horner's rule."""
    y = t * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        y = y * t + c
    return y
