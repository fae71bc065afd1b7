"""Rows of the normalisations."""

from __future__ import annotations

import numpy as np

from minigrad import BatchNorm2d, BFBatchNorm2d, BFStdNorm2d, Module, Normalize
from validation.cases import Arrays, Row, Shape, Variant, evaluated, variant
from validation.draw import Draw


def _image(draw: Draw) -> Shape:
    """Three rows or more: of two different numbers alone, dx is a difference of equals."""
    return draw.integer(1, 4), draw.integer(1, 4), draw.integer(3, 5), draw.integer(1, 4)


def _mode(draw: Draw, settings: Variant) -> Variant:
    return evaluated(settings) if draw.integer(0, 2) == 0 else settings


def _batch_norm(draw: Draw) -> Variant:
    shape = _image(draw)
    track = draw.integer(0, 3) > 0
    settings = variant(
        shape,
        num_features=shape[1],
        eps=draw.pick([1e-5, 1e-3, 0.5]),
        momentum=draw.pick([0.1, 0.95, None, 0.0, 1.0]),
        affine=draw.integer(0, 3) > 0,
        track_running_stats=track,
        frozen=track and draw.integer(0, 3) == 0,
    )
    return _mode(draw, settings)


def _bias_free(draw: Draw) -> Variant:
    shape = _image(draw)
    eps, momentum = draw.pick([1e-5, 1e-3, 0.5]), draw.pick([0.1, 0.95, 0.0, 1.0])
    return _mode(draw, variant(shape, num_features=shape[1], eps=eps, momentum=momentum))


def _normalize(draw: Draw) -> Variant:
    """Vectors of two entries or more, not along the batch: of one entry, or of equal ones with
    equal cotangents, dx is a difference of equals.
    """
    shape = [draw.integer(1, 5) for _ in range(draw.integer(2, 4))]
    axis = draw.integer(1, len(shape) - 1)
    shape[axis] = draw.integer(2, 5)
    eps, floor = draw.pick([1e-12, 0.25, 16.0]), draw.pick(["norm", "square"])
    return variant(tuple(shape), dim=draw.pick([axis, axis - len(shape)]), eps=eps, floor=floor)


def _buffers(module: Module, rng: np.random.Generator) -> None:
    """Means around 0, variances and deviations from 1/2 to 2, some batches counted."""
    for name in module.buffer_names:
        buffer = getattr(module, name)
        if name == "num_batches_tracked" and buffer is not None:
            buffer[...] = rng.integers(0, 9)
        elif buffer is not None:
            positive = name in ("running_var", "running_sd")
            size = buffer.shape
            drawn = rng.uniform(0.5, 2, size) if positive else rng.standard_normal(size)
            buffer[...] = drawn.astype(np.float32)


def _off_the_floor(xs: Arrays, rng: np.random.Generator) -> Arrays:
    """Entries from 0.6 to 1 in size: no length is 1e-12, 1e-6, 1/4, 1/2, 4 or 16."""
    return tuple(np.where(x < 0, -1, 1) * np.clip(np.abs(x), 0.6, 1) for x in xs)


def _keeps_batch_norm(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, BatchNorm2d)
    whole, channels = xs[0].nbytes, module.num_features * xs[0].itemsize
    if module.running_mean is None or (module.training and not module.frozen):
        return whole + channels
    return channels if module.weight is None else whole + 2 * channels


def _keeps_bias_free(module: Module, xs: Arrays, ys: Arrays) -> int:
    statistics = 2 if module.training else 1
    return xs[0].nbytes + statistics * xs[0].shape[1] * xs[0].itemsize


def _keeps_output_and_lengths(module: Module, xs: Arrays, ys: Arrays) -> int:
    assert isinstance(module, Normalize)
    return ys[0].nbytes + xs[0].size // xs[0].shape[module.dim] * xs[0].itemsize


_IMAGE, _COLUMN, _PAIR = (2, 3, 4, 5), (4, 3, 1, 1), (2, 3, 1, 1)
_BATCH_NORMS = (
    variant(_IMAGE, num_features=3),
    variant(_IMAGE, num_features=3, affine=False),
    variant(_IMAGE, num_features=3, momentum=None),
    variant(_IMAGE, num_features=3, frozen=True, eps=1e-3),
    variant(_IMAGE, num_features=3, track_running_stats=False),
    variant((1, 3, 4, 4), num_features=3),
    variant((1, 1, 1, 4), num_features=1),
    variant(_COLUMN, num_features=3, eps=1e-3),
    variant(_PAIR, num_features=3, eps=0.5),
)
_SINGLE = (1, 3, 1, 1)

ROWS = [
    Row(
        BatchNorm2d,
        _batch_norm,
        (
            *_BATCH_NORMS,
            *(evaluated(settings) for settings in _BATCH_NORMS[:5]),
            evaluated(variant(_IMAGE, num_features=3, track_running_stats=False, affine=False)),
            evaluated(variant(_IMAGE, num_features=3, affine=False, momentum=None)),
            variant(_SINGLE, num_features=3, frozen=True),
            variant(_SINGLE, num_features=3, frozen=True, affine=False),
        ),
        keeps=_keeps_batch_norm,
        prepare=_buffers,
    ),
    Row(
        BFBatchNorm2d,
        _bias_free,
        (
            variant(_IMAGE, num_features=3),
            evaluated(variant(_IMAGE, num_features=3)),
            variant((1, 1, 1, 4), num_features=1, eps=1e-3),
            variant(_COLUMN, num_features=3, momentum=0.95),
            variant(_PAIR, num_features=3),
            evaluated(variant(_PAIR, num_features=3)),
        ),
        keeps=_keeps_bias_free,
        prepare=_buffers,
    ),
    Row(
        BFStdNorm2d,
        _bias_free,
        (
            variant(_IMAGE, num_features=3),
            evaluated(variant(_IMAGE, num_features=3)),
            variant((1, 1, 1, 4), num_features=1, eps=1e-3),
            variant(_COLUMN, num_features=3, momentum=0.95),
            variant(_PAIR, num_features=3),
            variant(_SINGLE, num_features=3),
            evaluated(variant(_SINGLE, num_features=3)),
        ),
        keeps=_keeps_bias_free,
        prepare=_buffers,
    ),
    Row(
        Normalize,
        _normalize,
        (
            variant((4, 6)),
            variant((2, 3, 4, 5)),
            variant((2, 3, 4, 5), dim=-1, eps=0.25, floor="square"),
            variant((5, 4), eps=1e-12, floor="square"),
            variant((7,), dim=0, eps=16.0),
            variant((5, 1), eps=16.0),
            variant((1, 4), dim=0, eps=256.0, floor="square"),
        ),
        keeps=_keeps_output_and_lengths,
        away=_off_the_floor,
    ),
]
