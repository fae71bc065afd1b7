"""White, brown and box-correlated Gaussian noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LawError, LevelLaw
from zoo.noise.official import official_normal


@dataclass(frozen=True)
class Gaussian(LevelLaw):
    """noisy = clean + sigma/255 * n, n ~ N(0, 1) for every value by itself.

    low, high: sigma in grey levels of 255; one sigma ~ U(low, high) per image. official: the
    validation noise of a study, the same for every picture (`zoo.noise.official`).

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.1 (training 0-50, test 25).
    """

    kind: ClassVar[str] = "gaussian"
    official: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.official and self.low != self._high:
            raise LawError(f"{self.kind}: official needs one sigma, no range")

    @property
    def repeats(self) -> bool:
        return self.official

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        if self.official:
            return self._clipped(latent + official_normal(latent, self.low / 255))
        sigma = self.levels(len(latent), noise, latent.dtype) / 255
        noisy = noise.normal(latent.shape, latent.dtype)
        noisy *= sigma
        noisy += latent
        return self._clipped(noisy)


@dataclass(frozen=True)
class Brown(LevelLaw):
    """noisy = clean + sigma/255 * (g * n): white noise n blurred by a spatial Gaussian g.

    g is scaled to sum(g^2) = 1, so every value has the standard deviation sigma/255; it is cut at
    four standard deviations. The white noise is drawn with a margin, so the border is like the
    inside. The correlation of two values at distance r pixels is exp(-r^2 / (4 blur^2)).

    low, high: sigma in grey levels of 255, U(low, high) per image. blur: standard deviation of g
    in pixels. (The paper tries several widths and does not print them; 2 is our choice.)

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.1.
    """

    kind: ClassVar[str] = "brown"
    blur: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.blur <= 50:
            raise LawError(f"brown: blur must lie in 0.1 to 50 pixels, got {self.blur}")

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        n, c, h, w = latent.shape
        taps = self._taps(latent.dtype)
        margin = len(taps) - 1
        sigma = self.levels(n, noise, latent.dtype) / 255
        white = noise.normal((n, c, h + margin, w + margin), latent.dtype)
        columns = sum(tap * white[:, :, i : i + h] for i, tap in enumerate(taps))  # (n, c, h, w+m)
        brown = sum(tap * columns[..., i : i + w] for i, tap in enumerate(taps))  # (n, c, h, w)
        return self._clipped(latent + sigma * brown)

    def _taps(self, dtype: np.dtype) -> np.ndarray:
        radius = int(np.ceil(4 * self.blur))
        taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * self.blur**2))
        return (taps / np.sqrt(np.sum(taps**2))).astype(dtype)


@dataclass(frozen=True)
class Correlated(LevelLaw):
    """noisy = clean + sigma/255 * (white noise summed over k x k boxes, divided by k).

    The division by k, not k^2, keeps the standard deviation of every value at sigma/255. Two
    values a rows and b columns apart have the correlation max(0, 1 - |a|/k) max(0, 1 - |b|/k);
    channels are independent. Each box lies within white noise that is k - 1 values higher and
    wider than the picture, so the border is like the inside.

    low, high: sigma in grey levels of 255, U(low, high) per image. kernel: k, 1 is white noise.

    Source: Vaksman, Elad, "Patch-Craft Self-Supervised Training for Correlated Image Denoising",
    CVPR 2023 (sigma 5, 10, 15, 20; k 2, 3, 4).
    """

    kind: ClassVar[str] = "correlated"
    kernel: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.kernel, int) and 1 <= self.kernel <= 50):
            raise LawError(f"correlated: kernel must be a whole number, 1 to 50, got {self.kernel}")

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        n, c, h, w = latent.shape
        margin = self.kernel - 1
        sigma = self.levels(n, noise, latent.dtype) / 255
        white = noise.normal((n, c, h + margin, w + margin), latent.dtype)
        return self._clipped(latent + box_correlated(sigma * white, self.kernel))


def box_correlated(white: np.ndarray, kernel: int) -> np.ndarray:
    """(..., H + k - 1, W + k - 1) -> (..., H, W): sums over k x k boxes, divided by k."""
    h, w = (side - kernel + 1 for side in white.shape[-2:])
    columns = functools.reduce(np.add, (white[..., i : i + h, :] for i in range(kernel)))
    boxes = functools.reduce(np.add, (columns[..., i : i + w] for i in range(kernel)))
    return np.divide(boxes, kernel)  # (..., H, W)
