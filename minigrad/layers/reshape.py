"""Reshape, Flatten, Permute: the same numbers under other indices."""

from __future__ import annotations

import math

from minigrad.backend import Array
from minigrad.checks import axes, whole, wholes
from minigrad.module import Module, Vjp, once


class Reshape(Module):
    """y = x with the axes of each image in another form; the batch axis stays.

    Shapes: x (N, ...) -> y (N, *shape), as many numbers; one -1 in `shape` is worked out.
    VJP: dx = dy in the form of x.
    Keeps: the shape.
    PyTorch: `torch.nn.Unflatten(1, shape)` after `torch.nn.Flatten()`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """`shape` is the form of one image, without the batch axis.

        Raises:
            ValueError: it is no tuple or list of whole numbers from 1, but for one -1.
        """
        self.shape = wholes(shape, "shape", "Reshape", at_least=-1)
        if not self.shape or 0 in self.shape or self.shape.count(-1) > 1:
            raise ValueError(
                f"Reshape: shape: expected at least one axis, sizes from 1 and at most one -1, "
                f"got {shape}"
            )

    def forward(self, x: Array) -> Array:
        """The array in its new form."""
        self.check_input(x)
        return x.reshape(self._target(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The array in its new form, and its vjp."""
        y, shape = self.forward(x), x.shape

        def vjp(dy: Array) -> Array:
            return dy.reshape(shape)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The form of one image."""
        return f"{self.shape}"

    def _target(self, x: Array) -> tuple[int, ...]:
        """(N, *shape). NumPy would not work a -1 out for a batch of no images."""
        size, known = math.prod(x.shape[1:]), math.prod(n for n in self.shape if n != -1)
        if x.ndim < 1 or size % known or (-1 not in self.shape and size != known):
            raise ValueError(
                f"Reshape: x: expected a batch of images that take the form {self.shape}, got "
                f"shape {x.shape}"
            )
        return x.shape[0], *(size // known if n == -1 else n for n in self.shape)


class Flatten(Module):
    """y = x with the axes from `start_dim` to `end_dim` (both included) made one.

    Shapes: x (N, C, H, W) -> y (N, C H W) as it stands.
    VJP: dx = dy in the form of x.
    Keeps: the shape.
    PyTorch: `torch.nn.Flatten`.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        """The first and the last axis to join, from the end if negative.

        Raises:
            ValueError: one is no whole number.
        """
        self.start_dim = whole(start_dim, "start_dim", "Flatten")
        self.end_dim = whole(end_dim, "end_dim", "Flatten")

    def forward(self, x: Array) -> Array:
        """The array with fewer axes."""
        self.check_input(x)
        (start,) = axes((self.start_dim,), "start_dim", "Flatten", x)
        (end,) = axes((self.end_dim,), "end_dim", "Flatten", x)
        if start > end:
            raise ValueError(
                f"Flatten: start_dim: expected an axis up to end_dim={self.end_dim} of an array of "
                f"shape {x.shape}, got {self.start_dim}"
            )
        joined = math.prod(x.shape[start : end + 1])
        return x.reshape(*x.shape[:start], joined, *x.shape[end + 1 :])

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The array with fewer axes, and its vjp."""
        y, shape = self.forward(x), x.shape

        def vjp(dy: Array) -> Array:
            return dy.reshape(shape)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The range of axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Permute(Module):
    """y = x with its axes in another order: axis i of y is axis dims[i] of x; a view of x.

    VJP: dx = dy with its axes in the inverse order.
    Keeps: the order.
    PyTorch: `torch.permute`.
    """

    def __init__(self, dims: tuple[int, ...]) -> None:
        """`dims` names every axis of the input once, the batch axis too; from the end if negative.

        Raises:
            ValueError: it is no tuple or list of whole numbers.
        """
        self.dims = wholes(dims, "dims", "Permute")

    def forward(self, x: Array) -> Array:
        """The array with its axes in their new order."""
        self.check_input(x)
        return x.transpose(self._order(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The array with its axes in their new order, and its vjp."""
        y, order = self.forward(x), self._order(x)

        def vjp(dy: Array) -> Array:
            return dy.transpose(sorted(range(len(order)), key=order.__getitem__))

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The order."""
        return f"{self.dims}"

    def _order(self, x: Array) -> tuple[int, ...]:
        order = axes(self.dims, "dims", "Permute", x)
        if sorted(order) != list(range(x.ndim)):
            raise ValueError(
                f"Permute: dims: expected every axis of an array of shape {x.shape} once, got "
                f"{self.dims}"
            )
        return order
