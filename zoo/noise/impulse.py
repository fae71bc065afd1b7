"""Random-valued impulse noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LevelLaw


@dataclass(frozen=True)
class Impulse(LevelLaw):
    """A pixel becomes, with probability p, a colour drawn uniformly from [0, 1]^C; else it stays.

    The whole pixel is replaced, never one channel of it. The mean is off, the mode is right: an
    annealed L0 loss finds it.

    low, high: p, the share of replaced pixels; one p ~ U(low, high) per image.

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.2 (training 0-0.95, test 0.7).
    """

    kind: ClassVar[str] = "impulse"
    most: ClassVar[float] = 1.0

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        n, _, h, w = latent.shape
        p = self.levels(n, noise, latent.dtype)
        hit = noise.uniform((n, 1, h, w), latent.dtype) < p
        colour = noise.uniform(latent.shape, latent.dtype)
        return self._clipped(np.where(hit, colour, latent))
