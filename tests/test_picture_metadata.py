"""What changes the look of a picture without being pixels: profile, orientation, kinds of alpha."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageOps

from zoo.data import ImageError, Picture, read_image, write_image
from zoo.data.picture import MAX_ICC, upright

SHAPE = (13, 7)  # height, width
PROFILE = np.random.default_rng(9).bytes(700)


def levels(planes: int, depth: int = 8) -> np.ndarray:
    kind = np.uint8 if depth == 8 else np.uint16
    values = np.random.default_rng(0).integers(0, 2**depth, (*SHAPE, planes), dtype=kind)
    return values[..., 0] if planes == 1 else values


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def add_chunk(path, kind: bytes, data: bytes) -> None:
    """Put a chunk right after the header of a PNG."""
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk(kind, data) + content[33:])


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[274] = orientation
    return data.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(("suffix", "depth"), [("png", 8), ("png", 16), ("tif", 8), ("tif", 16)])
@pytest.mark.parametrize("planes", [1, 4])
def test_profile_is_written_and_read(tmp_path, suffix, depth, planes):
    path = tmp_path / f"a.{suffix}"
    picture = Picture.from_levels(levels(planes, depth), "", has_alpha=planes == 4, icc=PROFILE)
    write_image(path, picture)
    again = read_image(path)
    assert again.icc == PROFILE
    np.testing.assert_array_equal(again.levels(), picture.levels())
    with Image.open(path) as image:
        assert image.info["icc_profile"] == PROFILE


def test_a_bomb_in_a_chunk_is_not_inflated(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Picture(np.zeros((3, *SHAPE), np.float32), depth=16))
    bomb = zlib.compress(bytes(100_000_000), 9)
    for kind, data in ((b"iCCP", b"x\0\0" + bomb), (b"zTXt", b"x\0\0" + bomb)):
        add_chunk(path, kind, data)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=f"profile of more than {MAX_ICC} bytes"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_profile_is_left_out(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Picture(np.zeros((3, *SHAPE), np.float32), depth=16))
    add_chunk(path, b"iCCP", b"no end")
    assert read_image(path).icc is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    values = levels(3)
    image = Image.fromarray(values)
    image.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(values, orientation), expected)

    image.save(tmp_path / "a.png", exif=image.getexif())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").levels(), expected)

    deep = levels(3, 16)
    write_image(tmp_path / "b.png", Picture.from_levels(deep, "", has_alpha=False))
    add_chunk(tmp_path / "b.png", b"eXIf", exif(orientation))
    expected = upright(deep, orientation)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").levels(), expected)

    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", extratags=tag)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").levels(), expected)


def test_associated_alpha_is_taken_out_of_the_colours(tmp_path):
    colour = np.random.default_rng(0).random((*SHAPE, 3))
    alpha = np.random.default_rng(1).integers(1, 65536, SHAPE, dtype=np.uint16)
    alpha[0, :3] = 0
    stored = np.rint(colour * alpha[..., None]).astype(np.uint16)
    rgba = np.dstack([stored, alpha])
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=("assocalpha",))
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert not picture.pixels[:, 0, :3].any()
    seen = (picture.pixels.transpose(1, 2, 0) - colour)[alpha > 0] * alpha[alpha > 0][:, None]
    assert np.abs(seen).max() < 0.51  # the rounding of what was stored
    write_image(tmp_path / "b.tif", picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        assert tiff.pages[0].extrasamples == (2,)  # unassociated


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_transparent_level_of_a_few_bits(tmp_path, bits):
    values = levels(1) >> (8 - bits)
    key = int(values[2, 3])
    writer = png.Writer(*SHAPE[::-1], bitdepth=bits, greyscale=True, transparent=key)
    with (tmp_path / "a.png").open("wb") as file:
        writer.write(file, values.tolist())
    picture = read_image(tmp_path / "a.png")
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, np.where(values == key, 0, 255))
    np.testing.assert_array_equal(picture.levels()[..., 0], values * (255 // (2**bits - 1)))


def test_a_compressed_tiff_names_the_package_that_it_needs(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, levels(3), photometric="rgb", compression="lzw")
    np.testing.assert_array_equal(read_image(path).levels(), levels(3))

    def refuse(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    with pytest.raises(ImageError, match=r"needs the extra 'tiff' \(imagecodecs\)"):
        read_image(path)
