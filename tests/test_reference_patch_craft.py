"""Stored results of the authors' programs: noise, search, targets, statistics, tiles, thresholds.

They are read from the folder `reference/patch_craft/target` of the shared folder. In `tie_mask`
stand the patches that are mirror images of themselves: two of their neighbours are equally near,
and rounding decides.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from minigrad.noise import Noise
from tests.shared import PATCH_CRAFT
from zoo.noise import box_correlated, parse
from zoo.patch_craft import (
    Craft,
    Matches,
    Settings,
    Threshold,
    cut_samples,
    deal,
    exchange,
    keep,
    nearest_patches,
    select_threshold,
    statistics_maps,
    tile_corners,
    tile_statistics,
)
from zoo.patch_craft.search import Pass, padded, search
from zoo.patch_craft.training_set import burst_samples

pytestmark = pytest.mark.usefixtures("shared")  # skips, or fails with CI set, without the folder

EASY, MOVING = "case_a_p4_s5", "case_b_p5_twopass_swap"
SEARCH: dict[str, dict[str, Any]] = {
    EASY: {"patch": 4, "reach": 5},
    MOVING: {"patch": 5, "reach": 8, "skip": 3, "second": 3},
}
PASSES = {EASY: (Pass(5),), MOVING: (Pass(8, 3), Pass(3))}
TILE = {EASY: 16, MOVING: 50}
both = pytest.mark.parametrize("case", SEARCH)


@functools.cache
def tensors(name: str) -> dict[str, np.ndarray]:
    return load_file(PATCH_CRAFT / "target" / f"{name}.safetensors")


def stored(name: str) -> Any:
    return json.loads((PATCH_CRAFT / "target" / f"{name}.json").read_text(encoding="utf-8"))


def burst(case: str, dtype: Any = np.float32) -> np.ndarray:
    """The noisy burst, its middle frame in the middle; read-only."""
    noisy = tensors(case)["seq_noisy"].astype(dtype)
    noisy = exchange(noisy, 1) if case == MOVING else noisy
    noisy.flags.writeable = False
    return noisy


def stored_matches(case: str) -> Matches:
    t = tensors(case)
    return Matches(np.moveaxis(t["min_i_f32"], 2, 0), t["min_dist_f64"])


# ------------------------------------------------------------------ noise


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_correlated_noise(kernel: int) -> None:
    t = tensors("correlated_noise")
    iid, clean, noisy = t[f"iid_k{kernel}"], t["clean"], t[f"noisy_sigma20_k{kernel}"]
    found = clean + box_correlated(np.float32(20 / 255) * iid, kernel)
    np.testing.assert_allclose(found, noisy, rtol=0, atol=2e-7)
    law = parse(f"correlated:20:kernel={kernel}")
    frames = [x.swapaxes(0, 1) for x in (iid, clean, noisy)]  # frames are the law's images
    by_law = law(frames[1], Noise.given([frames[0]]))
    np.testing.assert_allclose(by_law, frames[2], rtol=0, atol=2e-7)


# ------------------------------------------------------------------ search and targets


@both
def test_margins(case: str) -> None:
    how, y = SEARCH[case], burst(case)
    found = padded(y[:, 3], how["patch"], how["reach"])
    np.testing.assert_array_equal(found, tensors(case)["padded_middle_frame"])


@both
def test_nearest_patches(case: str, dtype: Any) -> None:
    t, y = tensors(case), burst(case, dtype)
    no_tie = t["tie_mask"] == 0
    fast = nearest_patches(y, **SEARCH[case])
    plain = search.definition(y, SEARCH[case]["patch"], PASSES[case], lambda done, lines: None)
    for found in (fast, plain):
        assert found.shift.dtype == np.int16
        assert found.distance.dtype == dtype
        np.testing.assert_array_equal(
            found.shift[:, no_tie], stored_matches(case).shift[:, no_tie], strict=True
        )
        # The stored distances are those of float64, whichever of two equal ones was taken.
        atol = 1e-15 if dtype == np.float64 else 2e-7
        np.testing.assert_allclose(found.distance, t["min_dist_f64"], rtol=0, atol=atol)


@both
def test_targets(case: str) -> None:
    t, y = tensors(case), burst(case)
    craft = Craft(y, stored_matches(case), SEARCH[case]["patch"])
    assert craft.offsets == len(t["targets"])
    for offset, target in enumerate(t["targets"]):
        np.testing.assert_array_equal(craft.image(offset), target, strict=True)


@both
def test_targets_of_our_own_search(case: str) -> None:
    """All that is not pasted from a patch with a tie is the same."""
    t, y, p = tensors(case), burst(case), SEARCH[case]["patch"]
    found = nearest_patches(y, **SEARCH[case])
    differs = (found.shift != stored_matches(case).shift).any(axis=0)
    assert not (differs & (t["tie_mask"] == 0)).any()
    craft = Craft(y, found, p)
    for offset, target in enumerate(t["targets"]):
        tied = pixels_of(differs, offset, p)
        image = craft.image(offset)
        np.testing.assert_array_equal(image[:, ~tied], target[:, ~tied])
        assert tied.mean() < 0.1


def pixels_of(positions: np.ndarray, offset: int, p: int) -> np.ndarray:
    """Which pixels are pasted from a patch at one of the marked positions."""
    h, w = (side - p + 1 for side in positions.shape)
    k, l = divmod(offset, p)  # noqa: E741
    rows, columns = np.arange(h), np.arange(w)
    corners = rows - (rows - k) % p + p - 1, columns - (columns - l) % p + p - 1
    return positions[np.ix_(*corners)]


# ------------------------------------------------------------------ statistics


@both
def test_statistics_of_every_window(case: str) -> None:
    t, y = tensors(case), burst(case)
    for target, s, m in zip(t["targets"], t["s_yr"], t["r_mean"], strict=True):
        found = statistics_maps(y[:, 3], target, TILE[case])
        np.testing.assert_allclose(found.s, s, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found.m, m, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bins", [101, 501, 50_001])
@pytest.mark.parametrize("std_num", [1.0, 3.0])
def test_threshold(bins: int, std_num: float) -> None:
    t = tensors("threshold")
    (expected,) = (c for c in stored("threshold") if c["bins"] == bins and c["std_num"] == std_num)
    found = select_threshold(t["s_yr"], t["r_mean"], bins=bins, std_num=std_num)
    names = "min_cov", "min_mean", "max_mean", "mean_val"
    assert found == tuple(expected[name] for name in names)
    assert (t["s_yr"] > found.s_min).sum() == expected["kept"]


def test_which_tiles_of_a_batch_are_kept() -> None:
    t = tensors("filter_and_adam_steps")
    limits = Threshold(*(float(t[k][0]) for k in ("min_cov", "min_mean", "max_mean", "mean_val")))
    found = tile_statistics(t["batch"][:, :3], t["batch"][:, 3:])
    np.testing.assert_allclose(found.s, t["s_yr"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.m, t["r_mean"], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(keep(*found, limits), t["keep"].astype(bool))


# ------------------------------------------------------------------ tiles


def dealt_by_authors(sequence: dict[str, Any]) -> tuple[list[int], list[int], list[int]]:
    """Tiles, offsets and modes of a stored sequence, in the order in which they were stored."""
    parts = [
        (tile, part["offset"], mode)
        for part in sequence["per_offset"]
        for tile, mode in zip(part["tiles"], part["aug_modes"], strict=True)
    ]
    tiles, offsets, modes = (list(x) for x in zip(*parts, strict=True))
    return tiles, offsets, modes


def test_tiles_are_dealt_as_by_the_authors() -> None:
    found = stored("tile_assignment")
    corners = tile_corners(60, 56, 24, 7)
    assert len(corners) == found["patch_num"] == found["v_num"] * found["h_num"]
    for before, sequence in enumerate(found["sequences"]):
        order = np.array(sequence["permutation"])
        dealt = deal(order, 25, strict_official=True, before=before)
        tiles, offsets, _ = dealt_by_authors(sequence)
        assert dealt.tile.tolist() == tiles
        assert dealt.offset.tolist() == offsets
        whole = deal(order, 25, before=before)
        lost = len(whole.tile) - len(dealt.tile)
        assert lost == (2 if before else 0)
        np.testing.assert_array_equal(whole.tile, order)
        np.testing.assert_array_equal(whole.tile[lost:], dealt.tile)
        np.testing.assert_array_equal(whole.offset[lost:], dealt.offset)


def test_the_first_samples() -> None:
    sequence = stored("tile_assignment")["sequences"][0]
    _, _, modes = dealt_by_authors(sequence)
    dealt = deal(np.array(sequence["permutation"]), 25)
    craft = Craft(burst(MOVING), stored_matches(MOVING), 5)
    corners, y = tile_corners(60, 56, 24, 7), burst(MOVING)[:, 3]
    found = cut_samples(craft, y, dealt, corners, 24, np.array(modes)[:, None])
    assert found.input.shape == found.target.shape == (60, 3, 24, 24)
    t = tensors("tile_assignment_first_samples")
    for i in range(6):
        sample = np.concatenate([found.input[i], found.target[i]])
        np.testing.assert_array_equal(sample, t[f"sample_{i}"], strict=True)


def test_the_whole_way_with_the_authors_random_numbers() -> None:
    """Permutation and modes given; only patches with a tie may differ."""
    sequence = stored("tile_assignment")["sequences"][0]
    _, _, modes = dealt_by_authors(sequence)
    order, modes_drawn = np.array(sequence["permutation"]), np.array(modes)[:, None] - 1
    places = np.arange((60 - 24 + 1) * (56 - 24 + 1))
    given = Noise.given([order, modes_drawn, np.arange(25), places])
    settings = Settings(**SEARCH[MOVING], tile=24, stride=7)
    found = burst_samples(burst(MOVING), settings, given)
    t = tensors("tile_assignment_first_samples")
    stacked = np.concatenate([found.samples.input, found.samples.target], axis=1)
    assert stacked.shape == (60, 6, 24, 24)
    for i in range(6):
        np.testing.assert_array_equal(stacked[i], t[f"sample_{i}"])
