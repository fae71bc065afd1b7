"""Rows of the layers that move, pad, cut, reshape and average."""

from __future__ import annotations

import math
from collections.abc import Callable

from minigrad import (
    AdaptiveAvgPool2d,
    CenterCrop2d,
    CenterPad2d,
    Crop2d,
    DividePatches,
    Flatten,
    Flip,
    HaarDWT,
    HaarIWT,
    MergePatches,
    Module,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    ReflectionPad2d,
    ReplicationPad2d,
    Reshape,
    Roll,
    Rot90,
    Shift2d,
    ZeroPad2d,
)
from validation.cases import Row, Shape, Variant, variant
from validation.draw import Draw, pair


def _image(draw: Draw, low: int = 1, high: int = 6) -> Shape:
    return (draw.integer(1, 2), draw.integer(1, 3), *pair(draw, low, high))


def _any(draw: Draw, low: int = 1) -> Shape:
    return tuple(draw.integer(1, 5) for _ in range(draw.integer(low, 4)))


def _zeros(draw: Draw) -> Variant:
    """Widths of either sign, that leave at least a pixel of the image."""
    shape = _image(draw)
    widths = []
    for n in (shape[3], shape[2]):
        before = draw.integer(1 - n, 3)
        widths += [before, draw.integer(1 - n + max(-before, 0), 3)]
    return variant(shape, padding=tuple(widths))


def _reflection(draw: Draw) -> Variant:
    """Widths below the side; a negative one may go into the mirror image of the other side."""
    shape = _image(draw)
    widths = []
    for n in (shape[3], shape[2]):
        before = draw.integer(1 - n, n - 1)
        widths += [before, draw.integer(1 - n - min(before, 0), n - 1)]
    return variant(shape, padding=tuple(widths))


def _replication(draw: Draw) -> Variant:
    """As `_reflection`, but wider than the image too."""
    shape = _image(draw)
    widths = []
    for n in (shape[3], shape[2]):
        before = draw.integer(-n - 3, 2 * n)
        widths += [before, draw.integer(max(-n - before, -3) + 1, 2 * n + 4)]
    return variant(shape, padding=tuple(widths))


def _crop(draw: Draw) -> Variant:
    shape = _image(draw)
    left, top = draw.integer(0, shape[3] - 1), draw.integer(0, shape[2] - 1)
    right, bottom = (
        draw.integer(0, shape[3] - 1 - left),
        draw.integer(0, shape[2] - 1 - top),
    )
    return variant(shape, padding=(left, right, top, bottom))


def _center_crop(draw: Draw) -> Variant:
    shape = _image(draw)
    return variant(shape, size=(draw.integer(1, shape[2]), draw.integer(1, shape[3])))


def _center_pad(draw: Draw) -> Variant:
    shape = _image(draw)
    if draw.pick([True, False]):
        return variant(shape, multiple=draw.pick([4, 8, (2, 3), (1, 5)]))
    return variant(shape, size=(shape[2] + draw.integer(0, 5), shape[3] + draw.integer(0, 5)))


def _roll(draw: Draw) -> Variant:
    shape = _any(draw)
    if draw.integer(0, 3) == 0:
        return variant(shape, shifts=draw.integer(-9, 9))
    dims = tuple(
        draw.integer(-len(shape), len(shape) - 1) for _ in range(draw.integer(1, len(shape)))
    )
    return variant(shape, shifts=tuple(draw.integer(-9, 9) for _ in dims), dims=dims)


def _shift(draw: Draw) -> Variant:
    return variant(_image(draw), down=draw.integer(-7, 7), right=draw.integer(-7, 7))


def _order(draw: Draw, count: int) -> list[int]:
    """The axes 0 ... count - 1 in a random order, counted from either end."""
    left, order = list(range(count)), []
    while left:
        axis = left.pop(draw.integer(0, len(left) - 1))
        order.append(axis - draw.pick([0, count]))
    return order


def _rot90(draw: Draw) -> Variant:
    shape = _any(draw, low=2)
    return variant(shape, k=draw.integer(-5, 5), dims=tuple(_order(draw, len(shape))[:2]))


def _flip(draw: Draw) -> Variant:
    shape = _any(draw)
    return variant(shape, dims=tuple(_order(draw, len(shape))[: draw.integer(0, len(shape))]))


def _permute(draw: Draw) -> Variant:
    shape = _any(draw)
    return variant(shape, dims=tuple(_order(draw, len(shape))))


def _shuffle(draw: Draw) -> Variant:
    n, c, h, w = _image(draw, high=4)
    r = draw.integer(1, 3)
    return variant((n, c * r * r, h, w), upscale_factor=r)


def _unshuffle(draw: Draw) -> Variant:
    n, c, h, w = _image(draw, high=3)
    r = draw.integer(1, 3)
    return variant((n, c, h * r, w * r), downscale_factor=r)


