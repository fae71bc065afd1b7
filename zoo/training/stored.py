"""Stored pairs as training data: a file with two sets of noisy pictures, the same scenes in both.

The file is one of `zoo.data.read_pairs`, such as the course's `train_data.pkl`. A file `val_data`
with the same suffix beside it holds noisy and clean pictures for judging; without it the last pairs
are kept for that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from zoo import data, objectives
from zoo.data import FixedSampler, to_unit
from zoo.objectives.base import Batch
from zoo.progress import Progress
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe
from zoo.training.contents import contents
from zoo.training.judging import Tiles

Pair = tuple[np.ndarray, np.ndarray]


class StoredFeed:
    """A `Feed` of the pairs in the file `recipe.data`.

    Raises RecipeError where the recipe and the file do not fit, DataError for a damaged file.
    """

    def __init__(self, recipe: Recipe, channels: int) -> None:
        path = Path(recipe.data or "")
        self._recipe = recipe
        train, judged = data.read_pairs(path), path.with_name(f"val_data{path.suffix}")
        _fits(recipe, channels, path, train)
        count = recipe.validation.images
        if judged.is_file() and judged.name != path.name:
            found = data.read_pairs(judged)
            _fits(recipe, channels, judged, found)
            tiles: Pair = (found[0][:count], found[1][:count])
            told, used = f"{len(tiles[0])} of {len(found[0])} pairs of {judged.name}", [judged]
        else:
            count = min(count, max(1, len(train[0]) // 10))
            tiles = (train[0][-count:], train[1][-count:])
            train = (train[0][:-count], train[1][:-count])
            told = f"the last {count} pairs; no {judged.name}, so PSNR is against noisy targets"
            used = []
        if not len(train[0]) or not len(tiles[0]):
            raise RecipeError(f"data: {path}: expected at least 2 pairs, to train and to judge")
        self._train = train
        self.validation = Tiles(*(to_unit(part).astype(recipe.dtype) for part in tiles))
        self.contents = contents({"train": [path], "validation": used})
        self.notes = [f"training: {len(train[0])} pairs of {path.name}", f"validation: {told}"]

    def prepare(self, run: Path, progress: Progress, stop: Callable[[], bool]) -> None:
        """Nothing: batches are made as they are needed."""

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
        stage, dtype = self._recipe.stages[number], self._recipe.dtype
        count = min(stage.sampler.pairs or len(self._train[0]), len(self._train[0]))
        if count % stage.batch % stage.micro_batches:
            raise RecipeError(
                f"stages.{number}.micro_batches: the last batch of {count % stage.batch} pairs "
                f"cannot be cut into {stage.micro_batches}"
            )
        pairs = FixedSampler(
            self._train[0][:count],
            self._train[1][:count],
            batch=stage.batch,
            order="shuffle" if stage.sampler.shuffle else "slices",
            seed=self._recipe.seed + (number << 64),  # stages draw from streams of their own
            augment=stage.sampler.augment,
            swap=stage.sampler.swap,
        )

        alone = objectives.entry(stage.objective).target == "none"

        def batch(step: int) -> Batch:
            found = pairs.batch(step)
            if alone:
                return (found.input.astype(dtype, copy=False),)
            return found.input.astype(dtype, copy=False), found.target.astype(dtype, copy=False)

        return batch


def _fits(recipe: Recipe, channels: int, path: Path, pair: Pair) -> None:
    """Raise RecipeError unless the pictures have the channels and the size that are asked for."""
    _, found, height, width = pair[0].shape
    if found != channels:
        raise RecipeError(
            f"data: {path}: pictures of {found} channels, {recipe.model} takes {channels} "
            "(model_args.channels)"
        )
    for number, stage in enumerate(recipe.stages):
        if (height, width) != (stage.sampler.size, stage.sampler.size):
            raise RecipeError(
                f"stages.{number}.sampler.size: expected the size of the pictures of {path}, "
                f"{height}x{width}, got {stage.sampler.size}"
            )
