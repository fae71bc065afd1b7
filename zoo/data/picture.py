"""A picture in memory, and the error of a file that holds none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_ICC = 1 << 20
"""Largest colour profile that is carried along, in bytes: what Pillow reads from a PNG."""
RGB_TO_GRAY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


class ImageError(ValueError):
    """A picture file cannot be read or written; one line: the path and the reason."""

    def __init__(self, path: str | Path, reason: str) -> None:
        reason = " ".join(str(reason).split())
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """One picture.

    pixels: float32 (C, H, W) in [0, 1], C = 1 (gray) or 3 (RGB), levels / (2^depth - 1).
    alpha: the alpha plane as it stands in the file, (H, W) uint8 or uint16, or None; the pixels
    are never multiplied by it.
    depth: 8 or 16 bits a channel. mode: what the file held, such as "L", "RGB", "P", "RGBA;16".
    icc: the file's colour profile, carried along untouched.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    depth: int = 8
    mode: str = ""
    icc: bytes | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
            raise ValueError(f"Picture: pixels must be (1 or 3, height, width), got {shape}")
        if self.depth not in (8, 16):
            raise ValueError(f"Picture: depth must be 8 or 16, got {self.depth}")
        if self.alpha is not None:
            expected = np.dtype(f"uint{self.depth}")
            if self.alpha.shape != shape[1:] or self.alpha.dtype != expected:
                raise ValueError(
                    f"Picture: alpha must be {shape[1:]} {expected}, "
                    f"got {self.alpha.shape} {self.alpha.dtype}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @staticmethod
    def from_levels(
        levels: np.ndarray, mode: str, *, has_alpha: bool, icc: bytes | None = None
    ) -> Picture:
        """From file values: (H, W) or (H, W, channels), uint8 or uint16, alpha the last channel."""
        planes = levels[..., None] if levels.ndim == 2 else levels  # (H, W, channels)
        alpha = np.ascontiguousarray(planes[..., -1]) if has_alpha else None
        colour = planes[..., :-1] if has_alpha else planes
        top = np.float32(np.iinfo(levels.dtype).max)
        pixels = np.divide(colour.transpose(2, 0, 1), top, dtype=np.float32)  # (C, H, W)
        depth = 8 * levels.dtype.itemsize
        return Picture(np.ascontiguousarray(pixels), alpha, depth, mode, icc)

    def levels(self) -> np.ndarray:
        """File values: (H, W, C [+1 with alpha]), uint8 or uint16, rint(clip(pixels) * top)."""
        planes = quantise(self.pixels, self.depth).transpose(1, 2, 0)  # (H, W, C)
        if self.alpha is not None:
            planes = np.concatenate([planes, self.alpha[..., None]], axis=2)
        return np.ascontiguousarray(planes)


def upright(levels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W[, channels]) as it is to be shown, from the EXIF or TIFF tag Orientation, 1 to 8.

    2, 4: mirrored left to right, top to bottom; 3: half a turn; 6, 8: to be turned a quarter
    clockwise, anticlockwise; 5, 7: transposed along the main, the other diagonal. Another number
    changes nothing.
    """
    if orientation in (5, 6, 7, 8):
        levels = levels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    return np.ascontiguousarray(levels)


def quantise(values: np.ndarray, depth: int = 8) -> np.ndarray:
    """rint(clip(values, 0, 1) * (2^depth - 1)) as uint8 or uint16; raises ValueError on NaN."""
    if not np.isfinite(values).all():
        raise ValueError("quantise: a value is not finite")
    top = 2**depth - 1
    scaled = np.clip(values, 0, 1).astype(np.float64 if depth == 16 else values.dtype) * top
    return np.rint(scaled).astype(np.uint8 if depth == 8 else np.uint16)


def with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """(C, H, W) with 1 or 3 channels: gray is repeated, RGB becomes luma; the dtype is kept."""
    if channels not in (1, 3):
        raise ValueError(f"with_channels: channels must be 1 or 3, got {channels}")
    if picture.shape[0] == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=0)
    luma = np.tensordot(RGB_TO_GRAY, picture, axes=1)[None]  # (1, H, W)
    rounded = np.rint(luma) if np.issubdtype(picture.dtype, np.integer) else luma
    return rounded.astype(picture.dtype)
