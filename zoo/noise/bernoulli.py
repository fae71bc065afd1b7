"""Missing pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LevelLaw, Observation


@dataclass(frozen=True)
class Bernoulli(LevelLaw):
    """noisy = m * clean, m = 0 with probability p and 1 otherwise, one m for all channels.

    The mean is (1 - p) * clean, so a loss must look at the surviving pixels only: see the mask of
    `sample_with_mask`, (N, 1, H, W) of zeros and ones in the latent's dtype.

    low, high: p, the share of missing pixels; one p ~ U(low, high) per image.

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.2 (training 0-0.95, test 0.5).
    """

    kind: ClassVar[str] = "bernoulli"
    most: ClassVar[float] = 1.0

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        return self.sample_with_mask(latent, noise).noisy

    def sample_with_mask(self, latent: np.ndarray, noise: Noise) -> Observation:
        n, _, h, w = latent.shape
        p = self.levels(n, noise, latent.dtype)
        mask = (noise.uniform((n, 1, h, w), latent.dtype) >= p).astype(latent.dtype)
        return Observation(self._clipped(latent * mask), mask)
