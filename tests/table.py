"""What the generic tests run on: the rows of `validation.rows`, and composites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Checkpoint, Conv2d, Detach, Frozen, LeakyReLU, Module, Residual, Sequential
from tests.leaves import Dropout, RunningMean, TwoOutputs
from validation.cases import Arrays, Sample, Subject
from validation.draw import RandomDraw
from validation.rows import ROWS
from zoo.architectures import N2NPReLUUNet, N2NSimple, N2NUNet


@dataclass(frozen=True)
class Built:
    """A composite, a container or a leaf of the tests, with its input shapes.

    `wrt`: the inputs that get a cotangent; None = all.
    """

    name: str
    make: Callable[[Any], Module]
    shapes: tuple[tuple[int, ...], ...] = ((2, 2, 6, 5),)
    kinks: bool = False
    wrt: tuple[int, ...] | None = None

    def module(self, dtype: Any) -> Module:
        module = self.make(dtype)
        rng = np.random.default_rng(11)
        for parameter in module.parameters():
            value = parameter.value
            size = 2.0 / max(1.0, value[0].size) ** 0.5  # keeps signals of deep networks alive
            value[...] = (size * rng.standard_normal(value.shape)).astype(np.float32)
        return module

    def inputs(self, dtype: Any) -> Arrays:
        rng = np.random.default_rng(12)
        return tuple(rng.standard_normal(s).astype(np.float32).astype(dtype) for s in self.shapes)


def conv(dtype: Any) -> Conv2d:
    return Conv2d(2, 2, 3, padding=1, dtype=dtype, rng=np.random.default_rng(13))


def _twice(dtype: Any) -> Module:
    shared = conv(dtype)
    return Sequential(shared, LeakyReLU(0.1), shared)


def _noisy(dtype: Any) -> Module:
    return Sequential(conv(dtype), Dropout(), conv(dtype), Dropout(0.25, mg.Noise(8)))


def _stateful(dtype: Any) -> Module:
    return Sequential(conv(dtype), RunningMean(dtype))


COMPOSITES: dict[str, Built] = {
    built.name: built
    for built in (
        Built("Sequential", lambda d: Sequential(conv(d), LeakyReLU(0.1), conv(d)), kinks=True),
        Built("one layer used twice", _twice, kinks=True),
        Built("Residual", lambda d: Residual(Sequential(conv(d), mg.Sigmoid()))),
        Built("two outputs", TwoOutputs, kinks=True),
        Built("Dropout", lambda d: Dropout()),
        Built("noise", _noisy),
        Built("RunningMean", RunningMean),
        Built("Checkpoint", lambda d: Checkpoint(_twice(d)), kinks=True),
        Built("Checkpoint with noise", lambda d: Checkpoint(_noisy(d))),
        Built("Checkpoint with a buffer", lambda d: Checkpoint(_stateful(d))),
        Built("Frozen", lambda d: Frozen(_twice(d)), wrt=()),
        Built("Frozen inside", lambda d: Sequential(Frozen(conv(d)), conv(d)), wrt=()),
        Built("Detach", lambda d: Detach(), wrt=()),
    )
}

NETWORKS: dict[str, Built] = {
    built.name: built
    for built in (
        Built("n2n-simple", lambda d: N2NSimple(1, 4, dtype=d), ((2, 1, 8, 12),), kinks=True),
        Built(
            "n2n-simple nearest",
            lambda d: N2NSimple(1, 4, upsampling="nearest", dtype=d),
            ((2, 1, 8, 4),),
            kinks=True,
        ),
        Built("n2n-prelu-unet", lambda d: N2NPReLUUNet(1, 3, 3, dtype=d), ((2, 1, 8, 16),), True),
        Built("n2n-unet", lambda d: N2NUNet(1, dtype=d), ((1, 1, 32, 32),), kinks=True),
    )
}


def fixed_samples(*laws: str) -> list[Sample]:
    """The hand-picked samples of all rows whose values follow one of `laws`."""
    return [s for row in ROWS.values() for s in row.samples() if s.values in laws]


def subjects_named(name: str) -> list[Subject]:
    """A composite or network alone; for a row its hand-picked samples and thirty random ones."""
    found = (COMPOSITES | NETWORKS).get(name)
    if found is not None:
        return [found]
    draw = RandomDraw(0)
    return [*ROWS[name].samples(), *(ROWS[name].sample(draw) for _ in range(30))]
