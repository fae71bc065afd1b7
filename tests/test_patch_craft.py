"""Patch-craft targets: search against brute force, what targets are made of, tiles, thresholds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from minigrad.noise import Noise
from zoo.data import Burst, SyntheticBursts
from zoo.noise import parse
from zoo.patch_craft import (
    Craft,
    Matches,
    Settings,
    Threshold,
    augmented,
    box_sum,
    burst_samples,
    deal,
    exchange,
    first_of_window,
    keep,
    nearest_patches,
    sample_statistics,
    search_numpy,
    select_threshold,
    statistics_maps,
    tile_corners,
    tile_statistics,
    training_set,
)
from zoo.patch_craft.search import Pass, padded, search

some = settings(max_examples=40, deadline=None)


def read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


@st.composite
def bursts(draw: Any, levels: int = 4, dtype: Any = np.float64) -> tuple[np.ndarray, int]:
    """A small burst of whole numbers, whose sums are exact, and a patch size."""
    shape = draw(
        st.tuples(st.integers(1, 3), st.sampled_from([3, 5]), st.integers(2, 9), st.integers(2, 9))
    )
    patch = draw(st.integers(2, min(5, *shape[2:])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return read_only(rng.integers(0, levels, shape).astype(dtype)), patch


# ------------------------------------------------------------------ search


@given(st.integers(1, 9), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_box_sums(size: int, more_h: int, more_w: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(0, 99, (2, size + more_h, size + more_w))
    found = box_sum(read_only(x), size)
    assert found.shape == (2, more_h + 1, more_w + 1)
    for i, j in np.ndindex(found.shape[1:]):
        box = x[:, i : i + size, j : j + size]
        np.testing.assert_array_equal(found[:, i, j], box.sum(axis=(1, 2)))


def by_brute_force(burst: np.ndarray, patch: int, passes: tuple[Pass, ...]) -> Matches:
    """Position after position, candidate after candidate."""
    c, m, h, w = burst.shape
    q = padded(burst[:, m // 2], patch)
    distance = np.full((h + patch - 1, w + patch - 1), np.inf)
    shift = np.zeros((3, *distance.shape), np.int16)
    for reach, skip in passes:
        wide = padded(burst, patch, reach)
        places = range(-reach, reach + 1, skip)
        candidates = [
            (dt, dv, dh)
            for dt in range(-(m // 2), m // 2 + 1)
            if dt != 0
            for dv in places
            for dh in places
        ]
        for i, j in np.ndindex(distance.shape):
            mine = q[:, i : i + patch, j : j + patch]
            for dt, dv, dh in candidates:
                top, left = i + reach + dv, j + reach + dh
                other = wide[:, m // 2 + dt, top : top + patch, left : left + patch]
                d = ((other - mine) ** 2).sum() / c
                if d < distance[i, j]:
                    distance[i, j], shift[:, i, j] = d, (dt, dv, dh)
    return Matches(shift, distance)


@settings(max_examples=15, deadline=None)
@given(bursts(), st.integers(0, 3), st.integers(1, 3), st.sampled_from([None, 0, 1]))
def test_search_equals_brute_force_ties_too(
    made: tuple[np.ndarray, int], reach: int, skip: int, second: int | None
) -> None:
    burst, patch = made
    second = None if skip == 1 else second
    passes = (Pass(reach, skip),) + (() if second is None else (Pass(second),))
    expected = by_brute_force(burst, patch, passes)
    found = nearest_patches(burst, patch, reach, skip=skip, second=second)
    np.testing.assert_array_equal(found.shift, expected.shift)
    np.testing.assert_array_equal(found.distance, expected.distance)


@some
@given(
    bursts(levels=1000, dtype=np.float32),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 9),
    st.sampled_from([np.float32, np.float64]),
)
def test_the_fast_search_has_the_bits_of_the_definition(
    made: tuple[np.ndarray, int], reach: int, skip: int, piece: int, dtype: Any
) -> None:
    burst, patch = read_only((made[0] / np.float32(7)).astype(dtype)), made[1]
    passes = Pass(reach, skip), Pass(1)
    told: dict[str, list[tuple[int, int]]] = {"plain": [], "fast": []}
    plain = search.definition(burst, patch, passes, lambda *at: told["plain"].append(at))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search_numpy, "PIECE", piece)
        fast = search(burst, patch, passes, lambda *at: told["fast"].append(at))
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        assert a.flags.c_contiguous
    for calls in told.values():
        assert [done for done, _ in calls] == list(range(1, calls[0][1] + 1))


def test_margins_of_the_smallest_patch_repeat_the_border() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(padded(x, 2), np.pad(x, 1, mode="edge"))
    y = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(padded(y, 3), np.pad(y, 2, mode="reflect"))
    np.testing.assert_array_equal(padded(y, 3, 1), np.pad(padded(y, 3), 1, constant_values=-1))


def test_threads_change_nothing() -> None:
    burst = np.random.default_rng(0).random((3, 7, 30, 40), dtype=np.float32)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(nearest_patches(burst, 5, 2))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].shift, other.shift)
        np.testing.assert_array_equal(found[0].distance, other.distance)


# ------------------------------------------------------------------ targets


@some
@given(bursts(), st.integers(0, 2**32 - 1))
def test_every_pixel_comes_from_the_patch_found_in_another_frame(
    made: tuple[np.ndarray, int], seed: int
) -> None:
    burst, p = made
    _, m, h, w = burst.shape
    # Each value tells its frame and place; the displacements are as good as any.
    labels = np.broadcast_to(np.arange(1.0 * m * h * w).reshape(1, m, h, w), burst.shape)
    found = nearest_patches(burst, p, 2)
    assert (found.shift[0] != 0).all()
    craft = Craft(labels, found, p)
    wide = padded(labels, p, 2)
    rng = np.random.default_rng(seed)
    for offset in rng.integers(0, p * p, 3):
        image = craft.image(int(offset))
        for y, x in np.ndindex(h, w):
            k, l = divmod(int(offset), p)  # noqa: E741
            i, j = y + p - 1 - (y - k) % p, x + p - 1 - (x - l) % p  # corner of its cell
            dt, dv, dh = found.shift[:, i, j]
            pixel = wide[:, m // 2 + dt, y + p - 1 + 2 + dv, x + p - 1 + 2 + dh]
            np.testing.assert_array_equal(image[:, y, x], pixel)
        frames = image[image >= 0] // (h * w)
        assert (frames != m // 2).all()
        top, left = (int(rng.integers(side)) for side in (h, w))
        tall, wide_part = int(rng.integers(1, h - top + 1)), int(rng.integers(1, w - left + 1))
        part = craft.part(int(offset), top, left, tall, wide_part)
        whole = image[:, top : top + tall, left : left + wide_part]
        np.testing.assert_array_equal(part, whole, strict=True)


def picture(h: int = 96, w: int = 90) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (3, h, w), dtype=np.uint8)


def test_a_moved_scene_without_noise_is_found_again() -> None:
    made = SyntheticBursts([picture()], parse("gaussian:0"), size=(60, 54), shift=3)
    clean = made.burst(0).noisy
    p, border = 5, 5 + 3
    craft = Craft(clean, nearest_patches(clean, p, 3), p)
    inner = np.s_[:, border:-border, border:-border]
    for offset in range(p * p):
        np.testing.assert_array_equal(craft.image(offset)[inner], clean[:, 3][inner])


@pytest.fixture(scope="module")
def easy() -> Burst:
    law = parse("correlated:20:kernel=2")
    return SyntheticBursts([picture()], law, size=(72, 72), shift=2).burst(1)


def test_the_larger_the_patch_the_more_independent_is_the_noise(easy: Burst) -> None:
    """The nearest patch has been chosen with the input's noise in view: a few numbers show it."""
    z = easy.noisy[:, 3] - easy.clean[:, 3]
    correlation = {}
    for p in (3, 7, 25):
        craft = Craft(easy.noisy, nearest_patches(easy.noisy, p, 2), p)
        w = np.array([craft.image(o) - easy.clean[:, 3] for o in range(0, p * p, p)])
        inner = np.s_[..., 4:-4, 4:-4]  # beyond, the margins of the frames are unlike each other
        w, noise = w[inner], np.broadcast_to(z[inner], w[inner].shape)
        correlation[p] = np.corrcoef(w.ravel(), noise.ravel())[0, 1]
        # What has been found is the scene: only noise is left of it. s_yr = cov(z, w) - var(z).
        assert w.std() * 255 == pytest.approx(20, rel=0.15)
        window = tile_statistics(easy.noisy[:, 3][inner], craft.image(p)[inner])
        assert window.s == pytest.approx(-((20 / 255) ** 2) * (1 - correlation[p]), rel=0.15)
    assert correlation[3] > 2 * correlation[7] > 4 * correlation[25]
    assert abs(correlation[25]) < 0.1


