"""Memory layouts: the same numbers at other strides.

`lay(x, name)` gives the array of `x` in the layout `name`. All but `broadcast` keep the values;
that one repeats the first slice of axis 0 by a stride of zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np


def _reversed(x: np.ndarray) -> np.ndarray:
    """Negative strides along every axis."""
    every = (slice(None, None, -1),) * x.ndim
    return x[every].copy()[every]


def _sliced(x: np.ndarray) -> np.ndarray:
    """A view of every second element, along every axis, of a larger array."""
    if not x.ndim:
        return x
    large = np.full(tuple(2 * n for n in x.shape), 7.0, dtype=x.dtype)
    view = large[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 1 else x


def flat_along(x: np.ndarray, axis: int) -> np.ndarray:
    """The first slice of `x` along `axis`, repeated by a stride of zero."""
    return np.broadcast_to(x.take([0], axis=axis), x.shape) if x.ndim and x.size else x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": copy.copy,
    "Fortran": lambda x: np.asarray(x, order="F"),
    "transposed": lambda x: np.swapaxes(np.swapaxes(x, -1, -2).copy(), -1, -2) if x.ndim > 1 else x,
    "negative strides": _reversed,
    "every second": _sliced,
    "channels last": _channels_last,
}
"""Those that keep the values."""

BROADCAST = "broadcast"

EVERY = (*LAYOUTS, BROADCAST)
"""The names of all layouts."""


def lay(x: np.ndarray, layout: str) -> np.ndarray:
    """`x` in that layout."""
    return np.asarray(flat_along(x, 0) if layout == BROADCAST else LAYOUTS[layout](x))
