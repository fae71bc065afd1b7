"""Samplers: pure functions of the step, pairs of one crop, exact values, short last batches."""

from __future__ import annotations

import time

import numpy as np
import pytest

from minigrad.noise import Noise
from zoo.data import (
    Batch,
    FixedSampler,
    PairSampler,
    Photographs,
    make_tiles,
    read_photographs,
    samples_dir,
    to_unit,
    turn,
)
from zoo.data.picture import with_channels
from zoo.noise import SubPixel, parse


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = ((80, 90), (100, 70), (64, 64))
    return [rng.integers(0, 256, (3, h, w), np.uint8) for h, w in sizes]


def same(a: Batch, b: Batch) -> bool:
    """Equal to the last bit, masks too."""
    return all((x is None and y is None) or np.array_equal(x, y) for x, y in zip(a, b, strict=True))


LAWS = ["subpixel:4", "gaussian:0-50", "bernoulli:0.5", "text:0.2", "poisson:30"]


@pytest.mark.parametrize("objective", ["noise2noise", "noise2clean"])
@pytest.mark.parametrize("text", LAWS)
def test_a_batch_is_a_function_of_the_step(pictures, text, objective):
    options = dict(batch=5, size=16, seed=3, objective=objective, augment=True)  # noqa: C408
    sampler = PairSampler(pictures, parse(text), **options)
    forward = [sampler.batch(step) for step in range(4)]
    backward = [sampler.batch(step) for step in (3, 2, 1, 0)][::-1]
    other = PairSampler(Photographs(pictures), parse(text), **options)
    for step in range(4):
        assert same(forward[step], backward[step])
        assert same(forward[step], other.batch(step))
    assert not same(forward[0], forward[1])
    assert not same(forward[0], PairSampler(pictures, parse(text), batch=5, size=16).batch(0))
    for member in forward[0][:2]:
        assert member.shape == (5, 3, 16, 16)
        assert member.dtype == np.float32
        assert member.flags.c_contiguous
        assert member.flags.writeable


def test_members_are_the_laws_draws_of_one_crop(pictures):
    photographs = Photographs(pictures)
    law = parse("gaussian:25")
    noisy = PairSampler(photographs, law, batch=4, size=16, seed=1).batch(2)
    clean = PairSampler(photographs, law, batch=4, size=16, seed=1, objective="noise2clean").batch(
        2
    )
    np.testing.assert_array_equal(noisy.input, clean.input)
    difference = (noisy.target - clean.target) * 255
    assert difference.std() == pytest.approx(25, rel=0.05)
    assert abs(np.corrcoef(difference.ravel(), (noisy.input - clean.target).ravel())[0, 1]) < 0.1


def test_crops_come_from_the_pictures(pictures):
    law = parse("gaussian:0")
    sampler = PairSampler(pictures, law, batch=20, size=16, objective="noise2clean")
    batch = sampler.batch(0)
    np.testing.assert_array_equal(batch.input, batch.target)
    windows = [
        np.lib.stride_tricks.sliding_window_view(picture, (16, 16), axis=(1, 2))
        for picture in pictures
    ]
    for tile in batch.target:
        levels = np.rint(tile * 255).astype(np.uint8)[:, None, None]
        assert any((view == levels).all(axis=(0, 3, 4)).any() for view in windows)


def test_crops_are_spread_over_pictures_and_places(pictures):
    u = np.random.default_rng(0).random((20_000, 3))
    crops = Photographs(pictures).crops(u, 64)
    assert np.bincount(crops.index) == pytest.approx([6667] * 3, rel=0.05)
    for index, (h, w) in enumerate(((80, 90), (100, 70), (64, 64))):
        mine = crops.index == index
        assert (crops.top[mine].min(), crops.top[mine].max()) == (0, h - 64)
        assert (crops.left[mine].min(), crops.left[mine].max()) == (0, w - 64)