def _dwt(draw: Draw) -> Variant:
    n, c, h, w = _image(draw, high=4)
    return variant((n, c, 2 * h, 2 * w), order=draw.pick(["interleaved", "band-major"]))


def _iwt(draw: Draw) -> Variant:
    n, c, h, w = _image(draw, high=4)
    return variant((n, 4 * c, h, w), order=draw.pick(["interleaved", "band-major"]))


def _reshape(draw: Draw) -> Variant:
    """The axes of an image in another order of lengths, some joined, one perhaps left to infer."""
    shape = _any(draw)
    sizes = list(shape[1:])[::-1] or [1]
    if draw.pick([True, False]):
        sizes = [math.prod(sizes[:2]), *sizes[2:], 1]
    if draw.pick([True, False]):
        sizes[draw.integer(0, len(sizes) - 1)] = -1
    return variant(shape, shape=tuple(sizes))


def _flatten(draw: Draw) -> Variant:
    shape = _any(draw)
    start = draw.integer(0, len(shape) - 1)
    end = draw.integer(start, len(shape) - 1)
    start, end = start - draw.pick([0, len(shape)]), end - draw.pick([0, len(shape)])
    return variant(shape, start_dim=start, end_dim=end)


def _blocks(draw: Draw) -> tuple[int, int, tuple[int, int]]:
    """Side of a patch, overlap, patches down and across."""
    block = draw.integer(1, 6)
    return block, draw.integer(0, block // 2), pair(draw, 1, 3)


def _divide(draw: Draw) -> Variant:
    block, overlap, (m, q) = _blocks(draw)
    sides = (m * (block - overlap) + overlap, q * (block - overlap) + overlap)
    return variant((draw.integer(1, 2), draw.integer(1, 3), *sides), block=block, overlap=overlap)


def _merge(draw: Draw) -> Variant:
    block, overlap, (m, q) = _blocks(draw)
    shape = (draw.integer(1, 2) * m * q, draw.integer(1, 3), block, block)
    return variant(shape, block=block, overlap=overlap, blocks=(m, q))


def _adaptive(draw: Draw) -> Variant:
    sizes = tuple(draw.pick([None, draw.integer(1, 8)]) for _ in range(2))
    return variant(_image(draw, high=8), output_size=draw.pick([1, 3, sizes]))


def _linear(layer: type[Module], draw: Callable[[Draw], Variant], *variants: Variant) -> Row:
    """None of these layers keeps an array."""
    return Row(layer, draw, variants, linear=True, special=True)


_IMAGE = (2, 3, 5, 4)

ROWS: list[Row] = [
    _linear(
        ZeroPad2d,
        _zeros,
        variant(_IMAGE, padding=2),
        variant(_IMAGE, padding=(1, 2, 3, 0)),
        variant(_IMAGE, padding=(-1, 2, -2, -1)),
        variant(_IMAGE, padding=(-4, 3, 0, 0)),
        variant(_IMAGE, padding=(-2, -2, 1, 1)),
        variant((1, 2, 0, 3), padding=1),
        variant((1, 1, 1, 1), padding=0),
    ),
    _linear(
        ReflectionPad2d,
        _reflection,
        variant(_IMAGE, padding=3),
        variant(_IMAGE, padding=(3, 1, 0, 4)),
        variant(_IMAGE, padding=(-1, 2, -3, -2)),
        variant(_IMAGE, padding=(-5, 3, 4, -7)),
        variant(_IMAGE, padding=(-2, -2, 1, 1)),
        variant((1, 2, 1, 3), padding=(2, 2, 0, 0)),
        variant((1, 1, 1, 1), padding=0),
    ),
    _linear(
        ReplicationPad2d,
        _replication,
        variant(_IMAGE, padding=3),
        variant(_IMAGE, padding=(7, 1, 0, 9)),
        variant(_IMAGE, padding=(-1, 2, -3, -2)),
        variant(_IMAGE, padding=(-9, 6, 4, -7)),
        variant(_IMAGE, padding=(-2, -2, 1, 1)),
        variant((1, 1, 1, 1), padding=2),
    ),
    _linear(
        Crop2d,
        _crop,
        variant(_IMAGE, padding=1),
        variant(_IMAGE, padding=(0, 3, 2, 1)),
        variant(_IMAGE, padding=(2, 2, 0, 0)),
        variant(_IMAGE, padding=0),
    ),
    _linear(
        CenterCrop2d,
        _center_crop,
        variant(_IMAGE, size=3),
        variant(_IMAGE, size=(2, 3)),
        variant(_IMAGE, size=(5, 4)),
        variant(_IMAGE, size=(0, 4)),
        variant((1, 2, 7, 6), size=1),
    ),
    _linear(
        CenterPad2d,
        _center_pad,
        variant(_IMAGE, size=8),
        variant(_IMAGE, size=(5, 7)),
        variant(_IMAGE, multiple=4),
        variant(_IMAGE, multiple=(3, 8)),
        variant((1, 1, 16, 8), multiple=8),
    ),
    _linear(
        Roll,
        _roll,
        variant(_IMAGE, shifts=1, dims=2),
        variant(_IMAGE, shifts=(2, -7), dims=(-1, 2)),
        variant(_IMAGE, shifts=(1, 2), dims=(3, 3)),
        variant(_IMAGE, shifts=5),
        variant((3, 1), shifts=4, dims=1),
        variant((7,), shifts=-3, dims=0),
    ),
    _linear(
        Shift2d,
        _shift,
        variant(_IMAGE, down=1),
        variant(_IMAGE, down=-2, right=1),
        variant(_IMAGE, right=-4),
        variant(_IMAGE, down=9, right=-1),
        variant(_IMAGE),
    ),
    _linear(
        Rot90,
        _rot90,
        variant(_IMAGE),
        variant(_IMAGE, k=-1),
        variant(_IMAGE, k=2, dims=(3, 2)),
        variant(_IMAGE, k=7, dims=(-1, 1)),
        variant((3, 2), k=0, dims=(0, 1)),
    ),
    _linear(
        Flip,
        _flip,
        variant(_IMAGE, dims=(2,)),
        variant(_IMAGE, dims=(-1, 2)),
        variant(_IMAGE, dims=()),
        variant((3,), dims=(0,)),
    ),
    _linear(
        PixelShuffle,
        _shuffle,
        variant((2, 12, 3, 4), upscale_factor=2),
        variant((1, 9, 1, 1), upscale_factor=3),
        variant(_IMAGE, upscale_factor=1),
        variant((1, 8, 0, 2), upscale_factor=2),
    ),
    _linear(
        PixelUnshuffle,
        _unshuffle,
        variant((2, 3, 6, 4), downscale_factor=2),
        variant((1, 1, 3, 3), downscale_factor=3),
        variant(_IMAGE, downscale_factor=1),
        variant((1, 2, 0, 4), downscale_factor=2),
    ),
    _linear(
        HaarDWT,
        _dwt,
        variant((2, 3, 6, 4)),
        variant((2, 3, 6, 4), order="band-major"),
        variant((1, 1, 2, 2)),
        variant((1, 2, 2, 6), order="band-major"),
    ),
    _linear(
        HaarIWT,
        _iwt,
        variant((2, 12, 3, 2)),
        variant((2, 12, 3, 2), order="band-major"),
        variant((1, 4, 1, 1)),
        variant((1, 8, 1, 3), order="band-major"),
    ),
    _linear(
        Reshape,
        _reshape,
        variant((2, 12), shape=(3, 4)),
        variant((2, 3, 4), shape=(2, -1)),
        variant((2, 3, 4), shape=(-1,)),
        variant((5,), shape=(1, 1)),
        variant((2, 0, 4), shape=(-1, 2)),
    ),
    _linear(
        Flatten,
        _flatten,
        variant(_IMAGE),
        variant(_IMAGE, start_dim=0),
        variant(_IMAGE, start_dim=-3, end_dim=2),
        variant((7,), start_dim=0),
        variant((2, 3), start_dim=1, end_dim=1),
    ),
    _linear(
        Permute,
        _permute,
        variant(_IMAGE, dims=(0, 2, 3, 1)),
        variant(_IMAGE, dims=(3, -4, 2, -3)),
        variant((2, 3), dims=(1, 0)),
        variant((4,), dims=(0,)),
    ),
    _linear(
        DividePatches,
        _divide,
        variant((1, 3, 20, 20), block=8, overlap=2),
        variant((2, 1, 7, 10), block=4, overlap=1),
        variant((2, 2, 6, 4), block=2),
        variant((2, 2, 5, 5), block=5, overlap=2),
    ),
    _linear(
        MergePatches,
        _merge,
        variant((9, 3, 8, 8), block=8, overlap=2, blocks=3),
        variant((12, 1, 4, 4), block=4, overlap=1, blocks=(2, 3)),
        variant((6, 2, 2, 2), block=2, overlap=0, blocks=(3, 1)),
        variant((8, 2, 6, 6), block=6, overlap=3, blocks=(1, 4)),
        variant((2, 2, 5, 5), block=5, overlap=2, blocks=1),
        variant((6, 1, 6, 6), block=6, overlap=2, blocks=(3, 2), blend=False),
        variant((4, 2, 5, 5), block=5, overlap=1, blocks=2, blend=False),
    ),
    _linear(
        AdaptiveAvgPool2d,
        _adaptive,
        variant((2, 3, 5, 7), output_size=1),
        variant((2, 3, 5, 7), output_size=(2, 3)),
        variant((2, 3, 6, 8), output_size=(3, 4)),
        variant((1, 2, 2, 3), output_size=(5, 4)),
        variant((1, 2, 4, 3), output_size=(None, 2)),
        variant((1, 1, 1, 1), output_size=1),
    ),
]
