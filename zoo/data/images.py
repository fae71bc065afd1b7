"""Picture files, read and written exactly: 8 and 16 bits, gray and colour, alpha kept.

Pictures are turned as their EXIF data or TIFF tag says, and keep their colour profile.

| format | read | written |
| --- | --- | --- |
| PNG | gray, RGB, with alpha, palette, 1, 2, 4, 8, 16 bits | gray, RGB, with alpha, 8, 16 bits |
| JPEG | gray, RGB, CMYK (converted) | gray, RGB, quality 95 |
| BMP | gray, RGB, palette | gray, RGB |
| WEBP | RGB, with alpha | RGB, with alpha, lossless |
| TIFF (extra `tiff`) | gray, RGB, with alpha, 8, 16 bits, one page (`read_pages`: all) | the same |

The kind of a file is told by its first bytes, not by its name; a size that the header declares is
checked before anything is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from minigrad.files import replacing
from zoo.data import png16, tiff
from zoo.data.picture import MAX_ICC, ImageError, Picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 256_000_000

T = TypeVar("T")

# Opened by class and not by Image.open, whose own limit is lower and a global of Pillow's.
_OPENERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}


def list_images(folder: str | Path) -> list[Path]:
    """The picture files directly in `folder`, by name; a path of a file gives that file.

    Files that begin with a dot are left out. Raises: ImageError when the path does not exist or
    cannot be read.
    """
    folder = Path(folder)
    try:
        if folder.is_file():
            return [folder]
        if not folder.is_dir():
            raise ImageError(folder, "no such file or folder")
        files = [item for item in folder.iterdir() if item.suffix.lower() in SUFFIXES]
        return sorted(item for item in files if item.is_file() and not item.name.startswith("."))
    except OSError as error:
        raise ImageError(folder, f"cannot be read: {error.strerror or error}") from error


def natural_order(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Key to sort files by name, numbers in it by value: 2 before 10, frame9 before frame10."""
    parts = re.split(r"(\d+)", path.stem)
    runs = [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts if p]
    return runs, path.name


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in a file: float32 (C, H, W) in [0, 1], its alpha, its depth.

    max_pixels: a larger declared size is refused before decoding.
    Raises: ImageError with the path and the reason.
    """
    return _opened(path, lambda file: _read(file, Path(path), max_pixels))


def read_pages(
    path: str | Path, which: slice = slice(None), *, max_pixels: int = MAX_PIXELS
) -> list[Picture]:
    """The pictures on the pages `which` of a TIFF file; another file has one page.

    max_pixels: of all these pages together. Raises: ImageError with the path and the reason.
    """
    where = Path(path)
    if not _is_tiff(where):
        return [read_image(where, max_pixels=max_pixels)][which]
    return _opened(where, lambda file: tiff.read_pages(file, where, max_pixels, which))


def count_pages(path: str | Path) -> int:
    """Number of pages of a TIFF file; 1 for another file, which is not looked into.

    Raises: ImageError with the path and the reason.
    """
    where = Path(path)
    return _opened(where, lambda file: tiff.count_pages(file, where)) if _is_tiff(where) else 1


def write_image(path: str | Path, picture: Picture, *, quality: int = 95) -> None:
    """Write a picture in the format of the path's suffix, at the picture's depth.

    Values are rint(clip(x, 0, 1) * (2^depth - 1)). The file appears whole or not at all.

    quality: of a JPEG, 1 to 95. Raises: ImageError when the format cannot hold the picture;
    OSError when the disk refuses.
    """
    path = Path(path)
    write = _writer(path, picture, quality)
    try:
        picture.levels()
    except ValueError as error:
        raise ImageError(path, f"cannot be written: {error}") from error
    with replacing(path) as file:
        write(file)


def check_writable(path: str | Path, picture: Picture) -> None:
    """Refuse what `write_image` would refuse because of the format. Raises: ImageError."""
    _writer(Path(path), picture, quality=95)


# --- reading -------------------------------------------------------------------------------------


def _opened(path: str | Path, read: Callable[[BinaryIO], T]) -> T:
    """What `read` makes of the open file; ImageError where it cannot be opened or read."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError as error:
        raise ImageError(path, "no such file") from error
    except IsADirectoryError as error:
        raise ImageError(path, "is a folder") from error
    except PermissionError as error:
        raise ImageError(path, "no permission to read") from error
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error


