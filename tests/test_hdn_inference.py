"""Draws, their mean and their mode, tiles of networks that see far, stacks of frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import zoo
from tests.shared import HDN as FOLDER
from tests.test_reference_hdn import tensors
from zoo.__main__ import main
from zoo.data.images import read_image
from zoo.data.stack import official_corners
from zoo.denoise import OutputError, denoise_files, denoise_image
from zoo.inference import tiling
from zoo.inference.mode import mode_of, tiled_mode_of
from zoo.inference.receptive import receptive_field

LADDER = {"z_dims": [2, 2], "n_filters": 4, "blocks_per_layer": 1, "img_shape": [16, 16]}
assert FOLDER  # read by `tensors`


def ladder(**more: Any) -> Any:
    how = {**LADDER, "data_mean": 0.5, "data_std": 0.25, **more}
    return zoo.create("hdn", rng=np.random.default_rng(0), **how)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    zoo.registry.save(tmp_path / "hdn.safetensors", ladder())
    return tmp_path / "hdn.safetensors"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Three frames of 16 bits, 21 x 26."""
    frames = np.random.default_rng(1).integers(9000, 50000, (3, 21, 26)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "frames.tif", frames, photometric="minisblack")
    return tmp_path / "frames.tif"


# ------------------------------------------------------------------------------- draws


def test_draws_and_their_mean() -> None:
    model, image = ladder(), np.random.default_rng(0).random((19, 22), np.float32)
    mean = denoise_image(model, image, samples=4, seed=3)
    draws = [denoise_image(model, image, samples=1, seed=3, first=k) for k in range(4)]
    np.testing.assert_allclose(mean, np.mean(draws, axis=0), atol=1e-6)
    assert np.std(draws, axis=0).mean() > 1e-4
    assert np.array_equal(draws[2], denoise_image(model, image, samples=1, seed=3, first=2))
    assert not np.array_equal(draws[0], denoise_image(model, image, samples=1, seed=4))
    assert np.array_equal(denoise_image(model, image), denoise_image(model, image, samples=10))
    for wrong in ({"samples": 0}, {"samples": 1, "first": -1}):
        with pytest.raises(ValueError, match="samples from 1"):
            denoise_image(model, image, **wrong)


def test_a_draw_is_the_same_in_tiles() -> None:
    """One sample, not its mean: the noise of a tile is its part of the picture's."""
    model, image = ladder(), np.random.default_rng(0).random((150, 140), np.float32)
    whole = denoise_image(model, image, samples=1, first=5)
    tiled = denoise_image(model, image, samples=1, first=5, tile=32)
    assert np.abs(whole - tiled).max() < 1e-5


def test_test_time_augmentation_averages_draws_of_moved_pictures() -> None:
    model, image = ladder(), np.random.default_rng(0).random((16, 20), np.float32)
    parts = []
    for flip in (False, True):
        moved = image[:, ::-1] if flip else image
        for turns in range(4):
            clean = denoise_image(model, np.rot90(moved, turns).copy(), samples=2)
            clean = np.rot90(clean, -turns)
            parts.append(clean[:, ::-1] if flip else clean)
    found = denoise_image(model, image, samples=2, ensemble=8)
    np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-6)


def test_pictures_of_nothing_in_several_sizes() -> None:
    model = ladder()
    assert model.sample_prior(2).shape == (2, 1, 16, 16)
    wide = model.sample_prior(1, size=(32, 64))
    assert wide.shape == (1, 1, 32, 64) and np.isfinite(wide).all()
    with pytest.raises(ValueError, match="multiples"):
        model.sample_prior(1, size=(20, 16))
    same = model.sample_prior(2, constant_layers=(0, 1))
    np.testing.assert_array_equal(same[0], same[1])
    given = np.ones((3, 2, 4, 4), np.float32)
    forced = model.sample_prior(3, forced={1: given}, mode_layers=(0,))
    np.testing.assert_allclose(forced[0], forced[2], atol=1e-6)
    other: Any = zoo.create("divnoising", z_dim=2, init_filters=2)
    assert other.sample_prior(2, grid=(5, 3)).shape == (2, 1, 20, 12)


# ------------------------------------------------------------------------------- tiles


def test_a_thin_ladder_sees_as_far() -> None:
    wide = ladder(use_uncond_mode_at=[0], n_filters=5)
    assert receptive_field(wide) == receptive_field(ladder(use_uncond_mode_at=[0], n_filters=2))


def test_a_halo_in_place_of_the_field() -> None:
    model = ladder()
    image = np.random.default_rng(0).random((120, 96), np.float32)
    plan = tiling.plan(model, 120, 96, 32, halo=9)
    assert plan.halo == (12, 12, 12, 12) and not plan.note
    whole = denoise_image(model, image, samples=1)
    errors = [
        np.abs(denoise_image(model, image, samples=1, tile=32, halo=halo) - whole).max()
        for halo in (0, 12, 52)
    ]
    assert errors[0] > errors[1] > 0 and errors[2] < 1e-5
    with pytest.raises(ValueError, match="halo"):
        tiling.plan(model, 120, 96, halo=-1)


def test_one_pass_where_a_tile_would_read_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ladder(z_dims=[1] * 5, n_filters=1, img_shape=[32, 32])
    monkeypatch.setattr(tiling, "PROBE", 8)
    monkeypatch.setattr(tiling, "pixels_that_fit", lambda _: 64 * 64)
    plan = tiling.plan(model, 96, 96)
    assert plan.whole and "whole picture" in plan.note
    assert not tiling.plan(model, 96, 96, halo=0).whole


