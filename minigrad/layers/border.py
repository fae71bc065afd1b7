"""ZeroPad2d, ReflectionPad2d, ReplicationPad2d; Crop2d, CenterCrop2d, CenterPad2d."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.checks import pair, whole, wholes
from minigrad.module import Module, Vjp, once
from minigrad.windows import Pair, pad

Widths = tuple[int, int, int, int]
"""(left, right, top, bottom), as PyTorch orders them."""


def zero_border(x: Array, widths: Widths) -> Array:
    """(N, C, H, W) in a border of zeros; negative widths cut. The adjoint has the signs turned."""
    left, right, top, bottom = widths
    h, w = x.shape[2:]
    rows, cols = (
        slice(max(-before, 0), n - max(-after, 0))
        for n, before, after in ((h, top, bottom), (w, left, right))
    )
    return pad(x[:, :, rows, cols], (max(top, 0), max(bottom, 0), max(left, 0), max(right, 0)))


def _turned(widths: Widths) -> Widths:
    left, right, top, bottom = widths
    return -left, -right, -top, -bottom


class _Border(Module):
    """Checks and text that the three paddings share."""

    def __init__(self, padding: int | Widths) -> None:
        """`padding` is the width on all sides, or (left, right, top, bottom); negative ones cut.

        Raises:
            ValueError: it is neither.
        """
        self.padding = _four(padding, type(self).__name__)

    def _check(self, x: Array) -> None:
        self.check_input(x, ndim=4)
        left, right, top, bottom = self.padding
        for n, before, after in ((x.shape[2], top, bottom), (x.shape[3], left, right)):
            if not self._fits(n, before, after):
                raise ValueError(
                    f"{type(self).__name__}: x: expected an image that allows "
                    f"padding={self.padding} (left, right, top, bottom), got shape {x.shape}"
                )

    def _fits(self, n: int, before: int, after: int) -> bool:
        """Whether an axis of n pixels can be padded so."""
        raise NotImplementedError

    def describe(self) -> str:
        """The widths."""
        return f"{self.padding}"


def _four(padding: Any, layer: str, at_least: int | None = None) -> Widths:
    """One width or four as four."""
    if not isinstance(padding, tuple | list):
        padding = (whole(padding, "padding", layer, at_least=at_least),) * 4
    if len(padding) != 4:
        raise ValueError(
            f"{layer}: padding: expected a whole number or (left, right, top, bottom), got "
            f"{padding}"
        )
    left, right, top, bottom = wholes(padding, "padding", layer, at_least=at_least)
    return left, right, top, bottom


class ZeroPad2d(_Border):
    """y = x in a border of zeros of widths (left, right, top, bottom); negative widths cut.

    Shapes: x (N, C, H, W) -> y (N, C, H + top + bottom, W + left + right).
    VJP: dx = dy without the border (and zeros where x was cut): the same map, signs turned.
    Keeps: nothing.
    PyTorch: `torch.nn.ZeroPad2d`.
    """

    def forward(self, x: Array) -> Array:
        """The padded image."""
        self._check(x)
        return zero_border(x, self.padding)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The padded image, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return zero_border(dy, _turned(self.padding))

        return y, once(vjp, self, y)

    def _fits(self, n: int, before: int, after: int) -> bool:
        return max(-before, 0) + max(-after, 0) <= n


class _Copied(_Border):
    """A border of copies: padding and cutting in terms of one axis."""

    def forward(self, x: Array) -> Array:
        """The padded image."""
        self._check(x)
        xp, (left, right, top, bottom) = array_module(x), self.padding
        rows = xp.asarray(self._sources(x.shape[2], top, bottom))
        cols = xp.asarray(self._sources(x.shape[3], left, right))
        return x.take(rows, axis=2).take(cols, axis=3)

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The padded image, and its vjp."""
        y = self.forward(x)
        h, w = x.shape[2:]

        def vjp(dy: Array) -> Array:
            left, right, top, bottom = (max(p, 0) for p in self.padding)
            # What a negative width cut off gets zeros; what is left is padding alone.
            cut = zero_border(dy, _turned(_cuts(self.padding)))  # (N, C, top+H+bottom, left+W+...)
            rows_done = self._add_border(cut, h, top)  # (N, C, H, left+W+right)
            across = rows_done.swapaxes(2, 3)
            return self._add_border(across, w, left).swapaxes(2, 3)  # (N, C, H, W)

        return y, once(vjp, self, y)

    def _sources(self, n: int, before: int, after: int) -> np.ndarray:
        """For each place of a padded axis, the place of x that it copies."""
        raise NotImplementedError

    def _add_border(self, dy: Array, n: int, before: int) -> Array:
        """Cut the border off axis 2, and add it where it was copied from."""
        raise NotImplementedError


