"""Picture files: every format and depth read and written exactly, and every bad file refused."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import png
import pytest
import tifffile
from PIL import Image

from zoo.data import (
    ImageError,
    Picture,
    list_images,
    quantise,
    read_image,
    read_photographs,
    sample_files,
    samples_dir,
    with_channels,
    write_image,
)

SHAPE = (13, 7)  # height, width: odd, and not alike


def levels(planes: int, depth: int = 8, seed: int = 0) -> np.ndarray:
    kind = np.uint8 if depth == 8 else np.uint16
    values = np.random.default_rng(seed).integers(0, 2**depth, (*SHAPE, planes), dtype=kind)
    return values[..., 0] if planes == 1 else values


def expect(picture: Picture, values: np.ndarray, depth: int) -> None:
    """The picture holds exactly `values` (H, W[, planes]), alpha the last of 2 or 4 planes."""
    values = values[..., None] if values.ndim == 2 else values
    assert picture.depth == depth
    assert picture.pixels.dtype == np.float32
    assert (picture.alpha is not None) == (values.shape[2] in (2, 4))
    np.testing.assert_array_equal(picture.levels(), values)
    assert picture.pixels.shape[0] == (1 if values.shape[2] < 3 else 3)
    top = np.float32(2**depth - 1)
    colour = values[..., : picture.pixels.shape[0]].transpose(2, 0, 1)
    np.testing.assert_array_equal(picture.pixels, colour.astype(np.float32) / top)


# --- reading what others have written ------------------------------------------------------------


@pytest.mark.parametrize(("planes", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_8_bit_png(tmp_path, planes, mode):
    values = levels(planes)
    Image.fromarray(values).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    expect(picture, values, 8)
    assert picture.mode == mode
    assert picture.size == SHAPE


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("planes", [1, 2, 3, 4])
def test_16_bit_png(tmp_path, planes, interlace):
    values = levels(planes, 16)
    writer = png.Writer(
        width=SHAPE[1],
        height=SHAPE[0],
        bitdepth=16,
        greyscale=planes < 3,
        alpha=planes in (2, 4),
        interlace=interlace,
    )
    with (tmp_path / "a.png").open("wb") as file:
        writer.write(file, values.reshape(SHAPE[0], -1).tolist())
    expect(read_image(tmp_path / "a.png"), values, 16)


def test_16_bit_png_with_a_transparent_colour(tmp_path):
    values = levels(3, 16)
    key = tuple(int(v) for v in values[2, 3])
    writer = png.Writer(*SHAPE[::-1], bitdepth=16, greyscale=False, transparent=key)
    with (tmp_path / "a.png").open("wb") as file:
        writer.write(file, values.reshape(SHAPE[0], -1).tolist())
    picture = read_image(tmp_path / "a.png")
    assert picture.alpha is not None
    assert picture.alpha.dtype == np.uint16
    assert (picture.alpha == 0).sum() == 1
    assert picture.alpha[2, 3] == 0
    np.testing.assert_array_equal(picture.levels()[..., :3], values)


def test_one_bit_png(tmp_path):
    values = levels(1) > 127
    Image.fromarray(values).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "1"
    expect(read_image(tmp_path / "a.png"), np.where(values, 255, 0).astype(np.uint8), 8)


@pytest.mark.parametrize("bits", [2, 4])
def test_two_and_four_bit_png(tmp_path, bits):
    values = levels(1) >> (8 - bits)
    with (tmp_path / "a.png").open("wb") as file:
        png.Writer(*SHAPE[::-1], bitdepth=bits, greyscale=True).write(file, values.tolist())
    expect(read_image(tmp_path / "a.png"), values * (255 // (2**bits - 1)), 8)


def test_palette_png(tmp_path):
    index = levels(1) % 5
    palette = np.random.default_rng(1).integers(0, 256, (5, 3), dtype=np.uint8)
    image = Image.fromarray(index, "L")
    image = image.convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    expect(picture, palette[index], 8)
    assert picture.mode == "P"
    image.save(tmp_path / "b.png", transparency=bytes([255, 0, 7, 128, 255]))
    alpha = np.array([255, 0, 7, 128, 255], np.uint8)[index]
    expect(read_image(tmp_path / "b.png"), np.dstack([palette[index], alpha]), 8)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_8_bit_png_with_a_transparent_colour(tmp_path, mode):
    values = levels(1 if mode == "L" else 3)
    key = int(values[2, 3]) if mode == "L" else tuple(int(v) for v in values[2, 3])
    Image.fromarray(values).save(tmp_path / "a.png", transparency=key)
    picture = read_image(tmp_path / "a.png")
    assert picture.alpha is not None
    clear = values == values[2, 3] if mode == "L" else (values == values[2, 3]).all(axis=2)
    np.testing.assert_array_equal(picture.alpha, np.where(clear, 0, 255))
    np.testing.assert_array_equal(
        picture.levels()[..., :-1], values[..., None] if mode == "L" else values
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    image = Image.fromarray(levels(3)).convert(mode)
    image.save(tmp_path / "a.jpg", quality=95)
    picture = read_image(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as again:
        expect(picture, np.asarray(again.convert("RGB") if mode == "CMYK" else again), 8)
    assert picture.mode == mode


def test_jpeg_is_turned_as_its_exif_says(tmp_path):
    plain, turned = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.fromarray(levels(3)).save(plain, quality=95)
    exif = Image.Exif()
    exif[274] = 6  # to be shown a quarter turn clockwise
    Image.fromarray(levels(3)).save(turned, quality=95, exif=exif)
    expected = np.rot90(read_image(plain).pixels, -1, axes=(1, 2))
    np.testing.assert_array_equal(read_image(turned).pixels, expected)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff(tmp_path, depth, planes, planar):
    values = levels(planes, depth)
    options = {"photometric": "rgb" if planes > 2 else "minisblack"}
    if planes in (2, 4):
        options["extrasamples"] = ("unassalpha",)
    stored = values
    if planes > 1:
        options["planarconfig"] = planar
        stored = values.transpose(2, 0, 1) if planar == "separate" else values
    for byteorder in "<>":
        tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=byteorder, **options)
        expect(read_image(tmp_path / "a.tif"), values, depth)


def test_tiff_with_white_as_zero(tmp_path):
    values = levels(1, 16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    expect(read_image(tmp_path / "a.tif"), 65535 - values, 16)


def test_tiff_without_tifffile_names_the_extra(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", levels(1))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError, match=r"a\.tif: .*extra 'tiff'"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".bmp", ".webp"])
def test_bmp_and_webp(tmp_path, suffix):
    values = levels(3)
    Image.fromarray(values).save(tmp_path / f"a{suffix}", lossless=True)
    expect(read_image(tmp_path / f"a{suffix}"), values, 8)


def test_the_first_bytes_decide_not_the_name(tmp_path):
    Image.fromarray(levels(3)).save(tmp_path / "a.jpg", "PNG")
    expect(read_image(tmp_path / "a.jpg"), levels(3), 8)


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_what_is_written_is_read_again(tmp_path, suffix, depth, planes):
    picture = Picture.from_levels(levels(planes, depth), "", has_alpha=planes in (2, 4))
    deep = suffix in (".bmp", ".webp") and depth == 16
    if deep or (suffix == ".bmp" and planes in (2, 4)):
        with pytest.raises(ImageError, match="holds"):
            write_image(tmp_path / f"a{suffix}", picture)
        assert not list(tmp_path.iterdir())
        return
    write_image(tmp_path / f"a{suffix}", picture)
    again = read_image(tmp_path / f"a{suffix}")
    if suffix == ".webp" and planes < 3:  # WEBP has no gray: it comes back as equal channels
        np.testing.assert_array_equal(again.pixels, np.repeat(picture.pixels, 3, axis=0))
    else:
        expect(again, levels(planes, depth), depth)


def test_a_16_bit_png_is_what_pypng_reads(tmp_path):
    picture = Picture.from_levels(levels(3, 16), "", has_alpha=False)
    write_image(tmp_path / "a.png", picture)
    width, height, rows, info = png.Reader(filename=str(tmp_path / "a.png")).read()
    assert (height, width, info["bitdepth"]) == (*SHAPE, 16)
    np.testing.assert_array_equal(np.vstack(list(rows)).reshape(*SHAPE, 3), levels(3, 16))


def test_jpeg_is_written_close(tmp_path):
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    pixels = np.broadcast_to(ramp, (3, 48, 64)).copy()
    write_image(tmp_path / "a.jpg", Picture(pixels))
    assert np.abs(read_image(tmp_path / "a.jpg").pixels - pixels).max() < 0.02


def test_values_are_clipped_and_rounded():
    values = np.array([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.5 / 255, 1.0, 7.0])
    np.testing.assert_array_equal(quantise(values), [0, 0, 0, 1, 2, 255, 255])
    assert quantise(values, 16)[-1] == 65535
    with pytest.raises(ValueError, match="not finite"):
        quantise(np.array([np.nan]))


def test_writing_replaces_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, Picture.from_levels(levels(3), "", has_alpha=False))
    before = path.read_bytes()
    bad = Picture(np.full((3, 4, 4), np.nan, np.float32))
    with pytest.raises(ImageError, match="not finite"):
        write_image(path, bad)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def broken(file, *_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.data.images._write_pillow", broken)
    with pytest.raises(OSError, match="No space"):
        write_image(tmp_path / "a.png", Picture(np.zeros((3, 4, 4), np.float32)))
    assert not list(tmp_path.iterdir())


def test_colour_profile_is_carried_along(tmp_path):
    picture = Picture(np.zeros((3, 4, 4), np.float32), icc=b"a profile")
    write_image(tmp_path / "a.png", picture)
    assert read_image(tmp_path / "a.png").icc == b"a profile"


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ImageError, match="unknown picture format"):
        write_image(tmp_path / "a.gif", Picture(np.zeros((3, 4, 4), np.float32)))


# --- folders and the bundled photographs ---------------------------------------------------------


def test_list_images(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [item.name for item in list_images(tmp_path)] == ["a.jpg", "b.PNG"]
    assert list_images(tmp_path / "a.jpg") == [tmp_path / "a.jpg"]
    with pytest.raises(ImageError, match="no such file or folder"):
        list_images(tmp_path / "nothing")


def test_read_photographs(tmp_path):
    Image.fromarray(levels(1)).save(tmp_path / "gray.png")
    Image.fromarray(levels(4, 8)).save(tmp_path / "alpha.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "small.png")
    colour = read_photographs(tmp_path, least=5)
    assert [item.shape for item in colour] == [(3, *SHAPE), (3, *SHAPE)]
    np.testing.assert_array_equal(colour[1], np.stack([levels(1)] * 3))
    assert [item.shape[0] for item in read_photographs(tmp_path, channels=1)] == [1, 1, 1]
    with pytest.raises(ImageError, match="no picture of at least 50x50"):
        read_photographs(tmp_path, least=50)


def test_luma():
    white = np.full((3, 2, 2), 255, np.uint8)
    assert (with_channels(white, 1) == 255).all()
    assert with_channels(np.array([1.0, 0, 0]).reshape(3, 1, 1), 1) == pytest.approx(0.299)


def test_bundled_photographs_are_listed_with_licence_and_disjoint():
    sources = (samples_dir() / "SOURCES.md").read_text()
    rows = {
        cells[1].strip(" `"): cells
        for cells in (line.split("|") for line in sources.splitlines() if line.startswith("| `"))
    }
    train, test = sample_files("train"), sample_files("test")
    assert len(train) >= 11
    assert len(test) >= 4
    assert rows.keys() == {f"{item.parent.name}/{item.name}" for item in train + test}
    hashes = {item: hashlib.sha256(item.read_bytes()).hexdigest() for item in train + test}
    assert len(set(hashes.values())) == len(hashes)
    for item, digest in hashes.items():
        _, _, subject, author, licence, done, stated, _ = rows[f"{item.parent.name}/{item.name}"]
        assert all(cell.strip() for cell in (subject, author, done))
        assert licence.strip().startswith(("CC0", "public domain"))
        assert stated.strip(" `") == digest
    # No photograph stands in both parts under another name: the origins differ too.
    origins = [rows[name][3] for name in rows]
    assert len(set(origins)) == len(origins)


def test_bundled_photographs_are_of_use():
    total = 0
    for item in sample_files("train") + sample_files("test"):
        picture = read_image(item)
        assert picture.pixels.shape[0] in (1, 3)
        assert min(picture.size) >= 256
        assert item.stat().st_size <= 900_000
        total += item.stat().st_size
    assert total <= 6_000_000


def test_samples_dir_refuses_other_parts():
    with pytest.raises(ValueError, match="'train', 'test'"):
        samples_dir("validation")
    assert isinstance(samples_dir(), Path)
