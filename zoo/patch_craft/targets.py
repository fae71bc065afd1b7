"""Patch-craft images: a noisy frame's content, pasted together from patches of the other frames.

A grid of p x p cells is laid over the middle frame, and each cell filled with its nearest patch in
the other frames. There are p^2 places for the grid, the *offsets* o = k p + l, 0 <= k, l < p; each
gives another image. Grid lines lie on the rows k - p, k, k + p, ... and the columns l - p, l, ...;
cells that reach over the border are cut.

Source: as of `zoo.patch_craft.search`.
"""

from __future__ import annotations

import numpy as np

from zoo.patch_craft.search import Matches, check_burst, padded


class Craft:
    """Patch-craft images of one burst, whole or in part.

    burst: (C, M, H, W). matches: what the search found in it. patch: p, as of the search.
    Memory: a copy of the burst with its margins.

    Raises: ValueError when burst, matches and patch do not fit together.
    """

    def __init__(self, burst: np.ndarray, matches: Matches, patch: int) -> None:
        check_burst(burst, patch)
        height, width = burst.shape[2:]
        expected = 3, height + patch - 1, width + patch - 1
        if tuple(matches.shift.shape) != expected:
            found = tuple(matches.shift.shape)
            raise ValueError(f"Craft: matches: expected shifts of shape {expected}, got {found}")
        self.patch, self.size = patch, (height, width)
        self.offsets = patch * patch
        self._centre = burst.shape[1] // 2
        self._shift = matches.shift
        self._reach = int(abs(matches.shift[1:]).max())
        wide = padded(burst, patch, self._reach)
        # (C, M, positions, positions, p, p), nothing copied
        self._patches = np.lib.stride_tricks.sliding_window_view(wide, (patch, patch), (2, 3))

    def image(self, offset: int) -> np.ndarray:
        """The whole image of an offset, (C, H, W); every pixel comes from another frame."""
        return self.part(offset, 0, 0, *self.size)

    def part(self, offset: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """`image(offset)[:, top : top + height, left : left + width]`, alone."""
        if not 0 <= offset < self.offsets:
            raise ValueError(f"Craft: offset: expected 0 to {self.offsets - 1}, got {offset}")
        if not (
            0 <= top < top + height <= self.size[0] and 0 <= left < left + width <= self.size[1]
        ):
            raise ValueError(
                f"Craft: a part of {height}x{width} at ({top}, {left}) does not lie in "
                f"the frame of {self.size[0]}x{self.size[1]}"
            )
        rows, above = self._cells(offset // self.patch, top, height)
        columns, before = self._cells(offset % self.patch, left, width)
        dt, dv, dh = self._shift[:, rows[:, None], columns].astype(np.intp)  # each (u, v)
        cells = self._patches[
            :,
            self._centre + dt,
            self._reach + rows[:, None] + dv,
            self._reach + columns + dh,
        ]  # (C, u, v, p, p)
        c, u, v, p, _ = cells.shape
        image = cells.transpose(0, 1, 3, 2, 4).reshape(c, u * p, v * p)
        return image[:, above : above + height, before : before + width].copy()

    def _cells(self, first: int, start: int, count: int) -> tuple[np.ndarray, int]:
        """Along one axis, for the grid line `first` and pixels start ... start + count - 1:
        the positions of the cells that hold them, and how many pixels of the first come before.
        """
        p = self.patch
        before = (start - first) % p
        corner = start - before + p - 1  # pixel -> position
        return np.arange(corner, start + count + p - 1, p), before