def _cuts(widths: Widths) -> Widths:
    """The negative widths alone."""
    left, right, top, bottom = (min(p, 0) for p in widths)
    return left, right, top, bottom


class ReflectionPad2d(_Copied):
    """y = x continued by its mirror image, the outermost pixels being the mirrors.

    Shapes: x (N, C, H, W) -> y (N, C, H + top + bottom, W + left + right); widths are smaller than
    the image, and negative ones cut.
    VJP: dx = dy without the border, plus the border, mirrored back.
    Keeps: nothing.
    PyTorch: `torch.nn.ReflectionPad2d`.
    """

    def _fits(self, n: int, before: int, after: int) -> bool:
        return max(before, after) < n and n + before + after >= 0

    def _sources(self, n: int, before: int, after: int) -> np.ndarray:
        return (n - 1) - np.abs((n - 1) - np.abs(np.arange(-before, n + after)))

    def _add_border(self, dy: Array, n: int, before: int) -> Array:
        after = dy.shape[2] - n - before
        dx = dy[:, :, before : before + n].copy()
        dx[:, :, 1 : 1 + before] += dy[:, :, :before][:, :, ::-1]
        dx[:, :, n - 1 - after : n - 1] += dy[:, :, before + n :][:, :, ::-1]
        return dx


class ReplicationPad2d(_Copied):
    """y = x continued by its outermost pixels.

    Shapes: x (N, C, H, W) -> y (N, C, H + top + bottom, W + left + right); negative widths cut.
    VJP: dx = dy without the border, plus the sums of the border at the outermost pixels.
    Keeps: nothing.
    PyTorch: `torch.nn.ReplicationPad2d`.
    """

    def _fits(self, n: int, before: int, after: int) -> bool:
        return n > 0 and n + before + after >= 0

    def _sources(self, n: int, before: int, after: int) -> np.ndarray:
        return np.clip(np.arange(-before, n + after), 0, n - 1)

    def _add_border(self, dy: Array, n: int, before: int) -> Array:
        dx = dy[:, :, before : before + n].copy()
        dx[:, :, 0] += dy[:, :, :before].sum(2)
        dx[:, :, n - 1] += dy[:, :, before + n :].sum(2)
        return dx


