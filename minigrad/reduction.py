"""Reduced: what the losses with one term an element, a pixel or a sample share."""

from __future__ import annotations

from math import nan, prod
from typing import ClassVar

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import same_kind
from minigrad.module import Module


class Reduced(Module):
    """A loss of many terms, which are returned as they are or summed.

    `reduction` is "none" (the terms), "image" (their sum over all axes but the first, one number an
    image), "sum" or "mean" (0-d; the mean of no terms is NaN, as in PyTorch). A loss that does not
    know all four names its own in `reductions`.
    """

    reductions: ClassVar[tuple[str, ...]] = ("none", "image", "sum", "mean")

    def __init__(self, reduction: str = "mean") -> None:
        """`reduction` is one of `reductions`.

        Raises:
            ValueError: it is not.
        """
        if reduction not in self.reductions:
            raise ValueError(
                f"{type(self).__name__}: reduction: expected one of {self.reductions}, "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def reduce(self, terms: Array) -> Array:
        """The value of the loss."""
        if self.reduction == "none":
            return terms
        if self.reduction == "image":
            return terms.reshape(terms.shape[0], prod(terms.shape[1:])).sum(1)
        total = terms.sum() * self._weight(terms.size)
        return array_module(terms).asarray(total, dtype=terms.dtype)

    def spread(self, dvalue: Array, shape: tuple[int, ...]) -> Array:
        """The cotangent of each of the terms, which have this shape: the vjp of `reduce`.

        A view of as many numbers as `dvalue` has, for reading only.
        """
        if self.reduction == "image":
            dvalue = dvalue.reshape(shape[0], *(1,) * (len(shape) - 1))
        elif self.reduction == "mean":
            dvalue = dvalue * self._weight(prod(shape))
        return array_module(dvalue).broadcast_to(dvalue, shape)

    def common_shape(self, **inputs: Array) -> tuple[int, ...]:
        """The shape that the inputs, given by their names, broadcast to.

        Raises:
            TypeError: an input is no array, not floating, or of another dtype or device.
            ValueError: the shapes do not broadcast, or have no first axis where one is needed.
        """
        layer, (first_name, first) = type(self).__name__, next(iter(inputs.items()))
        for name, x in inputs.items():
            self.check_input(x, name=name)
            same_kind(x, name, layer, first, first_name)
        shapes = {name: x.shape for name, x in inputs.items()}
        try:
            shape = np.broadcast_shapes(*shapes.values())
        except ValueError:
            text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"{layer}: expected shapes that broadcast, got {text}") from None
        if self.reduction == "image" and not shape:
            raise ValueError(f"{layer}: reduction 'image': expected at least 1 axis, got shape ()")
        return shape

    def check_form(
        self, x: Array, name: str, shape: tuple[int, ...], first: Array, first_name: str
    ) -> None:
        """Raise unless `x` is a float array of this shape, and of the dtype and device of `first`.

        Raises:
            TypeError: it is no array, not floating, or of another dtype or device.
            ValueError: its shape differs.
        """
        layer = type(self).__name__
        self.check_input(x, name=name)
        same_kind(x, name, layer, first, first_name)
        if x.shape != shape:
            raise ValueError(
                f"{layer}: {name}: expected shape {shape} for {first_name} of shape "
                f"{first.shape}, got {x.shape}"
            )

    def describe(self) -> str:
        """The reduction where it is not the mean."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"

    def _weight(self, n: int) -> float:
        """What each of n terms is multiplied with: 1 / n for the mean, NaN if there are none."""
        if self.reduction == "sum":
            return 1.0
        return 1 / n if n else nan
