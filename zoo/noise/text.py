"""Text written over the picture."""

from __future__ import annotations

import functools
import string
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minigrad.noise import Noise
from zoo.noise.law import LevelLaw

_LETTERS = np.array(list(string.ascii_letters + string.digits))
_SIZES = (10, 24)  # pixels, smallest and largest
_LENGTHS = (5, 15)  # letters of a string


@dataclass(frozen=True)
class Text(LevelLaw):
    """Random strings, upright, in random colours, sizes and places, over each other.

    Strings are added until the share of pixels covered (more than half, by the antialiased
    letters) reaches p: noisy = (1 - a) * noisy + a * colour, a the letters' coverage of a pixel.
    The mean is off, the median is right as long as p < 0.5: an L1 loss finds it.

    low, high: p, the share of covered pixels; one p ~ U(low, high) per image. At most 0.9. The
    font is the one that Pillow carries; letters of 10 to 24 pixels, strings of 5 to 15.

    Source: Lehtinen et al., "Noise2Noise", ICML 2018, section 3.2 (training 0-0.5, test 0.25).
    """

    kind: ClassVar[str] = "text"
    most: ClassVar[float] = 0.9

    def sample(self, latent: np.ndarray, noise: Noise) -> np.ndarray:
        p = self.levels(len(latent), noise, latent.dtype).ravel()
        rng = noise.generator()
        written = [_write(picture, share, rng) for picture, share in zip(latent, p, strict=True)]
        return self._clipped(np.stack(written) if written else latent.copy())


def _write(picture: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """One picture (C, H, W) with text over at least `share` of its pixels; a new array."""
    channels, height, width = picture.shape
    picture = picture.copy()
    covered = np.zeros((height, width), bool)
    while covered.mean() < share:
        top, left, alpha = _string(height, width, rng)
        colour = rng.random((channels, 1, 1)).astype(picture.dtype)
        place = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
        a = alpha.astype(picture.dtype) / 255
        picture[:, *place] = (1 - a) * picture[:, *place] + a * colour
        covered[place] |= alpha > 127
    return picture


def _string(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, np.ndarray]:
    """A random string's place and coverage (h, w) uint8, cut to the picture."""
    letters = "".join(rng.choice(_LETTERS, rng.integers(*_LENGTHS, endpoint=True)))
    font = _font(int(rng.integers(*_SIZES, endpoint=True)))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(letters))
    size = (max(right - left, 1), max(bottom - top, 1))
    page = Image.new("L", size)
    ImageDraw.Draw(page).text((-left, -top), letters, fill=255, font=font)
    alpha = np.asarray(page)  # (h, w)
    # Places reach over every edge, so that the border is covered as densely as the middle.
    y = int(rng.integers(1 - size[1], height))
    x = int(rng.integers(1 - size[0], width))
    return max(y, 0), max(x, 0), alpha[max(-y, 0) : height - y, max(-x, 0) : width - x]


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
