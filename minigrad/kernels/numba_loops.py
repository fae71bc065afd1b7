"""What compiled loops are made of.

All take flat arrays and places in them as unsigned numbers: `out[o + t] = a[i + t]` becomes vector
instructions only where the compiler knows that no index is negative, and a slice instead of a place
costs more than a row of a small picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import uint64


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at the first call for each dtype; runs without the interpreter lock.

    What is compiled is kept beside the source or in the user's cache; where neither can be written,
    nowhere.
    """
    try:
        compiled = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no place for a cache
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


def readable(x: np.ndarray) -> np.ndarray:
    """x, C-contiguous and read-only, so that one compiled form serves all."""
    x = np.ascontiguousarray(x).view()
    x.flags.writeable = False
    return x


@loop
def clear(out, o, count):  # type: ignore[no-untyped-def]
    """`count` zeros."""
    for t in range(uint64(max(0, count))):
        out[uint64(o) + t] = 0


@loop
def copy(a, i, step, out, o, count):  # type: ignore[no-untyped-def]
    """Every `step`-th number of a."""
    if step == 1:
        for t in range(uint64(max(0, count))):
            out[uint64(o) + t] = a[uint64(i) + t]
    else:
        for t in range(uint64(max(0, count))):
            out[uint64(o) + t] = a[uint64(i) + uint64(step) * t]


@loop
def copy_between_zeros(a, i, step, out, o, low, end, count):  # type: ignore[no-untyped-def]
    """`count` numbers: zeros before `low` and from `end` on."""
    clear(out, o, low)
    copy(a, i, step, out, o + low, end - low)
    clear(out, o + end, count - end)


@loop
def deal(both, i, out, o, step, count):  # type: ignore[no-untyped-def]
    """The numbers at even places to o, those at odd ones `step` further."""
    for t in range(uint64(count)):
        out[uint64(o) + t] = both[uint64(i) + uint64(2) * t]
        out[uint64(o + step) + t] = both[uint64(i) + uint64(2) * t + uint64(1)]
