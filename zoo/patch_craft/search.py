"""The nearest patch in the other frames of a burst, for every patch of the middle frame.

A burst is (C, M, H, W), M odd, the middle frame is number c = M // 2. Patches are p x p, all
channels together. Positions are those of a patch's top left corner in the middle frame mirrored
by p - 1 pixels on all sides: 0 <= i < H + p - 1, 0 <= j < W + p - 1; position (i, j) is the pixel
(i - (p - 1), j - (p - 1)).

Source: Vaksman, Elad, "Patch-Craft Self-Supervised Training for Correlated Image Denoising",
CVPR 2023, and the authors' programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, replaceable
from zoo.patch_craft.box import box_sum

Told = Callable[[int, int], None]
"""Told of progress: how many lines of candidates are done, of how many."""
MOST_REACH = 2**15 - 1  # displacements are kept in 16 bits
OUTSIDE = -1.0
"""Value of what lies beyond the mirrored margin: no patch of a picture is near to it."""


class Matches(NamedTuple):
    """What a search found, at every position.

    shift: int16 (3, H + p - 1, W + p - 1), the displacement (dt, dv, dh) of the nearest patch in
    frames, rows and columns; dt is never 0. distance: (H + p - 1, W + p - 1), in the burst's dtype:
    the sum over the patch of the squared difference, averaged over the channels.
    """

    shift: Array
    distance: Array


class Pass(NamedTuple):
    """Candidates of one pass over a frame: rows and columns -reach, -reach + skip, ... <= reach."""

    reach: int
    skip: int = 1

    @property
    def steps(self) -> range:
        """The displacements along one axis, in the order in which they are tried."""
        return range(-self.reach, self.reach + 1, self.skip)


def nearest_patches(
    burst: Array,
    patch: int,
    reach: int,
    *,
    skip: int = 1,
    second: int | None = None,
    progress: Told | None = None,
) -> Matches:
    """The L2-nearest patch in the other frames for every patch of the middle frame.

    At position (i, j), over displacements dt != 0, |dv| <= reach, |dh| <= reach,

        D = sum over the p x p patch of mean over channels of (P[c + dt, i + dv, j + dh] - Q[i, j])²

    with Q the mirrored middle frame, P the mirrored frames with -1 beyond the margin. Candidates
    come in the order dt, dv, dh, each ascending; one replaces the best only when it is strictly
    nearer. For odd p the patches centred on the border are mirror images of themselves, and a
    displacement and its mirror image tie up to rounding.

    burst: float32 or float64 (C, M, H, W), finite. patch: p, at least 2 and at most min(H, W).
    skip: try every skip-th row and column only. second: a second pass with |dv|, |dh| <= second
    and skip 1 goes on with the best of the first (it is not centred on it). progress: called now
    and then, not always from the calling thread.

    Raises: TypeError for another dtype, ValueError for a wrong shape or argument.
    """
    check_burst(burst, patch)
    for name, value, least in (("reach", reach, 0), ("skip", skip, 1), ("second", second or 0, 0)):
        if not least <= value <= MOST_REACH:
            raise ValueError(
                f"nearest_patches: {name}: expected {least} to {MOST_REACH}, got {value}"
            )
    if second is not None and skip == 1:
        raise ValueError("nearest_patches: second: a second pass needs skip > 1, got skip 1")
    passes = [Pass(reach, skip)] + ([] if second is None else [Pass(second)])
    return search(burst, patch, tuple(passes), progress or _nobody)


@replaceable
def search(burst: Array, patch: int, passes: tuple[Pass, ...], progress: Told) -> Matches:
    """`nearest_patches`, one candidate after the other: what is found, in plain array code."""
    xp = array_module(burst)
    centre = burst.shape[1] // 2
    middle = padded(burst[:, centre], patch)  # (C, Hq, Wq)
    tall, wide = middle.shape[1:]
    positions = tall - patch + 1, wide - patch + 1
    distance = xp.full(positions, xp.inf, burst.dtype)
    shift = xp.zeros((3, *positions), xp.int16)
    done, lines = 0, line_count(burst, passes)
    for one in passes:
        frames = padded(burst, patch, one.reach)  # (C, M, Hq + 2 reach, Wq + 2 reach)
        for dt in other_frames(burst):
            for dv in one.steps:
                for dh in one.steps:
                    top, left = one.reach + dv, one.reach + dh
                    moved = frames[:, centre + dt, top : top + tall, left : left + wide]
                    d = box_sum(((moved - middle) ** 2).sum(axis=0), patch)
                    nearer = d < distance
                    distance = xp.where(nearer, d, distance)
                    found = xp.asarray((dt, dv, dh), xp.int16)[:, None, None]
                    shift = xp.where(nearer, found, shift)
                done += 1
                progress(done, lines)
    return Matches(shift, distance / len(middle))  # sums of all channels until here


def padded(frames: Array, patch: int, reach: int = 0) -> Array:
    """(..., H, W) -> (..., H + 2(p - 1) + 2 reach, W + 2(p - 1) + 2 reach).

    First p - 1 mirrored pixels on all sides, the border pixel being the axis and not repeated
    (but for p = 2 it is repeated, not mirrored), then `reach` pixels of -1.
    """
    xp = array_module(frames)
    before = ((0, 0),) * (frames.ndim - 2)
    mirror = (*before, *((patch - 1, patch - 1),) * 2)
    wide = xp.pad(frames, mirror, mode="edge" if patch == 2 else "reflect")
    margin = (*before, *((reach, reach),) * 2)
    return xp.pad(wide, margin, constant_values=OUTSIDE) if reach else wide


def other_frames(burst: Array) -> Iterator[int]:
    """-c, ..., -1, 1, ..., c: the frames that may be taken from, seen from the middle one."""
    centre = burst.shape[1] // 2
    return (dt for dt in range(-centre, centre + 1) if dt)


def line_count(burst: Array, passes: tuple[Pass, ...]) -> int:
    """Lines of candidates, (dt, dv), of a search."""
    return sum((burst.shape[1] - 1) * len(one.steps) for one in passes)


def check_burst(burst: Array, patch: int) -> None:
    """Raise for an array that is no burst, or is too small for its patches."""
    shape, xp = tuple(burst.shape), array_module(burst)
    if len(shape) != 4 or shape[1] % 2 == 0 or shape[1] < 3:
        raise ValueError(f"burst: expected (C, M, H, W) with M odd and at least 3, got {shape}")
    if burst.dtype not in (np.float32, np.float64):
        raise TypeError(f"burst: expected float32 or float64, got {burst.dtype}")
    if not 2 <= patch <= min(shape[2:]):
        raise ValueError(f"patch: expected 2 to {min(shape[2:])}, the frame's side, got {patch}")
    if not bool(xp.isfinite(burst).all()):
        raise ValueError("burst: a value is not finite")


def _nobody(done: int, lines: int) -> None:
    """Whom to tell when nobody asked."""
