"""Wrong constructions and wrong inputs for each layer, and what the message must say.

One file a group of rows.
"""

from tests.errors import (
    blind_spot,
    convs,
    covariance,
    divergence,
    elementwise,
    geometry,
    likelihood,
    losses,
    norm,
    smooth,
    stochastic,
    windows,
)
from tests.errors.common import Wrong

ERRORS: list[Wrong] = [
    *windows.ERRORS,
    *elementwise.ERRORS,
    *losses.ERRORS,
    *smooth.ERRORS,
    *norm.ERRORS,
    *geometry.ERRORS,
    *convs.ERRORS,
    *stochastic.ERRORS,
    *covariance.ERRORS,
    *divergence.ERRORS,
    *likelihood.ERRORS,
    *blind_spot.ERRORS,
]

__all__ = ["ERRORS"]
