"""Rows of the likelihoods and the noise models."""

from __future__ import annotations

import numpy as np

from minigrad import (
    CrossEntropyLoss,
    DensityNLLLoss,
    GaussianMixtureNoiseModel,
    GaussianNLLLoss,
    HistogramNoiseModel,
    LogMixtureLoss,
    LogVarianceNLLLoss,
    Module,
    PN2VLoss,
)
from validation.cases import Arrays, Row, Shape, Variant, keeps_input, variant
from validation.draw import Draw


def _shape(draw: Draw) -> Shape:
    return tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))


def _reduction(draw: Draw) -> str:
    return draw.pick(["mean", "sum"])


# --------------------------------------------------------------------------- settings


def _gaussian(draw: Draw) -> Variant:
    shape = _shape(draw)
    axis = draw.integer(0, len(shape) - 1)
    shared = (*shape[:axis], 1, *shape[axis + 1 :])
    return variant(
        shape,
        shape,
        draw.pick([shape, shared, shape[:-1]]),
        full=draw.pick([False, True]),
        eps=draw.pick([1e-6, 0.0625]),
        reduction=_reduction(draw),
    )


def _log_variance(draw: Draw) -> Variant:
    return variant(
        *(_shape(draw),) * 3,
        full=draw.pick([False, True]),
        lower_bound=draw.pick([None, -0.5, 0.25]),
        reduction=_reduction(draw),
    )


def _cross_entropy(draw: Draw) -> Variant:
    shape = _shape(draw)
    smoothing = draw.pick([0.0, 0.125, 1.0])
    return variant(shape, shape, reduction=_reduction(draw), label_smoothing=smoothing)


def _log_mixture(draw: Draw) -> Variant:
    shape = _shape(draw)
    dim = draw.integer(-len(shape), len(shape) - 1)
    axis = dim % len(shape)
    target = shape[:axis] + shape[axis + 1 :]
    return variant(shape, shape, shape, target, dim=dim, reduction=_reduction(draw))


def _density(draw: Draw) -> Variant:
    return variant(_shape(draw), reduction=_reduction(draw))


def _pn2v(draw: Draw) -> Variant:
    shape = _shape(draw)
    return variant((draw.integer(1, 5), *shape), shape)


def _signal_and_observation(draw: Draw) -> tuple[Shape, Shape]:
    """Equal, a stack of signals for one observation, or with an axis of length one."""
    shape = _shape(draw)
    thin = tuple(n if draw.integer(0, 1) else 1 for n in shape)
    options = [(shape, shape), ((draw.integer(1, 3), *shape), shape), (thin, shape), (shape, thin)]
    options += [(shape[1:], shape)]
    return draw.pick(options)


def _gaussian_mixture(draw: Draw) -> Variant:
    return variant(
        *_signal_and_observation(draw),
        min_signal=draw.pick([-2.0, 0.0]),
        max_signal=draw.pick([1.0, 2.0]),
        n_gaussian=draw.integer(1, 4),
        n_coeff=draw.integer(2, 4),
        min_sigma=draw.pick([0.25, 1.0]),
        tol=draw.pick([1e-10, 0.0625]),
    )


def _histogram(draw: Draw) -> Variant:
    low = draw.pick([-2.0, -1.0, 0.0])
    return variant(
        *_signal_and_observation(draw),
        bins=draw.pick([2, 4, 8, 16]),
        min_value=low,
        max_value=low + draw.pick([1.0, 2.0, 4.0]),
    )


# --------------------------------------------------------------------------- valid values


def _positive_variance(xs: Arrays) -> Arrays:
    """No variance below zero, which PyTorch refuses; zeros and small ones stay."""
    return (*xs[:2], np.abs(xs[2]))


