"""Upsample, by nearest neighbour or bilinear."""

from __future__ import annotations

import functools
import math

import numpy as np

from minigrad.backend import Array, array_module, matmul, replaceable
from minigrad.checks import number, pair
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair


@replaceable
def upsample_nearest(x: Array, scale: Pair) -> Array:
    """Repeat each pixel of (N, C, H, W) into a block of s_h x s_w."""
    return x.repeat(scale[0], axis=2).repeat(scale[1], axis=3)


@replaceable
def upsample_nearest_dx(dy: Array, scale: Pair) -> Array:
    """Sum each block of s_h x s_w."""
    n, c, h, w = dy.shape
    sh, sw = scale
    return dy.reshape(n, c, h // sh, sh, w // sw, sw).sum((3, 5))


Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""For each place of a resized axis: the two places of x beside it, and the weight of the second."""


@functools.lru_cache(maxsize=64)
def _between(n: int, to: int, factor: float | None, align_corners: bool) -> Places:
    """How `to` places of a bilinear result lie between n places; kept for the next such image."""
    if to == n:  # whatever the factor: 1.25 times 2 pixels are the 2 pixels
        return np.arange(n), np.arange(n), np.zeros(n)
    if align_corners:
        t = np.arange(to) * ((n - 1) / (to - 1) if to > 1 else 0.0)
    else:
        t = np.maximum((np.arange(to) + 0.5) * (n / to if factor is None else 1 / factor) - 0.5, 0)
    first = np.minimum(t.astype(np.intp), n - 1)
    return first, np.minimum(first + 1, n - 1), np.clip(t - first, 0, 1)


def _mix(x: Array, places: Places, axis: int) -> Array:
    """(1 - f) x[first] + f x[second] along `axis`: the product with A, of which most is zero."""
    xp, (first, second, f) = array_module(x), places
    shape = (1,) * axis + (-1,) + (1,) * (3 - axis)
    near, far = (xp.asarray(v, dtype=x.dtype).reshape(shape) for v in (1 - f, f))
    return x.take(xp.asarray(first), axis=axis) * near + x.take(xp.asarray(second), axis=axis) * far


def _mixing(places: Places, n: int) -> np.ndarray:
    """A as a matrix (places, n)."""
    first, second, f = (v[:, None] for v in places)
    return (1 - f) * (first == np.arange(n)) + f * (second == np.arange(n))


def _transposed(dy: Array, a: np.ndarray, b: np.ndarray) -> Array:
    """A' dy B, the vjp of y = A x B'."""
    xp = array_module(dy)
    left, right = xp.asarray(a, dtype=dy.dtype), xp.asarray(b, dtype=dy.dtype)
    return matmul(left.T, matmul(dy, right))


class Upsample(Module):
    """Resizing, mode "nearest": y[n, c, a, b] = x[n, c, floor(a / s_h), floor(b / s_w)]; mode
    "bilinear": y = A x B' for each channel, A (H', H) and B (W', W) with two weights in each row.

    The scale s is `scale_factor`, or (H' / H, W' / W) for a `size` (H', W'). As in PyTorch, H' = H
    counts as the scale 1; "nearest" takes H' = 2 H for the scale 2, and rounds its quotient in
    float32. (PyTorch's form for results beyond H' + W' = 128 on a CPU keeps to `scale_factor`,
    and may take the next pixel where a / s_h is nearly whole.)

    Row a of A mixes the rows floor(t) and floor(t) + 1 of x with the weights 1 - f and f, where f
    is the fraction of t = max((a + 1/2) / s_h - 1/2, 0), or, with `align_corners`, of
    t = a (H - 1) / (H' - 1), which maps first and last pixel onto each other. The last row has no
    next one and stands in for it.

    Shapes: x (N, C, H, W) -> y (N, C, H', W'), H' = size or floor(H s_h). Shrinking is allowed.
    VJP: dx = A' dy B. For "nearest", whose rows hold a single 1, that is the sum of dy over the
        pixels that were copied from there; 0 where none was.
    Keeps: the shape; for "nearest" with a scale that is not whole, the source of each output row
        and column.
    PyTorch: `torch.nn.Upsample` with mode "nearest" or "bilinear".
    """

    def __init__(
        self,
        size: int | Pair | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        """Give exactly one of `size` (H', W') and `scale_factor`.

        `align_corners` (None counts as False) is for "bilinear" alone; with it the result depends
        on the sizes only, not on `scale_factor` itself.

        Raises:
            ValueError: both or neither are given, one is neither a positive number nor a pair of
                them (whole ones for `size`), the mode is unknown, or `align_corners` is no bool or
                does not belong to the mode.
        """
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"Upsample: expected exactly one of size and scale_factor, got size={size}, "
                f"scale_factor={scale_factor}"
            )
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"Upsample: mode: expected 'nearest' or 'bilinear', got {mode!r}")
        if align_corners is not None and (mode == "nearest" or type(align_corners) is not bool):
            raise ValueError(
                f"Upsample: align_corners: expected None, or a bool with mode='bilinear', got "
                f"{align_corners!r} with mode={mode!r}"
            )
        self.mode, self.align_corners = mode, align_corners
        self.size = None if size is None else pair(size, "size", "Upsample", at_least=1)
        self.scale_factor = None if scale_factor is None else _factors(scale_factor)

    def forward(self, x: Array) -> Array:
        """The resized image."""
        self.check_input(x, ndim=4)
        if self.mode == "bilinear":
            down, across = self._neighbours(x.shape[2:], self._target(x))
            return _mix(_mix(x, across, axis=3), down, axis=2)
        scale = self._whole_scale(x)
        if scale is not None:
            return upsample_nearest(x, scale)
        rows, cols = self._sources(x)
        xp = array_module(x)
        return x[:, :, xp.asarray(rows)[:, None], xp.asarray(cols)]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The resized image, and its vjp."""
        y, (h, w) = self.forward(x), x.shape[2:]
        if self.mode == "bilinear":

            def vjp(dy: Array) -> Array:
                down, across = self._neighbours((h, w), dy.shape[2:])
                return _transposed(dy, _mixing(down, h), _mixing(across, w))

            return y, once(vjp, self, y)
        scale = self._whole_scale(x)
        if scale is not None:

            def vjp(dy: Array) -> Array:
                return upsample_nearest_dx(dy, scale)
        else:
            rows, cols = self._sources(x)

            def vjp(dy: Array) -> Array:
                return _transposed(dy, rows[:, None] == np.arange(h), cols[:, None] == np.arange(w))

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Target size or scale, and the mode where it is not nearest."""
        text = f"size={self.size}" if self.size else f"scale_factor={self.scale_factor}"
        if self.mode == "bilinear":
            text += f", mode='bilinear', align_corners={self.align_corners}"
        return text

    def _neighbours(self, size: Pair, to: Pair) -> list[Places]:
        """What the output rows and the output columns are mixed from."""
        factors = self.scale_factor or (None, None)
        return [
            _between(n, m, factor, self.align_corners is True)
            for n, m, factor in zip(size, to, factors, strict=True)
        ]

    def _target(self, x: Array) -> Pair:
        """(H', W')."""
        size = x.shape[2:]
        if self.size is not None:
            h, w = self.size
        else:
            assert self.scale_factor is not None
            h, w = (math.floor(n * s) for n, s in zip(size, self.scale_factor, strict=True))
        if min(*size, h, w) < 1:
            raise ValueError(
                f"Upsample: x: expected a non-empty image and result, got {size} -> {(h, w)} by "
                f"{self.describe()}"
            )
        return h, w

    def _whole_scale(self, x: Array) -> Pair | None:
        """The scale where each pixel becomes a block of one size, else None."""
        sides = zip(x.shape[2:], self._target(x), self._sources(x), strict=True)
        scale = []
        for n, to, source in sides:
            if to % n or not np.array_equal(source, np.arange(to) // (to // n)):
                return None  # 3.25 times 2 pixels are 6, but not 3 of each
            scale.append(to // n)
        return scale[0], scale[1]

    def _sources(self, x: Array) -> tuple[np.ndarray, np.ndarray]:
        """For each output row and column, the input row and column that it copies."""
        sources = []
        for axis, (n, to) in enumerate(zip(x.shape[2:], self._target(x), strict=True)):
            # Where the size stays (1.25 times 2 pixels) or doubles (2.25 times 2), PyTorch takes
            # the scale for 1 or 2.
            factors = None if to in (n, 2 * n) else self.scale_factor
            step = n / to if factors is None else 1 / factors[axis]
            # In float32, as PyTorch does: where a H / H' is whole, rounding decides.
            places = np.arange(to, dtype=np.float32) * np.float32(step)
            sources.append(np.minimum(places.astype(np.intp), n - 1))
        return sources[0], sources[1]


def _factors(scale_factor: float | tuple[float, float]) -> tuple[float, float]:
    """One factor for both axes, or (vertical, horizontal), checked."""
    both = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor, scale_factor)
    if len(both) != 2:
        raise ValueError(
            f"Upsample: scale_factor: expected a number or a pair of numbers, got {scale_factor}"
        )
    vertical, horizontal = (number(s, "scale_factor", "Upsample", above=0) for s in both)
    return vertical, horizontal
