"""Bad picture files: one line with the path and the reason, and never another error."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from zoo.data import ImageError, Picture, read_image, write_image

SHAPE = (13, 7)  # height, width


def levels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BAD = {
    "empty.png": (b"", "empty file"),
    "text.png": (b"this is no picture\n", "not a PNG"),
    "short.png": (b"\x89PNG\r\n\x1a\n\x00\x00", "truncated or damaged PNG header"),
    "zero.png": (png_file(0, 5, 8, 2, b""), "zero size: 0x5"),
    "zero16.png": (png_file(5, 0, 16, 2, b""), "zero size: 5x0"),
    "huge.png": (png_file(100_000, 100_000, 8, 2, b"x"), "100000x100000 pixels, more than"),
    "huge16.png": (png_file(100_000, 100_000, 16, 2, b"x"), "100000x100000 pixels, more than"),
    "few16.png": (png_file(8, 8, 16, 2, b"\0" * 100), "PNG"),
    "bomb16.png": (png_file(8, 8, 16, 2, b"\0" * 50_000_000), "more pixel data than its header"),
    "depth.png": (png_file(8, 8, 3, 0, b"\0" * 100), "truncated or damaged PNG"),
    "colour16.png": (png_file(8, 8, 16, 5, b"\0" * 100), "colour type 5"),
    "short.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated or damaged JPEG"),
    "short.bmp": (b"BM1234", "truncated or damaged BMP"),
    "short.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "truncated or damaged WEBP"),
    "short.tif": (b"II*\x00\x08\x00\x00\x00", "TIFF"),
    "pickle.png": (b"\x80\x04\x95junk", "not a PNG"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_line_with_path_and_reason(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / name)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / name}: ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", "16.png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    values = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    write_image(whole, Picture(values, depth=16 if suffix == "16.png" else 8))
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ImageError, match=r"cut"):
        read_image(cut)


def test_damaged_bytes_never_escape_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif", "16.png"):
        path = tmp_path / f"a{suffix}"
        pixels = rng.random((3, 16, 16)).astype(np.float32)
        write_image(path, Picture(pixels, depth=16 if suffix == "16.png" else 8))
        content = bytearray(path.read_bytes())
        for _ in range(60):
            broken = bytearray(content)
            for place in rng.integers(0, len(content), 3):
                broken[place] = rng.integers(256)
            path.write_bytes(bytes(broken))
            try:
                read_image(path, max_pixels=1_000_000)
            except ImageError:
                continue


def test_the_limit_of_pixels_can_be_set(tmp_path):
    Image.fromarray(levels()).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=91).size == SHAPE
    with pytest.raises(ImageError, match="7x13 pixels, more than the limit of 90"):
        read_image(tmp_path / "a.png", max_pixels=90)


def test_missing_file_folder_and_animation(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    frames = [Image.fromarray(levels(seed=i)) for i in range(2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(ImageError, match="2 frames"):
        read_image(tmp_path / "a.webp")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 20, 20), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match="3 pages"):
        read_image(tmp_path / "a.tif")