@pytest.mark.parametrize("channels", [1, 3])
def test_packed_pixels_are_the_pictures(channels):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (channels, h, w), np.uint8) for h, w in ((9, 7), (6, 11))]
    photographs = Photographs(pictures)
    crops = photographs.crops(np.array([[0.0, 0.99, 0.99], [0.9, 0.0, 0.5]]), 6)
    assert crops.shape == (2, channels, 6, 6)
    np.testing.assert_array_equal(crops.array()[0], to_unit(pictures[0][:, 3:, 1:]))
    np.testing.assert_array_equal(crops.array()[1], to_unit(pictures[1][:, :, 3:9]))
    rows = rng.integers(0, 6, (2, 4, 5))
    columns = rng.integers(0, 6, (2, 4, 5))
    image = np.arange(2)[:, None, None]
    expected = crops.array()[image, :, rows, columns].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(crops.pixels(rows, columns), expected)
    means = crops.array().reshape(2, channels, 2, 3, 2, 3).mean((3, 5)) * 255
    np.testing.assert_allclose(crops.block_means(3), means, rtol=1e-5)


def test_to_unit_is_exact_for_every_level():
    levels = np.arange(256, dtype=np.uint8)
    expected = (np.arange(256) / 255).astype(np.float32)
    np.testing.assert_array_equal(to_unit(levels), expected)
    np.testing.assert_array_equal(np.rint(to_unit(levels) * 255), levels)


def test_masks_belong_to_the_target(pictures):
    sampler = PairSampler(
        pictures, parse("bernoulli:0.5"), batch=6, size=16, augment=True, swap=True
    )
    for step in range(3):
        batch = sampler.batch(step)
        assert batch.mask is not None
        assert batch.mask.shape == (6, 1, 16, 16)
        assert (batch.target[np.broadcast_to(batch.mask == 0, batch.target.shape)] == 0).all()
        assert (batch.input[np.broadcast_to(batch.mask == 0, batch.input.shape)] != 0).any()


def test_flips_and_turns_move_both_members_alike(pictures):
    law = parse("gaussian:0")
    plain = PairSampler(pictures, law, batch=64, size=16, seed=2)
    moved = PairSampler(pictures, law, batch=64, size=16, seed=2, augment=True)
    a, b = plain.batch(0), moved.batch(0)
    np.testing.assert_array_equal(b.input, b.target)
    ways = [
        next(way for way in range(8) if np.array_equal(turn(old, way), new))
        for old, new in zip(a.input, b.input, strict=True)
    ]
    assert set(ways) == set(range(8))


@pytest.mark.parametrize("text", ["gaussian:0", "subpixel:2"])
def test_recolouring_moves_black_and_white_of_every_second_crop(pictures, text):
    options = dict(batch=64, size=16, seed=2, objective="noise2clean")  # noqa: C408
    a = PairSampler(pictures, parse(text), **options).batch(0)
    sampler = PairSampler(pictures, parse(text), **options, recolour=True)
    b = sampler.batch(0)
    assert same(b, sampler.batch(0))
    changed = (a.input != b.input).any(axis=(1, 2, 3))
    assert 16 < changed.sum() < 48
    for i in np.flatnonzero(changed):
        for channel in range(3):
            x, y = a.input[i, channel].ravel(), b.input[i, channel].ravel()
            span, black = np.polyfit(x, y, 1)
            np.testing.assert_allclose(y, black + span * x, atol=1e-6)
            assert 0 <= black < 0.4
            assert 0.6 <= black + span < 1
            target = black + span * a.target[i, channel]
            step = 0.0 if text == "gaussian:0" else 1 / 255  # the mean of a block is rounded
            np.testing.assert_allclose(b.target[i, channel], target, atol=step + 1e-6)


