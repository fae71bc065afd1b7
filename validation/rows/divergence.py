"""Rows of the divergences, the terms of clusters and of Keras, and the contrastive loss."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from minigrad import (
    ContrastiveLoss,
    FreeBits,
    GaussianKLLoss,
    GaussianStdKLLoss,
    L1L2Penalty,
    MixtureKLLoss,
    Module,
    PixelKLDLoss,
    SampledKLLoss,
    StandardNormalKLLoss,
    UniformKLLoss,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw

REDUCTIONS = ["none", "image", "sum", "mean"]
PER_SAMPLE = ["none", "sum", "mean"]


# --------------------------------------------------------------------------- Gaussians


def _broadcast(inputs: int) -> Callable[[Draw], Variant]:
    """Shapes that broadcast: axes of length one, and leading axes left out."""

    def shapes(draw: Draw) -> Variant:
        full = tuple(draw.integer(1, 4) for _ in range(draw.integer(1, 4)))
        found = [full]
        for _ in range(inputs - 1):
            thin = tuple(n if draw.integer(0, 2) else 1 for n in full)
            found.append(thin[draw.pick([0, 0, 0, draw.integer(0, len(full) - 1)]) :])
        return variant(*found, reduction=draw.pick(REDUCTIONS))

    return shapes


def _squarable(x: np.ndarray) -> np.ndarray:
    """Finite numbers from 2^-40 to 2^40 and zeros, so that a square has its digits in float32."""
    size = np.abs(x)
    fits = np.where(size > 0, np.clip(size, 2.0**-40, 2.0**40), 0)
    return np.where(np.isfinite(x), np.copysign(fits, x), x)


def _log_variances(q: int, p: int | None = None) -> Callable[[Arrays], Arrays]:
    """Log-variances within 8, q's half a unit higher: where q is close to p everywhere, values are
    differences of nearly equal terms, of which PyTorch has no digits.
    """

    def adjust(xs: Arrays) -> Arrays:
        return tuple(
            np.clip(x, -8, 8) + 0.5 * (i == q) if i in (q, p) else _squarable(x)
            for i, x in enumerate(xs)
        )

    return adjust


def _sampled(xs: Arrays) -> Arrays:
    """z some way off q's mean, and further off p's: of the terms of two signs one is larger."""
    z, mu_q, l_q, mu_p, l_p = _log_variances(2, 4)(xs)
    return z + 4, mu_q, l_q, mu_p - 16, l_p


def _deviations(q: int, p: int) -> Callable[[Arrays], Arrays]:
    """Standard deviations from 1/64 to 64, q's all larger than p's or all smaller: never close, for
    the same reason, and R^2 - 1 has one sign in all elements that are summed.
    """

    def adjust(xs: Arrays) -> Arrays:
        sizes = [np.clip(np.abs(x), 2**-6, 2**6) for x in xs]
        wider, other = (q, p) if np.signbit(xs[q]).flat[:1].sum() else (p, q)
        changed = {wider: sizes[wider] + 1, other: np.minimum(sizes[other], 0.75)}
        return tuple(changed.get(i, _squarable(x)) for i, x in enumerate(xs))

    return adjust


def _common(*groups: tuple[int, ...]) -> Callable[[Module, Arrays, Arrays], int]:
    """One array for each group of inputs, of the shape that they broadcast to."""

    def keeps(module: Module, xs: Arrays, ys: Arrays) -> int:
        shapes = [np.broadcast_shapes(*(xs[i].shape for i in group)) for group in groups]
        return sum(prod(shape) for shape in shapes) * xs[0].itemsize

    return keeps


_IMAGE: Shape = (2, 3, 4, 5)
_ONE_PIXEL: Shape = (1, 3, 1, 1)


def _priors(*q: Shape) -> tuple[Variant, ...]:
    """A prior for every image and pixel, one for all, and one that has more images than q."""
    return (
        *(variant(*q, _IMAGE, _IMAGE, reduction=reduction) for reduction in REDUCTIONS),
        variant(*q, _ONE_PIXEL, _ONE_PIXEL),
        variant(*q, _ONE_PIXEL, _ONE_PIXEL, reduction="image"),
        variant(*(_ONE_PIXEL for _ in q), _IMAGE, (4, 1), reduction="none"),
        variant(*((7,) for _ in q), (7,), (1,), reduction="image"),
        variant(*((1, 1) for _ in q), (1, 1), (1, 1), reduction="sum"),
    )


# --------------------------------------------------------------------------- free bits


def _free(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 6) for _ in range(draw.integer(1, 2)))
    return variant(
        shape, free_bits=draw.pick([0.0, 0.5, 1.0]), batch_average=draw.pick([False, True])
    )


def _clear_columns(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Each layer's divergences, hence their mean, are far above or far below what is free."""
    return tuple(x + rng.choice([-10.0, 10.0], size=x.shape[1:]) for x in xs)


