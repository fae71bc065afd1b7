"""Gaussian noise that is correlated between the colours of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LawError, LevelLaw
from zoo.noise.official import official


def covariance(u: np.ndarray, v: np.ndarray, level: float) -> np.ndarray:
    """Sigma = |(level/255)^2 Q' diag(u) Q|, entry by entry, with Q the left singular vectors of v.

    u: (3,), v: (3, 3), uniform numbers in [0, 1). The absolute value makes all colours go together
    (and, as far as is known, leaves the matrix positive definite).
    """
    q = np.linalg.svd(v)[0]
    sigma: np.ndarray = np.abs((level / 255) ** 2 * (q.T @ np.diag(u) @ q))
    return sigma


def fixed_covariance(level: float = 75.0) -> np.ndarray:
    """The covariance of the published validation."""
    return covariance(official().rand(3), official().rand(3, 3), level)


@dataclass(frozen=True)
class Multivariate(LevelLaw):
    """noisy = clean + L n, n ~ N(0, I) in R^3 for every pixel, L L' = Sigma; for colour pictures.

    Each image has a Sigma of its own, drawn as `covariance` says.

    low, high: the level in grey levels of 255, U(low, high) per image. fixed: all images have the
    Sigma of the published validation. official: its noise too (`zoo.noise.official`).

    Source: Wu et al., Unpaired learning of deep image denoising (2020), level 75.
    """

    kind: ClassVar[str] = "multivariate"
    fixed: bool = False
    official: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.official and self.low != self._high:
            raise LawError(f"{self.kind}: official needs one level, no range")

    @property
    def repeats(self) -> bool:
        return self.official

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        n, channels, h, w = latent.shape
        if channels != 3:
            raise LawError(f"{self.kind}: needs pictures of 3 channels, got {channels}")
        if self.official:
            sigma = fixed_covariance(self.low)
            drawn = official().multivariate_normal(np.zeros(3), sigma, (h, w))  # (H, W, 3)
            return self._clipped(latent + drawn.astype(latent.dtype).transpose(2, 0, 1))
        sigmas = self.covariances(n, noise)
        roots = np.linalg.cholesky(sigmas).astype(latent.dtype)  # (N, 3, 3)
        white = noise.normal((n, 3, h * w), latent.dtype)
        return self._clipped(latent + (roots @ white).reshape(latent.shape))

    def covariances(self, count: int, noise: Noise) -> np.ndarray:
        """Sigma of each image, (count, 3, 3) float64; a draw for what varies."""
        levels = self.levels(count, noise, np.dtype(np.float64)).ravel()
        if self.fixed:
            return np.stack([fixed_covariance(level) for level in levels])
        uniform = noise.uniform((count, 4, 3), np.float64)
        pairs = zip(uniform, levels, strict=True)
        return np.stack([covariance(u[0], u[1:], level) for u, level in pairs])
