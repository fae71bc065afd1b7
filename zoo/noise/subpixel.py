"""Random sub-pixel sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import Latent, Law, LawError, Observation


@dataclass(frozen=True)
class SubPixel(Law):
    """Each pixel is one pixel drawn at random from its k x k block of a larger picture.

    noisy[y, x] = latent[k*y + i, k*x + j], (i, j) uniform over the block, all channels together;
    clean = rint(mean of the block) in steps of 1/255. Given the block the draws have the block's
    mean, so two draws are a training pair; the noise is zero in flat areas and strong at edges.

    k: side of a block. Latent (N, C, k*h, k*w) -> (N, C, h, w).
    """

    kind: ClassVar[str] = "subpixel"
    k: int = 8

    def __post_init__(self) -> None:
        if not (isinstance(self.k, int) and 2 <= self.k <= 64):
            raise LawError(f"subpixel: k must be a whole number from 2 to 64, got {self.k}")

    @property
    def scale(self) -> int:
        """Side of the latent over side of the result."""
        return self.k

    @property
    def name(self) -> str:
        return f"subpixel:{self.k}"

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        rows, columns = self._places(latent.shape, noise)
        image = np.arange(len(latent))[:, None, None]
        return np.ascontiguousarray(latent[image, :, rows, columns].transpose(0, 3, 1, 2))

    def clean(self, latent: np.ndarray) -> np.ndarray:
        n, c, h, w = latent.shape
        self._places_fit(latent.shape)
        levels = np.rint(latent.astype(np.float64) * 255)
        blocks = levels.reshape(n, c, h // self.k, self.k, w // self.k, self.k)
        return (np.rint(blocks.mean(axis=(3, 5))) / 255).astype(latent.dtype)

    def observe(self, latent: Latent, noise: Noise) -> Observation:
        rows, columns = self._places(latent.shape, noise)
        return Observation(latent.pixels(rows, columns), None)

    def clean_of(self, latent: Latent) -> np.ndarray:
        self._places_fit(latent.shape)
        return np.rint(latent.block_means(self.k)).astype(np.float32) / np.float32(255)

    def _places(self, shape: tuple[int, ...], noise: Noise) -> tuple[np.ndarray, np.ndarray]:
        """Row and column in the latent of every drawn pixel, each (N, h, w)."""
        n, h, w = self._places_fit(shape)
        drawn = noise.integers(self.k * self.k, (n, h, w))
        i = drawn // self.k
        rows = i + self.k * np.arange(h)[:, None]
        columns = drawn - self.k * i + self.k * np.arange(w)
        return rows, columns

    def _places_fit(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        n, _, h, w = shape
        if h % self.k or w % self.k:
            raise ValueError(f"subpixel: height and width must be multiples of {self.k}: {h}x{w}")
        return n, h // self.k, w // self.k