def _keeps_free(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, FreeBits)
    if module.free_bits < 1e-6:
        return 0
    return ys[0].size if module.batch_average else xs[0].size


# --------------------------------------------------------------------------- clusters


def _clusters(draw: Draw) -> Variant:
    shape = draw.integer(1, 5), draw.integer(2, 5)
    return variant(shape, eps=draw.pick([1e-8, 2**-10]), reduction=draw.pick(PER_SAMPLE))


def _probabilities(y: np.ndarray) -> np.ndarray:
    """Rows that sum to 1 and have at least 3/4 in the first place: never close to uniform, where
    the divergence is a difference of nearly equal terms; ties give zeros.
    """
    size = np.abs(y)
    total = size.sum(1, keepdims=True)
    part = np.divide(size, total, out=np.zeros_like(y), where=total > 0)
    return 0.25 * part + 0.75 * (np.arange(y.shape[1]) == 0)


def _first_as_probabilities(xs: Arrays) -> Arrays:
    return (_probabilities(xs[0]), *xs[1:])


def _first_above_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No probability within an eighth of 0, where the logarithm is too steep for differences."""
    return (xs[0] + 0.125, *xs[1:])


def _mixture(draw: Draw) -> Variant:
    n, k, d = draw.integer(1, 4), draw.integer(2, 4), draw.integer(1, 3)
    weights = {2: (0.25, 0.75), 3: (0.25, 0.25, 0.5), 4: (0.125, 0.5, 0.125, 0.25)}
    return variant(
        (n, k), (n, d), (n, d), (k, d), (k, d),
        pi=draw.pick([None, weights[k]]),
        reduction=draw.pick(PER_SAMPLE),
    )  # fmt: skip


def _components(xs: Arrays) -> Arrays:
    return _first_as_probabilities(_deviations(2, 4)(xs))


def _keeps_components(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[0].nbytes + sum(x.nbytes for x in xs)


def _sizes(n: int, k: int, d: int) -> tuple[Shape, ...]:
    return (n, k), (n, d), (n, d), (k, d), (k, d)


# --------------------------------------------------------------------------- two views


def _views(draw: Draw) -> Variant:
    shape = draw.integer(2, 5), draw.integer(1, 5)
    temperature = draw.pick([0.1, 0.25, 1.0])
    return variant(shape, shape, temperature=temperature, reduction=draw.pick(PER_SAMPLE))


def _directions(xs: Arrays) -> Arrays:
    """Rows of length 1. The last sample has the first one's second view: without such a doubt the
    loss of some samples is 0 to the last digit.
    """
    u, v = (x / np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), 1e-12) for x in xs)
    v[-1:] = v[:1]
    return u, v


def _smaller(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Similarities near 0 and no two alike: differences of large ones are mostly rounding."""
    return tuple(0.25 * x + 0.125 * rng.standard_normal(x.shape) for x in xs)


def _keeps_similarities(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 2 * xs[0].nbytes + len(xs[0]) ** 2 * xs[0].itemsize


# --------------------------------------------------------------------------- terms of Keras


def _pixels(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(2, 4)))
    eps = draw.pick([1e-7, 2**-10])
    return variant(shape, shape, eps=eps, reduction=draw.pick(["mean", "sum"]))


def _intensities(xs: Arrays) -> Arrays:
    """Most of the values in [0, 1], ties at the ends; the target is darker everywhere or brighter
    everywhere, so that all terms of the sum have one sign.
    """
    x = 0.5 * xs[0] + 0.5
    size = np.minimum(np.abs(xs[1]), 1e6)
    part = 0.125 + 0.75 * size / (1 + size)
    clipped = np.clip(x, 0, 1)
    darker = np.signbit(xs[1]).flat[:1].sum() > 0
    return x, clipped * part if darker else clipped + (1 - clipped) * part