def test_recolouring_comes_before_the_noise(pictures):
    options = dict(batch=64, size=16, seed=2, objective="noise2clean", recolour=True)  # noqa: C408
    batch = PairSampler(pictures, parse("gaussian:25"), **options).batch(0)
    sigma = 255 * (batch.input - batch.target).std(axis=(1, 2, 3))
    assert (abs(sigma - 25) < 4).all()


@pytest.mark.parametrize("objective", ["noise2noise", "noise2clean"])
def test_a_share_of_the_pairs_is_gray(pictures, objective):
    options = dict(batch=8, size=16, seed=2, objective=objective)  # noqa: C408
    batch = PairSampler(pictures, parse("gaussian:25"), **options, gray=0.25).batch(3)
    for member in (batch.input, batch.target):
        assert member.shape == (8, 3, 16, 16)
        same_channels = (member == member[:, :1]).all(axis=(1, 2, 3))
        assert same_channels.tolist() == [False] * 6 + [True] * 2
    assert (batch.input != batch.target).any(axis=(1, 2, 3)).all()
    mask = PairSampler(pictures, parse("bernoulli:0.5"), batch=4, size=8, gray=0.5).batch(0).mask
    assert mask is not None
    assert mask.shape == (4, 1, 8, 8)
    colour = PairSampler(pictures, parse("gaussian:0"), **options).batch(3).input
    gray = PairSampler(pictures, parse("gaussian:0"), **options, gray=1.0).batch(3).input
    luma = [with_channels(np.rint(crop * 255).astype(np.uint8), 1)[0] for crop in colour]
    np.testing.assert_allclose(gray[:, 0] * 255, luma, atol=1e-4)
    with pytest.raises(ValueError, match=r"gray must be a share from 0 to 1, got 2"):
        PairSampler(pictures, parse("gaussian:25"), **options, gray=2)


def test_the_eight_turns_are_different():
    image = np.arange(9.0).reshape(1, 3, 3)
    assert len({turn(image, way).tobytes() for way in range(8)}) == 8


def test_swapping_exchanges_some_pairs(pictures):
    law = parse("gaussian:25")
    a = PairSampler(pictures, law, batch=64, size=8, seed=2).batch(0)
    b = PairSampler(pictures, law, batch=64, size=8, seed=2, swap=True).batch(0)
    kept = (a.input == b.input).all(axis=(1, 2, 3))
    turned = (a.input == b.target).all(axis=(1, 2, 3))
    assert (kept ^ turned).all()
    np.testing.assert_array_equal(a.target[turned], b.input[turned])
    assert 16 < turned.sum() < 48


def test_a_limited_number_of_pairs_comes_again_in_order(pictures):
    sampler = PairSampler(pictures, SubPixel(4), batch=4, size=8, pairs=10)
    batches = [sampler.batch(step) for step in range(6)]
    assert [len(batch.input) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert all(same(batches[i], batches[i + 3]) for i in range(3))
    endless = PairSampler(pictures, SubPixel(4), batch=4, size=8)
    assert not same(endless.batch(0), endless.batch(3))
    moved = PairSampler(pictures, SubPixel(4), batch=4, size=8, pairs=10, augment=True)
    assert not same(moved.batch(0), moved.batch(3))


def test_wrong_arguments_are_named(pictures):
    with pytest.raises(ValueError, match="side of 64 pixels, crops need 128"):
        PairSampler(pictures, SubPixel(8), batch=2, size=16)
    with pytest.raises(ValueError, match="objective"):
        PairSampler(pictures, SubPixel(2), batch=2, objective="clean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="swap"):
        PairSampler(pictures, SubPixel(2), batch=2, objective="noise2clean", swap=True)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        PairSampler(pictures, SubPixel(2), batch=0)
    with pytest.raises(ValueError, match="no picture"):
        Photographs([])
    with pytest.raises(ValueError, match="picture 1: expected uint8"):
        Photographs([pictures[0], pictures[0].astype(np.float32)])
    with pytest.raises(ValueError, match="picture 1 has 1 channels, the first 3"):
        Photographs([pictures[0], pictures[0][:1]])


# --- stored sets ---------------------------------------------------------------------------------


def test_consecutive_slices_with_a_short_last_batch():
    values = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    sampler = FixedSampler(values, values + 100, batch=4)
    assert sampler.steps_per_epoch == 3
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]
    for step, levels in enumerate(expected):
        batch = sampler.batch(step)
        np.testing.assert_array_equal(np.rint(batch.input.ravel() * 255), levels)
        np.testing.assert_array_equal(np.rint(batch.target.ravel() * 255 - 100), levels)
        assert batch.input.dtype == np.float32


def test_a_shuffle_is_a_new_order_each_epoch_and_a_function_of_the_step():
    values = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    sampler = FixedSampler(values, values, batch=4, order="shuffle", seed=5)
    epochs = [
        np.concatenate([sampler.batch(3 * epoch + i).input.ravel() for i in range(3)])
        for epoch in range(3)
    ]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(np.rint(epoch * 255)), np.arange(10))
    assert not np.array_equal(epochs[0], epochs[1])
    again = FixedSampler(values, values, batch=4, order="shuffle", seed=5)
    assert same(again.batch(7), sampler.batch(7))
    order = Noise(5).at(0).permutation(10)
    np.testing.assert_array_equal(np.rint(epochs[0] * 255), order)


