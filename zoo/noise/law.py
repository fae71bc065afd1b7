"""What every noise law offers, and the helpers that several of them share.

A law turns a *latent* picture into a noisy one and, for training and for judging, into the clean
picture that the noisy ones have as their mean. Most laws add something to the picture, so latent
and clean are the same; sub-pixel sampling reads a larger latent (`scale` times as high and wide).

All arrays are NumPy, NCHW, floating point, values in [0, 1] (noisy ones may leave that range).
All random numbers come from a `minigrad.noise.Noise`, so a result is a function of (seed, step).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from minigrad.noise import Noise


class LawError(ValueError):
    """A noise law is unknown or its level is out of range; the message says what is expected."""


class Observation(NamedTuple):
    """One noisy draw (N, C, h, w) and, where pixels are missing, its mask (N, 1, h, w) of 0, 1."""

    noisy: np.ndarray
    mask: np.ndarray | None


class Latent(Protocol):
    """Crops that have not been copied out of their photographs yet.

    shape: (N, C, H, W) of the whole crops.
    array(): the crops, float32 in [0, 1]. pixels(rows, columns): only the pixels at those places,
    (N, C, h, w) from index arrays (N, h, w). block_means(k): means of k x k blocks, in units of
    the picture's own steps, (N, C, H/k, W/k), float64 in [0, 255].
    """

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    def array(self) -> np.ndarray: ...

    def pixels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray: ...

    def block_means(self, k: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Law:
    """Base of the noise laws: `sample` is what a law must write.

    clip: limit the noisy values to [0, 1]. Off by default: clipping breaks the zero mean that
    learning from noisy targets rests on.
    """

    kind: ClassVar[str] = ""
    clip: bool = field(default=False, kw_only=True)

    @property
    def scale(self) -> int:
        """Side of the latent over side of the noisy picture."""
        return 1

    @property
    def repeats(self) -> bool:
        """Whether every draw is the same: good for judging, useless for training."""
        return False

    @property
    def name(self) -> str:
        """The text that `zoo.noise.parse` turns back into this law."""
        raise NotImplementedError

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        """(N, C, scale*h, scale*w) -> (N, C, h, w): one noisy draw, in the latent's dtype."""
        raise NotImplementedError

    def clean(self, latent: np.ndarray) -> np.ndarray:
        """(N, C, scale*h, scale*w) -> (N, C, h, w): what is to be recovered."""
        return latent

    def sample_with_mask(self, latent: np.ndarray, noise: Noise) -> Observation:
        """As `sample`, with the mask of the pixels that survived (None: all did)."""
        return Observation(self.sample(latent, noise), None)

    def __call__(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        return self.sample(latent, noise)

    def pair(self, latent: np.ndarray, noise: Noise) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two independent draws and the clean picture; takes (N, C, H, W) or (C, H, W)."""
        if latent.ndim == 3:
            first, second, clean = self.pair(latent[None], noise)
            return first[0], second[0], clean[0]
        return self.sample(latent, noise), self.sample(latent, noise), self.clean(latent)

    # A sampler calls these two; a law that needs few of the latent pixels reads only those.

    def observe(self, latent: Latent, noise: Noise) -> Observation:
        """As `sample_with_mask`, on crops that are still in their photographs."""
        return self.sample_with_mask(latent.array(), noise)

    def clean_of(self, latent: Latent) -> np.ndarray:
        """As `clean`, on crops that are still in their photographs."""
        return self.clean(latent.array())

    def _clipped(self, noisy: np.ndarray) -> np.ndarray:
        return np.clip(noisy, 0.0, 1.0) if self.clip else noisy


@dataclass(frozen=True)
class LevelLaw(Law):
    """A law with one level, fixed (`high` None or equal to `low`) or U(low, high) per image."""

    low: float = 0.0
    high: float | None = None

    least: ClassVar[float] = 0.0
    most: ClassVar[float] = np.inf

    def __post_init__(self) -> None:
        if not self.least <= self.low <= self._high <= self.most:
            raise LawError(
                f"{self.kind}: level must satisfy {self.least:g} <= low <= high <= {self.most:g}, "
                f"got {level_text(self.low, self.high)}"
            )
        if not np.isfinite(self._high):
            raise LawError(
                f"{self.kind}: level must be finite, got {level_text(self.low, self.high)}"
            )

    @property
    def name(self) -> str:
        return ":".join([self.kind, level_text(self.low, self.high), *_options(self)])

    @property
    def _high(self) -> float:
        return self.low if self.high is None else self.high

    def levels(self, count: int, noise: Noise, dtype: np.dtype) -> np.ndarray:
        """One level per image, (count, 1, 1, 1); a draw is taken only where the level varies."""
        if self.low == self._high:
            return np.full((count, 1, 1, 1), self.low, dtype)
        u = noise.uniform((count, 1, 1, 1), dtype)
        # A level drawn below the least allowed one by rounding would be a division by zero.
        return np.maximum(self.low + (self._high - self.low) * u, self.low).astype(dtype)


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def level_text(low: float, high: float | None) -> str:
    """A level as it is written: `25`, or `0-50`."""
    return _number(low) if high is None or high == low else f"{_number(low)}-{_number(high)}"


def _options(law: LevelLaw) -> list[str]:
    """Fields beyond the level that differ from their default, as `key=value`; those that are on or
    off as a word.
    """
    known = {item.name: item.default for item in fields(LevelLaw)}
    own = [item for item in fields(law) if item.name not in known]
    changed = [(item.name, getattr(law, item.name), item.default) for item in own]
    texts = [
        name if value is True else f"{name}={_number(value)}"
        for name, value, default in changed
        if value != default
    ]
    return texts + (["clip"] if law.clip else [])
