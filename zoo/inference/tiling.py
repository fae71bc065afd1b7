"""Cutting a picture into tiles so that the tiled result equals the whole one.

A tile is written on the network's grid. What is read for it is larger, by exactly the measured
receptive field rounded up to that grid, and ends where the picture ends. Every written
pixel therefore sees the same numbers as in one pass over the whole picture, the zeros of the
convolutions at the picture's border included.
"""

from __future__ import annotations

import math
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backend import array_module, to_device, to_host
from zoo.architectures import Denoiser, Place, evaluating, pad_to_multiple, padded_side
from zoo.inference.receptive import grid_of, margin_of, multiple_of, receptive_field

WORKING_BYTES = 1 << 30
"""What one pass of the network may hold on a CPU, beside the picture and the result; at most a
quarter of the machine's memory."""
PROBE = 256
"""Side of the picture on which the memory of a pass is measured; no larger one is cut."""

Cut = tuple[int | None, int | None]
"""Side of a tile and of its halo, in pixels; None: as memory allows, and as the network sees."""
Progress = Callable[[int, int], None]
"""Called with (tiles done, tiles in all)."""


@dataclass(frozen=True)
class Plan:
    """How a picture is cut.

    tile: (height, width) that a tile writes, multiples of the network's grid; the picture's when
    it is whole.
    halo: (top, bottom, left, right) that is read around it.
    whole: one pass, no tiles.
    note: what the user should know about the choice, or "".
    """

    tile: tuple[int, int]
    halo: tuple[int, int, int, int]
    whole: bool
    note: str = ""


@dataclass(frozen=True)
class Box:
    """One tile: rows and columns that it reads and those that it writes, as (start, stop)."""

    read: tuple[tuple[int, int], tuple[int, int]]
    write: tuple[tuple[int, int], tuple[int, int]]


def plan(
    model: Denoiser, height: int, width: int, tile: int | None = None, halo: int | None = None
) -> Plan:
    """How `model` should go over a picture of `height` x `width` pixels.

    tile: side of what a tile writes, rounded up to the network's grid; None for one pass where
        that fits in the working memory (1 GiB on a CPU, half of the free memory on a GPU), else
        the largest tiles that do.

    halo: pixels that are read around a tile, rounded up to the grid, in place of the receptive
        field: the result is then an approximation, and the faster the smaller it is.

    A receptive field that is larger than the working memory allows is never cut: the smallest
    tile is taken and the plan's `note` says so.

    Raises:
        ValueError: `tile` is below 1, or `halo` below 0.
    """
    m, g, margin = multiple_of(model), grid_of(model), margin_of(model)
    if tile is not None and tile < 1:
        raise ValueError(f"tile: expected at least 1 pixel, got {tile}")
    if halo is not None and halo < 0:
        raise ValueError(f"halo: expected at least 0 pixels, got {halo}")
    padded = (padded_side(height, m, margin), padded_side(width, m, margin))
    note = ""
    if tile is None:
        largest = PROBE**2 if padded[0] * padded[1] <= PROBE**2 else pixels_that_fit(model)
        if padded[0] * padded[1] <= largest:
            return Plan(padded, (0, 0, 0, 0), whole=True)
        around_tile = _halo(model, halo)
        around = max(around_tile[0] + around_tile[1], around_tile[2] + around_tile[3])
        if halo is None and min(around_tile) >= max(padded):  # a tile would read all of it
            note = "each pixel depends on the whole picture: one pass; --halo cuts it, roughly"
            return Plan(padded, (0, 0, 0, 0), whole=True, note=note)
        side = (int(math.sqrt(largest)) - around) // g * g
        if side < g:
            note = (
                f"the receptive field needs {around + g} x {around + g} pixels for one tile, more "
                f"than the working memory of {working_bytes(model) >> 20} MiB allows; "
                "going on with the smallest tile"
            )
        side = max(side, g)
    else:
        side = _up(tile, g)
        if side >= max(padded):
            return Plan(padded, (0, 0, 0, 0), whole=True)
        around_tile = _halo(model, halo)
        around = max(around_tile[0] + around_tile[1], around_tile[2] + around_tile[3])
        if halo is None and around > side:
            note = (
                f"each tile of {side} pixels reads {side + around}, because the receptive field "
                f"asks for {around} more: a larger tile is faster"
            )
    sides = (_even(padded[0], side, g), _even(padded[1], side, g))
    return Plan(sides, around_tile, whole=False, note=note)


