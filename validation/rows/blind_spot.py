"""Rows of the blind-spot losses."""

from __future__ import annotations

import numpy as np

from minigrad import DBSNLoss, MAPLoss, Module, MultivariateDBSNLoss, MultivariateMAPLoss
from validation.cases import Arrays, Row, Variant, variant
from validation.draw import Draw
from validation.rows.covariance import MINIMA, definite, pixels

_BOOLS = (False, True)
_REDUCTIONS = ("mean", "sum")


def _same(draw: Draw, inputs: int) -> Variant:
    shape = tuple(draw.integer(1, 5) for _ in range(draw.integer(1, 4)))
    settings = variant(*[shape] * inputs, pretrain=draw.pick(_BOOLS), guard=draw.pick(_BOOLS))
    settings.arguments["reduction"] = draw.pick(_REDUCTIONS)
    return settings


def _map(draw: Draw) -> Variant:
    reward = draw.pick([0.0, 0.1, 2.0])
    settings = _same(draw, 4 if reward else 3)
    settings.arguments["noise_reward"] = reward
    return settings


def _dbsn(draw: Draw) -> Variant:
    settings = _same(draw, 5)
    settings.arguments["minimum"] = draw.pick([1e-6, 0.0625])
    return settings


def _multivariate(draw: Draw, matrices: int) -> Variant:
    n, h, w = draw.integer(1, 3), draw.integer(1, 5), draw.integer(1, 5)
    return pixels(
        *(n, h, w, matrices),
        pretrain=draw.pick(_BOOLS),
        minimum=draw.pick([None, *MINIMA]),
        guard=draw.pick(_BOOLS),
        reduction=draw.pick(_REDUCTIONS),
    )


def _multivariate_dbsn(draw: Draw) -> Variant:
    settings = _multivariate(draw, 3)
    settings.arguments["eps"] = draw.pick([1e-6, 0.01])
    return settings


def _wrt(settings: Variant) -> tuple[int, ...]:
    """All variances, and mu unless it is a constant; never the target."""
    first = () if settings.arguments.get("pretrain") else (0,)
    return (*first, *range(2, len(settings.shapes)))


def _variances(xs: Arrays) -> Arrays:
    """Variances from 1e-3 on; D^2 is not close to sigma_y, since the slope is their difference."""
    sigma_y, *others = (np.abs(x) + np.float32(1e-3) for x in xs[2:])
    return (*xs[:2], _apart(sigma_y, (xs[0] - xs[1]) ** 2), *others)


def _three_variances(xs: Arrays) -> Arrays:
    """The same, sigma_mu not close to sigma_n; of noise, some are below the least that counts."""
    mu, target, sigma_y, sigma_mu, sigma_n = _variances(xs)
    sigma_n = np.where(xs[-1] < -1, np.float32(2.5e-7), sigma_n)
    return mu, target, sigma_y, _apart(sigma_mu, sigma_n), sigma_n


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a`, or its double where it is close to `b`: rounding would eat their difference."""
    return np.where(np.abs(b - a) < 0.2 * a, 2 * a, a)


def _large_variances(xs: Arrays, rng: np.random.Generator) -> Arrays:
    return (*xs[:2], *(np.abs(x) + 0.25 for x in xs[2:]))


def _covariances(xs: Arrays) -> Arrays:
    return (*xs[:2], *(definite(x) for x in xs[2:]))


def _large_covariances(xs: Arrays, rng: np.random.Generator) -> Arrays:
    return (*xs[:2], *(definite(rng.standard_normal(x.shape), (0.4, 0.4)) for x in xs[2:]))


def _keeps_map(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, MAPLoss)
    return (len(xs) - 1 - module.pretrain) * xs[0].nbytes


def _keeps_dbsn(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 3 * xs[0].nbytes


def _keeps_multivariate_map(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, MultivariateMAPLoss)
    return xs[2].nbytes + (0 if module.pretrain else xs[0].nbytes)


def _keeps_multivariate_dbsn(module: Module, xs: Arrays, ys: Arrays) -> int:
    return 2 * xs[0].nbytes + 2 * xs[2].nbytes


_IMAGE = (2, 1, 4, 5)

ROWS: list[Row] = [
    Row(
        MAPLoss,
        _map,
        (
            variant(*[_IMAGE] * 3),
            variant(*[_IMAGE] * 3, pretrain=True),
            variant(*[_IMAGE] * 4, noise_reward=0.1),
            variant(*[_IMAGE] * 4, pretrain=True, noise_reward=0.1, guard=False),
            variant(*[(7,)] * 3, guard=False, reduction="sum"),
            variant(*[(1, 1, 1, 1)] * 3),
        ),
        keeps=_keeps_map,
        wrt=_wrt,
        adjust=_variances,
        away=_large_variances,
        signs=(-1, 1, 1, 1),
    ),
    Row(
        DBSNLoss,
        _dbsn,
        (
            variant(*[_IMAGE] * 5),
            variant(*[_IMAGE] * 5, pretrain=True),
            variant(*[_IMAGE] * 5, minimum=0.0625, guard=False),
            variant(*[(7,)] * 5, reduction="sum"),
            variant(*[(1, 1, 1, 1)] * 5),
        ),
        keeps=_keeps_dbsn,
        wrt=_wrt,
        adjust=_three_variances,
        away=_large_variances,
        signs=(-1, 1, 1, 1, 1),
    ),
    Row(
        MultivariateMAPLoss,
        lambda draw: _multivariate(draw, 1),
        (
            pixels(2, 4, 5, 1),
            pixels(2, 4, 5, 1, pretrain=True),
            pixels(2, 4, 5, 1, minimum=1e-3),
            pixels(2, 2, 3, 1, minimum=None, guard=False, reduction="sum"),
            pixels(1, 1, 1, 1),
        ),
        keeps=_keeps_multivariate_map,
        wrt=_wrt,
        adjust=_covariances,
        away=_large_covariances,
        signs=(-1, 1, 1),
    ),
    Row(
        MultivariateDBSNLoss,
        _multivariate_dbsn,
        (
            pixels(2, 4, 5, 3),
            pixels(2, 4, 5, 3, pretrain=True),
            pixels(2, 4, 5, 3, minimum=1e-3, eps=0.01),
            pixels(2, 2, 3, 3, minimum=None, guard=False, reduction="sum"),
            pixels(1, 1, 1, 3),
        ),
        keeps=_keeps_multivariate_dbsn,
        wrt=_wrt,
        adjust=_covariances,
        away=_large_covariances,
        signs=(-1, 1, 1, 1, 1),
    ),
]
