"""From bursts to a training set: search, targets, tiles and threshold, in this order.

Every random number of burst `number` comes from step `number` of a `minigrad.noise.Noise`: a
result is a function of the burst, the settings, the seed and the number, whatever was made before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minigrad.noise import Noise
from zoo.patch_craft.search import Told, check_burst, nearest_patches
from zoo.patch_craft.statistics import (
    Statistics,
    Threshold,
    sample_statistics,
    select_threshold,
    tile_statistics,
)
from zoo.patch_craft.targets import Craft
from zoo.patch_craft.tiles import MODES, Samples, cut_samples, deal, tile_corners


@dataclass(frozen=True)
class Settings:
    """How targets are made. The defaults are those published for synthetic noise.

    patch: p, side of a patch. reach, skip, second: of the search (`nearest_patches`).
    tile, stride: side of a training tile, distance of tiles. copies: augmented copies of each.
    replicate: use every frame of a burst as the middle one in turn; else the middle one alone.
    images: how many patch-craft images the statistics look at (None: all p^2).
    bins, std_num: of `select_threshold`. strict_official: of `deal`.

    Photographs, as published: reach 500, skip 3, second 37, stride 10, replicate, std_num 1.
    """

    patch: int = 33
    reach: int = 37
    skip: int = 1
    second: int | None = None
    tile: int = 50
    stride: int = 30
    copies: int = 1
    replicate: bool = False
    images: int | None = None
    bins: int = 50_001
    std_num: float = 3.0
    strict_official: bool = False


class BurstSamples(NamedTuple):
    """What one burst gives: its training tiles, and statistics drawn from all of its windows."""

    samples: Samples
    statistics: Statistics


class TrainingSet(NamedTuple):
    """Tiles (n, C, tile, tile), their own statistics (n,), and the threshold for them."""

    samples: Samples
    statistics: Statistics
    threshold: Threshold


def burst_samples(
    burst: np.ndarray,
    settings: Settings,
    noise: Noise,
    number: int = 0,
    *,
    progress: Told | None = None,
) -> BurstSamples:
    """Tiles and statistics of burst `number`, (C, M, H, W).

    Draws at step `number` of `noise`, for each middle frame in turn: the order of its tiles, the
    modes of their copies (less 1), the images and the places that the statistics look at.
    progress: told of the lines of candidates done in the search.
    Raises: as `nearest_patches` and `tile_corners`.
    """
    check_burst(burst, settings.patch)
    noise.at(number)
    frames = burst.shape[1]
    turns = range(frames) if settings.replicate else [frames // 2]
    parts = []
    for turn, frame in enumerate(turns):
        tell = progress and _part_of(progress, turn, len(turns))
        before = number * len(turns) + turn
        parts.append(_one_middle(exchange(burst, frame), settings, noise, before, tell))
    return _joined(parts)


def training_set(parts: Iterable[BurstSamples], settings: Settings) -> TrainingSet:
    """All tiles of all bursts, and one threshold from the statistics of all of them.

    Raises: ValueError where there is no burst.
    """
    samples, statistics = _joined(list(parts))
    threshold = select_threshold(*statistics, bins=settings.bins, std_num=settings.std_num)
    return TrainingSet(samples, tile_statistics(*samples), threshold)


def exchange(burst: np.ndarray, frame: int) -> np.ndarray:
    """A copy of a burst (C, M, H, W) in which `frame` and the middle frame have changed places."""
    order = np.arange(burst.shape[1])
    order[[frame, len(order) // 2]] = order[[len(order) // 2, frame]]
    return burst[:, order]


def first_of_window(frames: int, noise: Noise, *, size: int = 7) -> int:
    """The first of `size` consecutive frames of a sequence; each middle frame is as likely.

    Raises: ValueError where the sequence is shorter.
    """
    if frames < size:
        raise ValueError(f"first_of_window: expected at least {size} frames, got {frames}")
    return int(noise.integers(frames - size + 1))


def _one_middle(
    burst: np.ndarray, settings: Settings, noise: Noise, before: int, progress: Told | None
) -> BurstSamples:
    """Of the middle frame alone; `before`: how many there have been before it."""
    matches = nearest_patches(
        burst,
        settings.patch,
        settings.reach,
        skip=settings.skip,
        second=settings.second,
        progress=progress,
    )
    craft = Craft(burst, matches, settings.patch)
    middle = burst[:, burst.shape[1] // 2]
    _, height, width = middle.shape
    corners = tile_corners(height, width, settings.tile, settings.stride)
    dealt = deal(
        noise.permutation(len(corners)),
        craft.offsets,
        replicas=burst.shape[1] if settings.replicate else 1,
        strict_official=settings.strict_official,
        before=before,
    )
    modes = 1 + noise.integers(MODES - 1, (len(dealt.tile), settings.copies))
    samples = cut_samples(craft, middle, dealt, corners, settings.tile, modes)
    statistics = sample_statistics(craft, middle, settings.tile, noise, images=settings.images)
    return BurstSamples(samples, statistics)


def _joined(parts: list[BurstSamples]) -> BurstSamples:
    if len(parts) < 2:
        if not parts:
            raise ValueError("training_set: no burst given")
        return parts[0]
    samples = Samples(*(np.concatenate(x) for x in zip(*(p.samples for p in parts), strict=True)))
    values = zip(*(p.statistics for p in parts), strict=True)
    return BurstSamples(samples, Statistics(*(np.concatenate(x) for x in values)))


def _part_of(progress: Told, part: int, parts: int) -> Told:
    """Progress within the `part`-th of `parts` equal searches."""
    return lambda done, lines: progress(part * lines + done, parts * lines)
