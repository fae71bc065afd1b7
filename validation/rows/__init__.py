"""One row per public leaf and loss, one file a group."""

from validation.cases import Row
from validation.rows import (
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

_GROUPS = (
    windows,
    elementwise,
    losses,
    smooth,
    norm,
    geometry,
    convs,
    stochastic,
    covariance,
    divergence,
    likelihood,
    blind_spot,
)

ROWS: dict[str, Row] = {row.name: row for group in _GROUPS for row in group.ROWS}
"""Class name -> row."""

__all__ = ["ROWS"]
