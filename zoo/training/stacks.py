"""Frames of a microscope as training data: TIFF stacks or pictures, noisy as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minigrad.noise import Noise
from zoo.data import turn
from zoo.data.stack import FrameStack
from zoo.objectives.base import Batch
from zoo.progress import Progress
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe
from zoo.training.contents import contents
from zoo.training.judging import Tiles

JUDGED = 0.15
"""Share of the frames, the last ones, that is kept for judging."""


class StackFeed:
    """A `Feed` of random crops of the frames in `recipe.data`, a folder or one file.

    The network is judged by its loss on crops of frames that it does not learn from; PSNR is
    against the noisy crops themselves, and tells little.

    Raises RecipeError where there are fewer than 2 frames or one is too small, ImageError for a
    file that cannot be read.
    """

    def __init__(self, recipe: Recipe, channels: int) -> None:
        path = Path(recipe.data or "")
        self._recipe, self._stack = recipe, FrameStack([path], channels=channels)
        count = len(self._stack)
        if count < 2:
            raise RecipeError(f"data: {path}: expected at least 2 frames, found {count}")
        self._trained = max(1, count - max(1, round(JUDGED * count)))
        side = recipe.validation.size or recipe.stages[0].sampler.size
        noise = Noise(Noise(recipe.validation.seed).fold_in(5).seed).at(0)
        held = self._crops(noise, recipe.validation.images, side, (self._trained, count))
        judged = held.astype(recipe.dtype)
        self.validation = Tiles(judged, judged)
        self.contents = contents({"train": self._stack.files, "validation": []})
        self.notes = [
            f"training: {self._trained} frames of {count}; validation: the others, by the loss "
            "(PSNR is against noisy pictures)"
        ]

    def prepare(self, run: Path, progress: Progress, stop: Callable[[], bool]) -> None:
        """Nothing: batches are made as they are needed."""

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
        stage, dtype = self._recipe.stages[number], self._recipe.dtype
        seed = self._recipe.seed + (number << 64)  # stages draw from streams of their own
        moves = Noise(seed).fold_in(1)
        pairs = stage.sampler.pairs

        def batch(step: int) -> Batch:
            number = step if pairs is None else step % max(1, pairs // stage.batch)
            noise = Noise(seed).at(number)
            found = self._crops(noise, stage.batch, stage.sampler.size, (0, self._trained))
            if stage.sampler.augment:
                ways = moves.at(step).integers(8, (len(found),))
                found = np.stack([turn(x, int(w)) for x, w in zip(found, ways, strict=True)])
            return (found.astype(dtype, copy=False),)

        return batch

    def _crops(self, noise: Noise, count: int, side: int, frames: tuple[int, int]) -> np.ndarray:
        """(count, C, side, side) of the frames from `frames[0]` on, before `frames[1]`."""
        first, last = frames
        found = []
        # Places by frame: each page is read once for a batch.
        for u in sorted(noise.uniform((count, 3), np.float64).tolist()):
            index = first + int(u[0] * (last - first))
            frame = self._stack[index]
            h, w = frame.shape[1:]
            if min(h, w) < side:
                raise RecipeError(
                    f"data: {self._stack.name(index)}: {h}x{w} pixels, crops need {side}x{side} "
                    "(sampler.size, validation.size)"
                )
            top, left = int(u[1] * (h - side + 1)), int(u[2] * (w - side + 1))
            found.append(frame[:, top : top + side, left : left + side])
        return np.stack(found)
