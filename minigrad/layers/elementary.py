"""Square, Exp, Log; Mean along axes, and its counterpart Expand."""

from __future__ import annotations

import math

from minigrad.backend import Array, array_module
from minigrad.checks import axis_of, same_kind, whole
from minigrad.layers.join import unbroadcast
from minigrad.module import Module, Vjp, once

Shape = tuple[int, ...]


class Square(Module):
    """y = x^2, values from 0; arrays of any shape.

    VJP: dx = 2 x dy.
    Keeps: x.
    PyTorch: `torch.square`.
    """

    def forward(self, x: Array) -> Array:
        """The square of each number."""
        self.check_input(x)
        return x * x

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return 2 * x * dy

        return y, once(vjp, self, y)


class Exp(Module):
    """y = e^x, arrays of any shape; infinite from x = 89 on in float32, from 710 in float64.

    VJP: dx = dy y.
    Keeps: y.
    PyTorch: `torch.exp`.
    """

    def forward(self, x: Array) -> Array:
        """The exponential of each number."""
        self.check_input(x)
        return array_module(x).exp(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return dy * y

        return y, once(vjp, self, y)


class Log(Module):
    """y = log x, the natural logarithm; arrays of any shape. -inf at x = 0, NaN below.

    VJP: dx = dy / x.
    Keeps: x.
    PyTorch: `torch.log`.
    """

    def forward(self, x: Array) -> Array:
        """The logarithm of each number."""
        self.check_input(x)
        return array_module(x).log(x)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return dy / x

        return y, once(vjp, self, y)


class Mean(Module):
    """y = the mean of x over the axes `dim`, which `keepdim` leaves behind with length 1.

    VJP: dx = dy / n at each of the n numbers that a mean is taken of.
    Keeps: the shape.
    PyTorch: `torch.mean`.
    """

    def __init__(self, dim: int | Shape | None = None, keepdim: bool = False) -> None:
        """`dim` is an axis, several, or all (None); from the end if negative.

        Raises:
            ValueError: an axis is no whole number, or there are none. (A call checks that the input
                has them, each once.)
        """
        if isinstance(dim, tuple | list):
            if not dim:
                raise ValueError("Mean: dim: expected at least one axis, or None for all, got ()")
            self.dim: Shape | None = tuple(whole(d, f"dim[{i}]", "Mean") for i, d in enumerate(dim))
        else:
            self.dim = None if dim is None else (whole(dim, "dim", "Mean"),)
        self.keepdim = keepdim

    def forward(self, x: Array) -> Array:
        """The means."""
        axes, n = self._axes(x)
        total = x.sum(axes, keepdims=self.keepdim)
        return array_module(x).asarray(total / n if n else total * math.nan, dtype=x.dtype)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The means, and their vjp."""
        y = self.forward(x)
        axes, n = self._axes(x)
        shape = x.shape
        thin = tuple(1 if i in axes else size for i, size in enumerate(shape))

        def vjp(dy: Array) -> Array:
            return array_module(dy).broadcast_to(dy.reshape(thin) / max(n, 1), shape)

        return y, once(vjp, self, y)

    def _axes(self, x: Array) -> tuple[Shape, int]:
        """The axes from the front, and how many numbers lie along them."""
        self.check_input(x)
        if self.dim is None:
            return tuple(range(x.ndim)), x.size
        axes = tuple(axis_of(dim, x, "Mean") for dim in self.dim)
        if len(set(axes)) < len(axes):
            raise ValueError(
                f"Mean: dim: expected each axis once, got {self.dim} for shape {x.shape}"
            )
        return axes, math.prod(x.shape[axis] for axis in axes)

    def describe(self) -> str:
        """The axes, and whether they stay."""
        return f"dim={self.dim}" + (", keepdim=True" if self.keepdim else "")


def expand(x: Array, shape: Shape, layer: str) -> Array:
    """`x` in `shape`, repeated along axes that are new in front or of length 1; a view.

    Raises:
        ValueError: another axis would have to change.
    """
    old = (1,) * (len(shape) - x.ndim) + x.shape
    if len(old) != len(shape) or any(m not in (1, n) for m, n in zip(old, shape, strict=True)):
        raise ValueError(f"{layer}: x: shape {x.shape} cannot be expanded to {shape}")
    return array_module(x).broadcast_to(x, shape)


class Expand(Module):
    """y = x, repeated to shape `size` along axes of length 1 and new axes in front; -1 keeps one.

    Nothing is copied: y is a view of x.

    VJP: dx = dy summed over the axes along which x was repeated.
    Keeps: the shape.
    PyTorch: `torch.Tensor.expand`.
    """

    def __init__(self, size: Shape) -> None:
        """`size` has a length, or -1, for each axis of y.

        Raises:
            ValueError: it is no tuple or list, or a length is no whole number from -1.
        """
        if not isinstance(size, tuple | list):
            raise ValueError(f"Expand: size: expected a tuple or list of lengths, got {size!r}")
        self.size = tuple(whole(n, f"size[{i}]", "Expand", at_least=-1) for i, n in enumerate(size))

    def forward(self, x: Array) -> Array:
        """The repeated array."""
        self.check_input(x)
        new = len(self.size) - x.ndim
        if new < 0 or -1 in self.size[:new]:
            raise ValueError(f"Expand: x: shape {x.shape} cannot be expanded to {self.size}")
        old = (1,) * new + x.shape
        shape = tuple(m if n == -1 else n for m, n in zip(old, self.size, strict=True))
        return expand(x, shape, "Expand")

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The repeated array, and its vjp."""
        y = self.forward(x)
        shape = x.shape

        def vjp(dy: Array) -> Array:
            return unbroadcast(dy, shape)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The size."""
        return f"{self.size}"


class ExpandAs(Module):
    """y = x, repeated to the shape of `other`: `Expand` where the size of the image is not known.

    Shapes: x as `other`, but for axes of length 1 and axes left out in front; y as `other`.
    VJP: dx = dy summed over the axes along which x was repeated; `other` gets None.
    Keeps: the shape.
    PyTorch: `torch.Tensor.expand_as`.
    """

    def forward(self, x: Array, other: Array) -> Array:
        """The repeated array."""
        self.check_input(x)
        self.check_input(other, name="other")
        same_kind(other, "other", "ExpandAs", x, "x")
        return expand(x, other.shape, "ExpandAs")

    def forward_and_vjp(self, x: Array, other: Array) -> tuple[Array, Vjp]:
        """The repeated array, and its vjp."""
        y = self.forward(x, other)
        shape = x.shape

        def vjp(dy: Array) -> tuple[Array, None]:
            return unbroadcast(dy, shape), None

        return y, once(vjp, self, y)
