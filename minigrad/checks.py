"""Checks that several layers share. Every message names the layer, the argument, what was expected
and what was given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend import Array, device_of
from minigrad.windows import Pair


def whole(value: Any, name: str, layer: str, *, at_least: int | None = None) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is no whole number (a bool is none), or lies below `at_least`.
    """
    if not _is_whole(value):
        raise ValueError(f"{layer}: {name}: expected a whole number, got {value!r}")
    if at_least is not None and value < at_least:
        raise ValueError(f"{layer}: {name}: expected at least {at_least}, got {value}")
    return int(value)


def number(
    value: Any, name: str, layer: str, *, above: float = -math.inf, at_least: float = -math.inf
) -> float:
    """`value` as a Python float, which no array of a smaller dtype is promoted by.

    Raises:
        ValueError: it is no finite number (a bool, a text and an array are none), not larger than
            `above`, or below `at_least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueError(f"{layer}: {name}: expected a number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:  # a whole number beyond all floats
        value = found = math.inf
    if not (math.isfinite(found) and found > above and found >= at_least):
        bound = "" if above == -math.inf else f" above {above:g}"
        bound += "" if at_least == -math.inf else f" of at least {at_least:g}"
        raise ValueError(f"{layer}: {name}: expected a finite number{bound}, got {value}")
    return found


def fraction(value: Any, name: str, layer: str) -> float:
    """`value` as a number from 0 to 1.

    Raises:
        ValueError: it is none.
    """
    part = number(value, name, layer)
    if not 0 <= part <= 1:
        raise ValueError(f"{layer}: {name}: expected a number from 0 to 1, got {value}")
    return part


def pair(value: Any, name: str, layer: str, *, at_least: int) -> Pair:
    """A whole number or a (vertical, horizontal) pair of them as a pair of ints.

    Raises:
        ValueError: it is neither, or one of the two lies below `at_least`.
    """
    values = (value, value) if _is_whole(value) else value
    if not isinstance(values, tuple | list) or len(values) != 2 or not all(map(_is_whole, values)):
        raise ValueError(f"{layer}: {name}: expected an int or a pair of ints, got {value!r}")
    if min(values) < at_least:
        raise ValueError(f"{layer}: {name}: expected at least {at_least}, got {tuple(values)}")
    return int(values[0]), int(values[1])


def axis_of(dim: int, x: Array, layer: str, name: str = "dim") -> int:
    """`dim`, an axis of `x` from the front or (negative) from the end, counted from the front.

    Raises:
        ValueError: `x` has no such axis.
    """
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(
            f"{layer}: {name}: expected {-x.ndim} <= dim < {x.ndim} for an array of shape "
            f"{x.shape}, got {dim}"
        )
    return dim % x.ndim


def wholes(value: Any, name: str, layer: str, *, at_least: int | None = None) -> tuple[int, ...]:
    """A tuple or list of whole numbers as a tuple of ints.

    Raises:
        ValueError: it is neither, or one of them is no whole number or lies below `at_least`.
    """
    if not isinstance(value, tuple | list):
        raise ValueError(f"{layer}: {name}: expected a tuple of whole numbers, got {value!r}")
    return tuple(whole(v, f"{name}[{i}]", layer, at_least=at_least) for i, v in enumerate(value))


def axes(dims: tuple[int, ...], name: str, layer: str, x: Array) -> tuple[int, ...]:
    """Axes of `x`, counted from its front.

    Raises:
        ValueError: one of them is no axis of `x`; the message names both.
    """
    return tuple(axis_of(dim, x, layer, name) for dim in dims)


def floating(array: Array, layer: str) -> None:
    """Raise unless an array that a layer starts with is floating.

    Raises:
        TypeError: it is not; the message names the constructor's `dtype`.
    """
    if array.dtype.kind != "f":
        raise TypeError(f"{layer}: dtype: expected a floating dtype, got {array.dtype}")


def same_kind(x: Array, name: str, layer: str, first: Array, first_name: str) -> None:
    """Raise unless two inputs agree in dtype and device.

    Raises:
        TypeError: they differ; the message names both dtypes and both devices.
    """
    if x.dtype != first.dtype or device_of(x) != device_of(first):
        raise TypeError(
            f"{layer}: {name}: expected {first.dtype} on {device_of(first)} as {first_name}, got "
            f"{x.dtype} on {device_of(x)}"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