def _halo(model: Denoiser, given: int | None) -> tuple[int, int, int, int]:
    """What is read around a tile: the measured field, or what is given, on the grid."""
    if given is None:
        return receptive_field(model).halo
    side = _up(given, grid_of(model))
    return side, side, side, side


def boxes(plan: Plan, height: int, width: int, multiple: int, margin: int = 0) -> Iterator[Box]:
    """The tiles of a picture of `height` x `width` pixels, row by row.

    `read` lies inside the picture padded to `multiple` and `margin`, `write` inside the picture.
    """
    top, bottom, left, right = plan.halo
    for y0 in range(0, height, plan.tile[0]):
        rows = _span(y0, plan.tile[0], height, top, bottom, multiple, margin)
        for x0 in range(0, width, plan.tile[1]):
            cols = _span(x0, plan.tile[1], width, left, right, multiple, margin)
            yield Box((rows[0], cols[0]), (rows[1], cols[1]))


def run(
    model: Denoiser,
    picture: np.ndarray,
    plan: Plan,
    progress: Progress | None = None,
    **arguments: Any,
) -> np.ndarray:
    """The network's estimate of a picture (H, W, C) on the host, tile by tile; same shape and
    dtype.

    arguments: passed on to `model.denoise`.

    Raises:
        ValueError: the network has another number of channels out than in.
    """
    height, width = picture.shape[:2]
    m, margin = multiple_of(model), margin_of(model)
    device = "cpu" if array_module(model.parameters()[0].value) is np else "cuda"
    rows, cols = _reflected(height, m, margin), _reflected(width, m, margin)
    todo = list(boxes(plan, height, width, m, margin))
    result = np.empty_like(picture)

    def crop(box: Box) -> Any:
        (r0, r1), (c0, c1) = box.read
        part = picture[rows[r0:r1][:, None], cols[c0:c1]].transpose(2, 0, 1)  # (C, h, w)
        part = np.ascontiguousarray(part[None], dtype=model.dtype)  # (1, C, h, w)
        return to_device(part, device)

    if not plan.whole:
        arguments["means"] = _surveyed(model, todo, crop, height * width)
    for done, box in enumerate(todo, start=1):
        (r0, _), (c0, _) = box.read
        if not plan.whole:
            arguments["place"] = Place(r0, box.read[1][0], len(rows), len(cols))
        clean = to_host(model.denoise(crop(box), **arguments))[0]  # (C, h, w)
        if clean.shape[0] != picture.shape[2]:
            raise ValueError(
                f"{type(model).__name__}: expected {picture.shape[2]} channels out, "
                f"got {clean.shape[0]}"
            )
        (y0, y1), (x0, x1) = box.write
        inner = clean[:, y0 - r0 : y1 - r0, x0 - c0 : x1 - c0]
        result[y0:y1, x0:x1] = inner.transpose(1, 2, 0)  # (h, w, C)
        if progress is not None:
            progress(done, len(todo))
    return result


