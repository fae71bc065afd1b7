"""Random numbers as a pure function of (seed, step, draw number).

A draw has no hidden state.  Draw number `k` of step `t` is made of the 64-bit words of NumPy's
counter-based generator `Philox(key=seed, counter=[0, k, t, 0])`, and of nothing else.  To see the
same noise again (gradient checks, re-computed activations, a resumed run) one goes back to the
same step and draw number.

The words.  Four consecutive words form a block.  NumPy adds one to the counter before each block,
so words 4j .. 4j+3 are Philox4x64-10 of the counter (j + 1, k, t, 0) under the key
(seed mod 2^64, seed div 2^64).

The rules (a and b stand for the uniforms 2i and 2i+1).  They are exact, so that a kernel on another
device gives the same bits:

| law | element | from |
| --- | --- | --- |
| uniform, float64 | i | word i: its top 53 bits, times 2^-53 |
| uniform, float32 | i | half-word i (low half of a word first): its top 24 bits, times 2^-24 |
| normal | 2i, 2i+1 | r cos(2 pi b), r sin(2 pi b); r = sqrt(-2 log(1 - a)), a, b: uniforms |
| integers below n | i | floor(word i * n / 2^64) |
| permutation | - | stable argsort of the words |

Uniforms, integers and permutations are equal to the last bit on every machine; normals pass
through log, cos and sin and may differ in the last bits between machines with other
mathematical libraries.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011;
Box, Muller, "A note on the generation of random normal deviates", 1958.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = int | Sequence[int]

_WORD = 1 << 64
_TWO_PI = 2.0 * math.pi


def random_words(seed: int, step: int, draw: int, count: int) -> np.ndarray:
    """The first `count` 64-bit words of a draw: uint64, shape (count,)."""
    return _philox(seed, step, draw).random_raw(count)


def uniforms(words: np.ndarray, count: int, dtype: Any) -> np.ndarray:
    """Numbers in [0, 1) from raw words, by the rule at the head of this file: shape (count,)."""
    if np.dtype(dtype) == np.float64:
        return (words[:count] >> np.uint64(11)) * 2.0**-53
    halves = words.astype("<u8", copy=False).view("<u4")[:count]  # (count,), low half first
    # The shifted value has 24 bits: both the conversion and the product are exact in float32.
    return (halves >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def box_muller(u: np.ndarray) -> np.ndarray:
    """Standard normals from an even number of uniforms in [0, 1), pair by pair; shape of `u`.

    The argument of the logarithm is 1 - u, which is exact and lies in (0, 1].
    """
    # The planes of the pairs are made contiguous: the vector units then run at full width.
    radius = np.subtract(1.0, u[0::2], dtype=u.dtype)  # (n/2,)
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = np.multiply(u[1::2], _TWO_PI, dtype=u.dtype)  # (n/2,)
    z = np.empty_like(u)
    np.multiply(radius, np.cos(angle), out=z[0::2])
    np.multiply(radius, np.sin(angle, out=angle), out=z[1::2])
    return z


class Noise:
    """A stream of draws; the object only counts them.

    `Noise(seed).at(step)` starts a step; every call of `uniform`, `normal`, `integers`,
    `permutation` or `generator` takes the next draw number.  `rewind(draw)` goes back.

    All methods return new arrays.  `xp` is the array module of the result, `numpy` or `cupy`;
    numbers for CuPy are made on the host and copied.

    Raises: ValueError for a seed outside [0, 2^128), a step or draw outside [0, 2^64).
    """

    def __init__(self, seed: int = 0) -> None:
        """The stream of `seed`, a whole number in [0, 2^128), at step 0, draw 0."""
        self.seed = _whole("seed", seed, 1 << 128)
        self.step = 0
        self._draw = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed}, step={self.step}, draw={self.draw})"

    @staticmethod
    def given(arrays: Sequence[Any]) -> GivenNoise:
        """Noise that hands out `arrays` in draw order, whatever law is asked for."""
        return GivenNoise(arrays)

    # --- where we are -------------------------------------------------------------------------

    @property
    def draw(self) -> int:
        """The number of the next draw of this step."""
        return self._draw

    @draw.setter
    def draw(self, draw: int) -> None:
        self._draw = _whole("draw", draw, _WORD)

    def at(self, step: int) -> Noise:
        """Go to the first draw of `step`; returns self."""
        self.step = _whole("step", step, _WORD)
        self._draw = 0
        return self

    def rewind(self, draw: int = 0) -> Noise:
        """Go back to draw number `draw` of the same step; returns self."""
        self.draw = draw
        return self

    def fold_in(self, k: int) -> Noise:
        """An independent stream for part `k`, at the same step, at its first draw.

        Its seed is the 128-bit state that `numpy.random.SeedSequence(seed, spawn_key=(k,))`
        generates, low word first; `fold_in(a).fold_in(b)` differs from `fold_in(b).fold_in(a)`.
        """
        spawn_key = (_whole("k", k, _WORD),)
        state = np.random.SeedSequence(self.seed, spawn_key=spawn_key).generate_state(2, np.uint64)
        return Noise(int(state[0]) + (int(state[1]) << 64)).at(self.step)

    # --- the laws -----------------------------------------------------------------------------

    def uniform(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """Uniform numbers in [0, 1): multiples of 2^-24 (float32) or 2^-53 (float64)."""
        shape, count = _shape(shape)
        return xp.asarray(self._uniforms(count, _precision(dtype)).reshape(shape))

    def normal(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """Standard normal numbers; |z| <= 5.8 in float32, <= 8.6 in float64."""
        shape, count = _shape(shape)
        z = box_muller(self._uniforms(count + count % 2, _precision(dtype)))
        return xp.asarray(z[:count].reshape(shape))

    def integers(self, high: int, shape: Shape = (), xp: Any = np) -> Any:
        """Whole numbers 0 .. high-1, int64; the bias of the rule is below high / 2^64."""
        if not isinstance(high, (int, np.integer)) or not 1 <= high <= 1 << 32:
            raise ValueError(f"Noise.integers: whole high must lie in [1, 2^32], got {high}")
        shape, count = _shape(shape)
        words = self._words(count)
        # floor(w n / 2^64) without a 128-bit product: carry the upper part of the low half.
        low = ((words & np.uint64(0xFFFFFFFF)) * np.uint64(high)) >> np.uint64(32)
        top = ((words >> np.uint64(32)) * np.uint64(high) + low) >> np.uint64(32)
        return xp.asarray(top.astype(np.int64).reshape(shape))

    def permutation(self, n: int, xp: Any = np) -> Any:
        """The numbers 0 .. n-1 in random order, int64, shape (n,)."""
        words = self._words(_shape(n)[1])
        return xp.asarray(np.argsort(words, kind="stable").astype(np.int64, copy=False))

    def generator(self) -> np.random.Generator:
        """A NumPy generator that starts at this draw, for laws made on the host (Poisson, ...)."""
        return np.random.Generator(_philox(self.seed, self.step, self._take()))

    # --- inside -------------------------------------------------------------------------------

    def _take(self) -> int:
        draw = self._draw
        self._draw = draw + 1
        return draw

    def _words(self, count: int) -> np.ndarray:
        return random_words(self.seed, self.step, self._take(), count)

    def _uniforms(self, count: int, dtype: np.dtype) -> np.ndarray:
        words = count if dtype == np.float64 else (count + 1) // 2
        return uniforms(self._words(words), count, dtype)


class GivenNoise(Noise):
    """Stored arrays instead of random ones, in draw order; `at(step)` starts at the first again.

    Each request must have the shape of the stored array; the array is converted to the dtype
    and array module asked for.  Made by `Noise.given`.

    Raises: ValueError when the shapes differ or the arrays are used up.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        """Noise of `arrays`, NumPy's or CuPy's of any shape; they are kept, not copied."""
        super().__init__(0)
        self.arrays = list(arrays)

    def uniform(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """The next array, whatever its values, as `dtype` (float32 or float64)."""
        return self._next(shape, _precision(dtype), xp)

    def normal(self, shape: Shape, dtype: Any = np.float32, xp: Any = np) -> Any:
        """The next array, whatever its values, as `dtype` (float32 or float64)."""
        return self._next(shape, _precision(dtype), xp)

    def integers(self, high: int, shape: Shape = (), xp: Any = np) -> Any:
        """The next array as int64; `high` is not looked at."""
        return self._next(shape, np.dtype(np.int64), xp)

    def permutation(self, n: int, xp: Any = np) -> Any:
        """The next array as int64, shape (n,)."""
        return self._next(n, np.dtype(np.int64), xp)

    def generator(self) -> np.random.Generator:
        """Raises ValueError: stored arrays obey no law."""
        raise ValueError("GivenNoise: stored arrays cannot act as a generator; use Noise(seed)")

    def fold_in(self, k: int) -> Noise:
        """Raises ValueError: stored arrays have no seed."""
        raise ValueError("GivenNoise: stored arrays have no seed to fold into; use Noise(seed)")

    def _next(self, shape: Shape, dtype: np.dtype, xp: Any) -> Any:
        expected, _ = _shape(shape)
        draw = self._draw
        if draw >= len(self.arrays):
            raise ValueError(
                f"GivenNoise: draw {draw} of shape {expected} asked for, "
                f"but only {len(self.arrays)} arrays were given"
            )
        actual = tuple(self.arrays[draw].shape)
        if actual != expected:
            raise ValueError(f"GivenNoise: draw {draw} has shape {actual}, expected {expected}")
        self._take()
        return xp.asarray(self.arrays[draw], dtype=dtype)


def _philox(seed: int, step: int, draw: int) -> np.random.Philox:
    # Key and counter are handed over as words: NumPy reads a list of large integers as floats.
    key = np.array([seed % _WORD, seed // _WORD], dtype=np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, draw, step, 0], dtype=np.uint64))


def _whole(name: str, value: int, limit: int) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise ValueError(f"Noise: {name} must be a whole number, got {value!r}")
    if not 0 <= int(value) < limit:
        raise ValueError(f"Noise: {name} must lie in [0, 2^{limit.bit_length() - 1}), got {value}")
    return int(value)


def _shape(shape: Shape) -> tuple[tuple[int, ...], int]:
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"Noise: sizes must not be negative, got shape {sizes}")
    return tuple(int(size) for size in sizes), math.prod(sizes)


def _precision(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"Noise: dtype must be float32 or float64, got {dtype}")
    return dtype
