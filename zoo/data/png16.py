"""16-bit PNG, which Pillow opens as 8-bit without a word: through pypng, with checks before it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import png
from PIL import Image

from zoo.data.picture import MAX_ICC, ImageError, Picture, upright

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "L;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}
_PLANES = {0: 1, 2: 3, 4: 2, 6: 4}
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PIECE = 1 << 16


def header(file: BinaryIO, path: Path) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type of the PNG at the start of `file`."""
    file.seek(0)
    head = file.read(33)
    if len(head) < 33 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise ImageError(path, "truncated or damaged PNG header")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    return width, height, depth, colour


def read(file: BinaryIO, path: Path) -> Picture:
    """The 16-bit picture; the declared size has been checked by the caller.

    Raises: ImageError.
    """
    width, height, _, colour = header(file, path)
    if colour not in _PLANES:
        raise ImageError(path, f"16-bit PNG of unknown colour type {colour}")
    planes = _PLANES[colour]
    _check_stream(file, path, limit=height * (2 * planes * width + 1) + 8 * (height + width))
    others = _others(file, path)
    levels = np.empty((height, width * planes), np.uint16)
    try:
        reader = png.Reader(file=_essential(file, path))
        rows = reader.read()[2]
        count = 0
        for row in rows:
            levels[count] = row
            count += 1
    except (png.Error, zlib.error, struct.error, ValueError, IndexError, EOFError) as error:
        raise ImageError(path, f"damaged PNG: {error}") from error
    if count != height:
        raise ImageError(path, f"truncated PNG: {count} of {height} rows")
    picture = levels.reshape(height, width, planes)
    key = getattr(reader, "transparent", None)
    if key is not None and colour in (0, 2):
        clear = np.all(picture == np.asarray(key, np.uint16), axis=2, keepdims=True)
        alpha = np.where(clear, 0, 65535).astype(np.uint16)
        picture = np.concatenate([picture, alpha], axis=2)
    picture = upright(picture, _orientation(others.get(b"eXIf", b"")))
    has_alpha = picture.shape[2] in (2, 4)
    icc = _profile(path, others.get(b"iCCP", b""))
    return Picture.from_levels(picture, _MODES[colour], has_alpha=has_alpha, icc=icc)


def write(file: BinaryIO, picture: Picture) -> None:
    """Write a 16-bit picture, with its colour profile."""
    levels = picture.levels()  # (H, W, planes)
    height, width, planes = levels.shape
    writer = png.Writer(
        width=width,
        height=height,
        bitdepth=16,
        greyscale=planes < 3,
        alpha=planes in (2, 4),
    )
    rows = levels.astype(">u2").reshape(height, width * planes)
    if picture.icc:
        # pypng writes no profile: it stands right after the header, whose 33 bytes come first.
        buffer = io.BytesIO()
        writer.write_packed(buffer, (row.tobytes() for row in rows))
        content = buffer.getbuffer()
        file.write(content[:33])
        png.write_chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc))
        file.write(content[33:])
    else:
        writer.write_packed(file, (row.tobytes() for row in rows))


# --- beside the pixels ---------------------------------------------------------------------------


def _others(file: BinaryIO, path: Path) -> dict[bytes, bytes]:
    """The chunks of profile (iCCP) and EXIF data (eXIf), where there are any, not inflated."""
    found: dict[bytes, bytes] = {}
    for kind, length in _chunks(file, path):
        if kind in (b"iCCP", b"eXIf") and kind not in found and length <= MAX_ICC:
            found[kind] = file.read(length)
    return found


def _profile(path: Path, data: bytes) -> bytes | None:
    """The colour profile in the chunk "name, 0, method, zlib stream"; None for a damaged one, which
    viewers ignore too.
    """
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(data[data.index(b"\0") + 2 :], MAX_ICC + 1)
    except (ValueError, zlib.error):
        return None
    if len(profile) > MAX_ICC:
        raise ImageError(path, f"a colour profile of more than {MAX_ICC} bytes")
    return profile if inflater.eof and profile else None


def _orientation(data: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(data)
        return int(exif.get(0x0112, 1))
    except Exception:  # whatever a damaged field leads to: then it says nothing
        return 1


# --- the pixels ----------------------------------------------------------------------------------


def _essential(file: BinaryIO, path: Path) -> BinaryIO:
    """The file without the chunks that do not make pixels: pypng would inflate them, unlimited."""
    content = io.BytesIO(SIGNATURE)
    content.seek(0, 2)
    for kind, length in _chunks(file, path):
        if kind in _NEEDED:
            content.write(struct.pack(">I4s", length, kind))
            content.write(file.read(length + 4))
    content.seek(0)
    return content


def _check_stream(file: BinaryIO, path: Path, limit: int) -> None:
    """Inflate the pixel data piece by piece and stop where it exceeds what the header declares.

    pypng inflates without a limit: a small file could ask for gigabytes.
    """
    inflater = zlib.decompressobj()
    total = 0
    try:
        for data in _pixel_data(file, path):
            while data:
                total += len(inflater.decompress(data, _PIECE))
                data = inflater.unconsumed_tail
                if total > limit:
                    raise ImageError(path, "damaged PNG: more pixel data than its header declares")
    except zlib.error as error:
        raise ImageError(path, f"damaged PNG: {error}") from error
    if not inflater.eof:
        raise ImageError(path, "truncated PNG")


def _pixel_data(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The contents of the IDAT chunks, in pieces."""
    for kind, left in _chunks(file, path):
        while kind == b"IDAT" and left:
            piece = file.read(min(left, _PIECE))
            left -= len(piece)
            yield piece


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, int]]:
    """Kind and length of every chunk, the file being at its content; no length exceeds the file."""
    size = file.seek(0, 2)
    position = len(SIGNATURE)
    while position + 12 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if position + 12 + length > size:
            raise ImageError(path, f"truncated PNG: chunk {kind!r} reaches beyond the file's end")
        yield kind, length
        if kind == b"IEND":
            return
        position += 12 + length
    raise ImageError(path, "truncated PNG: no IEND chunk")
