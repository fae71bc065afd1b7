"""Upsample, by nearest neighbour."""

from __future__ import annotations

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


class Upsample(Module):
    """y[n, c, a, b] = x[n, c, floor(a / s_h), floor(b / s_w)]: nearest-neighbour resizing.

    The scale s is `scale_factor`, or (H' / H, W' / W) for a `size` (H', W'). As in PyTorch, the
    quotient is rounded in float32, and H' = H and H' = 2 H count as the scales 1 and 2.

    Shapes: x (N, C, H, W) -> y (N, C, H', W'), H' = size or floor(H s_h). Shrinking is allowed.
    VJP: dx = sum of dy over the pixels that were copied from there; 0 where none was.
    Keeps: the shape; for a scale that is not whole, the source of each output row and column.
    PyTorch: `torch.nn.Upsample(mode="nearest")`.
    """

    def __init__(
        self,
        size: int | Pair | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: str = "nearest",
    ) -> None:
        """Give exactly one of `size` (H', W') and `scale_factor`.

        Raises:
            ValueError: both or neither are given, one is neither a positive number nor a pair of
                them (whole ones for `size`), or the mode is unknown.
        """
        if (size is None) == (scale_factor is None):
            raise ValueError(
                f"Upsample: expected exactly one of size and scale_factor, got size={size}, "
                f"scale_factor={scale_factor}"
            )
        if mode != "nearest":
            raise ValueError(f"Upsample: mode: expected 'nearest', got {mode!r}")
        self.size = None if size is None else pair(size, "size", "Upsample", at_least=1)
        self.scale_factor = None if scale_factor is None else _factors(scale_factor)

    def forward(self, x: Array) -> Array:
        """The resized image."""
        self.check_input(x, ndim=4)
        scale = self._whole_scale(x)
        if scale is not None:
            return upsample_nearest(x, scale)
        rows, cols = self._sources(x)
        xp = array_module(x)
        return x[:, :, xp.asarray(rows)[:, None], xp.asarray(cols)]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The resized image, and its vjp."""
        y = self.forward(x)
        scale = self._whole_scale(x)
        if scale is not None:

            def vjp(dy: Array) -> Array:
                return upsample_nearest_dx(dy, scale)
        else:
            rows, cols = self._sources(x)
            h, w = x.shape[2:]

            def vjp(dy: Array) -> Array:
                # As matrices of zeros and ones y = A x B', so dx = A' dy B.
                xp = array_module(dy)
                a = xp.asarray(rows[:, None] == np.arange(h), dtype=dy.dtype)  # (H', H)
                b = xp.asarray(cols[:, None] == np.arange(w), dtype=dy.dtype)  # (W', W)
                return matmul(a.T, matmul(dy, b))

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Target size or scale."""
        return f"size={self.size}" if self.size else f"scale_factor={self.scale_factor}"

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
