"""Bursts made from still photographs, for those who have no video and no series of exposures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minigrad.noise import Noise
from zoo.data.crops import as_unit
from zoo.noise import Law

_HARD_ROTATION = 2.0  # degrees: hard bursts are turned by at most this, or more if asked for


class Burst(NamedTuple):
    """noisy, clean: float32 (C, T, H, W); hard: whether the other frames show another place."""

    noisy: np.ndarray
    clean: np.ndarray
    hard: bool


class SyntheticBursts:
    """`burst(number)`: shifted, turned crops of a photograph, each frame with noise of its own.

    The middle frame is an upright crop at a random place of picture `number` (modulo their
    number). Every other frame shows the same place, moved by whole pixels, -shift to shift in
    both directions, and turned about its centre by -rotation to rotation degrees (bicubic, or
    bilinear); noise comes last, so it is never interpolated.

    A *hard* burst shows what no search can match: its other frames lie half the picture away
    and are turned by up to 2 degrees, or `rotation` where that is more. hard: the share of these.

    pictures: (C, H, W), uint8 or floating point in [0, 1]. size: height and width of a frame.
    frames: odd. law: adds the noise; one with a range of levels draws a level for each frame.

    The result is a function of (pictures, settings, seed, number).

    Raises: ValueError for a wrong argument or a picture that is too small, which is named.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        law: Law,
        *,
        size: tuple[int, int],
        frames: int = 7,
        shift: int = 4,
        rotation: float = 0.0,
        hard: float = 0.0,
        smooth: bool = True,
        seed: int = 0,
    ) -> None:
        """smooth: bicubic interpolation; else bilinear."""
        for name, good, value, expected in (
            ("pictures", len(pictures) > 0, len(pictures), "at least one"),
            ("law", law.scale == 1, law.name, "one that keeps the size of a picture"),
            ("size", min(size) >= 1, size, "at least 1 pixel"),
            ("frames", frames >= 1 and frames % 2 == 1, frames, "an odd number"),
            ("shift", shift >= 0, shift, "at least 0 pixels"),
            ("rotation", 0 <= rotation <= 45, rotation, "0 to 45 degrees"),
            ("hard", 0 <= hard <= 1, hard, "a share from 0 to 1"),
        ):
            if not good:
                raise ValueError(f"SyntheticBursts: {name}: expected {expected}, got {value}")
        self.pictures, self.law, self.size, self.frames = list(pictures), law, size, frames
        self.shift, self.rotation, self.hard, self.seed = shift, rotation, hard, seed
        self.smooth = smooth
        self._margins = _margins(size, shift, rotation, hard)
        least = least_size(size, shift, rotation, hard)
        for i, picture in enumerate(self.pictures):
            if picture.ndim != 3 or picture.shape[1] < least[0] or picture.shape[2] < least[1]:
                raise ValueError(
                    f"SyntheticBursts: picture {i}: frames of {size[0]}x{size[1]} and their moves "
                    f"need (C, {least[0]}, {least[1]}) at least, got {picture.shape}"
                )

    def burst(self, number: int) -> Burst:
        """The burst of this number; new arrays."""
        noise = Noise(self.seed).at(number)
        picture = as_unit(self.pictures[number % len(self.pictures)])
        hard = bool(noise.uniform(()) < self.hard)
        place, spans = self._place(picture, noise)
        moves = noise.integers(2 * self.shift + 1, (self.frames, 2)) - self.shift
        most = max(self.rotation, _HARD_ROTATION) if hard else self.rotation
        angles = most * (2 * noise.uniform((self.frames,), np.float64) - 1)
        middle = self.frames // 2
        moves[middle] = angles[middle] = 0
        clean = np.empty((self.frames, len(picture), *self.size), np.float32)
        for t in range(self.frames):
            top, left = place
            if hard and t != middle:
                # Half of all places further on, beginning again after the last.
                top, left = ((at + n // 2) % n for at, n in zip(place, spans, strict=True))
            corner = top + self._margins[0] + moves[t, 0], left + self._margins[1] + moves[t, 1]
            clean[t] = self._crop(picture, corner, float(angles[t]))
        noisy = self.law(clean, noise)  # (T, C, H, W)
        noisy, clean = (np.ascontiguousarray(x.swapaxes(0, 1)) for x in (noisy, clean))
        return Burst(noisy, clean, hard)

    def _place(self, picture: np.ndarray, noise: Noise) -> tuple[list[int], list[int]]:
        """A random top and left, and the number of places in each direction."""
        sides = zip(picture.shape[1:], self.size, self._margins, strict=True)
        spans = [whole - side - 2 * margin + 1 for whole, side, margin in sides]
        return [int(noise.integers(span)) for span in spans], spans

    def _crop(self, picture: np.ndarray, corner: tuple[int, int], angle: float) -> np.ndarray:
        """The crop (C, H, W) at `corner`, turned by `angle` degrees: seen by a turned camera."""
        (top, left), (h, w) = corner, self.size
        if angle == 0:
            return picture[:, top : top + h, left : left + w]
        y = np.arange(h)[:, None] - (h - 1) / 2  # from the centre
        x = np.arange(w) - (w - 1) / 2
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        rows = top + (h - 1) / 2 + cos * y + sin * x
        columns = left + (w - 1) / 2 - sin * y + cos * x
        return np.clip(_interpolated(picture, rows, columns, self.smooth), 0, 1)


def _interpolated(
    picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, smooth: bool
) -> np.ndarray:
    """Values of a picture (C, H, W) between its pixels, at rows, columns (h, w): (C, h, w).

    smooth: cubic convolution, which has a continuous derivative; else bilinear. Both give planes
    back exactly. Source: Keys, "Cubic convolution interpolation for digital image processing",
    IEEE TASSP 1981 (a = -1/2).
    """
    kernel, taps = (_cubic, range(-1, 3)) if smooth else (_linear, range(2))
    top, left = np.floor(rows), np.floor(columns)
    wide = picture.shape[2]
    corner = (wide * top + left).astype(np.intp)
    down, right = (
        [kernel(x.astype(np.float32) - i) for i in taps] for x in (rows - top, columns - left)
    )
    planes = picture.reshape(len(picture), -1)
    total = np.zeros((len(picture), *rows.shape), np.float32)
    for i, weight in zip(taps, down, strict=True):
        for j, other in zip(taps, right, strict=True):
            total += weight * other * planes.take(corner + (wide * i + j), axis=1)
    return total


def _linear(x: np.ndarray) -> np.ndarray:
    return 1 - np.abs(x)


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)


def least_size(size: tuple[int, int], shift: int, rotation: float, hard: float) -> tuple[int, int]:
    """Height and width that a picture must have at least for bursts of these settings."""
    # The other frames of a hard burst must lie further off than a search of `shift` finds.
    apart = 4 * shift + 2 if hard else 0
    down, right = _margins(size, shift, rotation, hard)
    return size[0] + 2 * down + apart, size[1] + 2 * right + apart


def _margins(size: tuple[int, int], shift: int, rotation: float, hard: float) -> tuple[int, int]:
    """Pixels above and beside a frame that its moves reach."""
    down, right = _reach(size, max(rotation, _HARD_ROTATION) if hard else rotation)
    return shift + down, shift + right


def _reach(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """Pixels above and beside a crop that are seen when it is turned by up to `angle` degrees."""
    if angle == 0:
        return 0, 0
    h, w = size
    sin = math.sin(math.radians(abs(angle)))
    return math.ceil(w / 2 * sin) + 2, math.ceil(h / 2 * sin) + 2  # 2: the kernel's
