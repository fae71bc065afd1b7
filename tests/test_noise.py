"""Noise: exact words and rules, laws, replay, stored arrays."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np
import pytest

from minigrad.noise import Noise, random_words

MASK = (1 << 64) - 1


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x64-10 in whole numbers, from the published description."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & MASK, (p0 >> 64) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c0, c1, c2, c3


def words(seed: int, step: int, draw: int, count: int) -> list[int]:
    key = (seed & MASK, seed >> 64)
    blocks = [philox((j + 1, draw, step, 0), key) for j in range(-(-count // 4))]
    return [word for block in blocks for word in block][:count]


PLACES = [(0, 0, 0), (1, 2, 3), (2**64 - 1, 10**12, 77), (2**128 - 1, 2**64 - 1, 2**64 - 1)]
PLACES += [(2**63 + 1, 2**63 + 1, 2**53 + 1)]  # numbers that a float would round


def test_published_answers() -> None:
    """Known answers distributed with the generator's reference implementation."""
    assert philox((0, 0, 0, 0), (0, 0))[0] == 0x16554D9ECA36314C
    assert philox((MASK,) * 4, (MASK, MASK))[0] == 0x87B092C3013FE90B


@pytest.mark.parametrize("place", PLACES)
def test_words(place: tuple[int, int, int]) -> None:
    seed, step, draw = place
    assert random_words(seed, step, draw, 11).tolist() == words(seed, step, draw, 11)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_rules_to_the_bit(place: tuple[int, int, int], count: int) -> None:
    """The rules at the head of the source file, written once more with Python's numbers."""
    seed, step, draw = place
    noise = Noise(seed).at(step)
    raw = words(seed, step, draw, count)
    halves = [half for w in raw for half in (w & 0xFFFFFFFF, w >> 32)]

    def again() -> Noise:
        return noise.rewind(draw)

    single = again().uniform(count)
    double = again().uniform(count, np.float64)
    assert single.tolist() == [(h >> 8) / 2**24 for h in halves[:count]]
    assert double.tolist() == [(w >> 11) / 2**53 for w in raw]
    for high in (1, 10, 2**31 + 11, 2**32):
        assert again().integers(high, count).tolist() == [w * high >> 64 for w in raw]
    assert again().permutation(count).tolist() == sorted(range(count), key=lambda i: raw[i])

    for dtype, rtol in ((np.float32, 2e-5), (np.float64, 1e-13)):
        u = again().uniform(count + count % 2, dtype).astype(float)
        expected = []
        for a, b in zip(u[0::2], u[1::2], strict=True):
            radius = math.sqrt(-2 * math.log(1 - a))
            angle = 2 * math.pi * b
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
        z = again().normal(count, dtype)
        np.testing.assert_allclose(z, expected[:count], rtol=rtol, atol=rtol)


def test_shapes_and_dtypes() -> None:
    noise = Noise(1)
    for dtype in (np.float32, np.float64):
        for method in (noise.uniform, noise.normal):
            for shape in ((), 5, (2, 3, 4), (3, 0, 2), [2, 3]):
                drawn = method(shape, dtype, np)
                expected = (shape,) if isinstance(shape, int) else tuple(shape)
                assert drawn.shape == expected
                assert drawn.dtype == dtype
                assert drawn.flags.writeable
                assert isinstance(drawn, np.ndarray)
    assert noise.integers(7).shape == ()
    assert noise.integers(7, (2, 2)).dtype == np.int64
    assert noise.permutation(0).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_beginnings_agree(dtype: Any) -> None:
    """A longer draw begins with the shorter one."""
    long = Noise(3).at(9).normal(1000, dtype)
    for count in (1, 2, 7, 64, 999):
        np.testing.assert_array_equal(Noise(3).at(9).normal(count, dtype), long[:count])


