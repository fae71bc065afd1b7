"""Noise that is the same in both precisions, so that a float32 run can be held against float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import Module, Noise
from minigrad.noise import Shape


class SameNoise(Noise):
    """A `Noise` whose float64 numbers are its float32 numbers.

    The two precisions of `Noise` are made of different bits of the same words and have nothing in
    common.
    """

    def uniform(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """Uniform float32 numbers, as `dtype`."""
        return super().uniform(shape, np.float32, xp).astype(dtype)

    def normal(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """Standard normal float32 numbers, as `dtype`."""
        return super().normal(shape, np.float32, xp).astype(dtype)


def give_same_noise(module: Module, seed: int) -> None:
    """Let all parts of the tree that draw draw from one `SameNoise`."""
    noise = SameNoise(seed)
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Noise):
                setattr(part, name, noise)