# ------------------------------------------------------------------ statistics


def test_statistics_of_a_window_are_those_of_a_tile() -> None:
    rng = np.random.default_rng(0)
    y, t = read_only(rng.random((2, 3, 17, 20), dtype=np.float32))
    maps = statistics_maps(y, t, 6)
    assert maps.s.shape == maps.m.shape == (12, 15)
    windows = np.lib.stride_tricks.sliding_window_view
    tiles = [windows(x, (6, 6), (1, 2)).transpose(1, 2, 0, 3, 4) for x in (y, t)]
    for a, b in zip(maps, tile_statistics(*tiles), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    r = (t - y).astype(np.float64)
    box = np.s_[:, 3:9, 5:11]
    covariance = np.cov(y[box].ravel(), r[box].ravel(), bias=True)[0, 1]
    assert maps.s[3, 5] == pytest.approx(covariance, abs=1e-8)
    assert maps.m[3, 5] == pytest.approx(r[box].mean(), abs=1e-8)


@pytest.mark.parametrize(("images", "each"), [(None, 1089 // 16), (5, 1089 // 5), (1, 1089)])
def test_sampled_statistics(easy: Burst, images: int | None, each: int) -> None:
    craft = Craft(easy.noisy, nearest_patches(easy.noisy, 4, 1), 4)
    y = easy.noisy[:, 3]
    found = sample_statistics(craft, y, 40, Noise(5), images=images)
    again = sample_statistics(craft, y, 40, Noise(5), images=images)
    count = each * (images or 16)
    assert found.s.shape == found.m.shape == (count,)
    np.testing.assert_array_equal(found.s, again.s)
    all_values = np.concatenate(
        [statistics_maps(y, craft.image(o), 40).s.ravel() for o in range(16)]
    )
    assert np.isin(found.s, all_values).all()
    assert len(np.unique(found.s)) == count


def test_the_threshold_cuts_a_tail_and_leaves_the_rest() -> None:
    rng = np.random.default_rng(0)
    s = -1.5 + 0.1 * rng.standard_normal(40_000)
    m = 0.01 * rng.standard_normal(40_000)
    m[:4_000] += 0.02
    tail = -1.6 - rng.exponential(0.5, 10_000)
    found = select_threshold(np.append(s, tail), np.append(m, np.zeros(10_000)), bins=301)
    assert -1.85 < found.s_min < -1.6
    every = np.append(s, tail)
    assert every[every > found.s_min].mean() == pytest.approx(-1.5, abs=0.02)
    assert found.m_min < -0.02 < 0.02 < found.m_max
    kept = keep(every, np.append(m, np.zeros(10_000)), found)
    assert kept.mean() < 0.9
    assert found.m_mean == pytest.approx(np.append(m, np.zeros(10_000))[kept].mean())


@pytest.mark.parametrize(
    "s",
    [np.full(50, -0.5), np.array([0.0] * 9 + [1.0]), np.array([-1.0] + [0.0] * 9 + [2.0])],
    ids=["all equal", "no left", "light left"],
)
def test_without_a_left_tail_all_are_kept(s: np.ndarray) -> None:
    m = np.linspace(-1, 1, len(s))
    found = select_threshold(s, m)
    assert found.s_min == -np.inf
    assert keep(s, m, found).all()
    assert keep(s, m, Threshold()).all()


def test_a_threshold_for_values_that_are_all_equal_has_a_mean() -> None:
    assert select_threshold(np.zeros(3), np.full(3, 0.25)).m_mean == 0.25


def test_limits_themselves_are_not_kept() -> None:
    s, m = np.array([0.0, 1, 3, 3, 4]), np.array([0.0, 9, 0, 2, 1])
    found = select_threshold(s, m, bins=2, std_num=1)  # centres 1 and 3
    assert found.s_min == 1
    assert (found.m_min + found.m_max) / 2 == found.m_mean == 1
    assert keep(s, m, found).tolist() == [False, False, False, False, True]
    narrow = select_threshold(np.zeros(2), np.array([0.0, 1.0]), std_num=1)
    assert narrow == (-np.inf, 0, 1, 0.5)
    assert not keep(np.zeros(2), np.array([0.0, 1.0]), narrow).any()


# ------------------------------------------------------------------ tiles


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 7), st.booleans(), st.integers(0, 2))
def test_each_tile_is_dealt_once(
    tiles: int, offsets: int, replicas: int, official: bool, before: int
) -> None:
    order = np.random.default_rng(tiles).permutation(tiles)
    found = deal(order, offsets, replicas=replicas, strict_official=official, before=before)
    lost = -(-tiles // (replicas * offsets)) if official and before else 0
    share = min(-(-tiles // replicas), tiles)
    np.testing.assert_array_equal(found.tile, order[lost:share])
    assert (np.diff(found.offset) >= 0).all()
    counts = np.bincount(found.offset, minlength=offsets)[1 if lost else 0 :]
    assert len(found.tile) == 0 or np.ptp(counts) <= 1


def test_the_published_number_of_steps() -> None:
    """13,423 steps of 32 an epoch: 11 sequences of 1080 x 1920, 7 frames each, p = 25."""
    tiles = len(tile_corners(1080, 1920, 50, 10))
    how: dict[str, Any] = {"replicas": 7, "strict_official": True}
    sizes = [len(deal(np.arange(tiles), 625, before=i, **how).tile) for i in range(77)]
    assert 2 * sum(sizes) == 2 * (77 * 2794 - 76 * 5) == 429_516
    assert -(-429_516 // 32) == 13_423


def test_augmentation_modes() -> None:
    x = np.arange(18).reshape(2, 3, 3)
    by_hand = [
        x,
        x[:, ::-1],
        np.stack([np.rot90(c) for c in x]),
        np.stack([np.flipud(np.rot90(c)) for c in x]),
        x[:, ::-1, ::-1],
        x[:, :, ::-1],
        np.stack([np.rot90(c, 3) for c in x]),
        np.stack([np.flipud(np.rot90(c, 3)) for c in x]),
    ]
    for mode, expected in enumerate(by_hand):
        np.testing.assert_array_equal(augmented(x, mode), expected)


# ------------------------------------------------------------------ training sets


SMALL = Settings(patch=7, reach=2, tile=20, stride=8, images=6, bins=101)


def test_a_training_set_is_a_function_of_bursts_and_seed() -> None:
    law = parse("correlated:20:kernel=2")
    how: dict[str, Any] = {"size": (52, 56), "shift": 2, "seed": 1}
    kinds = [SyntheticBursts([picture()], law, hard=hard, **how) for hard in (0.0, 1.0)]
    bursts = [made.burst(i).noisy for made in kinds for i in range(2)]
    parts = [burst_samples(b, SMALL, Noise(4), i) for i, b in enumerate(bursts)]
    again = burst_samples(bursts[1], SMALL, Noise(4), 1)
    np.testing.assert_array_equal(parts[1].samples.target, again.samples.target)
    found = training_set(iter(parts), SMALL)
    corners = tile_corners(52, 56, 20, 8)
    n = 2 * len(corners)
    assert found.samples.input.shape == found.samples.target.shape == (4 * n, 3, 20, 20)
    # All tiles of a later burst, or as by the authors without those of the first offset.
    official = dataclasses.replace(SMALL, strict_official=True)
    for number, lost in ((0, 0), (1, 1)):
        count = len(burst_samples(bursts[1], official, Noise(4), number).samples.input)
        assert count == n - 2 * lost
    kept = keep(*found.statistics, found.threshold)
    assert kept.shape == (4 * n,)
    assert kept[: 2 * n].mean() > 0.7
    assert kept[2 * n :].mean() < 0.1
    # An augmented copy follows its tile; turning changes none of its numbers.
    np.testing.assert_allclose(found.statistics.s[::2], found.statistics.s[1::2], atol=1e-15)
    top, left = corners[Noise(4).at(0).permutation(len(corners))[0]]
    tile = bursts[0][:, 3, top : top + 20, left : left + 20]
    np.testing.assert_array_equal(found.samples.input[0], tile)


def test_every_frame_can_be_the_middle_one() -> None:
    burst = np.random.default_rng(0).random((3, 3, 24, 22), dtype=np.float32)
    told: list[tuple[int, int]] = []
    how = Settings(patch=5, reach=1, tile=10, stride=2, replicate=True, copies=0, images=4)
    found = burst_samples(burst, how, Noise(0), progress=lambda *at: told.append(at))
    tiles = len(tile_corners(24, 22, 10, 2))
    assert len(found.samples.input) == 3 * -(-tiles // 3)
    assert told == [(i + 1, 18) for i in range(18)]
    first = found.samples.input[:: -(-tiles // 3)]
    windows = np.lib.stride_tricks.sliding_window_view(burst, (10, 10), (2, 3))
    for frame, tile in enumerate(first):
        places = windows[:, frame].transpose(1, 2, 0, 3, 4)
        assert (places == tile).all(axis=(2, 3, 4)).any()


def test_exchange_and_windows() -> None:
    burst = np.arange(7.0)[None, :, None, None]
    assert exchange(burst, 1).ravel().tolist() == [0, 3, 2, 1, 4, 5, 6]
    np.testing.assert_array_equal(exchange(burst, 3), burst)
    noise = Noise(0)
    assert {first_of_window(9, noise) for _ in range(60)} == {0, 1, 2}
    with pytest.raises(ValueError, match="at least 7 frames, got 6"):
        first_of_window(6, noise)


# ------------------------------------------------------------------ errors

X = np.zeros((3, 7, 20, 22), np.float32)
FOUND = Matches(np.ones((3, 24, 26), np.int16), np.zeros((24, 26)))

WRONG = [
    (lambda: nearest_patches(X[0], 5, 2), r"expected \(C, M, H, W\) .* got \(7, 20, 22\)"),
    (lambda: nearest_patches(X[:, :6], 5, 2), "M odd and at least 3"),
    (lambda: nearest_patches(X[:, :1], 5, 2), "M odd and at least 3"),
    (lambda: nearest_patches(X, 1, 2), "patch: expected 2 to 20, the frame's side, got 1"),
    (lambda: nearest_patches(X, 21, 2), "patch: expected 2 to 20, the frame's side, got 21"),
    (lambda: nearest_patches(X, 5, -1), "reach: expected 0 to 32767, got -1"),
    (lambda: nearest_patches(X, 5, 1, skip=0), "skip: expected 1"),
    (lambda: nearest_patches(X, 5, 1, second=3), "second: a second pass needs skip > 1"),
    (lambda: nearest_patches(X / 0, 5, 1), "a value is not finite"),
    (lambda: Craft(X, FOUND, 6), r"expected shifts of shape \(3, 25, 27\), got \(3, 24, 26\)"),
    (lambda: Craft(X, FOUND, 5).image(25), "offset: expected 0 to 24, got 25"),
    (lambda: Craft(X, FOUND, 5).part(0, 0, 3, 20, 20), r"part of 20x20 at \(0, 3\)"),
    (lambda: statistics_maps(X[:, 0], X[:, 0], 21), "at least 21 pixels high and wide"),
    (lambda: sample_statistics(Craft(X, FOUND, 5), X[:, 3], 21, Noise(0)), "at least 21x21"),
    (lambda: select_threshold(np.zeros(0), np.zeros(0)), "n >= 1"),
    (lambda: select_threshold(np.zeros(2), np.zeros(3)), "two arrays"),
    (lambda: select_threshold(np.array([np.nan]), np.zeros(1)), "not finite"),
    (lambda: tile_corners(20, 22, 21, 5), "tile <= 20, the frame's side"),
    (lambda: tile_corners(20, 22, 10, 0), "stride >= 1"),
    (lambda: deal(np.arange(3), 0), "expected at least 1, got 0 offsets"),
    (lambda: training_set([], Settings()), "no burst given"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors_say_what_was_expected(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="expected float32 or float64, got uint8"):
        nearest_patches(X.astype(np.uint8), 5, 2)