def test_draws_are_counted_and_replayed() -> None:
    noise = Noise(4)
    assert (noise.step, noise.draw) == (0, 0)
    first = [noise.normal(3), noise.uniform(3), noise.integers(9, 3), noise.permutation(3)]
    host = noise.generator().poisson(5, 3)
    assert noise.draw == 5
    assert noise.rewind() is noise
    again = [noise.normal(3), noise.uniform(3), noise.integers(9, 3), noise.permutation(3)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(noise.generator().poisson(5, 3), host)
    noise.draw = 1
    np.testing.assert_array_equal(noise.uniform(3), first[1])
    assert noise.at(6) is noise
    assert (noise.step, noise.draw) == (6, 0)


def test_every_place_is_different() -> None:
    seen = {
        Noise(seed).at(step).rewind(draw).uniform(2, np.float64).tobytes()
        for seed in (0, 1, 2**64, 2**127)
        for step in range(5)
        for draw in range(5)
    }
    assert len(seen) == 100


def test_order_of_use_does_not_matter() -> None:
    a, b = Noise(8).at(2), Noise(8).at(2)
    b.normal(100_001)
    np.testing.assert_array_equal(a.rewind(5).normal(9), b.rewind(5).normal(9))
    np.testing.assert_array_equal(copy.deepcopy(a).normal(9), a.normal(9))


def test_folded_streams() -> None:
    noise = Noise(12).at(40)
    state = np.random.SeedSequence(12, spawn_key=(3,)).generate_state(2, np.uint64)
    child = noise.fold_in(3)
    assert child.seed == int(state[0]) + (int(state[1]) << 64)
    assert (child.step, child.draw, noise.draw) == (40, 0, 0)
    seeds = {noise.fold_in(k).seed for k in range(100)} | {noise.seed}
    assert len(seeds) == 101
    assert noise.fold_in(1).fold_in(2).seed != noise.fold_in(2).fold_in(1).seed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_laws(dtype: Any) -> None:
    noise, n = Noise(99), 400_000
    u = noise.uniform(n, dtype).astype(float)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / math.sqrt(12 * n)
    counts = np.bincount((u * 64).astype(int), minlength=64)
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 63 + 5 * math.sqrt(126)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / math.sqrt(n)

    z = noise.normal(n, dtype).astype(float)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((z**power).mean() - moment) < 5 * math.sqrt(variance / n)
    for lag in (1, 2, 3):
        assert abs((z[:-lag] * z[lag:]).mean()) < 5 / math.sqrt(n)
        assert abs((z[:-lag] ** 2 * z[lag:] ** 2).mean() - 1) < 5 * math.sqrt(8 / n)
    inside = [float((abs(z) < k).mean()) for k in (1, 2, 3)]
    assert inside == pytest.approx([0.682689, 0.954500, 0.997300], abs=4e-3)


def test_whole_numbers_and_orders() -> None:
    noise = Noise(5)
    k = noise.integers(6, 60_000)
    counts = np.bincount(k, minlength=6)
    assert len(counts) == 6
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 5 + 5 * math.sqrt(10)
    p = noise.permutation(1000)
    assert sorted(p.tolist()) == list(range(1000))
    firsts = np.bincount([int(noise.permutation(4)[0]) for _ in range(2000)], minlength=4)
    assert ((firsts - 500) ** 2 / 500).sum() < 3 + 5 * math.sqrt(6)


def test_finite_at_the_ends_of_the_uniforms() -> None:
    from minigrad.noise import box_muller

    for dtype, bits, limit in ((np.float32, 24, 5.8), (np.float64, 53, 8.6)):
        last = 1 - 2.0**-bits
        z = box_muller(np.array([0, 0, 0, last, last, 0, last, last], dtype))
        assert np.isfinite(z).all()
        assert abs(z).max() <= limit
        assert z.dtype == dtype


def test_fast_enough() -> None:
    """A million float32 normals, the best of five."""
    noise, times = Noise(0), []
    for _ in range(5):
        start = time.perf_counter()
        noise.normal(1_000_000)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.06


def test_given_arrays() -> None:
    arrays = [RNG.standard_normal((2, 3)), np.arange(4), np.float64(0.5) * np.ones(())]
    noise = Noise.given(arrays).at(17)
    first = noise.normal((2, 3), np.float64)
    np.testing.assert_array_equal(first, arrays[0])
    np.testing.assert_array_equal(noise.permutation(4), arrays[1])
    assert noise.uniform((), np.float32).dtype == np.float32
    assert noise.draw == 3
    with pytest.raises(ValueError, match=r"draw 3 of shape \(5,\) .* only 3 arrays"):
        noise.normal(5)
    np.testing.assert_array_equal(noise.rewind(1).integers(9, 4), arrays[1])
    np.testing.assert_array_equal(noise.at(18).normal((2, 3), np.float64), arrays[0])
    with pytest.raises(ValueError, match=r"draw 1 has shape \(4,\), expected \(2, 2\)"):
        noise.normal((2, 2))
    assert noise.draw == 1
    with pytest.raises(ValueError, match="generator"):
        noise.generator()
    with pytest.raises(ValueError, match="fold"):
        noise.fold_in(1)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: Noise(-1), ValueError, r"seed must lie in \[0, 2\^128\), got -1"),
        (lambda: Noise(2**128), ValueError, "seed must lie"),
        (lambda: Noise(1.5), ValueError, "seed must be a whole number, got 1.5"),  # type: ignore[arg-type]
        (lambda: Noise(0).at(-1), ValueError, r"step must lie in \[0, 2\^64\), got -1"),
        (lambda: Noise(0).rewind(2**64), ValueError, "draw must lie"),
        (lambda: Noise(0).fold_in(-2), ValueError, "k must lie"),
        (lambda: Noise(0).normal(3, np.float16), TypeError, "float32 or float64, got float16"),
        (lambda: Noise(0).uniform((2, -3)), ValueError, r"negative, got shape \(2, -3\)"),
        (lambda: Noise(0).integers(0, 3), ValueError, "high must lie .* got 0"),
        (lambda: Noise(0).integers(2.5, 3), ValueError, "whole high must lie .* got 2.5"),
        (lambda: Noise(0).integers(2**32 + 1, 3), ValueError, "got 4294967297"),
    ],
)
def test_errors(use: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use()


def test_text() -> None:
    assert repr(Noise(7).at(2).rewind(3)) == "Noise(seed=7, step=2, draw=3)"
