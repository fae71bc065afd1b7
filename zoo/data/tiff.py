"""TIFF pictures of 8 and 16 bits, through tifffile (the extra `tiff`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo.data.picture import ImageError, Picture

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # the tag PhotometricInterpretation
_SEPARATE = 2  # the tag PlanarConfiguration: one plane after the other


def _tifffile(path: Path) -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(path, "TIFF needs the extra 'tiff' (the package tifffile)") from error
    return tifffile


def read(file: BinaryIO, path: Path, max_pixels: int) -> Picture:
    """The one picture of a TIFF file: gray or RGB, with or without alpha, 8 or 16 bits."""
    tifffile = _tifffile(path)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            if len(tiff.pages) != 1:
                raise ImageError(path, f"TIFF with {len(tiff.pages)} pages; only one is supported")
            page = tiff.pages[0]
            _check(page, path, max_pixels, file.seek(0, 2))
            values = page.asarray()
            extra = len(page.extrasamples)
            inverted = page.photometric == _WHITE_IS_ZERO
            planar = page.planarconfig == _SEPARATE
    except ImageError:
        raise
    # tifffile raises whatever a damaged field leads to: ValueError, KeyError, struct.error, ...
    except Exception as error:
        raise ImageError(path, f"damaged or unsupported TIFF: {error}") from error
    if values.ndim == 3 and planar:
        values = values.transpose(1, 2, 0)  # (H, W, samples)
    if values.ndim not in (2, 3):
        raise ImageError(path, f"TIFF of shape {values.shape}; expected one gray or RGB picture")
    planes = 1 if values.ndim == 2 else values.shape[2]
    if planes not in (1, 2, 3, 4) or extra != (planes in (2, 4)):
        raise ImageError(path, f"TIFF with {planes} channels, {extra} of them extra")
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if inverted:
        values = np.iinfo(values.dtype).max - values
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[planes]
    suffix = ";16" if values.dtype == np.uint16 else ""
    return Picture.from_levels(values, mode + suffix, has_alpha=planes in (2, 4))


def _check(page: Any, path: Path, max_pixels: int, file_size: int) -> None:
    width, height = int(page.imagewidth), int(page.imagelength)
    if width < 1 or height < 1:
        raise ImageError(path, f"zero size: {width}x{height}")
    if width * height > max_pixels:
        raise ImageError(path, f"{width}x{height} pixels, more than the limit of {max_pixels}")
    if page.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)) or page.bitspersample < 8:
        raise ImageError(path, f"TIFF of {page.dtype}, {page.bitspersample} bits; expected 8 or 16")
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise ImageError(path, f"TIFF colours {page.photometric!r}; expected gray or RGB")
    if sum(page.databytecounts) > file_size:
        raise ImageError(path, "truncated TIFF: its pixel data reach beyond the file's end")
    needed = width * height * int(page.samplesperpixel) * page.dtype.itemsize
    if page.compression == 1 and sum(page.databytecounts) < needed:
        raise ImageError(path, "truncated TIFF: fewer pixel data than its header declares")


def write(file: BinaryIO, path: Path, picture: Picture) -> None:
    """Write an uncompressed TIFF."""
    tifffile = _tifffile(path)
    levels = picture.levels()  # (H, W, planes)
    rgb = levels.shape[2] >= 3
    extra = ("unassalpha",) if picture.alpha is not None else ()
    values = levels[..., 0] if levels.shape[2] == 1 else levels
    tifffile.imwrite(
        file,
        values,
        photometric="rgb" if rgb else "minisblack",
        planarconfig="contig" if values.ndim == 3 else None,
        extrasamples=extra or None,
        metadata=None,
    )
