"""Composites that the contract and the planted faults are tried on, beside the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import (
    BatchNorm2d,
    Checkpoint,
    Composite,
    Conv2d,
    Dropout,
    LeakyReLU,
    Module,
    Noise,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
)
from validation.cases import Arrays


@dataclass(frozen=True)
class Built:
    """A composite, a container or a leaf without a row, with the shapes of its inputs.

    Attributes:
        name: for messages.
        make: the module in a dtype; its parameters are drawn anew.
        shapes: of the inputs.
        kinks: whether an input may lie on a kink.
        wrt: the inputs that get a cotangent; None = all.
    """

    name: str
    make: Callable[[Any], Module]
    shapes: tuple[tuple[int, ...], ...] = ((2, 2, 6, 5),)
    kinks: bool = False
    wrt: tuple[int, ...] | None = None

    def module(self, dtype: Any) -> Module:
        """The module, with the same parameters at each call."""
        module = self.make(dtype)
        rng = np.random.default_rng(11)
        for parameter in module.parameters():
            value = parameter.value
            size = 2.0 / max(1.0, value[0].size) ** 0.5  # keeps signals of deep networks alive
            value[...] = (size * rng.standard_normal(value.shape)).astype(np.float32)
        return module

    def inputs(self, dtype: Any) -> Arrays:
        """Its inputs, equal at each call."""
        rng = np.random.default_rng(12)
        return tuple(rng.standard_normal(s).astype(np.float32).astype(dtype) for s in self.shapes)


class TwoOutputs(Composite):
    """Returns one wire twice, and another."""

    def __init__(self, dtype: Any) -> None:
        """In that dtype."""
        self.conv = Conv2d(2, 2, 3, padding=1, dtype=dtype)
        self.relu = ReLU()

    def wire(self, x: Any) -> Any:
        """Three outputs of two wires."""
        y = self.conv(x)
        return y, self.relu(x), y


def conv(dtype: Any) -> Conv2d:
    """Two channels to two, the size kept."""
    return Conv2d(2, 2, 3, padding=1, dtype=dtype, rng=np.random.default_rng(13))


def noisy(dtype: Any) -> Module:
    """Two leaves with a noise each."""
    first, second = Dropout(noise=Noise(7)), Dropout(0.25, Noise(8))
    return Sequential(conv(dtype), first, conv(dtype), second)


COMPOSITES: dict[str, Built] = {
    built.name: built
    for built in (
        Built("Sequential", lambda d: Sequential(conv(d), LeakyReLU(0.1), conv(d)), kinks=True),
        Built("Residual", lambda d: Residual(Sequential(conv(d), Sigmoid()))),
        Built("two outputs", TwoOutputs, kinks=True),
        Built("noise", noisy),
        Built("Checkpoint with noise", lambda d: Checkpoint(noisy(d))),
        Built(
            "Checkpoint with a buffer",
            lambda d: Checkpoint(Sequential(BatchNorm2d(2, dtype=d), conv(d))),
        ),
    )
}
"""Name -> composite."""
