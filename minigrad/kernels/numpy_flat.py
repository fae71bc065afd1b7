"""Planes laid out flat, in strips: the memory under the stride-1 convolutions.

The planes of some images lie one channel to a row of a matrix, moved by a tap and cut to a common
grid, with zeros where a plane does not reach. A strip, several small images or a rectangle of a
large one, has few enough pixels for its moved planes to stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import EllipsisType
from typing import NamedTuple

import numpy as np

from minigrad.kernels.numpy_threads import kept
from minigrad.windows import Pair

STRIP = 3072  # pixels in a strip: 200 channels of them are 2.4 MiB of float32
WIDTH = 128  # pixels in a row of a strip, at most: flat strips would read mostly other strips' rows


@dataclass(frozen=True)
class Taps:
    """Where a stride-1 convolution reads: y[m, q] reads x[m + i d_h - top, q + j d_w - left], zero
    outside x.
    """

    kernel: Pair
    dilation: Pair
    top: int
    left: int

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first to the last tap."""
        return (self.kernel[0] - 1) * self.dilation[0], (self.kernel[1] - 1) * self.dilation[1]

    def flipped(self) -> Taps:
        """What of dy the pixels of x were read by: the taps of the input's cotangent."""
        down, right = self.reach
        return Taps(self.kernel, self.dilation, down - self.top, right - self.left)

    def downs(self) -> list[int]:
        """How far down a plane of x is moved, so that the vertical tap i falls on its output."""
        return [self.top - i * self.dilation[0] for i in range(self.kernel[0])]

    def rights(self) -> list[int]:
        """How far to the right, for the horizontal tap j."""
        return [self.left - j * self.dilation[1] for j in range(self.kernel[1])]


class Move(NamedTuple):
    """How far planes are moved, and which: channels phase, phase + phases, ..."""

    down: int
    right: int
    phase: int = 0
    phases: int = 1


@dataclass(frozen=True, eq=False)
class Flat:
    """The grid of a strip: `images` times `size` (rows, columns) pixels, one after the other.

    Made by `layout`, which gives the same object for the same geometry: what is planned for it is
    worked out once. At some hundred strips a step, Python's arithmetic on shapes would otherwise
    take a tenth of the time, and one thread alone can do it at a time.
    """

    images: int
    size: Pair

    @cached_property
    def length(self) -> int:
        """Pixels."""
        return self.images * self.size[0] * self.size[1]

    def unfold(self, slot: str, images: np.ndarray, moves: tuple[Move, ...]) -> np.ndarray:
        """The planes (n, C, h, w), moved by each of `moves`: ((move), c) x `length`, in this
        thread's memory.
        """
        key = (slot, self, moves, images.shape, images.dtype.char)
        planes = kept(key, lambda: Planes(self, images, moves))
        return planes.lay(images)


layout = lru_cache(maxsize=4096)(Flat)


class Planes:
    """Memory for the moved planes of images like the given ones: zero wherever no plane is laid,
    and it stays so, because the same places are written each time.
    """

    def __init__(self, flat: Flat, images: np.ndarray, moves: tuple[Move, ...]) -> None:
        """Zeros for one block of rows a move."""
        (_, channels, h, w), (rows, columns) = images.shape, flat.size
        c = channels // moves[0].phases
        self.matrix = np.zeros((len(moves) * c, flat.length), images.dtype)
        self.nbytes = self.matrix.nbytes
        self.places: list[np.ndarray] = []  # (C, n, ., .) of each move
        self.read: list[tuple[slice, slice, slice]] = []  # channels, rows and columns of it
        for t, (down, right, phase, phases) in enumerate(moves):
            block = self.matrix[t * c : (t + 1) * c].reshape(c, flat.images, rows, columns)
            (to, of), (to_the_right, of_columns) = _meet(down, h, rows), _meet(right, w, columns)
            self.places.append(block[:, :, to, to_the_right])
            self.read.append((slice(phase, None, phases), of, of_columns))

    def lay(self, images: np.ndarray) -> np.ndarray:
        """Lay the planes (n, C, h, w); the matrix of all moves, ((move), c) x length."""
        planes = images.transpose(1, 0, 2, 3)
        for place, (channels, rows, columns) in zip(self.places, self.read, strict=True):
            place[...] = planes[channels, :, rows, columns]
        return self.matrix