def _surveyed(
    model: Denoiser, todo: list[Box], crop: Callable[[Box], Any], count: int
) -> tuple[Any, ...]:
    """What a tile must know of the whole picture of `count` pixels: the means of what the tiles
    tell. One pass more, for networks that ask for it.
    """
    totals: tuple[Any, ...] = ()
    with evaluating(model):
        for box in todo:
            inside = [
                slice(start - read, stop - read)
                for (read, _), (start, stop) in zip(box.read, box.write, strict=True)
            ]
            found = model.survey(crop(box), *inside)
            if not found:
                return ()
            totals = tuple(a + b for a, b in zip(totals, found, strict=True)) if totals else found
    return tuple(total / count for total in totals)


def halved(plan: Plan, model: Denoiser) -> Plan | None:
    """A plan with tiles of half the side, for when memory ran out; None when they cannot be
    smaller.
    """
    g = grid_of(model)
    if max(plan.tile) <= g:
        return None
    height, width = (max(g, _up(side // 2, g)) for side in plan.tile)
    note = f"no memory for tiles of {max(plan.tile)} pixels; going on with {max(height, width)}"
    halo = receptive_field(model).halo if plan.whole else plan.halo
    return Plan((height, width), halo, whole=False, note=note)


# --------------------------------------------------------------------------- memory

_bytes: dict[str, float] = {}


def bytes_per_pixel(model: Denoiser) -> float:
    """Largest memory of one pass, in bytes per pixel, measured on a picture of 256 x 256 pixels.

    On a CPU it is what NumPy reports to `tracemalloc`; on a GPU it is the growth of CuPy's pool.
    What a pass needs whatever the size is counted in: the figure is too high for larger pictures.
    """
    xp = array_module(model.parameters()[0].value)
    key = f"{xp.__name__}.{model.dtype}.{model!r}"
    if key not in _bytes:
        side = padded_side(PROBE, multiple_of(model), margin_of(model))
        picture = xp.full((1, model.channels, side, side), 0.5, dtype=model.dtype)
        peak = _peak_on_host(model, picture) if xp is np else _peak_on_gpu(model, picture, xp)
        _bytes[key] = max(1.0, peak / side**2)
    return _bytes[key]


def pixels_that_fit(model: Denoiser) -> float:
    """How many pixels one pass may have in the working memory."""
    return working_bytes(model) / bytes_per_pixel(model)


def working_bytes(model: Denoiser) -> int:
    """The memory that one pass may use: 1 GiB on a CPU (a quarter of its memory where that is
    less), half of what is free on a GPU.
    """
    xp = array_module(model.parameters()[0].value)
    if xp is not np:
        return int(xp.cuda.runtime.memGetInfo()[0]) // 2
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not known on this system
        return WORKING_BYTES
    return min(WORKING_BYTES, memory // 4)


def _peak_on_host(model: Denoiser, probe: np.ndarray) -> int:
    model.denoise(probe[:, :, :8, :8])  # what is made once (tables, threads) is not counted
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        model.denoise(probe)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if ours:
            tracemalloc.stop()


def _peak_on_gpu(model: Denoiser, probe: Any, xp: Any) -> int:
    model.denoise(probe)
    pool = xp.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    model.denoise(probe)
    peak = pool.total_bytes() - before
    pool.free_all_blocks()
    return int(peak)


# --------------------------------------------------------------------------- numbers


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _reflected(length: int, multiple: int, margin: int) -> np.ndarray:
    """Which row (or column) stands where in the padded picture: the network's own padding, as
    indices.
    """
    rows = np.arange(length).reshape(1, 1, length, 1)
    return pad_to_multiple(rows, multiple, margin)[0, 0, :, 0]


def _even(length: int, side: int, multiple: int) -> int:
    """The side, on the grid, of as many tiles as `side` needs, made equally long."""
    return _up(-(-length // -(-length // side)), multiple)


def _span(
    start: int, tile: int, length: int, before: int, after: int, multiple: int, margin: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((read start, stop), (write start, stop)) along one axis."""
    stop = min(start + tile, length)
    end = padded_side(length, multiple, margin)
    last = _up(stop, multiple) + after + margin
    return (max(0, start - before), min(end, last)), (start, stop)
