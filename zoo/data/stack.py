"""Frames of a microscope, read when they are asked for: pages of TIFF files, single pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from zoo.data.images import count_pages, list_images, read_pages
from zoo.data.picture import ImageError, with_channels

CACHE = 256 << 20
"""Bytes of frames that are kept after they were read."""


def official_corners(
    height: int, width: int, patch: int, count: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the corners of `count` patches of picture `number`, as the authors of HDN
    and DivNoising draw them: `RandomState(number)`, all rows first, with replacement.
    """
    random = np.random.RandomState(number)
    count = min(count, (height - patch + 1) * (width - patch + 1))
    rows = random.randint(height - patch + 1, size=count)
    return rows, random.randint(width - patch + 1, size=count)


class FrameStack:
    """The frames of picture files, one after the other: float32 (C, H, W) in [0, 1].

    A page is read from its file when it is asked for; the last ones stay in memory, up to `cache`
    bytes. All files have one depth, which `white` tells: the gray value of 1, 255 or 65535.

    Raises: ImageError, for a file that cannot be read or has another depth.
    """

    def __init__(
        self, paths: Sequence[str | Path], *, channels: int = 1, cache: int = CACHE
    ) -> None:
        """`paths` are files, or folders whose picture files are taken by name."""
        self.files = [file for path in paths for file in list_images(path)]
        if not self.files:
            where = ", ".join(str(path) for path in paths) or "no path"
            raise ImageError(where, "holds no picture files")
        counts = [count_pages(file) for file in self.files]
        self.places = [
            (file, page)
            for file, pages in zip(self.files, counts, strict=True)
            for page in range(pages)
        ]
        self.channels, self.cache = channels, cache
        self._held: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._depth: int | None = None
        self.shape = self[0].shape

    @property
    def white(self) -> float:
        """The gray value that is called 1."""
        assert self._depth is not None
        return float((1 << self._depth) - 1)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def name(self, index: int) -> str:
        """The file of a frame, and its page where there are several."""
        file, page = self.places[index]
        several = sum(found == file for found, _ in self.places) > 1
        return f"{file}: page {page}" if several else str(file)

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        file, page = self.places[index]
        picture = read_pages(file, slice(page, page + 1))[0]
        if self._depth not in (None, picture.depth):
            raise ImageError(
                self.name(index), f"{picture.depth} bits, {self.name(0)} has {self._depth}"
            )
        self._depth = picture.depth
        frame = with_channels(picture.pixels, self.channels)
        frame.flags.writeable = False
        self._held[index] = frame
        self._bytes += frame.nbytes
        while self._bytes > self.cache and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return frame

    def levels(self, index: int) -> np.ndarray:
        """A gray frame as its file has it: (H, W), uint8 or uint16."""
        dtype = np.uint16 if self.white > 255 else np.uint8
        return np.rint(self[index][0] * np.float32(self.white)).astype(dtype)
