"""Planes laid out flat, in strips: the memory under the stride-1 convolutions.

The planes of some images lie one channel to a row of a matrix, rows of pixels one after the other,
with zero rows between images, so that a shift by a tap is one shift of the whole row. A strip,
several small images or a rectangle of a large one, has few enough pixels for its unfolded planes to
stay in the cache.
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

    def rows(self, unfolded: bool) -> list[int]:
        """The vertical shift i d_h of each tap, or only the first where the rows are not
        unfolded.
        """
        return [i * self.dilation[0] for i in range(self.kernel[0] if unfolded else 1)]

    def columns(self, unfolded: bool) -> list[int]:
        """The horizontal shift j d_w - left of each tap, or none where the columns are not
        unfolded.
        """
        return (
            [j * self.dilation[1] - self.left for j in range(self.kernel[1])] if unfolded else [0]
        )


class Move(NamedTuple):
    """How far planes are moved, and which: channels phase, phase + phases, ..."""

    down: int
    right: int
    phase: int = 0
    phases: int = 1


@dataclass(frozen=True, eq=False)
class Flat:
    """A strip of planes laid out flat, for `images` images of `size` with `count` outputs each.

    The output pixel (n, m, q) stands at `(n rows + m) pitch + q`; the pixel (n, r, s) of x stands
    `top` rows later, so that the tap (i, j) is the same shift, `i d_h pitch + j d_w - left`,
    everywhere. Between images there are as many zero rows as the taps reach beyond an edge: they
    serve the image above and the one below.

    Made by `layout`, which gives the same object for the same geometry: what is planned for it is
    worked out once. At some hundred strips a step, Python's arithmetic on shapes would otherwise
    take a tenth of the time, and one thread alone can do it at a time.
    """

    images: int
    size: Pair
    count: Pair
    taps: Taps

    @cached_property
    def pitch(self) -> int:
        """Numbers in a row."""
        return max(self.size[1], self.count[1])

    @cached_property
    def rows(self) -> int:
        """Rows from one image to the next."""
        h, m, top = self.size[0], self.count[0], self.taps.top
        return max(h + max(top, m + self.taps.reach[0] - top - h, 0), m)

    @cached_property
    def outputs(self) -> int:
        """Length that holds every output pixel."""
        return self.images * self.rows * self.pitch

    @cached_property
    def length(self) -> int:
        """Length that holds every output pixel and what the vertical taps read beyond."""
        return self.outputs + self.taps.reach[0] * self.pitch

    @cached_property
    def guard(self) -> int:
        """Room on either side for what a shift pushes out."""
        (down, right), top, left = self.taps.reach, self.taps.top, self.taps.left
        return (down + top) * self.pitch + right + left

    def unfold(
        self, slot: str, images: np.ndarray, moves: tuple[Move, ...], last: int = 0
    ) -> np.ndarray:
        """The planes (n, C, h, w), moved by each of `moves`: ((move), c) x `length`, and `last`
        rows of ones.

        The memory is this thread's.
        """
        key = (slot, self, moves, images.shape, last, images.dtype.char)
        planes = kept(key, lambda: Planes(self, images, moves, last))
        return planes.lay(images)

    def crop(self, flat: np.ndarray) -> np.ndarray:
        """The output pixels of planes (K, outputs), as a view (n, K, M, Q)."""
        m, q = self.count
        planes = flat.reshape(flat.shape[0], self.images, self.rows, self.pitch)
        return planes[:, :, :m, :q].transpose(1, 0, 2, 3)


layout = lru_cache(maxsize=4096)(Flat)


class Planes:
    """Memory for the moved planes of images like the given ones (x or dy of a layout): zero
    wherever no plane is laid, and it stays so, because the same places are written each time.
    """

    def __init__(self, flat: Flat, images: np.ndarray, moves: tuple[Move, ...], last: int) -> None:
        """Zeros for one block of rows a move, then `last` rows of ones (for the bias)."""
        (_, channels, h, w), guard, pitch = images.shape, flat.guard, flat.pitch
        c = channels // moves[0].phases
        memory = np.zeros((len(moves) * c + last, flat.length + 2 * guard), images.dtype)
        if last:
            memory[-last:] = 1
        self.nbytes = memory.nbytes
        self.matrix = memory[:, guard : guard + flat.length]
        self.places: list[np.ndarray] = []  # (C, n, h, w) of each move
        self.wrapped: list[np.ndarray] = []  # what a move to the side pushes into the next row
        self.read: list[slice] = []  # the channels of each move
        for t, (down, right, phase, phases) in enumerate(moves):
            start = guard + down * pitch + right
            block = memory[t * c : (t + 1) * c, start : start + flat.outputs]
            rows = block.reshape(c, flat.images, flat.rows, pitch)[:, :, :h]
            self.places.append(rows[..., :w])
            edge = slice(max(0, pitch - right), None) if right > 0 else slice(0, -right)
            self.wrapped.append(rows[..., edge])
            self.read.append(slice(phase, None, phases))

    def lay(self, images: np.ndarray) -> np.ndarray:
        """Lay the planes (n, C, h, w); the matrix of all moves, ((move), c) x length."""
        planes = images.transpose(1, 0, 2, 3)
        for place, wrapped, read in zip(self.places, self.wrapped, self.read, strict=True):
            place[...] = planes[read]
            if wrapped.size:
                wrapped[...] = 0
        return self.matrix


Part = tuple[slice, EllipsisType, slice, slice]


@dataclass(frozen=True, eq=False)
class Strip:
    """Some images, or a rectangle of one image, what of x they read, and their layout."""

    outputs: Part  # of y, (N, K, M, Q)
    inputs: Part  # of x, (N, C, H, W)
    flat: Flat


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
        each, wide = 1, -(-q // -(-q // width))  # strips as alike as can be
        tall = max(1, pixels // wide, down)
    return tuple(
        _strip(slice(a, min(a + each, n)), rows, columns, taps)
        for rows in _runs(m, h, tall, down, taps.top)
        for columns in _runs(q, w, wide, right, taps.left)
        for a in range(0, n, each)
    )


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
    return Strip(written, read, layout(_length(images), size, count, moved))


def _length(part: slice) -> int:
    return part.stop - part.start
