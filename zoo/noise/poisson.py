"""Poisson noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LevelLaw


@dataclass(frozen=True)
class Poisson(LevelLaw):
    """noisy = Poisson(lambda * clean) / lambda; mean clean, variance clean / lambda.

    low, high: lambda, the count at full brightness; one lambda ~ U(low, high) per image. Negative
    values of the latent count as 0.

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.2 (training 0.001-50, test 30;
    there pictures live in [-0.5, 0.5] and are shifted by 0.5 first).
    """

    kind: ClassVar[str] = "poisson"
    least: ClassVar[float] = 1e-6
    most: ClassVar[float] = 1e12

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        level = self.levels(len(latent), noise, np.dtype(np.float64))
        counts = noise.generator().poisson(level * np.maximum(latent, 0))
        return self._clipped((counts / level).astype(latent.dtype))
