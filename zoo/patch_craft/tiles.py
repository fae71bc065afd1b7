"""Training tiles: which tile of a frame gets which of the p^2 patch-craft images as its target.

Source: as of `zoo.patch_craft.search`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from zoo.patch_craft.targets import Craft

MODES = 8
"""Number of the symmetries of a square; mode 0 is the picture itself."""


class Deal(NamedTuple):
    """Tiles in the order in which they are stored: tile number and offset of its target, (n,)."""

    tile: np.ndarray
    offset: np.ndarray


class Samples(NamedTuple):
    """Tiles of the input and of their targets, each (n, C, tile, tile)."""

    input: np.ndarray
    target: np.ndarray


def tile_corners(height: int, width: int, tile: int, stride: int) -> np.ndarray:
    """Top and left of the tiles of a frame, int (P, 2): on the grid 0, stride, ..., row by row.

    Raises: ValueError where no tile fits.
    """
    if not 1 <= tile <= min(height, width) or stride < 1:
        raise ValueError(
            f"tile_corners: expected 1 <= tile <= {min(height, width)}, the frame's side, and "
            f"stride >= 1, got tile {tile}, stride {stride}"
        )
    rows = np.arange(0, height - tile + 1, stride)
    columns = np.arange(0, width - tile + 1, stride)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def deal(
    permutation: np.ndarray,
    offsets: int,
    *,
    replicas: int = 1,
    strict_official: bool = False,
    before: int = 0,
) -> Deal:
    """Deal the P tiles of a middle frame, in the order of `permutation`, to the offsets.

    Offset o gets the tiles from the end of offset o - 1 to min(ceil(q (o + 1)), P) of the
    permutation, q = P / (replicas * offsets): with replicas = 1 each tile is used once, with
    one random target among the p^2.

    replicas: of how many middle frames this is one; each then has its share of the tiles.
    strict_official: as the authors' program, which starts each middle frame but the first where
    the last one ended, so that offset 0 gets nothing and ceil(q) tiles are lost.
    before: how many middle frames have been dealt before this one.
    """
    if offsets < 1 or replicas < 1:
        raise ValueError(f"deal: expected at least 1, got {offsets} offsets, {replicas} replicas")
    count, shares = len(permutation), replicas * offsets
    ends = [min(-(-count * (o + 1) // shares), count) for o in range(offsets)]
    lost = ends[0] if strict_official and before else 0
    sizes = np.diff(ends, prepend=0)
    owner = np.repeat(np.arange(offsets), sizes)  # offset of each place of the permutation
    return Deal(np.asarray(permutation)[lost : ends[-1]], owner[lost:])


def augmented(image: np.ndarray, mode: int) -> np.ndarray:
    """One of the 8 symmetries of a square, (..., H, W), numbered as by the authors.

    mode // 2 quarter turns anticlockwise; odd modes are then flipped upside down.
    """
    turned = np.rot90(image, mode // 2, axes=(-2, -1))
    return turned[..., ::-1, :] if mode % 2 else turned


def cut_samples(
    craft: Craft, input: np.ndarray, dealt: Deal, corners: np.ndarray, tile: int, modes: np.ndarray
) -> Samples:
    """The dealt tiles, each followed by its augmented copies: n (1 + copies) samples.

    input: the middle frame (C, H, W). corners: (P, 2), of `tile_corners`. modes: (n, copies), the
    mode of each copy; input and target are turned alike.
    """
    n, copies = modes.shape
    shape = (n, 1 + copies, len(input), tile, tile)
    inputs, targets = np.empty(shape, input.dtype), np.empty(shape, input.dtype)
    for i, (number, offset) in enumerate(zip(*dealt, strict=True)):
        top, left = (int(at) for at in corners[number])
        of_input = input[:, top : top + tile, left : left + tile]
        of_target = craft.part(int(offset), top, left, tile, tile)
        for k, mode in enumerate([0, *modes[i]]):
            inputs[i, k] = augmented(of_input, int(mode))
            targets[i, k] = augmented(of_target, int(mode))
    return Samples(*(x.reshape(-1, *shape[2:]) for x in (inputs, targets)))
