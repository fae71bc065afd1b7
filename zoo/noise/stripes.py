"""Noise with structure: one offset for a whole row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LawError, LevelLaw


@dataclass(frozen=True)
class Stripes(LevelLaw):
    """noisy = clean + sigma/255 * r + white/255 * n, r ~ N(0, 1) one number a row (of each image
    and channel), n ~ N(0, 1) for every value.

    low, high: sigma in grey levels of 255, U(low, high) per image. white: in grey levels.
    """

    kind: ClassVar[str] = "stripes"
    white: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.white < np.inf:
            raise LawError(f"{self.kind}: white must be a finite level from 0, got {self.white}")

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        sigma = self.levels(len(latent), noise, latent.dtype) / 255
        noisy = latent + sigma * noise.normal((*latent.shape[:3], 1), latent.dtype)
        if self.white:
            white = noise.normal(latent.shape, latent.dtype)
            white *= self.white / 255
            noisy += white
        return self._clipped(noisy)
