"""Patches of whole pictures as training data, noisy and clean, shuffled over all pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minigrad.noise import Noise
from zoo import data, noise
from zoo.architectures import PSLAE, Denoiser
from zoo.data import Photographs
from zoo.noise.subspace import to_bytes
from zoo.objectives.base import Batch
from zoo.progress import Progress
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import STORED, Patches, Recipe
from zoo.training.contents import contents
from zoo.training.judging import Tiles
from zoo.training.photographs import files, large_enough, tiles

Pictures = list[np.ndarray]
"""(C, H, W) each, uint8."""


class PatchFeed:
    """A `Feed` of patches, for the objectives `patch-*`.

    Raises RecipeError where the recipe and the network or the pictures do not fit, ImageError for a
    file that cannot be read.
    """

    def __init__(self, recipe: Recipe, network: Denoiser) -> None:
        if not isinstance(network, PSLAE):
            raise RecipeError(f"patches: only psl-ae learns from patches, not {recipe.model}")
        self._recipe, self._how = recipe, recipe.patches or Patches()
        self._block, self._step = network.block, network.block - network.overlap
        for number, stage in enumerate(recipe.stages):
            if stage.sampler.size != network.block:
                raise RecipeError(
                    f"stages.{number}.sampler.size: expected the network's patch, {network.block}, "
                    f"got {stage.sampler.size}"
                )
        self.notes: list[str] = []
        self._fixed: Pictures | None = None
        read = self._pairs if recipe.stored_pairs else self._photographs
        read(network.channels)
        places = [self._places(picture) for picture in self._clean]
        whose = np.repeat(np.arange(len(places)), [len(place) for place in places])
        self._index = np.column_stack([whose, np.concatenate(places)])  # (P, 3)
        self._drawn: tuple[tuple[int, str], Pictures] | None = None
        self.notes.append(f"training: {len(self._index):,} patches of {len(places)} pictures")

    def _photographs(self, channels: int) -> None:
        recipe, side = self._recipe, self._how.crop or self._block
        train, judged = files(recipe.data)
        size = recipe.validation.size or self._block
        told = recipe.data, self.notes
        read = large_enough("training", train, channels, side, *told)
        self._clean = [self._cropped(picture) for picture in read]
        kept = large_enough("validation", judged, channels, size, *told)
        self.validation = tiles(recipe, Photographs(kept))
        self.contents = contents({"train": train, "validation": judged})

    def _pairs(self, channels: int) -> None:
        """Pairs as they are; the last tenth of them is kept for judging."""
        found = data.paired_files(str(self._recipe.data))
        count = max(1, len(found) // 10)
        if len(found) < 2:
            raise RecipeError(f"data: {self._recipe.data}: expected at least 2 pairs, found 1")
        train, judged = found[:-count], found[-count:]

        def read(paths: list[Path]) -> Pictures:
            return data.read_photographs(paths, channels=channels)

        noisy, clean = (
            [self._cropped(p) for p in read(list(ps))] for ps in zip(*train, strict=True)
        )
        for (path, _), x, y in zip(train, noisy, clean, strict=True):
            if x.shape != y.shape:
                raise RecipeError(f"data: {path}: {x.shape}, its clean picture {y.shape}")
        self._fixed, self._clean = noisy, clean
        side = self._recipe.validation.size or 256
        kept = [
            np.stack([_middle(p, side) for p in read(list(ps))]) for ps in zip(*judged, strict=True)
        ]
        count = self._recipe.validation.images
        self.validation = Tiles(*(k[:count].astype(self._recipe.dtype) / 255 for k in kept))
        names = [path for pair in train for path in pair]
        self.contents = contents(
            {"train": names, "validation": [p for pair in judged for p in pair]}
        )
        self.notes.append(f"validation: the last {len(judged)} of {len(found)} pairs, by name")

    def _cropped(self, picture: np.ndarray) -> np.ndarray:
        return picture if self._how.crop is None else _middle(picture, self._how.crop)

    def _places(self, picture: np.ndarray) -> np.ndarray:
        """(n, 2): first row and column of each patch; what is left over at the ends is not used."""
        last = [side - self._block + 1 for side in picture.shape[1:]]
        if min(last) < 1:
            raise RecipeError(f"patches: a picture of {picture.shape[1:]} has no patch in it")
        rows, columns = (np.arange(0, end, self._step) for end in last)
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def prepare(self, run: Path, progress: Progress, stop: Callable[[], bool]) -> None:
        """Nothing: noise is drawn as it is needed."""

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
        stage, dtype = self._recipe.stages[number], self._recipe.dtype
        count, size = len(self._index), stage.batch
        order = Noise(self._recipe.seed).fold_in(11).fold_in(number)
        a_round = -(-count // size)
        if count % size % stage.micro_batches:
            raise RecipeError(
                f"stages.{number}.micro_batches: the last batch of {count % size} patches cannot "
                f"be cut into {stage.micro_batches}"
            )

        @functools.lru_cache(maxsize=1)
        def shuffled(epoch: int) -> np.ndarray:
            found: np.ndarray = order.at(epoch).permutation(count)
            return found

        def batch(step: int) -> Batch:
            epoch, at = divmod(step, a_round)
            chosen = self._index[shuffled(epoch)[at * size : (at + 1) * size]]
            seen = self._noisy(epoch % self._how.draws, stage.sampler.noise), self._clean
            # As the network's own patches: bytes, divided by 255.
            return tuple(self._cut(pictures, chosen).astype(dtype) / 255 for pictures in seen)

        return batch

    def _cut(self, pictures: Pictures, chosen: np.ndarray) -> np.ndarray:
        b = self._block
        return np.stack([pictures[i][:, r : r + b, c : c + b] for i, r, c in chosen.tolist()])

    def _noisy(self, draw: int, law: str) -> Pictures:
        """All pictures, seen through the law for the `draw`-th time."""
        if law == STORED and self._fixed is not None:
            return self._fixed
        if self._drawn is None or self._drawn[0] != (draw, law):
            made, source = noise.parse(law), Noise(self._recipe.seed).fold_in(12).fold_in(draw)
            found = []
            for number, picture in enumerate(self._clean):
                latent = picture[None].astype(np.float32) / 255
                noisy = made(latent, source.at(number))[0]
                found.append(np.ascontiguousarray(to_bytes(noisy).transpose(2, 0, 1)))
            self._drawn = ((draw, law), found)
        return self._drawn[1]


def _middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle of (C, H, W), `side` x `side` pixels, or as much as there is."""
    top, left = ((n - min(n, side)) // 2 for n in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]
