"""Patch-craft pairs as training data: bursts, their search, and what is kept of it in the run
folder.

The search is the long part. Its result for each burst is a file of its own in `RUN/targets`, so
that a run which is interrupted goes on with the next burst, and a resumed one need not search.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from minigrad import CheckpointError, checkpoint
from minigrad.noise import Noise
from zoo import noise
from zoo.data import Photographs
from zoo.data.bursts import frame_count, list_bursts, read_burst
from zoo.data.images import list_images
from zoo.data.picture import quantise
from zoo.data.synthetic_bursts import SyntheticBursts, least_size
from zoo.objectives.base import Batch
from zoo.patch_craft import (
    BurstSamples,
    Samples,
    Settings,
    Statistics,
    Threshold,
    burst_samples,
    first_of_window,
    select_threshold,
    tile_statistics,
)
from zoo.patch_craft.sampler import CraftedSampler
from zoo.progress import Progress
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import STORED, PatchCraft, Recipe
from zoo.training.contents import contents
from zoo.training.disk import TrainError, disk
from zoo.training.judging import Tiles
from zoo.training.photographs import files, judged_size, large_enough, tiles

FOLDER = "targets"
TOLD_EVERY = 10.0  # seconds
JUDGED = 2  # the frame of a clean sequence that the network is judged on, as published


class CraftedFeed:
    """A `Feed` of patch-craft pairs; `prepare` makes them.

    Raises RecipeError where the recipe and the pictures do not fit, ImageError for a file that
    cannot be read.
    """

    def __init__(self, recipe: Recipe, channels: int) -> None:
        self._recipe, self._channels = recipe, channels
        self._how = recipe.patch_craft or PatchCraft()
        sampler = recipe.stages[0].sampler
        self._law = None if sampler.noise == STORED else noise.parse(sampler.noise)
        self.notes: list[str] = []
        self._tiles = StoredTiles()
        self._threshold = Threshold()
        if recipe.start is None:
            self.notes.append("start: none; patch-craft adapts a network that knows white noise")
        if self._how.synthetic is None:
            self._from_bursts(Path(str(recipe.data)))
        else:
            self._from_photographs(self._how.synthetic)

    def _from_photographs(self, count: int) -> None:
        train, judged = files(self._recipe.data)
        how, law, size = self._how, self._law, (self._how.size, self._how.size)
        assert law is not None  # the check of the recipe has told
        told = self._recipe.data, self.notes
        least = max(least_size(size, how.shift, how.rotation, how.hard))
        pictures = large_enough("training", train, self._channels, least, *told)
        side = judged_size(self._recipe)
        kept = large_enough("validation", judged, self._channels, side, *told)
        self.validation = tiles(self._recipe, Photographs(kept))
        self.contents = contents({"train": train, "validation": judged})
        made = SyntheticBursts(
            pictures,
            law,
            size=size,
            frames=how.frames,
            shift=how.shift,
            rotation=how.rotation,
            hard=how.hard,
            seed=self._recipe.seed,
        )
        self._count, self._burst = count, lambda number: made.burst(number).noisy
        self.notes.append(f"{count} bursts of {how.frames} frames from {len(pictures)} photographs")

    def _from_bursts(self, folder: Path) -> None:
        paths = list_bursts(folder / "train" if (folder / "train").is_dir() else folder)
        for path in paths:
            self._check_burst(path)
        self.contents = contents({"train": [file for path in paths for file in list_images(path)]})
        for name in ("val", "validation", "test"):
            if (folder / "train").is_dir() and (folder / name).is_dir():
                self.notes.append(f"{folder / name} is not used: bursts of train are judged on")
        self._paths, self._count, self._burst = paths, len(paths), self._read
        self.validation = self._judged_frames()
        self.notes.append(f"{len(paths)} bursts of {folder}")

    def _check_burst(self, path: Path) -> None:
        count, how = frame_count(path), self._how
        if count < how.frames:
            raise RecipeError(
                f"data: {path}: {count} frames, expected at least {how.frames} (patch_craft.frames)"
            )
        height, width = read_burst(path, frames=1).shape[2:]
        for name, least in (
            ("stages.0.sampler.size", self._recipe.stages[0].sampler.size),
            ("patch_craft.patch", how.patch),
            ("validation.size", judged_size(self._recipe)),
        ):
            if min(height, width) < least:
                raise RecipeError(
                    f"data: {path}: frames of {height}x{width} pixels, expected at least "
                    f"{least}x{least} ({name})"
                )

    def _read(self, number: int) -> np.ndarray:
        """The frames of one burst, (C, M, H, W), with noise on them."""
        path, how = self._paths[number], self._how
        drawn = Noise(self._recipe.seed).fold_in(3).at(number)
        first = first_of_window(frame_count(path), drawn, size=how.frames)
        burst = read_burst(path, first=first, frames=how.frames, channels=self._channels)
        if self._law is None:
            return burst
        noisy = self._law(np.ascontiguousarray(burst.swapaxes(0, 1)), drawn)
        return np.ascontiguousarray(noisy.swapaxes(0, 1))

    def _judged_frames(self) -> Tiles:
        """Clean sequences: tiles of one frame of each, with fresh noise. Noisy bursts: middle
        frames, against the mean of their frames.
        """
        side = judged_size(self._recipe)
        if self._law is not None:
            frames = [
                read_burst(p, first=JUDGED, frames=1, channels=self._channels)[:, 0]
                for p in self._paths
            ]
            return tiles(self._recipe, Photographs([quantise(frame) for frame in frames]))
        self.notes.append("validation: middle frames against the mean of their bursts, no truth")
        noisy, mean = [], []
        for number in range(min(self._count, self._recipe.validation.images)):
            burst = self._read(number)
            top, left = ((n - side) // 2 for n in burst.shape[2:])
            burst = burst[:, :, top : top + side, left : left + side]
            noisy.append(burst[:, burst.shape[1] // 2])
            mean.append(burst.mean(axis=1))
        dtype = self._recipe.dtype
        return Tiles(np.stack(noisy).astype(dtype), np.stack(mean).astype(dtype))

    # --- the search ---------------------------------------------------------------------------

    def prepare(
        self, run: Path, progress: Progress, stop: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """Search all bursts, keeping each result in the run folder; what it came to, for the log.

        None when `stop()` said so before the end.
        """
        settings, windows, begun = self._settings(), list[Statistics](), False
        self._tiles = StoredTiles()
        try:
            for number in range(self._count):
                path = run / FOLDER / f"{number:05d}.safetensors"
                part = _load(path, self._key(settings, number))
                if part is None:
                    if stop():
                        return None
                    if not begun:
                        progress.say(
                            f"searching {self._count - number} bursts for patches that fit"
                        )
                        progress.start(self._count, number)
                        begun = True
                    try:
                        part = self._searched(number, settings, progress, stop)
                    except _StoppedError:
                        return None
                    with disk(path):
                        path.parent.mkdir(exist_ok=True)
                        _save(path, part, self._key(settings, number))
                    progress.step(number + 1, 1)
                windows.append(part.statistics)
                self._tiles.add(path, part.samples)
        finally:
            if begun:
                progress.stop()
        joined = Statistics(*(np.concatenate(x) for x in zip(*windows, strict=True)))
        self._threshold = Threshold()
        if self._how.filter:
            self._threshold = select_threshold(
                *joined, bins=settings.bins, std_num=settings.std_num
            )
        try:
            kept = self._sampler(batch=1).kept
        except ValueError as error:
            raise TrainError(f"{run}: {error}") from error
        finite = {name: float(value) for name, value in self._threshold._asdict().items()}
        finite = {name: value for name, value in finite.items() if np.isfinite(value)}
        told = {"tiles": len(self._tiles), "kept": kept, **finite}
        least = f"{finite['s_min']:.2e}" if "s_min" in finite else "any value"
        progress.say(f"targets: {len(self._tiles):,} tiles, {kept:.1%} kept (s_yr above {least})")
        return told

    def _searched(
        self, number: int, settings: Settings, progress: Progress, stop: Callable[[], bool]
    ) -> BurstSamples:
        told = time.monotonic()

        def tell(done: int, lines: int) -> None:
            nonlocal told
            if stop():
                raise _StoppedError
            if time.monotonic() - told > TOLD_EVERY:  # a large burst takes hours
                told = time.monotonic()
                progress.say(f"burst {number + 1} of {self._count}: {done / lines:.1%} searched")

        stream = Noise(self._recipe.seed).fold_in(4)
        return burst_samples(self._burst(number), settings, stream, number, progress=tell)

    def _settings(self) -> Settings:
        named = {f.name for f in fields(Settings)} - {"tile"}
        given = {name: value for name, value in asdict(self._how).items() if name in named}
        return Settings(tile=self._recipe.stages[0].sampler.size, **given)

    def _key(self, settings: Settings, number: int) -> str:
        """What a burst's result depends on."""
        told = asdict(self._how) | asdict(settings)
        for later in ("filter", "bins", "std_num"):  # the threshold, which is chosen each time
            del told[later]
        law = self._law.name if self._law else STORED
        depends = [told, self._recipe.seed, self.contents, number, law, self._channels]
        text = json.dumps(depends, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _sampler(self, batch: int, seed: int = 0) -> CraftedSampler:
        return CraftedSampler(
            self._tiles.take, self._tiles.statistics, self._threshold, batch=batch, seed=seed
        )

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
        stage, dtype = self._recipe.stages[number], self._recipe.dtype
        # Stages draw from streams of their own. Made at the first step: the search comes before it.
        sampler = functools.cache(
            lambda: self._sampler(stage.batch, self._recipe.seed + (number << 64))
        )

        def batch(step: int) -> Batch:
            found = sampler().batch(step)
            return found.input.astype(dtype, copy=False), found.target.astype(dtype, copy=False)

        return batch


class _StoppedError(Exception):
    """Somebody asked to stop in the middle of a search."""


class StoredTiles:
    """The tiles in the files of a run, by one number over all of them; read when they are taken.

    All tiles of a published training set would not fit into memory (26 GB).
    """

    def __init__(self) -> None:
        self._files: list[Any] = []
        self._ends: list[int] = []
        self._statistics: list[Statistics] = []

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, path: Path, samples: Samples) -> None:
        """The next file, and what is in it."""
        self._files.append(safe_open(path, framework="numpy"))
        self._ends.append(len(self) + len(samples.input))
        self._statistics.append(tile_statistics(*samples))

    @property
    def statistics(self) -> Statistics:
        """Of each tile."""
        return Statistics(*(np.concatenate(x) for x in zip(*self._statistics, strict=True)))

    def take(self, which: np.ndarray) -> Samples:
        """The tiles of these numbers, in this order."""
        places = np.searchsorted(self._ends, which, side="right")
        starts = [0, *self._ends]

        def read(name: str) -> np.ndarray:
            rows = (
                self._files[file].get_slice(name)[int(number - starts[file])]
                for number, file in zip(which, places, strict=True)
            )
            return np.stack(list(rows))

        return Samples(read("input"), read("target"))


