"""Heteroscedastic Gaussian noise: brighter pixels are noisier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LawError, LevelLaw, level_text
from zoo.noise.official import official_normal


@dataclass(frozen=True)
class Heteroscedastic(LevelLaw):
    """noisy = clean + alpha/255 * clean * n1 + delta/255 * n2, n1, n2 ~ N(0, 1) for every value.

    The variance is (alpha clean)^2 + delta^2, in squares of grey levels.

    low, high: alpha in grey levels of 255, U(low, high) per image. delta, delta_high: the same for
    delta. official: the validation noise of the authors' programs (`zoo.noise.official`), in which
    n1 and n2 are one draw, so that the standard deviation is the sum alpha clean + delta.

    Source: Wu et al., Unpaired learning of deep image denoising (2020), alpha 40, delta 10. The
    authors' code calls it poisson_gaussian.
    """

    kind: ClassVar[str] = "heteroscedastic"
    delta: float = 10.0
    delta_high: float | None = None
    official: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        high = self.delta if self.delta_high is None else self.delta_high
        if not 0 <= self.delta <= high < np.inf:
            text = level_text(self.delta, self.delta_high)
            raise LawError(f"{self.kind}: delta must satisfy 0 <= low <= high, got {text}")
        if self.official and (self.low != self._high or self.delta != high):
            raise LawError(f"{self.kind}: official needs one alpha and one delta, no range")

    @property
    def name(self) -> str:
        delta = level_text(self.delta, self.delta_high)
        words = [word for word in ("official", "clip") if getattr(self, word)]
        parts = [self.kind, level_text(self.low, self.high), f"delta={delta}", *words]
        return ":".join(part for part in parts if part != "delta=10")

    @property
    def repeats(self) -> bool:
        return self.official

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        if self.official:
            deviation = (latent * self.low + self.delta) / 255
            return self._clipped(latent + official_normal(latent) * deviation)
        alpha = self.levels(len(latent), noise, latent.dtype) / 255
        level = LevelLaw(self.delta, self.delta_high).levels(len(latent), noise, latent.dtype) / 255
        noisy = latent * noise.normal(latent.shape, latent.dtype)
        noisy *= alpha
        noisy += level * noise.normal(latent.shape, latent.dtype)
        noisy += latent
        return self._clipped(noisy)