def test_stored_floats_pass_unchanged_and_are_copied():
    values = np.random.default_rng(0).random((4, 1, 2, 2)).astype(np.float32)
    sampler = FixedSampler(values, values, batch=4)
    batch = sampler.batch(0)
    np.testing.assert_array_equal(batch.input, values)
    assert not np.shares_memory(batch.input, values)


def test_stored_sets_of_wrong_shape_are_refused():
    values = np.zeros((4, 1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"\(4, 1, 2, 2\) and \(3, 1, 2, 2\)"):
        FixedSampler(values, values[:3], batch=2)
    with pytest.raises(ValueError, match="order"):
        FixedSampler(values, values, batch=2, order="random")  # type: ignore[arg-type]


# --- tiles ---------------------------------------------------------------------------------------


def test_tiles(pictures):
    tiles = make_tiles(pictures, 70, size=8, k=4, seed=1)
    assert set(tiles) == {"input", "target", "clean"}
    assert {(item.shape, item.dtype.name) for item in tiles.values()} == {((70, 3, 8, 8), "uint8")}
    again = make_tiles(pictures, 70, size=8, k=4, seed=1)
    assert all(np.array_equal(tiles[name], again[name]) for name in tiles)
    other = make_tiles(pictures, 70, size=8, k=4, seed=2)
    assert not np.array_equal(tiles["clean"], other["clean"])
    difference = tiles["input"].astype(float) - tiles["clean"]
    assert abs(difference.mean()) < 1
    both = np.corrcoef(difference.ravel(), (tiles["target"].astype(float) - tiles["clean"]).ravel())
    assert abs(both[0, 1]) < 0.05


def test_tiles_of_the_bundled_photographs_are_as_noisy_as_expected():
    photographs = read_photographs(samples_dir("test"))
    tiles = make_tiles(photographs, 300)
    error = (tiles["input"] / 255.0 - tiles["clean"] / 255.0) ** 2
    psnr = np.mean(-10 * np.log10(error.mean(axis=(1, 2, 3))))
    assert 20 < psnr < 23


def test_a_batch_of_32_subpixel_pairs_takes_little_time():
    photographs = Photographs(read_photographs(samples_dir("train")))
    sampler = PairSampler(photographs, SubPixel(8), batch=32)
    seconds = []
    for step in range(40):
        start = time.perf_counter()
        sampler.batch(step)
        seconds.append(time.perf_counter() - start)
    # 1.5 ms where it was measured; a fifth of the steps may be disturbed, a whole run be slow.
    assert sorted(seconds)[8] < 0.015