def _save(path: Path, part: BurstSamples, key: str) -> None:
    arrays = {**part.samples._asdict(), **part.statistics._asdict()}
    checkpoint.save(path, arrays, {"key": key})


def stored(run: Path, most: int, tiles: int) -> list[BurstSamples]:
    """What the search of a run has left so far: the statistics of `most` bursts and the first so
    many tiles of each; damaged files are left out.
    """
    found = []
    for path in sorted((run / FOLDER).glob("*.safetensors"))[:most]:
        try:
            with safe_open(path, framework="numpy") as file:
                samples = Samples(*(file.get_slice(name)[:tiles] for name in Samples._fields))
                statistics = Statistics(*(file.get_tensor(name) for name in Statistics._fields))
        except (SafetensorError, OSError):
            continue
        found.append(BurstSamples(samples, statistics))
    return found


def _load(path: Path, key: str) -> BurstSamples | None:
    """What an earlier search left; None for nothing, for a damaged file, or for other settings
    than those of `key`.
    """
    if not path.is_file():
        return None
    try:
        arrays, text = checkpoint.load(path, max_bytes=path.stat().st_size)  # our own file
    except CheckpointError:
        return None
    if text.get("key") != key:
        return None
    samples = Samples(arrays["input"], arrays["target"])
    return BurstSamples(samples, Statistics(arrays["s"], arrays["m"]))
