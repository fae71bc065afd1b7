"""Photographs laid out so that single pixels, or whole crops, are read from all of them at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.images import list_images, read_image
from zoo.data.picture import ImageError, quantise, with_channels


def read_photographs(
    folder: str | Path | Sequence[str | Path], *, channels: int = 3, least: int = 1
) -> list[np.ndarray]:
    """The pictures of a folder (or a list of files) as uint8 (C, H, W), alpha dropped.

    channels: 1 (RGB becomes luma) or 3 (gray is repeated). Pictures with a side below `least`
    pixels are left out. 16-bit pictures are rounded to 8 bits.

    Raises: ImageError when a file cannot be read, or when no picture is left.
    """
    if isinstance(folder, str | Path):
        where, files = str(folder), list_images(folder)
    else:
        where, files = "the list of files", [Path(item) for item in folder]
    pictures = []
    for file in files:
        pixels = quantise(read_image(file).pixels)
        if min(pixels.shape[1:]) >= least:
            pictures.append(with_channels(pixels, channels))
    if not pictures:
        raise ImageError(where, f"no picture of at least {least}x{least} pixels")
    return pictures


def to_unit(levels: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [0, 1], contiguous: levels / 255, correctly rounded."""
    return np.divide(levels, np.float32(255), dtype=np.float32, order="C")


def as_unit(pixels: np.ndarray) -> np.ndarray:
    """float32; uint8 is brought to [0, 1]."""
    return to_unit(pixels) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