def _inside_or_outside(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No prediction within an eighth of the ends of [0, 1]."""
    x = xs[0]
    near = np.abs(x - 0.5) < 0.625
    return (np.where(near, np.clip(x, 0.125, 0.875), x), *xs[1:])


def _weights(draw: Draw) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))
    return variant(shape, l1=draw.pick([0.0, 0.01, 0.5]), l2=draw.pick([0.0, 0.01, 2.0]))


def _weights_squarable(xs: Arrays) -> Arrays:
    return tuple(map(_squarable, xs))


def _off_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No number closer to zero than 1/8."""
    return tuple(x + np.where(x > 0, 0.125, -0.125) for x in xs)


ROWS: list[Row] = [
    Row(
        GaussianKLLoss,
        _broadcast(4),
        _priors(_IMAGE, _IMAGE),
        keeps=_common((0, 2, 3), (0, 2, 3), (1, 3)),
        adjust=_log_variances(1, 3),
        special=True,
        signs=(1, 1, -1, -1),
    ),
    Row(
        SampledKLLoss,
        _broadcast(5),
        _priors(_IMAGE, _IMAGE, _IMAGE),
        keeps=_common((0, 1, 2), (0, 1, 2), (0, 3, 4), (0, 3, 4)),
        adjust=_sampled,
        special=True,
        signs=(1, -1, -1, -1, -1),
    ),
    Row(
        StandardNormalKLLoss,
        _broadcast(2),
        (
            *(variant(_IMAGE, _IMAGE, reduction=reduction) for reduction in REDUCTIONS),
            variant(_IMAGE, _ONE_PIXEL),
            variant((7,), (7,), reduction="image"),
            variant((1,), (3, 2), reduction="none"),
        ),
        keeps=_common((0,), (1,)),
        adjust=_log_variances(1),
        special=True,
    ),
    Row(
        FreeBits,
        _free,
        (
            variant((6, 8), free_bits=0.5),  # ties are met exactly by some
            variant((1, 24), free_bits=0.5, batch_average=True),
            variant((4, 3), free_bits=0.5, batch_average=True),
            variant((4, 3), free_bits=0.0),
            variant((4, 3), free_bits=0.0, batch_average=True),
            variant((5,), free_bits=1.0),
            variant((5,), free_bits=1.0, batch_average=True),
            variant((1, 1), free_bits=0.5),
            variant((3, 2), free_bits=1e-7),
        ),
        keeps=_keeps_free,
        away=_clear_columns,
        special=True,
    ),
    Row(
        UniformKLLoss,
        _clusters,
        (
            variant((5, 3)),
            variant((5, 2), reduction="none"),
            variant((1, 4), reduction="sum", eps=2**-10),
        ),
        keeps=keeps_input,
        adjust=_first_as_probabilities,
        away=_first_above_zero,
    ),
    Row(
        GaussianStdKLLoss,
        _broadcast(4),
        _priors(_IMAGE, _IMAGE),
        keeps=_common((0, 2, 3), (1, 3), (0, 1, 2, 3)),
        adjust=_deviations(1, 3),
        special=True,
        signs=(1, 1, -1, 1),
    ),
    Row(
        MixtureKLLoss,
        _mixture,
        (
            variant(*_sizes(5, 3, 4)),
            variant(*_sizes(5, 3, 4), reduction="none"),
            variant(*_sizes(5, 3, 4), pi=(0.25, 0.25, 0.5), reduction="sum"),
            variant(*_sizes(2, 4, 1), pi=(0.125, 0.5, 0.125, 0.25), eps=2**-10),
            variant(*_sizes(1, 2, 1)),
        ),
        keeps=_keeps_components,
        adjust=_components,
        signs=(1, 1, 1, -1, 1),
        away=_first_above_zero,
    ),
    Row(
        ContrastiveLoss,
        _views,
        (
            variant((5, 4), (5, 4)),
            variant((5, 4), (5, 4), reduction="none"),
            variant((4, 1), (4, 1), temperature=2**-10),  # e^1024: the largest is taken out
            variant((4, 6), (4, 6), reduction="mean", temperature=1.0),
            variant((1, 3), (1, 3)),
            variant((3, 1), (3, 1), reduction="none"),
        ),
        keeps=_keeps_similarities,
        adjust=_directions,
        away=_smaller,
        elementwise=(0, 1),  # samples that are all alike: differences that are 0 but for rounding
    ),
    Row(
        PixelKLDLoss,
        _pixels,
        (
            variant(_IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, reduction="sum", eps=2**-10),
            variant((4, 3), (4, 3)),
            variant((1, 1, 1, 1), (1, 1, 1, 1)),
        ),
        keeps=keeps_input,
        wrt=(0,),
        adjust=_intensities,
        away=_inside_or_outside,
        special=True,
    ),
    Row(
        L1L2Penalty,
        _weights,
        (
            variant((4, 3, 3, 3)),
            variant((7,), l1=0.0, l2=0.5),
            variant((2, 3), l1=0.5, l2=0.0),
            variant((1, 1), l1=0.0, l2=0.0),
        ),
        keeps=keeps_input,
        adjust=_weights_squarable,
        away=_off_zero,
        special=True,
    ),
]
