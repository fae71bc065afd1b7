"""DividePatches and MergePatches: an image as overlapping square patches, and back."""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import pair, whole
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, Window, fold, unfold


def divide(x: Array, window: Window) -> Array:
    """(N, C, H, W) -> (N Q M, C, b, b): every window of M rows and Q columns of windows; the column
    is the slower index, the row the faster one.
    """
    n, c, h, w = x.shape
    (m, q), b = window.count(h, w), window.kernel[0]
    patches = unfold(x, window).reshape(n, c, b, b, m, q)
    return patches.transpose(0, 5, 4, 1, 2, 3).reshape(n * q * m, c, b, b)


def assemble(patches: Array, window: Window, blocks: Pair) -> Array:
    """(N Q M, C, b, b) -> (N, C, H, W): the patches at their places, ADDED where they overlap; the
    transpose of `divide`.
    """
    (m, q), b, (step, _) = blocks, window.kernel[0], window.stride
    n, c = len(patches) // (m * q), patches.shape[1]
    columns = patches.reshape(n, q, m, c, b, b).transpose(0, 3, 4, 5, 2, 1)  # (N, C, b, b, M, Q)
    size = b + (m - 1) * step, b + (q - 1) * step
    return fold(columns.reshape(n, c * b * b, m * q), window, size)


def fade_weights(block: int, overlap: int, blocks: int, blend: bool = True) -> np.ndarray:
    """What each patch along one axis counts, (blocks, block): 1, but for the overlaps.

    At overlap pixel k the later patch counts (k + 1) / (overlap + 1), the earlier one the rest;
    without `blend` the later one counts from the middle on, the earlier one before it. The first
    patch has no fade at its start, the last one none at its end.
    """
    weights = np.ones((blocks, block))
    rise = np.arange(1, overlap + 1) / (overlap + 1)
    if not blend:
        rise = (rise >= 0.5).astype(np.float64)
    weights[1:, :overlap] = rise
    weights[:-1, block - overlap :] = 1 - rise
    return weights


class _Patches(Module):
    """The geometry of both directions."""

    def __init__(self, block: int, overlap: int) -> None:
        name = type(self).__name__
        self.block = whole(block, "block", name, at_least=1)
        self.overlap = whole(overlap, "overlap", name, at_least=0)
        if 2 * self.overlap > self.block:
            raise ValueError(
                f"{name}: overlap: expected at most half the block {block}, got {overlap}"
            )
        step = self.block - self.overlap
        self.window = Window((self.block, self.block), (step, step))

    def describe(self) -> str:
        """Block and overlap."""
        return f"{self.block}, overlap={self.overlap}"


class DividePatches(_Patches):
    """The square patches of an image, neighbours sharing `overlap` pixels.

    Patch j M + i of an image has its first pixel at row i s and column j s, with the step
    s = block - overlap: the order is column by column.

    Shapes: x (N, C, H, W), H = M s + overlap, W = Q s + overlap -> y (N Q M, C, block, block), the
    patches of an image together.
    VJP: dx = the sum of dy over the patches that hold the pixel (no weights).
    Keeps: the shape.
    PyTorch: none; `torch.nn.functional.unfold`, transposed.
    """

    def __init__(self, block: int, overlap: int = 0) -> None:
        """`block` is the side of a patch.

        Raises:
            ValueError: one is no whole number (from 1, and from 0), or `overlap` is more than half
                of `block`.
        """
        super().__init__(block, overlap)

    def forward(self, x: Array) -> Array:
        """The patches."""
        self.check_input(x, ndim=4)
        step = self.block - self.overlap
        if min(x.shape[2:]) < self.block or any((n - self.overlap) % step for n in x.shape[2:]):
            raise ValueError(
                f"DividePatches: x: expected sides of blocks {step} + {self.overlap} pixels, "
                f"blocks = 1, 2, ..., got shape {x.shape}"
            )
        return divide(x, self.window)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The patches, and their vjp."""
        y = self.forward(x)
        blocks = self.window.count(*x.shape[2:])

        def vjp(dy: Array) -> Array:
            return assemble(dy, self.window, blocks)

        return y, once(vjp, self, y)


class MergePatches(_Patches):
    """The image of overlapping patches, cross-faded linearly: y = the sum of a_i(row) a_j(col) x.

    At overlap pixel k = 0 ... o - 1 the later patch has the weight (k + 1) / (o + 1), the earlier
    one the rest; the weights at each pixel add up to 1. So MergePatches(DividePatches(x)) = x.
    Without `blend` nothing is faded: each patch counts up to the middle of an overlap.

    Shapes: x (N Q M, C, block, block), in the order of `DividePatches`, with (M, Q) = `blocks` ->
    y (N, C, M s + overlap, Q s + overlap), s = block - overlap.
    VJP: dx = weights times DividePatches(dy).
    Keeps: nothing.
    PyTorch: none; `torch.nn.functional.fold` of the weighted patches.
    """

    def __init__(self, block: int, overlap: int, blocks: int | Pair, blend: bool = True) -> None:
        """`blocks` are the patches down and across, or one number for both; `blend`: cross-fade.

        Raises:
            ValueError: one is no whole number (from 1; `overlap` from 0), or `overlap` is more than
                half of `block`: three patches in a row must not meet.
        """
        super().__init__(block, overlap)
        self.blocks = pair(blocks, "blocks", "MergePatches", at_least=1)
        self.blend = blend

    def forward(self, x: Array) -> Array:
        """The image."""
        self.check_input(x, ndim=4)
        (m, q), b = self.blocks, self.block
        if x.shape[2:] != (b, b) or x.shape[0] % (m * q):
            raise ValueError(
                f"MergePatches: x: expected a multiple of {m * q} patches of {b} x {b} pixels, "
                f"got shape {x.shape}"
            )
        return assemble(self._weighted(x), self.window, self.blocks)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return self._weighted(divide(dy, self.window))

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """Block, overlap and number of patches."""
        odd = "" if self.blend else ", blend=False"
        return f"{super().describe()}, blocks={self.blocks}{odd}"

    def _weighted(self, patches: Array) -> Array:
        """Each patch times its fades."""
        (m, q), b, (count, c) = self.blocks, self.block, patches.shape[:2]
        down = fade_weights(b, self.overlap, m, self.blend)[
            None, :, None, :, None
        ]  # (1, M, 1, b, 1)
        across = fade_weights(b, self.overlap, q, self.blend)[
            :, None, None, None, :
        ]  # (Q, 1, 1, 1, b)
        weights = array_module(patches).asarray(down * across, dtype=patches.dtype)
        grouped = patches.reshape(count // (m * q), q, m, c, b, b)
        return (grouped * weights).reshape(count, c, b, b)
