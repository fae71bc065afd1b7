"""Add, Subtract, Multiply, Scale, Offset; Concat and Split."""

from __future__ import annotations

from itertools import accumulate

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import axis_of, number, same_kind, whole
from minigrad.module import Module, Vjp, once


def unbroadcast(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum `dy` over the axes along which an array of `shape` was broadcast."""
    extra = dy.ndim - len(shape)
    axes = tuple(
        i for i, n in enumerate(dy.shape) if i < extra or (shape[i - extra] == 1 and n != 1)
    )
    return dy.sum(axes).reshape(shape) if axes else dy


class _Pairwise(Module):
    """Checks that two inputs broadcast and agree in dtype and device."""

    def _check(self, a: Array, b: Array) -> None:
        self.check_input(a, name="a")
        self.check_input(b, name="b")
        layer = type(self).__name__
        same_kind(b, "b", layer, a, "a")
        for m, n in zip(a.shape[::-1], b.shape[::-1], strict=False):
            if m != n and 1 not in (m, n):
                raise ValueError(f"{layer}: shapes {a.shape} and {b.shape} do not broadcast")


class Add(_Pairwise):
    """y = a + b, shapes equal or broadcast as in NumPy.

    VJP: da = dy, db = dy, each summed over the axes along which it was broadcast.
    Keeps: the shapes.
    PyTorch: `torch.add`.
    """

    def forward(self, a: Array, b: Array) -> Array:
        """The sum."""
        self._check(a, b)
        return a + b

    def forward_and_vjp(self, a: Array, b: Array) -> tuple[Array, Vjp]:
        """The sum, and its vjp."""
        y = self.forward(a, b)
        a_shape, b_shape = a.shape, b.shape

        def vjp(dy: Array) -> tuple[Array, Array]:
            return unbroadcast(dy, a_shape), unbroadcast(dy, b_shape)

        return y, once(vjp, self, y)


class Subtract(_Pairwise):
    """y = a - b, shapes equal or broadcast as in NumPy.

    VJP: da = dy, db = -dy, each summed over the axes along which it was broadcast.
    Keeps: the shapes.
    PyTorch: `torch.sub`.
    """

    def forward(self, a: Array, b: Array) -> Array:
        """The difference."""
        self._check(a, b)
        return a - b

    def forward_and_vjp(self, a: Array, b: Array) -> tuple[Array, Vjp]:
        """The difference, and its vjp."""
        y = self.forward(a, b)
        a_shape, b_shape = a.shape, b.shape

        def vjp(dy: Array) -> tuple[Array, Array]:
            return unbroadcast(dy, a_shape), unbroadcast(-dy, b_shape)

        return y, once(vjp, self, y)


class Multiply(_Pairwise):
    """y = a b elementwise, shapes equal or broadcast as in NumPy: a gate, a mask, an attention map.

    VJP: da = dy b, db = dy a, each summed over the axes along which it was broadcast.
    Keeps: a, b.
    PyTorch: `torch.mul`.
    """

    def forward(self, a: Array, b: Array) -> Array:
        """The product."""
        self._check(a, b)
        return a * b

    def forward_and_vjp(self, a: Array, b: Array) -> tuple[Array, Vjp]:
        """The product, and its vjp."""
        y = self.forward(a, b)

        def vjp(dy: Array) -> tuple[Array, Array]:
            return unbroadcast(dy * b, a.shape), unbroadcast(dy * a, b.shape)

        return y, once(vjp, self, y)


class Scale(Module):
    """y = s x, with a constant s.

    VJP: dx = s dy.
    Keeps: nothing.
    PyTorch: `s * x`.
    """

    def __init__(self, factor: float) -> None:
        """`factor` is s, a finite number."""
        self.factor = number(factor, "factor", "Scale")

    def forward(self, x: Array) -> Array:
        """The multiple."""
        self.check_input(x)
        return x * self.factor

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The multiple, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return dy * self.factor

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The factor."""
        return f"{self.factor}"


class Offset(Module):
    """y = x + c, with a constant c.

    VJP: dx = dy.
    Keeps: nothing.
    PyTorch: `x + c`.
    """

    def __init__(self, constant: float) -> None:
        """`constant` is c, a finite number."""
        self.constant = number(constant, "constant", "Offset")

    def forward(self, x: Array) -> Array:
        """The sum."""
        self.check_input(x)
        return x + self.constant

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The sum, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return dy

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The constant."""
        return f"{self.constant}"


@replaceable
def concat(*xs: Array, dim: int) -> Array:
    """The arrays one after the other along axis `dim`."""
    return array_module(*xs).concatenate(xs, axis=dim)


class Concat(Module):
    """y = the inputs one after the other along axis `dim`.

    Shapes: all inputs agree on every other axis.
    VJP: dy is cut at the same places; the pieces are views.
    Keeps: the widths.
    PyTorch: `torch.cat`.
    """

    def __init__(self, dim: int = 1) -> None:
        """`dim` is the axis, from the end if negative; 1 joins channels."""
        self.dim = whole(dim, "dim", "Concat")

    def forward(self, *xs: Array) -> Array:
        """The joined array."""
        self._check(xs)
        return concat(*xs, dim=self.dim)

    def forward_and_vjp(self, *xs: Array) -> tuple[Array, Vjp]:
        """The joined array, and its vjp."""
        y = self.forward(*xs)
        cuts = list(accumulate(x.shape[self.dim] for x in xs))[:-1]

        def vjp(dy: Array) -> Array | tuple[Array, ...]:
            pieces = tuple(array_module(dy).split(dy, cuts, axis=self.dim))
            return pieces[0] if len(pieces) == 1 else pieces

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The axis."""
        return f"dim={self.dim}"

    def _check(self, xs: tuple[Array, ...]) -> None:
        if not xs:
            raise ValueError("Concat: expected at least one input, got none")
        for x in xs:
            self.check_input(x)
        first, axis = xs[0], axis_of(self.dim, xs[0], "Concat")
        others = first.shape[:axis], first.shape[axis + 1 :]
        for i, x in enumerate(xs[1:], start=1):
            same_kind(x, f"input {i}", "Concat", first, "input 0")
            if (x.shape[:axis], x.shape[axis + 1 :]) != others:
                raise ValueError(
                    f"Concat: input {i}: expected shape {first.shape} but for axis {axis}, got "
                    f"{x.shape}"
                )


class Split(Module):
    """The pieces of x along axis `dim`, of the given widths; as a tuple, views of x.

    VJP: dx = the cotangents one after the other; zeros where one is `None`.
    Keeps: the shape.
    PyTorch: `torch.split`.
    """

    def __init__(self, sizes: tuple[int, ...] | list[int], dim: int = 1) -> None:
        """`sizes` are the widths, `dim` is the axis, from the end if negative.

        Raises:
            ValueError: there are no widths, or one is no whole number from 0. (Together they must
                be the width of the input; a call checks that.)
        """
        if not isinstance(sizes, tuple | list) or not sizes:
            raise ValueError(
                f"Split: sizes: expected a tuple or list of at least one width, got {sizes!r}"
            )
        self.sizes = tuple(
            whole(size, f"sizes[{i}]", "Split", at_least=0) for i, size in enumerate(sizes)
        )
        self.dim = whole(dim, "dim", "Split")

    def forward(self, x: Array) -> tuple[Array, ...]:
        """The pieces."""
        self.check_input(x)
        if sum(self.sizes) != x.shape[axis_of(self.dim, x, "Split")]:
            raise ValueError(
                f"Split: x: expected width {sum(self.sizes)} on axis {self.dim}, got shape "
                f"{x.shape}"
            )
        cuts = list(accumulate(self.sizes))[:-1]
        return tuple(array_module(x).split(x, cuts, axis=self.dim))

    def forward_and_vjp(self, x: Array) -> tuple[tuple[Array, ...], Vjp]:
        """The pieces, and their vjp."""
        y = self.forward(x)
        xp, shapes, dtype = array_module(x), [piece.shape for piece in y], x.dtype

        def vjp(*dys: Array | None) -> Array:
            pieces = [
                xp.zeros(shape, dtype=dtype) if dy is None else dy
                for dy, shape in zip(dys, shapes, strict=True)
            ]
            return concat(*pieces, dim=self.dim)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Widths and axis."""
        return f"{self.sizes}, dim={self.dim}"
