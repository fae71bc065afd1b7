"""What the generic tests run on: the rows of `validation.rows`, and composites."""

from __future__ import annotations

from typing import Any

from minigrad import Checkpoint, Detach, Frozen, LeakyReLU, Module, Sequential
from tests.leaves import Dropout, RunningMean
from validation import composites
from validation.cases import Sample
from validation.composites import Built, conv
from validation.rows import ROWS
from zoo.architectures import N2NPReLUUNet, N2NSimple, N2NUNet


def _twice(dtype: Any) -> Module:
    shared = conv(dtype)
    return Sequential(shared, LeakyReLU(0.1), shared)


def _stateful(dtype: Any) -> Module:
    return Sequential(conv(dtype), RunningMean(dtype))


COMPOSITES: dict[str, Built] = composites.COMPOSITES | {
    built.name: built
    for built in (
        Built("one layer used twice", _twice, kinks=True),
        Built("Dropout", lambda d: Dropout()),
        Built("RunningMean", RunningMean),
        Built("Checkpoint", lambda d: Checkpoint(_twice(d)), kinks=True),
        Built("Checkpoint with a mean", lambda d: Checkpoint(_stateful(d))),
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
