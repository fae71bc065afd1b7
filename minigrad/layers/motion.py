"""Roll, Shift2d, Rot90, Flip: pixels change their places, not their values."""

from __future__ import annotations

from minigrad.backend import Array, array_module
from minigrad.checks import axes, whole, wholes
from minigrad.layers.border import zero_border
from minigrad.module import Module, Vjp, once


class Roll(Module):
    """y[..., i, ...] = x[..., (i - s) mod n, ...]: x moved by s places, what leaves comes in again.

    With several dims, one shift for each; without dims the whole array is rolled as one row.

    VJP: dx = dy rolled by -s.
    Keeps: nothing.
    PyTorch: `torch.roll`.
    """

    def __init__(
        self, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None
    ) -> None:
        """`shifts` may be negative; `dims` count from the end if negative.

        Raises:
            ValueError: one is no whole number and no tuple of them, or the lengths differ.
        """
        self.shifts = _some(shifts, "shifts", "Roll")
        self.dims = None if dims is None else _some(dims, "dims", "Roll")
        if len(self.shifts) != (1 if self.dims is None else len(self.dims)) or not self.shifts:
            raise ValueError(
                f"Roll: shifts: expected one for each of dims={dims} (one alone without dims), "
                f"got {shifts}"
            )

    def forward(self, x: Array) -> Array:
        """The moved array."""
        self.check_input(x)
        return self._roll(x, 1)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The moved array, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return self._roll(dy, -1)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Shifts and axes."""
        return f"{self.shifts}, dims={self.dims}"

    def _roll(self, x: Array, sign: int) -> Array:
        xp, shifts = array_module(x), tuple(sign * s for s in self.shifts)
        if self.dims is None:
            return xp.roll(x, shifts[0])
        return xp.roll(x, shifts, axes(self.dims, "dims", "Roll", x))


def _some(value: int | tuple[int, ...], name: str, layer: str) -> tuple[int, ...]:
    """One whole number or a tuple of them, as a tuple."""
    if isinstance(value, tuple | list):
        return wholes(value, name, layer)
    return (whole(value, name, layer),)


class Shift2d(Module):
    """y[n, c, a, b] = x[n, c, a - down, b - right]: the image moved, zeros come in.

    With `down=1` a row sees the row above it alone: how a half-plane network loses its centre.

    Shapes: x (N, C, H, W) -> y (N, C, H, W).
    VJP: dx = dy moved back; what has left the image gets 0.
    Keeps: nothing.
    Source: Laine et al., High-quality self-supervised deep image denoising (2019), section 2.
    PyTorch: none; padding and slicing.
    """

    def __init__(self, down: int = 0, right: int = 0) -> None:
        """Pixels by which the image moves; negative ones move it up or to the left.

        Raises:
            ValueError: one is no whole number.
        """
        self.down, self.right = whole(down, "down", "Shift2d"), whole(right, "right", "Shift2d")

    def forward(self, x: Array) -> Array:
        """The moved image."""
        self.check_input(x, ndim=4)
        return shift(x, self.down, self.right)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The moved image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return shift(dy, -self.down, -self.right)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Both distances."""
        return f"down={self.down}, right={self.right}"


def shift(x: Array, down: int, right: int) -> Array:
    """(N, C, H, W), moved by (down, right) pixels, with zeros where nothing comes from."""
    h, w = x.shape[2:]
    down, right = max(-h, min(down, h)), max(-w, min(right, w))  # farther away is away
    return zero_border(x, (right, -right, down, -down))


class Rot90(Module):
    """y = x turned k times by 90 degrees, from the first of two axes towards the second.

    For images with the rows on axis 2: counterclockwise. A view of x.

    Shapes: for odd k the two axes change their lengths.
    VJP: dx = dy turned back.
    Keeps: nothing.
    PyTorch: `torch.rot90` (whose axes are 0 and 1 by default).
    """

    def __init__(self, k: int = 1, dims: tuple[int, int] = (2, 3)) -> None:
        """`k` may be negative: clockwise; `dims` count from the end if negative.

        Raises:
            ValueError: `k` is no whole number, or `dims` are not two of them.
        """
        self.k, self.dims = whole(k, "k", "Rot90"), wholes(dims, "dims", "Rot90")
        if len(self.dims) != 2:
            raise ValueError(f"Rot90: dims: expected two axes, got {dims}")

    def forward(self, x: Array) -> Array:
        """The turned array."""
        self.check_input(x)
        return array_module(x).rot90(x, self.k, _apart(self.dims, "Rot90", x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The turned array, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return array_module(dy).rot90(dy, -self.k, self.dims)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Turns and axes."""
        return f"{self.k}, dims={self.dims}"


def _apart(dims: tuple[int, ...], layer: str, x: Array) -> tuple[int, ...]:
    """Axes of `x` counted from its front, of which none is named twice."""
    found = axes(dims, "dims", layer, x)
    if len(set(found)) < len(found):
        raise ValueError(
            f"{layer}: dims: expected different axes of an array of shape {x.shape}, got {dims}"
        )
    return found


class Flip(Module):
    """y = x with the order of the places reversed along each axis of `dims`; a view of x.

    VJP: dx = dy, reversed again.
    Keeps: nothing.
    PyTorch: `torch.flip`.
    """

    def __init__(self, dims: tuple[int, ...]) -> None:
        """`dims` count from the end if negative; (2,) turns an image upside down.

        Raises:
            ValueError: they are no tuple or list of whole numbers.
        """
        self.dims = wholes(dims, "dims", "Flip")

    def forward(self, x: Array) -> Array:
        """The reversed array."""
        self.check_input(x)
        return array_module(x).flip(x, _apart(self.dims, "Flip", x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The reversed array, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return array_module(dy).flip(dy, self.dims)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The axes."""
        return f"{self.dims}"