def _is_tiff(path: Path) -> bool:
    return _opened(path, lambda file: file.read(4).startswith(tiff.SIGNATURES))


def _read(file: BinaryIO, path: Path, max_pixels: int) -> Picture:
    head = file.read(16)
    if not head:
        raise ImageError(path, "empty file")
    if head.startswith(tiff.SIGNATURES):
        return tiff.read(file, path, max_pixels)
    kind = _kind(head)
    if kind is None:
        raise ImageError(path, "not a PNG, JPEG, BMP, WEBP or TIFF file")
    gray_bits = 8
    if kind == "PNG":
        width, height, depth, colour = png16.header(file, path)
        _check_size(path, width, height, max_pixels)
        if depth == 16:
            return png16.read(file, path)
        gray_bits = depth if colour == 0 else 8
    file.seek(0)
    try:
        with _OPENERS[kind](file) as image:
            _check_size(path, *image.size, max_pixels)
            frames = getattr(image, "n_frames", 1)
            if frames != 1:
                raise ImageError(path, f"{kind} with {frames} frames; only one is supported")
            image.load()
            return _from_pillow(image, gray_bits)
    except ImageError:
        raise
    # Pillow raises OSError, SyntaxError, ValueError, EOFError, struct.error, ... on damaged files.
    except Exception as error:
        raise ImageError(path, f"truncated or damaged {kind}: {error}") from error


def _kind(head: bytes) -> str | None:
    if head.startswith(png16.SIGNATURE):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"BM"):
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return None


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(path, f"zero size: {width}x{height}")
    if width * height > max_pixels:
        raise ImageError(path, f"{width}x{height} pixels, more than the limit of {max_pixels}")


def _from_pillow(image: Image.Image, gray_bits: int) -> Picture:
    """`gray_bits`: the depth of a gray PNG."""
    mode = image.mode
    icc = image.info.get("icc_profile") or None
    if icc is not None and len(icc) > MAX_ICC:
        raise ValueError(f"a colour profile of more than {MAX_ICC} bytes")
    ImageOps.exif_transpose(image, in_place=True)
    transparent = "transparency" in image.info
    if transparent and gray_bits < 8:
        # Pillow scales the levels to 0..255, but not the one that stands for "transparent".
        top = (1 << gray_bits) - 1
        image.info["transparency"] = (image.info["transparency"] & top) * 255 // top
    if mode == "P":
        image = image.convert("RGBA" if transparent else "RGB")
    elif mode in ("1", "L", "RGB") and transparent:
        image = image.convert("RGBA" if mode == "RGB" else "LA")
    elif mode == "1":
        image = image.convert("L")
    elif mode in ("CMYK", "YCbCr", "LAB", "RGBX"):
        image, icc = image.convert("RGB"), None
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ValueError(f"pixel mode {mode} is not supported")
    return Picture.from_levels(
        np.asarray(image), mode, has_alpha=image.mode in ("LA", "RGBA"), icc=icc
    )


# --- writing -------------------------------------------------------------------------------------


def _writer(path: Path, picture: Picture, quality: int) -> Callable[[BinaryIO], None]:
    """What writes `picture` in the format of the suffix; refuses what that format cannot hold."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(path, f"unknown picture format; known: {', '.join(SUFFIXES)}")
    if suffix in (".tif", ".tiff"):
        return tiff.writer(path, picture)
    if suffix != ".png" and picture.depth == 16:
        raise ImageError(path, f"{suffix} holds 8 bits, the picture has 16: write .png or .tif")
    if suffix in (".jpg", ".jpeg", ".bmp") and picture.alpha is not None:
        raise ImageError(path, f"{suffix} holds no alpha: write .png")
    if suffix == ".png" and picture.depth == 16:
        return lambda file: png16.write(file, picture)
    return lambda file: _write_pillow(file, suffix, picture, quality)


def _write_pillow(file: BinaryIO, suffix: str, picture: Picture, quality: int) -> None:
    levels = picture.levels()  # (H, W, planes)
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    if suffix == ".png":
        image.save(file, "PNG", icc_profile=picture.icc)
    elif suffix == ".webp":
        image.save(file, "WEBP", lossless=True, exact=True, icc_profile=picture.icc)
    elif suffix == ".bmp":
        image.save(file, "BMP")
    else:
        image.save(file, "JPEG", quality=quality, subsampling=0, icc_profile=picture.icc)
