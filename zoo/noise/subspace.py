"""The two noises of the patch-subspace study, bit for bit as its recipe draws them.

Both work on bytes: f = u * (1/255) in float64, noise, clip to [0, 1], u = floor(255 f). Truncation
takes half a grey level off on average, and one off 24 of the 256 values that get no noise at all.

`draw(picture, rng)` takes (H, W, C) uint8 and a NumPy generator; with `numpy.random.default_rng(
seed)` it gives the very pictures that published figures were measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minigrad.noise import Noise
from zoo.noise.law import LevelLaw


@dataclass(frozen=True)
class SubspaceLaw(LevelLaw):
    """What both share: bytes in, bytes out, a NumPy generator for each picture."""

    least: ClassVar[float] = 0.0

    def draw(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(H, W, C) uint8 -> the same, noisy; of the level `low`."""
        raise NotImplementedError

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        levels = self.levels(len(latent), noise, np.dtype(np.float64)).ravel().tolist()
        drawn = [
            type(self)(level).draw(to_bytes(picture), noise.generator())
            for level, picture in zip(levels, latent, strict=True)
        ]
        return np.stack(drawn).transpose(0, 3, 1, 2).astype(latent.dtype) / 255


@dataclass(frozen=True)
class SubspaceGlobal(SubspaceLaw):
    """noisy = floor(255 clip(clean + n)) / 255, n ~ N(0, v) for every value by itself.

    low, high: the variance v of values in [0, 1]; 0.02 as published, which is 36 grey levels.

    Source: Yang, Yang and Bajaj, "Patch subspace learning autoencoder", 2021, the authors' code.
    """

    kind: ClassVar[str] = "psl-global"

    def draw(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One draw of the normal law."""
        f = unit(picture)
        return truncated(f + rng.normal(0, math.sqrt(self.low), f.shape))


@dataclass(frozen=True)
class SubspaceHeterogeneous(SubspaceLaw):
    """Three noises in three rectangles that overlap, each on what the one before left.

    With H, W the sides, p = H // 10, q = H // 5, r = H // 3, s = H // 2 (of the height alone):
    1. salt and pepper in rows p to p + s, columns q to W - p: each value is replaced with
       probability 0.05, by 1 or 0;
    2. Poisson in rows from q on, columns to W - p: Poisson(f v) / v, v the least power of 2 from
       the number of different values in the rectangle on (256 for usual photographs);
    3. speckle in rows r to r + s, columns q to q + s: f + f n, n of mean -0.1 and deviation 0.1.

    low: strength, 1 as published; it multiplies 0.05, divides v, and multiplies mean and deviation.

    Source: Yang, Yang and Bajaj, "Patch subspace learning autoencoder", 2021, the authors' code.
    """

    kind: ClassVar[str] = "psl-heterogeneous"
    most: ClassVar[float] = 10.0

    def draw(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The three steps."""
        (h, w), level, u = picture.shape[:2], self.low, picture.copy()
        p, q, r, s = h // 10, h // 5, h // 3, h // 2

        part = u[p : p + s, q : w - p]
        f = unit(part)
        hit = rng.random(f.shape) <= 0.05 * level
        salt = rng.random(f.shape) <= 0.5
        part[...] = truncated(np.where(hit, np.where(salt, 1.0, 0.0), f))

        part = u[q:h, : w - p]
        if part.size and level:
            values = 2 ** math.ceil(math.log2(len(np.unique(part)))) / level
            part[...] = truncated(rng.poisson(unit(part) * values) / values)

        part = u[r : r + s, q : q + s]
        f = unit(part)
        part[...] = truncated(f + f * rng.normal(-0.1 * level, 0.1 * level, f.shape))
        return u


def unit(u: np.ndarray) -> np.ndarray:
    """Bytes as float64 in [0, 1]: times the reciprocal, which is not the quotient in all bits."""
    return u.astype(np.float64) * (1.0 / 255)


def truncated(f: np.ndarray) -> np.ndarray:
    """Clipped to [0, 1], times 255, cut off to bytes."""
    return (255 * np.clip(f, 0, 1)).astype(np.uint8)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W, C) uint8, to the nearest."""
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