class Photographs:
    """A list of uint8 pictures (C, H, W), C = 1 or 3, as one array of packed pixels.

    Each pixel is a 4-byte word (its channels, then zeros), so that one gather reads whole pixels.
    Memory: 4 bytes a pixel.

    Raises: ValueError for no picture, another dtype or shape, or mixed channel counts.
    """

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        if not pictures:
            raise ValueError("Photographs: no picture given")
        self.channels = int(pictures[0].shape[0])
        for i, picture in enumerate(pictures):
            shape = picture.shape
            if picture.dtype != np.uint8 or len(shape) != 3 or shape[0] not in (1, 3):
                raise ValueError(
                    f"Photographs: picture {i}: expected uint8 (1 or 3, H, W), "
                    f"got {picture.dtype} {shape}"
                )
            if shape[0] != self.channels:
                raise ValueError(
                    f"Photographs: picture {i} has {shape[0]} channels, the first {self.channels}"
                )
        self.heights = np.array([picture.shape[1] for picture in pictures])
        self.widths = np.array([picture.shape[2] for picture in pictures])
        areas = self.heights * self.widths
        self.starts = np.cumsum(areas) - areas
        packed = np.zeros((int(areas.sum()), 4), np.uint8)
        for picture, start, area in zip(pictures, self.starts, areas, strict=True):
            packed[start : start + area, : self.channels] = picture.reshape(self.channels, -1).T
        self.words = packed.view(np.uint32)[:, 0]  # (pixels,)

    def __len__(self) -> int:
        return len(self.heights)

    def view(self, index: int) -> np.ndarray:
        """One picture's packed pixels, (H, W) uint32, not copied."""
        start, h, w = int(self.starts[index]), int(self.heights[index]), int(self.widths[index])
        return self.words[start : start + h * w].reshape(h, w)

    def to_gray(self) -> Photographs:
        """The luma of every picture, as photographs of one channel; self where they are gray."""
        if self.channels == 1:
            return self
        return Photographs([with_channels(self.picture(i), 1) for i in range(len(self))])

    def picture(self, index: int) -> np.ndarray:
        """One picture, uint8 (C, H, W), a view."""
        h, w = self.view(index).shape
        pixels = self.view(index).view(np.uint8).reshape(h, w, 4)
        return pixels[..., : self.channels].transpose(2, 0, 1)

    def at_scales(self, scales: Sequence[float], least: int = 1) -> Photographs:
        """Every picture at each of these sizes, 1 being its own; self where that is all.

        Bicubic interpolation with antialiasing. What would have a side below `least` is left out.
        Raises: ValueError when nothing is left.
        """
        if tuple(scales) == (1.0,):
            return self
        found = []
        for picture in map(self.picture, range(len(self))):
            for scale in scales:
                size = [round(scale * side) for side in picture.shape[:0:-1]]  # width, height
                if min(size) >= least:
                    found.append(_resized(picture, size[0], size[1]))
        return Photographs(found)

    def crops(self, u: np.ndarray, size: int) -> Crops:
        """Square crops from uniform numbers u (N, 3) in [0, 1): picture, top, left.

        Every picture is as likely as another, and every place in it.
        Raises: ValueError when a picture is smaller than `size`.
        """
        small = int(min(self.heights.min(), self.widths.min()))
        if small < size:
            raise ValueError(f"Photographs: a picture side of {small} pixels, crops need {size}")
        index = (u[:, 0] * len(self)).astype(np.int64)
        top = (u[:, 1] * (self.heights[index] - size + 1)).astype(np.int64)
        left = (u[:, 2] * (self.widths[index] - size + 1)).astype(np.int64)
        return Crops(self, index, top, left, size)


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 (C, H, W) -> (C, height, width)."""
    if picture.shape[1:] == (height, width):
        return picture
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for plane in picture
    ]
    return np.stack([np.asarray(plane) for plane in planes])


@dataclass(frozen=True)
class Crops:
    """N square crops that still lie in their photographs: a `zoo.noise.Latent`.

    index, top, left: (N,) picture and corner of each.
    tone: None, or black points and white points, each (N, C) in [0, 1]: what they make of a value
    x of that channel is black + (white - black) x.
    """

    photographs: Photographs
    index: np.ndarray
    top: np.ndarray
    left: np.ndarray
    size: int
    tone: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, size, size)."""
        return len(self.index), self.photographs.channels, self.size, self.size

    def words(self, i: int) -> np.ndarray:
        """Crop i, packed pixels (size, size) uint32, not copied."""
        top, left = int(self.top[i]), int(self.left[i])
        picture = self.photographs.view(int(self.index[i]))
        return picture[top : top + self.size, left : left + self.size]

    def array(self) -> np.ndarray:
        """The crops, float32 in [0, 1], (N, C, size, size); made once, read-only."""
        return self._array

    @functools.cached_property
    def _array(self) -> np.ndarray:
        words = np.empty((len(self.index), self.size, self.size), np.uint32)
        for i in range(len(words)):
            words[i] = self.words(i)
        values = self._unpacked(words)
        values.flags.writeable = False
        return values

    def pixels(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The pixels at rows, columns (N, h, w) of the crops: float32 (N, C, h, w)."""
        stride = self.photographs.widths[self.index]
        corner = self.photographs.starts[self.index] + self.top * stride + self.left  # (N,)
        places = rows * stride[:, None, None]
        places += columns
        places += corner[:, None, None]
        return self._unpacked(self.photographs.words.take(places))

    def block_means(self, k: int) -> np.ndarray:
        """Means of k x k blocks in levels of 0 to 255: float64 (N, C, size/k, size/k); k <= 256."""
        n, c, size, _ = self.shape
        small = size // k
        sums = np.empty((n, small, small, 4), np.uint32)
        for i in range(n):
            rows = self.words(i).view(np.uint8).reshape(small, k, 4 * size)
            columns = rows.sum(axis=1, dtype=np.uint16)  # (small, 4 * size), at most 256 * 255
            columns.reshape(small, small, k, 4).sum(axis=2, dtype=np.uint32, out=sums[i])
        return self._toned(sums[..., :c].transpose(0, 3, 1, 2) / float(k * k), white_level=255.0)

    def _unpacked(self, words: np.ndarray) -> np.ndarray:
        """Packed pixels (N, h, w) uint32 -> float32 (N, C, h, w)."""
        n, h, w = words.shape
        channels = words.view(np.uint8).reshape(n, h, w, 4).transpose(0, 3, 1, 2)
        return self._toned(to_unit(channels[:, : self.photographs.channels]), white_level=1.0)

    def _toned(self, values: np.ndarray, white_level: float) -> np.ndarray:
        """`values` (N, C, h, w) in [0, white_level], changed in place by `tone`."""
        if self.tone is not None:
            black, white = (point[:, :, None, None].astype(values.dtype) for point in self.tone)
            values *= white - black
            values += white_level * black
        return values