class Crop2d(_Border):
    """y = x without (left, right, top, bottom) pixels at its sides; a view of x.

    Shapes: x (N, C, H, W) -> y (N, C, H - top - bottom, W - left - right).
    VJP: dx = dy in a border of zeros.
    Keeps: nothing.
    PyTorch: none; slicing, or `torch.nn.ZeroPad2d` with negative widths.
    """

    def __init__(self, padding: int | Widths) -> None:
        """`padding` is what is cut, on all sides or as (left, right, top, bottom).

        Raises:
            ValueError: it is neither, or negative.
        """
        self.padding = _four(padding, "Crop2d", at_least=0)

    def forward(self, x: Array) -> Array:
        """The inner part."""
        self._check(x)
        return zero_border(x, _turned(self.padding))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The inner part, and its vjp."""
        y = self.forward(x)

        def vjp(dy: Array) -> Array:
            return zero_border(dy, self.padding)

        return y, once(vjp, self, y)

    def _fits(self, n: int, before: int, after: int) -> bool:
        return before + after <= n


def _centred(size: Pair, to: Pair) -> Widths:
    """The border that takes an image of `size` to the size `to`: floor(d / 2) at top and left of a
    difference of d pixels, whether they are added or cut.
    """
    dh, dw = abs(to[0] - size[0]), abs(to[1] - size[1])
    return dw // 2, dw - dw // 2, dh // 2, dh - dh // 2


class CenterCrop2d(Module):
    """y = the middle of x, of a given size; of d pixels too many, floor(d / 2) go at top and left.

    Shapes: x (N, C, H, W) -> y (N, C, *size), no larger; a view of x.
    VJP: dx = dy in a border of zeros: the adjoint of `CenterPad2d`.
    Keeps: nothing.
    PyTorch: none; slicing.
    """

    def __init__(self, size: int | Pair) -> None:
        """`size` is (H', W'), or the side of a square.

        Raises:
            ValueError: it is neither a whole number from 0 nor a pair of them.
        """
        self.size = pair(size, "size", "CenterCrop2d", at_least=0)

    def forward(self, x: Array) -> Array:
        """The middle."""
        return zero_border(x, _turned(self._widths(x)))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The middle, and its vjp."""
        y, widths = self.forward(x), self._widths(x)

        def vjp(dy: Array) -> Array:
            return zero_border(dy, widths)

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The size."""
        return f"{self.size}"

    def _widths(self, x: Array) -> Widths:
        """What is cut."""
        self.check_input(x, ndim=4)
        if x.shape[2] < self.size[0] or x.shape[3] < self.size[1]:
            raise ValueError(
                f"CenterCrop2d: x: expected at least {self.size} pixels, got shape {x.shape}"
            )
        return _centred(x.shape[2:], self.size)


class CenterPad2d(Module):
    """y = x in the middle of zeros, of a given size or up to the next multiples.

    Of d pixels too few, floor(d / 2) are added at top and left.

    Shapes: x (N, C, H, W) -> y (N, C, H', W'), (H', W') = `size`, or the smallest multiples of
    `multiple` from (H, W) on.
    VJP: dx = the middle of dy: the adjoint of `CenterCrop2d`.
    Keeps: nothing.
    PyTorch: none; `torch.nn.functional.pad`.
    """

    def __init__(self, size: int | Pair | None = None, multiple: int | Pair | None = None) -> None:
        """Give exactly one of `size` and `multiple`, as one number or (vertical, horizontal).

        Raises:
            ValueError: both or neither are given, or one is neither a whole number nor a pair of
                them from 1.
        """
        if (size is None) == (multiple is None):
            raise ValueError(
                f"CenterPad2d: expected exactly one of size and multiple, got size={size}, "
                f"multiple={multiple}"
            )
        name = "CenterPad2d"
        self.size = None if size is None else pair(size, "size", name, at_least=1)
        self.multiple = None if multiple is None else pair(multiple, "multiple", name, at_least=1)

    def forward(self, x: Array) -> Array:
        """The padded image."""
        return zero_border(x, self._widths(x))

    def forward_and_vjp(self, x: Array) -> tuple[Array, Vjp]:
        """The padded image, and its vjp."""
        y, widths = self.forward(x), self._widths(x)

        def vjp(dy: Array) -> Array:
            return zero_border(dy, _turned(widths))

        return y, once(vjp, self, y)

    def describe(self) -> str:
        """The size or the multiple."""
        return f"size={self.size}" if self.size else f"multiple={self.multiple}"

    def _widths(self, x: Array) -> Widths:
        """What is added."""
        self.check_input(x, ndim=4)
        h, w = x.shape[2:]
        if self.size is not None:
            to = self.size
        else:
            assert self.multiple is not None
            to = h + -h % self.multiple[0], w + -w % self.multiple[1]
        if h > to[0] or w > to[1]:
            raise ValueError(f"CenterPad2d: x: expected at most {to} pixels, got shape {x.shape}")
        return _centred((h, w), to)