# ------------------------------------------------------------------------------- files


def test_a_stack_keeps_its_form(weights: Path, stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = zoo.load(weights)
    results = denoise_files(model, [stack], out, samples=2, save_samples=True)
    assert results[0].error is None and results[0].shape == (21, 26)
    clean = tifffile.imread(out / "frames.tif")
    assert clean.shape == (3, 21, 26) and clean.dtype == np.uint16
    noisy = tifffile.imread(stack)[1].astype(np.float32) / 65535
    expected = np.rint(np.clip(denoise_image(model, noisy, samples=2), 0, 1) * 65535)
    assert np.abs(clean[1] - expected).max() <= 1
    names = sorted(path.name for path in (out / "samples").iterdir())
    assert names == [f"frames-page{p}-{k:03d}.tif" for p in (1, 2, 3) for k in (1, 2)]
    drawn = [tifffile.imread(out / "samples" / f"frames-page2-{k:03d}.tif") for k in (1, 2)]
    assert drawn[0].dtype == np.uint16
    unclipped = np.logical_and(*((d > 0) & (d < 65535) for d in drawn))
    mean = np.mean([d.astype(float) for d in drawn], axis=0)
    assert np.abs(clean[1] - mean)[unclipped].max() <= 1.5
    (out / "frames.tif").unlink()  # draws are not replaced either, nor are inputs
    again = denoise_files(model, [stack], out, samples=1, save_samples=True)
    assert "exists already; --overwrite" in str(again[0].error)
    inside = [out / "samples" / "frames-page1-001.tif"]
    with pytest.raises(OutputError, match="is the folder of the input"):
        denoise_files(model, inside, out, samples=1, save_samples=True)


def test_a_stack_into_a_format_of_one_page(weights: Path, stack: Path, tmp_path: Path) -> None:
    odd = stack.rename(tmp_path / "frames.png")
    result = denoise_files(zoo.load(weights), [odd], tmp_path / "out")[0]
    assert result.error is not None and "3 pages" in result.error
    assert not (tmp_path / "out" / "frames.png").exists()


def test_commands(
    weights: Path, stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clean"
    words = ["denoise", str(stack), "--weights", str(weights), "--out", str(out), "--json"]
    assert main([*words, "--samples", "3", "--save-samples", "--ensemble", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["height_width"] == [21, 26]
    assert len([*(out / "samples").iterdir()]) == 9
    evaluate = ["evaluate", str(weights), "--noise", "gaussian:25", "--limit", "1", "--json"]
    small = tmp_path / "small"
    small.mkdir()
    page = tifffile.imread(stack)[0]
    tifffile.imwrite(small / "one.tif", page, photometric="minisblack")
    assert read_image(small / "one.tif").size == (21, 26)
    assert main([*evaluate, "--data", str(small), "--samples", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["protocol"]["samples"] == "mean of 2 draws"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--save-samples"], "--save-samples: needs"),
        (["--samples", "0"], "--samples: expected at least 1"),
        (["--halo", "-1"], "--halo: expected"),
    ],
)
def test_wrong_usage(
    more: list[str], told: str, weights: Path, stack: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["denoise", str(stack), "--weights", str(weights), "--out", str(tmp_path / "o")]
    assert main([*words, *more]) == 2
    assert told in capsys.readouterr().err


def test_networks_that_draw_nothing_say_so(stack: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["denoise", str(stack), "--out", str(tmp_path / "o"), "--samples", "3"]) == 2
    assert "draws nothing; hdn and divnoising do" in capsys.readouterr().err


# ------------------------------------------------------------------------------- mode, patches


@pytest.mark.usefixtures("shared")
def test_the_mode_of_the_authors() -> None:
    t = tensors("data_prep_and_mode")
    bandwidth, least, factor = t["mode_initBW_minBW_reduce"].tolist()
    found = mode_of(t["mode_samples"], bandwidth, least, factor)
    np.testing.assert_allclose(found, t["mode_result"], rtol=1e-9, atol=1e-11)
    tiles = tiled_mode_of(t["mode_samples"][:, None], bandwidth, least, factor, tile=6, overlap=2)
    np.testing.assert_array_equal(tiles[0], found)


def test_the_mode_is_the_denser_of_two_heaps() -> None:
    rng = np.random.default_rng(0)
    heaps = np.concatenate([rng.normal(0, 1, (70, 1, 7, 9)), rng.normal(20, 1, (30, 1, 7, 9))])
    found = tiled_mode_of(heaps, 60.0, 10.0, tile=5, overlap=2)
    assert np.abs(found).max() < 1 and found.shape == (1, 7, 9)
    assert np.abs(heaps.mean(0) - 6).max() < 1
    for wrong in ((heaps[:0], 2.0, 1.0), (heaps, 1.0, 2.0), (heaps, 1.0, 0.0)):
        with pytest.raises(ValueError, match="mode_of"):
            mode_of(*wrong)
    with pytest.raises(ValueError, match="overlap"):
        tiled_mode_of(heaps, 2.0, 1.0, tile=4, overlap=4)


@pytest.mark.usefixtures("shared")
def test_the_patches_of_the_authors() -> None:
    t = tensors("data_prep_and_mode")
    count, height, width = t["images"].shape
    for i in range(count):
        rows, columns = official_corners(height, width, 16, 5, i)
        np.testing.assert_array_equal(rows, t[f"rows_{i}"])
        np.testing.assert_array_equal(columns, t[f"cols_{i}"])
