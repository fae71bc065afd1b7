"""TIFF pictures of 8 and 16 bits, through tifffile (the extra `tiff`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo.data.picture import MAX_ICC, ImageError, Picture, upright

SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # the tag PhotometricInterpretation
_ASSOCIATED = 1  # the tag ExtraSamples: colours are stored multiplied by alpha
_ORIENTATION, _PROFILE = 274, 34675  # numbers of tags
_SEPARATE = 2  # the tag PlanarConfiguration: one plane after the other


def _tifffile(path: Path) -> Any:
    """The package; ImageError where it is not installed."""
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(path, "TIFF needs the extra 'tiff' (the package tifffile)") from error
    return tifffile


def read(file: BinaryIO, path: Path, max_pixels: int) -> Picture:
    """The one picture of a TIFF file: gray or RGB, with or without alpha, 8 or 16 bits."""
    with _pages(file, path) as pages:
        if len(pages) != 1:
            raise ImageError(path, f"TIFF with {len(pages)} pages; only one is supported")
        return _picture(pages[0], path, max_pixels, file.seek(0, 2))


def read_pages(file: BinaryIO, path: Path, max_pixels: int, which: slice) -> list[Picture]:
    """The pictures on the pages `which` of a TIFF file; max_pixels: of all of them together."""
    pictures: list[Picture] = []
    left = max_pixels
    with _pages(file, path) as pages:
        size = file.seek(0, 2)
        for number in range(*which.indices(len(pages))):
            pictures.append(_picture(pages[number], path, left, size))
            left -= pictures[-1].pixels[0].size
    return pictures


def count_pages(file: BinaryIO, path: Path) -> int:
    """Number of pages of a TIFF file, at least 1."""
    with _pages(file, path) as pages:
        if not len(pages):
            raise ImageError(path, "TIFF without a page")
        return len(pages)


@contextmanager
def _pages(file: BinaryIO, path: Path) -> Iterator[Any]:
    """The pages of a TIFF file; whatever goes wrong with them becomes an ImageError."""
    tifffile = _tifffile(path)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff.pages
    except ImageError:
        raise
    # tifffile raises whatever a damaged field leads to: ValueError, KeyError, struct.error, ...
    except Exception as error:
        if "imagecodecs" in str(error):
            reason = f"this kind of compressed TIFF needs the extra 'tiff' (imagecodecs): {error}"
            raise ImageError(path, reason) from error
        raise ImageError(path, f"damaged or unsupported TIFF: {error}") from error


def _picture(page: Any, path: Path, max_pixels: int, file_size: int) -> Picture:
    _check(page, path, max_pixels, file_size)
    values = page.asarray()
    extra = len(page.extrasamples)
    if values.ndim == 3 and page.planarconfig == _SEPARATE:
        values = values.transpose(1, 2, 0)  # (H, W, samples)
    if values.ndim not in (2, 3):
        raise ImageError(path, f"TIFF of shape {values.shape}; expected one gray or RGB picture")
    planes = 1 if values.ndim == 2 else values.shape[2]
    if planes not in (1, 2, 3, 4) or extra != (planes in (2, 4)):
        raise ImageError(path, f"TIFF with {planes} channels, {extra} of them extra")
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if page.photometric == _WHITE_IS_ZERO:
        values = np.iinfo(values.dtype).max - values
    values = upright(values, int(_tag(page, _ORIENTATION, 1)))
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[planes]
    suffix = ";16" if values.dtype == np.uint16 else ""
    icc = _profile(page, path)
    picture = Picture.from_levels(values, mode + suffix, has_alpha=planes in (2, 4), icc=icc)
    return _divided_by_alpha(picture) if _ASSOCIATED in page.extrasamples else picture


def _divided_by_alpha(picture: Picture) -> Picture:
    """Colours as they are where nothing shines through; 0 where all does."""
    assert picture.alpha is not None
    share = picture.alpha / np.float32(np.iinfo(picture.alpha.dtype).max)  # (H, W) in [0, 1]
    pixels = np.divide(picture.pixels, share, out=np.zeros_like(picture.pixels), where=share > 0)
    return dataclasses.replace(picture, pixels=np.minimum(pixels, 1))


def _tag(page: Any, number: int, default: Any) -> Any:
    tag = page.tags.get(number)
    return default if tag is None else tag.value


def _profile(page: Any, path: Path) -> bytes | None:
    tag = page.tags.get(_PROFILE)
    if tag is None:
        return None
    if tag.count > MAX_ICC:
        raise ImageError(path, f"a colour profile of more than {MAX_ICC} bytes")
    return bytes(tag.value)


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


def writer(path: Path, picture: Picture) -> Callable[[BinaryIO], None]:
    """What writes an uncompressed TIFF, with the colour profile.

    Raises: ImageError when the extra is not installed.
    """
    tifffile = _tifffile(path)

    def write(file: BinaryIO) -> None:
        values, how = _page(picture)
        tifffile.imwrite(file, values, **how)

    return write


def write_pages(file: BinaryIO, path: Path, pictures: Iterable[Picture]) -> None:
    """Write an uncompressed TIFF, a page for each picture, as they come.

    Raises: ImageError when the extra is not installed, or a value is not finite.
    """
    with _tifffile(path).TiffWriter(file, bigtiff=True) as tiff:
        for number, picture in enumerate(pictures):
            try:
                values, how = _page(picture)
            except ValueError as error:
                raise ImageError(path, f"page {number} cannot be written: {error}") from error
            tiff.write(values, contiguous=False, **how)


def _page(picture: Picture) -> tuple[np.ndarray, dict[str, Any]]:
    """What tifffile writes of a picture, and how."""
    levels = picture.levels()  # (H, W, planes)
    values = levels[..., 0] if levels.shape[2] == 1 else levels
    return values, {
        "photometric": "rgb" if levels.shape[2] >= 3 else "minisblack",
        "planarconfig": "contig" if values.ndim == 3 else None,
        "extrasamples": None if picture.alpha is None else ("unassalpha",),
        "iccprofile": picture.icc,
        "metadata": None,
    }
