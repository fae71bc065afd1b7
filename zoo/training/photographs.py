"""Photographs as training data: which files, which are kept for judging, crops seen through noise.

In a folder that has `train` and `val` (or `validation`, or `test`) inside, those are taken. In any
other folder the pictures that its `val.txt` names, a file name or a name without suffix on each
line, are kept for judging; without that file every tenth picture is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minigrad.noise import Noise
from zoo import data, noise, objectives
from zoo.data import Photographs
from zoo.objectives.base import Batch
from zoo.progress import Progress
from zoo.recipes.config import RecipeError
from zoo.recipes.schema import Recipe
from zoo.training.contents import contents
from zoo.training.judging import Tiles

Files = Sequence[Path]
_SHOWN = 3  # names in a message


class PhotographFeed:
    """A `Feed` of random crops of photographs; those too small for a crop are left out.

    Raises RecipeError where no picture is left or `val.txt` is wrong, ImageError for a file that
    cannot be read.
    """

    def __init__(self, recipe: Recipe, channels: int) -> None:
        self._recipe = recipe
        self.notes: list[str] = []
        train, judged = files(recipe.data)
        least = max(noise.parse(s.sampler.noise).scale * s.sampler.size for s in recipe.stages)
        tile = _judged_law(recipe).scale * judged_size(recipe)
        how = recipe.data, self.notes
        self._train = Photographs(large_enough("training", train, channels, least, *how))
        kept = large_enough("validation", judged, channels, tile, *how)
        self.validation = tiles(recipe, Photographs(kept))
        self.contents = contents({"train": train, "validation": judged})

    def prepare(self, run: Path, progress: Progress, stop: Callable[[], bool]) -> None:
        """Nothing: batches are made as they are needed."""

    def batches(self, number: int) -> Callable[[int], Batch]:
        """`batch(step)` of stage `number`: a pure function of the stage's own step 0, 1, ..."""
        stage = self._recipe.stages[number]
        sampler = stage.sampler
        target = objectives.entry(stage.objective).target
        law = noise.parse(sampler.noise)
        pairs = data.PairSampler(
            self._train.at_scales(sampler.scales, least=law.scale * sampler.size),
            law,
            batch=stage.batch,
            size=sampler.size,
            seed=self._recipe.seed + (number << 64),  # stages draw from streams of their own
            objective="noise2noise" if target == "noisy" else "noise2clean",
            augment=sampler.augment,
            recolour=sampler.recolour,
            gray=sampler.gray,
            swap=sampler.swap,
            pairs=sampler.pairs,
        )
        masked, dtype = stage.loss == "masked_mse", self._recipe.dtype

        def batch(step: int) -> Batch:
            found = pairs.batch(step)
            # Who learns from noisy pictures alone is given nothing else.
            arrays: Batch = (found.input,) if target == "none" else (found.input, found.target)
            if masked:
                # The clean picture is valid everywhere.
                whole = np.ones_like(found.target[:, :1])
                arrays += (whole if found.mask is None else found.mask,)
            return tuple(array.astype(dtype, copy=False) for array in arrays)

        return batch


def large_enough(
    part: str, paths: Files, channels: int, least: int, folder: str | None, notes: list[str]
) -> list[np.ndarray]:
    """The pictures of `part` with both sides at least `least`; a note tells of the others.

    Raises: RecipeError where none is left.
    """
    read = [data.read_photographs([path], channels=channels)[0] for path in paths]
    pairs = list(zip(paths, read, strict=True))
    small = [path.name for path, picture in pairs if min(picture.shape[1:]) < least]
    kept = [picture for _, picture in pairs if min(picture.shape[1:]) >= least]
    reason = f"too small for a crop of {least}x{least}: {_listed(small)}"
    if not kept:
        where = folder or "the bundled photographs"
        raise RecipeError(
            f"data: {where}: none of the {len(read)} pictures for {part} is left ({reason}); "
            "stages.0.sampler.size, validation.size and patch_craft.size set the crops"
        )
    if small:
        notes.append(f"{part}: using {len(kept)} of {len(read)} pictures ({reason})")
    return kept


def files(folder: str | None) -> tuple[Files, Files]:
    """Files to train on and files to be judged on, which have no picture in common.

    None: the bundled photographs.
    """
    if folder is None:
        return data.sample_files("train"), data.sample_files("test")
    root = Path(folder)
    for name in ("val", "validation", "test"):
        if (root / "train").is_dir() and (root / name).is_dir():
            return data.list_images(root / "train"), data.list_images(root / name)
    found = data.list_images(root)
    if len(found) < 2:
        raise RecipeError(f"data: {root}: expected at least 2 pictures, found {len(found)}")
    kept = set(found[9::10] or found[-1:])
    if (root / "val.txt").is_file():
        kept = _named(root / "val.txt", found)
    return [file for file in found if file not in kept], [file for file in found if file in kept]


def _named(path: Path, found: Files) -> set[Path]:
    """The pictures that a list names, one on each line; some, but not all of them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"data: {path}: cannot be read: {error}") from error
    names = {line.strip() for line in text.splitlines()} - {""}
    kept = {file for file in found if file.name in names or file.stem in names}
    unknown = names - {name for file in kept for name in (file.name, file.stem)}
    if unknown:
        raise RecipeError(f"data: {path}: no picture is called {_listed(sorted(unknown))}")
    if not kept or len(kept) == len(found):
        count = "no picture" if not kept else f"all {len(kept)} pictures"
        raise RecipeError(f"data: {path}: names {count}; some are judged on, the others learnt")
    return kept


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def tiles(recipe: Recipe, photographs: Photographs) -> Tiles:
    """The tiles that the network is judged on, the same in every run of the recipe."""
    sampler = data.PairSampler(
        photographs,
        _judged_law(recipe),
        batch=recipe.validation.images,
        size=judged_size(recipe),
        seed=Noise(recipe.validation.seed).fold_in(5).seed,  # never a stage's stream
        objective="noise2clean",
    )
    tiles = sampler.batch(0)
    return Tiles(tiles.input.astype(recipe.dtype), tiles.target.astype(recipe.dtype))


def _judged_law(recipe: Recipe) -> noise.Law:
    return noise.parse(recipe.validation.noise or recipe.stages[0].sampler.noise)


def judged_size(recipe: Recipe) -> int:
    """Side of the tiles that the network is judged on."""
    return recipe.validation.size or recipe.stages[0].sampler.size
