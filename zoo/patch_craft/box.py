"""Sums over boxes."""

from __future__ import annotations

from minigrad.backend import Array


def box_sum(x: Array, size: int) -> Array:
    """(..., H, W) -> (..., H - size + 1, W - size + 1): sums over all size x size boxes.

    Along the width, then along the height, each by doubling: about log2(size) additions of whole
    arrays. The numbers of a box are added in pairs, so sums round less than running ones would.
    """
    rows = _sums(x.swapaxes(-1, 0), size).swapaxes(-1, 0)
    return _sums(rows.swapaxes(-2, 0), size).swapaxes(-2, 0)


def _sums(x: Array, size: int) -> Array:
    """(n, ...) -> (n - size + 1, ...): element i is x[i] + ... + x[i + size - 1]."""
    if size == 1:
        return x
    half = size // 2
    halves = _sums(x, half)
    sums = halves[:-half] + halves[half:]
    return sums[:-1] + x[size - 1 :] if size % 2 else sums