def _variance_above_eps(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Where the clamp, whose derivative is treated as 1, does nothing."""
    return (*xs[:2], xs[2] + 0.25)


def _moderate_logarithm(xs: Arrays) -> Arrays:
    """The third input is the logarithm of a variance, whose exponential must be finite."""
    return (*xs[:2], np.clip(xs[2], -6, 6))


def _near_the_components(xs: Arrays) -> Arrays:
    """No target so far out that which component is nearer is a matter of rounding."""
    logits, mean, log_sigma, target = (np.clip(x, -3, 3) for x in xs)
    return logits, mean, np.clip(log_sigma, -1.5, 1.5), target


def _off_bounds(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """No log-variance within 1/16 of a lower bound."""
    x = xs[2]
    for bound in (-0.5, 0.25):
        x = np.where(np.abs(x - bound) < 0.0625, bound + 0.125, x)
    return (*xs[:2], x)


def _weights_as_target(xs: Arrays) -> Arrays:
    """Target weights not below zero. The formula does not rely on a sum of 1."""
    return xs[0], np.abs(xs[1])


def _densities(xs: Arrays) -> Arrays:
    """The first input between 2^-11 and 0.501, so that no logarithms cancel."""
    x = np.abs(xs[0])
    return ((2.0**-10 + x / (1 + x)) / 2, *xs[1:])


def _off_zero(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Densities of 1/8 and more, where the logarithm bends less."""
    return (xs[0] + 0.125, *xs[1:])


def _densities_and_mask(xs: Arrays) -> Arrays:
    """And the second as a mask of zeros and ones, one of them at least valid."""
    mask = (xs[1] > 0).astype(np.float32)
    mask.flat[:1] = 1
    return (*_densities(xs[:1]), mask)


def _grey_values(xs: Arrays) -> Arrays:
    """Values not so far outside the range that a cubic polynomial leaves all others behind."""
    return tuple(np.clip(x, -3, 3) for x in xs)


def _on_a_grid(xs: Arrays) -> Arrays:
    """Multiples of 1/64: float32 and float64 agree about the bin, also on its very edge."""
    return tuple(np.round(x * 64) / 64 for x in xs)


def _off_the_edges(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Signals halfway between two multiples of 1/64: on no edge of a bin."""
    return xs[0] + 0.0078125, xs[1]


def _polynomials(module: Module, rng: np.random.Generator) -> None:
    """Variances of which some components lie on the floor and the others well above it."""
    assert isinstance(module, GaussianMixtureNoiseModel)
    k = module.n_gaussian
    rows = module.weight[k : 2 * k]
    rows[:, 0] = rng.choice([2.0, 2.5, -9.0], size=k)
    rows[:, 1:] = np.where(rows[:, :1] < 0, -9.0, np.minimum(rows[:, 1:], 0) - 1)


def _rounding_in_the_exponents(module: GaussianMixtureNoiseModel, xs: Arrays) -> dict[str, float]:
    """What a relative error in the terms of o - s - (m - sum(a m)) comes to in the cotangents."""
    signal, observation = xs
    a, m, _, v, r, n = module._mixture(signal, observation)
    if not n.size:
        return {}
    terms = np.abs(observation - signal) + np.abs(m).max(0)
    error = float((terms * (a * n * ((r / v) ** 2 + 1 / v)).sum(0)).max())
    t, degrees = float(np.abs(module._relative(signal)).max()), np.arange(module.n_coeff)
    slopes = np.abs(module._coefficients()[:, 1:]) * degrees[1:] * t ** degrees[:-1]
    through = float(slopes.sum(1).max()) / (module.max_signal - module.min_signal)
    return {
        "cotangent of input 0": error * max(1.0, through),
        "cotangent of input 1": error,
        "cotangent of weight": error * max(1.0, t) ** (module.n_coeff - 1),
    }


def _probabilities(module: Module, rng: np.random.Generator) -> None:
    """A table whose rows sum to 1."""
    assert isinstance(module, HistogramNoiseModel)
    table = np.asarray(rng.random(module.histogram.shape))
    module.histogram[...] = (table / table.sum(1, keepdims=True)).astype(np.float32)


# --------------------------------------------------------------------------- kept bytes


def _keeps_two(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 2 * xs[0].nbytes


def _keeps_three(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 3 * xs[0].nbytes


def _keeps_mask(module: Module, xs: Arrays, ys: Arrays) -> int:
    return xs[1].nbytes


def _keeps_inputs(module: Module, xs: Arrays, ys: Arrays) -> int:
    return sum(x.nbytes for x in xs)


def _keeps_slope(module: Module, xs: Arrays, ys: Arrays) -> int:
    return ys[0].nbytes


_IMAGE, _ONE = (2, 3, 4, 5), (2, 1, 4, 5)
_RANGE = {"min_signal": -2.0, "max_signal": 2.0, "min_sigma": 0.25}

ROWS = [
    Row(
        GaussianNLLLoss,
        _gaussian,
        (
            variant(_IMAGE, _IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, _ONE, full=True, reduction="sum"),
            variant(_IMAGE, _IMAGE, _IMAGE[:-1], eps=0.0625),
            variant((7,), (7,), (7,), full=True),
            variant((1, 1), (1, 1), (1,)),
        ),
        keeps=_keeps_two,
        wrt=(0, 2),
        adjust=_positive_variance,
        away=_variance_above_eps,
        signs=(1, -1, 1),
    ),
    Row(
        LogVarianceNLLLoss,
        _log_variance,
        (
            variant(_IMAGE, _IMAGE, _IMAGE),
            variant(_IMAGE, _IMAGE, _IMAGE, full=True, lower_bound=-0.5),
            variant((7,), (7,), (7,), lower_bound=0.25, reduction="sum"),
            variant((1, 1), (1, 1), (1, 1), full=True),
        ),
        keeps=_keeps_two,
        adjust=_moderate_logarithm,
        away=_off_bounds,
        signs=(1, -1, -1),
    ),
    Row(
        CrossEntropyLoss,
        _cross_entropy,
        (
            variant((4, 5), (4, 5)),
            variant(_IMAGE, _IMAGE, label_smoothing=0.125),
            variant((3, 1, 2), (3, 1, 2)),
            variant((3, 4, 2), (3, 4, 2), reduction="sum", label_smoothing=1.0),
        ),
        keeps=keeps_input,
        wrt=(0,),
        adjust=_weights_as_target,
        elementwise=True,  # equal logits and weights: a difference of terms, 0 but for rounding
    ),
    Row(
        LogMixtureLoss,
        _log_mixture,
        (
            variant(_IMAGE, _IMAGE, _IMAGE, (2, 4, 5)),
            variant((3, 10), (3, 10), (3, 10), (10,), dim=0),
            variant((2, 4, 1), (2, 4, 1), (2, 4, 1), (2, 4), dim=-1, reduction="sum"),
            variant((1, 3, 1), (1, 3, 1), (1, 3, 1), (3, 1), dim=0),
        ),
        keeps=_keeps_three,
        adjust=_near_the_components,
        elementwise=True,  # equal components: the same
        signs=(1, -1, -1, 1),
    ),
    Row(
        DensityNLLLoss,
        _density,
        (variant(_IMAGE), variant((7,), reduction="sum"), variant((1, 1))),
        keeps=keeps_input,
        adjust=_densities,
        away=_off_zero,
    ),
    Row(
        PN2VLoss,
        _pn2v,
        (
            variant((5, 2, 4, 3), (2, 4, 3)),
            variant((1, 7), (7,)),
            variant((8, 2, 1), (2, 1)),
        ),
        keeps=_keeps_mask,
        wrt=(0,),
        adjust=_densities_and_mask,
        away=_off_zero,
    ),
    Row(
        GaussianMixtureNoiseModel,
        _gaussian_mixture,
        (
            variant((2, 1, 4, 5), (2, 1, 4, 5), **_RANGE),
            variant((5, 2, 4, 3), (2, 4, 3), n_coeff=4, **_RANGE),
            variant((4,), (3, 4), n_gaussian=1, **_RANGE),
            variant((3, 1), (1, 4), n_gaussian=2, n_coeff=3, tol=0.0625, **_RANGE),
        ),
        keeps=_keeps_inputs,
        adjust=_grey_values,
        least=_rounding_in_the_exponents,
        prepare=_polynomials,
    ),
    Row(
        HistogramNoiseModel,
        _histogram,
        (
            variant((2, 1, 4, 5), (2, 1, 4, 5), bins=8, min_value=-2.0, max_value=2.0),
            variant((5, 2, 4, 3), (2, 4, 3), bins=16, min_value=-1.0, max_value=1.0),
            variant((9,), (9,), bins=2, min_value=-1.0, max_value=1.0),
            variant((3, 1), (4,), bins=4, min_value=0.0, max_value=1.0),
        ),
        keeps=_keeps_slope,
        wrt=(0,),
        adjust=_on_a_grid,
        away=_off_the_edges,
        prepare=_probabilities,
    ),
]
