"""What the layers that move, pad, cut, reshape and average refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import minigrad as mg
from tests.errors.common import Wrong, X, image, unary, wrong

PATCHES = np.zeros((6, 3, 4, 4), np.float32)


def border(make: Callable[..., mg.Module]) -> list[Wrong]:
    """What every padding by widths refuses."""
    layer = make.__name__
    return [
        *image(layer, lambda: make(1)),
        wrong(layer, lambda: make((1, 2)), ValueError, "padding", "(left, right", "(1, 2)"),
        wrong(layer, lambda: make(1.0), ValueError, "padding", "whole", "1.0"),
        wrong(layer, lambda: make(True), ValueError, "padding", "whole", "True"),
        wrong(layer, lambda: make((1, 2, 3, np.nan)), ValueError, "padding[3]", "whole", "nan"),
    ]


def too_wide(make: Callable[..., mg.Module], padding: object, x: np.ndarray = X) -> Wrong:
    """A width that the image of 6 x 5 pixels does not allow."""
    return wrong(
        make.__name__,
        lambda: make(padding)(x),
        ValueError,
        *("x", "padding", "(left, right, top, bottom)", str(x.shape)),
    )


def axes(layer: str, make: Callable[[tuple[int, ...]], mg.Module]) -> list[Wrong]:
    """What every layer that names axes refuses."""
    return [
        wrong(layer, lambda: make((1, 4))(X), ValueError, "dim", "-4 <= dim < 4", "got 4"),
        wrong(layer, lambda: make((-5, 1))(X), ValueError, "dim", "(2, 3, 6, 5)", "got -5"),
        wrong(layer, lambda: make((1, 2.0)), ValueError, "dim", "whole", "2.0"),
        wrong(layer, lambda: make((1, False)), ValueError, "dim", "whole", "False"),
        wrong(layer, lambda: make("01"), ValueError, "dim", "whole", "'01'"),
    ]


ERRORS: list[Wrong] = [
    *border(mg.ZeroPad2d),
    *(too_wide(mg.ZeroPad2d, p) for p in ((-5, -1, 0, 0), (0, 0, 3, -7))),
    *border(mg.ReflectionPad2d),
    *(too_wide(mg.ReflectionPad2d, p) for p in (5, (0, 5, 0, 0), (0, 0, 6, 0), (-4, -2, 0, 0))),
    too_wide(mg.ReflectionPad2d, 0, X[:, :, :0]),
    *border(mg.ReplicationPad2d),
    *(too_wide(mg.ReplicationPad2d, p) for p in ((-4, -2, 0, 0), (0, 0, 3, -10))),
    too_wide(mg.ReplicationPad2d, 1, X[:, :, :, :0]),
    *border(mg.Crop2d),
    too_wide(mg.Crop2d, (3, 3, 0, 0)),
    wrong("Crop2d", lambda: mg.Crop2d(-1), ValueError, "padding", "at least 0", "-1"),
    wrong("Crop2d", lambda: mg.Crop2d((0, 0, -2, 0)), ValueError, "padding[2]", "at least 0", "-2"),
    *image("CenterCrop2d", lambda: mg.CenterCrop2d(2)),
    wrong("CenterCrop2d", lambda: mg.CenterCrop2d(6)(X), ValueError, "x", "(6, 6)", "(2, 3, 6, 5)"),
    wrong(
        "CenterCrop2d", lambda: mg.CenterCrop2d(-1), ValueError, "size", "at least 0", "(-1, -1)"
    ),
    wrong("CenterCrop2d", lambda: mg.CenterCrop2d((2, 2.5)), ValueError, "size", "pair", "2.5"),
    *image("CenterPad2d", lambda: mg.CenterPad2d(8)),
    wrong("CenterPad2d", lambda: mg.CenterPad2d(), ValueError, "exactly one", "size", "multiple"),
    wrong("CenterPad2d", lambda: mg.CenterPad2d(8, 8), ValueError, "exactly one", "size=8"),
    wrong("CenterPad2d", lambda: mg.CenterPad2d(5)(X), ValueError, "x", "(5, 5)", "(2, 3, 6, 5)"),
    wrong("CenterPad2d", lambda: mg.CenterPad2d(0), ValueError, "size", "at least 1", "(0, 0)"),
    wrong(
        "CenterPad2d",
        lambda: mg.CenterPad2d(multiple=(8, 0)),
        ValueError,
        *("multiple", "at least 1", "(8, 0)"),
    ),
    *unary("Roll", lambda: mg.Roll(1, 0)),
    *axes("Roll", lambda dims: mg.Roll((1, 1), dims)),
    wrong("Roll", lambda: mg.Roll(1.5, 0), ValueError, "shifts", "whole", "1.5"),
    wrong("Roll", lambda: mg.Roll((1, 2), 0), ValueError, "shifts", "dims=0", "(1, 2)"),
    wrong("Roll", lambda: mg.Roll((1, 2)), ValueError, "shifts", "dims=None", "(1, 2)"),
    wrong("Roll", lambda: mg.Roll((), ()), ValueError, "shifts", "dims=()", "got ()"),
    *image("Shift2d", lambda: mg.Shift2d(1)),
    wrong("Shift2d", lambda: mg.Shift2d(0.5), ValueError, "down", "whole", "0.5"),
    wrong("Shift2d", lambda: mg.Shift2d(1, True), ValueError, "right", "whole", "True"),
    *unary("Rot90", mg.Rot90),
    *axes("Rot90", lambda dims: mg.Rot90(1, dims)),
    wrong("Rot90", lambda: mg.Rot90(0.5), ValueError, "k", "whole", "0.5"),
    wrong("Rot90", lambda: mg.Rot90(1, (1, 2, 3)), ValueError, "dims", "two", "(1, 2, 3)"),
    wrong("Rot90", lambda: mg.Rot90(1, (3, -1))(X), ValueError, "dims", "different", "(3, -1)"),
    *unary("Flip", lambda: mg.Flip((0,))),
    *axes("Flip", mg.Flip),
    wrong("Flip", lambda: mg.Flip((2, -2))(X), ValueError, "dims", "different", "(2, -2)"),
    wrong("Flip", lambda: mg.Flip(2), ValueError, "dims", "tuple", "2"),
    *image("PixelShuffle", lambda: mg.PixelShuffle(1)),
    wrong("PixelShuffle", lambda: mg.PixelShuffle(2)(X), ValueError, "x", "4", "(2, 3, 6, 5)"),
    wrong("PixelShuffle", lambda: mg.PixelShuffle(0), ValueError, "upscale_factor", "least 1", "0"),
    wrong("PixelShuffle", lambda: mg.PixelShuffle(2.0), ValueError, "upscale_factor", "2.0"),
    *image("PixelUnshuffle", lambda: mg.PixelUnshuffle(1)),
    wrong(
        "PixelUnshuffle", lambda: mg.PixelUnshuffle(2)(X), ValueError, "x", "of 2", "(2, 3, 6, 5)"
    ),
    wrong(
        "PixelUnshuffle", lambda: mg.PixelUnshuffle(0), ValueError, "downscale_factor", "least 1"
    ),
    wrong("PixelUnshuffle", lambda: mg.PixelUnshuffle("2"), ValueError, "downscale_factor", "'2'"),
    *image("HaarDWT", mg.HaarDWT),
    wrong("HaarDWT", lambda: mg.HaarDWT()(X), ValueError, "x", "even", "(2, 3, 6, 5)"),
    wrong("HaarDWT", lambda: mg.HaarDWT("mixed"), ValueError, "order", "'interleaved'", "'mixed'"),
    *image("HaarIWT", mg.HaarIWT),
    wrong("HaarIWT", lambda: mg.HaarIWT()(X), ValueError, "x", "multiple of 4", "(2, 3, 6, 5)"),
    wrong("HaarIWT", lambda: mg.HaarIWT(None), ValueError, "order", "'band-major'", "None"),
    *unary("Reshape", lambda: mg.Reshape((90,))),
    wrong("Reshape", lambda: mg.Reshape((4, 5))(X), ValueError, "x", "(4, 5)", "(2, 3, 6, 5)"),
    wrong("Reshape", lambda: mg.Reshape((-1, 4))(X), ValueError, "x", "(-1, 4)", "(2, 3, 6, 5)"),
    wrong("Reshape", lambda: mg.Reshape((1,))(X.sum()), ValueError, "x", "batch", "()"),
    wrong("Reshape", lambda: mg.Reshape((-1, -1)), ValueError, "shape", "at most one -1"),
    wrong("Reshape", lambda: mg.Reshape((2, 0)), ValueError, "shape", "sizes from 1", "(2, 0)"),
    wrong("Reshape", lambda: mg.Reshape((2, -3)), ValueError, "shape[1]", "at least -1", "-3"),
    wrong("Reshape", lambda: mg.Reshape(()), ValueError, "shape", "at least one axis", "()"),
    wrong("Reshape", lambda: mg.Reshape(6), ValueError, "shape", "tuple", "6"),
    *unary("Flatten", mg.Flatten),
    wrong("Flatten", lambda: mg.Flatten(1.0), ValueError, "start_dim", "whole", "1.0"),
    wrong("Flatten", lambda: mg.Flatten(1, True), ValueError, "end_dim", "whole", "True"),
    wrong("Flatten", lambda: mg.Flatten(4)(X), ValueError, "start_dim", "-4 <= dim < 4", "got 4"),
    wrong("Flatten", lambda: mg.Flatten(1, -5)(X), ValueError, "end_dim", "got -5"),
    wrong("Flatten", lambda: mg.Flatten(2, 1)(X), ValueError, "start_dim", "end_dim=1", "got 2"),
    *unary("Permute", lambda: mg.Permute((0, 1, 2, 3))),
    *axes("Permute", mg.Permute),
    wrong("Permute", lambda: mg.Permute((0, 2, 1))(X), ValueError, "dims", "every", "(0, 2, 1)"),
    wrong("Permute", lambda: mg.Permute((0, 1, 2, -1, 3))(X), ValueError, "dims", "once"),
    *image("DividePatches", lambda: mg.DividePatches(2)),
    wrong("DividePatches", lambda: mg.DividePatches(3, 1)(X), ValueError, "x", "2 + 1", "6, 5)"),
    wrong(
        "DividePatches", lambda: mg.DividePatches(8)(X), ValueError, "x", "8 + 0", "(2, 3, 6, 5)"
    ),
    wrong("DividePatches", lambda: mg.DividePatches(3, 2), ValueError, "overlap", "half", "3", "2"),
    wrong("DividePatches", lambda: mg.DividePatches(0), ValueError, "block", "at least 1", "0"),
    wrong("DividePatches", lambda: mg.DividePatches(4, -1), ValueError, "overlap", "least 0", "-1"),
    *image("MergePatches", lambda: mg.MergePatches(2, 1, 1)),
    wrong(
        "MergePatches",
        lambda: mg.MergePatches(4, 2, (2, 2))(PATCHES),
        ValueError,
        *("x", "4 patches of 4 x 4", "(6, 3, 4, 4)"),
    ),
    wrong(
        "MergePatches",
        lambda: mg.MergePatches(5, 2, (2, 3))(PATCHES),
        ValueError,
        *("x", "6 patches of 5 x 5", "(6, 3, 4, 4)"),
    ),
    wrong(
        "MergePatches", lambda: mg.MergePatches(4, 3, 2), ValueError, "overlap", "half", "4", "3"
    ),
    wrong("MergePatches", lambda: mg.MergePatches(4, 2, 0), ValueError, "blocks", "least 1", "0"),
    wrong("MergePatches", lambda: mg.MergePatches(4.0, 2, 2), ValueError, "block", "whole", "4.0"),
    *image("AdaptiveAvgPool2d", lambda: mg.AdaptiveAvgPool2d(1)),
    *(
        wrong(
            "AdaptiveAvgPool2d",
            lambda size=size: mg.AdaptiveAvgPool2d(size),
            ValueError,
            *("output_size", *words),
        )
        for size, words in (
            (0, ("at least 1", "(0, 0)")),
            ((None, 0), ("at least 1", "0)")),
            ((1, 2, 3), ("pair", "(1, 2, 3)")),
            (1.5, ("pair", "1.5")),
            (True, ("pair", "True")),
        )
    ),
    wrong(
        "AdaptiveAvgPool2d",
        lambda: mg.AdaptiveAvgPool2d(1)(X[:, :, :0]),
        ValueError,
        *("x", "non-empty", "(2, 3, 0, 5)"),
    ),
]
