"""How far two arrays are apart. What is not a number never agrees with a number."""

from __future__ import annotations

from typing import Any

import numpy as np


def relative_error(
    actual: np.ndarray, expected: np.ndarray, size: Any = None, *, what: str
) -> float:
    """max |actual - expected| / size over the finite entries; `size` defaults to max |expected|.

    A size of 0 counts as 1.

    Raises:
        AssertionError: the shapes differ, or infinities and NaN do not stand in the same places.
    """
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    finite = np.isfinite(expected)
    strays = np.isfinite(actual) != finite
    assert not strays.any(), (
        f"{what}: {int(strays.sum())} of {strays.size} entries are finite on one side only; "
        f"first at {tuple(map(int, np.argwhere(strays)[0]))}"
    )
    odd = np.array_equal(actual[~finite], expected[~finite], equal_nan=True)
    assert odd, f"{what}: infinities and NaN stand in different places"
    if size is None:
        size = np.abs(expected[finite]).max(initial=0)
    with np.errstate(over="ignore"):
        difference = float(np.abs(actual[finite] - expected[finite]).max(initial=0))
    return difference / float(size) if size else difference


def finite_error(actual: np.ndarray, expected: np.ndarray, size: Any = None, *, what: str) -> float:
    """`relative_error` of arrays that must be finite.

    Raises:
        AssertionError: the shapes differ, or an entry on either side is infinite or NaN.
    """
    for side, array in (("ours", actual), ("PyTorch's", expected)):
        odd = int((~np.isfinite(array)).sum())
        assert not odd, f"{what}: {side}: {odd} of {array.size} entries are not finite"
    return relative_error(actual, expected, size, what=what)
