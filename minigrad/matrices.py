"""Products and inverses of 3x3 matrices, one for each pixel.

Arrays of matrices (..., 3, 3) are worked on as `planes` (3, 3, ...): each entry is then one plane
of all pixels, and a formula for one matrix, written entry by entry, computes all of them at once.
There is no call of a linear algebra library: a product of 3x3 matrices is too small to gain by one,
and nothing here waits for a device or raises because one matrix of a million is singular.
"""

from __future__ import annotations

from collections.abc import Mapping

from minigrad.backend import Array, array_module, replaceable
from minigrad.checks import same_kind
from minigrad.module import Module


def planes(a: Array) -> Array:
    """(..., 3, 3) as (3, 3, ...), a view."""
    return array_module(a).moveaxis(a, (-2, -1), (0, 1))


def matrices(p: Array) -> Array:
    """(3, 3, ...) as (..., 3, 3), a view: the inverse of `planes`."""
    return array_module(p).moveaxis(p, (0, 1), (-2, -1))


def transposed(p: Array) -> Array:
    """P' as a view."""
    return p.swapaxes(0, 1)


def product(p: Array, q: Array) -> Array:
    """P Q, for planes (3, 3, ...)."""
    return p[:, 0, None] * q[0] + p[:, 1, None] * q[1] + p[:, 2, None] * q[2]


def applied(p: Array, v: Array) -> Array:
    """P v, for planes (3, 3, ...) and vectors (3, ...)."""
    return p[:, 0] * v[0] + p[:, 1] * v[1] + p[:, 2] * v[2]


def outer(u: Array, v: Array) -> Array:
    """u v', for vectors (3, ...)."""
    return u[:, None] * v


def identity(like: Array) -> Array:
    """The identity as planes that broadcast to `like`."""
    eye = array_module(like).eye(3, dtype=like.dtype)
    return eye.reshape(3, 3, *(1,) * (like.ndim - 2))


@replaceable
def eliminate(p: Array) -> tuple[Array, Array]:
    """(pivots (3, ...), inverse (3, 3, ...)) by Gauss-Jordan elimination with row exchanges.

    The determinant is the product of the pivots: a row that moves down changes its sign, so that an
    exchange leaves the determinant alone. An error grows with the condition number, like that of a
    library's LU factorisation, where the cofactors of Cramer's rule lose its square. Where a pivot
    is 0 the matrix is singular and the inverse infinite.
    """
    xp = array_module(p)
    m = xp.concatenate([p, xp.broadcast_to(identity(p), p.shape)], axis=1)  # (3, 6, ...)
    rows, pivots = [m[0], m[1], m[2]], []
    for k in range(3):
        for i in range(k + 1, 3):
            swap = xp.abs(rows[i][k]) > xp.abs(rows[k][k])
            upper, lower = rows[k], rows[i]
            rows[k], rows[i] = xp.where(swap, lower, upper), xp.where(swap, -upper, lower)
        pivots.append(rows[k][k])
        rows[k] = rows[k] / xp.where(pivots[k] == 0, 1, pivots[k])
        for i in (i for i in range(3) if i != k):
            rows[i] = rows[i] - rows[i][k] * rows[k]
    found = xp.stack(pivots)
    singular = (found == 0).max(0)
    return found, xp.where(singular, xp.inf, xp.stack([row[3:] for row in rows]))


def log_determinant(pivots: Array, minimum: float | None) -> tuple[Array, Array]:
    """(log max(det, minimum), whether det >= minimum) from the pivots (3, ...).

    Without a minimum: (log det, whether det > 0), NaN where the determinant is negative. No product
    is formed there, which could leave the range of the numbers.
    """
    xp = array_module(pivots)
    if minimum is None:
        sign = xp.sign(pivots).prod(0)
        return xp.where(sign < 0, xp.nan, xp.log(xp.abs(pivots)).sum(0)), sign > 0
    det = pivots[0] * pivots[1] * pivots[2]
    return xp.log(xp.maximum(det, minimum)), det >= minimum


def check_per_pixel(
    layer: Module, mu: Array, images: Mapping[str, Array], sigmas: Mapping[str, Array]
) -> None:
    """Raise unless `mu` is an image of three colours, `images` are like it, and each of `sigmas`
    has a matrix for each of its pixels.

    Raises:
        TypeError: an array is none, or not floating, or its dtype or device differs from mu's.
        ValueError: a shape does not fit; the message names the argument and both shapes.
    """
    layer.check_input(mu, ndim=4, channels=3, name="mu")
    n, _, h, w = mu.shape
    forms = [(name, x, mu.shape) for name, x in images.items()]
    forms += [(name, x, (n, h, w, 3, 3)) for name, x in sigmas.items()]
    for name, x, shape in forms:
        layer.check_input(x, name=name)
        same_kind(x, name, type(layer).__name__, mu, "mu")
        if x.shape != shape:
            raise ValueError(
                f"{type(layer).__name__}: {name}: expected {shape} for mu {mu.shape}, got {x.shape}"
            )
