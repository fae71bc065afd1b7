"""Normalize: vectors of length one."""

from __future__ import annotations

import math

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import axis_of, number, whole
from minigrad.module import Module, Vjp, once

FLOORS = ("norm", "square")


@replaceable
def normalize(x: Array, dim: int, least: float) -> tuple[Array, Array]:
    """(x / max(|x|, least), |x|), with the lengths |x| along axis `dim`, which becomes 1 long."""
    xp = array_module(x)
    norm = xp.sqrt((x * x).sum(dim, keepdims=True))
    return x / xp.maximum(norm, least), norm


@replaceable
def normalize_dx(dy: Array, y: Array, norm: Array, dim: int, least: float) -> Array:
    """(dy - y <dy, y>) / |x|; where |x| < least, dy / least."""
    xp = array_module(y)
    along = xp.where(norm < least, 0, (dy * y).sum(dim, keepdims=True))
    return (dy - y * along) / xp.maximum(norm, least)


class Normalize(Module):
    """y = x / max(|x|, eps), with the Euclidean length |x| along one axis.

    `floor` says what `eps` bounds: "norm" the length, as above; "square" its square, as in the
    other published form y = x max(sum x^2, eps)^(-1/2), which is the first one with sqrt(eps).

    Shapes: x with the axis `dim`, y the same.
    VJP: dx = (dy - y <dy, y>) / |x|: the part of dy along y is taken off, since a longer x gives
        the same y; where the floor holds, dx = dy / eps (dy / sqrt(eps) for "square").
    Keeps: y, |x|.
    PyTorch: `torch.nn.functional.normalize`; for "square" own twin.
    """

    def __init__(
        self, p: float = 2.0, dim: int = 1, eps: float = 1e-12, *, floor: str = "norm"
    ) -> None:
        """`p` is the kind of length and must be 2; `dim` is the axis, from the end if negative.

        `eps`, above 0, is in units of x, for "square" in units of x^2.

        Raises:
            ValueError: a setting out of range.
        """
        if number(p, "p", "Normalize") != 2:
            raise ValueError(f"Normalize: p: expected 2, the Euclidean length, got {p}")
        self.dim = whole(dim, "dim", "Normalize")
        self.eps = number(eps, "eps", "Normalize", above=0)
        if floor not in FLOORS:
            raise ValueError(f"Normalize: floor: expected one of {FLOORS}, got {floor!r}")
        self.floor = floor
        self.least = self.eps if floor == "norm" else math.sqrt(self.eps)

    def forward(self, x: Array) -> Array:
        """The vectors of length one."""
        self._check(x)
        return normalize(x, self.dim, self.least)[0]

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The same, and its vjp."""
        self._check(x)
        y, norm = normalize(x, self.dim, self.least)

        def vjp(dy: Array) -> Array:
            return normalize_dx(dy, y, norm, self.dim, self.least)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Axis, eps, and what it bounds where that is not the length."""
        odd = "" if self.floor == "norm" else f", floor={self.floor!r}"
        return f"dim={self.dim}, eps={self.eps}{odd}"

    def _check(self, x: Array) -> None:
        self.check_input(x)
        axis_of(self.dim, x, "Normalize")
