"""Every tolerance of the certificate, in one place.

"Magnitude" is the largest sum of absolute terms: the result of the same computation with every
factor replaced by its absolute value. Rounding errors are proportional to it, not to the result.
"""

from __future__ import annotations

FLOAT64_RTOL = 1e-10
"""Against PyTorch in float64: relative to each entry ..."""
FLOAT64_ATOL = 1e-13
"""... plus this times the magnitude."""

FLOAT32_FACTOR = 4.0
"""In float32, our worst error against float64 may be this many times PyTorch's worst ..."""
FLOAT32_FLOOR = 2.0**-23
"""... plus this; both are relative to the magnitude."""

ADJOINT_RTOL = 1e-12
"""<A x, y> = <x, A' y> in float64, relative to the product of norms."""

NUMERIC_RTOL, NUMERIC_ATOL, NUMERIC_STEP = 1e-7, 1e-9, 1e-5
"""The vjp against a central difference of the forward, float64; ATOL is relative to the norm of the
cotangents."""

LAYOUT_RTOL = 1e-12
"""Strides may change the order of a sum, hence the last bits; float64, relative to the largest
number of the pass."""

DEVICE_RTOL = {"float32": 2e-5, "float64": 1e-11}
"""NumPy against CuPy, relative to the magnitude."""


def float32_allowed(theirs: float) -> float:
    """The error that we may have where PyTorch's worst error is `theirs`."""
    return FLOAT32_FACTOR * theirs + FLOAT32_FLOOR


NETWORK_RTOL = 1e-8
"""A whole network in float64: outputs, cotangents, and the weights after some training steps ..."""
NETWORK_ATOL = 1e-12
"""... plus this times the largest entry."""

TRAINING_FLOAT32_RTOL = 1e-4
"""Losses and weights after some training steps in float32, relative to the largest entry: rounding
differences grow from step to step."""