def _meet(move: int, length: int, room: int) -> tuple[slice, slice]:
    """Where `length` places moved by `move` fall into 0..room-1, and which of them do."""
    first = min(max(move, 0), room)
    last = max(first, min(length + move, room))
    return slice(first, last), slice(first - move, last - move)


Part = tuple[slice, EllipsisType, slice, slice]


@dataclass(frozen=True, eq=False)
class Strip:
    """Some images, or a rectangle of one image, what of x they read, and their layout."""

    outputs: Part  # of y, (N, K, M, Q)
    inputs: Part  # of x, (N, C, H, W)
    images: int
    count: Pair  # rows and columns of the outputs
    size: Pair  # of the inputs
    taps: Taps  # with the borders of this part

    @cached_property
    def on_outputs(self) -> Flat:
        """The grid of the outputs: all taps are moved to it."""
        return layout(self.images, self.count)

    @cached_property
    def between(self) -> Flat:
        """Rows of the inputs, columns of the outputs: the horizontal taps are moved to it."""
        return layout(self.images, (self.size[0], self.count[1]))

    @cached_property
    def on_inputs(self) -> Flat:
        """The grid of the inputs."""
        return layout(self.images, self.size)


def strips(n: int, size: Pair, count: Pair, taps: Taps) -> tuple[Strip, ...]:
    """Cut the work, by shape alone: about `STRIP` pixels of y each, at least two where it pays."""
    return _strips(n, size, count, taps, STRIP, WIDTH)


@lru_cache(maxsize=1024)
def _strips(
    n: int, size: Pair, count: Pair, taps: Taps, pixels: int, width: int
) -> tuple[Strip, ...]:
    (h, w), (m, q), (down, right) = size, count, taps.reach
    if m * q <= pixels:
        each, tall, wide = pixels // (m * q), m, q
        each = max(1, min(each, n if 2 * n * m * q < pixels else -(-n // 2)))
    else:
        each, wide = 1, part_length(q, width)
        tall = max(1, pixels // wide, down)
    return tuple(
        _strip(slice(a, min(a + each, n)), rows, columns, taps)
        for rows in _runs(m, h, tall, down, taps.top)
        for columns in _runs(q, w, wide, right, taps.left)
        for a in range(0, n, each)
    )


def part_length(length: int, most: int) -> int:
    """The length of the longest of parts that are as alike as can be and at most `most` long."""
    return -(-length // -(-length // most))


class Run(NamedTuple):
    """Outputs along one axis, what of x they read, and how far before it they begin to read."""

    outputs: slice
    inputs: slice
    border: int


def _runs(count: int, size: int, each: int, reach: int, border: int) -> list[Run]:
    found = []
    for first in range(0, count, each):
        last = min(first + each, count)
        start = max(0, first - border)
        stop = max(min(size, last + reach - border), start)
        found.append(Run(slice(first, last), slice(start, stop), border - first + start))
    return found


def _strip(images: slice, rows: Run, columns: Run, taps: Taps) -> Strip:
    moved = Taps(taps.kernel, taps.dilation, rows.border, columns.border)
    written = images, ..., rows.outputs, columns.outputs
    read = images, ..., rows.inputs, columns.inputs
    size = _length(rows.inputs), _length(columns.inputs)
    count = _length(rows.outputs), _length(columns.outputs)
    return Strip(written, read, _length(images), count, size, moved)


def _length(part: slice) -> int:
    return part.stop - part.start
