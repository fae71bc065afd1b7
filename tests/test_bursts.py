"""Bursts: read from folders and TIFF files, and made from still photographs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from zoo.data import (
    ImageError,
    Picture,
    SyntheticBursts,
    frame_count,
    list_bursts,
    read_burst,
    write_image,
)
from zoo.data.images import read_pages
from zoo.data.picture import with_channels
from zoo.noise import parse

SHAPE = (13, 11)


def frames(count: int, depth: int = 8, planes: int = 3, seed: int = 0) -> np.ndarray:
    """(T, H, W[, 3]) file values."""
    shape = (count, *SHAPE, 3) if planes == 3 else (count, *SHAPE)
    dtype = np.dtype(f"uint{depth}")
    return np.random.default_rng(seed).integers(0, 2**depth, shape, dtype=dtype)


def write_folder(folder: Path, values: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(values):
        picture = Picture.from_levels(frame, "", has_alpha=False)
        write_image(folder / f"frame{i:03}{suffix}", picture)
    return folder


def as_burst(values: np.ndarray) -> np.ndarray:
    """What is to be read: (3, T, H, W) in [0, 1]."""
    planes = values if values.ndim == 4 else np.repeat(values[..., None], 3, axis=3)
    top = np.float32(np.iinfo(values.dtype).max)
    return planes.transpose(3, 0, 1, 2).astype(np.float32) / top


# ------------------------------------------------------------------ reading


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tif", "stack", "deflated stack"])
def test_a_burst_is_read_exactly(tmp_path: Path, depth: int, planes: int, kind: str) -> None:
    values = frames(8, depth, planes)
    if kind in ("png", "tif"):
        path = write_folder(tmp_path / "burst", values, f".{kind}")
        (path / "notes.txt").write_text("no frame")
        (path / ".hidden.png").write_bytes(b"no picture")
    else:
        path = tmp_path / "burst.tif"
        how: dict[str, Any] = {"photometric": "rgb" if planes == 3 else "minisblack"}
        if kind == "deflated stack":
            how["compression"] = "zlib"
        tifffile.imwrite(path, values, **how)
    assert frame_count(path) == 8
    found = read_burst(path)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, as_burst(values), strict=True)
    np.testing.assert_array_equal(read_burst(path, first=2, frames=5), found[:, 2:7])
    kept = read_burst(path, channels=None)
    np.testing.assert_array_equal(kept, found[:planes])
    assert read_burst(path, channels=1).shape == (1, 8, *SHAPE)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    values = frames(3)
    (tmp_path / "burst").mkdir()
    for i, frame in enumerate(values):
        alpha = np.full((*SHAPE, 1), 7, np.uint8)
        Image.fromarray(np.concatenate([frame, alpha], axis=2)).save(tmp_path / f"burst/{i}.png")
    np.testing.assert_array_equal(read_burst(tmp_path / "burst"), as_burst(values))


def test_bursts_are_listed(tmp_path: Path) -> None:
    write_folder(tmp_path / "b", frames(2))
    write_folder(tmp_path / ".hidden", frames(2))
    (tmp_path / "empty").mkdir()
    tifffile.imwrite(tmp_path / "a.tif", frames(3), photometric="rgb")
    (tmp_path / "notes.txt").write_text("no burst")
    assert list_bursts(tmp_path) == [tmp_path / "a.tif", tmp_path / "b"]
    assert list_bursts(tmp_path / "b") == [tmp_path / "b"]
    assert list_bursts(tmp_path / "a.tif") == [tmp_path / "a.tif"]


def folder_of(tmp_path: Path, **pictures: np.ndarray) -> Path:
    for name, values in pictures.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    return tmp_path


def test_wrong_bursts_are_explained(tmp_path: Path) -> None:
    colour, gray, wide = frames(1)[0], frames(1, planes=1)[0], np.zeros((13, 12, 3), np.uint8)
    cases = itertools.count()

    def said(path: Path, **how: Any) -> str:
        with pytest.raises(ImageError) as caught:
            read_burst(path, **how)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def folder(**pictures: np.ndarray) -> Path:
        where = tmp_path / str(next(cases))
        where.mkdir()
        return folder_of(where, **pictures)

    where = folder(a=colour, b=wide)
    expected = f"{where / 'b.png'}: frames of one burst must agree in size: 13x12 here, 13x11 in "
    assert said(where).startswith(expected)
    where = folder(a=colour, b=gray)
    assert f"{where / 'b.png'}: frames of one burst must agree in kind: gray here" in said(where)
    where = folder(a=colour, b=colour)
    assert said(where, frames=7) == f"{where}: 2 frames in the burst, frames 0 to 6 asked for"
    assert "frames 1 to 2 asked for" in said(where, first=1, frames=2)
    assert "no frame asked for" in said(where, frames=0)
    assert "0 frames in the burst" in said(folder())
    assert "no such file or folder" in said(tmp_path / "absent")
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, frames(1), photometric="rgb")
    tifffile.imwrite(stack, wide, photometric="rgb", append=True)
    assert f"{stack}: page 1: frames of one burst must agree in size" in said(stack)
    tifffile.imwrite(stack, colour, photometric="rgb", append=True)
    expected = f"{stack}: page 2: frames of one burst must agree in size: 13x11 here, 13x12 in"
    assert said(stack, first=1) == f"{expected} {stack}: page 1"
    where = folder(a=colour)
    tifffile.imwrite(where / "b.tif", frames(2), photometric="rgb")
    assert "TIFF with 2 pages; only one is supported" in said(where)
    with pytest.raises(ImageError, match="a single picture beside bursts such as b.tif"):
        list_bursts(where)
    with pytest.raises(ImageError, match="no burst: no folder of pictures"):
        list_bursts(folder())
    (tmp_path / "bad.tif").write_bytes(b"II*\x00\x08\x00\x00\x00")
    assert said(tmp_path / "bad.tif") == f"{tmp_path / 'bad.tif'}: TIFF without a page"


def test_the_limit_of_pixels_holds_for_all_pages_together(tmp_path: Path) -> None:
    path, size = tmp_path / "a.tif", SHAPE[0] * SHAPE[1]
    tifffile.imwrite(path, frames(5), photometric="rgb")
    assert len(read_pages(path, max_pixels=5 * size)) == 5
    assert len(read_pages(path, slice(1, 3), max_pixels=2 * size)) == 2
    with pytest.raises(ImageError, match="more than the limit"):
        read_pages(path, max_pixels=5 * size - 1)


# ------------------------------------------------------------------ made from stills


def photograph(h: int = 90, w: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, h, w), dtype=np.uint8)


def places(picture: np.ndarray, frame: np.ndarray) -> list[tuple[int, int]]:
    """Where a frame (C, h, w) lies in a picture, exactly."""
    windows = np.lib.stride_tricks.sliding_window_view(picture[0], frame.shape[1:])
    found = np.argwhere((windows == np.rint(frame[0] * 255)).all(axis=(2, 3)))
    return [tuple(place) for place in found.tolist()]


def test_frames_are_moved_crops_around_the_middle_one() -> None:
    made = SyntheticBursts([photograph()], parse("gaussian:0"), size=(40, 30), shift=4)
    moves = set()
    for number in range(10):
        burst = made.burst(number)
        assert burst.noisy.shape == burst.clean.shape == (3, 7, 40, 30)
        assert burst.noisy.dtype == burst.clean.dtype == np.float32
        assert not burst.hard
        np.testing.assert_array_equal(burst.noisy, burst.clean)
        ((top, left),) = places(photograph(), burst.clean[:, 3])
        for t in range(7):
            ((y, x),) = places(photograph(), burst.clean[:, t])
            moves |= {y - top, x - left}
    assert moves == set(range(-4, 5))


def test_noise_is_independent_from_frame_to_frame() -> None:
    made = SyntheticBursts([photograph(300, 300)], parse("correlated:20"), size=(200, 200))
    burst = made.burst(0)
    z = (burst.noisy - burst.clean).swapaxes(0, 1).reshape(7, -1)
    assert z.std() * 255 == pytest.approx(20, rel=0.03)
    assert np.abs(np.corrcoef(z) - np.eye(7)).max() < 0.03


def test_a_burst_is_a_function_of_seed_and_number() -> None:
    pictures = [photograph(), with_channels(photograph(95, 95, seed=1), 3)]
    how: dict[str, Any] = {"size": (30, 30), "rotation": 2.0, "hard": 0.3}
    made = SyntheticBursts(pictures, parse("gaussian:20"), **how)
    first = [made.burst(i) for i in (3, 0, 3)]
    np.testing.assert_array_equal(first[0].noisy, first[2].noisy)
    again = SyntheticBursts(pictures, parse("gaussian:20"), **how).burst(0)
    np.testing.assert_array_equal(first[1].noisy, again.noisy)
    assert not np.array_equal(first[0].noisy, first[1].noisy)
    other = SyntheticBursts(pictures, parse("gaussian:20"), seed=1, **how).burst(0)
    assert not np.array_equal(other.noisy, again.noisy)


def test_hard_bursts_show_another_place() -> None:
    made = SyntheticBursts([photograph()], parse("gaussian:0"), size=(30, 32), hard=0.5, shift=2)
    kinds = [made.burst(i) for i in range(60)]
    assert 0.3 < np.mean([b.hard for b in kinds]) < 0.7
    for burst in kinds[:10]:
        assert len(places(photograph(), burst.clean[:, 3])) == 1
        assert bool(places(photograph(), burst.clean[:, 0])) is not burst.hard
        if burst.hard:
            others = np.delete(burst.clean, 3, axis=1) - burst.clean[:, 3:4]
            assert (np.abs(others).mean(axis=(0, 2, 3)) > 0.2).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_frames_are_turned_about_their_centre(smooth: bool) -> None:
    """A plane is turned exactly, by bilinear and by cubic interpolation."""
    rows, columns = np.mgrid[0:120, 0:120]
    plane = (0.2 + 0.002 * rows + 0.003 * columns)[None]
    how: dict[str, Any] = {"size": (50, 41), "shift": 0, "rotation": 10.0, "smooth": smooth}
    burst = SyntheticBursts([plane], parse("gaussian:0"), **how).burst(2)
    y, x = np.mgrid[0:50, 0:41] - np.array([24.5, 20.0])[:, None, None]
    angles = []
    for t in range(7):
        frame = burst.clean[0, t].astype(np.float64)
        assert frame.mean() == pytest.approx(burst.clean[0, 3].mean(), abs=1e-6)
        a, b = (frame * y).sum() / (y**2).sum(), (frame * x).sum() / (x**2).sum()
        np.testing.assert_allclose(frame, frame.mean() + a * y + b * x, atol=1e-5)
        assert np.hypot(a, b) == pytest.approx(np.hypot(0.002, 0.003), rel=1e-4)
        angles.append(np.degrees(np.arctan2(a, b) - np.arctan2(0.002, 0.003)))
    assert angles[3] == pytest.approx(0, abs=1e-3)
    assert 0.5 < np.abs(angles).max() < 10
    assert len(np.unique(np.round(angles, 4))) == 7


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"size": (90, 30)}, r"picture 0: frames of 90x30 and their moves need \(C, 98, 38\)"),
        ({"size": (30, 30), "frames": 6}, "frames: expected an odd number, got 6"),
        ({"size": (30, 30), "shift": -1}, "shift: expected at least 0 pixels, got -1"),
        ({"size": (30, 30), "rotation": 90}, "rotation: expected 0 to 45 degrees, got 90"),
        ({"size": (30, 30), "hard": 1.5}, "hard: expected a share from 0 to 1, got 1.5"),
        ({"size": (0, 30)}, "size: expected at least 1 pixel"),
        ({"size": (74, 74), "hard": 0.1}, r"need \(C, 108, 108\) at least, got \(3, 90, 100\)"),
    ],
)
def test_wrong_settings_are_explained(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticBursts([photograph()], parse("gaussian:0"), **how)


def test_no_pictures_or_a_law_that_shrinks_them() -> None:
    with pytest.raises(ValueError, match="pictures: expected at least one, got 0"):
        SyntheticBursts([], parse("gaussian:0"), size=(9, 9))
    with pytest.raises(ValueError, match="law: expected one that keeps the size"):
        SyntheticBursts([photograph()], parse("subpixel:4"), size=(9, 9))
